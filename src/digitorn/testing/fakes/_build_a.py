"""Build A of the daemon, the one that the contract is written for."""

from collections.abc import Callable
from typing import Any, Final

from digitorn.testing._generated._runtime import EventPayload
from digitorn.testing._generated.events import (
    ActiveOpsSnapshot,
    ApprovalRequest,
    ApprovalsSnapshot,
    CredentialRequired,
    Error,
    EventEnvelope,
    MessageCancelled,
    MessageDone,
    QueueSnapshot,
    SessionSnapshot,
    StateSnapshot,
)
from digitorn.testing._generated.messages import JoinSessionAck, JoinSessionRequest
from digitorn.testing._generated.payloads import CredentialFieldSpec

from ._approvals import Approvals
from ._bus import USER_SEQ, EventBus, session_room, user_room
from ._envelopes import Op, gap_fill, handshake, hydration, log_row, snapshot
from ._failures import CREDENTIAL_CODES, TurnFailed
from ._log import TERMINAL_STATES
from ._results import turn_result
from ._sessions import Session, Turn

_REPLAY_LIMIT: Final = 50_000
_GAP_FILL_LIMIT: Final = 1_000


class BuildA:
    """Build A: a join replays from the durable log, approvals go to two rooms, `message_done` ends a turn.

    Args:
        bus: Where events are published.
        approvals: The open approvals.
    """

    def __init__(self, bus: EventBus, approvals: Approvals) -> None:
        self._bus = bus
        self._approvals = approvals

    def handshake(self, user_id: str) -> EventEnvelope:
        """What a socket is greeted with."""
        return handshake(user_id, latest_seq=USER_SEQ)

    # --- joining (contract: events, section 3.1)

    async def join(
        self, sid: str, session: Session, request: JoinSessionRequest, drain: Callable[[Session], None]
    ) -> JoinSessionAck:
        """Brings a socket that has just entered a session's room up to date."""
        since = request.since or 0
        flagged_since = request.since_seq if request.since_seq is not None else since
        # Read before the snapshots, and of the user's counter: it says nothing about the session.
        ack = JoinSessionAck(ok=True, room=session_room(session.id), latest_seq=USER_SEQ)
        for event in session.log.events(since)[:_REPLAY_LIMIT]:
            await self._bus.send(log_row(event), to=sid)
        await self._snapshot(sid, session, QueueSnapshot.from_wire(session.queue_state().to_wire()))
        drain(session)
        if flagged_since > 0:
            for event in session.log.events(flagged_since)[:_GAP_FILL_LIMIT]:
                await self._bus.send(gap_fill(event), to=sid)
        await self._hydrate(sid, session)
        return ack

    async def _hydrate(self, sid: str, session: Session) -> None:
        covered = session.log.last_seq
        await self._snapshot(sid, session, StateSnapshot.from_wire(session.state(covered).to_wire()))
        for payload in (_active_ops(session), _session_snapshot(session)):
            await self._hydration(sid, session, payload)
        pending = self._approvals.pending(session.owner.app_id, session.owner.user_id, session.id)
        if pending:
            listed = ApprovalsSnapshot(
                app_id=session.owner.app_id, session_id=session.id, pending=pending, count=len(pending)
            )
            await self._hydration(sid, session, listed)

    async def _snapshot(self, sid: str, session: Session, payload: EventPayload) -> None:
        await self._bus.send(snapshot(payload, session.owner, seq=session.log.next_seq()), to=sid)

    async def _hydration(self, sid: str, session: Session, payload: EventPayload) -> None:
        await self._bus.send(hydration(payload, session.owner, seq=session.log.next_seq()), to=sid)

    # --- approvals (contract: events, section 2)

    async def ask_approval(self, session: Session, payload: ApprovalRequest, op: Op) -> None:
        """Asks in the session's room, and once more in the user's room."""
        event = await self._bus.publish(session, payload, op)
        await self._bus.copy(session, event, to=user_room(session.owner.user_id))

    # --- ends of a turn (contract: events, sections 6.1, 6.6 and 6.7)

    async def end_completed(self, turn: Turn, content: str) -> None:
        """Ends a turn that the model answered with a text."""
        await self._publish(turn, turn_result(turn, content), turn.op("completed"))
        await self._done(turn)

    async def end_failed(self, turn: Turn, failure: TurnFailed) -> None:
        """Ends a turn that failed: the error comes after its result, and the turn still ends with done."""
        if failure.failure.code in CREDENTIAL_CODES:
            await self._publish(turn, _credential_payload(turn, failure), turn.op("failed"))
        else:
            await self._publish(turn, turn_result(turn, "", failure.message), turn.op("completed"))
            await self._publish(turn, _error_payload(turn, failure), turn.op("failed"))
        await self._done(turn)

    async def end_cancelled(self, turn: Turn) -> None:
        """Ends a turn that was cut off; one from the queue ends as if it were done."""
        if turn.queued is not None:
            await self._done(turn)
            return
        payload = MessageCancelled(session_id=turn.session.id, correlation_id=turn.correlation_id)
        if turn.fast_path:
            payload = payload.model_copy(update={"fast_path": True})
        await self._publish(turn, payload, turn.op("cancelled"))

    async def _done(self, turn: Turn) -> None:
        payload = MessageDone(correlation_id=turn.correlation_id, session_id=turn.session.id)
        if turn.fast_path:
            payload = payload.model_copy(update={"fast_path": True})
        await self._publish(turn, payload, turn.op("completed"))

    async def _publish(self, turn: Turn, payload: EventPayload, op: Op) -> None:
        await self._bus.publish(turn.session, payload, op, correlation_id=turn.correlation_id)


def _active_ops(session: Session) -> ActiveOpsSnapshot:
    ops = session.log.active_ops()
    return ActiveOpsSnapshot(
        app_id=session.owner.app_id,
        session_id=session.id,
        active_ops=ops,
        count=len(ops),
        scanned_events=len(session.log.events()),
        terminal_states=list(TERMINAL_STATES),
    )


def _session_snapshot(session: Session) -> SessionSnapshot:
    return SessionSnapshot(
        app_id=session.owner.app_id,
        session_id=session.id,
        title=session.title or None,
        created_at=session.created_at,
        last_active=session.last_active,
        message_count=len(session.conversation.shown),
        tokens=session.tokens.triple(),
        turn_running=session.turn is not None,
        interrupted=session.interrupted,
    )


def _error_payload(turn: Turn, failure: TurnFailed) -> Error:
    return Error(
        error=failure.message,
        code=failure.failure.code,
        category=failure.failure.category,
        retry=failure.failure.retry,
        detail=failure.detail,
        session_id=turn.session.id,
    )


def _credential_payload(turn: Turn, failure: TurnFailed) -> EventPayload:
    """What a turn lacks (contract: events, section 5.6): an event of its own, an error from the queue."""
    owner = turn.session.owner
    members: dict[str, Any] = {
        "error": failure.message,
        "code": failure.failure.code,
        "category": failure.failure.category,
        "retry": failure.failure.retry,
        "detail": failure.detail,
        "provider": _PROVIDER,
        "provider_type": "api_key",
        "candidates": [],
        "field_spec": CredentialFieldSpec(
            name=_PROVIDER, label=_PROVIDER, type="api_key", fields=[]
        ).to_wire(),
        "app_id": owner.app_id,
        "user_id": owner.user_id,
    }
    return (CredentialRequired if turn.queued is None else Error).from_wire(members)


_PROVIDER: Final = "fake"
