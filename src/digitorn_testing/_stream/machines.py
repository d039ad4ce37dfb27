"""The machines of a stream, put together."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from digitorn_testing._approvals.policies import StreamApprovals
from digitorn_testing._concurrency.backoff import Pauses
from digitorn_testing._concurrency.deadlines import remaining
from digitorn_testing._concurrency.finalizers import weakly
from digitorn_testing._errors import DaemonUnreachable, DigitornError
from digitorn_testing._events.event import AnyEvent
from digitorn_testing._generated.commands import LATEST_SEQ
from digitorn_testing._generated.messages import LatestSeqRequest
from digitorn_testing._generated.rest_async import AsyncApi
from digitorn_testing._transport._async.transport import AsyncTransport
from digitorn_testing._transport.endpoints import event_connection
from digitorn_testing._transport.event_connection import EventConnection

from .backfill import Backfill
from .callbacks import Callbacks
from .connecting import Connecting
from .core import StreamCore
from .coverage import Coverage
from .deciding import Deciding
from .following import Following
from .inboxes import AsyncInbox
from .intake import Intake
from .protocol import TRY_AGAIN
from .refusals import Noting
from .session_calls import SessionCalls
from .tasks import Tasks

_FORGOTTEN_SECONDS = 1.0
_ANSWER_SECONDS = 10.0
_LEAST_SECONDS = 0.1
_logger = logging.getLogger("digitorn.testing")


class Machines:
    """What does the work of a stream.

    None of the machines refers to the stream itself. The event loop holds a machine while it works, and a
    stream that nobody else holds is to be collected; then `close_forgotten` closes what it leaves.

    Args:
        core: The state that they share.
        transport: Sends their calls over HTTP, with the tokens of the user.
        approvals: The policies.
        since: The events of the session that are wanted begin behind this number.

    Attributes:
        tasks: The background tasks.
        calls: The calls over HTTP.
        callbacks: Calls the user's callbacks.
        backfill: Reads what the connection did not bring.
        following: Follows turns.
        deciding: Decides approvals.
        connecting: Makes the connection, again and again.
        socket: The connection.
    """

    def __init__(
        self, core: StreamCore, transport: AsyncTransport, approvals: StreamApprovals, *, since: int
    ) -> None:
        log, options = core.log, transport.connection
        self._log = log
        self._core = core
        self._transport = transport
        coverage = Coverage(log, since)
        intake = Intake(log, core.redact)
        self.tasks = Tasks(log.close)
        self.calls = calls = SessionCalls(
            AsyncApi(Noting(transport, core.refusals)),
            log,
            lambda: core.session,
            most=options.max_log_events,
            take=intake.take,
        )
        self.callbacks = Callbacks(log, self.tasks, core.errors)
        self.backfill = Backfill(core, coverage, self.tasks, calls.read_log)
        self.following = Following(
            core,
            self.tasks,
            gaps=self.backfill,
            ask=lambda turn, was_restarted: calls.ended(
                turn, since=coverage.since, sent=coverage.sent, was_restarted=was_restarted
            ),
            ended=approvals.client.end,
        )
        self.deciding = Deciding(
            core, self.tasks, approvals, resolve=calls.resolve, fail_turn=self.following.fail
        )
        log.subscribe_in_order(weakly(self.deciding.came_in_order), log.meaning.approval_events)
        self.connecting = Connecting(
            core,
            self.tasks,
            transport.credentials,
            open_connection=partial(event_connection, transport.daemon_url, connection_options=options),
            check_token=calls.check_token,
            take=intake.take,
            rejoins=self.backfill,
            joined=self.deciding.decide_all,
            restarted=self.following.restarted,
        )
        self.socket = self.connecting.socket
        # The connection first: it tells the backfill of a restart before the first event that follows it.
        intake.listeners = (self.connecting.noticed, self.backfill.noticed)

    async def drain(self, timeout: float) -> bool:
        """Waits until no turn is open, and everything that the daemon has sent is in the log.

        Args:
            timeout: Seconds to wait.

        Returns:
            Whether that came true in time.
        """
        try:
            async with asyncio.timeout(remaining(timeout)):
                await self.following.drain(timeout)
                await self._all_arrived()
        except TimeoutError:
            return False
        return not self._core.turns.open

    async def _all_arrived(self) -> None:
        link, changed = self._core.link, asyncio.Event()
        cancel = link.subscribe(lambda _: changed.set())
        pauses = Pauses(TRY_AGAIN)
        try:
            while self._log.closed is None:
                changed.clear()
                if link.has_joined and not link.is_joined:
                    # It is connecting again, and reads what it missed when it has joined.
                    await changed.wait()
                    continue
                try:
                    # The answer comes behind everything that was sent before it.
                    await self.socket.call(LATEST_SEQ, LatestSeqRequest(), remaining(_ANSWER_SECONDS))
                except DaemonUnreachable:
                    await asyncio.sleep(pauses.next())
                else:
                    await self.backfill.caught_up()
                    return
        finally:
            cancel()

    async def shut(self, reason: DigitornError, timeout: float) -> None:
        """Ends everything, whatever callbacks and peer do.

        Args:
            reason: Why.
            timeout: Seconds that it takes, at about the most.
        """
        self._log.close(reason)
        self.connecting.end()
        try:
            # What has arrived is still given to the callbacks.
            await self.tasks.end(timeout * 3 / 4)
        finally:
            for close in (self.socket.close, self._transport.aclose):
                await self._close_in_time(close(), max(timeout / 4, _LEAST_SECONDS))

    async def _close_in_time(self, closing: Coroutine[Any, Any, None], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await closing
        except TimeoutError:
            session_id = self._log.session_id
            _logger.warning("the stream of session %s was cut off: its peer did not answer", session_id)

    def close_forgotten(self) -> Callable[[], Coroutine[Any, Any, None]]:
        """A function that closes what a forgotten stream leaves. It holds no machine, and so no stream."""
        tasks = self.tasks
        return partial(
            _close_all,
            self.socket,
            self._transport,
            self.callbacks.inboxes,
            tasks.running,
            tasks.deliveries,
        )


async def _close_all(
    socket: EventConnection,
    transport: AsyncTransport,
    inboxes: "list[AsyncInbox[AnyEvent | None]]",
    running: "set[asyncio.Task[None]]",
    deliveries: "set[asyncio.Task[None]]",
) -> None:
    """Closes what belongs to a stream that was forgotten."""
    for task in running - deliveries:
        task.cancel()
    for inbox in inboxes:
        inbox.put(None)
    for close in (socket.close, transport.aclose):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FORGOTTEN_SECONDS):
                await close()
    if deliveries:
        await asyncio.wait(set(deliveries), timeout=_FORGOTTEN_SECONDS)
