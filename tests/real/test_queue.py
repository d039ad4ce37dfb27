"""Turns that wait behind another one, and turns that are cut off or fail, on the released daemon."""

from typing import Literal

import pytest

from digitorn_testing import AbortFailed, DevClient, SessionHandle
from digitorn_testing.events import MessageStarted, ToolStart
from digitorn_testing.fakes import FakeModel
from real.turns import LONG_COMMAND, TURN_SECONDS, send


@pytest.fixture
def script(fake_model: FakeModel) -> FakeModel:
    """Runs for a minute when it is told to."""
    fake_model.when(contains="Take your time").will_call_tool("Bash", {"command": LONG_COMMAND})
    fake_model.when(contains="Hello").will_respond_with_text("Hello to you.")
    return fake_model


@pytest.mark.usefixtures("script")
def test_a_running_turn_is_aborted_while_others_wait(dev_client: DevClient, session: SessionHandle) -> None:
    first, second, third = (
        dev_client.start_turn(session, text, timeout=TURN_SECONDS)
        for text in ("Take your time.", "Hello.", "Hello again.")
    )
    log = first.stream.log
    first.wait_for(ToolStart)
    # It is started at once, and waits.
    second.wait_for(MessageStarted)
    assert log.running_turn == first.correlation_id
    with pytest.raises(AbortFailed, match=first.correlation_id):
        second.abort()
    third.abort()
    assert third.result().status == "cancelled"
    first.abort()
    cut = first.result()
    assert (cut.status, cut.error, [call.success for call in cut.tool_calls]) == ("cancelled", None, [None])
    answered = second.result()
    assert (answered.status, answered.content) == ("completed", "Hello to you.")
    assert log.running_turn is None
    first.abort()
    assert send(dev_client, session, "Hello.").content == "Hello to you."


@pytest.mark.usefixtures("script")
def test_a_turn_that_has_just_begun_is_aborted(dev_client: DevClient, session: SessionHandle) -> None:
    send(dev_client, session, "Hello.")
    turn = dev_client.start_turn(session, "Take your time.", timeout=TURN_SECONDS)
    turn.abort()
    result = turn.result()
    # If the abort meets the start of the tool, the daemon may end the turn as completed at once.
    assert result.status in ("cancelled", "completed")
    assert (result.content, result.error) == ("", None)


@pytest.mark.usefixtures("script")
def test_an_abort_that_comes_too_late_changes_nothing(dev_client: DevClient, session: SessionHandle) -> None:
    turn = dev_client.start_turn(session, "Hello.", timeout=TURN_SECONDS)
    assert turn.result().status == "completed"
    stopped = dev_client.abort(session)
    assert (stopped.was_active, stopped.task_cancelled) == (False, False)
    assert turn.result().status == "completed"


@pytest.mark.parametrize("code", ["auth_error", "permission_denied"])
def test_a_turn_whose_provider_fails_has_failed(
    dev_client: DevClient,
    session: SessionHandle,
    fake_model: FakeModel,
    code: Literal["auth_error", "permission_denied"],
) -> None:
    fake_model.when(contains="Hello").will_fail(code, "the provider says no", times=None)
    result = dev_client.send(session, "Hello.", timeout=TURN_SECONDS)
    assert result.status == "failed"
    assert result.errors[-1].code == code
    assert "the provider says no" in result.errors[-1].detail
