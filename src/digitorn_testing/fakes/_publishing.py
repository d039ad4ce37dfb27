"""Events that a test publishes because the embedded agent does not."""

import uuid

from digitorn_testing._events.conventions import op_of, spec_of
from digitorn_testing._events.envelope import settled
from digitorn_testing._generated._runtime import EventPayload
from digitorn_testing._generated.events import EventEnvelope

from ._agent.bus import session_room
from ._assembly import DaemonState
from ._wire.envelopes import module_event


async def publish(
    daemon: DaemonState, session_id: str, payload: EventPayload, turn: str | None, op_id: str | None
) -> EventEnvelope:
    """Publishes an event in a session, in the envelope that the contract gives its type.

    Args:
        daemon: The daemon.
        session_id: The session.
        payload: What happened.
        turn: Correlation id of the turn that it belongs to.
        op_id: The operation that it reports on; one of its own if left out.

    Raises:
        ValueError: There is no such session, or the contract has no such event.
    """
    spec_of(payload)
    session = daemon.sessions.repository.get(session_id)
    if session is None:
        raise ValueError(f"the embedded daemon has no session {session_id!r}")
    owner, unique = session.owner, uuid.uuid4().hex[:12]
    payload = settled(
        payload,
        int(unique, 16),
        app_id=owner.app_id,
        session_id=session_id,
        user_id=owner.user_id,
        correlation_id=turn,
        op_id=op_id,
    )
    op = op_of(payload, session_id=session_id, correlation_id=turn, unique=unique, op_id=op_id)
    if op is None:
        # The most specific room: a module's event without a session would go to the app's room.
        event = module_event(payload, session.owner, seq=session.log.next_seq())
        await daemon.bus.send(event, to=session_room(session_id))
        return event
    return await daemon.bus.publish(session, payload, correlation_id=turn, op=op)
