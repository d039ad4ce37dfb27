"""The session bus: numbers events, logs them and sends them to their rooms."""

import asyncio
import uuid
from collections import deque
from typing import Final, Protocol

from digitorn_testing._events.conventions import Op, op_of
from digitorn_testing._generated._runtime import EventPayload
from digitorn_testing._generated.events import EventEnvelope
from digitorn_testing._generated.payloads import EventKind
from digitorn_testing.fakes._store.log import RingBuffer
from digitorn_testing.fakes._store.sessions import Session
from digitorn_testing.fakes._wire.envelopes import Frame, live, ring_copy, row_only

LOCAL_USER: Final = "local"
"""The user that events of modules name, whoever the session belongs to."""

USER_SEQ: Final = 0
"""The counter of a user's events without a session; nothing here publishes any."""


class Outlet(Protocol):
    """Sends frames to sockets."""

    async def push(self, frame: Frame, *, to: str) -> None:
        """Sends a frame to a room, or to the one socket of an id."""
        ...

    async def close(self, room: str) -> None:
        """Takes every socket out of a room."""
        ...


def session_room(session_id: str) -> str:
    """The room that carries the events of a session."""
    return f"session:{session_id}"


def app_room(app_id: str) -> str:
    """The room that carries the module events of an app."""
    return f"app:{app_id}"


def user_room(user_id: str) -> str:
    """The room that carries a user's events that belong to no session."""
    return f"user:{user_id}"


class EventBus:
    """Publishes the events of every session of one daemon.

    The events of a session are sent in the order of their numbers, whichever tasks publish them.

    Args:
        outlet: Where events go.
    """

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._rings: dict[str, RingBuffer] = {}
        self._sending: dict[str, asyncio.Lock] = {}
        self._unsent: dict[str, deque[EventEnvelope]] = {}

    async def publish(
        self,
        session: Session,
        payload: EventPayload,
        *,
        correlation_id: str | None = None,
        op: Op | None = None,
        user_id: str | None = None,
    ) -> EventEnvelope:
        """Numbers an event, logs it, and sends it to the session's room.

        Args:
            session: Whose event it is.
            payload: What happened.
            correlation_id: The turn that it belongs to.
            op: The operation that it reports on; as the contract has it for the type if left out.
            user_id: The user that it names; the session's owner if left out.

        Returns:
            The event as it was sent.

        Raises:
            ValueError: The type reports on no operation.
        """
        op = op or op_of(
            payload, session_id=session.id, correlation_id=correlation_id, unique=uuid.uuid4().hex[:12]
        )
        if op is None:
            raise ValueError(f"{type(payload).__name__} reports on no operation; it is a module's event")
        event = live(payload, op, session.owner, seq=session.log.next_seq(), correlation_id=correlation_id)
        if user_id is not None:
            event = event.model_copy(update={"user_id": user_id})
        self.take(session, event)
        await self.flush(session, event)
        return event

    def take(self, session: Session, event: EventEnvelope, *, logs: bool = True) -> None:
        """Logs a numbered event that `flush` sends.

        Args:
            session: Whose event it is.
            event: The event; its number must be the session's last one.
            logs: Whether the log and the user's ring buffer have it.
        """
        if logs:
            session.log.append(event)
            self.ring(session.owner.user_id).append(ring_copy(event))
        self._unsent.setdefault(session.id, deque()).append(event)

    async def flush(self, session: Session, last: EventEnvelope) -> None:
        """Sends the events of a session in their order, up to one of them; returns when that is sent."""
        async with self._sending.setdefault(session.id, asyncio.Lock()):
            unsent = self._unsent.setdefault(session.id, deque())
            while any(one is last for one in unsent):
                await self._outlet.push(unsent.popleft().to_wire(), to=session_room(session.id))

    def log(self, session: Session, payload: EventPayload, *, kind: EventKind = "event") -> None:
        """Writes a row that is never sent; it spends a number of the session all the same."""
        session.log.append(row_only(payload, session.owner, seq=session.log.next_seq(), kind=kind))

    async def send(self, event: EventEnvelope, *, to: str) -> None:
        """Sends an envelope as it is, unlogged."""
        await self._outlet.push(event.to_wire(), to=to)

    async def close(self, session: Session) -> None:
        """Sends nothing more of a session to those who have joined it."""
        self._sending.pop(session.id, None)
        self._unsent.pop(session.id, None)
        await self._outlet.close(session_room(session.id))

    def ring(self, user_id: str) -> RingBuffer:
        """The ring buffer of a user."""
        return self._rings.setdefault(user_id, RingBuffer())
