"""One event as it arrived, and what it means."""

import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, cast

from pydantic import ConfigDict, ValidationError
from typing_extensions import TypeVar

from digitorn_testing._generated._runtime import reasons
from digitorn_testing._generated._surrogates import validated
from digitorn_testing._generated.events import (
    EVENTS,
    LIFTED,
    LIVE,
    EventEnvelope,
    EventPayload,
    live_members,
)
from digitorn_testing._generated.payloads import EventKind, OpState, OpType

_READERS: Final = EVENTS.readers
_LIFTED_KEYS: Final = frozenset(inner for inner, _ in LIFTED)

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


class _Fields(Mapping[str, Any]):
    """The fields of an event while they are set.

    `LiveEvent` is frozen, and a frozen dataclass sets each field by a call. These are set directly, and the
    instance becomes a `LiveEvent` then.
    """

    __slots__ = (
        "_inside",
        "app_id",
        "correlation_id",
        "event_id",
        "is_numbered",
        "kind",
        "op_id",
        "op_parent_id",
        "op_state",
        "op_type",
        "payload",
        "raw",
        "replayed",
        "seq",
        "session_id",
        "ts",
        "type",
        "user_id",
    )

    raw: Mapping[str, Any]
    _inside: Mapping[str, Any]

    def __init__(
        self,
        seq: int,
        type: str,
        payload: EventPayload,
        kind: EventKind | None,
        ts: str | None,
        app_id: str | None,
        session_id: str | None,
        user_id: str | None,
        event_id: str | None,
        correlation_id: str | None,
        op_id: str | None,
        op_type: OpType | None,
        op_state: OpState | None,
        op_parent_id: str | None,
    ) -> None:
        self.seq = seq
        self.type = type
        self.payload = payload
        self.kind: EventKind | None = kind
        self.ts = ts
        self.app_id = app_id
        self.session_id = session_id
        self.user_id = user_id
        self.event_id = event_id
        self.correlation_id = correlation_id
        self.op_id = op_id
        self.op_type: OpType | None = op_type
        self.op_state: OpState | None = op_state
        self.op_parent_id = op_parent_id
        self.replayed = False
        self.is_numbered = seq > 0 and session_id is not None and kind != "system"

    def _live_envelope(self) -> dict[str, Any]:
        """The envelope of a live event, which has no other members.

        To keep it as well would take half as much memory again.
        """
        return {name: getattr(self, name) for name in LIVE if name != "payload"} | {"payload": self._inside}

    def __getitem__(self, key: str) -> Any:
        return self.raw[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.raw)

    def __len__(self) -> int:
        return len(self.raw)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LiveEvent(_Fields, Generic[P_co]):
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
        is_numbered: Whether `seq` is this event's own place in its session's order. Control frames have no
            number or one of another counter, and numbers below one mean "ignore"
            (contract: events, section 4.2).
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
    is_numbered: bool = field(init=False)

    def __post_init__(self) -> None:
        is_numbered = self.seq > 0 and self.session_id is not None and self.kind != "system"
        object.__setattr__(self, "is_numbered", is_numbered)

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


_RAW: Final = cast("Any", _Fields.raw)


def _raw_of(event: LiveEvent[EventPayload]) -> Mapping[str, Any]:
    try:
        raw: Mapping[str, Any] = _RAW.__get__(event)
    except AttributeError:
        raw = event._live_envelope()  # pyright: ignore[reportPrivateUsage] - of this module
        _RAW.__set__(event, raw)
    return raw


if not TYPE_CHECKING:
    LiveEvent.raw = property(_raw_of, _RAW.__set__)


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
    if (members := live_members(frame)) is None:
        return _decode_any(frame)
    (
        event_id,
        wire,
        kind,
        seq,
        ts,
        app_id,
        session_id,
        user_id,
        correlation_id,
        op_id,
        op_type,
        op_state,
        op_parent_id,
        inside,
    ) = members
    if not (event_id and op_id and op_type and op_state) or correlation_id == "" or op_parent_id == "":
        # A row of the log.
        return _decode_any(frame)
    if not _LIFTED_KEYS.isdisjoint(inside) and _lacks_lifted(frame, inside):
        return _decode_any(frame)
    event: Any = _Fields(
        seq,
        wire,
        payload_of(wire, inside),
        kind,
        ts,
        app_id,
        session_id,
        user_id,
        event_id,
        correlation_id,
        op_id,
        op_type,
        op_state,
        op_parent_id,
    )
    event._inside = inside
    event.__class__ = LiveEvent
    decoded: AnyEvent = event
    return decoded


def payload_of(wire: str, payload: Mapping[str, Any]) -> EventPayload:
    """The typed payload for a wire name, by the contract's registry."""
    try:
        if (reader := _READERS.get(wire)) is not None:
            return validated(reader, payload)
        typed = EVENTS.read(wire, payload)
        return UnknownPayload.from_wire(payload) if typed is None else typed
    except ValidationError as error:
        return InvalidPayload(raw=payload, errors=reasons(error))


def _decode_any(frame: dict[str, Any]) -> AnyEvent:
    """Decodes an envelope that is not as those of live events are."""
    try:
        envelope = EventEnvelope.from_wire(frame)
    except ValidationError as error:
        return _broken(frame, error)
    return _event(envelope, payload_of(envelope.type, envelope.payload), frame)


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


def _lacks_lifted(frame: Mapping[str, Any], inside: Mapping[str, Any]) -> bool:
    """Whether the payload has members that the envelope lacks."""
    return any(inner in inside and frame[outer] is None for inner, outer in LIFTED)


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
