"""The operations on sessions, their queues, messages and approvals."""

from datetime import UTC, datetime
from typing import Annotated, Final, Literal, TypeAlias

from fastapi import APIRouter, Body, HTTPException, Query, Response

from digitorn_testing._approvals.policies import Decision
from digitorn_testing._generated import models, operations
from digitorn_testing.fakes._agent.dispatcher import SessionQueueFull
from digitorn_testing.fakes._assembly import DaemonState
from digitorn_testing.fakes._store.attachments import read_attachments
from digitorn_testing.fakes._store.sessions import Message, Receipt, Session, SessionMissing
from digitorn_testing.fakes._store.users import User

from .dependencies import AppId, Caller, Daemon, DeployedApp, OwnedSession, SessionId, session_not_found
from .routing import SoftFailed, serve
from .session_views import (
    active_ops,
    created_session,
    event_page,
    ring_page,
    search_page,
    session_detail,
    session_history,
    session_page,
    session_state,
)

router = APIRouter()

QueueMode: TypeAlias = Literal["async", "wait", "replace_last"]

_AUDIO_KEYS: Final = ("audio", "audios", "audio_ref", "audio_refs")


# --- sessions


@serve(router, operations.LIST_SESSIONS)
async def list_sessions(
    daemon: Daemon,
    app: DeployedApp,
    user: Caller,
    limit: Annotated[int, Query(ge=0, le=200)] = 50,
    offset: Annotated[int, Query()] = 0,
) -> models.SessionPage:
    return session_page(daemon.sessions.of(app.app_id, user), limit, max(0, offset))


@serve(router, operations.CREATE_SESSION)
async def create_session(
    daemon: Daemon,
    app: DeployedApp,
    user: Caller,
    body: Annotated[models.CreateSessionRequest, Body()],
) -> models.CreatedSession:
    # First, so that a message that is refused leaves no session behind.
    message = _message(body)
    session = daemon.sessions.create(app, user, workspace=body.workspace_path or "")
    session.attach(message.images, read_attachments(body.files))
    accepted = await _send(daemon, session, message, body.queue_mode or "async")
    first = models.FirstMessage.from_wire(
        {
            name: accepted.to_wire()[name]
            for name in models.FirstMessage.model_fields
            if name in accepted.to_wire()
        }
    )
    return created_session(session, first)


@serve(router, operations.SEARCH_SESSIONS)
async def search_sessions(
    daemon: Daemon, app: DeployedApp, user: Caller, q: str = "", limit: int = 20, offset: int = 0
) -> models.SessionSearchPage:
    return search_page(daemon.sessions.of(app.app_id, user), q, max(0, limit), max(0, offset))


@serve(router, operations.GET_SESSION)
async def get_session(session: OwnedSession) -> models.SessionDetail:
    return session_detail(session)


@serve(router, operations.GET_SESSION_IMAGE)
async def get_session_image(
    daemon: Daemon, app_id: str, session_id: str, image_id: str, user: Caller
) -> Response:
    session = daemon.sessions.find(session_id, user)
    image = session.attachments.get(image_id) if session is not None else None
    if image is None:
        raise HTTPException(404, "Image not found")
    return Response(image.data, media_type=image.mime, headers={"Cache-Control": "public, max-age=86400"})


@serve(router, operations.LIST_SESSION_AGENTS)
async def list_session_agents(
    daemon: Daemon, app: DeployedApp, session_id: SessionId
) -> models.SessionAgents:
    return daemon.dispatcher.sub_agents.view(session_id)


@serve(router, operations.CANCEL_SESSION_AGENT)
async def cancel_session_agent(
    daemon: Daemon, session: OwnedSession, agent_id: str
) -> models.SessionAgentCancellation:
    return daemon.dispatcher.sub_agents.cancel_by_user(session.id, agent_id)


@serve(router, operations.DELETE_SESSION)
async def delete_session(daemon: Daemon, session: OwnedSession) -> models.SessionDeleted:
    await daemon.delete_session(session)
    return models.SessionDeleted(session_id=session.id, deleted=True)


@serve(router, operations.ABORT_SESSION)
async def abort_session(
    daemon: Daemon, session: OwnedSession, purge_queue: bool = False
) -> models.AbortResult:
    return await daemon.dispatcher.abort(session, purge_queue=purge_queue)


@serve(router, operations.RESUME_SESSION)
async def resume_session(daemon: Daemon, session: OwnedSession) -> models.ResumeResult:
    if daemon.dispatcher.resume(session):
        return models.ResumeResult(resumed=True, session_id=session.id)
    reason = "session is busy" if session.begun or session.waiting else "nothing to resume"
    return models.ResumeResult(resumed=False, reason=reason, session_id=session.id)


@serve(router, operations.GET_SESSION_HISTORY)
async def get_session_history(
    daemon: Daemon,
    session: OwnedSession,
    include_system: bool = False,
    since_seq: int = 0,
    before_seq: int | None = None,
    events_limit: int = 50_000,
) -> models.SessionHistory:
    return session_history(
        session,
        include_system=include_system,
        since_seq=since_seq,
        before_seq=before_seq,
        limit=max(0, events_limit),
        instance_id=daemon.connections.instance_id,
    )


@serve(router, operations.LIST_SESSION_EVENTS)
async def list_session_events(
    session: OwnedSession,
    since_seq: int = 0,
    since_ts: str | None = None,
    limit: Annotated[int, Query(ge=1, le=5000)] = 500,
) -> models.SessionEventPage:
    return event_page(session, since_seq, _time(since_ts), limit)


@serve(router, operations.GET_SESSION_STATE)
async def get_session_state(session: OwnedSession, since_seq: int = 0) -> models.SessionState:
    return session_state(session, since_seq)


@serve(router, operations.GET_SESSION_SNAPSHOT)
async def get_session_snapshot(
    daemon: Daemon, session: OwnedSession, since: int = 0
) -> models.SessionSnapshotPage:
    ring = daemon.bus.ring(session.owner.user_id)
    return ring_page(session, ring, since, instance_id=daemon.connections.instance_id)


@serve(router, operations.LIST_ACTIVE_OPS)
async def list_active_ops(daemon: Daemon, session: OwnedSession) -> models.ActiveOpsView:
    if daemon.rules.strikes("no_active_ops"):
        raise HTTPException(500, "Internal server error")
    return active_ops(session)


# --- queue


@serve(router, operations.LIST_SESSION_QUEUE)
async def list_session_queue(session: OwnedSession, include_finished: bool = False) -> models.QueueView:
    open_states = ("queued", "running")
    entries = [
        one.entry(session.owner) for one in session.queue if include_finished or one.status in open_states
    ]
    return models.QueueView(session_id=session.id, entries=entries, total=len(entries))


@serve(router, operations.CLEAR_SESSION_QUEUE)
async def clear_session_queue(
    daemon: Daemon, app_id: AppId, session_id: SessionId, user: Caller
) -> models.ClearedQueue:
    try:
        session = daemon.sessions.get(app_id, session_id, user)
    except SessionMissing:
        # The contract knows no 404 here.
        return models.ClearedQueue(cancelled=0)
    return models.ClearedQueue(cancelled=await daemon.dispatcher.clear_queue(session))


@serve(router, operations.CANCEL_QUEUED_MESSAGE)
async def cancel_queued_message(
    daemon: Daemon, app_id: AppId, session_id: SessionId, entry_id: str, user: Caller
) -> models.CancelledQueueEntry:
    if not await _cancel_queued(daemon, app_id, session_id, entry_id, user):
        outcome = models.CancelledQueueEntry(cancelled=False, entry_id=entry_id)
        raise SoftFailed("the entry does not wait in the queue", outcome.to_wire())
    return models.CancelledQueueEntry(cancelled=True, entry_id=entry_id)


async def _cancel_queued(
    daemon: DaemonState, app_id: str, session_id: str, entry_id: str, user: User
) -> bool:
    try:
        session = daemon.sessions.get(app_id, session_id, user)
    except SessionMissing:
        return False
    return await daemon.dispatcher.cancel_queued(session, entry_id)


# --- messages


@serve(router, operations.SEND_MESSAGE)
async def send_message(
    daemon: Daemon, app: DeployedApp, session_id: SessionId, user: Caller, body: models.SessionMessageRequest
) -> models.MessageAccepted:
    if any((body.model_extra or {}).get(key) for key in _AUDIO_KEYS):
        raise HTTPException(422, "audio must be transcribed first")
    message = _message(body)
    try:
        session = daemon.sessions.get_or_create(app, session_id, user)
    except SessionMissing:
        raise session_not_found(session_id) from None
    if body.workspace:
        session.workspace = body.workspace
    session.attach(message.images, read_attachments(body.files))
    return await _send(daemon, session, message, body.queue_mode or "async")


def _message(body: models.SessionMessageRequest | models.CreateSessionRequest) -> Message:
    for image in body.images or ():
        if not image.mime.lower().startswith("image/"):
            said = "The `images` field only accepts image/* blobs."
            raise HTTPException(
                415, {"error": "non_image_in_images_field", "got": image.mime, "message": said}
            )
    return Message(
        body.message,
        body.client_message_id,
        read_attachments(body.images),
        addendum=(body.system_addendum or "").strip(),
        mode=body.mode or None,
    )


async def _send(
    daemon: DaemonState, session: Session, message: Message, mode: QueueMode
) -> models.MessageAccepted:
    session.touch()
    try:
        receipt = await daemon.dispatcher.send(session, message, mode=mode)
    except SessionQueueFull as full:
        raise HTTPException(429, str(full)) from full
    if mode == "wait":
        return await _completed(session, receipt)
    return await _accepted(daemon, session, receipt)


async def _completed(session: Session, receipt: Receipt) -> models.MessageAccepted:
    outcome = await receipt.message.ended
    if outcome.kind != "completed":
        raise HTTPException(500, outcome.error)
    return models.MessageAccepted(
        session_id=session.id, status="completed", correlation_id=receipt.message.correlation_id
    )


async def _accepted(daemon: DaemonState, session: Session, receipt: Receipt) -> models.MessageAccepted:
    message, queued = receipt.message, receipt.queued
    if queued is None:
        return models.MessageAccepted(
            session_id=session.id,
            status="accepted",
            correlation_id=message.correlation_id,
            client_message_id=message.client_message_id,
            seq=await message.announced,
            # It is read before the turn begins.
            state=session.state(session.log.last_seq).model_copy(update={"turn": None}),
        )
    return models.MessageAccepted(
        session_id=session.id,
        status="queued",
        correlation_id=message.correlation_id,
        position=queued.position,
        queue_depth=session.queue_depth,
        merged=False,
        replaced=receipt.replaced,
    )


# --- approvals


@serve(router, operations.LIST_APP_APPROVALS)
async def list_app_approvals(daemon: Daemon, app: DeployedApp, user: Caller) -> models.ApprovalList:
    return models.ApprovalList(pending=daemon.approvals.pending(app.app_id, user.user_id))


@serve(router, operations.RESOLVE_APPROVAL)
async def resolve_approval(
    daemon: Daemon, app: DeployedApp, user: Caller, body: models.ResolveApprovalRequest
) -> models.ApprovalResolution:
    said = (body.message, body.response, body.answer, body.value, body.reply, body.user_response)
    text = next((one for one in said if one), "")
    decision = Decision(approved=body.approved, message=text)
    if not daemon.approvals.resolve(app.app_id, body.request_id, user.user_id, decision):
        raise SoftFailed("request not found, already resolved, or not authorized")
    return models.ApprovalResolution(
        request_id=body.request_id, approved=body.approved, payload_received=bool(text)
    )


def _time(value: str | None) -> datetime | None:
    if not value:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise HTTPException(400, f"since_ts is not ISO 8601: {value!r}") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
