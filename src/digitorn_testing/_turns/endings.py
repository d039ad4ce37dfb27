"""Endings of turns that no event reports."""

from collections.abc import Callable, Container
from typing import TypeAlias

from digitorn_testing._events.meaning import TurnEnding

Listener: TypeAlias = Callable[[str, TurnEnding], object]
"""Takes the correlation id of a turn and how it ended."""


class TurnEndings:
    """Remembers how turns ended when no event says so; the ending was read over HTTP.

    Only one thread may call `note`; any thread may read or listen.
    """

    def __init__(self) -> None:
        self._endings: dict[str, TurnEnding] = {}
        # Replaced as a whole, so that `note` may run at the same time.
        self._listeners: tuple[Listener, ...] = ()

    def note(self, correlation_id: str, ending: TurnEnding) -> None:
        """Notes how a turn ended, and tells the listeners.

        Args:
            correlation_id: The turn.
            ending: How it ended.
        """
        self._endings[correlation_id] = ending
        for listener in self._listeners:
            listener(correlation_id, ending)

    def get(self, correlation_id: str) -> TurnEnding | None:
        """How a turn ended; None if that was not noted."""
        return self._endings.get(correlation_id)

    def __contains__(self, correlation_id: object) -> bool:
        return correlation_id in self._endings

    def __len__(self) -> int:
        return len(self._endings)

    def listen(self, listener: Listener) -> None:
        """Passes every ending to a listener: those noted so far, then each new one.

        An ending noted during this call may be passed twice, but is never missed.

        Args:
            listener: Called on the thread that calls `note`. It must be quick.
        """
        self._listeners = (*self._listeners, listener)
        for turn, ending in list(self._endings.items()):
            listener(turn, ending)

    def unlisten(self, listener: Listener) -> None:
        """Removes a listener. Idempotent."""
        self._listeners = tuple(one for one in self._listeners if one != listener)

    def forget_oldest(self, most: int, *, keep: Container[str]) -> None:
        """Forgets the oldest endings.

        Args:
            most: How many to remember.
            keep: Turns to keep; forgetting stops at the first of them.
        """
        while len(self._endings) > most and (oldest := next(iter(self._endings))) not in keep:
            del self._endings[oldest]
