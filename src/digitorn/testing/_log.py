"""The event log: order, duplicates, typing and waiting, without any IO."""

import threading
from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias, TypeVar, overload

from ._errors import ContractViolation, EventTimeout
from ._event import InvalidPayload, LiveEvent, UnknownPayload, decode
from ._generated.events import (
    EVENTS,
    ActiveOpsSnapshot,
    ApprovalRequest,
    ApprovalResolved,
    ApprovalsSnapshot,
    EventPayload,
    EventType,
    MemorySnapshot,
    MessageMerged,
    MessageQueued,
    MessageReplaced,
    PreviewSnapshot,
    QueueSnapshot,
    SessionSnapshot,
    StateSnapshot,
    StreamCatchup,
    UserMessage,
)
from ._generated.models import PendingApproval
from ._select import Selector

P = TypeVar("P", bound=EventPayload)
AnyEvent: TypeAlias = LiveEvent[EventPayload]
Sink: TypeAlias = Callable[[AnyEvent | None], object]


_SNAPSHOTS: Final = (
    ActiveOpsSnapshot,
    ApprovalsSnapshot,
    MemorySnapshot,
    PreviewSnapshot,
    QueueSnapshot,
    SessionSnapshot,
    StateSnapshot,
    StreamCatchup,
)
"""Made for one socket when it joins; no part of what the session does (contract: events, section 5.11)."""

_SNAPSHOT_WIRES: Final = frozenset(wire for one in _SNAPSHOTS for wire in EVENTS.types_of(one))

_BEFORE_RUNNING: Final = (UserMessage, MessageQueued, MessageMerged, MessageReplaced)


@dataclass(slots=True)
class Subscription:
    """A place in the log from which events are delivered.

    Attributes:
        existing: What had arrived before; everything later goes to the sink.
    """

    existing: list[AnyEvent]
    _log: "EventLog"
    _sink: Sink
    _wires: frozenset[str] | None

    def cancel(self) -> None:
        """Ends the delivery. May be called again."""
        self._log._unsubscribe(self._sink, self._wires)  # pyright: ignore[reportPrivateUsage] - one module


_EVENTS_SHOWN = 8
_EVERY = ""
"""Key of the sinks that want every type; no wire name is empty."""


class EventLog:
    """Every event of a session, once, in order, and typed.

    Feed it frames from anywhere: a live stream, a recording, a test. It may be read from other threads.

    Order is by `seq`; an event without a number stays behind what had arrived before it. Copies are
    recognised by `event_id` and by `seq`, both within a session (contract: events, section 8, trap 1).

    Args:
        session_id: Keep only this session's events (and those of none); others go to `foreign`.
        strict: Raise on an event that the contract does not name or that breaks it.
    """

    def __init__(self, *, session_id: str | None = None, strict: bool = False) -> None:
        self.session_id = session_id
        self.strict = strict
        self._lock = threading.Lock()
        self._ordered: list[tuple[int, int, AnyEvent]] = []
        self._by_type: dict[str, list[AnyEvent]] = {}
        self._by_correlation: dict[str, list[AnyEvent]] = {}
        self._nameless: list[AnyEvent] = []
        self._by_op: dict[str, list[AnyEvent]] = {}
        self._seen_ids: set[tuple[str | None, str]] = set()
        self._seen_seqs: set[tuple[str | None, int]] = set()
        self._foreign: list[AnyEvent] = []
        self._duplicates = 0
        self._last_seq = 0
        self._sinks: dict[str, tuple[Sink, ...]] = {}
        self._closed: BaseException | None = None

    # --- feeding

    def feed(self, raw: object) -> AnyEvent | None:
        """Takes one frame.

        Args:
            raw: The frame as JSON values, normally an envelope.

        Returns:
            The event, or None if it is a copy of one that is here or belongs to another session.

        Raises:
            ContractViolation: `strict` is set and the event is unknown or invalid; it is kept all the same.
        """
        event = decode(raw)
        if event.session_id is None and self.session_id is not None and event.kind != "system":
            # Rows of the durable log may lack it (contract: events, section 4.3).
            event = replace(event, session_id=self.session_id)
        with self._lock:
            if self._is_foreign(event):
                self._foreign.append(event)
                return None
            if self._is_copy(event):
                self._duplicates += 1
                return None
            self._insert(event)
            sinks = (*self._sinks.get(event.type, ()), *self._sinks.get(_EVERY, ()))
        for sink in sinks:
            sink(event)
        if self.strict:
            _refuse(event)
        return event

    def _is_foreign(self, event: AnyEvent) -> bool:
        return self.session_id is not None and event.session_id not in (None, self.session_id)

    def _is_copy(self, event: AnyEvent) -> bool:
        found = False
        if event.event_id is not None:
            key = (event.session_id, event.event_id)
            found = key in self._seen_ids
            self._seen_ids.add(key)
        if event.is_numbered:
            numbered = (event.session_id, event.seq)
            found = found or numbered in self._seen_seqs
            self._seen_seqs.add(numbered)
        return found

    def _insert(self, event: AnyEvent) -> None:
        place = event.seq if event.is_numbered else self._last_seq
        entry = (place, len(self._ordered), event)
        if place >= self._last_seq:
            self._ordered.append(entry)
            self._last_seq = place
        else:
            # Late by a few places, as a rule, so that little is moved.
            insort(self._ordered, entry, key=_order)
        self._by_type.setdefault(event.type, []).append(event)
        if event.correlation_id is not None:
            self._by_correlation.setdefault(event.correlation_id, []).append(event)
        elif event.is_numbered and not is_snapshot(event):
            self._nameless.append(event)
        if event.op_id is not None:
            self._by_op.setdefault(event.op_id, []).append(event)

    # --- reading

    def events(self) -> list[AnyEvent]:
        """Every event so far, in order."""
        with self._lock:
            return [entry[2] for entry in self._ordered]

    @overload
    def events_of(self, *types: type[P]) -> Sequence[LiveEvent[P]]: ...
    @overload
    def events_of(self, *types: type[EventPayload] | EventType) -> Sequence[AnyEvent]: ...
    def events_of(self, *types: type[EventPayload] | str) -> Sequence[Any]:
        """The events of some types so far, in order.

        Args:
            types: Payload classes or wire names.
        """
        return self._existing(Selector(types))

    def turn(self, correlation_id: str) -> list[AnyEvent]:
        """The events of one turn so far, in order.

        Approvals, sub-agents and other events that name no turn belong to the one that runs while they come;
        a session runs one turn at a time (contract: events, section 4.1).
        """
        with self._lock:
            named = _sorted(self._by_correlation.get(correlation_id, ()))
            running = [event.seq for event in named if not isinstance(event.payload, _BEFORE_RUNNING)]
            if not running:
                return named
            first, last = running[0], running[-1]
            nameless = [event for event in self._nameless if first < event.seq < last]
        return _sorted([*named, *nameless])

    def operation(self, op_id: str) -> list[AnyEvent]:
        """The events of one operation so far, in order."""
        with self._lock:
            return _sorted(self._by_op.get(op_id, ()))

    def pending_approvals(self) -> list[PendingApproval]:
        """Approvals that were asked for here and not resolved so far, oldest first."""
        pending: dict[str, PendingApproval] = {}
        for event in self.events_of(ApprovalRequest, ApprovalResolved, ApprovalsSnapshot):
            match event.payload:
                case ApprovalsSnapshot(pending=listed):
                    pending.update({one.request_id: one for one in listed})
                case ApprovalRequest() as asked:
                    pending[asked.request_id] = PendingApproval.from_wire(asked.to_wire())
                case ApprovalResolved(request_id=resolved):
                    pending.pop(resolved, None)
        return list(pending.values())

    @property
    def last_seq(self) -> int:
        """The highest place in the session's order so far."""
        return self._last_seq

    def has_gap(self, since: int) -> bool:
        """Whether a number between `since` and the highest has not come; copies count as come.

        A gap is normal and need not mean that an event is missing (contract: events, section 4.2).

        Args:
            since: The number below which nothing is asked.
        """
        with self._lock:
            seen = sum(1 for _, seq in self._seen_seqs if seq > since)
            return seen < self._last_seq - since

    @property
    def duplicates(self) -> int:
        """How many copies were dropped."""
        return self._duplicates

    @property
    def foreign(self) -> list[AnyEvent]:
        """Events of other sessions that came along; they are not part of this log."""
        with self._lock:
            return list(self._foreign)

    def __len__(self) -> int:
        return len(self._ordered)

    def __iter__(self) -> Iterator[AnyEvent]:
        return iter(self.events())

    # --- waiting

    def subscribe(self, sink: Sink, types: Iterable[type[EventPayload] | str] = ()) -> Subscription:
        """Delivers every later event of some types to a sink, with no gap behind those already here.

        The sink is called where `feed` is called, and with None when the log is closed. It must be quick.

        Args:
            sink: Takes the event.
            types: Payload classes or wire names; none means every type. A sink may be given events of
                other classes under the same wire name.
        """
        selector = Selector(types)
        with self._lock:
            for key in _keys(selector.wires):
                self._sinks[key] = (*self._sinks.get(key, ()), sink)
            existing = self._existing_unlocked(selector)
            closed = self._closed is not None
        if closed:
            sink(None)
        return Subscription(existing, self, sink, selector.wires)

    def _unsubscribe(self, sink: Sink, wires: frozenset[str] | None) -> None:
        with self._lock:
            for key in _keys(wires):
                left = tuple(one for one in self._sinks.get(key, ()) if one is not sink)
                if left:
                    self._sinks[key] = left
                else:
                    self._sinks.pop(key, None)

    def close(self, reason: BaseException) -> None:
        """Wakes everybody who waits: nothing more will come. The first reason stays.

        Args:
            reason: What a waiter raises.
        """
        with self._lock:
            if self._closed is not None:
                return
            self._closed = reason
            # A sink stands under each of its types.
            sinks = {id(sink): sink for some in self._sinks.values() for sink in some}
        for sink in sinks.values():
            sink(None)

    @property
    def closed(self) -> BaseException | None:
        """Why nothing more will come; None while something may."""
        return self._closed

    def timeout(self, what: str, seconds: float) -> EventTimeout:
        """The error for something that did not come in time: it says what did.

        Args:
            what: What was waited for.
            seconds: How long.
        """
        events, pending = self.events(), self.pending_approvals()
        lines = [
            f"{what} within {seconds:g} s" + (f" on session {self.session_id!r}" if self.session_id else "")
        ]
        if pending:
            asked = ", ".join(f"{one.tool_name} (request {one.request_id})" for one in pending)
            lines.append(f"waiting for approval: {asked}")
        shown = ", ".join(f"{event.seq} {event.type}" for event in events[-_EVENTS_SHOWN:])
        lines.append(f"{len(events)} events arrived, the last: {shown}" if events else "no event arrived")
        return EventTimeout("; ".join(lines), events, pending)

    def _existing(self, selector: Selector) -> list[AnyEvent]:
        with self._lock:
            return self._existing_unlocked(selector)

    def _existing_unlocked(self, selector: Selector) -> list[AnyEvent]:
        if selector.wires is None:
            return [entry[2] for entry in self._ordered if selector.matches(entry[2])]
        lists = [found for wire in selector.wires if (found := self._by_type.get(wire))]
        return _sorted(event for events in lists for event in events if selector.matches(event))


def is_snapshot(event: AnyEvent) -> bool:
    """Whether an event was made for one socket when it joined (contract: events, section 5.11)."""
    return event.type in _SNAPSHOT_WIRES


def _order(entry: tuple[int, int, AnyEvent]) -> tuple[int, int]:
    return entry[0], entry[1]


def _sorted(events: Iterable[AnyEvent]) -> list[AnyEvent]:
    return sorted(events, key=lambda event: event.seq)


def _keys(wires: frozenset[str] | None) -> Iterable[str]:
    return (_EVERY,) if wires is None else wires


def _refuse(event: AnyEvent) -> None:
    match event.payload:
        case InvalidPayload(errors=errors):
            raise ContractViolation(f"event {event.type!r} (seq {event.seq})", errors)
        case UnknownPayload():
            raise ContractViolation(
                f"event {event.type!r} (seq {event.seq})", ("the contract has no such type",)
            )
        case _:
            pass
