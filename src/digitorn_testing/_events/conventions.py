"""Conventions of the daemon: the operation and turn of an event, token estimates, previews of texts."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, cast

from digitorn_testing._generated._runtime import EventSpec
from digitorn_testing._generated.events import (
    EVENTS,
    SNAPSHOT_TYPES,
    Abort,
    AgentEvent,
    ApprovalResolved,
    BgTaskUpdate,
    EventPayload,
    Hook,
    HookNotification,
    MemoryUpdate,
    MessageCancelled,
    MessageMerged,
    MessageReplaced,
    Notification,
    NotificationResult,
    QueueCleared,
    TerminalOutput,
    ToolCall,
    ToolStart,
    UserMessage,
)
from digitorn_testing._generated.models import TokenTriple
from digitorn_testing._generated.payloads import ApprovalPayload, EventKind, OpState, OpType

# --- texts

_LONGEST_PREVIEW: Final = 200


def preview(text: str) -> str:
    """The beginning of a message, as lists and queues show it."""
    return text[:_LONGEST_PREVIEW]


def estimate(text: str) -> int:
    """Estimates the number of tokens of a text, at four characters per token."""
    return math.ceil(len(text) / 4)


def token_triple(prompt: int, completion: int) -> TokenTriple:
    """Tokens that a session has used.

    Args:
        prompt: Tokens that the model read.
        completion: Tokens that it wrote.
    """
    return TokenTriple(prompt=prompt, completion=completion, total=prompt + completion)


# --- times


def stamp(moment: datetime) -> str:
    """A time as formatted in copies and rows of the log: ISO 8601 in UTC, with an offset."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def live_stamp(moment: datetime) -> str:
    """A time as formatted in live events: ISO 8601 in UTC, with a `Z`."""
    return stamp(moment).replace("+00:00", "Z")


def logged_stamp(live: str) -> str:
    """The time of a live event as formatted in its row of the log."""
    return live.replace("Z", "+00:00")


# --- the envelope of a type


def spec_of(payload: EventPayload) -> EventSpec:
    """The contract's specification of a payload's event type.

    Raises:
        ValueError: The contract has no such event, or the event is sent without an envelope.
    """
    spec = EVENTS.spec_of(payload.__class__)
    if spec is None:
        raise ValueError(f"{payload.__class__.__name__} is no event type of the contract; say its `type`")
    if not spec.enveloped:
        raise ValueError(f"{spec.wire!r} travels under its own Socket.IO name, without an envelope")
    return spec


def wire_name(spec: EventSpec) -> str:
    """The wire name of an event type. For a family of types, a name that belongs to it."""
    return spec.wire.replace("*", "custom")


def kind_of(payload: EventPayload) -> EventKind:
    """The family of an event type (contract: events, section 4.4)."""
    spec = EVENTS.spec_of(payload.__class__)
    return cast("EventKind", spec.defaults.get("kind", "session")) if spec is not None else "session"


def turn_of(payload: EventPayload, session_id: str, turn: str | None) -> str | None:
    """The correlation id of an event (contract: events, sections 4.1 and 5.1).

    Args:
        payload: The event's payload.
        session_id: The session.
        turn: The turn during which it happens.
    """
    match payload:
        case Abort():
            return f"abort-{session_id}"
        case QueueCleared():
            return f"queue-{session_id}"
        case MessageCancelled(entry_id=str(entry_id)):
            # The row's id, not the message's (contract: events, section 5.1).
            return entry_id
        case _:
            spec = EVENTS.spec_of(payload.__class__)
            return None if spec is not None and "correlation_id" in spec.defaults else turn


# --- operations


@dataclass(frozen=True, slots=True)
class Op:
    """The operation that an event reports on (contract: events, section 4.5).

    Attributes:
        id: Id of the operation.
        type: Type of the operation.
        state: Its state after the event.
        parent_id: The enclosing operation.
    """

    id: str
    type: OpType
    state: OpState
    parent_id: str | None = None


def op_of(
    payload: EventPayload,
    *,
    session_id: str,
    correlation_id: str | None,
    unique: str,
    op_id: str | None = None,
    op_type: OpType | None = None,
    op_state: OpState | None = None,
    op_parent_id: str | None = None,
) -> Op | None:
    """The operation that an event reports on.

    Arguments that are left out default to the contract's values for the type. The state is derived from the
    payload if the payload determines it.

    Args:
        payload: The event's payload.
        session_id: The session.
        correlation_id: The turn that the event names.
        unique: Makes the id unique if nothing names the operation.
        op_id: Id of the operation.
        op_type: Type of the operation.
        op_state: State of the operation after the event.
        op_parent_id: The enclosing operation.

    Returns:
        The operation; None for a type that does not report on one.
    """
    spec = EVENTS.spec_of(payload.__class__)
    type_ = op_type or (cast("OpType | None", spec.defaults.get("op_type")) if spec is not None else None)
    if type_ is None:
        return None
    found = op_id or _op_id(payload, spec, type_, correlation_id, session_id, unique)
    return Op(found, type_, op_state or _op_state(payload, spec), op_parent_id or _op_parent_id(payload))


def hydration_id(session_id: str) -> str:
    """Id of the operation that the snapshots of a join report on."""
    return f"hydration-{session_id}"


def _op_id(
    payload: EventPayload,
    spec: EventSpec | None,
    type_: OpType,
    correlation_id: str | None,
    session_id: str,
    unique: str,
) -> str:
    match payload:
        case ToolStart(id=call_id) | ToolCall(id=call_id):
            return call_id
        case BgTaskUpdate(task_id=task_id) | Notification(task_id=str(task_id)):
            return task_id
        case ApprovalPayload(request_id=request_id):
            return request_id
        case TerminalOutput(op_parent_id=call_id) | MemoryUpdate(op_parent_id=str(call_id)):
            return call_id
        case Hook(hook_op_id=str(hook_op_id)):
            return hook_op_id
        case AgentEvent(agent_id=agent_id, op_id=op_id):
            return agent_id or op_id
        case NotificationResult():
            return f"notif-batch-{session_id}"
        case _:
            pass
    if type_ == "turn":
        return correlation_id or f"turn-{session_id}"
    if type_ == "system" and spec is not None and spec.wire in SNAPSHOT_TYPES:
        return hydration_id(session_id)
    return f"op-{type_}-{unique}"


def _op_parent_id(payload: EventPayload) -> str | None:
    """The call that an event was derived from; the event reports on the call's own operation."""
    match payload:
        case TerminalOutput(op_parent_id=call_id) | MemoryUpdate(op_parent_id=call_id):
            return call_id
        case _:
            return None


def _op_state(payload: EventPayload, spec: EventSpec | None) -> OpState:
    """The state of the operation after an event (contract: events, section 5)."""
    match payload:
        case UserMessage(pending=True):
            return "pending"
        case MessageMerged(queue_depth=None) | MessageReplaced(queue_depth=None):
            return "running"
        case ToolCall(success=False) | NotificationResult(error=str()):
            return "failed"
        case ApprovalResolved(approved=False, reason=reason):
            # The daemon recognises a timeout by the words of the reason, no matter who wrote them.
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
            return (
                cast("OpState", spec.defaults.get("op_state", "running")) if spec is not None else "running"
            )
