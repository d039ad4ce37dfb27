"""Which part of a session's history is here, and what has to be read from the daemon's log; without any IO.

The daemon writes an event to its log before it sends it, and sends the events of a session in the order of
their numbers (contract: events, sections 3.3 and 6.0). So a connection that stands loses nothing, whatever
numbers are missing, and has to be completed from the log only

- at a join: what the session did before it;
- at a rejoin: what it did since the loss, and after a restart what the new process did with numbers that the
  old one may have given out before;
- when the daemon dropped what it should have sent. It does so when it did nothing else for five seconds, or
  when a turn was cut off (contract: events, section 1). A long silence shows the former; the number in a
  heartbeat shows whether anything is missing at the end.
"""

import time
from collections.abc import Callable

from digitorn_testing._events.event import AnyEvent
from digitorn_testing._log.log import EventLog

from .protocol import READ_MARGIN, RESTART_MARGIN, STALL_SECONDS


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
        sent: The highest number of an event that this process of the daemon sent. The event is in its log.
        complete: The daemon's log was read up to this number, from `since`.
    """

    def __init__(self, log: EventLog, since: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.since = since
        self.newest = since
        self.sent = since
        self.complete = since
        self._log = log
        self._clock = clock
        self._missing_from: int | None = since
        self._heard_at = self._moved_at = clock()
        self._highest_at_beat = -1
        self._asked_for = 0

    # --- what happened

    def noticed(self, event: AnyEvent) -> bool:
        """Notes a new event.

        Args:
            event: The event.

        Returns:
            Whether it shows that the daemon may have dropped earlier ones, so that its log has to be read.
        """
        now = self._clock()
        silence, self._heard_at = now - self._heard_at, now
        if not event.is_numbered:
            current = self._log.meaning.current_seq(event)
            return current is not None and self._is_behind(current)
        self._moved_at = now
        if event.seq > self.newest and self._log.meaning.is_logged(event):
            self.newest = self.sent = event.seq
        return silence >= STALL_SECONDS

    def _is_behind(self, current: int) -> bool:
        """Whether a heartbeat tells of a number above all that are here, and did so before.

        Says so once for each number: it may be one that no event gets.
        """
        highest = self._log.highest_number
        has_rested, self._highest_at_beat = highest == self._highest_at_beat, highest
        if not has_rested or current <= max(highest, self._asked_for):
            return False
        self._asked_for = current
        return True

    def begin_here(self) -> None:
        """Wants nothing of what was before now."""
        # Snapshots take numbers too: what the session does from here on comes behind them. They are not in
        # the daemon's log.
        self.since = self.newest = self.complete = self._log.highest_number
        self._missing_from = None

    def joining(self) -> None:
        """Notes that the session is about to be joined: what was sent since the loss is missing."""
        since = max(self.since, self.newest - READ_MARGIN)
        self._missing_from = since if self._missing_from is None else min(since, self._missing_from)

    def restarted(self) -> None:
        """Notes that the daemon is another process than before.

        What the old one had not yet written to disk is lost, and its numbers are given out again.
        """
        self.sent = self.since
        self.complete = max(self.since, self.complete - RESTART_MARGIN)
        self._missing_from = max(self.since, min(self.read_since(), self.newest - RESTART_MARGIN))

    def quiet_seconds(self) -> float:
        """For how long no event of the session has arrived."""
        return self._clock() - self._moved_at

    # --- reading

    def read_since(self) -> int:
        """Behind which number the log has to be read so that nothing is missing."""
        if self._missing_from is not None:
            return self._missing_from
        return max(self.since, self.newest - READ_MARGIN)

    def was_read(self, since: int, upto: int) -> bool:
        """Notes that the log was read since the last join, and says whether nothing is missing now.

        Args:
            since: From which number.
            upto: The highest number that was in it.
        """
        if self._missing_from is not None and since <= self._missing_from:
            self._missing_from = None
        if since <= self.complete:
            self.complete = max(self.complete, upto)
        return self._missing_from is None
