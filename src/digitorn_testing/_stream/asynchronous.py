"""A session's live events: the asynchronous stream."""

import asyncio
import logging
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from digitorn_testing._approvals.policies import ApprovalPolicy, StreamApprovals, stream_approvals
from digitorn_testing._concurrency.deadlines import finite, remaining
from digitorn_testing._concurrency.finalizers import Close, at_loop_end, weakly, when_forgotten
from digitorn_testing._concurrency.forks import in_forks, leave_behind
from digitorn_testing._errors import (
    CallbackFailed,
    DigitornError,
    EventTimeout,
    JoinRefused,
    StreamClosed,
)
from digitorn_testing._events.event import AnyEvent, LiveEvent
from digitorn_testing._events.selector import EventSelector, Where
from digitorn_testing._exchanges import Exchanges
from digitorn_testing._formerly import once_took
from digitorn_testing._generated.events import EventPayload, EventType
from digitorn_testing._generated.models import MessageAccepted
from digitorn_testing._handles import SessionHandle
from digitorn_testing._log.log import EventLog
from digitorn_testing._recordings.recorder import Recorders
from digitorn_testing._secrets.credentials import Credentials
from digitorn_testing._tracking import track
from digitorn_testing._transport._async.transport import AsyncTransport
from digitorn_testing._transport.affinity import wrong_loop
from digitorn_testing._transport.daemon_url import resolve_daemon_url
from digitorn_testing._transport.event_connection import HandshakeRefused
from digitorn_testing._transport.options import ConnectionOptions
from digitorn_testing._turns.results import TurnResult

from ._async.reading import EventReading, StreamReading, TurnReading, wait
from ._async.turn import AsyncTurn
from .base import DEFAULT_TIMEOUT, StreamBase
from .core import StreamCore
from .link import RECONNECT, Link, ReconnectPolicy, StreamConnection
from .machines import Machines
from .protocol import correlation_id_of
from .waiting import ConnectionWaiter, EventWaiter, TurnEventWaiter

if TYPE_CHECKING:
    from digitorn_testing.legacy import AsyncOldStream
else:
    from digitorn_testing._formerly import AsyncOldStream

P = TypeVar("P", bound=EventPayload)
R = TypeVar("R")

_HTTP_SECONDS = 10.0
_FORGOTTEN_SECONDS = 1.0
_logger = logging.getLogger("digitorn.testing")


class AsyncLiveEventStream(StreamBase, AsyncOldStream):
    """A session's live events: typed, deduplicated and in order.

    Args:
        daemon_url: Base URL of the daemon; when left out it is found as `DevClient` finds it.
        token: Access token.
        app_id: The app.
        session_id: The session. The daemon must know it when the stream starts.
        since: Start with events that have a higher `seq`; 0 for the whole history.
        auto_approve: Approve tool calls that need approval; questions to the user stay open. The short form
            of `approvals=ApproveAll()`.
        strict: Close with `ContractViolation` on an event that is unknown or breaks the contract.
        timeout: Default timeout of waits in seconds; also how long iteration waits for the next event.
        approvals: Decides approvals; see `ApprovalPolicy`.
        exchanges: Collects the stream's own REST calls. Default: a new list.
        reconnect: How the stream reconnects after a loss, and when it gives up.
        connection_options: How to connect; see `ConnectionOptions`.
        max_events: How many events to keep. Beyond that the oldest are dropped, and `log.dropped` counts
            them. When left out, all are kept.

    Raises:
        ValueError: `max_events` is less than one.

    Attributes:
        exchanges: The stream's calls over REST, together with those of the client if that made the stream.
    """

    @once_took
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
        # Under its own name, so that no traceback shows the variable with the plain token.
        token = token if isinstance(token, Credentials) else Credentials(token)
        url = resolve_daemon_url(daemon_url)
        self._transport = AsyncTransport(
            url,
            token,
            timeout=_HTTP_SECONDS,
            exchanges=exchanges,
            connection_options=connection_options,
        )
        core = StreamCore(
            session=SessionHandle(session_id=session_id, app_id=app_id, daemon_url=url),
            log=EventLog(session_id=session_id, strict=strict, since=since, max_events=max_events),
            link=Link(reconnect),
            recorders=Recorders(self._transport.exchanges, url),
            redact=token.redact,
        )
        super().__init__(core)
        self.timeout = timeout
        self.exchanges = self._transport.exchanges
        core.recorders.made(self)
        deciding = stream_approvals(approvals, auto_approve=auto_approve)
        self._machines = Machines(core, self._transport, deciding, since=since)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_left = False
        self._forgotten: weakref.finalize[..., object] | None = None
        self._ends_with_loop: Callable[[], None] | None = None
        self._started = False
        self._stopped = False
        in_forks(self)
        track(self)

    def after_fork(self) -> None:
        """Closes the stream in a forked child: its connection is the parent's."""
        leave_behind(self)
        self.log.leave(StreamClosed("it belongs to the process that opened it"))
        self.core.link.ended()
        self._is_left = True

    # --- life

    @once_took
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
        """The first half of `start`: makes an authenticated connection, without a session yet."""
        if self._started:
            raise StreamClosed(
                f"the stream of session {self.session_id!r} was started before; make a new one"
            )
        if self.log.closed is not None:
            raise self.core.closed_error()
        self._started = True
        self.core.link.connecting()
        self._loop = self.core.home = asyncio.get_running_loop()
        close = self._machines.close_forgotten()
        self._ends_with_loop = cancel = at_loop_end(close)
        self._forgotten = when_forgotten(
            self,
            f"the stream of session {self.session_id!r}",
            self._loop,
            partial(_close_forgotten, close, cancel),
        )
        try:
            await self._machines.connecting.connect()
        except HandshakeRefused as refused:
            await self._shut(StreamClosed("it could not connect"), 1.0)
            hint = "It refuses good ones too while too many others were refused; try again later"
            raise JoinRefused(self.session_id, str(refused), hint=hint) from None
        except BaseException:
            await self._shut(StreamClosed("it could not connect"), 1.0)
            raise

    async def join(self, *, from_now: bool = False) -> None:
        """The second half of `start`: enters the session's room. Does nothing in a session it has joined.

        Args:
            from_now: Skip everything that happened before.

        Raises:
            JoinRefused: The daemon does not let this user into the session.
            DaemonUnreachable: The connection was lost.
            TooLarge: The session's log exceeds the size limit.
        """
        if self.has_joined:
            return
        await self._machines.connecting.enter()
        self._check_started()
        await self._machines.backfill.entered(from_now=from_now)
        self._machines.connecting.joined_first()

    async def join_later(self) -> None:
        """Enters the session's room as soon as the session exists: now, or in the background.

        A session exists from its first message on. The stream then has all its events, as after any join.

        Raises:
            StreamClosed: The stream ended, or was never started.
            TooLarge: The session's log exceeds the size limit.
        """
        self._check_started()
        await self._machines.connecting.enter_later()

    def begin(self) -> None:
        """Tells a stream that waits for its session that the session was created; from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            with suppress(RuntimeError):
                # The loop may be closed meanwhile.
                self._loop.call_soon_threadsafe(weakly(self._machines.connecting.begin))

    async def stop(self, timeout: float = 5.0) -> None:
        """Closes the connection; the log stays available. Idempotent.

        Args:
            timeout: Seconds to wait for a clean end.

        Raises:
            CallbackFailed: A callback raised. Only the first call of `stop` raises this.
        """
        self.core.link.was_stopped = True
        if self._is_at_home():
            await self._shut(StreamClosed("it was stopped"), timeout)
        else:
            # Its event loop is closed, and so is the connection.
            self.log.close(StreamClosed("it was stopped"))
        failed = self.core.recorders.stop()
        was_stopped, self._stopped = self._stopped, True
        if self.callback_errors and not was_stopped:
            raise self.callback_errors[0]
        if failed is not None:
            raise failed

    def _is_at_home(self) -> bool:
        """Whether the stream can be used here: its event loop and process are these, or it has none yet.

        Returns:
            False when its event loop or its process has ended.

        Raises:
            WrongEventLoop: The stream belongs to another event loop, which is not closed.
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
        """Whether the stream and its event loop are open.

        Raises:
            WrongEventLoop: The stream belongs to another event loop, which is not closed.
        """
        return self.log.closed is None and self._is_at_home()

    async def _shut(self, reason: DigitornError, timeout: float) -> None:
        if self._forgotten is not None:
            self._forgotten.detach()
        try:
            await self._machines.shut(reason, timeout)
        finally:
            if self._ends_with_loop is not None:
                self._ends_with_loop()

    def _check_started(self) -> None:
        if not self._started:
            raise StreamClosed(f"the stream of session {self.session_id!r} was not started; call start()")
        if not self._is_at_home():
            self.log.close(StreamClosed("its event loop has ended"))
            raise self.core.closed_error()

    async def __aenter__(self) -> Self:
        return self if self._started else await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self.stop()
        except CallbackFailed:
            # A failure of the test itself is more important than one of its callbacks.
            if error is None:
                raise

    # --- gaps

    async def fill_gaps(self, *, since: int | None = None) -> int:
        """Reads the daemon's durable log and adds the events that are missing here.

        Args:
            since: Read events with a higher `seq`. Default: the number up to which the log was read before.

        Returns:
            How many events were missing.

        Raises:
            ApiError: The daemon refused.
            DaemonUnreachable: No daemon answered.
            StreamClosed: The stream ended, or was never started.
        """
        self._check_started()
        return await self._machines.backfill.fill(since)

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
    @once_took
    async def wait_for(self, type: Any, *, where: Any = None, timeout: float | None = None) -> Any:
        """Returns the first event of a type, whether it has arrived already or arrives later.

        What happened before the event is here as well when this returns. While the stream reads what was
        missed before a join, an event that arrives is returned when the read is over, or at the deadline.

        Args:
            type: Payload class or wire name.
            where: A predicate that the event must satisfy.
            timeout: Seconds to wait; the stream's own `timeout` when left out.

        Raises:
            EventTimeout: No such event arrived in time. The error lists the events that did.
            StreamClosed: The stream ended, or was never started.
        """
        limit = self.timeout if timeout is None else timeout
        return await wait(EventWaiter(self.core, type, where, limit, check=self._check_started))

    @overload
    async def poll_for(
        self, type: type[P], *, where: Callable[[LiveEvent[P]], bool] | None = None, timeout: float = 0.0
    ) -> LiveEvent[P] | None: ...
    @overload
    async def poll_for(
        self, type: EventType, *, where: Where | None = None, timeout: float = 0.0
    ) -> AnyEvent | None: ...
    async def poll_for(self, type: Any, *, where: Any = None, timeout: float = 0.0) -> Any:
        """Like `wait_for`, but returns None if no such event arrived in time."""
        try:
            return await self.wait_for(type, where=where, timeout=timeout)
        except EventTimeout:
            return None

    async def wait_for_connection(
        self, where: Callable[[StreamConnection], bool], *, timeout: float | None = None
    ) -> StreamConnection:
        """Waits until the connection satisfies a predicate, and returns its state at that moment.

        Args:
            where: A predicate, such as `lambda connection: connection.reconnects > 0`.
            timeout: Seconds to wait; the stream's own `timeout` when left out.

        Raises:
            EventTimeout: It did not in time. The error describes the connection.
            StreamClosed: The stream ended, and the predicate is false for its final state.
        """
        return await wait(ConnectionWaiter(self.core, where, self.timeout if timeout is None else timeout))

    def __aiter__(self) -> AsyncIterator[AnyEvent]:
        return StreamReading(self.core, self.timeout, self._check_started)

    # --- turns

    def turn(self, turn: MessageAccepted | str, *, timeout: float | None = None) -> AsyncTurn:
        """A turn of this session as an object, to read it event by event.

        Args:
            turn: The result of posting its message, or its correlation id.
            timeout: Seconds from now to finish reading; the stream's own `timeout` when left out.

        Raises:
            StreamClosed: The stream ended or was never started, and the turn is not complete here.
        """
        correlation_id = correlation_id_of(turn)
        self._follow(correlation_id)
        return AsyncTurn(self, correlation_id, timeout=self.timeout if timeout is None else timeout)

    async def wait_for_turn(self, turn: MessageAccepted | str, *, timeout: float | None = None) -> TurnResult:
        """Waits for the end of a turn, and reads any of its events that are missing.

        A turn ends with its done or cancelled event. Some turns end without one, and the live copy may be
        dropped, so the daemon is asked over HTTP if no event arrives for a while (contract: events,
        sections 1 and 5.1).

        Args:
            turn: The result of posting its message, or its correlation id.
            timeout: Seconds to wait; the stream's own `timeout` when left out.

        Returns:
            The result of the turn.

        Raises:
            EventTimeout: It did not end in time. The error says which events came; its `result` is what they
                add up to so far.
            StreamClosed: The stream ended.
            CallbackFailed: The approval policy raised.
        """
        limit = self.timeout if timeout is None else timeout
        self.correlation_id = correlation_id = correlation_id_of(turn)
        if not self.log.turn_ended(correlation_id):
            watch = self._follow(correlation_id)
            # Cancelling one waiter must not stop the others.
            await asyncio.wait({watch}, timeout=finite(remaining(limit)))
            if not watch.done():
                if (result := self.core.ended_in_time(correlation_id)) is not None:
                    return result
                raise self.core.turn_timeout(correlation_id, limit)
            if not self.log.turn_ended(correlation_id):
                raise self.core.turn_failure(correlation_id)
        return self.turn_result(correlation_id)

    def turn_events(self, turn: MessageAccepted | str, *, timeout: float | None = None) -> EventReading:
        """Iterates over the events of one turn in order, from the first to the last, as they arrive.

        The daemon sends them in order. Those that it sends while the stream reads what a lost connection
        missed are held back until the read is over. An event that the daemon dropped, and that is read from
        its log later, is yielded then.

        Args:
            turn: The result of posting its message, or its correlation id.
            timeout: Seconds from the first read to finish reading; the stream's own `timeout` when left out.

        Raises:
            EventTimeout: It did not end in time.
            StreamClosed: The stream ended before the turn did.
            CallbackFailed: The approval policy raised.
        """
        limit = self.timeout if timeout is None else timeout
        return TurnReading(self.core, correlation_id_of(turn), limit, self._follow)

    async def wait_in_turn(
        self,
        turn: MessageAccepted | str,
        type: EventSelector,
        *,
        where: Where | None = None,
        timeout: float | None = None,
    ) -> AnyEvent:
        """Returns the first event of a type in one turn; `AsyncTurn.wait_for` is the typed form.

        Args:
            turn: The result of posting its message, or its correlation id.
            type: Payload class or wire name.
            where: A predicate that the event must satisfy.
            timeout: Seconds to wait; the stream's own `timeout` when left out.

        Raises:
            EventTimeout: No such event arrived in time, or the turn ended without one.
            StreamClosed: The stream ended before the turn did.
        """
        correlation_id = correlation_id_of(turn)
        self._follow(correlation_id)
        limit = self.timeout if timeout is None else timeout
        return await wait(TurnEventWaiter(self.core, correlation_id, type, where, limit))

    async def drain(self, timeout: float = 5.0) -> bool:
        """Waits until every turn that this stream follows has ended, and what the daemon has sent is here.

        `FakeDaemon.drain` does so for all its sessions and streams.

        Args:
            timeout: Seconds to wait.

        Returns:
            Whether that came true in time.
        """
        return await self._machines.drain(timeout)

    async def abort_turn(self, turn: MessageAccepted | str) -> None:
        """Aborts a turn. A queued turn is removed from the queue; a turn that has ended is unaffected.

        Args:
            turn: The result of posting its message, or its correlation id.

        Raises:
            AbortFailed: It is the first one that waits, or the daemon did not cut it off.
            ApiError: The daemon refused.
            StreamClosed: The stream ended before the turn did.
        """
        correlation_id = correlation_id_of(turn)
        if self.log.turn_ended(correlation_id):
            return
        if self.log.closed is not None:
            raise self.core.closed_error()
        await self._machines.calls.abort(correlation_id)

    def _follow(self, correlation_id: str) -> "asyncio.Task[None]":
        """The task that follows a turn to its end, shared by all its waiters."""
        watch = self._machines.following.watch_of(correlation_id)
        if watch is None:
            if self.log.closed is not None:
                raise self.core.closed_error()
            self._check_started()
            watch = self._machines.following.follow(correlation_id)
            # Decide the approvals that the turn requested before it was followed.
            self._machines.deciding.decide_all()
        return watch

    # --- callbacks

    @overload
    def on(self, type: type[P]) -> Callable[[Callable[[LiveEvent[P]], R]], Callable[[LiveEvent[P]], R]]: ...
    @overload
    def on(self, type: EventType) -> Callable[[Callable[[AnyEvent], R]], Callable[[AnyEvent], R]]: ...
    def on(self, type: Any) -> Any:
        """Registers a callback for the events of a type that arrive from now on.

        Each callback has a task that passes it one event at a time; it may be a coroutine function. If
        it raises, that is logged at once and raised by `stop`. The same happens to a callback that falls more
        than `max_events` behind, if the stream has that bound: it then misses the oldest events.

        Args:
            type: Payload class or wire name.

        Returns:
            A decorator, which returns the callback unchanged.
        """

        def register(callback: Callable[[Any], R]) -> Callable[[Any], R]:
            self._machines.callbacks.add(type, callback)
            return callback

        return register


async def _close_forgotten(close: Close, cancel: Callable[[], None]) -> None:
    """Closes what a forgotten stream leaves, and then no more at the end of its event loop."""
    await close()
    cancel()
