"""Events that a test publishes because the embedded agent does not."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime

from digitorn_testing._events.conventions import op_of, turn_of
from digitorn_testing._events.envelope import event, named_turn, settled
from digitorn_testing._events.event import AnyEvent, LiveEvent
from digitorn_testing._generated._runtime import NOT_GIVEN, EventPayload, NotGiven
from digitorn_testing._generated.events import EventEnvelope
from digitorn_testing._generated.payloads import OpState, OpType
from digitorn_testing.builders import TurnBuilder

from ._agent.bus import EventBus
from ._store.sessions import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What the envelope of a published event says beside its payload.

    Attributes:
        type: Wire name; None for that of the payload's class.
        event_id: Identity of the event; None for one of its own.
        correlation_id: The turn; None for none.
        op_id: The operation that it reports on.
        op_type: What kind of operation that is.
        op_state: State of that operation after the event.
        op_parent_id: The enclosing operation.
    """

    type: str | None = None
    event_id: str | None = None
    correlation_id: str | NotGiven | None = NOT_GIVEN
    op_id: str | None = None
    op_type: OpType | None = None
    op_state: OpState | None = None
    op_parent_id: str | None = None

    def over(self, below: "Labels") -> "Labels":
        """These, and below them those of an event for what these leave open."""
        said = {one.name: getattr(self, one.name) for one in fields(self)}
        return replace(below, **{k: v for k, v in said.items() if v not in (None, NOT_GIVEN)})


def events_of(
    session: Session, given: Iterable[EventPayload | AnyEvent] | TurnBuilder
) -> list[EventPayload | AnyEvent]:
    """What is to be published; the turn of a builder as it would be in the session."""
    if not isinstance(given, TurnBuilder):
        return list(given)
    owner = session.owner
    placed = replace(
        given,
        app_id=owner.app_id,
        session_id=owner.session_id,
        user_id=owner.user_id,
        start_seq=session.log.last_seq + 1,
    )
    return list(placed.build())


def take(bus: EventBus, session: Session, given: EventPayload | AnyEvent, labels: Labels) -> EventEnvelope:
    """Numbers an event and logs it; `EventBus.flush` sends it.

    Raises:
        ValueError: The contract has no such event, or the session has it already.
    """
    payload = given if isinstance(given, EventPayload) else given.payload
    if isinstance(given, LiveEvent):
        labels = labels.over(_labels_of(given, session))
        payload = _moved(given, session)
        if given.event_id is not None and session.log.has(given.event_id):
            raise ValueError(
                f"the session already has an event {given.event_id!r}, and streams would drop another one as "
                "its copy: build it with another `event_id` or `start_seq`"
            )
    made = _enveloped(payload, session, labels)
    if made.kind != "system":
        made = made.model_copy(update={"seq": session.log.next_seq()})
    bus.take(session, made, logs=made.op_id is not None)
    return made


def _enveloped(payload: EventPayload, session: Session, labels: Labels) -> EventEnvelope:
    """The envelope that `event` gives a payload, with ids that no other event has."""
    owner, unique = session.owner, uuid.uuid4().hex[:12]
    turn = labels.correlation_id
    if isinstance(turn, NotGiven):
        turn = turn_of(payload, session.id, _turn(payload.to_wire(), session, unique))
    payload = settled(
        payload,
        int(unique, 16),
        app_id=owner.app_id,
        session_id=owner.session_id,
        user_id=owner.user_id,
        correlation_id=turn,
        op_id=labels.op_id,
        op_parent_id=labels.op_parent_id,
    )
    op = op_of(
        payload,
        session_id=session.id,
        correlation_id=turn,
        unique=unique,
        op_id=labels.op_id,
        op_type=labels.op_type,
    )
    made = event(
        payload,
        type=labels.type,
        ts=datetime.now(UTC),
        app_id=owner.app_id,
        session_id=owner.session_id,
        user_id=owner.user_id,
        event_id=labels.event_id or f"ev-{unique}",
        correlation_id=turn,
        op_id=op.id if op is not None else labels.op_id,
        op_type=labels.op_type,
        op_state=labels.op_state,
        op_parent_id=labels.op_parent_id,
    )
    return EventEnvelope.from_wire(dict(made.raw))


def _turn(members: Mapping[str, object], session: Session, unique: str) -> str | None:
    """The turn that a payload names, else the one that runs; a new one for a payload that has to name one."""
    if (named := named_turn(members)) is not None:
        return named
    if session.turn is not None:
        return session.turn.told_id
    inner = members.get("turn")
    has_to = "correlation_id" in members or (isinstance(inner, Mapping) and "correlation_id" in inner)
    return f"fp-{unique}" if has_to else None


def _labels_of(given: AnyEvent, session: Session) -> Labels:
    def here(id_: str | None) -> str | None:
        # Some ids end with that of the session, such as the operation of an abort.
        if id_ is None or not given.session_id or not id_.endswith(f"-{given.session_id}"):
            return id_
        return id_.removesuffix(given.session_id) + session.id

    return Labels(
        type=given.type,
        event_id=given.event_id,
        correlation_id=here(given.correlation_id),
        op_id=here(given.op_id),
        op_type=given.op_type,
        op_state=given.op_state,
        op_parent_id=here(given.op_parent_id),
    )


def _moved(given: AnyEvent, session: Session) -> EventPayload:
    """The payload of an event, with the app, the session and the user of the session that it goes to."""
    members, owner = given.payload.to_wire(), session.owner
    places = {
        "app_id": (given.app_id, owner.app_id),
        "session_id": (given.session_id, owner.session_id),
        "user_id": (given.user_id, owner.user_id),
    }
    moved = {name: to for name, (was, to) in places.items() if was is not None and members.get(name) == was}
    return given.payload.from_wire({**members, **moved}) if moved else given.payload
