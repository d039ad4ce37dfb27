"""What a turn's events add up to, for each way in which a turn ends."""

from typing import Any

import pytest

from digitorn.testing import EventLog, SessionHandle, TurnResult, assertions
from digitorn.testing._turn_result import collect
from frames import TURN, frame, message, result, token, user_message

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
        ([failure("error", seq=3, code="turn_stale")], "turn_stale"),
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
