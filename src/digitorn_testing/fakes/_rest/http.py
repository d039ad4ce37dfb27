"""The REST part of the embedded daemon."""

import threading
import warnings
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Final

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic.warnings import UnsupportedFieldAttributeWarning
from starlette.responses import JSONResponse

from digitorn_testing.fakes._assembly import DaemonState
from digitorn_testing.fakes._wire.socketio import AsgiApp, Scope

from . import (
    routes_apps as _routes_apps,
)
from . import (
    routes_auth as _routes_auth,
)
from . import (
    routes_background as _routes_background,
)
from . import (
    routes_conversations as _routes_conversations,
)
from . import (
    routes_secrets as _routes_secrets,
)
from . import (
    routes_sessions as _routes_sessions,
)
from . import (
    routes_workspace as _routes_workspace,
)
from .dependencies import bind
from .fallback import ANSWERED_BY_EXAMPLE, document_fallbacks, fallback_routes, precedence
from .poll_guard import MOST_MISSES, WINDOW, PollGuard
from .routing import complete_models, install_error_answers

_BUILDING = threading.Lock()
_INSTANCE: Final = b"x-digitorn-instance"
_NOT_FOUND: Final = 404


def http_of(daemon: DaemonState) -> AsgiApp:
    """The application that serves the REST contract: its core really, the rest by examples.

    Args:
        daemon: What it acts on.
    """
    with _BUILDING:
        app = _application()
    instance_id = daemon.connections.instance_id
    guard = PollGuard()

    async def serve(
        scope: Scope, receive: Callable[[], Awaitable[Scope]], send: Callable[[Scope], Awaitable[None]]
    ) -> None:
        bind(scope, daemon)
        client, path = (scope.get("client") or ("", 0))[0], scope.get("path", "")

        async def answer(message: Scope) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (_INSTANCE, instance_id.encode())]
                if message["status"] == _NOT_FOUND:
                    guard.missed(client, path)
            await send(message)

        if guard.refuses(client, path):
            await _refusal(path)(scope, receive, answer)
        else:
            await app(scope, receive, answer)

    return serve


def _refusal(path: str) -> JSONResponse:
    reason = f"zombie_poll_blocked: {path} answered 404 {MOST_MISSES} times within {WINDOW:.0f} s"
    body = {"success": False, "error": reason}
    return JSONResponse(body, status_code=429, headers={"Retry-After": f"{WINDOW:.0f}"})


def answered_by_example() -> frozenset[str]:
    """The ids of the operations without behaviour."""
    with _BUILDING:
        return _without_behaviour()


@lru_cache(maxsize=1)
def made_up_in_replays() -> frozenset[str]:
    """The ids of the operations about which a recording of sessions tells nothing."""
    routers = (_routes_secrets.router, _routes_background.router)
    kept = {one.operation_id for router in routers for one in router.routes if isinstance(one, APIRoute)}
    return answered_by_example() | {one for one in kept if one is not None}


@lru_cache(maxsize=1)
def _without_behaviour() -> frozenset[str]:
    paths = _application().openapi()["paths"]
    listed = (one for item in paths.values() for one in item.values())
    return frozenset(one["operationId"] for one in listed if ANSWERED_BY_EXAMPLE in one)


@lru_cache(maxsize=1)
def _application() -> FastAPI:
    """One for all daemons of the process: it holds nothing of theirs, and takes longer to build than they."""
    complete_models()
    app = FastAPI(title="Embedded Digitorn daemon", docs_url=None, redoc_url=None)
    install_error_answers(app)
    for module in (
        _routes_auth,
        _routes_apps,
        _routes_secrets,
        _routes_background,
        _routes_sessions,
        _routes_conversations,
        _routes_workspace,
    ):
        app.include_router(module.router)
    _build_fields(app)
    document = app.openapi()
    served = {one["operationId"] for item in document["paths"].values() for one in item.values()}
    app.router.routes.extend(fallback_routes(served))
    app.router.routes.sort(key=precedence)
    document_fallbacks(document, served)
    return app


def _build_fields(app: FastAPI) -> None:
    """Makes FastAPI build what it reads requests with, by asking for its document.

    FastAPI hides a warning that pydantic gives when these are built, but the contract's models put that off
    until the first request, where the warning would come out.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnsupportedFieldAttributeWarning)
        app.openapi()
