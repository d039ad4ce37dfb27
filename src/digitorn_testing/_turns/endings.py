"""How turns ended of which no event says so."""

from collections.abc import Callable, Container
from typing import TypeAlias

from digitorn_testing._events.meaning import TurnStatus

Listener: TypeAlias = Callable[[str, TurnStatus], object]
"""Takes the correlation id of a turn and how it ended."""


class TurnEndings:
    """Remembers how turns ended of which no event says so: the daemon was asked for it over HTTP.

    One thread notes; any thread may read or listen.
    """

    def __init__(self) -> None:
        self._endings: dict[str, TurnStatus] = {}
        # Replaced as a whole, so that `note` may run meanwhile.
        self._listeners: tuple[Listener, ...] = ()

    def note(self, correlation_id: str, ending: TurnStatus) -> None:
        """Notes how a turn ended, and tells the listeners.

        Args:
            correlation_id: The turn.
            ending: How it ended.
        """
        self._endings[correlation_id] = ending
        for listener in self._listeners:
            listener(correlation_id, ending)

    def get(self, correlation_id: str) -> TurnStatus | None:
        """How a turn ended; None when nothing was noted of it."""
        return self._endings.get(correlation_id)

    def __contains__(self, correlation_id: object) -> bool:
        return correlation_id in self._endings

    def __len__(self) -> int:
        return len(self._endings)

    def listen(self, listener: Listener) -> None:
        """Tells a listener every ending: those noted so far, then each new one.

        An ending that is noted while this runs may be told twice, but none is missed.

        Args:
            listener: Is called on the thread that notes. It must be quick.
        """
        self._listeners = (*self._listeners, listener)
        for turn, ending in list(self._endings.items()):
            listener(turn, ending)

    def unlisten(self, listener: Listener) -> None:
        """Ends what `listen` began. May be called again."""
        self._listeners = tuple(one for one in self._listeners if one != listener)

    def forget_oldest(self, most: int, *, keep: Container[str]) -> None:
        """Forgets the oldest endings.

        Args:
            most: How many to remember.
            keep: Turns that are not forgotten; forgetting stops at the first of them.
        """
        while len(self._endings) > most and (oldest := next(iter(self._endings))) not in keep:
            del self._endings[oldest]
