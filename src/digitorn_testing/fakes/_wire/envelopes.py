"""The shapes in which an event travels (contract: events, section 4.3)."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

from digitorn_testing._events.conventions import (
    Op,
    hydration_id,
    kind_of,
    live_stamp,
    logged_stamp,
    spec_of,
    stamp,
    wire_name,
)
from digitorn_testing._events.history import lifted
from digitorn_testing._generated._runtime import EventPayload
from digitorn_testing._generated.events import EventEnvelope
from digitorn_testing._generated.payloads import EventKind

Frame: TypeAlias = dict[str, Any]
"""An event as it goes over the wire."""


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
        type=wire_name(spec_of(payload)),
        kind=kind_of(payload),
        seq=seq,
        ts=live_stamp(datetime.now(UTC)),
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


def row_only(payload: EventPayload, owner: Owner, *, seq: int, kind: EventKind = "event") -> EventEnvelope:
    """A row of the log that is never sent live: it belongs to no turn and reports on no operation."""
    return EventEnvelope(
        type=wire_name(spec_of(payload)),
        kind=kind,
        seq=seq,
        ts=_now(),
        app_id=owner.app_id,
        session_id=owner.session_id,
        user_id=owner.user_id,
        payload=payload.to_wire(),
    )


def hydration(payload: EventPayload, owner: Owner, *, seq: int) -> EventEnvelope:
    """A snapshot for a socket that joins a session."""
    return EventEnvelope(
        event_id=f"ev-hydr-{owner.session_id}-{seq}",
        type=wire_name(spec_of(payload)),
        kind=kind_of(payload),
        seq=seq,
        ts=_now(),
        app_id=owner.app_id,
        session_id=owner.session_id,
        user_id=owner.user_id,
        correlation_id=None,
        op_id=hydration_id(owner.session_id),
        op_type="system",
        op_state="completed",
        op_parent_id=None,
        payload=payload.to_wire(),
    )


def module_event(payload: EventPayload, owner: Owner, *, seq: int) -> EventEnvelope:
    """The seven fields in which the events of modules are sent."""
    return EventEnvelope(
        type=wire_name(spec_of(payload)),
        seq=seq,
        kind=kind_of(payload),
        app_id=owner.app_id,
        session_id=owner.session_id,
        payload=payload.to_wire(),
        ts=_now(),
    )


def ring_copy(event: EventEnvelope) -> EventEnvelope:
    """The seven fields that a ring buffer keeps; `ts` is set again."""
    return EventEnvelope(
        type=event.type,
        seq=event.seq,
        kind=event.kind,
        app_id=event.app_id,
        session_id=event.session_id,
        payload=event.payload,
        ts=_now(),
    )


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
        payload={**event.payload, **lifted(event)},
        ts=logged_stamp(event.ts or ""),
    )


def control(payload: EventPayload, *, session_id: str | None, **more: object) -> EventEnvelope:
    """A control frame, without a number.

    Args:
        payload: What it says.
        session_id: The session; None for the handshake.
        more: Further fields of the envelope.
    """
    frame = EventEnvelope(
        type=wire_name(spec_of(payload)),
        kind=kind_of(payload),
        control=True,
        app_id=None,
        session_id=session_id,
        payload=payload.to_wire(),
        ts=_now(),
    )
    return frame.model_copy(update=more)


def iso(seconds: float) -> str:
    """A time as ISO 8601 in UTC.

    Args:
        seconds: Since the Unix epoch.
    """
    return stamp(datetime.fromtimestamp(seconds, UTC))


def _now() -> str:
    return stamp(datetime.now(UTC))
