"""What both faces of a stream share."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar, overload

from .. import _session_protocol as protocol
from .._errors import (
    CallbackFailed,
    ContractViolation,
    EventTimeout,
    StreamClosed,
)
from .._event import AnyEvent, LiveEvent
from .._generated.events import (
    EventPayload,
    EventType,
)
from .._handles import SessionHandle
from .._log import EventLog
from .._operations import Operations
from .._select import Selector, Where
from .._turn_result import TurnResult, collect
from .connection import Link, StreamConnection

P = TypeVar("P", bound=EventPayload)

DEFAULT_TIMEOUT = 60.0
"""Seconds that a wait without a timeout of its own takes."""


class FollowedTurns:
    """The turns that a stream follows, each to its end; both faces share it."""

    def __init__(self) -> None:
        self.joined = False
        self.endings: dict[str, protocol.TurnStatus] = {}
        """How turns ended of which no event says so."""
        self.watches: dict[str, asyncio.Task[None]] = {}
        self.inboxes: dict[str, asyncio.Queue[AnyEvent | CallbackFailed | None]] = {}
        self.open: set[str] = set()
        """Turns that have not ended."""


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
        if self.connection.state == "joined" and not self.connection.was_lost:
            return error
        said = f"{error}; the connection: {self.connection}"
        return EventTimeout(said, error.events, error.pending_approvals)

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


def callback_failed(what: str, callback: object, error: BaseException) -> CallbackFailed:
    name = getattr(callback, "__qualname__", repr(callback))
    failed = CallbackFailed(f"{what} {name} raised {type(error).__name__}: {error}")
    failed.__cause__ = error
    return failed


def fits(event: AnyEvent, selector: Selector, where: Where | None) -> bool:
    return selector.matches(event) and (where is None or where(event))


def first(found: list[AnyEvent], selector: Selector, where: Where | None) -> AnyEvent | None:
    return next((event for event in found if fits(event, selector, where)), None)
