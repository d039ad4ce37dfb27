"""The operations on the secrets of apps and on the credentials of users."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, HTTPException

from digitorn_testing._generated import models, operations
from digitorn_testing.fakes._assembly import DaemonState
from digitorn_testing.fakes._store.secrets import SeveralCredentials
from digitorn_testing.fakes._store.users import User

from .dependencies import AppId, Caller, Daemon
from .routing import SoftFailed, serve

router = APIRouter()

_WRITES: Final = "apps:write"
_EVERY_APP: Final = "_global"
_PER_USER: Final = "per_user"
_API_KEY: Final = "api_key"


# --- secrets; a reload of an app does nothing here, since nothing uses the values


async def _writer(user: Caller) -> User:
    if not user.is_admin and _WRITES not in user.permissions:
        raise HTTPException(403, f"Missing permission: {_WRITES}")
    return user


Writer = Annotated[User, Depends(_writer)]


@serve(router, operations.LIST_SECRETS)
async def list_secrets(daemon: Daemon, app_id: AppId) -> models.SecretKeys:
    return models.SecretKeys(app_id=app_id, keys=daemon.secrets.keys(app_id))


@serve(router, operations.CHECK_SECRET)
async def check_secret(daemon: Daemon, app_id: AppId, key: str) -> models.SecretState:
    return models.SecretState(app_id=app_id, key=key, exists=key in daemon.secrets.keys(app_id))


@serve(router, operations.SET_SECRETS)
async def set_secrets(
    daemon: Daemon, _writer: Writer, app_id: AppId, body: models.SetSecretsRequest, reload: bool = True
) -> models.SecretsStored:
    if not body.secrets:
        raise SoftFailed("'secrets' map is empty - nothing to set.")
    stored = [key for key in body.secrets if key]
    daemon.secrets.add(app_id, *stored)
    result = models.SecretsStored(
        app_id=app_id,
        set_count=len(stored),
        failed={key: "invalid key" for key in body.secrets if not key},
        reloaded=bool(reload and stored and daemon.apps.deployed(app_id)),
        reload_error=None,
    )
    if result.failed:
        raise SoftFailed(
            f"{len(result.failed)} secret(s) failed to set: {list(result.failed)}", result.to_wire()
        )
    return result


@serve(router, operations.SET_SECRET)
async def set_secret(
    daemon: Daemon,
    _writer: Writer,
    app_id: AppId,
    key: str,
    body: models.SetSecretRequest,
    reload: bool = True,
) -> models.SecretStored:
    daemon.secrets.add(app_id, key)
    reloaded = reload and daemon.apps.deployed(app_id) is not None
    return models.SecretStored(app_id=app_id, key=key, status="set", reloaded=reloaded, reload_error=None)


@serve(router, operations.DELETE_SECRET)
async def delete_secret(daemon: Daemon, _writer: Writer, app_id: AppId, key: str) -> models.SecretDeleted:
    if not daemon.secrets.remove(app_id, key):
        raise HTTPException(404, f"Secret '{key}' not found")
    return models.SecretDeleted(app_id=app_id, key=key, status="deleted")


# --- credentials by provider


@serve(router, operations.LIST_USER_CREDENTIALS)
async def list_user_credentials(daemon: Daemon, user: Caller) -> models.CredentialList:
    return _listed(daemon.credentials.of(user.user_id))


@serve(router, operations.GET_USER_CREDENTIAL)
async def get_user_credential(
    daemon: Daemon, user: Caller, app_id: str, provider_name: str
) -> models.FilledCredential | models.MissingCredential:
    for of_app in (app_id, None):
        if (found := _only(daemon, user.user_id, of_app, provider_name)) is not None:
            return models.FilledCredential.from_wire({"filled": True, **found.to_wire()})
    return models.MissingCredential(filled=False, provider_name=provider_name)


@serve(router, operations.UPSERT_USER_CREDENTIAL)
async def upsert_user_credential(
    daemon: Daemon, user: Caller, app_id: str, provider_name: str, body: models.UpsertUserCredentialRequest
) -> models.Credential:
    owner: str | None = user.user_id
    of_app, kind, scope = None, _API_KEY, _PER_USER
    if app_id != _EVERY_APP:
        owner, of_app, kind, scope = _declared(daemon, user, app_id, provider_name)
        scope = body.scope or scope
    return daemon.credentials.store(
        _only(daemon, owner, of_app, provider_name),
        body.fields,
        user_id=owner,
        app_id=of_app,
        name=provider_name,
        provider_name=provider_name,
        provider_type=kind,
        scope=scope,
    )


@serve(router, operations.DELETE_USER_CREDENTIAL)
async def delete_user_credential(
    daemon: Daemon, user: Caller, app_id: str, provider_name: str
) -> models.CredentialDeletion:
    of_app = None if app_id == _EVERY_APP else app_id
    if not daemon.credentials.remove_exactly(user.user_id, of_app, provider_name):
        raise HTTPException(404, "Credential not found")
    return models.CredentialDeletion(deleted=True)


def _declared(
    daemon: DaemonState, user: User, app_id: str, provider: str
) -> tuple[str | None, str | None, str, str]:
    """Owner, app, type and scope of a credential, as the app declares the provider."""
    app = daemon.apps.deployed(app_id)
    if app is None:
        raise HTTPException(404, f"App '{app_id}' not deployed")
    providers = app.definition.credential_providers
    if not providers:
        reason = "cannot upsert credentials against an app that doesn't declare what it needs."
        raise HTTPException(404, f"App '{app_id}' has no credentials_schema - {reason}")
    found = next((one for one in providers if one.name == provider), None)
    if found is None:
        raise HTTPException(404, f"Provider '{provider}' not declared in app schema")
    match found.scope:
        case "per_user":
            return user.user_id, None, found.type, found.scope
        case "per_app_shared":
            if not user.is_admin:
                raise HTTPException(403, "per_app_shared credentials require admin permissions")
            return None, app_id, found.type, found.scope
        case _:
            reason = "must be set via the daemon configuration, not via this route"
            raise HTTPException(403, f"system_wide credentials {reason}")


def _only(
    daemon: DaemonState, user_id: str | None, app_id: str | None, provider: str
) -> models.Credential | None:
    try:
        return daemon.credentials.only(user_id, app_id, provider)
    except SeveralCredentials:
        raise HTTPException(500, "Internal server error") from None


# --- credentials by id


@serve(router, operations.LIST_CREDENTIALS)
async def list_credentials(daemon: Daemon, user: Caller, provider: str = "") -> models.CredentialList:
    return _listed(daemon.credentials.of(user.user_id, provider or None))


@serve(router, operations.CREATE_CREDENTIAL)
async def create_credential(
    daemon: Daemon, user: Caller, body: models.CreateCredentialRequest
) -> models.Credential:
    same = daemon.credentials.of(user.user_id, body.provider_name)
    before = next((one for one in same if one.label == body.label), None)
    return daemon.credentials.store(
        before,
        body.fields,
        user_id=user.user_id,
        app_id=before.app_id if before is not None else None,
        name=body.name or (before.name if before is not None else body.provider_name),
        provider_name=body.provider_name,
        provider_type=body.provider_type,
        scope=body.scope or _PER_USER,
        label=body.label,
    )


@serve(router, operations.GET_CREDENTIAL)
async def get_credential(daemon: Daemon, user: Caller, credential_id: str) -> models.Credential:
    return _own(daemon, user, credential_id, "view")


@serve(router, operations.UPDATE_CREDENTIAL)
async def update_credential(
    daemon: Daemon, user: Caller, credential_id: str, body: models.UpdateCredentialRequest
) -> models.Credential:
    before = _own(daemon, user, credential_id, "update")
    return daemon.credentials.store(before, body.fields, label=body.label or before.label, scope=_PER_USER)


@serve(router, operations.DELETE_CREDENTIAL)
async def delete_credential(daemon: Daemon, user: Caller, credential_id: str) -> models.CredentialDeletion:
    daemon.credentials.remove(_own(daemon, user, credential_id, "delete"))
    return models.CredentialDeletion(deleted=True)


def _own(daemon: DaemonState, user: User, credential_id: str, what: str) -> models.Credential:
    found = daemon.credentials.get(credential_id)
    if found is None:
        raise HTTPException(404, "Credential not found")
    if found.user_id != user.user_id:
        raise HTTPException(403, f"You can only {what} your own credentials")
    return found


def _listed(credentials: list[models.Credential]) -> models.CredentialList:
    return models.CredentialList(credentials=credentials, count=len(credentials))
