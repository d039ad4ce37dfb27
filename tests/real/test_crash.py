"""The released daemon is killed while turns run and wait: no wait hangs, and every turn ends as it did."""

import time
from collections.abc import Iterator

import pytest

from digitorn_testing import ApprovalPolicy, DevClient, EventTimeout, LeaveOpen, Turn, TurnResult
from digitorn_testing._plugin import real
from digitorn_testing._real.daemon import RealDaemon
from digitorn_testing.events import ApprovalRequest, ToolStart
from digitorn_testing.fakes import FakeModel, FakeModelServer
from real.turns import LONG_COMMAND, TURN_SECONDS, send

RUNS, ASKS = "runs", "asks"
NOTICED_SECONDS = 15.0
"""How long after the restart the last turn may end; it takes about two seconds on an idle machine."""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def apps(own_daemon: RealDaemon) -> Iterator[RealDaemon]:
    """The daemon with two apps: the tools of one run at once, those of the other ask."""
    model = FakeModel()
    model.when(contains="Take your time").will_call_tool("Bash", {"command": LONG_COMMAND})
    model.will_respond_with_text("Hello to you.", times=None)
    with FakeModelServer(model) as server:
        asking = real.app_of(ASKS, server).with_default_policy("approve")
        with client_of(own_daemon, user="root", is_admin=True) as admin:
            for app in (real.app_of(RUNS, server), asking):
                admin.deploy_app(app, secrets={real.KEY_SECRET: server.api_key})
        yield own_daemon


def client_of(
    daemon: RealDaemon,
    *,
    user: str = "alice",
    is_admin: bool = False,
    approvals: ApprovalPolicy | None = None,
) -> DevClient:
    token = daemon.token(user, is_admin=is_admin)
    return DevClient.with_token(token, daemon_url=daemon.url, timeout=TURN_SECONDS * 4, approvals=approvals)


def crash(daemon: RealDaemon) -> float:
    """Kills the daemon and starts it again. Returns when it was ready."""
    daemon.kill()
    daemon.restart()
    return time.monotonic()


def assert_lost(result: TurnResult) -> None:
    assert result.status == "failed"
    assert result.errors[-1].code == "daemon_restart"
    assert "restarted" in str(result.error)


def test_turns_that_run_wait_and_ask_end_as_failed(apps: RealDaemon) -> None:
    with client_of(apps, approvals=LeaveOpen()) as client:
        finished = client.new_session(RUNS)
        before = client.start_turn(finished, "Hello.")
        assert before.result().content == "Hello to you."
        session, asking = client.new_session(RUNS), client.new_session(ASKS)
        running = client.start_turn(session, "Take your time.")
        running.wait_for(ToolStart)
        waiting = [client.start_turn(session, "Hello.") for _ in range(2)]
        asked = client.start_turn(asking, "Take your time.")
        asked.wait_for(ApprovalRequest)
        ready = crash(apps)
        for turn in (running, *waiting, asked):
            assert_lost(turn.result())
        assert time.monotonic() - ready < NOTICED_SECONDS
        assert [one.resolution for one in asked.result().approvals] == ["open"]
        assert before.result().content == "Hello to you."
        assert running.stream.log.running_turn is None
        # The session goes on, and so does a client that knows nothing of the crash.
        assert send(client, session, "Hello.").content == "Hello to you."
    with client_of(apps) as stranger:
        assert_lost(stranger.turn(session, running.correlation_id).result())


def test_no_wait_hangs_when_twenty_turns_are_cut_off(apps: RealDaemon) -> None:
    with client_of(apps) as client:
        turns: list[Turn] = []
        for number in range(20):
            text = "Take your time." if number % 4 else "Hello."
            turns.append(client.start_turn(client.new_session(RUNS), text))
        short, long = turns[::4], [one for number, one in enumerate(turns) if number % 4]
        for turn in long:
            turn.wait_for(ToolStart)
        for turn in short:
            assert turn.result().status == "completed"
        with pytest.raises(EventTimeout):
            long[0].result(timeout=0.1)
        ready = crash(apps)
        for turn in long:
            assert_lost(turn.result())
        assert time.monotonic() - ready < NOTICED_SECONDS
        assert {turn.result().content for turn in short} == {"Hello to you."}
        assert all(turn.stream.connection.restarts == 1 for turn in long)
