"""Builds events from payloads, with the envelope that the contract defines for each type."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias, TypeVar, cast
from uuid import UUID

from pydantic import JsonValue

from digitorn_testing._generated._runtime import NOT_GIVEN, NotGiven
from digitorn_testing._generated.events import (
    EVENTS,
    AgentEvent,
    BgTaskUpdate,
    EventEnvelope,
    EventPayload,
    Notification,
    ToolCall,
    ToolCallStreaming,
    ToolStart,
)
from digitorn_testing._generated.payloads import ApprovalPayload, OpState, OpType

from .conventions import kind_of, live_stamp, op_of, spec_of, stamp, turn_of, wire_name
from .event import LiveEvent, decode

P = TypeVar("P", bound=EventPayload)

Frame: TypeAlias = dict[str, JsonValue]
"""An event as it goes over the wire."""

APP: Final = "app"
SESSION: Final = "s-1"
USER: Final = "u-1"
TURN: Final = "fp-000000000001"
BEGINNING: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""When built sessions begin by default."""

_STEP: Final = timedelta(milliseconds=10)


def event(
    payload: P,
    *,
    seq: int = 1,
    type: str | None = None,
    ts: datetime | None = None,
    app_id: str = APP,
    session_id: str = SESSION,
    user_id: str = USER,
    event_id: str | None = None,
    correlation_id: str | NotGiven | None = NOT_GIVEN,
    op_id: str | None = None,
    op_type: OpType | None = None,
    op_state: OpState | None = None,
    op_parent_id: str | None = None,
) -> LiveEvent[P]:
    """Wraps a payload in the envelope that its type has when it is sent live.

    Arguments that are left out default to the contract's values for the type: its kind, the type and state of
    its operation, and whether it names a turn (contract: events, sections 4.1, 4.4, 4.5 and 5). The state is
    derived from the payload if the payload determines it: a failed `ToolCall` is `failed`, a denied
    `ApprovalResolved` is `cancelled`.

    If payload members that name the app, the session, the user, the turn or the operation still have their
    builder's example value, they are set to the values of the envelope.

    Args:
        payload: The payload.
        seq: Place in the session's order, starting at 1. Ids and the time are derived from it by default.
        type: Wire name. Default: that of the payload's class.
        ts: When it was emitted.
        app_id: App that it belongs to.
        session_id: Session that it belongs to.
        user_id: Owner of the session.
        event_id: Identity of the event.
        correlation_id: The turn that it belongs to; None for none.
        op_id: The operation that it reports on.
        op_type: What kind of operation that is.
        op_state: State of that operation after this event.
        op_parent_id: The enclosing operation. Default: the one that the payload names.

    Raises:
        ValueError: The payload's class has no wire name and `type` is missing, `type` is the wire name of
            another class, the type is sent without an envelope, or `seq` is less than 1, which means
            "ignore" (contract: events, section 4.2).
    """
    check_start(seq)
    spec = EVENTS.spec_of(payload.__class__)
    wire = type or wire_name(spec_of(payload))
    members = payload.to_wire()
    if EVENTS.payload_class(wire, members) not in (payload.__class__, None):
        raise ValueError(f"the payload of {wire!r} is no {payload.__class__.__name__}")
    if spec is not None:
        spec = spec_of(payload)
    defaults: Mapping[str, object] = spec.defaults if spec is not None else dict[str, object]()
    moment = ts or BEGINNING + seq * _STEP
    envelope = EventEnvelope(
        type=wire,
        kind=kind_of(payload),
        app_id=None if "app_id" in defaults else app_id,
        session_id=None if "session_id" in defaults else session_id,
        ts=stamp(moment),
        payload=members,
    )
    if envelope.kind != "system":
        envelope = envelope.model_copy(update={"seq": seq})
    turn = correlation_id
    if isinstance(turn, NotGiven):
        turn = turn_of(payload, session_id, named_turn(members) or TURN)
    payload = settled(
        payload,
        seq,
        app_id=app_id,
        session_id=session_id,
        user_id=user_id,
        correlation_id=turn,
        op_id=op_id,
        op_parent_id=op_parent_id,
    )
    agreed = payload.to_wire()
    envelope = envelope.model_copy(update={"payload": agreed})
    op = op_of(
        payload,
        session_id=session_id,
        correlation_id=turn,
        unique=f"{seq:012x}",
        op_id=op_id,
        op_type=op_type,
        op_state=op_state,
        op_parent_id=op_parent_id or _named(agreed, "op_parent_id"),
    )
    if op is not None:
        reported = {
            "event_id": event_id or f"ev-{seq:012x}",
            "ts": live_stamp(moment),
            "user_id": user_id,
            "correlation_id": turn,
            "op_id": op.id,
            "op_type": op.type,
            "op_state": op.state,
            "op_parent_id": op.parent_id,
        }
        envelope = envelope.model_copy(update=reported)
    # Decoded like a frame from the wire, so that it equals what a stream would deliver.
    return cast("LiveEvent[P]", decode(envelope.to_wire()))


def settled(
    payload: P,
    number: int,
    *,
    app_id: str,
    session_id: str,
    user_id: str,
    correlation_id: str | None,
    op_id: str | None = None,
    op_parent_id: str | None = None,
) -> P:
    """Sets payload members that still have their builder's example value to the values of the envelope.

    Args:
        payload: The payload.
        number: Makes default ids unique.
        app_id: App that the event belongs to.
        session_id: Session that it belongs to.
        user_id: Owner of the session.
        correlation_id: The turn that it names; None for none.
        op_id: The operation that it reports on.
        op_parent_id: The enclosing operation.
    """
    members = payload.to_wire()
    agreed = _agreed(
        members,
        {
            "app_id": app_id,
            "session_id": session_id,
            "user_id": user_id,
            "correlation_id": correlation_id,
            "op_parent_id": op_parent_id,
            **_op_ids(payload, members, op_id, number),
        },
    )
    return payload if agreed == members else payload.from_wire(agreed)


def check_start(seq: int) -> None:
    """Refuses numbers that mean "ignore" (contract: events, section 4.2).

    Raises:
        ValueError: It is less than 1.
    """
    if seq < 1:
        raise ValueError(f"seq={seq}: the events of a session are counted up from 1")


def frame(event: LiveEvent[EventPayload]) -> Frame:
    """An event as it goes over the wire.

    Args:
        event: The event.
    """
    return cast("Frame", dict(event.raw))


def _named(members: Mapping[str, object], name: str) -> str | None:
    """The id in a member; None if it still has its example value, which is the member's own name."""
    named = members.get(name)
    return named if isinstance(named, str) and named != name else None


def named_turn(members: Mapping[str, object]) -> str | None:
    """The turn that a payload names; None if it names none, or still has its example value.

    Args:
        members: Members of the payload by wire name.
    """
    named = _named(members, "correlation_id")
    inner = members.get("turn")
    if named is None and isinstance(inner, Mapping):
        return _named(cast("Mapping[str, object]", inner), "correlation_id")
    return named


def _agreed(members: Mapping[str, object], named: Mapping[str, str | None]) -> dict[str, object]:
    """Replaces members that still have their example value by the values of the envelope.

    Args:
        members: Members of a payload by wire name.
        named: Values of the envelope by wire name; None if it has no value.
    """
    found = dict(members)
    for name, value in named.items():
        if value is not None and found.get(name) == name:
            found[name] = value
    if found.get("correlation_id", "") is None:
        # The start of a tool, whose correlation id is optional.
        found["correlation_id"] = named["correlation_id"]
    inner = found.get("turn")
    if isinstance(inner, Mapping):
        turn = {"correlation_id": named["correlation_id"]}
        found["turn"] = _agreed(cast("Mapping[str, object]", inner), turn)
    return found


def _op_ids(
    payload: EventPayload, members: Mapping[str, object], op_id: str | None, seq: int
) -> dict[str, str | None]:
    """Values of the members that name the operation; the same in all events of the operation."""

    def one(*names: str, like: str) -> dict[str, str | None]:
        given = (named for name in names if (named := _named(members, name)))
        return dict.fromkeys(names, op_id or next(given, like))

    match payload:
        case ToolCallStreaming():
            # It reports on its turn.
            return {"call_id": f"call_{seq:012x}"}
        case ToolStart() | ToolCall():
            return one("id", "call_id", "op_id", like=f"call_{seq:012x}")
        case BgTaskUpdate() | Notification():
            return one("task_id", like=f"task-{seq:012x}")
        case ApprovalPayload():
            return one("request_id", "op_id", like=str(UUID(int=seq)))
        case AgentEvent():
            return one("op_id", like=f"op-agent-{seq:012x}")
        case _:
            return {}
