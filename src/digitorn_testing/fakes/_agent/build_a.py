"""Build A of the daemon, the one that the contract is written for."""

from collections.abc import Callable, Iterable
from typing import ClassVar, Final

from digitorn_testing._events.choreography import BuildATurn
from digitorn_testing._events.history import log_row
from digitorn_testing._generated._runtime import EventPayload
from digitorn_testing._generated.events import (
    ApprovalRequest,
    Compaction,
    EventEnvelope,
    MessageStarted,
    QueueSnapshot,
    StateSnapshot,
)
from digitorn_testing._generated.messages import JoinSessionAck, JoinSessionRequest
from digitorn_testing.fakes._model.failures import TurnFailed
from digitorn_testing.fakes._model.model import ModelMessage
from digitorn_testing.fakes._store.sessions import Message, Session, Turn
from digitorn_testing.fakes._wire.envelopes import gap_fill, handshake, hydration, snapshot
from digitorn_testing.fakes._wire.socketio import EngineSettings

from .approvals import Approvals
from .bus import USER_SEQ, EventBus, app_room, session_room, user_room
from .hydration import active_ops_snapshot, approvals_snapshot, session_snapshot
from .results import credential_members, turn_result
from .rooms import Rooms

_REPLAY_LIMIT: Final = 50_000
_GAP_FILL_LIMIT: Final = 1_000


class BuildA:
    """Build A: a join replays from the durable log, approvals go to two rooms, `message_done` ends a turn.

    Args:
        bus: Where events are published.
        approvals: The open approvals.
        rooms: The rooms of the sockets.
    """

    engine: ClassVar = EngineSettings(ping_interval=25, ping_timeout=10, max_message=1_000_000)
    instance_id = None
    takes_turn_commands = False

    def __init__(self, bus: EventBus, approvals: Approvals, rooms: Rooms) -> None:
        self._bus = bus
        self._approvals = approvals
        self._rooms = rooms

    # --- connections

    def handshake(self, user_id: str) -> EventEnvelope:
        """What a socket is greeted with."""
        return handshake(user_id, latest_seq=USER_SEQ)

    async def enter(self, sid: str, session: Session) -> None:
        """Puts a socket into a session's room; it stays in those that it is in."""
        await self._rooms.enter(sid, session_room(session.id))

    async def leave(self, sid: str, session_id: str, user_id: str) -> None:
        """Takes a socket out of a session's room."""
        await self._rooms.leave(sid, session_room(session_id))

    def gone(self, sid: str) -> None:
        """Nothing runs for a socket."""

    def latest_seq(self, session: Session | None) -> int:
        """The user's counter, whatever was asked for."""
        return USER_SEQ

    async def stop(self) -> None:
        """Nothing runs for connections."""

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
        for payload in (active_ops_snapshot(session), session_snapshot(session, session.tokens.triple())):
            await self._hydration(sid, session, payload)
        pending = self._approvals.pending(session.owner.app_id, session.owner.user_id, session.id)
        if pending:
            await self._hydration(sid, session, approvals_snapshot(session, pending))

    async def _snapshot(self, sid: str, session: Session, payload: EventPayload) -> None:
        await self._bus.send(snapshot(payload, session.owner, seq=session.log.next_seq()), to=sid)

    async def _hydration(self, sid: str, session: Session, payload: EventPayload) -> None:
        seq = session.log.next_seq()
        # Not unique across sessions.
        shown = hydration(payload, session.owner, seq=seq, event_id=f"ev-hydr-{seq}")
        await self._bus.send(shown, to=sid)

    # --- messages

    async def take_over_socket(self, session: Session, message: Message) -> None:
        """Tells nothing."""

    async def first_seq(self, message: Message) -> dict[str, int | None]:
        """Says nothing."""
        return {}

    # --- while a turn runs

    def started(self, turn: Turn) -> MessageStarted:
        """What tells that a turn begins."""
        return _of(turn).started()

    def streamed(self, turn: Turn) -> None:
        """Logs nothing beside the events."""

    def said(self, turn: Turn, message: ModelMessage) -> None:
        """Logs nothing beside the events."""

    def compacted(self, session: Session, payload: Compaction) -> None:
        """Logs nothing beside the event."""

    async def ask_approval(self, session: Session, payload: ApprovalRequest) -> None:
        """Asks in the session's room, and once more in the user's room (contract: events, section 2)."""
        event = await self._bus.publish(session, payload)
        await self._bus.copy(session, event, to=user_room(session.owner.user_id))

    # --- ends of a turn (contract: events, sections 6.1, 6.6 and 6.7)

    async def end_completed(self, turn: Turn, content: str) -> None:
        """Ends a turn that the model answered with a text."""
        await self._publish(turn, _of(turn).completed(turn_result(turn, content)))

    async def end_failed(self, turn: Turn, failure: TurnFailed) -> bool:
        """Ends a turn that failed; the queue goes on."""
        result = turn_result(turn, "", failure.message)
        await self._publish(turn, _of(turn).failed(failure.told, result, credential_members(turn, failure)))
        return True

    async def end_cancelled(self, turn: Turn) -> None:
        """Ends a turn that was cut off."""
        await self._publish(turn, _of(turn).cancelled())

    async def _publish(self, turn: Turn, payloads: Iterable[EventPayload]) -> None:
        for payload in payloads:
            await self._bus.publish(turn.session, payload, correlation_id=turn.correlation_id)

    # --- modules

    async def publish_module_event(self, session: Session, payload: EventPayload) -> EventEnvelope:
        """Sends it to the app's room and, under the same number, to the session's."""
        event = snapshot(payload, session.owner, seq=session.log.next_seq())
        for room in (app_room(session.owner.app_id), session_room(session.id)):
            await self._bus.send(event, to=room)
        return event


def _of(turn: Turn) -> BuildATurn:
    return BuildATurn(
        session_id=turn.session.id,
        correlation_id=turn.correlation_id,
        position=turn.position,
        from_queue=turn.queued is not None,
        fast_path=turn.fast_path,
    )
