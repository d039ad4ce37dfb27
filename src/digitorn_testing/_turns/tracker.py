"""Assigns the events of a session to turns, in the order of the events."""

from collections.abc import Callable
from typing import Final

from digitorn_testing._events.daemon import MEANING
from digitorn_testing._events.event import AnyEvent
from digitorn_testing._events.meaning import Meaning


class TurnTracker:
    """Follows the turns of one session.

    Many events do not name a turn; they belong to the turn that is running when they arrive. A session runs
    one turn at a time (contract: events, section 4.1).

    Args:
        turn_at: Returns the turn that was running at an earlier number.
        meaning: What the events mean.
    """

    _MOST_OVER: Final = 1024
    """How many ended turns are remembered. Late events belong to the most recent ones."""

    def __init__(self, turn_at: Callable[[int], str | None], meaning: Meaning = MEANING) -> None:
        self.running: str | None = None
        """The running turn; None if no turn is known to be running."""
        self._over: dict[str, None] = {}
        self._newest = 0
        self._turn_at = turn_at
        self._meaning = meaning

    def turn_of(self, event: AnyEvent) -> str | None:
        """The turn of the next event. A late event is assigned by its number.

        Args:
            event: The event.
        """
        is_late = event.is_numbered and event.seq < self._newest
        if event.is_numbered:
            self._newest = max(self._newest, event.seq)
        turn = event.correlation_id
        if (running := self._meaning.running_turn(event)) is not None:
            self._know(running)
        if turn is None:
            if not self._meaning.is_logged(event):
                return None
            return self._turn_at(event.seq) if is_late else self.running
        if not is_late:
            self._follow(event, turn)
        return turn

    def _follow(self, event: AnyEvent, turn: str) -> None:
        if self._meaning.ends_turn(event):
            self._over[turn] = None
            if len(self._over) > self._MOST_OVER:
                del self._over[next(iter(self._over))]
            if turn == self.running:
                self.running = None
        elif self._meaning.starts_running(event):
            self.running = turn
        elif self._meaning.is_running(event):
            self._know(turn)

    def _know(self, turn: str | None) -> None:
        """Takes over a running turn that started before the stream did."""
        if self.running is None and turn not in self._over:
            self.running = turn
