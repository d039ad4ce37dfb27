"""The commands of the `/events` namespace (contract: events, sections 1 to 3)."""

import logging
from typing import Final

from pydantic import ValidationError

from digitorn_testing._apps.language import is_valid_id
from digitorn_testing._generated.commands import (
    JOIN_APP,
    JOIN_SESSION,
    LATEST_SEQ,
    LEAVE_APP,
    LEAVE_SESSION,
    PING,
    REPLAY,
    SEND_MESSAGE,
    CommandError,
    ConnectAuth,
    JoinAppAck,
    JoinAppRequest,
    JoinSessionAck,
    JoinSessionRequest,
    LatestSeqAck,
    LatestSeqRequest,
    LeaveAppAck,
    LeaveAppRequest,
    LeaveSessionAck,
    LeaveSessionRequest,
    PingAck,
    PingRequest,
    ReplayAck,
    ReplayRequest,
    SendMessageAck,
    SendMessageRequest,
)
from digitorn_testing._generated.models import ImageInput
from digitorn_testing.fakes._agent.bus import USER_SEQ, app_room, user_room
from digitorn_testing.fakes._agent.dispatcher import SessionQueueFull
from digitorn_testing.fakes._assembly import DaemonState
from digitorn_testing.fakes._store.attachments import read_attachments
from digitorn_testing.fakes._store.sessions import Message, SessionMissing
from digitorn_testing.fakes._store.users import TokenRefused, User
from digitorn_testing.fakes._wire.socketio import Handshake, Sockets

from .turn_commands import TurnCommands, refused

TOKEN_PARAMETER: Final = "token"
"""Query parameter that may carry the access token."""

TOKEN_COOKIE: Final = "digitorn_preview_token"
"""Cookie that may carry the access token."""

_BEARER: Final = "bearer "
_LONGEST_ADDENDUM: Final = 16_000

logger = logging.getLogger(__name__)


class EventSockets:
    """Lets users connect, and serves their commands.

    Args:
        daemon: What the commands act on.
        server: The server.
    """

    def __init__(self, daemon: DaemonState, server: Sockets) -> None:
        self._daemon = daemon
        self._users: dict[str, User] = {}
        server.on_connection(self._admit, self._greet, self._gone)
        server.on_command(JOIN_SESSION, self._join_session, incomplete="app_id and session_id required")
        server.on_command(LEAVE_SESSION, self._leave_session, incomplete="session_id required")
        server.on_command(JOIN_APP, self._join_app, incomplete="app_id required")
        server.on_command(LEAVE_APP, self._leave_app, incomplete="app_id required")
        server.on_command(
            SEND_MESSAGE, self._send_message, incomplete="app_id, session_id and message required"
        )
        server.on_command(REPLAY, self._replay, incomplete="malformed request")
        server.on_command(LATEST_SEQ, self._latest_seq, incomplete="malformed request")
        TurnCommands(daemon, self._users).serve(server)
        server.on_command(PING, self._ping, incomplete="malformed request")

    # --- connecting

    def _admit(self, sid: str, handshake: Handshake) -> bool:
        try:
            self._users[sid] = self._daemon.users.authenticate(_token(handshake))
        except TokenRefused as refusal:
            logger.info("a socket was refused: %s", refusal)
            return False
        return True

    async def _greet(self, sid: str) -> None:
        user = self._users.get(sid)
        if user is None:
            # It has gone in the meantime.
            return
        await self._daemon.rooms.enter(sid, user_room(user.user_id))
        await self._daemon.bus.send(self._daemon.connections.handshake(user.user_id), to=sid)

    def _gone(self, sid: str) -> None:
        self._users.pop(sid, None)
        self._daemon.connections.gone(sid)
        self._daemon.rooms.forget(sid)

    # --- rooms

    async def _join_session(self, sid: str, request: JoinSessionRequest) -> JoinSessionAck | CommandError:
        if not request.app_id or not request.session_id:
            return refused("app_id and session_id required")
        try:
            session = self._daemon.sessions.get(request.app_id, request.session_id, self._users[sid])
        except SessionMissing:
            return refused("session not found or access denied")
        await self._daemon.connections.enter(sid, session)
        return await self._daemon.connections.join(sid, session, self._daemon.dispatcher.drain)

    async def _leave_session(self, sid: str, request: LeaveSessionRequest) -> LeaveSessionAck | CommandError:
        if not request.session_id:
            return refused("session_id required")
        await self._daemon.connections.leave(sid, request.session_id, self._users[sid].user_id)
        return LeaveSessionAck(ok=True)

    async def _join_app(self, sid: str, request: JoinAppRequest) -> JoinAppAck | CommandError:
        if not request.app_id:
            return refused("app_id required")
        await self._daemon.rooms.enter(sid, app_room(request.app_id))
        if request.since is not None and request.since > 0:
            ring = self._daemon.bus.ring(self._users[sid].user_id)
            for event in ring.events(request.since, app_id=request.app_id):
                await self._daemon.bus.send(event, to=sid)
        return JoinAppAck(ok=True, room=app_room(request.app_id), latest_seq=USER_SEQ)

    async def _leave_app(self, sid: str, request: LeaveAppRequest) -> LeaveAppAck | CommandError:
        if not request.app_id:
            return refused("app_id required")
        await self._daemon.rooms.leave(sid, app_room(request.app_id))
        return LeaveAppAck(ok=True)

    # --- messages

    async def _send_message(self, sid: str, request: SendMessageRequest) -> SendMessageAck | CommandError:
        if not request.app_id or not request.session_id:
            return refused("app_id, session_id and message required")
        app = self._daemon.apps.deployed(request.app_id)
        if app is None or not is_valid_id(request.session_id):
            return refused("enqueue failed: the app is not deployed or the session id is malformed")
        existed = request.session_id in self._daemon.sessions
        try:
            session = self._daemon.sessions.get_or_create(app, request.session_id, self._users[sid])
        except SessionMissing:
            return refused("enqueue failed: session not found or access denied")
        if request.workspace and existed:
            session.workspace = request.workspace
        images = read_attachments(ImageInput.from_wire(one.to_wire()) for one in request.images or ())
        session.attach(images, ())
        addendum = (request.system_addendum or "").strip()[:_LONGEST_ADDENDUM]
        message = Message(request.message, images=images, addendum=addendum)
        try:
            queued = await self._daemon.dispatcher.send_over_socket(session, message)
        except SessionQueueFull as full:
            return refused(str(full))
        return SendMessageAck(
            ok=True,
            accepted=True,
            correlation_id=message.correlation_id,
            position=queued.position,
            queue_depth=queued.position + 1,
        )

    # --- reading back

    async def _replay(self, sid: str, request: ReplayRequest) -> ReplayAck | CommandError:
        ring = self._daemon.bus.ring(self._users[sid].user_id)
        found = ring.events(request.since or 0, app_id=request.app_id, session_id=request.session_id)
        for event in found:
            await self._daemon.bus.send(event, to=sid)
        return ReplayAck(ok=True, replayed=len(found), latest_seq=USER_SEQ)

    async def _latest_seq(self, sid: str, request: LatestSeqRequest) -> LatestSeqAck | CommandError:
        session = None
        if request.session_id:
            session = self._daemon.sessions.find(request.session_id, self._users[sid])
        return LatestSeqAck(ok=True, latest_seq=USER_SEQ if session is None else session.log.last_seq)

    async def _ping(self, sid: str, request: PingRequest) -> PingAck | CommandError:
        return PingAck(pong=True)


def _token(handshake: Handshake) -> str | None:
    """The access token, from the first of its places that is not empty (contract: events, section 1)."""
    authorization = handshake.authorization
    bearer = authorization[len(_BEARER) :] if authorization.lower().startswith(_BEARER) else ""
    return (
        _auth_token(handshake.auth)
        or bearer.strip()
        or handshake.query.get(TOKEN_PARAMETER)
        or handshake.cookies.get(TOKEN_COOKIE)
    )


def _auth_token(auth: object) -> str | None:
    try:
        return ConnectAuth.from_wire(auth).token
    except ValidationError:
        return None
