"""Which turn an event belongs to, while a session's events come in order."""

from collections.abc import Callable
from typing import Final

from digitorn_testing._events.daemon import MEANING
from digitorn_testing._events.event import AnyEvent
from digitorn_testing._events.meaning import Meaning


class TurnTracker:
    """Follows the turns of one session.

    Many events name no turn; they belong to the one that runs while they come, and a session runs one turn
    at a time (contract: events, section 4.1).

    Args:
        turn_at: Which turn ran at a number that has passed.
        meaning: What the events mean.
    """

    _MOST_OVER: Final = 1024
    """How many turns that are over are remembered: what may still come late of them is of the last ones."""

    def __init__(self, turn_at: Callable[[int], str | None], meaning: Meaning = MEANING) -> None:
        self.running: str | None = None
        """The turn that runs; None when none does, or none is known to."""
        self._over: dict[str, None] = {}
        self._newest = 0
        self._turn_at = turn_at
        self._meaning = meaning

    def turn_of(self, event: AnyEvent) -> str | None:
        """The turn of the next event. One that comes late is told by its number.

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
        """Takes over a turn that runs and whose start was before the stream's."""
        if self.running is None and turn not in self._over:
            self.running = turn
