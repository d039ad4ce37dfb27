"""Approvals are decided by the right policy, once, without a daemon."""

import asyncio

import pytest

from digitorn_testing import (
    ApproveAll,
    CallbackFailed,
    DaemonUnreachable,
    Decision,
    DenyAll,
    Forbidden,
    LeaveOpen,
    NotFound,
)
from digitorn_testing._approvals.policies import ApprovalPolicy, ClientApprovals, StreamApprovals
from digitorn_testing._stream.deciding import Deciding
from digitorn_testing._stream.tasks import Tasks
from digitorn_testing.models import PendingApproval
from support.frames import SESSION, TURN, approval, approval_request, approval_resolved, frame, message
from support.stream_parts import SECONDS, exchange, stream_core


class Session:
    """A stream that does nothing but decide."""

    def __init__(
        self, policy: ApprovalPolicy | None = None, *, approvals: StreamApprovals | None = None
    ) -> None:
        self.core = stream_core()
        self.tasks = Tasks(self.core.log.close)
        self.approvals = approvals or ClientApprovals(policy or ApproveAll()).of_stream()
        self.resolved: list[tuple[str, bool, str]] = []
        self.failures: list[Exception] = []
        self.failed_turns: list[str | None] = []
        self.follows = False
        self.deciding = Deciding(
            self.core, self.tasks, self.approvals, resolve=self._resolve, fail_turn=self._fail_turn
        )
        self.core.log.subscribe_in_order(self.deciding.came_in_order)

    async def _resolve(self, request: PendingApproval, decision: Decision) -> None:
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop(0)
        self.resolved.append((request.request_id, decision.approved, decision.message))

    def _fail_turn(self, turn: str | None, failure: CallbackFailed) -> bool:
        self.failed_turns.append(turn)
        return self.follows

    def join(self) -> None:
        """Enters the room."""
        self.core.link.joined()
        self.deciding.decide_all()

    async def rest(self) -> None:
        """Waits until everything is decided."""
        async with asyncio.timeout(SECONDS):
            while self.tasks.running:
                await asyncio.wait(set(self.tasks.running))


def snapshot(request_id: str, *, seq: int) -> dict[str, object]:
    """What a join tells of a request that is pending."""
    pending = {"app_id": "app", "session_id": SESSION, "count": 1, "pending": [approval(request_id, "Bash")]}
    return frame("approvals:snapshot", pending, seq=seq, correlation_id=None)


async def test_a_request_is_decided_by_the_policy() -> None:
    session = Session(DenyAll("no"))
    session.join()
    session.core.log.feed(approval_request("r-1", seq=1))
    await session.rest()
    assert session.resolved == [("r-1", False, "no")]


async def test_nothing_is_decided_before_the_join_and_nothing_that_was_resolved_meanwhile() -> None:
    session = Session()
    session.core.log.feed(approval_request("r-1", seq=1))
    session.core.log.feed(approval_request("r-2", seq=2))
    session.core.log.feed(approval_resolved("r-1", seq=3))
    assert not session.tasks.running
    session.join()
    await session.rest()
    assert session.resolved == [("r-2", True, "")]


async def test_a_snapshot_asks_too() -> None:
    session = Session()
    session.join()
    session.core.log.feed(snapshot("r-1", seq=1))
    await session.rest()
    assert session.resolved == [("r-1", True, "")]


def denied_again(request_id: str, description: str, *, seq: int) -> dict[str, object]:
    """The second request for a call that was denied."""
    asked = approval_request(request_id, seq=seq)
    return asked | {"payload": asked["payload"] | {"description": description}}


@pytest.mark.parametrize(
    ("description", "reason"),
    [("User denied: Never: ever.", "Never: ever."), ("User denied approval.", "")],
)
async def test_a_denied_call_that_is_asked_for_again_is_denied_for_the_same_reason(
    description: str, reason: str
) -> None:
    asked: list[str] = []
    session = Session(lambda request: asked.append(request.request_id))
    session.join()
    session.core.log.feed(approval_request("r-1", seq=1))
    await session.rest()
    session.core.log.feed(approval_resolved("r-1", seq=2, approved=False))
    session.core.log.feed(denied_again("r-2", description, seq=3))
    await session.rest()
    assert (asked, session.resolved) == (["r-1"], [("r-2", False, reason)])


async def test_a_question_is_no_denied_call_whatever_it_says() -> None:
    asked: list[str] = []
    session = Session(lambda request: asked.append(request.request_id))
    session.join()
    question = denied_again("r-1", "User denied: why?", seq=1)
    question["payload"] = {**approval("r-1", "ask_user"), "description": "User denied: why?"}
    session.core.log.feed(question)
    await session.rest()
    assert (asked, session.resolved) == (["r-1"], [])


async def test_a_denied_call_of_somebody_else_is_left_alone() -> None:
    session = Session(approvals=ClientApprovals(ApproveAll()).of_stream(turns_only=True))
    session.join()
    session.core.log.feed(denied_again("r-2", "User denied: Never.", seq=1))
    await session.rest()
    assert session.resolved == []


async def test_a_policy_is_asked_once_about_a_request() -> None:
    asked: list[str] = []
    session = Session(lambda request: asked.append(request.request_id))
    session.join()
    session.core.log.feed(approval_request("r-1", seq=1))
    await session.rest()
    session.core.log.feed(snapshot("r-1", seq=2))
    await session.rest()
    assert (asked, session.resolved) == (["r-1"], [])


async def test_the_policy_of_the_turn_comes_first() -> None:
    client = ClientApprovals(LeaveOpen())
    client.begin(TURN, DenyAll("of the turn"))
    session = Session(approvals=client.of_stream(ApproveAll()))
    session.join()
    session.core.log.feed(message("message_started", seq=1, position=1, fast_path=True))
    session.core.log.feed(approval_request("r-1", seq=2))
    await session.rest()
    assert session.resolved == [("r-1", False, "of the turn")]


async def test_a_request_of_nobody_waits_for_somebody_to_take_up_its_turn() -> None:
    client = ClientApprovals(ApproveAll())
    session = Session(approvals=client.of_stream(turns_only=True))
    session.join()
    session.core.log.feed(message("message_started", seq=1, position=1, fast_path=True))
    session.core.log.feed(approval_request("r-1", seq=2))
    await session.rest()
    assert session.resolved == []
    client.begin(TURN)
    session.deciding.decide_all()
    await session.rest()
    assert session.resolved == [("r-1", True, "")]


async def test_two_streams_of_a_client_resolve_a_request_once() -> None:
    client = ClientApprovals(ApproveAll())
    sessions = [Session(approvals=client.of_stream(policy)) for policy in (ApproveAll(), DenyAll())]
    for session in sessions:
        session.join()
        session.core.log.feed(approval_request("r-1", seq=1))
    for session in sessions:
        await session.rest()
    assert sum(len(session.resolved) for session in sessions) == 1


async def test_a_decision_is_told_as_soon_as_the_daemon_can_be_reached() -> None:
    session = Session()
    session.failures = [DaemonUnreachable("url", "refused"), DaemonUnreachable("url", "refused")]
    session.join()
    session.core.log.feed(approval_request("r-1", seq=1))
    await session.rest()
    assert session.resolved == [("r-1", True, "")]


async def test_who_is_too_late_says_nothing() -> None:
    session = Session()
    session.failures = [NotFound(exchange(404), "no such approval")]
    session.join()
    session.core.log.feed(approval_request("r-1", seq=1))
    await session.rest()
    assert (session.resolved, session.core.errors.errors, session.failed_turns) == ([], [], [])


async def test_a_refused_decision_is_reported_and_may_be_made_again() -> None:
    session = Session()
    session.failures = [Forbidden(exchange(403), "not yours")]
    session.join()
    session.core.log.feed(approval_request("r-1", seq=1))
    await session.rest()
    assert "not yours" in str(session.core.errors.errors[0])
    assert session.approvals.client.claim("r-1")


@pytest.mark.parametrize("follows", [True, False])
async def test_a_policy_that_raises_fails_its_turn_or_else_the_stream(follows: bool) -> None:
    def fail(request: PendingApproval) -> bool:
        raise LookupError(request.request_id)

    session = Session(fail)
    session.follows = follows
    session.join()
    session.core.log.feed(message("message_started", seq=1, position=1, fast_path=True))
    session.core.log.feed(approval_request("r-1", seq=2))
    await session.rest()
    assert session.failed_turns == [TURN]
    assert len(session.core.errors.errors) == (0 if follows else 1)
    assert session.core.log.closed is None
