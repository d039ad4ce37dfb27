"""What is left of a session after a restart or a crash of the released daemon, and of its processes."""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from digitorn_testing import DevClient, SessionHandle, Unauthorized
from digitorn_testing._plugin import real
from digitorn_testing._real.daemon import RealDaemon
from digitorn_testing.fakes import FakeModel, FakeModelServer
from real.turns import said_by_user, saved, send

APP = "kept"

# A start takes seconds, more when the machine is busy.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def model_server() -> Iterator[FakeModelServer]:
    """The model of the app."""
    model = FakeModel()
    model.will_respond_with_text("I remember that.", times=None)
    with FakeModelServer(model) as server:
        yield server


def test_a_session_survives_a_restart_and_a_crash(
    own_daemon: RealDaemon, model_server: FakeModelServer
) -> None:
    url, token = own_daemon.url, own_daemon.token()
    session = SessionHandle(session_id="s-kept", app_id=APP, daemon_url=url)
    with DevClient.with_token(own_daemon.token("root", is_admin=True), daemon_url=url) as admin:
        admin.deploy_app(real.app_of(APP, model_server), secrets={real.KEY_SECRET: model_server.api_key})
    with DevClient.with_token(token, daemon_url=url) as client:
        send(client, session, "One.")
        # What was not saved is lost.
        saved(client, session, lambda history: said_by_user(history) == ["One."])
        own_daemon.restart()
        send(client, session, "Two.")
        saved(client, session, lambda history: said_by_user(history) == ["One.", "Two."])
        own_daemon.kill()
        own_daemon.restart()
        assert send(client, session, "Three.").content == "I remember that."
        saved(client, session, lambda history: said_by_user(history) == ["One.", "Two.", "Three."])
    assert own_daemon.url == url


def test_a_user_is_registered_where_the_daemon_redirects_to(own_daemon: RealDaemon) -> None:
    with httpx.Client(trust_env=False) as http:
        redirect = http.post(f"{own_daemon.url}/auth/register", json={})
        assert redirect.status_code == 308
        assert redirect.headers["location"] == f"{own_daemon.auth_url}/auth/register"
        account = {"username": "carol", "password": "correct horse battery"}
        answer = http.post(redirect.headers["location"], json=account).raise_for_status().json()
    with DevClient.with_token(answer["access_token"], daemon_url=own_daemon.url) as client:
        client.api.apps.list_apps()
    with DevClient(own_daemon.url) as nobody, pytest.raises(Unauthorized):
        nobody.api.apps.list_apps()


def test_nobody_mints_a_token_without_the_key(own_daemon: RealDaemon) -> None:
    asked = {"user": "mallory", "is_admin": True, "seconds": 60}
    assert httpx.post(f"{own_daemon.auth_url}/mint", json=asked, trust_env=False).status_code == 401


def test_nothing_is_left_of_a_daemon_that_was_stopped(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    root = pytestconfig.invocation_params.dir / str(pytestconfig.getoption("--digitorn-real-dir"))
    with RealDaemon(root, home=tmp_path / "home") as daemon:
        ports = [int(url.rpartition(":")[2]) for url in (daemon.url, daemon.auth_url)]
    assert all(str(tmp_path) not in line for line in command_lines())
    for port in ports:
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False)
    assert (tmp_path / "home" / "daemon.log").stat().st_size > 0


def command_lines() -> list[str]:
    """Working directories and command lines of all processes."""
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found.append(f"{os.readlink(process / 'cwd')} {(process / 'cmdline').read_bytes()!r}")
        except OSError:
            # It has ended, or belongs to somebody else.
            continue
    return found


def test_a_user_registers_and_logs_in_at_the_auth_service(own_daemon: RealDaemon) -> None:
    email, password = "somebody@example.com", "correct horse battery"
    with DevClient(own_daemon.url, timeout=30) as client:
        made = client.register("somebody", password, email=email)
        assert client.login(email, password).user_id == made.user_id
        # The daemon redirects once; then its auth service is known.
        assert [one.status for one in client.exchanges] == [308, 200, 200]
        client.api.apps.list_apps()
    with DevClient.with_user(email, password, daemon_url=own_daemon.url, timeout=30) as client:
        client.api.apps.list_apps()
