"""Tools that ask, on the released daemon."""

import secrets
from collections.abc import Iterator

import pytest

from digitorn_testing import AppHandle, Decision, DevClient, RecordingApprovals, SessionHandle
from digitorn_testing._plugin import real
from digitorn_testing.fakes import FakeModel, FakeModelServer
from real.turns import send


@pytest.fixture
def digitorn_app(dev_client: DevClient, fake_model_server: FakeModelServer) -> Iterator[AppHandle]:
    """An app whose tools ask before they run."""
    app = real.app_of(f"asking-{secrets.token_hex(4)}", fake_model_server).with_default_policy("approve")
    yield dev_client.deploy_app(app, secrets={real.KEY_SECRET: fake_model_server.api_key})
    dev_client.api.apps.delete_app(app.app_id, scope="system")


@pytest.fixture
def script(fake_model: FakeModel) -> FakeModel:
    """Calls a tool, and says whether it ran."""
    fake_model.when(contains="Say it").will_call_tool("Bash", {"command": "echo from-the-shell"})
    fake_model.when(tool_result_of="Bash", contains="from-the-shell").will_respond_with_text("It was said.")
    fake_model.when(tool_result_of="Bash").will_respond_with_text("It was not said.")
    return fake_model


@pytest.mark.usefixtures("script")
def test_an_approved_tool_runs(
    dev_client: DevClient, session: SessionHandle, approvals: RecordingApprovals
) -> None:
    result = send(dev_client, session, "Say it.")
    assert result.content == "It was said."
    assert [(call.name, call.success) for call in result.tool_calls] == [("Bash", True)]
    assert approvals.request_count == 1


@pytest.mark.usefixtures("script")
def test_a_denied_tool_does_not_run(
    dev_client: DevClient, session: SessionHandle, approvals: RecordingApprovals
) -> None:
    # A denial is asked for a second time.
    approvals.will_decide(Decision(False, "Never."), Decision(False, "Never."))
    result = send(dev_client, session, "Say it.")
    assert result.content == "It was not said."
    assert [(call.name, call.success) for call in result.tool_calls] == [("Bash", False)]
