"""What a socket is told of its sessions: the greeting, the heartbeats, and how things are when it joins."""

import asyncio
import uuid
from collections.abc import Callable
from typing import Final

from digitorn_testing._generated._runtime import EventPayload
from digitorn_testing._generated.events import (
    Connected,
    EventEnvelope,
    Heartbeat,
    QueueSnapshot,
    StreamCatchup,
)
from digitorn_testing._generated.messages import JoinSessionAck
from digitorn_testing._generated.payloads import CatchupPartial
from digitorn_testing.fakes._store.memory import MODULE
from digitorn_testing.fakes._store.sessions import Session
from digitorn_testing.fakes._wire.envelopes import control, hydration
from digitorn_testing.fakes._wire.socketio import EngineSettings

from .approvals import Approvals
from .bus import USER_SEQ, EventBus, session_room, user_room
from .hydration import active_ops_snapshot, approvals_snapshot, session_snapshot
from .rooms import Rooms

ENGINE: Final = EngineSettings(ping_interval=60, ping_timeout=20, max_message=256_000)
"""How connections behave (contract: events, section 1)."""


class Connections:
    """The sockets of one process of the daemon, and the one session that each of them has joined.

    Args:
        bus: Where events are published.
        approvals: The open approvals.
        rooms: The rooms of the sockets.
        heartbeat: Seconds between two heartbeats of a joined session.

    Attributes:
        instance_id: Id of the process.
    """

    def __init__(self, bus: EventBus, approvals: Approvals, rooms: Rooms, *, heartbeat: float) -> None:
        self.instance_id = uuid.uuid4().hex
        self._bus = bus
        self._approvals = approvals
        self._rooms = rooms
        self._heartbeat = heartbeat
        self._beating: dict[str, asyncio.Task[None]] = {}

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
        """Moves a socket into a session's room, out of every other room (contract: events, section 2)."""
        # Before anything is awaited: a socket that goes meanwhile takes its heartbeat along.
        self.gone(sid)
        beating = asyncio.get_running_loop().create_task(
            self._beat(sid, session), name=f"heartbeat of session {session.id}"
        )
        self._beating[sid] = beating
        await self._rooms.enter(sid, session_room(session.id))
        await self._rooms.leave_all_but(sid, session_room(session.id))

    async def leave(self, sid: str, session_id: str, user_id: str) -> None:
        """Moves a socket from a session's room back into its user's. It returns to no app's room."""
        self.gone(sid)
        await self._rooms.leave(sid, session_room(session_id))
        await self._rooms.enter(sid, user_room(user_id))

    def gone(self, sid: str) -> None:
        """Ends the heartbeat of a socket."""
        beating = self._beating.pop(sid, None)
        if beating is not None:
            beating.cancel()

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

    async def join(self, sid: str, session: Session, drain: Callable[[Session], None]) -> JoinSessionAck:
        """Shows the present state to a socket that has just entered a session's room.

        Nothing of the past comes, but what is still in flight (contract: events, section 3.1).

        Args:
            sid: The socket.
            session: The session.
            drain: Starts the next queued message of a session, if none runs.
        """
        # Read before the snapshots take numbers.
        ack = JoinSessionAck(ok=True, room=session_room(session.id), latest_seq=session.log.last_seq)
        await self._hydration(sid, session, QueueSnapshot.from_wire(session.queue_state().to_wire()))
        drain(session)
        await self._hydration(sid, session, active_ops_snapshot(session))
        await self._hydration(sid, session, session_snapshot(session))
        if MODULE in session.app.definition.modules:
            snapshot = session.memory.snapshot(session.owner.app_id, session.id)
            await self._hydration(sid, session, snapshot)
        pending = self._approvals.pending(session.owner.app_id, session.owner.user_id, session.id)
        if pending:
            await self._hydration(sid, session, approvals_snapshot(session, pending))
        for event in session.log.in_flight():
            await self._bus.send(event, to=sid)
        if session.partials:
            turn = None if session.turn is None else session.turn.correlation_id
            partials = {
                slot: CatchupPartial(content=text, correlation_id=turn)
                for slot, text in session.partials.items()
            }
            await self._hydration(sid, session, StreamCatchup(partials=partials))
        return ack

    async def _hydration(self, sid: str, session: Session, payload: EventPayload) -> None:
        seq = session.log.next_seq()
        await self._bus.send(hydration(payload, session.owner, seq=seq), to=sid)
