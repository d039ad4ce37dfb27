"""One event as it arrived, and what it means."""

import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeAlias, cast

from pydantic import ConfigDict, ValidationError
from typing_extensions import TypeVar

from digitorn_testing._generated._runtime import reasons
from digitorn_testing._generated.events import EVENTS, LIFTED, EventEnvelope, EventPayload
from digitorn_testing._generated.payloads import EventKind, OpState, OpType

P_co = TypeVar("P_co", bound=EventPayload, covariant=True, default=EventPayload)


class UnknownPayload(EventPayload):
    """The payload of an event type that the contract does not define. Its members are kept unchanged."""


class InvalidPayload(EventPayload):
    """The payload of an event that breaks the contract.

    Attributes:
        raw: The payload as it arrived.
        errors: What breaks the contract, each with its location.
    """

    model_config = ConfigDict(extra="ignore")

    raw: Any
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LiveEvent(Mapping[str, Any], Generic[P_co]):
    """One event: its envelope as typed attributes, and its payload.

    It is also a read-only mapping of the envelope as it arrived: `event["type"]`, `event.get("payload", {})`.

    Attributes:
        seq: Place in the session's order; 0 if the event has no number. Gaps are normal.
        type: Wire name.
        payload: The typed payload; `UnknownPayload` or `InvalidPayload` if it does not match the contract.
        kind: Family of the event type.
        ts: When it was emitted, ISO 8601 in UTC.
        app_id: App that it belongs to.
        session_id: Session that it belongs to.
        user_id: Owner of the session.
        event_id: Identity of the event; copies in other formats may lack it.
        correlation_id: The turn that it belongs to.
        op_id: The operation that it reports on.
        op_type: What kind of operation that is.
        op_state: State of that operation after this event.
        op_parent_id: The enclosing operation.
        replayed: Always False: the daemon does not flag copies from its log (contract: events, section 3.1).
        raw: The envelope as it arrived.
    """

    seq: int
    type: str
    payload: P_co
    kind: EventKind | None
    ts: str | None
    app_id: str | None
    session_id: str | None
    user_id: str | None
    event_id: str | None
    correlation_id: str | None
    op_id: str | None
    op_type: OpType | None
    op_state: OpState | None
    op_parent_id: str | None
    replayed: bool
    raw: Mapping[str, Any]

    def __getitem__(self, key: str) -> Any:
        return self.raw[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.raw)

    def __len__(self) -> int:
        return len(self.raw)

    def __hash__(self) -> int:
        return hash((self.session_id, self.event_id, self.seq, self.type))

    def __repr__(self) -> str:
        try:
            payload = repr(self.payload)
        except RecursionError:
            payload = f"<{type(self.payload).__name__}, nested too deeply to be shown>"
        return f"LiveEvent(seq={self.seq}, type={self.type!r}, payload={payload})"

    @property
    def emitted_at(self) -> datetime | None:
        """`ts` as a moment; None when it is missing or unreadable."""
        if self.ts is None:
            return None
        try:
            moment = datetime.fromisoformat(self.ts)
        except ValueError:
            return None
        # Timestamps in the log may lack the time zone, but are also UTC.
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)

    @property
    def is_numbered(self) -> bool:
        """Whether `seq` is this event's own place in its session's order.

        Control frames have no number or one of another counter, and numbers below one mean "ignore"
        (contract: events, section 4.2).
        """
        return self.seq > 0 and self.session_id is not None and self.kind != "system"


AnyEvent: TypeAlias = LiveEvent[EventPayload]
"""An event of any type."""


def decode(raw: object) -> AnyEvent:
    """Decodes a frame. Never raises: anything invalid becomes an `InvalidPayload` with its errors.

    Args:
        raw: The frame as JSON values, normally an envelope.
    """
    if not isinstance(raw, dict):
        payload = InvalidPayload(raw=raw, errors=(f"expected an envelope, got {_kind_of(raw)}",))
        return _event(EventEnvelope.model_construct(type="", payload={}), payload, {"payload": raw})
    frame = cast("dict[str, Any]", raw)
    try:
        envelope = EventEnvelope.from_wire(frame)
    except ValidationError as error:
        return _broken(frame, error)
    return _event(envelope, payload_of(envelope.type, envelope.payload), frame)


def payload_of(wire: str, payload: Mapping[str, Any]) -> EventPayload:
    """The typed payload for a wire name, by the contract's registry."""
    model = EVENTS.payload_class(wire, payload) or UnknownPayload
    try:
        return model.from_wire(payload)
    except ValidationError as error:
        return InvalidPayload(raw=payload, errors=reasons(error))


def _event(envelope: EventEnvelope, payload: EventPayload, raw: dict[str, Any]) -> AnyEvent:
    envelope = _lifted(envelope)
    return LiveEvent(
        seq=envelope.seq or 0,
        type=envelope.type,
        payload=payload,
        kind=envelope.kind,
        ts=envelope.ts,
        app_id=envelope.app_id,
        session_id=envelope.session_id,
        user_id=envelope.user_id,
        # Rows of the log carry empty strings where live events carry nothing (contract: events, section 4.3).
        event_id=envelope.event_id or None,
        correlation_id=envelope.correlation_id or None,
        op_id=envelope.op_id or None,
        op_type=envelope.op_type or None,
        op_state=envelope.op_state or None,
        op_parent_id=envelope.op_parent_id or None,
        replayed=False,
        raw=raw,
    )


def _lifted(envelope: EventEnvelope) -> EventEnvelope:
    """The envelope, completed with fields that a copy has only in its payload
    (contract: events, section 4.3)."""
    is_copy = envelope.event_id is None
    inside = envelope.payload
    found = {
        outer: inside[inner]
        for inner, outer in LIFTED
        if inner in inside
        and isinstance(inside[inner], str)
        and (is_copy or getattr(envelope, outer) is None)
    }
    if not found:
        return envelope
    try:
        lifted = EventEnvelope.from_wire({"type": envelope.type, "payload": {}, **found})
    except ValidationError:
        # A payload member with the same name but another meaning.
        return envelope
    return envelope.model_copy(update={outer: getattr(lifted, outer) for outer in found})


def _broken(frame: dict[str, Any], error: ValidationError) -> AnyEvent:
    """An event whose envelope breaks the contract. Every field that can be read is kept."""
    faulty = {str(one["loc"][0]) for one in error.errors() if one["loc"]}
    unchecked = EventEnvelope.model_construct(type="", payload={}).model_copy(update=frame)
    payload = InvalidPayload(raw=unchecked.payload, errors=reasons(error))
    readable = EventEnvelope.model_construct(type="", payload={}).model_copy(
        update={key: value for key, value in frame.items() if key not in faulty}
    )
    return _event(readable, payload, frame)


def _kind_of(raw: object) -> str:
    return f"{type(raw).__name__} {reprlib.repr(raw)}"
