"""What both faces of a stream share."""

import asyncio
import contextlib
import queue
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar, overload

from digitorn_testing._errors import CallbackFailed, ContractViolation, EventTimeout, StreamClosed
from digitorn_testing._events.event import AnyEvent, LiveEvent
from digitorn_testing._events.meaning import TurnStatus
from digitorn_testing._events.selector import Selector, Where
from digitorn_testing._generated.events import EventPayload, EventType
from digitorn_testing._handles import SessionHandle
from digitorn_testing._log.log import EventLog
from digitorn_testing._recordings.recorder import Recorder, Recorders
from digitorn_testing._recordings.recording import FilePath
from digitorn_testing._turns.collect import collect
from digitorn_testing._turns.operations import Operations
from digitorn_testing._turns.results import TurnResult

from .link import Link, StreamConnection

P = TypeVar("P", bound=EventPayload)

DEFAULT_TIMEOUT = 60.0
"""Seconds that a wait without a timeout of its own takes."""

_MOST_TURNS = 1024
"""How many turns a stream remembers how it followed them."""


class FollowedTurns:
    """The turns that a stream follows, each to its end; both faces share it."""

    def __init__(self) -> None:
        self.joined = False
        self.endings: dict[str, TurnStatus] = {}
        """How turns ended of which no event says so."""
        self.listeners: tuple[Callable[[str, TurnStatus], object], ...] = ()
        """Are told of them."""
        self.watches: dict[str, asyncio.Task[None]] = {}
        self.inboxes: dict[str, asyncio.Queue[AnyEvent | CallbackFailed | None]] = {}
        self.open: set[str] = set()
        """Turns that have not ended."""

    def note(self, correlation_id: str, ending: TurnStatus) -> None:
        """Notes how a turn ended of which no event says so."""
        self.endings[correlation_id] = ending
        for listener in self.listeners:
            listener(correlation_id, ending)

    def forget_oldest(self) -> None:
        """Forgets turns that ended long ago."""
        for turns in (self.watches, self.endings):
            while len(turns) > _MOST_TURNS and (oldest := next(iter(turns))) not in self.open:
                del turns[oldest]


class StreamBase:
    """What both faces of a stream share: its log and everything that is read from it.

    Attributes:
        app_id: The app.
        session_id: The session.
        daemon_url: The daemon.
        session: The session, as a handle.
        log: Every event so far; may be read from any thread.
        correlation_id: The turn that was last waited for; with `send_live`, that of its message.
    """

    correlation_id: str | None = None
    _turns: FollowedTurns
    _link: Link
    app_id: str
    session_id: str
    daemon_url: str
    session: SessionHandle
    log: EventLog
    _recorders: Recorders
    _redact: Callable[[str], str]

    def record(self, path: FilePath) -> Recorder:
        """Records what the stream has seen and will see, and its calls over REST, as JSON lines.

        Secrets are hidden. `RecordedLog.load` reads it, and `FakeDaemon.replay` serves it.

        Args:
            path: The file; one that is there is appended to.

        Returns:
            The recording that runs, to be stopped, or used as a context manager; the end of the stream ends
            it as well.

        Raises:
            RecordingError: The file is there and is no recording.
            RecordingDamaged: It is one, and damaged.
            OSError: It cannot be written.
        """
        return self._recorders.record(path)

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

    def operations(self) -> Operations:
        """What the events so far add up to: turns, tool calls, approvals and the like, in order of start."""
        return self.log.operations()

    def turn_result(self, correlation_id: str | None = None) -> TurnResult:
        """What a turn's events so far add up to.

        Args:
            correlation_id: The turn; that of `send_live` when left out.

        Raises:
            ValueError: There is no such turn here, or none was named and none waited for.
        """
        turn = correlation_id or self.correlation_id
        events = self.log.turn(turn) if turn is not None else []
        if turn is not None and not events and self.log.dropped:
            keeps = f"it keeps max_events={self.log.max_events}"
            raise ValueError(f"the stream has no event of turn {turn!r} any more; {keeps}")
        if turn is None or not events:
            raise ValueError(f"no turn {turn!r} on this stream; pass the correlation_id of one of its turns")
        return collect(
            events, session=self.session, correlation_id=turn, ending=self._turns.endings.get(turn)
        )

    @property
    def connection(self) -> StreamConnection:
        """What is known of the connection now: its state, how often it was made again, and why."""
        return self._link.seen(is_closed=self.log.closed is not None)

    @property
    def is_joined(self) -> bool:
        """Whether it is in the session's room now."""
        return self._turns.joined

    @property
    def has_joined(self) -> bool:
        """Whether it was in the session's room: if the connection is lost it will be there again."""
        return self._link.has_joined

    @property
    def has_open_turns(self) -> bool:
        """Whether a turn that is followed here has not ended."""
        return bool(self._turns.open)

    def __repr__(self) -> str:
        connection = self.connection
        state = {"joined": "open", "reconnecting": "open, reconnecting"}.get(
            connection.state, connection.state
        )
        again = f", reconnects: {connection.reconnects}" if connection.reconnects else ""
        return (
            f"<{type(self).__name__} {self.app_id}/{self.session_id}, {state}{again}, {len(self.log)} events>"
        )

    def _timeout(self, selector: Selector, timeout: float) -> EventTimeout:
        refused = [str(event.seq) for event in self.events() if selector.wires and selector.matches(event)]
        unfit = (
            f" that satisfies `where` ({len(refused)} came, seq {', '.join(refused[-3:])})" if refused else ""
        )
        return self._timed_out(f"no {selector.label}{unfit}", timeout)

    def _timed_out(self, what: str, timeout: float) -> EventTimeout:
        error = self.log.timeout(what, timeout)
        said = str(error)
        if self.connection.state != "joined" or self.connection.was_lost:
            said += f"; the connection: {self.connection}"
        # A daemon may send anything as the type of an event.
        return EventTimeout(self._redact(said), error.events, error.pending_approvals)

    def _turn_timeout(self, correlation_id: str, timeout: float) -> EventTimeout:
        error = self._timed_out(f"turn {correlation_id} did not end", timeout)
        if self.log.turn(correlation_id):
            result = self.turn_result(correlation_id)
            error.result = replace(result, status="timed_out")
        return error

    def _turn_failure(self, correlation_id: str) -> BaseException:
        """What to raise when a turn cannot be read to its end."""
        failure = self.log.turn_error(correlation_id)
        if isinstance(failure, CallbackFailed):
            again = CallbackFailed(str(failure))
            again.__cause__ = failure.__cause__
            return again
        return self._closed() if failure is None or isinstance(failure, StreamClosed) else failure

    def _closed(self) -> BaseException:
        """What to raise when the stream ends under a waiter: a new exception, the reason its cause."""
        reason = self.log.closed
        if isinstance(reason, ContractViolation):
            return reason
        error = StreamClosed(f"the stream of session {self.session_id!r} is closed: {reason}")
        error.__cause__ = reason
        return error


class _Queue(Protocol):
    """A queue of either face."""

    def qsize(self) -> int: ...

    def get_nowait(self) -> AnyEvent | None: ...

    def put_nowait(self, item: AnyEvent | None, /) -> None: ...


class Backlog:
    """What waits for a callback. Where the log is bounded so is this: it drops the oldest, and tells once.

    Args:
        waiting: The queue.
        keep: Most events that wait; any number when it is None.
        tell: Called when one is dropped for the first time.
    """

    def __init__(self, waiting: _Queue, keep: int | None, tell: Callable[[BaseException], object]) -> None:
        self._waiting = waiting
        self._keep = keep
        self._tell = tell
        self._told = False

    def put(self, event: AnyEvent | None) -> None:
        """Takes an event, or the end."""
        if self._keep is not None and event is not None and self._waiting.qsize() >= self._keep:
            # The callback may have taken it in the meantime.
            with contextlib.suppress(asyncio.QueueEmpty, queue.Empty):
                self._waiting.get_nowait()
            if not self._told:
                self._told = True
                self._tell(
                    OverflowError(f"it is more than max_events={self._keep} events behind, and misses some")
                )
        self._waiting.put_nowait(event)


def name_of(callback: object) -> str:
    """What a callback is called; a name stands for itself."""
    return callback if isinstance(callback, str) else getattr(callback, "__qualname__", repr(callback))


def callback_failed(what: str, callback: object, error: BaseException) -> CallbackFailed:
    failed = CallbackFailed(f"{what} {name_of(callback)} raised {type(error).__name__}: {error}")
    failed.__cause__ = error
    return failed


def fits(event: AnyEvent, selector: Selector, where: Where | None) -> bool:
    return selector.matches(event) and (where is None or where(event))


def first(found: list[AnyEvent], selector: Selector, where: Where | None) -> AnyEvent | None:
    return next((event for event in found if fits(event, selector, where)), None)
