"""Reads events that the live connection did not bring from the daemon's log."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from digitorn_testing._concurrency.deadlines import finite
from digitorn_testing._concurrency.finalizers import weakly
from digitorn_testing._errors import ContractViolation, TooLarge
from digitorn_testing._events.event import AnyEvent

from .core import StreamCore
from .coverage import Coverage
from .patience import REFUSED, Refused, patiently
from .protocol import PASSING, PATIENCE_SECONDS, ROWS_AGAIN_SECONDS, ROWS_SECONDS
from .tasks import Tasks

ReadLog: TypeAlias = Callable[[int], Awaitable[int]]
"""Reads the rows with higher numbers than the given one, takes each into the log, and returns the highest
number."""

_logger = logging.getLogger("digitorn.testing")


class Backfill:
    """Reads the daemon's log at a join, when events may have been dropped, and on request.

    `Coverage` decides when and from where to read; this class does the reading. Between a join and the end of
    the read that belongs to it, the log holds back what arrives from those who read in order. A log that is
    refused is asked for again and again, but nothing is held back for it for more than a few seconds.

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
        self._behind: ContractViolation | None = None
        """Why the last read cannot have brought everything."""
        self._joins = 0
        self._is_reading = False
        self._catching_up: asyncio.Task[None] | None = None
        self._unread: Refused | None = None
        """Why the read that belongs to the last join has failed so far."""
        self._is_complete = asyncio.Event()
        self._is_complete.set()
        core.log.subscribe(weakly(self._told), core.log.meaning.turn_starts)

    # --- what happened

    def noticed(self, event: AnyEvent) -> None:
        """Notes a new event, and reads the events that it shows to be missing."""
        if self.coverage.noticed(event):
            self._tasks.spawn(self._read_on())

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
        except REFUSED as error:
            # Retried immediately in the background, which reports a permanent failure.
            _logger.info("session %s: the log could not be read yet: %s", self._log.session_id, error)
            self._catch_up()
        else:
            self._release()

    async def caught_up(self, until: float = math.inf) -> Refused | None:
        """Waits until what was missed before the last join is here, or does not come in time.

        Args:
            until: How long to wait, on the monotonic clock. Then nothing is held back for it any more.

        Returns:
            Why it is not here; None if it is, or nothing was refused.
        """
        try:
            async with asyncio.timeout(finite(max(0.0, until - time.monotonic()))):
                await self._is_complete.wait()
        except TimeoutError:
            self._release()
        return self._unread

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
            self._unread = await self.fill_at_last(time.monotonic() + PATIENCE_SECONDS)
            if isinstance(self._unread, PASSING):
                # Whoever reads in order goes on without; it is read as soon as the daemon allows.
                self._release()
                join = None
        self._release()

    async def _read_on(self) -> None:
        while self._log.closed is None:
            failure = await self.fill_at_last(time.monotonic() + PATIENCE_SECONDS)
            if not isinstance(failure, PASSING):
                return

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
        before, join, sent = len(self._log), self._joins, self.coverage.sent
        try:
            upto = await self._read(since)
            again = time.monotonic() + ROWS_SECONDS
            while since < sent and upto < sent and time.monotonic() < again and self._log.closed is None:
                # A busy daemon at times does not find its own log, and answers with nothing.
                await asyncio.sleep(ROWS_AGAIN_SECONDS)
                upto = await self._read(since)
        except TooLarge as error:
            # Another read would return the same.
            self._log.close(error)
            raise
        if since < sent and upto < sent:
            self._behind = ContractViolation(
                f"the log of session {self._log.session_id!r}",
                [f"it ends at {upto}, although {sent} was sent"],
            )
        else:
            self._behind = None
            self._core.turns.was_read(since)
            if join == self._joins and self.coverage.was_read(since, upto):
                self._unread = None
        return len(self._log) - before

    async def fill_at_last(self, until: float = 0.0, since: int | None = None) -> Refused | None:
        """Like `fill`, but asks again while the daemon refuses or cannot be reached.

        Args:
            until: How long it is asked, on the monotonic clock.
            since: Read events with a higher `seq`. Default: the number behind which events may be missing.

        Returns:
            Why the log could not be read; None if it was, or the stream has ended.
        """

        async def fill() -> None:
            if self._log.closed is None:
                await self.fill(self.coverage.read_since() if since is None else since)

        try:
            failure = await patiently(fill, until) or self._behind
        except TooLarge as error:
            failure = error
        if failure is not None:
            level = logging.INFO if isinstance(failure, PASSING) else logging.WARNING
            _logger.log(level, "session %s: gaps could not be filled: %s", self._log.session_id, failure)
        return failure
