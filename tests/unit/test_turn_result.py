"""What a turn's events add up to, for each way in which a turn ends."""

from dataclasses import replace
from typing import Any

import pytest

from digitorn_testing import EventLog, SessionHandle, TurnResult, assertions
from digitorn_testing._turns.collect import collect
from digitorn_testing._turns.texts import StreamedTexts
from support.frames import (
    TURN,
    approval_request,
    approval_resolved,
    frame,
    message,
    result,
    token,
    tool_call,
    tool_start,
    user_message,
)

SESSION = SessionHandle(session_id="s-1", app_id="app", daemon_url="http://x")


def outcome(*frames: dict[str, Any]) -> TurnResult:
    log = EventLog()
    for one in (user_message("hi", seq=1), message("message_started", seq=2), *frames):
        log.feed(one)
    return collect(log.turn(TURN), session=SESSION, correlation_id=TURN)


def failure(type: str, *, seq: int, **payload: Any) -> dict[str, Any]:
    return frame(type, {"error": "", **payload}, seq=seq, op_state="failed")


DONE = message("message_done", seq=9)


def test_a_completed_turn() -> None:
    found = outcome(token("he", seq=3), token("y", seq=4), result("hey", seq=5), DONE)
    assert (found.status, found.content, found.error, found.ok) == ("completed", "hey", None, True)
    assert found.usage is not None
    assert found.duration == pytest.approx(8e-6)


def test_without_a_result_the_tokens_are_the_content() -> None:
    assert outcome(token("he", seq=3), token("y", seq=4), DONE).content == "hey"


@pytest.mark.parametrize(
    ("frames", "error"),
    [
        ([result("", seq=3, error="provider down")], "provider down"),
        ([failure("error", seq=3, error="broke", code="internal_error")], "broke"),
        ([failure("error", seq=3)], "error"),
        (
            [
                failure(
                    "credential_required",
                    seq=3,
                    error="no key",
                    code="credential_required",
                    category="credential",
                    retry=False,
                    detail="",
                    provider="p",
                    provider_type="api_key",
                    candidates=[],
                    field_spec={},
                )
            ],
            "no key",
        ),
        ([message("turn_terminal", seq=8, status="failed")], "turn_terminal"),
    ],
)
def test_a_failed_turn_though_the_daemon_closes_it_as_done(frames: list[dict[str, Any]], error: str) -> None:
    found = outcome(*frames, DONE)
    assert (found.status, found.error, found.ok) == ("failed", error, False)


def test_a_missing_credential_is_an_error_to_the_assertions() -> None:
    assert not assertions.no_errors(
        [
            failure(
                "credential_required",
                seq=1,
                code="credential_required",
                category="credential",
                retry=False,
                detail="",
                provider="p",
                provider_type="api_key",
                candidates=[],
                field_spec={},
            )
        ]
    )


@pytest.mark.parametrize(
    "end",
    [message("message_cancelled", seq=9), message("turn_terminal", seq=9, status="interrupted")],
)
def test_a_cancelled_turn(end: dict[str, Any]) -> None:
    assert outcome(token("x", seq=3), end).status == "cancelled"


def test_a_turn_that_the_watchdog_gave_up_is_timed_out() -> None:
    found = outcome(failure("error", seq=3, code="turn_stale"), DONE)
    assert (found.status, found.error, found.ok) == ("timed_out", "turn_stale", False)


def done_with_text(seq: int) -> dict[str, Any]:
    return frame("stream_done", {}, seq=seq)


def test_commentary_and_answer_are_told_apart() -> None:
    found = outcome(
        token("Let me ", seq=3),
        token("look.", seq=4),
        done_with_text(5),
        token("\n\n", seq=6),
        token("Three ", seq=7),
        token("files.", seq=8),
        done_with_text(9),
        result("Three files.", seq=10),
        message("message_done", seq=11),
    )
    assert [(one.kind, one.text) for one in found.messages] == [
        ("commentary", "Let me look."),
        ("answer", "Three files."),
    ]
    assert found.content == found.text == "Three files."
    assert found.commentary == ("Let me look.",)
    assert found.messages[1].deltas == ("Three ", "files.")


def test_an_answer_that_is_all_that_was_said_has_no_commentary() -> None:
    """A daemon may report every text of the turn as its content."""
    found = outcome(
        token("One, ", seq=3), done_with_text(4), token("two.", seq=5), result("One, two.", seq=6), DONE
    )
    assert (found.text, found.commentary) == ("One, two.", ())


def test_an_answer_that_was_not_streamed() -> None:
    said = [token("Let me look.", seq=3), done_with_text(4), done_with_text(5)]
    found = outcome(*said, result("Three.", seq=6), DONE)
    assert (found.content, found.text, found.commentary) == ("Three.", "Three.", ("Let me look.",))
    assert found.deltas_complete


def test_the_end_of_an_answer_that_was_not_streamed_is_its_last_piece() -> None:
    found = outcome(token("done ", seq=3), token("with bas", seq=4), result("done with bash", seq=5), DONE)
    assert found.messages[0].deltas == ("done ", "with bas", "h")
    assert (found.text, found.deltas_complete) == ("done with bash", True)


@pytest.mark.parametrize("lost", [["b", "c"], ["a", "c"]])
def test_pieces_that_are_missing_before_the_end_are_told(lost: list[str]) -> None:
    streamed = [token(one, seq=seq) for seq, one in enumerate(lost, 3)]
    found = outcome(*streamed, done_with_text(5), result("abc", seq=6), DONE)
    assert (found.content, found.deltas_complete) == ("abc", False)
    with pytest.warns(DeprecationWarning, match=r"the whole answer is result\.content"):
        assert found.text == "".join(lost)


def test_a_turn_that_was_cut_off_in_its_text_has_not_all_pieces() -> None:
    found = outcome(token("par", seq=3), message("message_cancelled", seq=4))
    assert (found.content, found.text, found.deltas_complete) == ("par", "par", False)
    assert outcome(message("message_cancelled", seq=3)).deltas_complete


def test_a_command_completes_with_the_text_that_it_streamed() -> None:
    found = outcome(token("# Commands", seq=3), DONE)
    assert (found.content, found.deltas_complete) == ("# Commands", True)


def test_pieces_that_come_behind_the_answer_add_nothing_to_it() -> None:
    streamed = StreamedTexts()
    events = outcome(token("ab", seq=3), result("abcd", seq=4), token("cd", seq=5), DONE).events
    assert [text for event in events if (text := streamed.take(event))] == ["ab", "cd"]


def test_a_turn_that_says_nothing() -> None:
    found = outcome(result("", seq=3), DONE)
    assert (found.content, found.text, found.messages) == ("", "", ())


def test_tool_calls_are_joined_from_start_and_end() -> None:
    found = outcome(
        tool_start("Read", call_id="one", seq=3, op_parent_id="agent-1"),
        tool_start("Bash", call_id="two", seq=4),
        tool_call("Bash", call_id="two", seq=7, success=False),
        tool_call("Read", call_id="one", seq=8, params={"path": "a"}),
        tool_start("Bash", call_id="cut off", seq=9),
        message("message_cancelled", seq=10),
    )
    read, bash, cut_off = found.tool_calls
    assert (read.name, read.success, read.result, read.error) == ("Read", True, {"ok": True}, "")
    assert read.parent == "agent-1"
    assert read.duration == pytest.approx(5e-6)
    assert (bash.success, bash.error, bash.parent) == (False, "it broke", None)
    assert (cut_off.success, cut_off.ended, cut_off.duration) == (None, None, None)
    assert cut_off.started is not None
    assert found.status == "cancelled"


def test_a_call_behind_a_dispatcher_goes_by_its_real_name_too() -> None:
    (call,) = outcome(tool_call("execute_tool", seq=3, params={"name": "shell.bash"}), DONE).tool_calls
    assert call.names == ("execute_tool", "shell.bash", "bash")
    assert call.started is None


def test_approvals_and_how_each_was_resolved() -> None:
    late = approval_resolved("late", seq=8, approved=False)
    found = outcome(
        approval_request("yes", seq=3),
        approval_resolved("yes", seq=4),
        approval_request("no", seq=5),
        approval_resolved("no", seq=6, approved=False),
        approval_request("late", seq=7),
        {**late, "op_state": "timeout", "payload": {**late["payload"], "reason": "timed out"}},
        approval_request("open", seq=9),
        message("message_cancelled", seq=10),
    )
    assert [(one.request.request_id, one.resolution, one.approved) for one in found.approvals] == [
        ("yes", "approved", True),
        ("no", "denied", False),
        ("late", "timed_out", False),
        ("open", "open", False),
    ]
    assert [one.message for one in found.approvals] == ["", "", "timed out", ""]
    assert found.approvals[0].duration == pytest.approx(1e-6)
    assert found.approvals[3].duration is None


def test_one_failure_that_comes_twice_is_one_error() -> None:
    """It is in the result and an event of its own (contract: events, section 8.7)."""
    found = outcome(
        result("", seq=3, error="slow down"),
        failure("error", seq=4, error="slow down", code="rate_limited", category="rate_limit", retry=True),
        DONE,
    )
    (error,) = found.errors
    assert (error.code, error.category, error.retry) == ("rate_limited", "rate_limit", True)
    assert str(error) == found.error == "slow down"


def test_a_handle_shows_what_identifies_its_session() -> None:
    assert repr(SESSION) == "SessionHandle(session_id='s-1', app_id='app', daemon_url='http://x')"
    assert repr(replace(SESSION, workspace="/w", is_new=True)).endswith("workspace='/w', is_new=True)")
