"""Events that a test publishes itself: what the daemon's agent does not do."""

import uuid

from digitorn_testing._events.envelope import event as built_event
from digitorn_testing._generated._runtime import EventPayload
from digitorn_testing._generated.events import EventEnvelope

from ._assembly import DaemonState
from ._wire.envelopes import Op


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
    session = daemon.sessions.repository.get(session_id)
    if session is None:
        raise ValueError(f"the embedded daemon has no session {session_id!r}")
    # The number only makes the id of the operation a fresh one.
    number = int(uuid.uuid4().hex[:12], 16)
    made = built_event(payload, seq=1, session_id=session_id, correlation_id=turn, op_id=op_id)
    if made.op_type is None or made.op_state is None or made.op_id is None:
        return await daemon.build.publish_module_event(session, payload)
    fresh = made.op_id.replace(f"{1:012x}", f"{number:012x}")
    op = Op(fresh, made.op_type, made.op_state)
    return await daemon.bus.publish(session, payload, op, correlation_id=turn)
