"""What handlers ask for: the daemon, the caller, an app, a session.

All of these are coroutine functions: others would be called on threads, which outlive the daemon.
"""

from collections.abc import MutableMapping
from typing import Annotated, Any, Final, TypeAlias, cast

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from digitorn_testing._apps.language import is_valid_id
from digitorn_testing.fakes._assembly import DaemonState
from digitorn_testing.fakes._store.apps import App
from digitorn_testing.fakes._store.sessions import Session, SessionMissing
from digitorn_testing.fakes._store.users import User

_DAEMON: Final = "daemon"

_bearer = HTTPBearer(auto_error=False, scheme_name="bearerAuth")


def bind(scope: MutableMapping[str, Any], daemon: DaemonState) -> None:
    """Notes in a request's scope which daemon serves it."""
    scope.setdefault("state", {})[_DAEMON] = daemon


def daemon_of(request: Request) -> DaemonState:
    """The daemon that serves a request."""
    return cast("DaemonState", getattr(request.state, _DAEMON))


async def _daemon(request: Request) -> DaemonState:
    return daemon_of(request)


Daemon: TypeAlias = Annotated[DaemonState, Depends(_daemon)]


async def caller(
    daemon: Daemon, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> User:
    """The user behind a request's token.

    Raises:
        TokenRefused: The token is missing, wrong or expired.
    """
    return daemon.users.authenticate(credentials.credentials if credentials is not None else None)


Caller: TypeAlias = Annotated[User, Depends(caller)]


async def caller_of(request: Request) -> User:
    """The user behind a request's token, for a handler that asks for nothing else.

    Raises:
        TokenRefused: The token is missing, wrong or expired.
    """
    return await caller(daemon_of(request), await _bearer(request))


async def valid_app_id(app_id: str, user: Caller) -> str:
    """An app id of the right form; the caller is known before it is looked at."""
    return _valid("app_id", app_id)


AppId: TypeAlias = Annotated[str, Depends(valid_app_id)]


async def deployed_app(app_id: AppId, daemon: Daemon, request: Request) -> App:
    """An app that can be used."""
    if daemon.is_warming_up:
        if request.url.path.endswith("/state"):
            # The one route that does not say why (docs/real-daemon-traps.md).
            raise HTTPException(404, f"App '{app_id}' not deployed")
        detail = f"App '{app_id}' not yet loaded - daemon is warming up"
        raise HTTPException(503, detail, headers={"Retry-After": "2"})
    app = daemon.apps.deployed(app_id)
    if app is None:
        raise HTTPException(404, f"App '{app_id}' is not deployed")
    return app


DeployedApp: TypeAlias = Annotated[App, Depends(deployed_app)]


async def installed_app(app_id: AppId, daemon: Daemon) -> App:
    """An app in whatever state."""
    app = daemon.apps.installed(app_id)
    if app is None:
        raise HTTPException(404, f"App '{app_id}' is not installed")
    return app


InstalledApp: TypeAlias = Annotated[App, Depends(installed_app)]


async def valid_session_id(session_id: str, user: Caller) -> str:
    """A session id of the right form."""
    return _valid("session_id", session_id)


SessionId: TypeAlias = Annotated[str, Depends(valid_session_id)]


async def owned_session(app: DeployedApp, session_id: SessionId, user: Caller, daemon: Daemon) -> Session:
    """A session of the caller; another user's looks as if it did not exist."""
    try:
        return daemon.sessions.get(app.app_id, session_id, user)
    except SessionMissing:
        was_deleted = daemon.sessions.was_deleted(app.app_id, session_id, user)
        if was_deleted and daemon.rules.strikes("deleted_sessions_return"):
            return daemon.sessions.create(app, user, session_id)
        raise session_not_found(session_id) from None


OwnedSession: TypeAlias = Annotated[Session, Depends(owned_session)]


async def session_if_any(
    app: DeployedApp, session_id: SessionId, user: Caller, daemon: Daemon
) -> Session | None:
    """A session of the caller, for an operation to which the contract gives no 404 of its own."""
    try:
        return daemon.sessions.get(app.app_id, session_id, user)
    except SessionMissing:
        return None


SessionIfAny: TypeAlias = Annotated[Session | None, Depends(session_if_any)]


def session_not_found(session_id: str) -> HTTPException:
    """The answer for a session that is absent or somebody else's."""
    return HTTPException(404, f"Session '{session_id}' not found")


def _valid(name: str, value: str) -> str:
    if not is_valid_id(value):
        raise HTTPException(400, f"Malformed {name}: {value!r}")
    return value
