"""Faults of the released daemon that the embedded one has when they are switched on by name."""

from typing import Any, cast, get_args

import pytest

from digitorn_testing import ApiError, DevClient, NotFound
from digitorn_testing.events import MessageStarted
from digitorn_testing.fakes import FakeDaemon, FakeModel
from digitorn_testing.fakes._faults.rules import KnownFault
from support.recorder import APP

TEXT = "Here is an answer."


@pytest.fixture
def client(daemon: FakeDaemon, model: FakeModel) -> Any:
    model.will_respond_with_text(TEXT, times=None)
    with daemon.client() as connected:
        yield connected


def test_a_turn_fails_on_the_wrong_event_loop(daemon: FakeDaemon, client: DevClient) -> None:
    session = client.new_session(APP)
    with daemon.faults.switch_on("wrong_event_loop", times=1) as fault:
        failed = client.send(session, "go", timeout=10)
    assert (failed.status, fault.hits) == ("failed", 1)
    assert [one.code for one in failed.errors] == ["internal_error"]
    assert "is bound to a different event loop" in (failed.error or "")
    assert client.send(session, "go", timeout=10).ok


def test_a_fork_is_empty(daemon: FakeDaemon, client: DevClient) -> None:
    session = client.new_session(APP)
    client.send(session, "go", timeout=10)
    assert client.api.sessions.fork_session(APP, session.session_id).message_count == 2
    with daemon.faults.switch_on("empty_forks"):
        assert client.api.sessions.fork_session(APP, session.session_id).message_count == 0


def test_a_deleted_session_returns_empty(daemon: FakeDaemon, client: DevClient) -> None:
    session = client.new_session(APP)
    client.send(session, "go", timeout=10)
    client.api.sessions.delete_session(APP, session.session_id)
    with pytest.raises(NotFound):
        client.api.sessions.get_session(APP, session.session_id)
    with daemon.faults.switch_on("deleted_sessions_return"):
        assert client.api.sessions.get_session(APP, session.session_id).message_count == 0
        with pytest.raises(NotFound):
            client.api.sessions.get_session(APP, "never-there")


def test_active_operations_cannot_be_read(daemon: FakeDaemon, client: DevClient) -> None:
    session = client.new_session(APP)
    client.send(session, "go", timeout=10)
    with daemon.faults.switch_on("no_active_ops"), pytest.raises(ApiError) as failed:
        client.api.sessions.list_active_ops(APP, session.session_id)
    assert failed.value.status == 500
    assert client.api.sessions.list_active_ops(APP, session.session_id).count == 0


def test_an_unknown_fault_is_refused(daemon: FakeDaemon) -> None:
    with pytest.raises(ValueError, match=f"no fault is named 'none'; there are {get_args(KnownFault)[0]}"):
        daemon.faults.switch_on(cast("KnownFault", "none"))


def test_apps_are_loaded_late_after_a_restart(model: FakeModel) -> None:
    with FakeDaemon(model=model, listen=False, warm_up=60.0) as daemon:
        daemon.add_app(APP)
        with daemon.client(retries=None) as client:
            assert client.api.sessions.list_sessions(APP).total == 0
            daemon.restart()
            with pytest.raises(ApiError, match="daemon is warming up") as refused:
                client.api.sessions.list_sessions(APP)
            assert refused.value.status == 503
            with pytest.raises(NotFound, match="not deployed"):
                client.api.sessions.get_session_state(APP, "any")
            assert client.api.apps.list_apps()


def test_a_turn_is_followed_while_the_apps_are_loaded(model: FakeModel) -> None:
    """The route that brings the log answers 404 meanwhile, as if the app were not there."""
    model.will_never_answer()
    with FakeDaemon(model=model, warm_up=1.5) as daemon, daemon.client(timeout=20) as client:
        daemon.add_app(APP)
        turn = client.start_turn(client.new_session(APP), "Hello.")
        turn.wait_for(MessageStarted)
        daemon.restart()
        result = turn.result()
    assert result.status == "failed"
    assert result.errors[-1].code == "daemon_restart"
