"""The policy that remembers what it was asked."""

import asyncio

import pytest

from digitorn_testing import AnswerWith, Decision, RecordingApprovals, UnexpectedApproval, Verdict
from digitorn_testing._approvals.policies import ask
from digitorn_testing.models import PendingApproval


def request(tool: str = "Bash", **params: object) -> PendingApproval:
    """A tool that asks."""
    return PendingApproval.from_wire(
        {
            "request_id": f"r-{tool}",
            "agent_id": "a",
            "user_id": "u",
            "tool_name": tool,
            "tool_params": params,
            "risk_level": "low",
            "description": "",
            "created_at": 0.0,
            "session_id": "s",
            "app_id": "my-app",
            "choices": [],
            "content": "",
            "content_type": "text",
            "form": [],
            "allow_custom": True,
        }
    )


def decide(approvals: RecordingApprovals, *tools: str) -> list[Decision | None]:
    """What it decides about these tools."""
    return [asyncio.run(ask(approvals, request(tool), on_thread=False)) for tool in tools]


def test_it_approves_tools_and_leaves_questions_open() -> None:
    approvals = RecordingApprovals()
    assert decide(approvals, "Bash", "ask_user") == [Decision(True), None]
    assert [one.tool_name for one in approvals.requests] == ["Bash", "ask_user"]
    assert approvals.decisions == [Decision(True), None]
    assert approvals.request_count == 2
    assert approvals.last_request == request("ask_user")


def test_it_rejects_all() -> None:
    approvals = RecordingApprovals().reject_all("no")
    assert decide(approvals, "Bash", "ask_user") == [Decision(False, "no")] * 2


def test_it_gives_decisions_in_order_and_then_says_so() -> None:
    approvals = RecordingApprovals().will_decide(True, Decision(False, "not twice"), None)
    assert decide(approvals, "A", "B", "C") == [Decision(True), Decision(False, "not twice"), None]
    assert approvals.decisions == [Decision(True), Decision(False, "not twice"), None]
    with pytest.raises(UnexpectedApproval, match=r"approval 4 was not expected: D \{\}"):
        decide(approvals, "D")
    # It was asked all the same.
    assert approvals.request_count == 4
    assert approvals.decisions[-1] is None


def test_what_counts_behind_the_given_decisions() -> None:
    approvals = RecordingApprovals().will_decide(False).approve_all()
    assert decide(approvals, "A", "B") == [Decision(False), Decision(True)]
    approvals.reject_all("enough").will_decide(True)
    assert decide(approvals, "C") == [Decision(True)]
    with pytest.raises(UnexpectedApproval):
        decide(approvals, "D")


def test_other_policies_decide_and_it_records() -> None:
    async def later(asked: PendingApproval) -> Verdict:
        await asyncio.sleep(0)
        return asked.tool_name == "A"

    approvals = RecordingApprovals(later)
    assert decide(approvals, "A", "B") == [Decision(True), Decision(False)]
    assert approvals.decisions == [Decision(True), Decision(False)]
    assert decide(approvals.decide_by(AnswerWith("blue")), "ask_user") == [Decision(True, "blue")]


def test_reset_forgets_everything() -> None:
    approvals = RecordingApprovals().will_decide(False, False)
    decide(approvals, "A")
    approvals.reset()
    assert (approvals.requests, approvals.decisions, approvals.request_count) == ([], [], 0)
    assert approvals.last_request is None
    assert decide(approvals, "B") == [Decision(True)]


def test_what_is_no_decision_is_refused_at_once() -> None:
    approvals = RecordingApprovals()
    with pytest.raises(TypeError, match="expected a Decision, True, False or None, got 'yes'"):
        approvals.will_decide(True, "yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - on purpose
    # Nothing of it counts.
    assert decide(approvals, "Bash") == [Decision(True)]
