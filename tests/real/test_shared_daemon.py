"""What a client does on the released daemon, by the fixtures of the plugin."""

import httpx
import pytest

from digitorn_testing import (
    AppHandle,
    DevClient,
    NotFound,
    SessionHandle,
    Unauthorized,
)
from digitorn_testing.fakes import FakeModel
from real.turns import saved, send


def test_it_is_alive(dev_client: DevClient) -> None:
    answer = httpx.get(f"{dev_client.daemon_url}/healthz", trust_env=False)
    assert answer.json()["status"] == "alive"
    assert answer.headers["X-Digitorn-Instance"]


def test_it_refuses_a_token_that_its_auth_service_did_not_sign(dev_client: DevClient) -> None:
    dev_client.api.apps.list_apps()
    with DevClient.with_token("not.a.token", daemon_url=dev_client.daemon_url) as stranger:
        with pytest.raises(Unauthorized):
            stranger.api.apps.list_apps()


def test_an_app_is_deployed_and_deleted(dev_client: DevClient, digitorn_app: AppHandle) -> None:
    assert digitorn_app.app_id in [app.app_id for app in dev_client.api.apps.list_apps()]
    dev_client.api.apps.delete_app(digitorn_app.app_id, scope="system")
    with pytest.raises(NotFound):
        dev_client.list_sessions(digitorn_app.app_id)


def test_a_turn_with_text(dev_client: DevClient, fake_model: FakeModel, session: SessionHandle) -> None:
    fake_model.when(contains="Who are you?").will_respond_with_text("I am the model of a test.")
    result = send(dev_client, session, "Who are you?")
    assert (result.status, result.content) == ("completed", "I am the model of a test.")
    asked = [one for one in fake_model.requests if one.last_text == "Who are you?"]
    assert "You are a test's agent." in asked[0].system_prompt


def test_a_tool_runs(dev_client: DevClient, fake_model: FakeModel, session: SessionHandle) -> None:
    fake_model.when(contains="Say it").will_call_tool("Bash", {"command": "echo from-the-shell"})
    fake_model.when(tool_result_of="Bash", contains="from-the-shell").will_respond_with_text("It was said.")
    result = send(dev_client, session, "Say it.")
    assert result.content == "It was said."
    assert [(call.name, call.success) for call in result.tool_calls] == [("Bash", True)]


def test_sessions_are_listed(dev_client: DevClient, fake_model: FakeModel, session: SessionHandle) -> None:
    fake_model.when(contains="Hello").will_respond_with_text("Hello to you.")
    assert dev_client.list_sessions(session.app_id).sessions == []
    send(dev_client, session, "Hello.")
    (listed,) = dev_client.list_sessions(session.app_id).sessions
    assert listed.session_id == session.session_id
    history = saved(dev_client, session, lambda history: len(history.messages) == 2)
    assert [one.content for one in history.messages] == ["Hello.", "Hello to you."]
