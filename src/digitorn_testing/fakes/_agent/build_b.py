"""Build B of the daemon: newer, and different wherever a client has to do with connections and ends."""

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import ClassVar, Final, Literal, TypeAlias

from digitorn_testing._events import choreography
from digitorn_testing._events.conventions import Op
from digitorn_testing._generated._runtime import EventPayload
from digitorn_testing._generated.events import (
    CREDENTIAL_FAILURES,
    FAILURES_BEFORE_THE_LOOP,
    ApprovalRequest,
    AssistantMessage,
    AssistantMessagePartial,
    Compaction,
    Connected,
    EventEnvelope,
    Heartbeat,
    LoggedCompactDone,
    LoggedToolCall,
    MessageCancelled,
    MessageDone,
    MessageStarted,
    QueueSnapshot,
    StreamCatchup,
    ToolResult,
    TurnTerminal,
    UserMessage,
)
from digitorn_testing._generated.messages import JoinSessionAck, JoinSessionRequest
from digitorn_testing._generated.payloads import CatchupPartial
from digitorn_testing.fakes._model.failures import TurnFailed
from digitorn_testing.fakes._model.model import ModelMessage
from digitorn_testing.fakes._store.context import MODEL_NAME, TokenCounts
from digitorn_testing.fakes._store.sessions import Message, Session, Turn
from digitorn_testing.fakes._wire.envelopes import control, hydration, snapshot
from digitorn_testing.fakes._wire.socketio import EngineSettings

from .approvals import Approvals
from .bus import USER_SEQ, EventBus, session_room, user_room
from .hydration import active_ops_snapshot, approvals_snapshot, session_snapshot
from .results import credential_members, turn_result
from .rooms import Rooms

_PARTIAL_SECONDS: Final = 0.5
"""How often the text of an answer is logged while it is streamed (contract: events, section 5.2)."""

_SLOT: Final = "0"
"""Where the one agent of a session writes."""


_Status: TypeAlias = Literal["completed", "failed", "interrupted"]


class BuildB:
    """Build B: no replay on join, one session a socket, heartbeats, `turn_terminal` after every turn.

    Args:
        bus: Where events are published.
        approvals: The open approvals.
        rooms: The rooms of the sockets.
        heartbeat: Seconds between two heartbeats of a joined session.
    """

    engine: ClassVar = EngineSettings(ping_interval=60, ping_timeout=20, max_message=256_000)
    takes_turn_commands = True

    def __init__(self, bus: EventBus, approvals: Approvals, rooms: Rooms, *, heartbeat: float) -> None:
        self.instance_id = f"inst-{uuid.uuid4().hex[:12]}"
        self._bus = bus
        self._approvals = approvals
        self._rooms = rooms
        self._heartbeat = heartbeat
        self._beating: dict[str, asyncio.Task[None]] = {}

    # --- connections

    def handshake(self, user_id: str) -> EventEnvelope:
        """The greeting of a socket: a control frame without a number."""
        return control(
            Connected(),
            session_id=None,
            capabilities=["full_events"],
            latest_seq=USER_SEQ,
            user_id=user_id,
            instance_id=self.instance_id,
        )

    async def enter(self, sid: str, session: Session) -> None:
        """Puts a socket into a session's room, and out of every other (contract: events, section 2)."""
        # Before anything is awaited: a socket that goes meanwhile takes its heartbeat along.
        self.gone(sid)
        beating = asyncio.get_running_loop().create_task(
            self._beat(sid, session), name=f"heartbeat of session {session.id}"
        )
        self._beating[sid] = beating
        await self._rooms.enter(sid, session_room(session.id))
        await self._rooms.leave_all_but(sid, session_room(session.id))

    async def leave(self, sid: str, session_id: str, user_id: str) -> None:
        """Takes a socket out of a session's room, and back into its user's; it is in no app's."""
        self.gone(sid)
        await self._rooms.leave(sid, session_room(session_id))
        await self._rooms.enter(sid, user_room(user_id))

    def gone(self, sid: str) -> None:
        """Ends the heartbeat of a socket."""
        beating = self._beating.pop(sid, None)
        if beating is not None:
            beating.cancel()

    def latest_seq(self, session: Session | None) -> int:
        """The session's counter; the user's if no session was asked for."""
        return USER_SEQ if session is None else session.log.last_seq

    async def stop(self) -> None:
        """Ends every heartbeat."""
        beating = list(self._beating.values())
        for sid in list(self._beating):
            self.gone(sid)
        await asyncio.gather(*beating, return_exceptions=True)

    async def _beat(self, sid: str, session: Session) -> None:
        while True:
            await asyncio.sleep(self._heartbeat)
            frame = control(
                Heartbeat(),
                session_id=session.id,
                instance_id=self.instance_id,
                current_seq=session.log.last_seq,
            )
            await self._bus.send(frame, to=sid)

    # --- joining (contract: events, section 3.1)

    async def join(
        self, sid: str, session: Session, request: JoinSessionRequest, drain: Callable[[Session], None]
    ) -> JoinSessionAck:
        """Shows a socket that has just entered a session's room what is so now; nothing that was."""
        # Read before the snapshots take numbers.
        ack = JoinSessionAck(ok=True, room=session_room(session.id), latest_seq=session.log.last_seq)
        await self._hydration(sid, session, QueueSnapshot.from_wire(session.queue_state().to_wire()))
        drain(session)
        await self._hydration(sid, session, active_ops_snapshot(session))
        # This build does not count tokens here.
        await self._hydration(sid, session, session_snapshot(session, TokenCounts().triple()))
        pending = self._approvals.pending(session.owner.app_id, session.owner.user_id, session.id)
        if pending:
            await self._hydration(sid, session, approvals_snapshot(session, pending))
        for event in session.log.in_flight():
            await self._bus.send(event, to=sid)
        turn = session.turn
        if turn is not None and turn.partial:
            partial = CatchupPartial(content=turn.partial, correlation_id=turn.correlation_id)
            await self._hydration(sid, session, StreamCatchup(partials={_SLOT: partial}))
        return ack

    async def _hydration(self, sid: str, session: Session, payload: EventPayload) -> None:
        seq = session.log.next_seq()
        shown = hydration(payload, session.owner, seq=seq, event_id=f"ev-hydr-{session.id}-{seq}")
        await self._bus.send(shown, to=sid)

    # --- messages

    async def take_over_socket(self, session: Session, message: Message) -> None:
        """Tells of the message, as one that waits, even if its turn starts at once."""
        payload = UserMessage(
            session_id=session.id,
            role="user",
            content=message.text,
            images=[None] * message.images,
            correlation_id=message.correlation_id,
            pending=True,
        )
        op = Op(message.correlation_id, "message", "pending")
        await self._bus.publish(session, payload, correlation_id=message.correlation_id, op=op)

    async def first_seq(self, message: Message) -> dict[str, int | None]:
        """The number of the event that tells of the message."""
        return {"seq": await message.announced}

    # --- while a turn runs

    def started(self, turn: Turn) -> MessageStarted:
        """What tells that a turn begins, and what started it."""
        source: Literal["fast", "drain", "resume"] = "resume"
        if turn.fast_path:
            source = "fast"
        elif turn.queued is not None and not turn.queued.starts_at_once:
            source = "drain"
        return MessageStarted(
            correlation_id=turn.correlation_id,
            session_id=turn.session.id,
            position=turn.position,
            fast_path=bool(turn.fast_path),
            source=source,
        )

    def streamed(self, turn: Turn) -> None:
        """Logs the text so far, now and then."""
        if time.monotonic() - turn.partial_logged_at >= _PARTIAL_SECONDS:
            self._log_partial(turn, "streaming")

    def _log_partial(self, turn: Turn, status: Literal["streaming", "complete"]) -> None:
        turn.partial_logged_at = time.monotonic()
        turn.partials_logged += 1
        row = AssistantMessagePartial(
            agent_seq=turn.partials_logged,
            streaming_status=status,
            content=turn.partial,
            content_kind="text",
        )
        self._bus.log(turn.session, row, correlation_id=turn.correlation_id)

    def said(self, turn: Turn, message: ModelMessage) -> None:
        """Logs a message in rows of its own (contract: events, section 4.2): they leave gaps for clients."""
        if message.role == "tool":
            result = ToolResult(tool_call_id=message.tool_call_id or "", output=message.content, error=None)
            self._bus.log(turn.session, result, correlation_id=turn.correlation_id)
            return
        if turn.partial:
            self._log_partial(turn, "complete")
        spoken = AssistantMessage(content_kind="text", agent_seq=len(turn.session.conversation.entries))
        self._bus.log(turn.session, spoken, kind="message", correlation_id=turn.correlation_id)
        for call in message.tool_calls:
            row = LoggedToolCall(id=call.id, name=call.name, arguments=dict(call.params))
            self._bus.log(turn.session, row, correlation_id=turn.correlation_id)

    def compacted(self, session: Session, payload: Compaction) -> None:
        """Logs what it came to, under a type of its own (contract: events, section 5.7)."""
        row = LoggedCompactDone(
            cutoff_seq=payload.compacted_range.to_seq,
            summary=payload.summary_text,
            strategy=payload.strategy,
            tokens_estimate=payload.tokens_after,
            model=MODEL_NAME,
            key_event_count=0,
            compaction_at_ts=time.time(),
        )
        self._bus.log(session, row)

    async def ask_approval(self, session: Session, payload: ApprovalRequest) -> None:
        """Asks in the session's room alone (contract: events, section 2)."""
        await self._bus.publish(session, payload)

    # --- ends of a turn (contract: events, sections 6.1, 6.6 and 6.7)

    async def end_completed(self, turn: Turn, content: str) -> None:
        """Ends a turn that the model answered with a text."""
        await self._result(turn, content)
        await self._done(turn, "completed")

    async def end_failed(self, turn: Turn, failure: TurnFailed) -> bool:
        """Ends a failed turn. If the provider failed, it ends as completed, after its error and result."""
        code = failure.code
        if code in CREDENTIAL_FAILURES:
            await self._pause(turn, failure)
            return False
        await self._publish(turn, choreography.error(turn.session.id, failure.told))
        if code not in FAILURES_BEFORE_THE_LOOP:
            await self._result(turn, "", failure.message)
            await self._done(turn, "completed")
        elif turn.queued is None:
            await self._done(turn, "failed")
        return True

    async def _pause(self, turn: Turn, failure: TurnFailed) -> None:
        """Asks for a credential; nothing follows, and the queue stops (contract: events, section 5.6)."""
        members = {**credential_members(turn, failure), "correlation_id": turn.correlation_id}
        payload = choreography.credential_event(members)
        op = Op(turn.correlation_id, "turn", "waiting_approval")
        await self._bus.publish(turn.session, payload, correlation_id=turn.correlation_id, op=op)

    async def end_cancelled(self, turn: Turn) -> None:
        """Ends a turn that was cut off, wherever it came from."""
        payload = MessageCancelled(
            session_id=turn.session.id, correlation_id=turn.correlation_id, reason="task_cancelled"
        )
        await self._publish(turn, payload)
        await self._terminal(turn, "interrupted")

    async def _result(self, turn: Turn, content: str, error: str | None = None) -> None:
        await self._publish(turn, turn_result(turn, content, error))

    async def _done(self, turn: Turn, status: _Status) -> None:
        payload = MessageDone(correlation_id=turn.correlation_id, session_id=turn.session.id)
        await self._publish(turn, payload)
        await self._terminal(turn, status)

    async def _terminal(self, turn: Turn, status: _Status) -> None:
        payload = TurnTerminal(correlation_id=turn.correlation_id, session_id=turn.session.id, status=status)
        await self._publish(turn, payload)

    async def _publish(self, turn: Turn, payload: EventPayload) -> None:
        await self._bus.publish(turn.session, payload, correlation_id=turn.correlation_id)

    # --- modules

    async def publish_module_event(self, session: Session, payload: EventPayload) -> EventEnvelope:
        """Sends it to the session's room, the most specific one."""
        event = snapshot(payload, session.owner, seq=session.log.next_seq())
        await self._bus.send(event, to=session_room(session.id))
        return event
