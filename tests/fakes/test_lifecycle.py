"""Starting and stopping the embedded daemon."""

import asyncio
import gc
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from digitorn_testing import AppHandle, DevClient
from digitorn_testing.fakes import DaemonNotStarted, FakeDaemon, FakeModel
from support.recorder import APP, another, recording, talking
from support.sessions import add_session
from support.texts import PIECES


def daemon_threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith("fake-daemon")]


@pytest.mark.parametrize("listen", [True, False])
def test_a_daemon_that_nobody_has_any_more_is_ended(listen: bool) -> None:
    daemon = FakeDaemon(listen=listen).start()
    with daemon.client() as client:
        daemon.add_app(APP)
        add_session(daemon)
        assert client.api.apps.list_apps()
    threads = daemon_threads()
    assert len(threads) == 1
    # What other tests left to the collector is none of this.
    gc.collect()
    with pytest.warns(ResourceWarning, match="never stopped; use it in a with"):  # noqa: PT031 - either may do it
        del daemon
        gc.collect()
    for thread in threads:
        thread.join(10)
    assert daemon_threads() == []


@pytest.mark.noisy("ResourceWarning: an embedded daemon was never stopped")
@pytest.mark.parametrize("listen", [True, False])
def test_python_ends_though_a_daemon_was_never_stopped(listen: bool) -> None:
    code = (
        "from digitorn_testing.fakes import FakeDaemon\n"
        f"daemon = FakeDaemon(listen={listen}).start()\n"
        "daemon.add_app('app')\n"
        "client = daemon.client()\n"
        "stream = client.open_event_stream(client.new_session('app'))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "default", "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stderr.count("ResourceWarning: an embedded daemon was never stopped") == 1
    assert "Traceback" not in ran.stderr


def test_the_sessions_of_a_daemon_can_be_gone_through() -> None:
    with FakeDaemon() as daemon:
        daemon.add_app(APP)
        made = [add_session(daemon).session_id for _ in range(2)]
        assert [one.id for one in daemon.sessions] == made


def test_stop_leaves_nothing_running_and_may_be_repeated() -> None:
    daemon = FakeDaemon().start()
    url = daemon.url
    assert httpx.get(f"{url}/healthz").status_code == 200
    daemon.stop()
    daemon.stop()
    assert daemon_threads() == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/healthz")


def test_a_daemon_that_does_not_run_says_so() -> None:
    daemon = FakeDaemon()
    for use in (lambda: daemon.url, daemon.token, daemon.drop_connections, lambda: daemon.add_app(APP)):
        with pytest.raises(DaemonNotStarted, match="not running"):
            use()
    with daemon:
        with pytest.raises(RuntimeError, match="runs already"):
            daemon.start()


def test_a_daemon_can_be_started_again_and_is_empty_then() -> None:
    daemon = FakeDaemon()
    with daemon:
        daemon.add_app(APP)
        token = daemon.token()
    with daemon:
        headers = {"Authorization": f"Bearer {token}"}
        assert httpx.get(f"{daemon.url}/auth/me", headers=headers).status_code == 401


def test_an_address_that_cannot_be_listened_on_is_an_error() -> None:
    with pytest.raises(OSError, match=r"."):
        FakeDaemon(host="192.0.2.1").start()
    assert daemon_threads() == []


def test_many_daemons_start_at_once() -> None:
    def ask(_: int) -> int:
        with FakeDaemon() as daemon:
            return httpx.get(f"{daemon.url}/healthz").status_code

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(16))) == [200] * 16
    assert daemon_threads() == []


async def test_stop_cuts_off_whatever_runs() -> None:
    model = FakeModel().will_stream_text(PIECES, delay=30.0)
    model.will_call_tool("Bash", requires_approval=True)
    with FakeDaemon() as daemon:
        daemon.add_app(APP, model=model)
        async with another(daemon) as streaming, another(daemon) as parked:
            await streaming.send("go")
            await streaming.recorder.wait_for("token")
            await parked.send("go")
            await parked.recorder.wait_for("approval_request")
            waiting = asyncio.create_task(parked.post("x", queue_mode="wait"))
            await parked.recorder.wait_for("message_queued")
            await asyncio.to_thread(daemon.stop)
            await asyncio.wait_for(streaming.recorder.lost.wait(), 5)
            await asyncio.wait_for(parked.recorder.lost.wait(), 5)
            assert (await waiting).status_code == 500
    assert daemon_threads() == []


async def test_dropped_connections_are_cut_and_the_session_goes_on() -> None:
    model = FakeModel().will_call_tool("Bash", requires_approval=True).will_respond_with_text("a")
    async with talking(model) as talk:
        accepted = await talk.send("go")
        request = await talk.recorder.wait_for("approval_request")
        await asyncio.to_thread(talk.daemon.drop_connections)
        await asyncio.wait_for(talk.recorder.lost.wait(), 5)
        async with recording(talk.daemon) as back:
            await back.join(talk.session_id)
            await talk.resolve(request["payload"]["request_id"], approved=True)
            await back.wait_for_turn("turn_terminal", accepted["correlation_id"])


def test_the_daemon_hands_out_clients_and_apps() -> None:
    with FakeDaemon() as daemon:
        assert daemon.url == f"http://127.0.0.1:{daemon.port}"
        assert daemon.add_app(APP) == AppHandle(app_id=APP, daemon_url=daemon.url)
        with daemon.client(auto_approve=False) as client:
            assert isinstance(client, DevClient)
            assert client.daemon_url == daemon.url
            assert [one.app_id for one in client.api.apps.list_apps()] == [APP]


def test_the_library_does_not_need_the_daemons_packages() -> None:
    script = (
        "import sys, digitorn_testing\n"
        "bad = {'fastapi', 'uvicorn', 'jwt', 'digitorn_testing.fakes', 'pytest'} & set(sys.modules)\n"
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_process_that_uses_it_ends_without_a_warning() -> None:
    script = (
        "from digitorn_testing.fakes import FakeDaemon\n"
        "import httpx\n"
        "with FakeDaemon() as daemon:\n"
        "    daemon.add_app('a')\n"
        "    httpx.get(daemon.url + '/healthz')\n"
        "    httpx.post(daemon.url + '/api/apps/a/sessions/s/messages', json={'message': 'x'},\n"
        "               headers={'Authorization': 'Bearer ' + daemon.token()})\n"
    )
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_connection_that_is_accepted_while_it_stops_is_closed() -> None:
    """What nobody closed would be told as a `ResourceWarning`, which is an error here."""
    for count in range(20):
        with FakeDaemon() as daemon:
            clients = [socket.create_connection(("127.0.0.1", daemon.port)) for _ in range(1 + count % 4)]
        for client in clients:
            client.close()
    gc.collect()
