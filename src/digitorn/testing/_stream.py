"""A session's live events: the asynchronous stream, and its blocking face."""

import asyncio
import inspect
import logging
import queue
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from . import _session_protocol as protocol
from ._async.session_reads import ended, read_log
from ._async.transport import AsyncTransport
from ._clock import remaining, unbounded
from ._connect import resolve_daemon_url
from ._credentials import Credentials
from ._errors import (
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
)
from ._event import LiveEvent
from ._generated.commands import JOIN_SESSION, CommandError, JoinSessionRequest
from ._generated.events import (
    QUESTION_TOOLS,
    ApprovalRequest,
    ApprovalsSnapshot,
    EventPayload,
    EventType,
)
from ._generated.models import MessageAccepted, PendingApproval
from ._generated.rest_async import AsyncApi
from ._handles import SessionHandle
from ._log import AnyEvent, EventLog
from ._loop import BACKGROUND, LoopStopped
from ._select import Selector, Where
from ._socket import EventSocket, HandshakeRefused
from ._turn_result import TurnResult, collect

P = TypeVar("P", bound=EventPayload)
T = TypeVar("T")
R = TypeVar("R")

DEFAULT_TIMEOUT = 60.0
_CONNECT_SECONDS = 10.0
_RECONNECT_FIRST, _RECONNECT_MOST = 0.05, 2.0
_CHECK_FIRST, _CHECK_MOST = 0.5, 5.0
# What may be gone a moment later: the daemon starts, is busy, or cannot be reached.
_PASSING = (DaemonUnreachable, ServerError, RateLimited)
_logger = logging.getLogger("digitorn.testing")


class StreamBase:
    """What both faces of a stream share: its log and everything that is read from it.

    Attributes:
        app_id: The app.
        session_id: The session.
        daemon_url: The daemon.
        log: Every event so far; may be read from any thread.
        correlation_id: The turn that was last waited for; with `send_live`, that of its message.
    """

    correlation_id: str | None = None
    _endings: dict[str, protocol.TurnStatus]
    app_id: str
    session_id: str
    daemon_url: str
    log: EventLog

    def events(self) -> list[AnyEvent]:
        """Every event so far, in `seq` order."""
        return self.log.events()

    @overload
    def events_of(self, *types: type[P]) -> Sequence[LiveEvent[P]]: ...
    @overload
    def events_of(self, *types: type[EventPayload] | EventType) -> Sequence[AnyEvent]: ...
    def events_of(self, *types: type[EventPayload] | EventType) -> Sequence[Any]:
        """The events of some types so far, in `seq` order.

        Args:
            types: Payload classes or wire names.
        """
        return self.log.events_of(*types)

    def turn_result(self, correlation_id: str | None = None) -> TurnResult:
        """What a turn's events so far add up to.

        Args:
            correlation_id: The turn; that of `send_live` when left out.

        Raises:
            ValueError: There is no such turn here, or none was named and none waited for.
        """
        turn = correlation_id or self.correlation_id
        events = self.log.turn(turn) if turn is not None else []
        if turn is None or not events:
            raise ValueError(f"no turn {turn!r} on this stream; pass the correlation_id of one of its turns")
        session = SessionHandle(session_id=self.session_id, app_id=self.app_id, daemon_url=self.daemon_url)
        return collect(events, session=session, correlation_id=turn, ending=self._endings.get(turn))

    def __repr__(self) -> str:
        state = "closed" if self.log.closed is not None else "open"
        return f"<{type(self).__name__} {self.app_id}/{self.session_id}, {state}, {len(self.log)} events>"

    def _timeout(self, selector: Selector, timeout: float) -> EventTimeout:
        refused = [str(event.seq) for event in self.events() if selector.wires and selector.matches(event)]
        unfit = (
            f" that satisfies `where` ({len(refused)} came, seq {', '.join(refused[-3:])})" if refused else ""
        )
        return self.log.timeout(f"no {selector.label}{unfit}", timeout)

    def _closed(self) -> BaseException:
        """What to raise when the stream ends under a waiter: a new exception, the reason its cause."""
        reason = self.log.closed
        if isinstance(reason, ContractViolation):
            return reason
        error = StreamClosed(f"the stream of session {self.session_id!r} is closed: {reason}")
        error.__cause__ = reason
        return error


class AsyncLiveEventStream(StreamBase):
    """A session's live events, typed, in order, each once.

    Args:
        daemon_url: Base URL of the daemon; found as `DevClient` finds it when left out.
        token: Access token.
        app_id: The app.
        session_id: The session. The daemon must know it when the stream starts.
        since: Bring what has a higher `seq`; 0 brings the whole history.
        auto_approve: Approve tool calls as they ask; questions to the user are left alone.
        strict: Close with `ContractViolation` on an event that is unknown or breaks the contract.
        timeout: Seconds that a wait without a timeout of its own takes, and that iteration waits for
            the next event.
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
    ) -> None:
        self.daemon_url = resolve_daemon_url(daemon_url)
        self.app_id = app_id
        self.session_id = session_id
        self.timeout = timeout
        self.log = EventLog(session_id=session_id, strict=strict)
        self._endings = {}
        self.callback_errors: list[CallbackFailed] = []
        """Callbacks that raised; the first is raised again by `stop`."""
        self._credentials = token if isinstance(token, Credentials) else Credentials(token)
        self._transport = AsyncTransport(self.daemon_url, self._credentials, timeout=_CONNECT_SECONDS)
        self._api = AsyncApi(self._transport)
        self._socket = EventSocket(self.daemon_url, self._received, self._lost)
        self._join_since = since
        self._newest_logged = since
        # The durable log is read from `_complete` on: up to there nothing can be missing any more.
        self._complete = since
        self._mark: tuple[float, int] | None = None
        self._auto_approve = auto_approve
        self._decided: set[str] = set()
        self._settling: asyncio.Task[None] | None = None
        self._reconnecting: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._deliveries: set[asyncio.Task[None]] = set()
        self._started = False
        self._stopped = False

    # --- life

    async def start(self) -> Self:
        """Connects and joins the session.

        Returns:
            The stream itself.

        Raises:
            JoinRefused: The daemon does not let this user into the session.
            Unauthorized: The token is missing, wrong or expired.
            DaemonUnreachable: No daemon answered.
            StreamClosed: It was started before.
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
        self._started = True
        try:
            await self._handshake()
        except BaseException:
            await self._shut(StreamClosed("it could not connect"), 1.0)
            raise

    async def join(self, *, from_now: bool = False) -> None:
        """The second half of `start`: enters the session's room.

        Args:
            from_now: Bring nothing of what was before.

        Raises:
            JoinRefused: The daemon does not let this user into the session.
        """
        since = protocol.FROM_NOW if from_now else self._join_since
        request = JoinSessionRequest(app_id=self.app_id, session_id=self.session_id, since=since)
        ack = await self._socket.call(JOIN_SESSION, request, remaining(_CONNECT_SECONDS))
        if isinstance(ack, CommandError):
            raise JoinRefused(self.session_id, self._credentials.redact(ack.error))
        if from_now:
            # Snapshots take numbers too: what the session does from here on comes behind them.
            self._join_since = self._newest_logged = self._complete = self.log.last_seq
        else:
            self._settling = self._spawn(self._settle())

    async def stop(self, timeout: float = 5.0) -> None:
        """Closes the connection; the log stays. May be called again.

        Args:
            timeout: Seconds to wait for a clean end.

        Raises:
            CallbackFailed: A callback had raised; only the first call of `stop` tells.
        """
        await self._shut(StreamClosed("it was stopped"), timeout)
        if self.callback_errors and not self._stopped:
            self._stopped = True
            raise self.callback_errors[0]
        self._stopped = True

    async def _shut(self, reason: DigitornError, timeout: float) -> None:
        """Ends everything within about the given seconds, whatever callbacks and peer do."""
        self.log.close(reason)
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
            for closing in (self._socket.close(), self._transport.aclose()):
                await self._close_in_time(closing, max(timeout / 4, 0.1))

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
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._deliveries.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.log.close(error)

    # --- the connection

    async def _handshake(self) -> None:
        token = self._credentials.access_token
        try:
            await self._socket.connect(token, remaining(_CONNECT_SECONDS))
        except HandshakeRefused:
            # The refusal says nothing; the same token over HTTP does, and is renewed there if it expired.
            await self._api.auth.get_me()
            if self._credentials.access_token == token:
                raise JoinRefused(self.session_id, "the connection was refused, the token is good") from None
            try:
                await self._socket.connect(self._credentials.access_token, remaining(_CONNECT_SECONDS))
            except HandshakeRefused:
                raise JoinRefused(self.session_id, "the connection was refused twice") from None

    def _lost(self, reason: str) -> None:
        # A connection that is lost again while it is made again is the same loop's business.
        if self.log.closed is None and (self._reconnecting is None or self._reconnecting.done()):
            self._reconnecting = self._spawn(self._reconnect(reason))

    async def _reconnect(self, reason: str) -> None:
        delay = _RECONNECT_FIRST
        while self.log.closed is None:
            try:
                await self._handshake()
                behind = self._newest_logged - protocol.REPLAY_MARGIN
                self._join_since = max(self._join_since, behind)
                await self.join()
                if self._socket.connected:
                    return
            except (*_PASSING, ContractViolation) as error:
                _logger.info("session %s: %s; %s", self.session_id, reason, error)
            await asyncio.sleep(delay)
            delay = min(delay * 2, _RECONNECT_MOST)

    def _received(self, frame: object) -> None:
        try:
            event = self.log.feed(frame)
        except ContractViolation as error:
            self.log.close(error)
            return
        if event is None:
            return
        if event.seq > self._newest_logged and protocol.is_logged(event):
            self._newest_logged = event.seq
        if self._auto_approve and isinstance(event.payload, ApprovalRequest | ApprovalsSnapshot):
            self._approve(event.payload)

    # --- gaps

    async def _settle(self) -> None:
        passed = 0.0
        for moment in protocol.SETTLE_SECONDS:
            await asyncio.sleep(moment - passed)
            passed = moment
            try:
                await self.fill_gaps()
            except (ApiError, ContractViolation, DaemonUnreachable) as error:
                _logger.info("session %s: gaps could not be filled: %s", self.session_id, error)

    async def fill_gaps(self) -> int:
        """Reads the daemon's durable log and takes over what is missing here.

        Returns:
            How many events were missing.

        Raises:
            ApiError: The daemon refused.
            DaemonUnreachable: No daemon answered.
        """
        before, started = len(self.log), time.monotonic()
        mark, newest = self._mark, self._newest_logged
        await read_log(self._api, self.app_id, self.session_id, since=self._complete, take=self._received)
        if mark is not None and started - mark[0] >= protocol.VISIBLE_SECONDS:
            # What was the newest then has been visible for long: this read has brought all up to it.
            self._complete, mark = max(self._complete, mark[1]), None
        self._mark = mark or (started, newest)
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
            if (found := _first(subscription.existing, selector, where)) is not None:
                return found
            self._check_started()
            async with asyncio.timeout(limit):
                while True:
                    event = await arrived.get()
                    if event is None:
                        raise self._closed()
                    if _fits(event, selector, where):
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

    def __aiter__(self) -> AsyncIterator[AnyEvent]:
        return self._iterate()

    async def _iterate(self) -> AsyncIterator[AnyEvent]:
        self._check_started()
        arrived: asyncio.Queue[AnyEvent | None] = asyncio.Queue()
        subscription = self.log.subscribe(arrived.put_nowait)
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
                    return
                yield event
        finally:
            subscription.cancel()

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
            EventTimeout: It did not end in time. The error says what did come.
            StreamClosed: The stream ended.
        """
        limit = self.timeout if timeout is None else timeout
        self.correlation_id = correlation_id = protocol.correlation_id_of(turn)
        arrived: asyncio.Queue[AnyEvent | None] = asyncio.Queue()
        types = (*protocol.TURN_END_TYPES, *protocol.TURN_END_HINTS)
        subscription = self.log.subscribe(arrived.put_nowait, types)
        try:
            async with asyncio.timeout(limit):
                await self._until_turn_end(correlation_id, subscription.existing, arrived)
        except TimeoutError:
            raise self.log.timeout(f"turn {correlation_id} did not end", limit) from None
        finally:
            subscription.cancel()
        return self.turn_result(correlation_id)

    async def _until_turn_end(
        self, correlation_id: str, existing: list[AnyEvent], arrived: "asyncio.Queue[AnyEvent | None]"
    ) -> None:
        ended = any(protocol.ends_turn(event, correlation_id) for event in existing)
        patience = _CHECK_FIRST
        while not ended:
            try:
                async with asyncio.timeout(patience):
                    event = await arrived.get()
            except TimeoutError:
                patience = min(patience * 2, _CHECK_MOST)
                ended = await self._ended_by_http(correlation_id)
                continue
            if event is None:
                raise self._closed()
            ended = protocol.ends_turn(event, correlation_id)
            if not ended and protocol.may_end_turn(event):
                ended = await self._ended_by_http(correlation_id)
                patience = _CHECK_FIRST
        await self._complete_log(correlation_id)
        if correlation_id not in self._endings and not protocol.tells_outcome(self.log.turn(correlation_id)):
            await self._ended_by_http(correlation_id)

    async def _complete_log(self, correlation_id: str) -> None:
        """Makes sure of what came before now. Without a gap there is nothing to ask the daemon for."""
        if not any(protocol.begins_turn(event) for event in self.log.turn(correlation_id)):
            # It began before this stream did.
            self._complete = 0
            await self.fill_gaps()
        if self.log.has_gap(self._complete):
            await self.fill_gaps()
        if self._settling is not None and self.log.has_gap(self._complete):
            # A join right behind the message: its first rows may not be visible yet.
            await asyncio.wait({self._settling})

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
                take=self._received,
            )
        except (*_PASSING, ContractViolation) as error:
            _logger.info("session %s: %s", self.session_id, error)
            return False
        if ending is not None:
            self._endings[correlation_id] = ending
        return over

    def _check_started(self) -> None:
        if not self._started:
            raise StreamClosed(f"the stream of session {self.session_id!r} was not started; call start()")

    # --- callbacks

    @overload
    def on(self, type: type[P]) -> Callable[[Callable[[LiveEvent[P]], R]], Callable[[LiveEvent[P]], R]]: ...
    @overload
    def on(self, type: EventType) -> Callable[[Callable[[AnyEvent], R]], Callable[[AnyEvent], R]]: ...
    def on(self, type: Any) -> Any:
        """Registers a callback for the events of a type that arrive from now on.

        Callbacks run one after the other in a task of their own; they may be coroutine functions. One that
        raises is reported: logged at once, and raised by `stop`.

        Args:
            type: Payload class or wire name.

        Returns:
            A decorator; it gives the callback back unchanged.
        """

        def register(callback: Callable[[Any], R]) -> Callable[[Any], R]:
            selector = Selector((type,))
            arrived: asyncio.Queue[AnyEvent | None] = asyncio.Queue()
            self.log.subscribe(arrived.put_nowait, (type,))
            self._deliveries.add(self._spawn(self._deliver(arrived, selector, callback)))
            return callback

        return register

    async def _deliver(
        self,
        arrived: "asyncio.Queue[AnyEvent | None]",
        selector: Selector,
        callback: Callable[[AnyEvent], object],
    ) -> None:
        while (event := await arrived.get()) is not None:
            if not selector.matches(event):
                continue
            try:
                result = callback(event)
                if inspect.isawaitable(result):
                    await _awaited(result)
            except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # noqa: BLE001 - test runners fail a test with any of these
                self.report(callback, error)

    def report(self, callback: object, error: BaseException) -> None:
        """Reports a callback that raised."""
        name = getattr(callback, "__qualname__", repr(callback))
        failed = CallbackFailed(f"callback {name} raised {type(error).__name__}: {error}")
        failed.__cause__ = error
        self.callback_errors.append(failed)
        _logger.error("session %s: %s", self.session_id, failed, exc_info=error)

    # --- approvals

    def _approve(self, payload: ApprovalRequest | ApprovalsSnapshot) -> None:
        requests = payload.pending if isinstance(payload, ApprovalsSnapshot) else (payload,)
        for request in requests:
            if request.request_id not in self._decided and request.tool_name not in QUESTION_TOOLS:
                self._decided.add(request.request_id)
                self._spawn(self._resolve(request))

    async def _resolve(self, request: ApprovalRequest | PendingApproval) -> None:
        delay = _RECONNECT_FIRST
        while self.log.closed is None:
            try:
                await self._api.approvals.resolve_approval(
                    request.app_id, request_id=request.request_id, approved=True
                )
            except _PASSING as error:
                _logger.info("approval %s: %s", request.request_id, error)
            except (ApiError, ContractViolation) as error:
                # Somebody else was faster, or the turn was aborted meanwhile.
                _logger.info("approval %s was not resolved: %s", request.request_id, error)
                return
            else:
                return
            await asyncio.sleep(delay)
            delay = min(delay * 2, _RECONNECT_MOST)


class LiveEventStream(StreamBase):
    """The blocking face of `AsyncLiveEventStream`: the same arguments, the same methods.

    Connections of all blocking streams live on one background thread of the process. Predicates run on
    the calling thread, callbacks on a thread of the stream's own.
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
    ) -> None:
        self._inner = AsyncLiveEventStream(
            daemon_url=daemon_url,
            token=token,
            app_id=app_id,
            session_id=session_id,
            since=since,
            auto_approve=auto_approve,
            strict=strict,
            timeout=timeout,
        )
        self.daemon_url = self._inner.daemon_url
        self.app_id = app_id
        self.session_id = session_id
        self.timeout = timeout
        self.log = self._inner.log
        self._endings = self._inner._endings
        self.callback_errors = self._inner.callback_errors
        """Callbacks that raised; the first is raised again by `stop`."""
        self._holds_loop = False
        self._releasing = threading.Lock()
        self._started = False
        self._callbacks: list[tuple[Selector, Callable[[AnyEvent], object]]] = []
        self._deliveries: queue.SimpleQueue[AnyEvent | None] = queue.SimpleQueue()
        self._delivery: threading.Thread | None = None

    # --- life

    def start(self) -> Self:
        """Connects and joins the session.

        Returns:
            The stream itself.

        Raises:
            JoinRefused: The daemon does not let this user into the session.
            Unauthorized: The token is missing, wrong or expired.
            DaemonUnreachable: No daemon answered.
            StreamClosed: It was started before.
        """
        self.connect()
        try:
            self.join()
        except BaseException:
            self.stop()
            raise
        return self

    def connect(self) -> None:
        """The first half of `start`: an authenticated connection, no session yet."""
        if self._started:
            raise StreamClosed(
                f"the stream of session {self.session_id!r} was started before; make a new one"
            )
        self._started = self._holds_loop = True
        BACKGROUND.acquire()
        try:
            BACKGROUND.run(self._inner.connect())
        except BaseException:
            self._release()
            raise

    def join(self, *, from_now: bool = False) -> None:
        """The second half of `start`: enters the session's room.

        Args:
            from_now: Bring nothing of what was before.

        Raises:
            JoinRefused: The daemon does not let this user into the session.
        """
        self._run(self._inner.join(from_now=from_now))

    def stop(self, timeout: float = 5.0) -> None:
        """Closes the connection; the log stays. May be called again.

        Args:
            timeout: Seconds to wait for a clean end.

        Raises:
            CallbackFailed: A callback had raised; only the first call of `stop` tells.
        """
        if not self._holds_loop:
            self.log.close(StreamClosed("it was stopped"))
            return
        delivery, self._delivery = self._delivery, None
        if delivery is not None:
            # What has arrived is still delivered.
            self._deliveries.put(None)
            if delivery is not threading.current_thread():
                delivery.join(timeout)
        try:
            BACKGROUND.run(self._inner.stop(timeout), timeout + 1.0)
        except LoopStopped:
            _logger.info("session %s: stopped by another thread", self.session_id)
        finally:
            self._release()

    def _release(self) -> None:
        with self._releasing:
            held, self._holds_loop = self._holds_loop, False
        if held:
            BACKGROUND.release()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if not self._holds_loop:
            coroutine.close()
            raise self._not_open()
        try:
            return BACKGROUND.run(coroutine)
        except LoopStopped:
            raise self._not_open() from None

    def _not_open(self) -> BaseException:
        if self.log.closed is not None:
            return self._closed()
        return StreamClosed(f"the stream of session {self.session_id!r} was not started; call start()")

    def __enter__(self) -> Self:
        return self if self._started else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.stop()
        except CallbackFailed:
            # A failure of the test itself matters more than one of its callbacks.
            if error is None:
                raise

    # --- gaps

    def fill_gaps(self) -> int:
        """Reads the daemon's durable log and takes over what is missing here.

        Returns:
            How many events were missing.

        Raises:
            ApiError: The daemon refused.
            DaemonUnreachable: No daemon answered.
        """
        return self._run(self._inner.fill_gaps())

    # --- waiting

    @overload
    def wait_for(
        self,
        type: type[P],
        *,
        where: Callable[[LiveEvent[P]], bool] | None = None,
        timeout: float | None = None,
    ) -> LiveEvent[P]: ...
    @overload
    def wait_for(
        self, type: EventType, *, where: Where | None = None, timeout: float | None = None
    ) -> AnyEvent: ...
    def wait_for(self, type: Any, *, where: Any = None, timeout: float | None = None) -> Any:
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
        deadline = time.monotonic() + limit
        selector = Selector((type,))
        arrived: queue.SimpleQueue[AnyEvent | None] = queue.SimpleQueue()
        subscription = self.log.subscribe(arrived.put, (type,))
        try:
            if (found := _first(subscription.existing, selector, where)) is not None:
                return found
            if not self._started:
                raise self._not_open()
            while True:
                event = arrived.get(timeout=max(0.0, deadline - time.monotonic()))
                if event is None:
                    raise self._closed()
                if _fits(event, selector, where):
                    return event
        except queue.Empty:
            raise self._timeout(selector, limit) from None
        finally:
            subscription.cancel()

    @overload
    def poll_for(
        self, type: type[P], *, where: Callable[[LiveEvent[P]], bool] | None = None, timeout: float = 0.0
    ) -> LiveEvent[P] | None: ...
    @overload
    def poll_for(
        self, type: EventType, *, where: Where | None = None, timeout: float = 0.0
    ) -> AnyEvent | None: ...
    def poll_for(self, type: Any, *, where: Any = None, timeout: float = 0.0) -> Any:
        """Like `wait_for`, but None when none came in time."""
        try:
            return self.wait_for(type, where=where, timeout=timeout)
        except EventTimeout:
            return None

    def __iter__(self) -> Iterator[AnyEvent]:
        if not self._started:
            raise self._not_open()
        arrived: queue.SimpleQueue[AnyEvent | None] = queue.SimpleQueue()
        subscription = self.log.subscribe(arrived.put)
        try:
            yield from subscription.existing
            while (event := arrived.get(timeout=self.timeout)) is not None:
                yield event
        except queue.Empty:
            raise self._timeout(Selector(()), self.timeout) from None
        finally:
            subscription.cancel()

    def wait_for_turn(self, turn: MessageAccepted | str, *, timeout: float | None = None) -> TurnResult:
        """Waits for the end of a turn and makes its events complete.

        Args:
            turn: What posting its message answered, or its correlation id.
            timeout: Seconds to wait; the stream's own `timeout` when left out.

        Returns:
            What the turn came to.

        Raises:
            EventTimeout: It did not end in time. The error says what did come.
            StreamClosed: The stream ended.
        """
        self.correlation_id = protocol.correlation_id_of(turn)
        return self._run(self._inner.wait_for_turn(turn, timeout=timeout))

    # --- callbacks

    @overload
    def on(self, type: type[P]) -> Callable[[Callable[[LiveEvent[P]], R]], Callable[[LiveEvent[P]], R]]: ...
    @overload
    def on(self, type: EventType) -> Callable[[Callable[[AnyEvent], R]], Callable[[AnyEvent], R]]: ...
    def on(self, type: Any) -> Any:
        """Registers a callback for the events of a type that arrive from now on.

        Callbacks run one after the other on a thread of this stream. One that raises is reported: logged at
        once, and raised by `stop`.

        Args:
            type: Payload class or wire name.

        Returns:
            A decorator; it gives the callback back unchanged.
        """

        def register(callback: Callable[[Any], R]) -> Callable[[Any], R]:
            self._callbacks.append((Selector((type,)), callback))
            if self._delivery is None:
                self.log.subscribe(self._deliveries.put)
                self._delivery = threading.Thread(
                    target=self._deliver, name=f"digitorn-testing-callbacks-{self.session_id}", daemon=True
                )
                self._delivery.start()
            return callback

        return register

    def _deliver(self) -> None:
        while (event := self._deliveries.get()) is not None:
            for selector, callback in list(self._callbacks):
                if selector.matches(event):
                    try:
                        callback(event)
                    except BaseException as error:  # noqa: BLE001 - test runners fail a test with any of these
                        self._inner.report(callback, error)


def _fits(event: AnyEvent, selector: Selector, where: Where | None) -> bool:
    return selector.matches(event) and (where is None or where(event))


def _first(found: list[AnyEvent], selector: Selector, where: Where | None) -> AnyEvent | None:
    return next((event for event in found if _fits(event, selector, where)), None)


async def _awaited(result: Awaitable[object]) -> None:
    await result
