"""Events from payloads: the envelope that the contract gives each type."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias, TypeVar, cast
from uuid import UUID

from pydantic import JsonValue

from digitorn_testing._generated._runtime import NOT_GIVEN, EventSpec, NotGiven
from digitorn_testing._generated.events import (
    EVENTS,
    Abort,
    AgentEvent,
    ApprovalResolved,
    BgTaskUpdate,
    EventEnvelope,
    EventPayload,
    Hook,
    HookNotification,
    MessageCancelled,
    MessageMerged,
    MessageReplaced,
    Notification,
    NotificationResult,
    QueueCleared,
    ToolCall,
    ToolCallStreaming,
    ToolStart,
    UserMessage,
)
from digitorn_testing._generated.payloads import ApprovalPayload, EventKind, OpState, OpType

from .daemon import SNAPSHOTS
from .event import LiveEvent, decode

P = TypeVar("P", bound=EventPayload)

Frame: TypeAlias = dict[str, JsonValue]
"""An event as it goes over the wire."""

APP: Final = "app"
SESSION: Final = "s-1"
USER: Final = "u-1"
TURN: Final = "fp-000000000001"
BEGINNING: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""When built sessions begin, unless they are told otherwise."""

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
    """An event around a payload, in the envelope that its type has live.

    What is left out is as the contract has it for the type: its kind, the type and state of its operation,
    and whether it names a turn (contract: events, sections 4.1, 4.4, 4.5 and 5). The state follows from the
    payload where it decides: a failed `ToolCall` is `failed`, a denied `ApprovalResolved` `cancelled`.

    Members of the payload that name the app, the session, the user, the turn or the operation, and still
    have the value of their builder's example, are as in the envelope.

    Args:
        payload: What happened.
        seq: Place in the session's order, counted up from 1; the ids and the time that are left out follow
            from it.
        type: Wire name; that of the payload's class when left out.
        ts: When it was emitted.
        app_id: App that it belongs to.
        session_id: Session that it belongs to.
        user_id: Owner of the session.
        event_id: Identity of the event.
        correlation_id: The turn that it belongs to; None for none.
        op_id: The operation that it reports on.
        op_type: What kind of operation that is.
        op_state: State of that operation after this event.
        op_parent_id: The enclosing operation; the one that the payload names when left out.

    Raises:
        ValueError: The payload's class has no wire name and none was given, or the wire name is that of
            another class, or the type travels without an envelope; or `seq` is less than 1, which means
            "ignore" (contract: events, section 4.2).
    """
    check_start(seq)
    spec = EVENTS.spec_of(payload.__class__)
    wire = type or _wire_name(payload, spec)
    members = payload.to_wire()
    if EVENTS.payload_class(wire, members) not in (payload.__class__, None):
        raise ValueError(f"the payload of {wire!r} is no {payload.__class__.__name__}")
    if spec is not None and not spec.enveloped:
        raise ValueError(f"{wire!r} travels under its own Socket.IO name, without an envelope")
    defaults: Mapping[str, object] = spec.defaults if spec is not None else dict[str, object]()
    moment = (ts or BEGINNING + seq * _STEP).astimezone(UTC)
    envelope = EventEnvelope(
        type=wire,
        kind=cast("EventKind", defaults.get("kind", "session")),
        app_id=None if "app_id" in defaults else app_id,
        session_id=None if "session_id" in defaults else session_id,
        ts=f"{moment:%Y-%m-%dT%H:%M:%S.%f}+00:00",
        payload=members,
    )
    if envelope.kind != "system":
        envelope = envelope.model_copy(update={"seq": seq})
    turn = correlation_id
    if isinstance(turn, NotGiven):
        turn = turn_of(payload, session_id, _named_turn(members) or TURN)
    agreed = _agreed(
        members,
        {
            "app_id": app_id,
            "session_id": session_id,
            "user_id": user_id,
            "correlation_id": turn,
            "op_parent_id": op_parent_id,
            **_op_ids(payload, members, op_id, seq),
        },
    )
    if agreed != members:
        payload = payload.from_wire(agreed)
        envelope = envelope.model_copy(update={"payload": agreed})
    kind_of_op = op_type or cast("OpType | None", defaults.get("op_type"))
    if kind_of_op is not None:
        reported = {
            "event_id": event_id or f"ev-{seq:012x}",
            "ts": f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z",
            "user_id": user_id,
            "correlation_id": turn,
            "op_id": op_id or _op_id_of(payload, kind_of_op, turn, session_id, seq),
            "op_type": kind_of_op,
            "op_state": op_state or _op_state_of(payload, defaults),
            "op_parent_id": op_parent_id or _named(agreed, "op_parent_id"),
        }
        envelope = envelope.model_copy(update=reported)
    # Read like one from the wire, so that it is what a stream would give.
    return cast("LiveEvent[P]", decode(envelope.to_wire()))


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


def _wire_name(payload: EventPayload, spec: EventSpec | None) -> str:
    if spec is None:
        name = payload.__class__.__name__
        raise ValueError(f"{name} is no event type of the contract; say its `type`")
    return spec.wire.replace("*", "custom")


def turn_of(payload: EventPayload, session_id: str, turn: str) -> str | None:
    """The correlation id of an event (contract: events, sections 4.1 and 5.1).

    Args:
        payload: What happens.
        session_id: The session.
        turn: The turn during which it happens.
    """
    match payload:
        case Abort():
            return f"abort-{session_id}"
        case QueueCleared():
            return f"queue-{session_id}"
        case MessageCancelled(entry_id=str(entry_id)):
            return entry_id
        case _:
            spec = EVENTS.spec_of(payload.__class__)
            return None if spec is not None and "correlation_id" in spec.defaults else turn


def _named(members: Mapping[str, object], name: str) -> str | None:
    """What a member names; None when it is left to its example, which is its own name."""
    named = members.get(name)
    return named if isinstance(named, str) and named != name else None


def _named_turn(members: Mapping[str, object]) -> str | None:
    named = _named(members, "correlation_id")
    inner = members.get("turn")
    if named is None and isinstance(inner, Mapping):
        return _named(cast("Mapping[str, object]", inner), "correlation_id")
    return named


def _agreed(members: Mapping[str, object], named: Mapping[str, str | None]) -> dict[str, object]:
    """Members, of which those that are left to their example say what the envelope does.

    Args:
        members: Members of a payload by wire name.
        named: What the envelope says, by wire name; None for nothing.
    """
    found = dict(members)
    for name, value in named.items():
        if value is not None and found.get(name) == name:
            found[name] = value
    if found.get("correlation_id", "") is None:
        # Of a tool's start, which may have none.
        found["correlation_id"] = named["correlation_id"]
    inner = found.get("turn")
    if isinstance(inner, Mapping):
        turn = {"correlation_id": named["correlation_id"]}
        found["turn"] = _agreed(cast("Mapping[str, object]", inner), turn)
    return found


def _op_ids(
    payload: EventPayload, members: Mapping[str, object], op_id: str | None, seq: int
) -> dict[str, str | None]:
    """What members name the operation that an event reports on: they are the same for all that name it."""

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


def _op_id_of(
    payload: EventPayload, type: OpType, correlation_id: str | None, session_id: str, seq: int
) -> str:
    """The id of the operation (contract: events, section 4.5)."""
    match payload:
        case ToolStart(id=call_id) | ToolCall(id=call_id):
            return call_id
        case BgTaskUpdate(task_id=task_id) | Notification(task_id=str(task_id)):
            return task_id
        case ApprovalPayload(request_id=request_id):
            return request_id
        case AgentEvent(agent_id=agent_id, op_id=op_id):
            return agent_id or op_id
        case NotificationResult():
            return f"notif-batch-{session_id}"
        case _:
            pass
    if type == "turn":
        return correlation_id or f"turn-{session_id}"
    if type == "system" and isinstance(payload, SNAPSHOTS):
        return f"hydration-{session_id}"
    return f"op-{type}-{seq:012x}"


def _op_state_of(payload: EventPayload, defaults: Mapping[str, object]) -> OpState:
    """The state of the operation after an event (contract: events, section 5)."""
    match payload:
        case UserMessage(pending=True):
            return "pending"
        case MessageMerged(queue_depth=None) | MessageReplaced(queue_depth=None):
            return "running"
        case ToolCall(success=False) | NotificationResult(error=str()):
            return "failed"
        case ApprovalResolved(approved=False, reason=reason):
            # The daemon tells a time-out by the words of the reason.
            return "timeout" if "time" in reason.lower() and "out" in reason.lower() else "cancelled"
        case BgTaskUpdate(status="completed" | "failed" | "cancelled" as status):
            return status
        case AgentEvent(action="agent_cancel"):
            return "cancelled"
        case AgentEvent(status="completed" | "failed" | "timeout" | "cancelled" as status):
            return status
        case Hook(phase="failed" | "error") | HookNotification(level="error" | "warning"):
            return "failed"
        case Hook(phase="cancelled"):
            return "cancelled"
        case _:
            return cast("OpState", defaults.get("op_state", "running"))
