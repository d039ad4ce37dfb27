"""The shapes in which an event travels (contract: events, section 4.3)."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from digitorn_testing._generated._runtime import EventPayload
from digitorn_testing._generated.events import (
    EVENTS,
    LIFTED,
    ApprovalProgress,
    ApprovalRequest,
    ApprovalResolved,
    Connected,
    Disconnected,
    Error,
    EventEnvelope,
    Heartbeat,
    ModuleError,
    Status,
)
from digitorn_testing._generated.payloads import EventKind, OpState, OpType

Frame: TypeAlias = dict[str, Any]
"""An event as it goes over the wire."""

WIRE_NAMES: Final[Mapping[type[Any], str]] = {spec.payload: spec.wire for spec in EVENTS.specs}
"""The wire name of each payload class."""

_KINDS: Final[tuple[tuple[type[Any], EventKind], ...]] = (
    (ApprovalRequest, "approval"),
    (ApprovalProgress, "approval"),
    (ApprovalResolved, "approval"),
    (Error, "error"),
    (ModuleError, "error"),
    (Status, "status"),
    (Connected, "system"),
    (Disconnected, "system"),
    (Heartbeat, "system"),
)


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


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom an event belongs to.

    Attributes:
        app_id: The app.
        session_id: The session.
        user_id: Owner of the session.
    """

    app_id: str
    session_id: str
    user_id: str


def live(
    payload: EventPayload, op: Op, owner: Owner, *, seq: int, correlation_id: str | None = None
) -> EventEnvelope:
    """The full envelope, in which an event is sent live."""
    return EventEnvelope(
        event_id=f"ev-{uuid.uuid4().hex[:12]}",
        type=WIRE_NAMES[type(payload)],
        kind=kind_of(payload),
        seq=seq,
        ts=_now().replace("+00:00", "Z"),
        app_id=owner.app_id,
        session_id=owner.session_id,
        user_id=owner.user_id,
        correlation_id=correlation_id,
        op_id=op.id,
        op_type=op.type,
        op_state=op.state,
        op_parent_id=op.parent_id,
        payload=payload.to_wire(),
    )


def renumbered(event: EventEnvelope, seq: int) -> EventEnvelope:
    """The same event under another number."""
    return event.model_copy(update={"seq": seq})


def row_only(
    payload: EventPayload, owner: Owner, *, seq: int, kind: EventKind = "session", correlation_id: str | None
) -> EventEnvelope:
    """A row of the log that is never sent live: nothing that reports on an operation."""
    return EventEnvelope(
        type=WIRE_NAMES[type(payload)],
        kind=kind,
        seq=seq,
        ts=_now(),
        app_id=owner.app_id,
        session_id=owner.session_id,
        user_id=owner.user_id,
        correlation_id=correlation_id,
        payload=payload.to_wire(),
    )


def hydration(payload: EventPayload, owner: Owner, *, seq: int, event_id: str) -> EventEnvelope:
    """A full envelope for one that joins."""
    return EventEnvelope(
        event_id=event_id,
        type=WIRE_NAMES[type(payload)],
        kind="session",
        seq=seq,
        ts=_now(),
        app_id=owner.app_id,
        session_id=owner.session_id,
        user_id=owner.user_id,
        correlation_id=None,
        op_id=f"hydration-{owner.session_id}",
        op_type="system",
        op_state="completed",
        op_parent_id=None,
        payload=payload.to_wire(),
    )


def snapshot(payload: EventPayload, owner: Owner, *, seq: int) -> EventEnvelope:
    """The seven fields in which build A sends its own snapshots, and modules their events."""
    return EventEnvelope(
        type=WIRE_NAMES[type(payload)],
        seq=seq,
        kind=kind_of(payload),
        app_id=owner.app_id,
        session_id=owner.session_id,
        payload=payload.to_wire(),
        ts=_now(),
    )


def ring_copy(event: EventEnvelope) -> EventEnvelope:
    """The seven fields that a ring buffer keeps; `ts` is stamped anew."""
    return EventEnvelope(
        type=event.type,
        seq=event.seq,
        kind=event.kind,
        app_id=event.app_id,
        session_id=event.session_id,
        payload=event.payload,
        ts=_now(),
    )


def log_row(event: EventEnvelope) -> EventEnvelope:
    """A row of the durable log, in which the payload repeats the ids of the operation."""
    # A row has only what was stored: the parent when there is one, the operation when there is one.
    stored = {
        name: getattr(event, name)
        for name in ("event_id", "op_id", "op_type", "op_state", "op_parent_id")
        if getattr(event, name) is not None
    }
    row = EventEnvelope(
        type=event.type,
        kind=event.kind,
        seq=event.seq,
        ts=(event.ts or "").replace("Z", "+00:00"),
        app_id=event.app_id,
        session_id=event.session_id,
        user_id=event.user_id,
        correlation_id=event.correlation_id,
        payload={**event.payload, **_lifted(event, same_name=True)},
    )
    return row.model_copy(update=stored)


def gap_row(event: EventEnvelope) -> EventEnvelope:
    """A row in the form of a filled gap: event id and operation stand in the payload alone."""
    return EventEnvelope(
        seq=event.seq,
        type=event.type,
        kind="event",
        app_id=event.app_id,
        session_id=event.session_id,
        user_id=event.user_id,
        correlation_id=event.correlation_id,
        payload={**event.payload, **_lifted(event, same_name=False)},
        ts=event.ts,
    )


def gap_fill(event: EventEnvelope) -> EventEnvelope:
    """A row in the form of a filled gap, flagged as a copy."""
    return gap_row(event).model_copy(update={"replayed": True})


def control(payload: EventPayload, *, session_id: str | None, **more: object) -> EventEnvelope:
    """A control frame of build B, without a number.

    Args:
        payload: What it says.
        session_id: The session; None for the handshake.
        more: Further fields of the envelope.
    """
    frame = EventEnvelope(
        type=WIRE_NAMES[type(payload)],
        kind="system",
        control=True,
        app_id=None,
        session_id=session_id,
        payload=payload.to_wire(),
        ts=_now(),
    )
    return frame.model_copy(update=more)


def handshake(user_id: str, *, latest_seq: int) -> EventEnvelope:
    """What a socket is greeted with on build A (contract: events, section 1)."""
    return EventEnvelope(
        type=WIRE_NAMES[Connected],
        kind="system",
        seq=latest_seq,
        app_id=None,
        session_id=None,
        payload={},
        ts=_now(),
        capabilities=["full_events"],
        latest_seq=latest_seq,
        user_id=user_id,
    )


def kind_of(payload: EventPayload) -> EventKind:
    """The family of an event type (contract: events, section 4.4)."""
    for model, kind in _KINDS:
        if isinstance(payload, model):
            return kind
    return "session"


def iso(seconds: float) -> str:
    """A time as ISO 8601 in UTC.

    Args:
        seconds: Since the Unix epoch.
    """
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _lifted(event: EventEnvelope, *, same_name: bool) -> dict[str, Any]:
    """What copies carry inside the payload: the envelope's fields, in log rows under their own name only."""
    found = {inner: getattr(event, outer) for inner, outer in LIFTED if not same_name or inner == outer}
    return {name: value for name, value in found.items() if value is not None}
