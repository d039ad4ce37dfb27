"""Apps on the released daemon: deployed, replaced, stopped and deleted, and what a feature needs."""

import secrets
from collections.abc import Iterator
from contextlib import suppress

import pytest

from digitorn_testing import (
    AnswerWith,
    AppBuilder,
    AppHandle,
    DevClient,
    InvalidRequest,
    NotFound,
)
from digitorn_testing._plugin import real
from digitorn_testing.fakes import FakeModel, FakeModelServer
from real.turns import TURN_SECONDS, saved, send


@pytest.fixture
def builder(fake_model_server: FakeModelServer) -> AppBuilder:
    """An app with a model and nothing else."""
    return AppBuilder(f"made-{secrets.token_hex(4)}").with_model(
        provider="openai",
        model="fake-model",
        backend="openai_compat",
        base_url=fake_model_server.base_url,
        api_key_secret=real.KEY_SECRET,
    )


@pytest.fixture
def deployed(dev_client: DevClient, builder: AppBuilder) -> Iterator[AppHandle]:
    """That app, deployed."""
    yield dev_client.deploy_app(builder, secrets={real.KEY_SECRET: "k"})
    with suppress(NotFound):
        dev_client.delete_app(builder.app_id)


def tools_offered(model: FakeModel, said: str) -> set[str]:
    (first, *_) = [one for one in model.requests if one.last_text == said]
    return {tool.name for tool in first.tools}


def test_a_message_to_an_app_without_a_session(
    dev_client: DevClient, fake_model: FakeModel, deployed: AppHandle
) -> None:
    fake_model.when(contains="Hello").will_respond_with_text("Good day to you as well.")
    result = dev_client.chat(deployed.app_id, "Hello.", timeout=TURN_SECONDS)
    assert (result.status, result.content) == ("completed", "Good day to you as well.")


def test_a_forced_deployment_is_waited_for(
    dev_client: DevClient, builder: AppBuilder, deployed: AppHandle
) -> None:
    for number in range(3):
        before = dev_client.api.apps.get_app(deployed.app_id).deployed_at
        dev_client.deploy_text(builder.with_greeting(f"Number {number}").to_yaml(), force=True)
        dev_client.wait_for_app(deployed.app_id)
        now = dev_client.api.apps.get_app(deployed.app_id)
        assert now.deployed_at != before
        assert now.greeting == f"Number {number}"


def test_an_app_is_undeployed_and_comes_back(
    dev_client: DevClient, builder: AppBuilder, fake_model: FakeModel, deployed: AppHandle
) -> None:
    fake_model.when(contains="Hello").will_respond_with_text("Good day to you as well.")
    session = dev_client.new_session(deployed.app_id)
    send(dev_client, session, "Hello.")
    # What is saved later would bring the session back.
    saved(dev_client, session, lambda history: len(history.messages) == 2)
    assert dev_client.undeploy(deployed.app_id).undeployed
    assert not dev_client.api.apps.get_deploy_status(deployed.app_id).deployed
    with pytest.raises(NotFound):
        dev_client.list_sessions(deployed.app_id)
    # It is not marked as switched off, so that a restart brings it back.
    disabled = [app.app_id for app in dev_client.api.apps.list_disabled_apps()]
    assert deployed.app_id not in disabled
    dev_client.deploy_app(builder, secrets={real.KEY_SECRET: "k"})
    # To the daemon, stopping an app ends its sessions.
    assert dev_client.list_sessions(deployed.app_id).sessions == []
    assert send(dev_client, session, "Hello.").status == "completed"


def test_ones_own_installation_is_undeployed_and_deleted(dev_client: DevClient, builder: AppBuilder) -> None:
    text = builder.to_yaml()
    dev_client.api.apps.deploy_app_upload(file=("app.yaml", text.encode()), scope="user")
    dev_client.wait_for_app(builder.app_id)
    assert dev_client.undeploy(builder.app_id).undeployed
    assert not dev_client.api.apps.get_deploy_status(builder.app_id).deployed
    assert dev_client.delete_app(builder.app_id).scope == "user"
    with pytest.raises(NotFound):
        dev_client.undeploy(builder.app_id)


def test_an_app_is_deleted(dev_client: DevClient, deployed: AppHandle) -> None:
    assert dev_client.delete_app(deployed.app_id).deleted
    with pytest.raises(NotFound):
        dev_client.api.apps.get_app(deployed.app_id)
    with pytest.raises(NotFound, match="nothing_to_delete"):
        dev_client.delete_app(deployed.app_id)


def test_a_definition_that_is_none_says_what_is_wrong(dev_client: DevClient) -> None:
    with pytest.raises(Exception, match=r"Compilation failed: app.yaml:1:1: schema error at 'app.app_id'"):
        dev_client.deploy_text("app: {}")
    with pytest.raises(InvalidRequest, match=r"query\.limit: Input should be a valid integer"):
        # The wrong type is on purpose: the daemon has to refuse it.
        dev_client.api.sessions.list_sessions("any", limit="many")  # type: ignore[arg-type]


def test_a_tool_of_high_risk_is_offered(
    dev_client: DevClient, builder: AppBuilder, fake_model: FakeModel
) -> None:
    fake_model.when(contains="Say it").will_call_tool("Bash", {"command": "echo from-the-shell"})
    fake_model.when(tool_result_of="Bash").will_respond_with_text("It was said out loud.")
    app = dev_client.deploy_app(builder.with_tools("Bash"), secrets={real.KEY_SECRET: "k"})
    result = send(dev_client, dev_client.new_session(app.app_id), "Say it.")
    assert [(call.name, call.success) for call in result.tool_calls] == [("Bash", True)]
    assert "Bash" in tools_offered(fake_model, "Say it.")
    dev_client.delete_app(app.app_id)


def test_a_question_is_allowed(dev_client: DevClient, builder: AppBuilder, fake_model: FakeModel) -> None:
    fake_model.when(contains="Paint it").will_call_tool(
        "AskUser", {"question": "Which colour?", "choices": ["red", "blue"]}
    )
    fake_model.when(tool_result_of="AskUser").will_respond_with_text("It is painted as you wish.")
    app = dev_client.deploy_app(builder.with_questions(), secrets={real.KEY_SECRET: "k"})
    result = dev_client.chat(app.app_id, "Paint it.", approvals=AnswerWith("blue"), timeout=TURN_SECONDS)
    assert result.content == "It is painted as you wish."
    assert "AskUser" in tools_offered(fake_model, "Paint it.")
    assert "blue" in fake_model.requests[-1].tool_results_of("AskUser")[-1] or "blue" in str(result.approvals)
    dev_client.delete_app(app.app_id)


def test_a_workspace_has_files(dev_client: DevClient, builder: AppBuilder, fake_model: FakeModel) -> None:
    fake_model.when(contains="Write it").will_call_tool("WsWrite", {"path": "a.txt", "content": "hello\n"})
    fake_model.when(tool_result_of="WsWrite").will_respond_with_text("It is written down now.")
    app = dev_client.deploy_app(builder.with_module("workspace"), secrets={real.KEY_SECRET: "k"})
    session = dev_client.new_session(app.app_id)
    send(dev_client, session, "Write it.")
    assert dev_client.read_file(session, "a.txt").payload.content == "hello\n"
    assert dev_client.write_file(session, "b.txt", "by hand\n").path == "b.txt"
    dev_client.delete_app(app.app_id)


def test_a_tool_runs_in_the_background(
    dev_client: DevClient, builder: AppBuilder, fake_model: FakeModel
) -> None:
    fake_model.when(contains="Run it").will_call_tool(
        "BackgroundRun", {"name": "shell.bash", "params": {"command": "echo behind"}}
    )
    fake_model.when(tool_result_of="BackgroundRun").will_respond_with_text("It runs in the background.")
    fake_model.will_respond_with_text("Nothing else is to be done.", times=None)
    app = dev_client.deploy_app(builder.with_background_runs("Bash"), secrets={real.KEY_SECRET: "k"})
    result = send(dev_client, dev_client.new_session(app.app_id), "Run it.")
    assert [(call.name, call.success) for call in result.tool_calls] == [("BackgroundRun", True)]
    dev_client.delete_app(app.app_id)


def test_a_session_whose_last_turn_failed(
    dev_client: DevClient, fake_model: FakeModel, deployed: AppHandle
) -> None:
    fake_model.when(contains="Fail").will_fail("auth_error", "The key is not valid.")
    session = dev_client.new_session(deployed.app_id)
    dev_client.send(session, "Fail.", timeout=TURN_SECONDS)
    detail = dev_client.get_session(session)
    assert detail.last_error is not None
    assert detail.last_error.code == "auth_error"
    dev_client.wait_for_session(session, timeout=10)
    assert dev_client.open_session(deployed.app_id, session.session_id).session_id == session.session_id
    assert [one.last_error for one in dev_client.list_sessions(deployed.app_id).sessions] != []
