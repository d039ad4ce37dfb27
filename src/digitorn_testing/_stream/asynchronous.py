"""A session's live events: the asynchronous stream."""

import asyncio
import contextlib
import inspect
import logging
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar, overload

from digitorn_testing._approvals.policies import (
    ApprovalPolicy,
    Decision,
    StreamApprovals,
    ask,
    stream_approvals,
)
from digitorn_testing._concurrency.deadlines import remaining, unbounded
from digitorn_testing._concurrency.finalizers import weakly, when_forgotten
from digitorn_testing._concurrency.forks import in_forks, leave_behind
from digitorn_testing._errors import (
    ApiError,
    CallbackFailed,
    ContractViolation,
    DaemonUnreachable,
    DigitornError,
    EventTimeout,
    JoinRefused,
    RateLimited,
    ServerError,
    StreamClosed,
    TooLarge,
)
from digitorn_testing._events.daemon import MEANING
from digitorn_testing._events.event import AnyEvent, LiveEvent
from digitorn_testing._events.selector import Selector, Where
from digitorn_testing._exchanges import Exchanges
from digitorn_testing._generated._runtime import NOT_GIVEN
from digitorn_testing._generated.commands import JOIN_SESSION, CommandError, JoinSessionRequest
from digitorn_testing._generated.events import (
    Disconnected,
    EventPayload,
    EventType,
)
from digitorn_testing._generated.models import MessageAccepted, PendingApproval
from digitorn_testing._generated.rest_async import AsyncApi
from digitorn_testing._handles import SessionHandle
from digitorn_testing._log.log import EventLog, Subscription
from digitorn_testing._recordings.recorder import Recorders
from digitorn_testing._secrets.credentials import Credentials
from digitorn_testing._tracking import track
from digitorn_testing._transport._async.transport import AsyncTransport
from digitorn_testing._transport.affinity import wrong_loop
from digitorn_testing._transport.daemon_url import resolve_daemon_url
from digitorn_testing._transport.endpoints import event_connection
from digitorn_testing._transport.event_connection import EventConnection, HandshakeRefused
from digitorn_testing._transport.options import ConnectionOptions
from digitorn_testing._turns import rules
from digitorn_testing._turns.results import TurnResult

from . import protocol
from ._async.turn import AsyncTurn
from .base import DEFAULT_TIMEOUT, Backlog, FollowedTurns, StreamBase, callback_failed, first, fits, name_of
from .link import RECONNECT, Link, ReconnectPolicy, StreamConnection
from .log_reads import ended, read_log

P = TypeVar("P", bound=EventPayload)
R = TypeVar("R")

_CONNECT_SECONDS = 10.0
# Build A answers behind the whole history, which is up to 50,000 events (contract: events, section 3.1).
_JOIN_SECONDS = 60.0
_TRY_FIRST, _TRY_MOST = 0.05, 2.0
_FORGOTTEN_SECONDS = 1.0
_MOST_ERRORS = 100
_CHECK_FIRST, _CHECK_MOST = 0.5, 5.0
# What may be gone a moment later: the daemon starts, is busy, or cannot be reached.
_PASSING = (DaemonUnreachable, ServerError, RateLimited)
# Statuses of an approval that is no longer there: the envelope's refusal, and that of its app or session.
_TOO_LATE = (200, 404)
_logger = logging.getLogger("digitorn.testing")


class _Mark(NamedTuple):
    """What was the newest event when the log was read, and on which connection."""

    moment: float
    newest: int
    joined_at: float


class AsyncLiveEventStream(StreamBase):
    """A session's live events, typed, in order, each once.

    Args:
        daemon_url: Base URL of the daemon; found as `DevClient` finds it when left out.
        token: Access token.
        app_id: The app.
        session_id: The session. The daemon must know it when the stream starts.
        since: Bring what has a higher `seq`; 0 brings the whole history.
        auto_approve: Approve tool calls as they ask; questions to the user are left alone. The short form of
            `approvals=ApproveAll()`.
        strict: Close with `ContractViolation` on an event that is unknown or breaks the contract.
        timeout: Seconds that a wait without a timeout of its own takes, and that iteration waits for
            the next event.
        approvals: Decides what asks; see `ApprovalPolicy`.
        exchanges: Where the stream's own calls over REST are kept; a list of its own when left out.
        reconnect: How a lost connection is made again, and when it is given up.
        connection_options: How to connect; see `ConnectionOptions`.
        max_events: How many events to keep; then the oldest are dropped, and `log.dropped` counts them. All
            of them when left out.

    Raises:
        ValueError: `max_events` is less than one.

    Attributes:
        exchanges: The stream's calls over REST; with those of the client if that made the stream.
    """

    def __init__(
        self,
        *,
        daemon_url: str | None = None,
        token: str | Credentials | None = None,
        app_id: str,
        session_id: str,
        since: int = 0,
        auto_approve: bool = False,
        strict: bool = False,
        timeout: float = DEFAULT_TIMEOUT,
        approvals: ApprovalPolicy | StreamApprovals | None = None,
        exchanges: Exchanges | None = None,
        reconnect: ReconnectPolicy = RECONNECT,
        connection_options: ConnectionOptions | None = None,
        max_events: int | None = None,
    ) -> None:
        self._credentials = token = token if isinstance(token, Credentials) else Credentials(token)
        self._redact = self._credentials.redact
        self.daemon_url = resolve_daemon_url(daemon_url)
        self.app_id = app_id
        self.session_id = session_id
        self.session = SessionHandle(session_id=session_id, app_id=app_id, daemon_url=self.daemon_url)
        self.timeout = timeout
        self._most_rows = (connection_options or ConnectionOptions()).max_log_events
        self.log = EventLog(session_id=session_id, strict=strict, since=since, max_events=max_events)
        self.log.subscribe_in_order(weakly(self._came_in_order))
        self._turns = FollowedTurns()
        self._link = Link(reconnect)
        self.callback_errors: list[CallbackFailed] = []
        """Callbacks that raised, the first hundred times; the first is raised again by `stop`."""
        self._transport = AsyncTransport(
            self.daemon_url,
            self._credentials,
            timeout=_CONNECT_SECONDS,
            exchanges=exchanges,
            connection_options=connection_options,
        )
        self.exchanges = self._transport.exchanges
        self._api = AsyncApi(self._transport)
        self._recorders = Recorders(self.exchanges, self.daemon_url)
        self._recorders.made(self)
        # Weakly, so that a stream that nobody holds any more can be collected.
        self._socket = event_connection(
            self.daemon_url, weakly(self._received), weakly(self._lost), connection_options
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_left = False
        self._forgotten: weakref.finalize[..., object] | None = None
        self._since = since
        self._newest_logged = since
        # The durable log is read from `_complete` on: up to there nothing is missing, and the daemon has it.
        self._complete = since
        self._mark: _Mark | None = None
        self._was_restarted = False
        self._approvals = stream_approvals(approvals, auto_approve=auto_approve)
        self._undecided: dict[str, tuple[PendingApproval, str | None]] = {}
        self._closing_gaps: asyncio.Task[None] | None = None
        self._reconnecting: asyncio.Task[None] | None = None
        self._restarts_before = 0
        self._settling: asyncio.Task[None] | None = None
        self._watching_silence: asyncio.TimerHandle | None = None
        self._joined_at = 0.0
        self._asked_for = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._callbacks: list[_Callback] = []
        self._inboxes: list[asyncio.Queue[AnyEvent | None]] = []
        self._deliveries: set[asyncio.Task[None]] = set()
        self._started = False
        self._stopped = False
        in_forks(self)
        track(self)

    def after_fork(self) -> None:
        """Closes the stream in a forked child: its connection is the parent's."""
        leave_behind(self)
        self.log.leave(StreamClosed("it belongs to the process that opened it"))
        self._turns.joined = False
        self._is_left = True

    # --- life

    async def start(self) -> Self:
        """Connects and joins the session.

        Returns:
            The stream itself.

        Raises:
            JoinRefused: The daemon does not let this user into the session.
            Unauthorized: The token is missing, wrong or expired.
            DaemonUnreachable: No daemon answered.
            StreamClosed: It was started before, or stopped.
        """
        await self.connect()
        try:
            await self.join()
        except BaseException:
            await self._shut(StreamClosed("it could not join"), 1.0)
            raise
        return self

    async def connect(self) -> None:
        """The first half of `start`: an authenticated connection, no session yet."""
        if self._started:
            raise StreamClosed(
                f"the stream of session {self.session_id!r} was started before; make a new one"
            )
        if self.log.closed is not None:
            raise self._closed()
        self._started = True
        self._link.connecting()
        self._loop = asyncio.get_running_loop()
        self._forgotten = when_forgotten(
            self,
            f"the stream of session {self.session_id!r}",
            self._loop,
            partial(_close_all, self._socket, self._transport, self._inboxes, self._deliveries),
        )
        try:
            await self._handshake()
        except HandshakeRefused as refused:
            await self._shut(StreamClosed("it could not connect"), 1.0)
            hint = "It refuses good ones too while too many others were refused; try again later"
            raise JoinRefused(self.session_id, str(refused), hint=hint) from None
        except BaseException:
            await self._shut(StreamClosed("it could not connect"), 1.0)
            raise

    async def join(self, *, from_now: bool = False) -> None:
        """The second half of `start`: enters the session's room. What has been there returns by itself.

        Args:
            from_now: Bring nothing of what was before.

        Raises:
            JoinRefused: The daemon does not let this user into the session.
            DaemonUnreachable: The connection was lost.
            TooLarge: The session's log is more than is taken.
        """
        if self._link.has_joined:
            return
        if self._reconnecting is not None:
            # It was lost before it could join.
            await asyncio.wait({self._reconnecting}, timeout=remaining(_CONNECT_SECONDS))
        await self._enter(protocol.FROM_NOW if from_now else self._since)
        # From here on a connection that is lost is made again with the room.
        self._link.has_joined = True
        if from_now or self._since > self.log.last_seq:
            # Snapshots take numbers too: what the session does from here on comes behind them.
            self._since = self._newest_logged = self._complete = self.log.last_seq
            self.log.begin_at(self.log.last_seq)
        else:
            await self._read_history()
        if self._link.now.state == "connecting":
            self._joined()

    async def _read_history(self) -> None:
        """What a join did not bring: a build may replay nothing (contract: events, section 3.1).

        Raises:
            TooLarge: It is more than is taken.
        """
        try:
            await self.fill_gaps()
        except TooLarge as error:
            if error is not self._socket.violation:
                raise
        except (DaemonUnreachable, ApiError, ContractViolation) as error:
            # Tried again at once, where it is told if it is for good.
            _logger.info("session %s: the log could not be read yet: %s", self.session_id, error)
            self._settle()
        else:
            self._settle(has_read=True)

    async def _enter(self, since: int) -> None:
        """Enters the session's room."""
        request = JoinSessionRequest(app_id=self.app_id, session_id=self.session_id, since=since)
        ack = await self._socket.call(JOIN_SESSION, request, remaining(_JOIN_SECONDS))
        if isinstance(ack, CommandError):
            reason = self._credentials.redact(ack.error)
            # What came does not show in a traceback with variables.
            del ack
            raise JoinRefused(self.session_id, reason)

    def _joined(self) -> None:
        self._link.joined()
        self._turns.joined = True
        # A heartbeat may have come before; the next need not.
        self._watch_silence()
        self._decide_all()

    async def stop(self, timeout: float = 5.0) -> None:
        """Closes the connection; the log stays. May be called again.

        Args:
            timeout: Seconds to wait for a clean end.

        Raises:
            CallbackFailed: A callback had raised; only the first call of `stop` tells.
        """
        self._link.was_stopped = True
        if self._is_at_home():
            await self._shut(StreamClosed("it was stopped"), timeout)
        else:
            # Its event loop has ended, and the connection with it.
            self.log.close(StreamClosed("it was stopped"))
        failed = self._recorders.stop()
        if self.callback_errors and not self._stopped:
            self._stopped = True
            raise self.callback_errors[0]
        self._stopped = True
        if failed is not None:
            raise failed

    def _is_at_home(self) -> bool:
        """Whether this is the stream's event loop, or none is yet; False where that or its process ended.

        Raises:
            WrongEventLoop: It is another one than the stream's, which could still run.
        """
        if self._is_left:
            return False
        if self._loop is None or self._loop is asyncio.get_running_loop():
            return True
        if not self._loop.is_closed():
            raise wrong_loop("stream")
        return False

    @property
    def is_usable(self) -> bool:
        """Whether it is open, and its event loop too.

        Raises:
            WrongEventLoop: This is another event loop than the stream's, which could still run.
        """
        return self.log.closed is None and self._is_at_home()

    async def _shut(self, reason: DigitornError, timeout: float) -> None:
        """Ends everything within about the given seconds, whatever callbacks and peer do."""
        self.log.close(reason)
        self._turns.joined = False
        if self._forgotten is not None:
            self._forgotten.detach()
        if self._watching_silence is not None:
            self._watching_silence.cancel()
        current = asyncio.current_task()
        try:
            # What has arrived is still given to the callbacks.
            if deliveries := [task for task in self._deliveries if task is not current]:
                await asyncio.wait(deliveries, timeout=timeout / 2)
            tasks = [task for task in self._tasks if task is not current]
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=timeout / 4)
        finally:
            for close in (self._socket.close, self._transport.aclose):
                await self._close_in_time(close(), max(timeout / 4, 0.1))

    async def _close_in_time(self, closing: Coroutine[Any, Any, None], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await closing
        except TimeoutError:
            _logger.warning("the stream of session %s was cut off: its peer did not answer", self.session_id)

    async def __aenter__(self) -> Self:
        return self if self._started else await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self.stop()
        except CallbackFailed:
            # A failure of the test itself matters more than one of its callbacks.
            if error is None:
                raise

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine, context=unbounded())
        self._tasks.add(task)
        task.add_done_callback(weakly(self._finished))
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.log.close(error)

    # --- the connection

    async def _handshake(self) -> None:
        """Connects, with a new token if the one that is there has expired.

        Raises:
            HandshakeRefused: The daemon lets nobody in; its reason is none of the token.
        """
        token = self._credentials.access_token
        try:
            await self._socket.connect(token, remaining(_CONNECT_SECONDS))
        except HandshakeRefused:
            # The refusal says nothing; the same token over HTTP does, and is renewed there if it expired.
            await self._api.auth.get_me()
            if self._credentials.access_token == token:
                raise HandshakeRefused("the connection was refused, the token is good") from None
            try:
                await self._socket.connect(self._credentials.access_token, remaining(_CONNECT_SECONDS))
            except HandshakeRefused:
                raise HandshakeRefused("the connection was refused twice") from None

    def _lost(self, reason: str) -> None:
        if self.log.closed is not None:
            return
        self._turns.joined = False
        if (violation := self._socket.violation) is not None:
            self.log.close(violation)
            return
        self._link.lost(reason)
        # A connection that is lost again while it is made again is the same loop's business.
        if self._reconnecting is None or self._reconnecting.done():
            _logger.info("session %s: the connection was lost: %s", self.session_id, reason)
            self._restarts_before = self._link.now.restarts
            self._reconnecting = self._spawn(self._reconnect(weakref.ref(self)))

    @staticmethod
    async def _reconnect(reference: "weakref.ref[AsyncLiveEventStream]") -> None:
        """Makes a lost connection again, until it stands, cannot be made any more or is not wanted."""
        while (stream := reference()) is not None and stream.log.closed is None:
            pause = await stream._try_again()
            # Not held while it waits, so that a stream that nobody holds any more can be collected.
            del stream
            if pause is None:
                return
            await asyncio.sleep(pause)

    async def _try_again(self) -> float | None:
        """Makes a lost connection again: seconds until the next attempt; None when there is none."""
        failed = "it was lost again"
        try:
            async with asyncio.timeout(self._link.left()):
                await self._handshake()
                if not self._link.has_joined:
                    self._link.connecting()
                    return None
                since = self._rejoin_since()
                self.log.rewind(since)
                await self._enter(since)
            if self._socket.connected:
                if self._link.now.restarts > self._restarts_before:
                    # Numbers that the last process gave out need not be those of its log.
                    self._was_restarted = True
                    self._newest_logged = self._complete
                self._joined()
                self._settle()
                return None
        except JoinRefused as error:
            if not protocol.is_refused_for_now(error.reason):
                raise
            failed = str(error)
        except (*_PASSING, ContractViolation, HandshakeRefused) as error:
            failed = str(error)
        except TimeoutError:
            # Cut short by the end of the time for it; what was before tells more.
            failed = self._link.now.last_error or "no answer"
        _logger.info("session %s: no connection: %s", self.session_id, failed)
        pause = self._link.failed(failed)
        if pause is None:
            self.log.close(StreamClosed(f"its connection was given up: {self.connection}"))
        return pause

    def _rejoin_since(self) -> int:
        """Behind which number a rejoin begins; what is missing further back is read from the log."""
        return max(self._since, self._newest_logged - protocol.REPLAY_MARGIN)

    def _read_since(self) -> int:
        """Behind which number the log is read: below the first that is missing there is nothing to ask for.

        Not from the number of a snapshot, which a daemon that was restarted gives out once more.
        """
        complete = self.log.complete_upto(self._complete)
        return max(self._since, min(complete, self._newest_logged - protocol.REPLAY_MARGIN))

    def _kept_upto(self) -> int:
        """Behind which number a daemon that was restarted may have lost events and give numbers anew."""
        return max(self._since, self._complete - protocol.REPLAY_MARGIN)

    def _received(self, frame: object) -> None:
        self._link.heard()
        self._take(frame)

    def _take(self, frame: object) -> None:
        """Takes an event, from the connection or from the daemon's log."""
        try:
            event = self.log.feed(frame)
        except ContractViolation as error:
            said = self._redact(str(error))
            error.args, error.reasons = (said,), tuple(map(self._redact, error.reasons))
            # Without the frames below, whose variables hold what came.
            self.log.close(error.with_traceback(None))
            return
        if event is None:
            return
        if event.seq > self._newest_logged and MEANING.is_logged(event):
            self._newest_logged = event.seq
        elif not event.is_numbered:
            self._heard_control(event)
        if self.log.is_holding and (self._closing_gaps is None or self._closing_gaps.done()):
            self._closing_gaps = self._spawn(self._close_gaps())

    def _heard_control(self, event: AnyEvent) -> None:
        """What frames tell that are no part of the session: which daemon it is, and that it is alive."""
        if (instance_id := MEANING.instance_id(event)) is not None:
            self._link.runs_in(instance_id)
        if MEANING.is_heartbeat(event):
            self._link.has_heartbeats = True
            self._watch_silence()
        current_seq = MEANING.current_seq(event)
        if current_seq is not None and current_seq > max(self.log.highest_number, self._asked_for):
            # Asked once: the number may be one that nobody gets.
            self._asked_for = current_seq
            self._spawn(self._fill_gaps_at_last())

    def _watch_silence(self) -> None:
        """Sees to it that a connection is looked after on which heartbeats should come."""
        if self._watching_silence is None and self._turns.joined and self._link.has_heartbeats:
            # A timer and no task, which would keep a forgotten stream alive.
            self._watching_silence = asyncio.get_running_loop().call_later(
                self._link.quiet_left(), weakly(self._check_silence)
            )

    def _check_silence(self) -> None:
        """Takes a connection for lost that is silent although heartbeats should come."""
        self._watching_silence = None
        if not (self._turns.joined and self._link.has_heartbeats):
            return
        if self._link.quiet_left() > 0:
            self._watch_silence()
        else:
            self._spawn(self._end_silence())

    async def _end_silence(self) -> None:
        await self._socket.close(abruptly=True)
        self._lost(f"no frame for {self._link.policy.silence:g} s, not even a heartbeat")

    # --- gaps

    async def _close_gaps(self) -> None:
        """Gives a missing number a moment to come, asks the daemon's log for it, and goes on without it."""
        while self.log.is_holding and self.log.closed is None:
            newest, noticed, has_read = self.log.highest_number, time.monotonic(), False
            for moment in (*protocol.SETTLE_SECONDS, protocol.SETTLED_SECONDS[-1]):
                if moment > protocol.SETTLE_SECONDS[-1] and has_read and self._has_stood_since(noticed):
                    # What was sent meanwhile would have come.
                    break
                await asyncio.sleep(max(0.0, noticed + moment - time.monotonic()))
                if not self.log.is_holding:
                    return
                try:
                    await self.fill_gaps()
                    has_read = True
                except _PASSING as error:
                    has_read = False
                    _logger.info("session %s: gaps could not be filled: %s", self.session_id, error)
                except (ApiError, ContractViolation) as error:
                    # It will not be otherwise later.
                    has_read = True
                    _logger.warning("session %s: gaps could not be filled: %s", self.session_id, error)
            if has_read:
                self.log.give_up(newest)

    def _has_stood_since(self, moment: float) -> bool:
        """Whether nothing that was sent while the connection was not there is still on its way to the log."""
        return self._turns.joined and self._joined_at < moment - protocol.VISIBLE_SECONDS

    def _settle(self, *, has_read: bool = False) -> None:
        """Reads the log behind a join, now and when everything that was sent before the join is visible.

        Args:
            has_read: Whether it was read just now.
        """
        self._joined_at = time.monotonic()
        if self._settling is None or self._settling.done():
            self._settling = self._spawn(self._read_again(has_read=has_read))

    async def _read_again(self, *, has_read: bool) -> None:
        joined_at = 0.0
        while joined_at != self._joined_at and self.log.closed is None:
            joined_at = self._joined_at
            if not has_read:
                await self._fill_gaps_at_last()
            has_read = False
            for moment in protocol.SETTLED_SECONDS:
                await asyncio.sleep(max(0.0, joined_at + moment - time.monotonic()))
                if joined_at != self._joined_at:
                    # It has joined once more meanwhile.
                    break
                await self._fill_gaps_at_last()

    async def fill_gaps(self, *, since: int | None = None) -> int:
        """Reads the daemon's durable log and takes over what is missing here.

        Args:
            since: Read what has a higher `seq`; where the log is known to be complete up to when left out.

        Returns:
            How many events were missing.

        Raises:
            ApiError: The daemon refused.
            DaemonUnreachable: No daemon answered.
            StreamClosed: The stream ended, or was never started.
        """
        self._check_started()
        if self.log.closed is not None:
            raise self._closed()
        was_restarted = self._was_restarted
        if time.monotonic() - self._joined_at >= protocol.VISIBLE_SECONDS:
            # From the next read on; what was sent before the join is visible to this one.
            self._was_restarted = False
        if since is None:
            since = self._kept_upto() if was_restarted else self._read_since()
        else:
            self._complete = min(self._complete, since)
        before, started = len(self.log), time.monotonic()
        mark = self._mark
        here = _Mark(started, self._newest_logged, self._joined_at)
        try:
            await read_log(
                self._api,
                self.app_id,
                self.session_id,
                since=since,
                most=self._most_rows,
                take=self._take,
            )
        except BaseException as error:
            self._was_restarted = self._was_restarted or was_restarted
            if isinstance(error, TooLarge):
                # Another reading would bring the same.
                self.log.close(error)
            raise
        if mark is not None and mark.joined_at != self._joined_at:
            # The daemon's process may be another since, and may not have kept what was the newest then.
            mark = None
        if mark is not None and started - mark.moment >= protocol.VISIBLE_SECONDS:
            # What was the newest then has been visible for long: this read has brought all up to it.
            self._complete, mark = max(self._complete, mark.newest), None
        self._mark = mark or here
        return len(self.log) - before

    # --- waiting

    @overload
    async def wait_for(
        self,
        type: type[P],
        *,
        where: Callable[[LiveEvent[P]], bool] | None = None,
        timeout: float | None = None,
    ) -> LiveEvent[P]: ...
    @overload
    async def wait_for(
        self, type: EventType, *, where: Where | None = None, timeout: float | None = None
    ) -> AnyEvent: ...
    async def wait_for(self, type: Any, *, where: Any = None, timeout: float | None = None) -> Any:
        """The first event of a type, of those that arrived and those to come.

        Args:
            type: Payload class or wire name.
            where: What else it must be like.
            timeout: Seconds to wait; the stream's own `timeout` when left out.

        Raises:
            EventTimeout: None came in time. The error says what did come.
            StreamClosed: The stream ended, or was never started.
        """
        limit = self.timeout if timeout is None else timeout
        selector = Selector((type,))
        arrived: asyncio.Queue[AnyEvent | None] = asyncio.Queue()
        subscription = self.log.subscribe(arrived.put_nowait, (type,))
        try:
            if (found := first(subscription.existing, selector, where)) is not None:
                return found
            self._check_started()
            async with asyncio.timeout(limit):
                while True:
                    event = await arrived.get()
                    if event is None:
                        raise self._closed()
                    if fits(event, selector, where):
                        return event
        except TimeoutError as error:
            if isinstance(error, EventTimeout):
                raise
            raise self._timeout(selector, limit) from None
        finally:
            subscription.cancel()

    @overload
    async def poll_for(
        self, type: type[P], *, where: Callable[[LiveEvent[P]], bool] | None = None, timeout: float = 0.0
    ) -> LiveEvent[P] | None: ...
    @overload
    async def poll_for(
        self, type: EventType, *, where: Where | None = None, timeout: float = 0.0
    ) -> AnyEvent | None: ...
    async def poll_for(self, type: Any, *, where: Any = None, timeout: float = 0.0) -> Any:
        """Like `wait_for`, but None when none came in time."""
        try:
            return await self.wait_for(type, where=where, timeout=timeout)
        except EventTimeout:
            return None

    async def wait_for_connection(
        self, where: Callable[[StreamConnection], bool], *, timeout: float | None = None
    ) -> StreamConnection:
        """What is known of the connection as soon as it is of some kind, now or later.

        Args:
            where: What it must be like, such as `lambda connection: connection.reconnects > 0`.
            timeout: Seconds to wait; the stream's own `timeout` when left out.

        Raises:
            EventTimeout: It was not in time. The error says what it is.
            StreamClosed: The stream ended, and is not of that kind.
        """
        limit = self.timeout if timeout is None else timeout
        changed: asyncio.Queue[object] = asyncio.Queue()
        # Not for the event, but to be woken by the end of the log.
        subscription = self.log.subscribe(changed.put_nowait, (Disconnected,))
        cancel = self._link.subscribe(changed.put_nowait)
        try:
            async with asyncio.timeout(limit):
                while not where(known := self.connection):
                    if known.state == "closed":
                        raise self._closed()
                    await changed.get()
                return known
        except TimeoutError:
            raise self._timed_out("the connection is not as wanted", limit) from None
        finally:
            cancel()
            subscription.cancel()

    def __aiter__(self) -> AsyncIterator[AnyEvent]:
        return self._iterate()

    async def _iterate(self) -> AsyncIterator[AnyEvent]:
        self._check_started()
        arrived: asyncio.Queue[AnyEvent | None] = asyncio.Queue()
        backlog = Backlog(arrived, self.log.max_events, partial(self.report, "the iteration"))
        subscription = self.log.subscribe(backlog.put)
        try:
            for existing in subscription.existing:
                yield existing
            while True:
                try:
                    async with asyncio.timeout(self.timeout):
                        event = await arrived.get()
                except TimeoutError:
                    raise self._timeout(Selector(()), self.timeout) from None
                if event is None:
                    break
                yield event
        finally:
            subscription.cancel()
        if not self._link.was_stopped:
            raise self._closed()

    # --- turns

    def turn(self, turn: MessageAccepted | str, *, timeout: float | None = None) -> AsyncTurn:
        """A handle of a turn of this session, to read it event by event.

        Args:
            turn: What posting its message answered, or its correlation id.
            timeout: Seconds from now that reading it may take; the stream's own `timeout` when left out.

        Raises:
            StreamClosed: The stream ended, or was never started, and the turn is not here to its end.
        """
        correlation_id = protocol.correlation_id_of(turn)
        self._follow(correlation_id)
        return AsyncTurn(self, correlation_id, timeout=self.timeout if timeout is None else timeout)

    async def wait_for_turn(self, turn: MessageAccepted | str, *, timeout: float | None = None) -> TurnResult:
        """Waits for the end of a turn and makes its events complete.

        The end is the turn's done or cancelled event. When nothing comes for a while the daemon is asked
        over HTTP, since some turns end without one and a live copy may be dropped (contract: events,
        sections 1 and 5.1).

        Args:
            turn: What posting its message answered, or its correlation id.
            timeout: Seconds to wait; the stream's own `timeout` when left out.

        Returns:
            What the turn came to.

        Raises:
            EventTimeout: It did not end in time. The error says what did come, and has what the turn came
                to so far.
            StreamClosed: The stream ended.
            CallbackFailed: The approval policy raised.
        """
        limit = self.timeout if timeout is None else timeout
        self.correlation_id = correlation_id = protocol.correlation_id_of(turn)
        if not self.log.turn_ended(correlation_id):
            watch = self._follow(correlation_id)
            # A waiter that is cancelled leaves the turn to the others.
            await asyncio.wait({watch}, timeout=remaining(limit))
            if not watch.done():
                raise self._turn_timeout(correlation_id, limit)
            if not self.log.turn_ended(correlation_id):
                raise self._turn_failure(correlation_id)
        return self.turn_result(correlation_id)

    async def turn_events(
        self, turn: MessageAccepted | str, *, timeout: float | None = None
    ) -> AsyncGenerator[AnyEvent]:
        """One turn's events alone, in order, from its first to its end, as they come.

        Behind a missing number events are held back for a moment, until it came or the daemon's log does
        not have it. An event that comes later than that is given then, out of order.

        Args:
            turn: What posting its message answered, or its correlation id.
            timeout: Seconds from now that reading it may take; the stream's own `timeout` when left out.

        Raises:
            EventTimeout: It did not end in time.
            StreamClosed: The stream ended before the turn did.
            CallbackFailed: The approval policy raised.
        """
        correlation_id = protocol.correlation_id_of(turn)
        limit = self.timeout if timeout is None else timeout
        deadline = time.monotonic() + limit
        self._follow(correlation_id)
        arrived: asyncio.Queue[AnyEvent | None] = asyncio.Queue()
        subscription = self.log.subscribe_turn(arrived.put_nowait, correlation_id)
        try:
            for existing in subscription.existing:
                yield existing
            while True:
                try:
                    async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                        event = await arrived.get()
                except TimeoutError:
                    raise self._turn_timeout(correlation_id, limit) from None
                if event is None:
                    break
                yield event
        finally:
            subscription.cancel()
        if not self.log.turn_ended(correlation_id):
            raise self._turn_failure(correlation_id)

    async def drain(self, timeout: float = 5.0) -> bool:
        """Waits until no turn that is followed here is open.

        Args:
            timeout: Seconds to wait.

        Returns:
            Whether that came true in time.
        """
        watches = [watch for watch in self._turns.watches.values() if not watch.done()]
        if watches:
            await asyncio.wait(watches, timeout=remaining(timeout))
        return not self._turns.open

    async def abort_turn(self, turn: MessageAccepted | str) -> None:
        """Cuts a turn off; one that waits in the queue is taken out of it, one that has ended is left alone.

        Args:
            turn: What posting its message answered, or its correlation id.

        Raises:
            ApiError: The daemon refused.
            StreamClosed: The stream ended before the turn did.
        """
        correlation_id = protocol.correlation_id_of(turn)
        if self.log.turn_ended(correlation_id):
            return
        if self.log.closed is not None:
            raise self._closed()
        view = await self._api.queue.list_session_queue(self.app_id, self.session_id, include_finished=True)
        entry = next((one for one in view.entries if one.correlation_id == correlation_id), None)
        if entry is not None and entry.status == "queued":
            await self._api.queue.cancel_queued_message(self.app_id, self.session_id, entry.id)
        elif entry is not None and entry.status != "running":
            return
        elif any(rules.ends_turn(event, correlation_id) for event in self.log.turn(correlation_id)):
            # It ended meanwhile; what runs is another.
            return
        elif self.log.running_turn in (correlation_id, None):
            await self._api.sessions.abort_session(self.app_id, self.session_id)

    def _follow(self, correlation_id: str) -> "asyncio.Task[None]":
        """The task that sees a turn to its end; one for all who wait for it."""
        watch = self._turns.watches.get(correlation_id)
        if watch is None:
            if self.log.closed is not None:
                raise self._closed()
            self._check_started()
            self._turns.open.add(correlation_id)
            # Now, and not when the task first runs: what happens to the turn meanwhile is told to it.
            inbox = self._turns.inboxes[correlation_id] = asyncio.Queue()
            types = MEANING.turn_ends
            subscription = self.log.subscribe(inbox.put_nowait, types)
            watch = self._spawn(self._watch(weakref.ref(self), correlation_id, inbox, subscription))
            self._turns.watches[correlation_id] = watch
            # What its turn asked before it was followed is decided now.
            self._decide_all()
        return watch

    @staticmethod
    async def _watch(
        reference: "weakref.ref[AsyncLiveEventStream]",
        correlation_id: str,
        inbox: "asyncio.Queue[AnyEvent | CallbackFailed | None]",
        subscription: Subscription,
    ) -> None:
        """Sees a turn to its end. Its stream is not held while it waits, so that it can be collected."""
        error: BaseException | None = StreamClosed("the stream was stopped")
        ended = any(rules.ends_turn(event, correlation_id) for event in subscription.existing)
        patience = _CHECK_FIRST
        try:
            while not ended:
                arrived = await _next(inbox, patience)
                if (stream := reference()) is None:
                    return
                events = stream._events(arrived)
                may_have = not events or any(map(MEANING.may_end_turn, events))
                ended = any(rules.ends_turn(event, correlation_id) for event in events)
                if not ended and may_have:
                    ended = await stream._ended_by_http(correlation_id)
                    patience = _CHECK_FIRST if events else min(patience * 2, _CHECK_MOST)
                del stream
            if (stream := reference()) is None:
                return
            await stream._until_terminal(correlation_id, inbox)
            await stream._complete_turn(correlation_id)
            error = None
        except DigitornError as failed:
            error = failed
        finally:
            if (stream := reference()) is not None:
                stream._end_watch(correlation_id, subscription, error)

    def _events(self, arrived: "list[AnyEvent | CallbackFailed | None]") -> list[AnyEvent]:
        """The events of what arrived; raises what ends the wait for more."""
        events: list[AnyEvent] = []
        for event in arrived:
            if isinstance(event, CallbackFailed):
                raise event
            if event is None:
                raise self._closed()
            events.append(event)
        return events

    def _end_watch(
        self, correlation_id: str, subscription: Subscription, error: BaseException | None
    ) -> None:
        subscription.cancel()
        del self._turns.inboxes[correlation_id]
        self._approvals.client.end(correlation_id)
        self._turns.open.discard(correlation_id)
        self._turns.forget_oldest()
        self.log.end_turn(correlation_id, error)

    async def _until_terminal(
        self, correlation_id: str, inbox: "asyncio.Queue[AnyEvent | CallbackFailed | None]"
    ) -> None:
        """Gives the last word on a turn that has done everything a moment to come."""
        while rules.lacks_terminal(self.log.turn(correlation_id)):
            arrived = await _next(inbox, protocol.SETTLE_SECONDS[0])
            if not arrived:
                # The daemon's log is asked for it next.
                return
            self._events(arrived)

    async def _complete_turn(self, correlation_id: str) -> None:
        """Makes sure of what came before now. Without a gap there is nothing to ask the daemon for."""
        if not any(MEANING.begins_turn(event) for event in self.log.turn(correlation_id)):
            # It began before this stream did.
            await self._fill_gaps_at_last(since=0)
        elif self.log.has_gap(self._complete):
            await self._fill_gaps_at_last()
        patience = time.monotonic() + protocol.VISIBLE_SECONDS
        is_visible = False
        while self._lacks(correlation_id) and not is_visible and self.log.closed is None:
            # A join right behind the message: its first rows may not be visible yet. Or a last piece of text.
            await asyncio.sleep(protocol.SETTLE_SECONDS[0])
            is_visible = time.monotonic() >= patience
            await self._fill_gaps_at_last()
        # No further: what is missing behind it may belong to the next turn, and still come.
        self.log.give_up(self._last_of(correlation_id))
        if correlation_id not in self._turns.endings and not rules.tells_outcome(
            self.log.turn(correlation_id)
        ):
            await self._ended_by_http(correlation_id)

    def _last_of(self, correlation_id: str) -> int:
        return max((event.seq for event in self.log.turn(correlation_id)), default=0)

    def _lacks(self, correlation_id: str) -> bool:
        if self.log.is_waiting_below(self._last_of(correlation_id)):
            return True
        turn = self.log.turn(correlation_id)
        return rules.lacks_text(turn) or rules.lacks_terminal(turn)

    async def _fill_gaps_at_last(self, *, since: int | None = None) -> None:
        """Fills gaps, however long the daemon cannot be reached; a session that is gone gives no more."""
        delay = _TRY_FIRST
        while self.log.closed is None:
            try:
                await self.fill_gaps(since=since)
            except _PASSING as error:
                _logger.info("session %s: gaps could not be filled yet: %s", self.session_id, error)
            except (ApiError, ContractViolation) as error:
                _logger.warning("session %s: gaps could not be filled: %s", self.session_id, error)
                return
            else:
                return
            await asyncio.sleep(delay)
            delay = min(delay * 2, _TRY_MOST)

    async def _ended_by_http(self, correlation_id: str) -> bool:
        """Whether the daemon, asked over HTTP, says that a turn is over."""
        try:
            over, ending = await ended(
                self._api,
                self.log,
                self.app_id,
                self.session_id,
                correlation_id,
                since=self._complete,
                most=self._most_rows,
                take=self._take,
            )
        except TooLarge as error:
            self.log.close(error)
            raise
        except (*_PASSING, ContractViolation) as error:
            _logger.info("session %s: %s", self.session_id, error)
            return False
        if ending is not None:
            self._turns.note(correlation_id, ending)
        return over

    def _check_started(self) -> None:
        if not self._started:
            raise StreamClosed(f"the stream of session {self.session_id!r} was not started; call start()")
        if not self._is_at_home():
            self.log.close(StreamClosed("its event loop has ended"))
            raise self._closed()

    # --- callbacks

    @overload
    def on(self, type: type[P]) -> Callable[[Callable[[LiveEvent[P]], R]], Callable[[LiveEvent[P]], R]]: ...
    @overload
    def on(self, type: EventType) -> Callable[[Callable[[AnyEvent], R]], Callable[[AnyEvent], R]]: ...
    def on(self, type: Any) -> Any:
        """Registers a callback for the events of a type that arrive from now on.

        Callbacks run one after the other in a task of their own; they may be coroutine functions. One that
        raises is reported: logged at once, and raised by `stop`. So is one that falls more than `max_events`
        behind, if the stream has such a bound; it misses the oldest then.

        Args:
            type: Payload class or wire name.

        Returns:
            A decorator; it gives the callback back unchanged.
        """

        def register(callback: Callable[[Any], R]) -> Callable[[Any], R]:
            kept = _Callback(Selector((type,)), callback)
            arrived: asyncio.Queue[AnyEvent | None] = asyncio.Queue()
            tell = partial(weakly(self.report), name_of(callback))
            backlog = Backlog(arrived, self.log.max_events, tell)
            self.log.subscribe(backlog.put, (type,))
            self._callbacks.append(kept)
            self._inboxes.append(arrived)
            self._hand_over(_deliver(arrived, weakref.ref(kept), weakly(self.report)))
            return callback

        return register

    def _hand_over(self, delivery: Coroutine[Any, Any, None]) -> None:
        """Runs what hands something to code of the user; an end of the stream waits for it, within bounds."""
        task = self._spawn(delivery)
        self._deliveries.add(task)
        # Of its own, since the stream's may be gone by then.
        task.add_done_callback(self._deliveries.discard)

    def report(self, callback: object, error: BaseException) -> None:
        """Reports a callback that raised."""
        failed = callback_failed("callback", callback, error)
        if len(self.callback_errors) < _MOST_ERRORS:
            self.callback_errors.append(failed)
        _logger.error("session %s: %s", self.session_id, failed, exc_info=error)

    # --- approvals

    def _came_in_order(self, event: AnyEvent, turn: str | None) -> None:
        pending = self.log.meaning.pending(event)
        for request in pending:
            self._undecided.setdefault(request.request_id, (request, self.log.running_turn))
        if (asked := self.log.meaning.asked(event)) is not None:
            # A row that is in the log alone may name no turn, and may come before its live copy.
            self._undecided[asked.request_id] = (asked, turn or self.log.running_turn)
        if self._turns.joined and (pending or asked is not None):
            self._decide_all()

    def _decide_all(self) -> None:
        """Decides what came; by the time it is done, what came with its resolution is no longer open."""
        undecided, self._undecided = self._undecided, {}
        for request, turn in undecided.values():
            self._hand_over(self._decide(request, turn))

    async def _decide(self, request: PendingApproval, turn: str | None) -> None:
        policy = await self._approvals.policy(self.session_id, turn)
        client = self._approvals.client
        if not any(one.request_id == request.request_id for one in self.log.pending_approvals()):
            return
        if policy is None:
            # Nobody's here so far; somebody may take up its turn.
            self._undecided.setdefault(request.request_id, (request, turn))
            return
        if not client.ask_once(request.request_id, policy):
            return
        try:
            decision = await ask(policy, request, on_thread=self._approvals.on_thread)
        except (KeyboardInterrupt, SystemExit) as error:
            if not self._approvals.on_thread:
                raise
            self._policy_failed(policy, error, turn)
            return
        except BaseException as error:
            if _is_cancelled():
                raise
            self._policy_failed(policy, error, turn)
            return
        if decision is not None and client.claim(request.request_id):
            try:
                await self._resolve(request, decision)
            except ApiError as error:
                client.unclaim(request.request_id)
                self._policy_failed(policy, error, turn)
            except BaseException:
                client.unclaim(request.request_id)
                raise

    def _policy_failed(self, policy: object, error: BaseException, turn: str | None) -> None:
        inbox = self._turns.inboxes.get(turn or "")
        if inbox is None:
            self.report(policy, error)
            return
        failed = callback_failed("approval policy", policy, error)
        _logger.error("session %s: %s", self.session_id, failed, exc_info=error)
        # Whoever waits for the turn is told.
        inbox.put_nowait(failed)

    async def _resolve(self, request: PendingApproval, decision: Decision) -> None:
        delay = _TRY_FIRST
        while self.log.closed is None:
            try:
                await self._api.approvals.resolve_approval(
                    request.app_id,
                    request_id=request.request_id,
                    approved=decision.approved,
                    message=decision.message or NOT_GIVEN,
                )
            except _PASSING as error:
                _logger.info("approval %s: %s", request.request_id, error)
            except (ApiError, ContractViolation) as error:
                if isinstance(error, ApiError) and error.status not in _TOO_LATE:
                    raise
                # Somebody else was faster, or the turn was aborted meanwhile.
                _logger.info("approval %s was not resolved: %s", request.request_id, error)
                return
            else:
                return
            await asyncio.sleep(delay)
            delay = min(delay * 2, _TRY_MOST)


class _Callback:
    """A callback, which its stream keeps alive."""

    def __init__(self, selector: Selector, call: Callable[[Any], object]) -> None:
        self.selector = selector
        self.call = call


async def _next(
    inbox: "asyncio.Queue[AnyEvent | CallbackFailed | None]", seconds: float
) -> "list[AnyEvent | CallbackFailed | None]":
    """What arrives next; empty when nothing does in time."""
    try:
        async with asyncio.timeout(seconds):
            return [await inbox.get()]
    except TimeoutError:
        return []


async def _deliver(
    arrived: "asyncio.Queue[AnyEvent | None]",
    reference: "weakref.ref[_Callback]",
    report: Callable[[object, BaseException], None],
) -> None:
    """Gives a callback what arrives; holds neither it nor its stream while it waits."""
    while (event := await arrived.get()) is not None:
        if (callback := reference()) is None:
            return
        if callback.selector.matches(event):
            try:
                result = callback.call(event)
                if inspect.isawaitable(result):
                    await _awaited(result)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                if _is_cancelled():
                    raise
                report(callback.call, error)
        del callback


def _is_cancelled() -> bool:
    """Whether this task is, and not something that it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _close_all(
    socket: EventConnection,
    transport: AsyncTransport,
    inboxes: "list[asyncio.Queue[AnyEvent | None]]",
    deliveries: "set[asyncio.Task[None]]",
) -> None:
    """Closes what belongs to a stream that was forgotten."""
    for arrived in inboxes:
        arrived.put_nowait(None)
    for close in (socket.close, transport.aclose):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FORGOTTEN_SECONDS):
                await close()
    if deliveries:
        await asyncio.wait(set(deliveries), timeout=_FORGOTTEN_SECONDS)


async def _awaited(result: Awaitable[object]) -> None:
    await result
