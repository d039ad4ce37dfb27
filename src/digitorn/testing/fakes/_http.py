"""The REST part of the embedded daemon."""

from fastapi import FastAPI

from . import _routes_apps, _routes_auth, _routes_sessions
from ._routing import complete_models, install_error_answers
from ._state import DaemonState


def build_http(daemon: DaemonState) -> FastAPI:
    """The application that serves the core of the REST contract.

    Args:
        daemon: What it acts on.
    """
    complete_models()
    app = FastAPI(title="Embedded Digitorn daemon", docs_url=None, redoc_url=None)
    app.state.daemon = daemon
    install_error_answers(app)
    # Fixed paths come before those with a parameter in the same place.
    for router in (_routes_auth.router, _routes_apps.router, _routes_sessions.router):
        app.include_router(router)
    return app
