"""Assigns the events of a session to turns, in the order of the events."""

from collections.abc import Callable
from typing import Final

from digitorn_testing._events.daemon import MEANING
from digitorn_testing._events.event import AnyEvent
from digitorn_testing._events.meaning import Meaning


class TurnTracker:
    """Follows the turns of one session.

    Many events do not name a turn; they belong to the turn that is running when they arrive. A session runs
    one turn at a time, in the order in which they were started. A message that waits may be started while
    another turn still runs (contract: events, sections 4.1 and 6.4).

    Args:
        turn_at: Returns the turn that was running at an earlier number.
        meaning: What the events mean.
    """

    _MOST_OVER: Final = 1024
    """How many ended turns are remembered. Late events belong to the most recent ones."""

    def __init__(self, turn_at: Callable[[int], str | None], meaning: Meaning = MEANING) -> None:
        self._open: list[str] = []
        """The turns that have started and not ended; the first one is running."""
        self._over: dict[str, None] = {}
        self._newest = 0
        self._turn_at = turn_at
        self._meaning = meaning

    @property
    def running(self) -> str | None:
        """The running turn; None if no turn is known to be running."""
        return self._open[0] if self._open else None

    def turn_of(self, event: AnyEvent) -> str | None:
        """The turn of the next event. A late event is assigned by its number.

        Args:
            event: The event.
        """
        is_late = False
        if event.is_numbered:
            is_late = event.seq < self._newest
            if not is_late:
                self._newest = event.seq
        turn = event.correlation_id
        if (running := self._meaning.running_turn(event)) is not None:
            self._start(running)
        if turn is None:
            if not self._meaning.is_logged(event):
                return None
            return self._turn_at(event.seq) if is_late else self.running
        if not is_late:
            self._follow(event, turn)
        return turn

    def end(self, turn: str) -> None:
        """Notes that a turn has ended, with or without an event that says so."""
        self._over[turn] = None
        if len(self._over) > self._MOST_OVER:
            del self._over[next(iter(self._over))]
        if turn in self._open:
            self._open.remove(turn)

    def _follow(self, event: AnyEvent, turn: str) -> None:
        if self._meaning.ends_turn(event):
            self.end(turn)
        elif self._open and turn == self._open[0]:
            # It is running already, whatever it does.
            return
        elif self._meaning.starts_running(event) and not self._meaning.runs_at_once(event):
            self._start(turn)
        elif self._meaning.is_running(event) and turn not in self._over:
            # It does something, so no other turn is running, whatever was started before it.
            if turn in self._open:
                self._open.remove(turn)
            self._open.insert(0, turn)

    def _start(self, turn: str) -> None:
        if turn not in self._open and turn not in self._over:
            self._open.append(turn)
