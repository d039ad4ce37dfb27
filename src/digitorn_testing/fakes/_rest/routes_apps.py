"""The operations that validate, deploy, inspect, switch off and remove apps."""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast

from fastapi import APIRouter, Body, Form, HTTPException, UploadFile

from digitorn_testing._generated import models, operations
from digitorn_testing.fakes._assembly import DaemonState
from digitorn_testing.fakes._store.apps import (
    App,
    AppDefinition,
    DefinitionInvalid,
    compile_definition,
    declared_id,
)

from .app_views import app_detail, app_status, app_summary, app_validation, deploy_status, disabled_app
from .dependencies import AppId, Caller, Daemon, DeployedApp, InstalledApp
from .routing import SoftFailed, serve

router = APIRouter()

_LARGEST_YAML: Final = 1_000_000
_LARGEST_ASSETS: Final = 5_000_000
_SYSTEM: Final = "system"


@serve(router, operations.LIST_APPS)
async def list_apps(
    daemon: Daemon,
    _user: Caller,
    include_disabled: bool = False,
    include_installed: bool = True,
    # No app is hidden here.
    include_hidden: bool = False,
) -> list[models.AppSummary]:
    shown = {"running"}
    if include_disabled:
        shown.add("disabled")
    if include_installed:
        shown.update(("not_deployed", "broken"))
    return [app_summary(app) for app in daemon.apps.all() if app.status in shown]


@serve(router, operations.VALIDATE_APP)
async def validate_app(_user: Caller, body: models.ValidateAppRequest) -> models.AppValidation:
    text = await _read_yaml(body.yaml_path)
    try:
        return app_validation(compile_definition(text))
    except DefinitionInvalid as invalid:
        raise SoftFailed("the app does not compile", {"errors": invalid.errors}) from invalid


@serve(router, operations.DEPLOY_APP)
async def deploy_app(
    daemon: Daemon, _user: Caller, body: models.DeployAppRequest
) -> models.FileDeployAccepted:
    if not body.yaml_path:
        raise HTTPException(400, "yaml_path is required")
    text = await _read_yaml(body.yaml_path)
    definition = _compile(daemon, text, body.yaml_path)
    _begin(daemon, definition, force=body.force)
    return models.FileDeployAccepted(
        app_id=definition.app_id,
        name=definition.name,
        version=definition.version,
        status="deploying",
        message=f"Deploying {definition.name}",
    )


@serve(router, operations.DEPLOY_APP_UPLOAD)
async def deploy_app_upload(
    daemon: Daemon,
    _user: Caller,
    file: UploadFile,
    force: Annotated[bool, Form()] = False,
    secrets: Annotated[str | None, Form()] = None,
    assets: Annotated[str | None, Form()] = None,
    scope: Annotated[str, Form()] = _SYSTEM,
) -> models.UploadDeployAccepted:
    content = await file.read()
    if len(content) > _LARGEST_YAML or len(assets or "") > _LARGEST_ASSETS:
        raise HTTPException(413, "the upload is too large")
    given = _json_object("secrets", secrets)
    files = _json_object("assets", assets)
    definition = _compile(daemon, content.decode("utf-8", errors="replace"), None)
    _begin(daemon, definition, force=force)
    daemon.secrets.add(definition.app_id, *given)
    return models.UploadDeployAccepted(
        app_id=definition.app_id,
        name=definition.name,
        status="deploying",
        message=f"Deploying {definition.name} ({scope})",
        asset_count=len(files),
    )


# Before the app of an id, which "disabled" could be.
@serve(router, operations.LIST_DISABLED_APPS)
async def list_disabled_apps(daemon: Daemon, _user: Caller) -> list[models.DisabledApp]:
    return [disabled_app(app) for app in daemon.apps.all() if app.status == "disabled"]


@serve(router, operations.GET_APP)
async def get_app(app: InstalledApp) -> models.AppDetail:
    return app_detail(app)


@serve(router, operations.DELETE_APP)
async def delete_app(
    daemon: Daemon,
    app: InstalledApp,
    undeploy_only: bool = False,
    delete_history: bool = True,
    scope: Literal["system", "user"] | None = None,
    # Every install here is the system's.
    owner_user_id: str | None = None,
) -> models.AppDeletion:
    if scope == "user":
        raise SoftFailed("nothing_to_delete")
    app.status = "not_deployed"
    if undeploy_only:
        return models.AppDeletion(
            app_id=app.app_id, undeployed=True, deleted=False, message=f"{app.app_id} is undeployed"
        )
    daemon.apps.remove(app.app_id)
    if delete_history:
        for session in daemon.sessions.of_app(app.app_id):
            await daemon.delete_session(session)
    return models.AppDeletion(
        app_id=app.app_id,
        deleted=True,
        message=f"{app.app_id} is removed",
        scope=_SYSTEM,
        owner_user_id=None,
        deployed=False,
        disk_removed=False,
        secrets_deleted=daemon.secrets.remove_app(app.app_id),
        db_removed=True,
        history_preserved=not delete_history,
    )


@serve(router, operations.GET_DEPLOY_STATUS)
async def get_deploy_status(daemon: Daemon, app_id: AppId) -> models.DeployStatus:
    return deploy_status(daemon.apps, app_id)


@serve(router, operations.GET_APP_STATUS)
async def get_app_status(app: DeployedApp) -> models.AppStatus:
    return app_status(app)


@serve(router, operations.DISABLE_APP)
async def disable_app(
    daemon: Daemon,
    app_id: AppId,
    scope: str | None = None,
    owner_user_id: str | None = None,
    body: Annotated[models.DisableAppRequest | None, Body()] = None,
) -> models.AppDisabled:
    app = _installed_or_soft(daemon, app_id)
    was_deployed = app.status == "running"
    app.status = "disabled"
    reason = f": {body.reason}" if body is not None and body.reason else ""
    return models.AppDisabled(
        app_id=app_id,
        scope=scope or _SYSTEM,
        owner_user_id=owner_user_id,
        disabled=True,
        was_deployed=was_deployed,
        message=f"{app_id} is switched off{reason}",
    )


@serve(router, operations.ENABLE_APP)
async def enable_app(
    daemon: Daemon, user: Caller, app_id: AppId, scope: str | None = None, user_id: str | None = None
) -> models.AppEnabled:
    if not user.is_admin:
        raise HTTPException(403, "only an administrator may switch an app on")
    app = _installed_or_soft(daemon, app_id)
    was_disabled = app.status == "disabled"
    app.deploy()
    return models.AppEnabled(
        app_id=app_id,
        scope=scope or _SYSTEM,
        owner_user_id=user_id,
        enabled=True,
        was_disabled=was_disabled,
        redeployed=was_disabled,
        message=f"{app_id} is switched on",
    )


@serve(router, operations.RELOAD_APP)
async def reload_app(daemon: Daemon, app: InstalledApp) -> models.AppReloaded:
    if app.status == "disabled":
        raise SoftFailed(f"{app.app_id} is switched off")
    app.deploy()
    return models.AppReloaded(
        app_id=app.app_id,
        reloaded=True,
        bundle_hash=hashlib.sha256(repr(app.definition).encode()).hexdigest(),
        secrets_applied=len(daemon.secrets.keys(app.app_id)),
        source="bundle",
        message=f"{app.app_id} is reloaded",
    )


async def _read_yaml(path: str) -> str:
    try:
        return await asyncio.to_thread(Path(path).read_text, encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError):
        raise HTTPException(404, f"File not found: {path}") from None
    except (OSError, ValueError) as error:
        raise HTTPException(400, f"File cannot be read: {error}") from error


def _compile(daemon: DaemonState, text: str, yaml_path: str | None) -> AppDefinition:
    try:
        return compile_definition(text)
    except DefinitionInvalid as invalid:
        app_id = declared_id(text)
        if app_id is not None:
            daemon.apps.record_failure(app_id, str(invalid), yaml_path)
        raise SoftFailed(f"the app does not compile: {invalid}", {"errors": invalid.errors}) from invalid


def _begin(daemon: DaemonState, definition: AppDefinition, *, force: bool) -> None:
    if daemon.apps.deployed(definition.app_id) is not None and not force:
        raise SoftFailed(f"{definition.app_id} is deployed already; use force to replace it")
    daemon.begin_deployment(App(definition, daemon.model))


def _installed_or_soft(daemon: DaemonState, app_id: str) -> App:
    app = daemon.apps.installed(app_id)
    if app is None:
        raise SoftFailed(f"{app_id} is not installed")
    return app


def _json_object(name: str, text: str | None) -> dict[str, Any]:
    if not text:
        return {}
    try:
        found: object = json.loads(text)
    except ValueError as error:
        raise HTTPException(400, f"{name} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise HTTPException(400, f"{name} is not a JSON object")
    return cast("dict[str, Any]", found)
