"""Reads events that the live connection did not bring from the daemon's log."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from digitorn_testing._concurrency.backoff import Pauses
from digitorn_testing._concurrency.finalizers import weakly
from digitorn_testing._errors import ApiError, ContractViolation, DaemonUnreachable, TooLarge
from digitorn_testing._events.event import AnyEvent

from .core import StreamCore
from .coverage import Coverage
from .protocol import PASSING, TRY_AGAIN
from .tasks import Tasks

ReadLog: TypeAlias = Callable[[int], Awaitable[int]]
"""Reads the rows with higher numbers than the given one, takes each into the log, and returns the highest
number."""

_logger = logging.getLogger("digitorn.testing")


class Backfill:
    """Reads the daemon's log at a join, when events may have been dropped, and on request.

    `Coverage` decides when and from where to read; this class does the reading. Between a join and the end of
    the read that belongs to it, the log holds back what arrives from those who read in order.

    Args:
        core: The stream.
        coverage: What is known to be complete.
        tasks: Runs what goes on in the background.
        read: Reads the daemon's log.
    """

    def __init__(self, core: StreamCore, coverage: Coverage, tasks: Tasks, read: ReadLog) -> None:
        self.coverage = coverage
        self._core = core
        self._log = core.log
        self._tasks = tasks
        self._read = read
        self._joins = 0
        self._is_reading = False
        self._catching_up: asyncio.Task[None] | None = None
        self._is_complete = asyncio.Event()
        self._is_complete.set()
        core.log.subscribe(weakly(self._told), core.log.meaning.turn_starts)

    # --- what happened

    def noticed(self, event: AnyEvent) -> None:
        """Notes a new event, and reads the events that it shows to be missing."""
        if self.coverage.noticed(event):
            self._tasks.spawn(self.fill_at_last())

    def joining(self) -> None:
        """Notes that the session is about to be joined."""
        self._joins += 1
        self._is_reading = not self._is_complete.is_set()
        self.coverage.joining()
        self._log.hold()
        self._is_complete.clear()

    def not_joined(self) -> None:
        """Notes that the session was not joined after all."""
        if not self._is_reading:
            # Else the read that belongs to an earlier join releases.
            self._release()

    def begin_here(self) -> None:
        """Wants nothing of what was before this join."""
        self.coverage.begin_here()
        self._release()

    def rejoined(self, *, restarted: bool) -> None:
        """Notes a rejoin, and reads what was missed in between.

        Args:
            restarted: Whether the daemon is another process than before.
        """
        if restarted:
            self.coverage.restarted()
        self._catch_up()

    async def entered(self, *, from_now: bool = False) -> None:
        """Notes the first join, and reads what happened before it.

        Args:
            from_now: Skip that.

        Raises:
            TooLarge: The session's log exceeds the size limit.
        """
        if from_now or self.coverage.since > self._log.last_seq:
            self.begin_here()
        else:
            await self.read_history()

    async def read_history(self) -> None:
        """Reads what happened before the first join.

        Raises:
            TooLarge: The session's log exceeds the size limit.
        """
        if isinstance(self._log.closed, ContractViolation):
            # The join sent something invalid: readers of the stream get the error.
            return
        try:
            await self.fill(self.coverage.read_since())
        except TooLarge:
            raise
        except (DaemonUnreachable, ApiError, ContractViolation) as error:
            # Retried immediately in the background, which reports a permanent failure.
            _logger.info("session %s: the log could not be read yet: %s", self._log.session_id, error)
            self._catch_up()
        else:
            self._release()

    async def caught_up(self) -> None:
        """Waits until what was missed before the last join is here, or is known not to come."""
        await self._is_complete.wait()

    def _release(self) -> None:
        self._log.release()
        self._is_complete.set()

    def _told(self, event: AnyEvent | None) -> None:
        if event is None:
            # The log is closed, which released what it held back, and nothing more will complete it.
            self._is_complete.set()

    def _catch_up(self) -> None:
        if self._catching_up is None or self._catching_up.done():
            self._catching_up = self._tasks.spawn(self._read_and_release())

    async def _read_and_release(self) -> None:
        join = None
        while join != self._joins and self._log.closed is None:
            # It may rejoin while this reads.
            join = self._joins
            await self.fill_at_last()
        self._release()

    # --- reading

    def quiet_seconds(self) -> float:
        """For how long no event of the session has arrived."""
        return self.coverage.quiet_seconds()

    async def fill(self, since: int | None = None) -> int:
        """Reads the daemon's log and adds the events that are missing here.

        Args:
            since: Read events with a higher `seq`. Default: the number up to which the log was read before.

        Returns:
            How many events were missing.

        Raises:
            ApiError: The daemon refused.
            DaemonUnreachable: No daemon answered.
            ContractViolation: An answer is not what the contract says; `TooLarge` when the log is too long.
            StreamClosed: The stream ended.
        """
        if self._log.closed is not None:
            raise self._core.closed_error()
        if since is None:
            since = min(self.coverage.complete, self.coverage.read_since())
        before, join = len(self._log), self._joins
        try:
            upto = await self._read(since)
        except TooLarge as error:
            # Another read would return the same.
            self._log.close(error)
            raise
        if join == self._joins:
            self.coverage.was_read(since, upto)
        return len(self._log) - before

    async def fill_at_last(self, since: int | None = None) -> None:
        """Like `fill`, but retries while the daemon cannot be reached; other errors are logged.

        Args:
            since: Read events with a higher `seq`. Default: the number behind which events may be missing.
        """
        pauses = Pauses(TRY_AGAIN)
        while self._log.closed is None:
            try:
                await self.fill(self.coverage.read_since() if since is None else since)
            except PASSING as error:
                _logger.info("session %s: gaps could not be filled yet: %s", self._log.session_id, error)
            except (ApiError, ContractViolation) as error:
                # A deleted session has no more events.
                _logger.warning("session %s: gaps could not be filled: %s", self._log.session_id, error)
                return
            else:
                return
            await asyncio.sleep(pauses.next())
