"""Reads events that the live connection missed from the daemon's durable log."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from digitorn_testing._concurrency.backoff import Pauses
from digitorn_testing._errors import ApiError, ContractViolation, DaemonUnreachable, TooLarge
from digitorn_testing._events.event import AnyEvent

from .core import StreamCore
from .coverage import Coverage
from .protocol import GAP_READ_SECONDS, JOIN_READ_SECONDS, PASSING, TRY_AGAIN
from .tasks import Tasks

ReadLog: TypeAlias = Callable[[int], Awaitable[object]]
"""Reads the rows with higher numbers than the given one, and takes each into the log."""

_logger = logging.getLogger("digitorn.testing")


class Backfill:
    """Reads the daemon's log after a join, when a number is missing, and on request.

    `Coverage` decides when and from where to read; this class does the reading and waiting.

    Args:
        core: The stream.
        coverage: What is known to be complete.
        tasks: Runs what goes on in the background.
        read: Reads the daemon's log.
        clock: Monotonic seconds, the same as that of `coverage`.
    """

    def __init__(
        self,
        core: StreamCore,
        coverage: Coverage,
        tasks: Tasks,
        read: ReadLog,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.coverage = coverage
        self._core = core
        self._log = core.log
        self._tasks = tasks
        self._read = read
        self._clock = clock
        self._closing_gaps: asyncio.Task[None] | None = None
        self._settling: asyncio.Task[None] | None = None

    # --- what happened

    def noticed(self, event: AnyEvent) -> None:
        """Notes a new event, and reads the events that it shows to be missing."""
        self.coverage.noticed(event)
        if self.coverage.is_behind(event):
            self._tasks.spawn(self.fill_at_last())
        if self._log.is_holding and (self._closing_gaps is None or self._closing_gaps.done()):
            self._closing_gaps = self._tasks.spawn(self._close_gaps())

    def rejoin_since(self) -> int:
        """The number after which a rejoin begins."""
        return self.coverage.rejoin_since()

    def rejoined(self, *, restarted: bool) -> None:
        """Notes a rejoin, and reads the events that were missed in between.

        Args:
            restarted: Whether the daemon is another process than before.
        """
        if restarted:
            self.coverage.restarted()
        self.settle()

    async def entered(self, *, from_now: bool = False) -> None:
        """Notes the first join, and reads what happened before it.

        Args:
            from_now: Skip that.

        Raises:
            TooLarge: The session's log exceeds the size limit.
        """
        if from_now or self.coverage.since > self._log.last_seq:
            self.coverage.begin_here()
        else:
            await self.read_history()

    async def read_history(self) -> None:
        """Reads what the first join did not replay: some builds replay nothing.

        (contract: events, section 3.1)

        Raises:
            TooLarge: The session's log exceeds the size limit.
        """
        if isinstance(self._log.closed, ContractViolation):
            # The join sent something invalid: readers of the stream get the error.
            return
        try:
            await self.fill()
        except TooLarge:
            raise
        except (DaemonUnreachable, ApiError, ContractViolation) as error:
            # Retried immediately in the background, which reports a permanent failure.
            _logger.info("session %s: the log could not be read yet: %s", self._log.session_id, error)
            self.settle()
        else:
            self.settle(has_read=True)

    def settle(self, *, has_read: bool = False) -> None:
        """Reads the log after a join: now, and when everything that was sent before the join is visible.

        Args:
            has_read: Whether it was read just now.
        """
        self.coverage.joined()
        if self._settling is None or self._settling.done():
            self._settling = self._tasks.spawn(self._read_again(has_read=has_read))

    # --- reading

    def has_gap(self) -> bool:
        """Whether events that were sent may be missing."""
        return self.coverage.has_gap()

    async def fill(self, since: int | None = None) -> int:
        """Reads the daemon's log and takes over what is missing here.

        Args:
            since: Read what has a higher `seq`; where the log is known to be complete up to when left out.

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
        before = len(self._log)
        reading = self.coverage.read_began(since)
        try:
            await self._read(reading.since)
        except BaseException as error:
            self.coverage.read_failed(reading)
            if isinstance(error, TooLarge):
                # Another read would return the same.
                self._log.close(error)
            raise
        self.coverage.read_ended(reading)
        return len(self._log) - before

    async def fill_at_last(self, since: int | None = None) -> None:
        """Like `fill`, but retries while the daemon cannot be reached; other errors are logged.

        Args:
            since: As for `fill`.
        """
        pauses = Pauses(TRY_AGAIN)
        while self._log.closed is None:
            try:
                await self.fill(since)
            except PASSING as error:
                _logger.info("session %s: gaps could not be filled yet: %s", self._log.session_id, error)
            except (ApiError, ContractViolation) as error:
                # A deleted session has no more events.
                _logger.warning("session %s: gaps could not be filled: %s", self._log.session_id, error)
                return
            else:
                return
            await asyncio.sleep(pauses.next())

    async def _close_gaps(self) -> None:
        """Waits briefly for a missing number, looks for it in the log, and then gives it up."""
        while self._log.is_holding and self._log.closed is None:
            newest, noticed, has_read = self._log.highest_number, self._clock(), False
            for moment in (*GAP_READ_SECONDS, JOIN_READ_SECONDS[-1]):
                if moment > GAP_READ_SECONDS[-1] and has_read and self._has_stood_since(noticed):
                    # Nothing from before the join is still on its way to the log.
                    break
                await asyncio.sleep(max(0.0, noticed + moment - self._clock()))
                if not self._log.is_holding:
                    return
                has_read = await self._try_to_fill()
            if has_read:
                self._log.give_up(newest)

    async def _try_to_fill(self) -> bool:
        """Fills gaps. Returns whether retrying would be pointless."""
        try:
            await self.fill()
        except PASSING as error:
            _logger.info("session %s: gaps could not be filled: %s", self._log.session_id, error)
            return False
        except (ApiError, ContractViolation) as error:
            _logger.warning("session %s: gaps could not be filled: %s", self._log.session_id, error)
        return True

    def _has_stood_since(self, moment: float) -> bool:
        return self._core.link.is_joined and self.coverage.has_stood_since(moment)

    async def _read_again(self, *, has_read: bool) -> None:
        joined_at = 0.0
        while joined_at != self.coverage.joined_at and self._log.closed is None:
            joined_at = self.coverage.joined_at
            if not has_read:
                await self.fill_at_last()
            has_read = False
            for moment in JOIN_READ_SECONDS:
                await asyncio.sleep(max(0.0, joined_at + moment - self._clock()))
                if joined_at != self.coverage.joined_at:
                    # It has rejoined in the meantime.
                    break
                await self.fill_at_last()
