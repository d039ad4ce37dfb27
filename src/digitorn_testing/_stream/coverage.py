"""Which part of a session's history is here, and what has to be read from the daemon's log; without any IO.

The live connection may lose events, and a join may replay nothing. The daemon's durable log has everything,
but only from a moment after it was sent: rows are written in batches. So a read proves something about the
past alone: whatever was the newest event `VISIBLE_SECONDS` before a read began is in the log by then, and the
read has brought everything up to it.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

from digitorn_testing._events.event import AnyEvent
from digitorn_testing._log.log import EventLog

from .protocol import REPLAY_MARGIN, VISIBLE_SECONDS


class _Mark(NamedTuple):
    """Which event was the newest at a moment, and since when the connection of that moment had joined."""

    moment: float
    newest: int
    joined_at: float


class Reading(NamedTuple):
    """A read of the daemon's log that is under way.

    Attributes:
        since: Read what has a higher number.
        mark: What was the newest event when it began.
        after_restart: Whether it reads anew what a daemon that was restarted may have lost.
    """

    since: int
    mark: _Mark
    after_restart: bool


class Coverage:
    """Keeps what is known to be complete.

    Args:
        log: The events that are here.
        since: The events of the session that are wanted begin behind this number.
        clock: Monotonic seconds.

    Attributes:
        since: As given, until `begin_here`.
        newest: The highest number of the session's own events. Snapshots do not count: a daemon that was
            restarted gives their numbers out once more.
        complete: Nothing is missing up to this number, and the daemon's log has all of it.
        joined_at: When the connection joined last, on the clock.
    """

    def __init__(self, log: EventLog, since: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.since = since
        self.newest = since
        self.complete = since
        self.joined_at = 0.0
        self._log = log
        self._clock = clock
        self._mark: _Mark | None = None
        self._was_restarted = False
        self._asked_for = 0

    # --- what happened

    def noticed(self, event: AnyEvent) -> None:
        """Takes note of an event that is new."""
        if event.seq > self.newest and self._log.meaning.is_logged(event):
            self.newest = event.seq

    def is_behind(self, event: AnyEvent) -> bool:
        """Whether a heartbeat tells of a number above all that are here.

        Says so once for each number: it may be one that no event gets.

        Args:
            event: Any event that is new.
        """
        if event.is_numbered:
            return False
        current = self._log.meaning.current_seq(event)
        if current is None or current <= max(self._log.highest_number, self._asked_for):
            return False
        self._asked_for = current
        return True

    def begin_here(self) -> None:
        """Wants nothing of what was before now."""
        # Snapshots take numbers too: what the session does from here on comes behind them.
        self.since = self.newest = self.complete = self._log.last_seq
        self._log.begin_at(self._log.last_seq)

    def joined(self) -> None:
        """Takes note of a join that has just happened."""
        self.joined_at = self._clock()

    def restarted(self) -> None:
        """Takes note that the daemon is another process than before the last join.

        Numbers that the last process gave out need not be those of its log.
        """
        self._was_restarted = True
        self.newest = self.complete

    # --- what to read

    def rejoin_since(self) -> int:
        """Behind which number a rejoin begins; what is missing further back is read from the log."""
        return max(self.since, self.newest - REPLAY_MARGIN)

    def read_since(self) -> int:
        """Behind which number the log is read: nothing is missing below it."""
        if self._was_restarted:
            # What is above may be lost, and its numbers given to other events.
            return max(self.since, self.complete - REPLAY_MARGIN)
        complete = self._log.complete_upto(self.complete)
        return max(self.since, min(complete, self.newest - REPLAY_MARGIN))

    def has_gap(self) -> bool:
        """Whether something may be missing behind what is known to be complete."""
        return self._log.has_gap(self.complete)

    def has_stood_since(self, moment: float) -> bool:
        """Whether nothing from before the last join was still on its way to the log at a moment.

        Args:
            moment: On the clock.
        """
        return self.joined_at < moment - VISIBLE_SECONDS

    # --- reading

    def read_began(self, since: int | None = None) -> Reading:
        """Begins a read.

        Args:
            since: From where, when it is not from `read_since`: what is above may be incomplete.
        """
        now, after_restart = self._clock(), self._was_restarted
        if since is None:
            since = self.read_since()
        else:
            self.complete = min(self.complete, since)
        if now - self.joined_at >= VISIBLE_SECONDS:
            # This read sees whatever was sent before the join; the next one need not look again.
            self._was_restarted = False
        return Reading(since, _Mark(now, self.newest, self.joined_at), after_restart)

    def read_failed(self, reading: Reading) -> None:
        """Takes note of a read that failed."""
        self._was_restarted = self._was_restarted or reading.after_restart

    def read_ended(self, reading: Reading) -> None:
        """Takes note of a read that brought everything there was."""
        mark = self._mark
        if mark is not None and mark.joined_at != self.joined_at:
            # The daemon may have been restarted since, and have lost what was the newest then.
            mark = None
        if mark is not None and reading.mark.moment - mark.moment >= VISIBLE_SECONDS:
            # What was the newest then has been visible for long: this read has brought all up to it.
            self.complete, mark = max(self.complete, mark.newest), None
        self._mark = mark or reading.mark
