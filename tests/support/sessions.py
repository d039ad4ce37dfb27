"""Sessions without messages: nobody can ask the daemon for one, so they are put where it keeps sessions."""

import uuid

from digitorn_testing import SessionHandle
from digitorn_testing.fakes import FakeDaemon, User

SECONDS = 15.0
APP = "my-app"


def add_session(
    daemon: FakeDaemon, user: User | None = None, *, app_id: str = APP, workspace: str = ""
) -> SessionHandle:
    """A session that exists and has no messages.

    Args:
        daemon: The daemon.
        user: The owner; the default user if left out.
        app_id: The app, which must be deployed.
        workspace: Directory that the session works in.
    """
    state = daemon._running()
    owner = user or state.users.find("dev")
    app = state.apps.installed(app_id)
    assert owner is not None
    assert app is not None
    session_id = f"s-{uuid.uuid4().hex[:16]}"

    async def create() -> None:
        state.sessions.create(app, owner, session_id, workspace=workspace)

    daemon._running_thread().submit(create()).result(SECONDS)
    return SessionHandle(session_id=session_id, app_id=app_id, daemon_url=daemon.url, workspace=workspace)


def log_without_delay(daemon: FakeDaemon, session: SessionHandle) -> None:
    """Lets what a session's log is given from now on be read at once, whatever the daemon's `log_delay`."""
    state = daemon._running()
    owner = state.users.find("dev")
    assert owner is not None
    state.sessions.get(session.app_id, session.session_id, owner).log._delay = 0.0
