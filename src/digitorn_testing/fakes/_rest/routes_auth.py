"""The auth and health operations."""

from typing import Annotated

from fastapi import APIRouter, Body

from digitorn_testing._generated import CONTRACT_VERSION, models, operations
from digitorn_testing.fakes._assembly import DaemonState
from digitorn_testing.fakes._store.users import NameTaken, TokenRefused, User
from digitorn_testing.fakes._wire.envelopes import iso

from .dependencies import Caller, Daemon
from .routing import AuthFailed, serve

router = APIRouter()


@serve(router, operations.GET_LIVENESS)
async def get_liveness() -> models.HealthStatus:
    return models.HealthStatus(status="alive")


@serve(router, operations.GET_HEALTH)
async def get_health(daemon: Daemon) -> models.Health:
    return models.Health(
        status="ok", version=CONTRACT_VERSION, socketio=True, warming_up=daemon.is_warming_up
    )


@serve(router, operations.GET_READINESS)
async def get_readiness(_user: Caller) -> models.HealthStatus:
    return models.HealthStatus(status="ready")


@serve(router, operations.LOGIN)
async def login(daemon: Daemon, body: models.LoginRequest) -> models.TokenResponse:
    name = body.username or body.email
    if not name or body.provider not in (None, "", "local"):
        raise AuthFailed(401, "username or email, and the provider 'local', are required")
    user = daemon.users.log_in(name, body.password)
    if user is None:
        raise AuthFailed(401, "Invalid credentials")
    return _tokens(daemon, user)


@serve(router, operations.REGISTER)
async def register(daemon: Daemon, body: models.RegisterRequest) -> models.TokenResponse:
    try:
        user = daemon.users.add(
            body.username,
            body.password,
            email=body.email,
            display_name=body.name,
            roles=("user",),
        )
    except NameTaken as taken:
        raise AuthFailed(400, f"Registration failed: {taken}") from taken
    return _tokens(daemon, user)


@serve(router, operations.REFRESH_TOKEN)
async def refresh_token(daemon: Daemon, body: models.RefreshTokenRequest) -> models.TokenResponse:
    try:
        user = daemon.users.user_of_refresh_token(body.refresh_token)
    except TokenRefused as refused:
        raise AuthFailed(401, str(refused)) from refused
    return models.TokenResponse(
        access_token=daemon.users.access_token(user),
        token_type="bearer",
        expires_in=int(daemon.users.access_token_lifetime),
        user_id=user.user_id,
        roles=list(user.roles),
        permissions=list(user.permissions),
        is_admin=user.is_admin,
    )


@serve(router, operations.LOGOUT)
async def logout(
    daemon: Daemon, user: Caller, body: Annotated[models.LogoutRequest | None, Body()] = None
) -> models.LogoutResponse:
    if body is not None and body.refresh_token:
        daemon.users.revoke(body.refresh_token, user)
    return models.LogoutResponse(success=True)


@serve(router, operations.GET_ME)
async def get_me(user: Caller) -> models.UserResponse:
    return models.UserResponse(
        user_id=user.user_id,
        email=user.email,
        display_name=user.display_name,
        roles=list(user.roles),
        permissions=list(user.permissions),
        is_admin=user.is_admin,
        avatar_url=None,
        created_at=iso(user.created_at),
        last_seen_at=None,
        phone=None,
    )


def _tokens(daemon: DaemonState, user: User) -> models.TokenResponse:
    return models.TokenResponse(
        access_token=daemon.users.access_token(user),
        refresh_token=daemon.users.refresh_token(user),
        token_type="bearer",
        expires_in=int(daemon.users.access_token_lifetime),
        user_id=user.user_id,
        email=user.email,
        display_name=user.display_name,
        roles=list(user.roles),
        permissions=list(user.permissions),
        is_admin=user.is_admin,
    )
