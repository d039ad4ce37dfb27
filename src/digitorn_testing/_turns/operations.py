"""Operations: folds the events of one `op_id` into one object, without any IO."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol, cast, get_args, overload

from digitorn_testing._events.asking import Asking
from digitorn_testing._events.daemon import MEANING
from digitorn_testing._events.event import AnyEvent, LiveEvent, decode
from digitorn_testing._events.meaning import Meaning
from digitorn_testing._events.tool_names import is_named
from digitorn_testing._generated.events import TERMINAL_STATES
from digitorn_testing._generated.payloads import OpState, OpType

from .tracker import TurnTracker


class HasTurn(Protocol):
    """Any object that names a turn: a `Turn`, an `AsyncTurn`, a `TurnResult`."""

    @property
    def correlation_id(self) -> str:
        """The turn's identity on the wire."""
        ...


_TYPES: Final[tuple[OpType, ...]] = get_args(OpType)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForbiddenTransition:
    """A change of state that the contract does not allow.

    Attributes:
        operation: The operation.
        before: Its state before; None if it had not begun.
        after: The state that the event reports.
        event: The event.
    """

    operation: "Operation"
    before: OpState | None
    after: OpState
    event: AnyEvent

    def __str__(self) -> str:
        one = self.operation
        if self.before is not None:
            change = f"went from {self.before} to {self.after}"
        elif self.after in TERMINAL_STATES:
            change = f"went to {self.after} without a beginning"
        else:
            change = f"began as {self.after}"
        return f"{one.type} {one.name!r} ({one.id}) {change} by {self.event.type} (seq {self.event.seq})"


# --- operations


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Operation(Asking):
    """Something that the daemon did, from its first event to its last: a turn, a tool call, an approval.

    Attributes:
        id: Id on the wire.
        type: What kind of operation it is.
        state: Its current state. A turn is `completed` only at its end, not at its `result`. A failed turn
            stays `failed` although its end event says completed (contract: events, section 6.7).
        name: The name of the tool, the specialist or id of the agent, the tool that an approval is for, or
            `turn` for a turn; otherwise the wire name of its first event.
        names: All its names: as on the wire, without dots, and that of the tool called through a dispatcher.
        started: When it began, on the daemon's clock; None if its events have no time.
        ended: When it ended; None while it is open.
        turn: Correlation id of the turn that it belongs to; its own for a turn.
        parent_id: Id of the enclosing operation, even if that one's events are not in this collection.
        events: Its events, in order.
    """

    id: str
    type: OpType
    state: OpState
    name: str
    names: tuple[str, ...]
    started: datetime | None
    ended: datetime | None
    turn: str | None
    parent_id: str | None
    events: tuple[AnyEvent, ...] = field(repr=False)
    _never_closes: bool = field(repr=False)
    _family: "_Family" = field(repr=False)

    @property
    def parent(self) -> "Operation | None":
        """The enclosing operation: the one that the daemon names; otherwise the call that waits for it (for
        an approval) or its turn. None if that operation is not in this collection."""
        return self._family.parent

    @property
    def children(self) -> "tuple[Operation, ...]":
        """The operations inside this one, in order of their start."""
        return tuple(self._family.children)

    @property
    def is_open(self) -> bool:
        """Whether it has not ended yet. A call that was cut off by an abort stays open.

        Always False for operations that no event closes, such as previews and widgets: each is reported once,
        as running, with an id of its own (contract: events, section 8.9).
        """
        return self.state not in TERMINAL_STATES and not self._never_closes

    @property
    def duration(self) -> float | None:
        """Seconds from its start to its end on the daemon's clock; None while it is open."""
        if self.started is None or self.ended is None:
            return None
        return (self.ended - self.started).total_seconds()


@dataclass(slots=True)
class _Family:
    """The parent and children of an operation, set after all operations are folded."""

    parent: Operation | None = None
    children: list[Operation] = field(default_factory=list[Operation])


class Operations(Sequence[Operation]):
    """The operations of a set of events, in order of their start.

    Attributes:
        violations: Changes of state that the contract forbids, in order.
    """

    def __init__(
        self, operations: Iterable[Operation], violations: Iterable[ForbiddenTransition] = ()
    ) -> None:
        self._operations = tuple(operations)
        self.violations = tuple(violations)

    @classmethod
    def of(cls, events: Iterable[Mapping[str, Any]], *, meaning: Meaning = MEANING) -> "Operations":
        """Folds events into operations.

        Ignores snapshots made for one socket, events without an operation, and ids that stand for the session
        as a whole (`abort-…`, `queue-…`) (contract: events, sections 4.3 and 4.5).

        Args:
            events: Events in any order, such as an `EventLog`, or raw envelopes. Copies are ignored.
            meaning: What the events mean.
        """
        return _Fold(meaning).run(
            cast("AnyEvent", one) if isinstance(one, LiveEvent) else decode(dict(one)) for one in events
        )

    def find(
        self,
        *,
        name: str | None = None,
        type: OpType | None = None,
        within: "str | HasTurn | Operation | None" = None,
    ) -> "Operations":
        """The operations that match every given argument.

        Args:
            name: One of their names. That of a tool may be the one that the model is offered (`Bash`) or the
                one that approvals have (`shell.bash`).
            type: Their type.
            within: The turn that they belong to (a turn, its operation or its correlation id), or another
                enclosing operation. The result includes the enclosing operation itself.

        Raises:
            ValueError: The type does not exist.
        """
        if type is not None and type not in _TYPES:
            raise ValueError(f"{type!r} is no type of operations; they are {', '.join(_TYPES)}")
        return self._only(
            one
            for one in self._operations
            if (name is None or is_named(name, one.names))
            and (type is None or one.type == type)
            and (within is None or _is_within(one, within))
        )

    def open(self) -> "Operations":
        """The operations that have not ended."""
        return self._only(one for one in self._operations if one.is_open)

    def get(self, op_id: str) -> Operation | None:
        """The operation with this id, or None. If several sessions share the id, the first one.

        Args:
            op_id: Id on the wire.
        """
        return next((one for one in self._operations if one.id == op_id), None)

    def _only(self, chosen: Iterable[Operation]) -> "Operations":
        kept = tuple(chosen)
        return Operations(kept, (one for one in self.violations if one.operation in kept))

    @overload
    def __getitem__(self, index: int) -> Operation: ...
    @overload
    def __getitem__(self, index: slice) -> "Operations": ...
    def __getitem__(self, index: int | slice) -> "Operation | Operations":
        if isinstance(index, slice):
            return self._only(self._operations[index])
        return self._operations[index]

    def __len__(self) -> int:
        return len(self._operations)

    def __iter__(self) -> Iterator[Operation]:
        return iter(self._operations)

    def __repr__(self) -> str:
        return f"Operations([{', '.join(f'{one.type} {one.name} {one.state}' for one in self)}])"


# --- folding


_VAGUE: Final[frozenset[OpType]] = frozenset({"message", "system"})
"""Types that events of a turn can also have: those sent over the socket, and those published in the old form
(contract: events, sections 3.4 and 4.5)."""


_FIRST: Final = 1
"""Number of a session's first event (contract: events, section 4.2)."""


class _Draft:
    """An operation while its events are being folded."""

    def __init__(self, event: AnyEvent, op_id: str, turn: str | None, meaning: Meaning) -> None:
        self._meaning = meaning
        self.id = op_id
        self.type: OpType = event.op_type or "system"
        self.session_id = event.session_id
        self.events: list[AnyEvent] = []
        self.turn = turn
        self.parent_id: str | None = None
        self.state: OpState = "running"
        self.end: AnyEvent | None = None
        self.forbidden: list[tuple[OpState | None, OpState, AnyEvent]] = []
        # The last state that the contract knows for this type. The next change is checked against it.
        self._legal: OpState | None = None

    @property
    def names(self) -> tuple[str, ...]:
        if self.type == "turn":
            return ("turn",)
        found = (name for event in self.events for name in self._meaning.op_names(event))
        return tuple(dict.fromkeys(found)) or (self.events[0].type,)

    def take(self, event: AnyEvent) -> None:
        is_first = not self.events
        self.events.append(event)
        if event.op_parent_id != event.op_id:
            # What follows from a call names that call as both (contract: events, section 5.3).
            self.parent_id = self.parent_id or event.op_parent_id
        if self.type in _VAGUE and event.op_type is not None:
            self.type = event.op_type
        state = self._meaning.state_told(event, self.type)
        if state == self.state and not is_first:
            return
        before = None if is_first else self.state
        if not self._meaning.transitions.are_known(self.type, state):
            self.forbidden.append((before, state, event))
            if self.state not in TERMINAL_STATES:
                self._show(state, event)
            return
        if self._legal is None or state == self._legal:
            self._enter(state, event)
            return
        known = self._meaning.transitions.find(self.type, self._legal, state)
        if known is None or (not known.allows(event) and not self._may_go_on):
            self.forbidden.append((before, state, event))
            # Whatever the contract says: an ended operation stays ended, and nothing returns to the queue.
            if self.state in TERMINAL_STATES or state == "pending":
                return
        elif known.keeps:
            self._note_end(event)
            return
        self._enter(state, event)

    def note_start(self, event: AnyEvent) -> None:
        """Notes that a tool call of this turn starts, which means that the turn is running."""
        if self.has_ended:
            self.forbidden.append((self.state, "running", event))

    @property
    def has_ended(self) -> bool:
        """Whether it ended. A turn that was reported as failed may still continue."""
        is_over = self.type != "turn" or (self.end is not None and self._meaning.ends_turn(self.end))
        return self.state in TERMINAL_STATES and is_over

    @property
    def _may_go_on(self) -> bool:
        """Whether it is a turn that was given up as stale (contract: events, section 6.7)."""
        return self.state == "failed" and not self.has_ended

    def _enter(self, state: OpState, event: AnyEvent) -> None:
        self._legal = state
        self._show(state, event)

    def _show(self, state: OpState, event: AnyEvent) -> None:
        self.state = state
        if state in TERMINAL_STATES and (self.end is None or self.type == "turn"):
            self.end = event

    def _note_end(self, event: AnyEvent) -> None:
        if self.type == "turn" and self._meaning.ends_turn(event):
            self.end = event


class _Fold:
    """Folds the events of any number of sessions."""

    def __init__(self, meaning: Meaning) -> None:
        self._meaning = meaning
        self._drafts: dict[tuple[str | None, str], _Draft] = {}
        self._trackers: dict[str | None, TurnTracker] = {}
        self._rows: dict[str, str] = {}
        """Correlation ids by the ids of queue rows."""
        self._whole: set[str | None] = set()
        """Sessions whose first event is included."""

    def run(self, events: Iterable[AnyEvent]) -> Operations:
        ordered = _ordered(events)
        self._whole = {event.session_id for event in ordered if event.seq == _FIRST and event.is_numbered}
        for event in ordered:
            self._take(event)
        drafts = list(self._drafts.values())
        families = [_Family() for _ in drafts]
        made = [self._made(draft, family) for draft, family in zip(drafts, families, strict=True)]
        _relate(made, families, self._drafts)
        forbidden = (
            (event.seq, ForbiddenTransition(operation=operation, before=before, after=after, event=event))
            for operation, draft in zip(made, drafts, strict=True)
            for before, after, event in draft.forbidden
        )
        return Operations(made, (one for _, one in sorted(forbidden, key=lambda pair: pair[0])))

    def _take(self, event: AnyEvent) -> None:
        self._rows.update(self._meaning.queued_turns(event))
        turn = self._tracker(event.session_id).turn_of(event)
        op_id = self._op_id(event)
        if op_id is None:
            return
        draft = self._drafts.get((event.session_id, op_id))
        is_first = draft is None
        if draft is None:
            draft = self._drafts[event.session_id, op_id] = _Draft(event, op_id, turn, self._meaning)
            state = self._meaning.state_told(event, draft.type)
            if (
                event.session_id in self._whole
                and self._meaning.ends_what_began(event)
                and state in TERMINAL_STATES
            ):
                draft.forbidden.append((None, state, event))
        if event.op_type == "turn":
            draft.turn = op_id
        draft.take(event)
        if is_first and turn is not None and self._meaning.tool_began(event) is not None:
            enclosing = self._drafts.get((event.session_id, turn))
            if enclosing is not None:
                enclosing.note_start(event)

    def _tracker(self, session_id: str | None) -> TurnTracker:
        if session_id not in self._trackers:
            self._trackers[session_id] = TurnTracker(lambda _: None, self._meaning)
        return self._trackers[session_id]

    def _op_id(self, event: AnyEvent) -> str | None:
        """The id of the operation that an event reports on, or None."""
        if event.op_id is None or event.op_type is None or self._meaning.is_snapshot(event):
            return None
        if (row := self._meaning.dequeued_row(event)) is not None:
            return self._rows.get(row)
        if (
            event.op_type in ("turn", "system")
            and event.session_id is not None
            and event.op_id.endswith(f"-{event.session_id}")
        ):
            return None
        return event.op_id

    def _made(self, draft: _Draft, family: _Family) -> Operation:
        moments = [moment for event in draft.events if (moment := event.emitted_at) is not None]
        names = draft.names
        has_ended = draft.state in TERMINAL_STATES and draft.end is not None
        return Operation(
            id=draft.id,
            type=draft.type,
            state=draft.state,
            name=names[0],
            names=names,
            started=moments[0] if moments else None,
            ended=draft.end.emitted_at if has_ended and draft.end is not None else None,
            turn=draft.turn,
            parent_id=draft.parent_id,
            events=tuple(draft.events),
            _never_closes=all(map(self._meaning.never_closes, draft.events)),
            _family=family,
        )


def _is_within(one: Operation, what: "str | HasTurn | Operation") -> bool:
    if isinstance(what, str):
        return one.turn == what
    if not isinstance(what, Operation):
        return one.turn == what.correlation_id
    if what.type == "turn":
        return (one.events[0].session_id, one.turn) == (what.events[0].session_id, what.id)
    return one is what or (one.parent is not None and _is_within(one.parent, what))


def _ordered(events: Iterable[AnyEvent]) -> list[AnyEvent]:
    """The events by number, without copies. An event without a number stays after the ones before it."""
    seen: set[tuple[str | None, str | int]] = set()
    place = 0
    keyed: list[tuple[int, AnyEvent]] = []
    for event in events:
        keys: set[tuple[str | None, str | int]] = set()
        if event.event_id is not None:
            keys.add((event.session_id, event.event_id))
        if event.is_numbered:
            keys.add((event.session_id, event.seq))
            place = event.seq
        if not keys & seen:
            keyed.append((place, event))
        seen |= keys
    return [event for _, event in sorted(keyed, key=lambda pair: pair[0])]


def _relate(
    operations: Sequence[Operation],
    families: Sequence[_Family],
    keys: Iterable[tuple[str | None, str]],
) -> None:
    places = {key: place for place, key in enumerate(keys)}
    for (session_id, _), one, family in zip(places, operations, families, strict=True):
        found: int | None = None
        if one.parent_id is not None:
            found = places.get((session_id, one.parent_id))
        elif one.type == "approval":
            found = _waiting_call(one, operations)
        if found is None and one.parent_id is None and one.turn is not None:
            found = places.get((session_id, one.turn))
        if found is not None and operations[found] is not one:
            family.parent = operations[found]
            families[found].children.append(one)


def _waiting_call(approval: Operation, operations: Sequence[Operation]) -> int | None:
    """The position of the tool call that an approval was requested for: one that has begun and not ended
    (contract: events, section 6.3)."""
    asked = approval.events[0]
    for place, one in enumerate(operations):
        first = one.events[0]
        if (
            one.type == "tool"
            and (first.session_id, first.seq < asked.seq) == (asked.session_id, True)
            and any(is_named(name, one.names) for name in approval.names)
            and not any(event.seq < asked.seq for event in one.events if event.op_state in TERMINAL_STATES)
        ):
            return place
    return None
