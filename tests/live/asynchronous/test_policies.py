"""Approval policies: of a client, of one turn, of a stream."""

import re
from typing import Any, cast

import pytest

from digitorn_testing import (
    AnswerWith,
    ApprovalPolicy,
    ApproveAll,
    ApproveWhen,
    AsyncDevClient,
    CallbackFailed,
    Decision,
    DenyAll,
    EventTimeout,
    LeaveOpen,
    RecordingApprovals,
    SessionHandle,
    UnexpectedApproval,
)
from digitorn_testing.events import ApprovalRequest, MessageDone
from digitorn_testing.fakes import FakeModel
from digitorn_testing.models import PendingApproval
from support.faces import AsyncSignal
from support.fixtures import Place


def asks(model: FakeModel, *, tool: str = "Bash", command: str = "ls") -> FakeModel:
    """A turn that asks for an approval and then answers."""
    model.will_call_tool(tool, {"command": command}, result={"ok": True}, requires_approval=True)
    return model.will_stream_text(["answer"])


Case = tuple[ApprovalPolicy, str, str]

CASES: list[Case] = [
    (ApproveAll(), "approved", ""),
    (DenyAll("not today"), "denied", "not today"),
    (ApproveWhen(lambda one: one.tool_params["command"] == "ls"), "approved", ""),
    (ApproveWhen(lambda one: one.risk_level == "low", "too risky"), "denied", "too risky"),
    (AnswerWith("blue"), "approved", ""),
    (AnswerWith("blue", otherwise=DenyAll("no")), "denied", "no"),
    (lambda one: one.tool_name == "shell.bash", "approved", ""),
    (lambda one: Decision(False, f"not {one.tool_name}"), "denied", "not shell.bash"),
]


@pytest.mark.both_daemons
@pytest.mark.parametrize(("policy", "resolution", "message"), CASES)
async def test_each_decision_is_on_the_result(
    client: AsyncDevClient,
    model: FakeModel,
    session: SessionHandle,
    policy: ApprovalPolicy,
    resolution: str,
    message: str,
) -> None:
    asks(model)
    result = await client.send(session, "go", approvals=policy, timeout=10)
    (approval,) = result.approvals
    assert (approval.resolution, approval.message) == (resolution, message)
    assert approval.approved is (resolution == "approved")
    assert approval.request.tool_name == "shell.bash"
    assert approval.request.tool_params == {"command": "ls"}
    assert [call.success for call in result.tool_calls] == [resolution == "approved"]
    assert result.content == "answer"


@pytest.mark.both_daemons
async def test_questions_are_answered(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_ask_user("Which colour?", choices=["red", "blue"]).will_ask_user("Which size?")
    model.will_call_tool("Bash", {"command": "ls"}, result={}, requires_approval=True).will_stream_text(
        ["thanks"]
    )
    policy = AnswerWith({"colour": "blue", "size": "big"})
    result = await client.send(session, "go", approvals=policy, timeout=10)
    assert [one.message for one in result.approvals] == ["blue", "big", ""]
    answers = [call.result or {} for call in result.tool_calls[:2]]
    assert [(one["status"], one["user_response"]) for one in answers] == [
        ("approved", "blue"),
        ("approved", "big"),
    ]
    assert result.tool_calls[2].success


@pytest.mark.both_daemons
async def test_a_policy_of_one_turn_does_not_outlive_it(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    for _ in range(5):
        asks(model)
    denied = await client.send(session, "1", approvals=DenyAll(), timeout=10)
    plain = await client.send(session, "2", timeout=10)
    assert [one.resolution for one in (*denied.approvals, *plain.approvals)] == ["denied", "approved"]
    async with await client.send_live(session, "3", 10, approvals=DenyAll("live")) as stream:
        assert stream.turn_result().approvals[0].message == "live"
        assert (await client.send(session, "4", timeout=10)).approvals[0].approved
        accepted = await client.post_message_raw(session, "5")
        result = await stream.wait_for_turn(accepted, timeout=10)
        assert [one.resolution for one in result.approvals] == ["approved"]


@pytest.mark.both_daemons
async def test_turns_that_queue_have_each_its_own_policy(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    for _ in range(4):
        asks(model)
    policies: list[ApprovalPolicy | None] = [DenyAll("one"), None, DenyAll("three"), ApproveAll()]
    turns = [await client.start_turn(session, "go", approvals=policy) for policy in policies]
    results = [await turn.result(timeout=10) for turn in turns]
    assert [one.message for result in results for one in result.approvals] == ["one", "", "three", ""]
    assert [one.approved for result in results for one in result.approvals] == [False, True, False, True]


@pytest.mark.both_daemons
async def test_a_policy_of_the_client_holds_until_it_is_changed(place: Place, model: FakeModel) -> None:
    for _ in range(5):
        asks(model)
    async with place.async_client(approvals=DenyAll("first")) as client:
        assert not client.auto_approve
        session = await client.new_session(place.app_id)
        for _ in range(2):
            assert (await client.send(session, "go", timeout=10)).approvals[0].message == "first"
        client.approvals = DenyAll("second")
        assert (await client.send(session, "go", timeout=10)).approvals[0].message == "second"
        client.auto_approve = True
        assert isinstance(client.approvals, ApproveAll)
        assert (await client.send(session, "go", timeout=10)).approvals[0].approved
        client.auto_approve = False
        assert isinstance(client.approvals, LeaveOpen)
        turn = await client.start_turn(session, "go")
        await turn.wait_for(ApprovalRequest, timeout=10)
        (pending,) = await client.list_pending_approvals(place.app_id)
        await client.resolve_approval(place.app_id, pending.request_id, approved=False, message="by hand")
        assert (await turn.result(timeout=10)).approvals[0].message == "by hand"


@pytest.mark.both_daemons
async def test_a_request_that_is_left_open_is_the_tests_own(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    asks(model)
    turn = await client.start_turn(session, "go", auto_approve=False)
    await turn.wait_for(ApprovalRequest, timeout=10)
    with pytest.raises(
        EventTimeout, match=r"waits for approval of Bash .*: answer it, or pass approvals="
    ) as caught:
        await turn.result(timeout=0.1)
    assert caught.value.result is not None
    assert [one.resolution for one in caught.value.result.approvals] == ["open"]
    (pending,) = caught.value.pending_approvals
    await client.resolve_approval(session.app_id, pending.request_id, message="fine")
    (approval,) = (await turn.result(timeout=10)).approvals
    assert (approval.resolution, approval.message) == ("approved", "fine")


@pytest.mark.both_daemons
async def test_a_policy_is_asked_once_though_several_streams_hear_the_request(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    asks(model)
    asks(model)
    heard: list[str] = []

    def decide(one: PendingApproval) -> bool:
        heard.append(one.request_id)
        return True

    await client.send(session, "1", timeout=10)
    async with await client.open_event_stream(session) as one, await client.open_event_stream(session) as two:
        result = await client.send(session, "2", approvals=decide, timeout=10)
        for stream in (one, two):
            await stream.wait_for(
                MessageDone, where=lambda event: event.correlation_id == result.correlation_id, timeout=10
            )
    assert heard == [result.approvals[0].request.request_id]


@pytest.mark.both_daemons
async def test_what_was_decided_before_a_stream_began_is_not_asked_again(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    asks(model)
    asks(model)
    await client.send(session, "1", timeout=10)
    heard: list[str] = []

    def decide(one: PendingApproval) -> bool:
        heard.append(one.request_id)
        return True

    async with await client.open_event_stream(session, approvals=decide) as stream:
        accepted = await client.post_message_raw(session, "2")
        result = await stream.wait_for_turn(accepted, timeout=10)
    assert heard == [result.approvals[0].request.request_id]


@pytest.mark.both_daemons
async def test_a_request_that_was_open_before_the_stream_is_decided(
    place: Place, model: FakeModel, session: SessionHandle
) -> None:
    asks(model)
    async with place.async_client(auto_approve=False) as client:
        turn = await client.start_turn(session, "go")
        await turn.wait_for(ApprovalRequest, timeout=10)
        async with await client.open_event_stream(session, approvals=DenyAll("late")):
            # Its own client's turn is left open by that client's policy; another client's is not.
            with pytest.raises(EventTimeout):
                await turn.result(timeout=0.2)
        async with place.async_client() as other:
            async with await other.open_event_stream(session, approvals=DenyAll("late")):
                assert (await turn.result(timeout=10)).approvals[0].message == "late"


@pytest.mark.both_daemons
async def test_a_policy_that_raises_ends_the_wait_for_its_turn(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    asks(model)

    def fail(one: PendingApproval) -> bool:
        raise ValueError(f"what is {one.tool_name}?")

    turn = await client.start_turn(session, "go", approvals=fail)
    for _ in range(2):
        with pytest.raises(
            CallbackFailed, match=r"policy .*fail raised ValueError: what is shell\.bash\?"
        ) as caught:
            await turn.result(timeout=10)
        assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(CallbackFailed):
        [event async for event in turn]
    await turn.abort()


@pytest.mark.both_daemons
async def test_a_policy_that_raises_where_no_turn_is_read_is_told_by_the_stream(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    asks(model)
    asked = AsyncSignal()

    def fail(one: PendingApproval) -> bool:
        asked.set()
        raise ValueError("no")

    await client.post_message_raw(session, "go")
    await client.wait_for_session(session)
    stream = await client.open_event_stream(session, approvals=fail)
    assert await asked.wait(10)
    with pytest.raises(CallbackFailed, match="ValueError: no"):
        await stream.stop()


@pytest.mark.both_daemons
async def test_one_says_it_in_one_way(client: AsyncDevClient, session: SessionHandle) -> None:
    with pytest.raises(ValueError, match="not both"):
        await client.start_turn(session, "go", approvals=DenyAll(), auto_approve=True)


@pytest.mark.both_daemons
async def test_what_a_turn_asked_before_it_was_taken_up_is_decided(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_respond_with_text("first")
    asks(model)
    await client.send(session, "1", timeout=10)
    accepted = await client.post_message_raw(session, "2")
    async with await client.open_event_stream(session, auto_approve=False) as stream:
        await stream.wait_for(ApprovalRequest, timeout=10)
    turn = await client.turn(session, accepted)
    assert (await turn.result(timeout=10)).approvals[0].approved


WRONG: Any = 3
NONSENSE: list[ApprovalPolicy] = [
    lambda one: Decision(WRONG),
    lambda one: Decision(True, WRONG),
    lambda one: cast("bool", WRONG),
    AnswerWith("blue", otherwise=lambda one: cast("bool", WRONG)),
]


@pytest.mark.both_daemons
@pytest.mark.parametrize("policy", NONSENSE)
async def test_a_policy_that_decides_nonsense_ends_the_wait(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle, policy: ApprovalPolicy
) -> None:
    asks(model)
    turn = await client.start_turn(session, "go", approvals=policy)
    with pytest.raises(CallbackFailed, match="TypeError"):
        await turn.result(timeout=10)
    await turn.abort()


@pytest.mark.both_daemons
async def test_a_predicate_may_give_what_is_true_or_not(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    asks(model)
    asks(model, command="rm")
    # As users write it: a match is no bool, but true.
    policy = ApproveWhen(lambda one: cast("bool", re.search("ls", one.tool_params["command"])))
    results = [await client.send(session, text, approvals=policy, timeout=10) for text in "12"]
    assert [one.approvals[0].resolution for one in results] == ["approved", "denied"]


@pytest.mark.both_daemons
@pytest.mark.parametrize("policy", [ApproveAll, True, "all"])
async def test_what_is_no_policy_is_refused_at_once(
    client: AsyncDevClient, session: SessionHandle, policy: object
) -> None:
    with pytest.raises(TypeError, match=r"takes a policy such as ApproveAll\(\)"):
        await client.start_turn(session, "go", approvals=policy)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - that is the point


async def test_a_recording_policy_that_is_asked_too_often_fails_the_turn(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    for tool in ("Read", "Bash"):
        model.will_call_tool(tool, {}, result={}, requires_approval=True)
    approvals = RecordingApprovals().will_decide(Decision(True, "once"))
    with pytest.raises(CallbackFailed, match=r"approval 2 was not expected: shell\.bash") as caught:
        await client.send(session, "go", approvals=approvals, timeout=10)
    assert isinstance(caught.value.__cause__, UnexpectedApproval)
    assert [one.tool_name for one in approvals.requests] == ["filesystem.read", "shell.bash"]
    assert approvals.decisions == [Decision(True, "once"), None]
