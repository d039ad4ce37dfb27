"""Tools that ask, on the released daemon."""

import secrets
from collections.abc import Iterator

import pytest

from digitorn_testing import (
    AnswerWith,
    AppHandle,
    ApprovalPolicy,
    ApproveWhen,
    Decision,
    DenyAll,
    DevClient,
    LeaveOpen,
    RecordingApprovals,
    SessionHandle,
    TurnResult,
    assertions,
    is_for_tool,
    is_question,
)
from digitorn_testing._plugin import real
from digitorn_testing.events import ApprovalRequest
from digitorn_testing.fakes import FakeModel, FakeModelServer
from real.turns import TURN_SECONDS, send


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
    # The daemon asks a second time, which is no second approval.
    approvals.will_decide(Decision(False, "Never: ever."))
    result = send(dev_client, session, "Say it.")
    assert_denied(result)
    assert approvals.request_count == 1
    assert len([one for one in result.events if isinstance(one.payload, ApprovalRequest)]) == 2


@pytest.mark.usefixtures("script")
@pytest.mark.parametrize(
    "policy",
    [DenyAll("Never: ever."), ApproveWhen(lambda one: not is_for_tool(one, "Bash"), "Never: ever.")],
    ids=["all", "when"],
)
def test_a_policy_denies_once(dev_client: DevClient, session: SessionHandle, policy: ApprovalPolicy) -> None:
    assert_denied(dev_client.send(session, "Say it.", approvals=policy, timeout=TURN_SECONDS))


@pytest.mark.usefixtures("script")
def test_a_tool_is_denied_by_hand_once(dev_client: DevClient, session: SessionHandle) -> None:
    turn = dev_client.start_turn(session, "Say it.", approvals=LeaveOpen(), timeout=TURN_SECONDS)
    asked = turn.wait_for(ApprovalRequest).payload
    dev_client.resolve_approval(session.app_id, asked.request_id, approved=False, message="Never: ever.")
    assert_denied(turn.result())


@pytest.mark.usefixtures("script")
def test_a_stream_denies_a_turn_that_was_posted_raw_once(
    dev_client: DevClient, session: SessionHandle
) -> None:
    with dev_client.open_event_stream(session, approvals=DenyAll("Never: ever.")) as stream:
        accepted = dev_client.post_message_raw(session, "Say it.")
        assert_denied(stream.wait_for_turn(accepted, timeout=TURN_SECONDS))


@pytest.mark.usefixtures("script")
def test_the_call_that_waits_is_the_parent_of_its_approval(
    dev_client: DevClient, session: SessionHandle
) -> None:
    turn = dev_client.start_turn(session, "Say it.", timeout=TURN_SECONDS)
    assert turn.result().content == "It was said."
    (approval,) = turn.stream.operations().find(type="approval", name="Bash")
    assert approval.parent is not None
    assert (approval.name, approval.parent.type, approval.parent.name) == ("shell.bash", "tool", "Bash")


def test_a_question_is_answered_whatever_its_tool_is_called(
    dev_client: DevClient, fake_model: FakeModel, session: SessionHandle
) -> None:
    fake_model.when(contains="Ask me").will_call_tool("AskUser", {"question": "Which colour?"})
    fake_model.when(tool_result_of="AskUser", contains="blue").will_respond_with_text("Blue it is.")
    approvals = AnswerWith({"colour": "blue"})
    turn = dev_client.start_turn(session, "Ask me.", approvals=approvals, timeout=TURN_SECONDS)
    assert turn.result().content == "Blue it is."
    for name in ("AskUser", "ask_user"):
        assert assertions.tool_called(turn.events, name)
    assert [is_question(one.request) for one in turn.result().approvals] == [True]


def assert_denied(result: TurnResult) -> None:
    assert result.content == "It was not said."
    assert [(call.name, call.success) for call in result.tool_calls] == [("Bash", False)]
    assert "Never: ever." in result.tool_calls[0].error
    assert [(one.resolution, one.message) for one in result.approvals] == [("denied", "Never: ever.")]
