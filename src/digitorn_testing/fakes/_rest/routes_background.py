"""The operations on triggers, background sessions and activations."""

from pathlib import PurePath
from typing import Annotated, Final

from fastapi import APIRouter, Body, Depends, HTTPException, UploadFile
from starlette.responses import Response

from digitorn_testing._generated import models, operations
from digitorn_testing.fakes._agent.activations import read_artifact
from digitorn_testing.fakes._store.apps import Trigger
from digitorn_testing.fakes._store.background import Activation, BackgroundSession, media_type

from .dependencies import AppId, Caller, Daemon, DeployedApp
from .routing import SoftFailed, serve, serve_bytes

router = APIRouter()

_LARGEST_FILE: Final = 25 * 1024 * 1024
_LONGEST_TOLD: Final = 200
_MOST_IDS: Final = 10
_READS: Final = "apps:read"
_NOTE: Final = (
    "Manual fire does not create a new background_session; it activates existing ones (or falls back to a "
    "global run if none exist). Track progress via /activations/{activation_id}."
)


# --- triggers


async def _trigger(app: DeployedApp, trigger_id: str) -> Trigger:
    found = app.definition.trigger(trigger_id)
    if found is None:
        raise HTTPException(404, f"Trigger '{trigger_id}' not found")
    return found


Fired = Annotated[Trigger, Depends(_trigger)]


@serve(router, operations.GET_TRIGGERS)
async def get_triggers(_user: Caller, app: DeployedApp) -> models.TriggerOverview:
    # No module of the embedded daemon has channels, jobs or watchers.
    return models.TriggerOverview(
        app_id=app.app_id,
        mode=app.definition.mode,
        is_background=app.definition.mode == "background",
        triggers=[one.info for one in app.definition.triggers],
        channels=[],
        scheduled_jobs=[],
        watchers=[],
    )


@serve(router, operations.FIRE_TRIGGER)
async def fire_trigger(
    daemon: Daemon, _user: Caller, app: DeployedApp, trigger: Fired
) -> models.TriggerFired:
    targets = daemon.background.targets(app.app_id, trigger.routing)
    message = trigger.message or f"[manual fire] Trigger {trigger.info.id} activated."
    daemon.spawn(
        daemon.activations.fire(app, trigger, message), f"trigger {trigger.info.id} of app {app.app_id}"
    )
    return models.TriggerFired(
        fired=True,
        trigger_id=trigger.info.id,
        trigger_type=trigger.info.type,
        message=message[:_LONGEST_TOLD],
        dispatch="sessions" if targets else "global_fallback",
        target_session_count=len(targets),
        target_session_ids=[one.id for one in targets[:_MOST_IDS]],
        routing=trigger.routing,
        note=_NOTE,
    )


@serve(router, operations.TEST_TRIGGER)
async def try_trigger(
    daemon: Daemon,
    _user: Caller,
    app: DeployedApp,
    trigger: Fired,
    body: Annotated[models.TriggerTestRequest | None, Body()] = None,
) -> models.TriggerTestResult:
    message = trigger.message or f"Test trigger {trigger.info.id}"
    for name, value in (("body", body and body.body), ("path", body and body.path)):
        if value:
            message = message.replace("{{event." + name + "}}", str(value))
    tried = Activation(app.app_id, trigger.info, message)
    await daemon.activations.run(app, tried)
    return models.TriggerTestResult(
        trigger_id=trigger.info.id,
        message=message[:500],
        response=tried.response,
        tool_calls_count=tried.tool_calls,
        turns_used=tried.turns,
        error=tried.error,
    )


# --- background sessions


async def _session(daemon: Daemon, _user: Caller, app_id: AppId, bg_session_id: str) -> BackgroundSession:
    found = daemon.background.sessions.get(bg_session_id)
    if found is None:
        raise HTTPException(404, "Session not found")
    return found


AnySession = Annotated[BackgroundSession, Depends(_session)]
"""A session of whatever app and user: the released daemon asks for neither."""


async def _own_session(daemon: Daemon, user: Caller, app_id: AppId, bg_session_id: str) -> BackgroundSession:
    found = daemon.background.sessions.get(bg_session_id)
    if found is None or found.app_id != app_id:
        raise HTTPException(404, "Background session not found")
    if not user.is_admin and found.user_id != user.user_id:
        raise HTTPException(403, "Not your session")
    return found


OwnSession = Annotated[BackgroundSession, Depends(_own_session)]


@serve(router, operations.LIST_BACKGROUND_SESSIONS)
async def list_background_sessions(
    daemon: Daemon, user: Caller, app_id: AppId, limit: int = 50, offset: int = 0
) -> models.BackgroundSessionPage:
    found = daemon.background.sessions_of(app_id, None if user.is_admin else user.user_id)
    shown = [one.view() for one in found[offset : offset + min(limit, 200)]]
    return models.BackgroundSessionPage(sessions=shown, count=len(shown))


@serve(router, operations.CREATE_BACKGROUND_SESSION)
async def create_background_session(
    daemon: Daemon,
    user: Caller,
    app: DeployedApp,
    body: Annotated[models.CreateBackgroundSessionRequest, Body()],
) -> models.BackgroundSession:
    own = daemon.background.sessions_of(app.app_id, user.user_id)
    if not app.definition.has_many_sessions:
        made = own[0] if own else BackgroundSession(app.app_id, user.user_id, "default")
    else:
        most = app.definition.most_sessions
        if 0 < most <= sum(one.status == "active" for one in own):
            raise SoftFailed(f"Max sessions per user reached ({most})")
        made = BackgroundSession(
            app.app_id, user.user_id, body.name, dict(body.params), dict(body.routing_keys), body.workspace
        )
    daemon.background.sessions[made.id] = made
    return made.view()


@serve(router, operations.GET_BACKGROUND_SESSION)
async def get_background_session(
    daemon: Daemon, _user: Caller, app_id: AppId, bg_session_id: str
) -> models.BackgroundSession:
    found = daemon.background.sessions.get(bg_session_id)
    if found is None:
        raise HTTPException(404, "Background session not found")
    return found.view()


@serve(router, operations.PAUSE_BACKGROUND_SESSION)
async def pause_background_session(session: AnySession) -> models.BackgroundSessionPaused:
    session.status = "paused"
    return models.BackgroundSessionPaused(session_id=session.id, status="paused")


@serve(router, operations.RESUME_BACKGROUND_SESSION)
async def resume_background_session(session: AnySession) -> models.BackgroundSessionResumed:
    session.status = "active"
    return models.BackgroundSessionResumed(session_id=session.id, status="active")


@serve(router, operations.DELETE_BACKGROUND_SESSION)
async def delete_background_session(daemon: Daemon, session: AnySession) -> models.BackgroundSessionDeleted:
    del daemon.background.sessions[session.id]
    return models.BackgroundSessionDeleted(session_id=session.id, deleted=True)


# --- what a background session was given


@serve(router, operations.GET_BACKGROUND_PAYLOAD)
async def get_background_payload(_app: DeployedApp, session: OwnSession) -> models.CheckedSessionPayload:
    valid = models.PayloadValidation(schema_required=False, valid=True, errors=[])
    return models.CheckedSessionPayload.from_wire(
        {**session.payload.to_wire(), "validation": valid.to_wire()}
    )


@serve(router, operations.SET_BACKGROUND_PAYLOAD)
async def set_background_payload(
    session: OwnSession, body: models.SetBackgroundPayloadRequest
) -> models.SessionPayload:
    changed: dict[str, object] = {}
    if body.prompt is not None:
        changed["prompt"] = body.prompt
    if body.metadata is not None:
        changed["metadata"] = {**session.payload.to_wire()["metadata"], **body.metadata}
    return session.change_payload(**changed)


@serve(router, operations.CLEAR_BACKGROUND_PAYLOAD)
async def clear_background_payload(session: OwnSession) -> models.BackgroundPayloadCleared:
    session.clear_payload()
    return models.BackgroundPayloadCleared(cleared=True)


@serve(router, operations.UPLOAD_BACKGROUND_PAYLOAD_FILE)
async def upload_background_payload_file(session: OwnSession, file: UploadFile) -> models.SessionPayload:
    content = await file.read()
    if len(content) > _LARGEST_FILE:
        raise HTTPException(413, f"file exceeds {_LARGEST_FILE} bytes")
    try:
        return session.attach(file.filename or "", content, file.content_type or "")
    except ValueError as error:
        raise HTTPException(400, str(error)) from error


@serve(router, operations.DELETE_BACKGROUND_PAYLOAD_FILE)
async def delete_background_payload_file(session: OwnSession, filename: str) -> models.SessionPayload:
    if not session.detach(filename):
        raise HTTPException(404, "file not found")
    return session.payload


# --- activations


async def _activation(daemon: Daemon, _user: Caller, app_id: AppId, activation_id: str) -> Activation:
    found = daemon.background.activations.get(activation_id)
    if found is None:
        raise HTTPException(404, "Activation not found")
    return found


AnyActivation = Annotated[Activation, Depends(_activation)]


async def _own_activation(app_id: AppId, activation: AnyActivation) -> Activation:
    if activation.app_id != app_id:
        raise HTTPException(404, "Activation does not belong to this app")
    return activation


OwnActivation = Annotated[Activation, Depends(_own_activation)]


@serve(router, operations.LIST_ACTIVATIONS)
async def list_activations(
    daemon: Daemon,
    _user: Caller,
    app_id: AppId,
    limit: int = 20,
    offset: int = 0,
    trigger_id: str | None = None,
    status: str | None = None,
) -> models.ActivationPage:
    found = daemon.background.activations_of(app_id)
    wanted = [
        one
        for one in found
        if (not trigger_id or one.trigger.id == trigger_id) and (not status or one.status == status)
    ]
    shown = [one.view() for one in wanted[offset : offset + min(limit, 100)]]
    return models.ActivationPage(activations=shown, total=len(found), limit=limit, offset=offset)


# Before the activation of an id, which "stats" could be.
@serve(router, operations.GET_ACTIVATION_STATS)
async def get_activation_stats(daemon: Daemon, _user: Caller, app_id: AppId) -> models.ActivationStats:
    found = daemon.background.activations_of(app_id)
    ended = [one.milliseconds for one in found if one.completed_at is not None]
    completed = sum(one.status == "completed" for one in found)
    return models.ActivationStats(
        total=len(found),
        completed=completed,
        failed=sum(one.status == "failed" for one in found),
        total_duration_ms=round(sum(ended), 1),
        avg_duration_ms=round(sum(ended) / max(len(ended), 1), 1),
        total_prompt_tokens=sum(one.tokens[0] for one in found),
        total_completion_tokens=sum(one.tokens[1] for one in found),
        total_tool_calls=sum(one.tool_calls for one in found),
        last_activation_at=str(found[0].started_at) if found else None,
        success_rate=round(completed / max(len(found), 1) * 100, 1),
    )


@serve(router, operations.GET_ACTIVATION)
async def get_activation(activation: AnyActivation) -> models.Activation:
    return activation.view()


@serve(router, operations.LIST_ACTIVATION_EVENTS)
async def list_activation_events(
    activation: OwnActivation, event_type: str | None = None
) -> models.ActivationEventList:
    found = [one for one in activation.events if not event_type or one.event_type == event_type]
    return models.ActivationEventList(activation_id=activation.id, event_count=len(found), events=found)


@serve(router, operations.LIST_ACTIVATION_ARTIFACTS)
async def list_activation_artifacts(activation: OwnActivation) -> models.ActivationArtifactList:
    artifacts = [
        models.ActivationArtifact.from_wire(
            {"sequence": one.sequence, "timestamp": one.timestamp, **one.data}
        )
        for one in activation.events
        if one.id in activation.artifacts
    ]
    return models.ActivationArtifactList(
        activation_id=activation.id, count=len(artifacts), artifacts=artifacts
    )


async def _artifact(daemon: Daemon, user: Caller, app_id: AppId, event_id: str) -> Response:
    if not user.is_admin and _READS not in user.permissions:
        raise HTTPException(403, f"Missing permission: {_READS}")
    found = daemon.background.artifact(app_id, event_id)
    if found is None:
        raise HTTPException(404, "Artifact not found")
    event, known = found
    path, action = str(event.data["path"]), str(event.data["action"])
    content = read_artifact(path, known)
    if content is None:
        raise HTTPException(404, f"Artifact file no longer exists on disk: {PurePath(path).name}")
    headers = {
        "Cache-Control": "private, no-store",
        "X-Artifact-Event-Id": event_id,
        "X-Artifact-Action": action,
        "X-Artifact-Size": str(len(content)),
    }
    return Response(content, media_type=media_type(path), headers=headers)


Artifact = Annotated[Response, Depends(_artifact)]


@serve_bytes(router, operations.DOWNLOAD_ARTIFACT)
async def download_artifact(artifact: Artifact) -> Response:
    return artifact


@serve_bytes(router, operations.HEAD_ARTIFACT)
async def head_artifact(artifact: Artifact) -> Response:
    return artifact
