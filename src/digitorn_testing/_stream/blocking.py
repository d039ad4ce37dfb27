"""A session's live events: the blocking face of the asynchronous stream."""

import logging
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from typing_extensions import deprecated

from digitorn_testing._approvals.policies import ApprovalPolicy, StreamApprovals, stream_approvals
from digitorn_testing._concurrency.background_loop import BACKGROUND, LoopStopped
from digitorn_testing._concurrency.finalizers import when_forgotten
from digitorn_testing._concurrency.forks import in_forks
from digitorn_testing._errors import CallbackFailed, EventTimeout, StreamClosed
from digitorn_testing._events.event import AnyEvent, LiveEvent
from digitorn_testing._events.selector import EventSelector, Where
from digitorn_testing._exchanges import Exchanges
from digitorn_testing._formerly import once_took
from digitorn_testing._generated.events import EventPayload, EventType
from digitorn_testing._generated.models import MessageAccepted
from digitorn_testing._secrets.credentials import Credentials
from digitorn_testing._transport.options import ConnectionOptions
from digitorn_testing._turns.results import TurnResult

from ._sync.reading import EventReading, StreamReading, TurnReading, wait
from ._sync.turn import Turn
from .asynchronous import AsyncLiveEventStream
from .base import DEFAULT_TIMEOUT, StreamBase
from .callbacks import ThreadCallbacks
from .inboxes import Inbox
from .link import RECONNECT, ReconnectPolicy, StreamConnection
from .protocol import correlation_id_of
from .waiting import ConnectionWaiter, EventWaiter, TurnEventWaiter

if TYPE_CHECKING:
    from digitorn_testing.legacy import OldStream
else:
    from digitorn_testing._formerly import OldStream

P = TypeVar("P", bound=EventPayload)
T = TypeVar("T")
R = TypeVar("R")

_LEAST_SECONDS = 0.2
_FORGOTTEN_SECONDS = 1.0
_logger = logging.getLogger("digitorn.testing")


class LiveEventStream(StreamBase, OldStream):
    """The blocking face of `AsyncLiveEventStream`, with the same arguments and methods.

    The connections of all blocking streams live on one background thread. Predicates run on the calling
    thread, callbacks on a thread of their own for each stream.
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
        token = token if isinstance(token, Credentials) else Credentials(token)
        deciding = stream_approvals(approvals, auto_approve=auto_approve)
        # On a thread, a policy may block and use this stream.
        deciding.on_thread = True
        self._inner = AsyncLiveEventStream(
            daemon_url=daemon_url,
            token=token,
            app_id=app_id,
            session_id=session_id,
            since=since,
            strict=strict,
            timeout=timeout,
            approvals=deciding,
            exchanges=exchanges,
            reconnect=reconnect,
            connection_options=connection_options,
            max_events=max_events,
        )
        super().__init__(self._inner.core)
        self.exchanges = self._inner.exchanges
        self.timeout = timeout
        self._holds_loop = False
        self._releasing = threading.Lock()
        self._started = False
        self._callbacks = ThreadCallbacks(self.log, self.core.errors, session_id)
        self._forgotten: weakref.finalize[..., object] | None = None
        in_forks(self)

    def after_fork(self) -> None:
        """Closes the stream in a forked child: its connection is the parent's."""
        self._releasing = threading.Lock()
        self._holds_loop = False
        self._callbacks.leave()

    # --- life

    @once_took
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
        """The first half of `start`: makes an authenticated connection, without a session yet."""
        if self._started:
            raise StreamClosed(
                f"the stream of session {self.session_id!r} was started before; make a new one"
            )
        if self.log.closed is not None:
            raise self.core.closed_error()
        self._started = self._holds_loop = True
        loop = BACKGROUND.acquire()
        self._forgotten = when_forgotten(
            self,
            f"the stream of session {self.session_id!r}",
            loop,
            partial(_close_inner, self._inner, self._callbacks.inbox),
        )
        try:
            BACKGROUND.run(self._inner.connect())
        except BaseException:
            self._release()
            raise

    def join(self, *, from_now: bool = False) -> None:
        """The second half of `start`: enters the session's room.

        Args:
            from_now: Skip everything that happened before.

        Raises:
            JoinRefused: The daemon does not let this user into the session.
        """
        self._run(self._inner.join(from_now=from_now))

    def join_later(self) -> None:
        """Enters the session's room as soon as the session exists: now, or in the background.

        A session exists from its first message on. The stream then has all its events, as after any join.

        Raises:
            StreamClosed: The stream ended, or was never started.
            TooLarge: The session's log exceeds the size limit.
        """
        self._run(self._inner.join_later())

    def begin(self) -> None:
        """Tells a stream that waits for its session that the session was created; from any thread."""
        self._inner.begin()

    def stop(self, timeout: float = 5.0) -> None:
        """Closes the connection; the log stays available. Idempotent.

        Args:
            timeout: Seconds to wait for a clean end.

        Raises:
            CallbackFailed: A callback raised. Only the first call of `stop` raises this.
        """
        self.core.link.was_stopped = True
        if not self._holds_loop:
            self.log.close(StreamClosed("it was stopped"))
            if (failed := self.core.recorders.stop()) is not None:
                raise failed
            return
        deadline = time.monotonic() + timeout
        # What has arrived is still delivered.
        self._callbacks.stop(timeout)
        left = max(_LEAST_SECONDS, deadline - time.monotonic())
        try:
            BACKGROUND.run(self._inner.stop(left), left + 1.0)
        except (LoopStopped, ConnectionError):
            _logger.info("session %s: stopped by another thread", self.session_id)
            self.log.close(StreamClosed("it was stopped"))
        except TimeoutError:
            _logger.warning("session %s was cut off: it did not stop in time", self.session_id)
        finally:
            self._release()

    def _release(self) -> None:
        with self._releasing:
            held, self._holds_loop = self._holds_loop, False
        if held:
            if self._forgotten is not None:
                self._forgotten.detach()
            BACKGROUND.release()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if not self._holds_loop:
            coroutine.close()
            raise self._not_open()
        try:
            return BACKGROUND.run(coroutine)
        except (LoopStopped, ConnectionError):
            self.log.close(StreamClosed("its event loop has ended"))
            raise self._not_open() from None

    def _check_started(self) -> None:
        if not self._started:
            raise self._not_open()

    def _not_open(self) -> BaseException:
        if self.log.closed is not None:
            return self.core.closed_error()
        return StreamClosed(f"the stream of session {self.session_id!r} was not started; call start()")

    def __enter__(self) -> Self:
        return self if self._started else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.stop()
        except CallbackFailed:
            # A failure of the test itself is more important than one of its callbacks.
            if error is None:
                raise

    @property
    def is_usable(self) -> bool:
        """Whether it is open."""
        return self.log.closed is None

    # --- gaps

    def fill_gaps(self, *, since: int | None = None) -> int:
        """Reads the daemon's durable log and adds the events that are missing here.

        Args:
            since: Read events with a higher `seq`. Default: the number up to which the log is
                known to be complete.

        Returns:
            How many events were missing.

        Raises:
            ApiError: The daemon refused.
            DaemonUnreachable: No daemon answered.
        """
        return self._run(self._inner.fill_gaps(since=since))

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
    @overload
    @deprecated(
        "predicate= is deprecated: use where=, and expect EventTimeout, or poll_for, which returns None"
    )
    def wait_for(
        self, type: EventType, timeout: float = 30.0, *, predicate: Where | None
    ) -> AnyEvent | None: ...
    # The decorator takes the arguments of the last form.
    @once_took  # type: ignore[misc]
    def wait_for(  # pyright: ignore[reportInconsistentOverload]
        self, type: Any, *, where: Any = None, timeout: float | None = None
    ) -> Any:
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
        return wait(EventWaiter(self.core, type, where, limit, check=self._check_started))

    @overload
    def poll_for(
        self, type: type[P], *, where: Callable[[LiveEvent[P]], bool] | None = None, timeout: float = 0.0
    ) -> LiveEvent[P] | None: ...
    @overload
    def poll_for(
        self, type: EventType, *, where: Where | None = None, timeout: float = 0.0
    ) -> AnyEvent | None: ...
    def poll_for(self, type: Any, *, where: Any = None, timeout: float = 0.0) -> Any:
        """Like `wait_for`, but returns None if no such event arrived in time."""
        try:
            return self.wait_for(type, where=where, timeout=timeout)
        except EventTimeout:
            return None

    def wait_for_connection(
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
        return wait(ConnectionWaiter(self.core, where, self.timeout if timeout is None else timeout))

    def __iter__(self) -> Iterator[AnyEvent]:
        return StreamReading(self.core, self.timeout, self._check_started)

    # --- turns

    def turn(self, turn: MessageAccepted | str, *, timeout: float | None = None) -> Turn:
        """A turn of this session as an object, to read it event by event.

        Args:
            turn: The result of posting its message, or its correlation id.
            timeout: Seconds from now to finish reading; the stream's own `timeout` when left out.

        Raises:
            StreamClosed: The stream ended or was never started, and the turn is not complete here.
        """
        correlation_id = correlation_id_of(turn)
        self._follow(correlation_id)
        return Turn(self, correlation_id, timeout=self.timeout if timeout is None else timeout)

    def wait_for_turn(self, turn: MessageAccepted | str, *, timeout: float | None = None) -> TurnResult:
        """Waits for the end of a turn, and reads any of its events that are missing.

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
        self.correlation_id = correlation_id = correlation_id_of(turn)
        if self.log.turn_ended(correlation_id):
            return self.turn_result(correlation_id)
        return self._run(self._inner.wait_for_turn(turn, timeout=timeout))

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

    def wait_in_turn(
        self,
        turn: MessageAccepted | str,
        type: EventSelector,
        *,
        where: Where | None = None,
        timeout: float | None = None,
    ) -> AnyEvent:
        """Returns the first event of a type in one turn; `Turn.wait_for` is the typed form.

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
        return wait(TurnEventWaiter(self.core, correlation_id, type, where, limit))

    def drain(self, timeout: float = 5.0) -> bool:
        """Waits until every turn that this stream follows has ended, and what the daemon has sent is here.

        `FakeDaemon.drain` does so for all its sessions and streams.

        Args:
            timeout: Seconds to wait.

        Returns:
            Whether that came true in time.
        """
        if not self._holds_loop:
            return not self.has_open_turns
        return self._run(self._inner.drain(timeout))

    def abort_turn(self, turn: MessageAccepted | str) -> None:
        """Aborts a turn. A queued turn is removed from the queue; a turn that has ended is unaffected.

        Args:
            turn: The result of posting its message, or its correlation id.

        Raises:
            AbortFailed: It is the first one that waits, or the daemon did not cut it off.
            ApiError: The daemon refused.
            StreamClosed: The stream ended before the turn did.
        """
        if not self.log.turn_ended(correlation_id_of(turn)):
            self._run(self._inner.abort_turn(turn))

    def _follow(self, correlation_id: str) -> None:
        async def follow() -> None:
            self._inner.turn(correlation_id)

        if correlation_id not in self.core.turns.watches:
            self._run(follow())

    # --- callbacks

    @overload
    def on(self, type: type[P]) -> Callable[[Callable[[LiveEvent[P]], R]], Callable[[LiveEvent[P]], R]]: ...
    @overload
    def on(self, type: EventType) -> Callable[[Callable[[AnyEvent], R]], Callable[[AnyEvent], R]]: ...
    def on(self, type: Any) -> Any:
        """Registers a callback for the events of a type that arrive from now on.

        Callbacks run one after the other on a thread of this stream. If one raises, that is logged at once
        and raised by `stop`. The same happens when they fall more than `max_events` behind, if the stream has
        that bound: they then miss the oldest events.

        Args:
            type: Payload class or wire name.

        Returns:
            A decorator, which returns the callback unchanged.
        """

        def register(callback: Callable[[Any], R]) -> Callable[[Any], R]:
            self._callbacks.add(type, callback)
            return callback

        return register


async def _close_inner(inner: AsyncLiveEventStream, inbox: "Inbox[AnyEvent | None]") -> None:
    """Closes the async stream of a blocking stream that was garbage-collected."""
    inbox.put(None)
    try:
        await inner.stop(_FORGOTTEN_SECONDS)
    finally:
        BACKGROUND.release()
