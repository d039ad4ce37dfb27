"""What each policy decides, and which of several counts."""

import asyncio
from collections.abc import Awaitable, Callable, Sized

import pytest

from digitorn_testing import (
    AnswerWith,
    ApprovalPolicy,
    ApproveAll,
    ApproveWhen,
    Decision,
    DenyAll,
    LeaveOpen,
    is_for_tool,
)
from digitorn_testing._approvals.policies import ClientApprovals, ask
from digitorn_testing.models import PendingApproval
from support.frames import approval


def request(tool_name: str = "Bash", **more: object) -> PendingApproval:
    return PendingApproval.from_wire({**approval("r-1", tool_name), **more})


def question(text: str = "Which colour?") -> PendingApproval:
    return request("ask_user", description=text, tool_params={"question": text, "choices": []})


@pytest.mark.parametrize("name", ["shell.bash", "Bash", "bash"])
@pytest.mark.parametrize("asked", ["shell.bash", "Bash"])
def test_a_request_is_for_a_tool_under_any_of_its_names(asked: str, name: str) -> None:
    assert is_for_tool(request(asked), name)
    assert not is_for_tool(request(asked), "Read")


def test_tools_of_two_modules_are_two_tools() -> None:
    assert not is_for_tool(request("shell.bash"), "container.bash")
    assert is_for_tool(question(), "AskUser")


YES, NO = Decision(True), Decision(False)


Case = tuple[ApprovalPolicy, Decision | None, Decision | None]

CASES: list[Case] = [
    (ApproveAll(), YES, None),
    (LeaveOpen(), None, None),
    (DenyAll(), NO, NO),
    (DenyAll(reason="no"), Decision(False, "no"), Decision(False, "no")),
    (ApproveWhen(lambda one: one.tool_name == "Bash"), YES, None),
    (ApproveWhen(lambda one: one.tool_name == "Read", "only Read"), Decision(False, "only Read"), None),
    (AnswerWith("blue"), YES, Decision(True, "blue")),
    (AnswerWith({"size": "big", "colour": "red"}), YES, Decision(True, "red")),
    (AnswerWith({"size": "big"}, otherwise=DenyAll()), NO, None),
    (AnswerWith(lambda one: one.description.upper()), YES, Decision(True, "WHICH COLOUR?")),
    (lambda one: True, YES, YES),
    (lambda one: False, NO, NO),
    (lambda one: None, None, None),
]


@pytest.mark.parametrize(("policy", "of_tool", "of_question"), CASES)
@pytest.mark.parametrize("on_thread", [False, True])
async def test_what_a_policy_decides(
    policy: ApprovalPolicy, of_tool: Decision | None, of_question: Decision | None, on_thread: bool
) -> None:
    assert await ask(policy, request(), on_thread=on_thread) == of_tool
    assert await ask(policy, question(), on_thread=on_thread) == of_question


async def test_a_policy_may_be_a_coroutine_function() -> None:
    async def decide(one: PendingApproval) -> Decision:
        await asyncio.sleep(0)
        return Decision(True, one.tool_name)

    for on_thread in (False, True):
        assert await ask(decide, request(), on_thread=on_thread) == Decision(True, "Bash")


async def test_a_policy_that_gives_something_else_is_told_so() -> None:
    wrong: Callable[[PendingApproval], object] = lambda one: "yes"  # noqa: E731 - a policy in a line
    with pytest.raises(TypeError, match=r"gives a Decision, a bool or None; .* gave str"):
        await ask(wrong, request(), on_thread=False)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - that is the point


async def chosen(found: Awaitable[ApprovalPolicy | None]) -> ApprovalPolicy | None:
    return await asyncio.wait_for(found, 5)


async def test_the_policy_of_a_turn_counts_for_that_turn_and_as_long_as_it_lasts() -> None:
    client = ClientApprovals(ApproveAll())
    stream, shared = client.of_stream(LeaveOpen()), client.of_stream(turns_only=True)
    client.begin("mine", DenyAll())
    client.begin("plain", None)
    for one in (stream, shared):
        assert await chosen(one.policy("s", "mine")) == DenyAll()
        assert await chosen(one.policy("s", "plain")) == ApproveAll()
    assert await chosen(stream.policy("s", "somebody's")) == LeaveOpen()
    assert await chosen(shared.policy("s", "somebody's")) is None
    assert await chosen(stream.policy("s", None)) == LeaveOpen()
    client.default = DenyAll("changed")
    assert await chosen(shared.policy("s", "plain")) == DenyAll("changed")
    client.end("mine")
    assert await chosen(shared.policy("s", "mine")) is None


async def test_while_a_message_is_posted_its_turn_has_no_name_and_decisions_wait() -> None:
    client = ClientApprovals(ApproveAll())
    with client.posting("s"):
        waiting = asyncio.ensure_future(client.of_stream(turns_only=True).policy("s", "new"))
        elsewhere = client.of_stream(LeaveOpen()).policy("other", None)
        assert await chosen(elsewhere) == LeaveOpen()
        assert not waiting.done()
        client.begin("new", DenyAll())
    assert await chosen(waiting) == DenyAll()


async def test_a_message_that_could_not_be_posted_holds_up_nothing() -> None:
    client = ClientApprovals(ApproveAll())

    def post() -> None:
        with client.posting("s"):
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        post()
    assert await chosen(client.of_stream().policy("s", None)) == ApproveAll()


def test_a_policy_that_takes_the_place_of_one_that_is_gone_is_asked() -> None:
    client = ClientApprovals(ApproveAll())

    def of_a_turn(number: int) -> ApprovalPolicy:
        return DenyAll(reason=str(number))

    # Nobody else keeps these policies, so that the interpreter may use the memory of one for the next.
    assert all(client.ask_once("r", of_a_turn(number)) for number in range(100))


def test_requests_and_turns_of_long_ago_are_forgotten() -> None:
    client, policy = ClientApprovals(ApproveAll()), DenyAll()
    for number in range(5000):
        client.ask_once(str(number), policy)
        client.claim(str(number))
        client.begin(str(number), policy)
        with client.posting(str(number)):
            pass
    assert not client.ask_once("4999", policy)
    assert not client.claim("4999")
    assert client.of_turn("4999") == (True, policy)
    sizes = [len(kept) for kept in vars(client).values() if isinstance(kept, Sized)]
    assert sizes == [4096, 0, 4096, 4096]


def test_equal_policies_are_asked_one_by_one() -> None:
    client = ClientApprovals(ApproveAll())
    one, other = DenyAll(), DenyAll()
    assert one == other
    assert client.ask_once("r", one)
    assert client.ask_once("r", other)
    assert not client.ask_once("r", one)
    assert client.ask_once("another", one)


def test_a_request_is_resolved_once_and_a_policy_asked_once() -> None:
    client = ClientApprovals(ApproveAll())
    assert [client.claim("r"), client.claim("r")] == [True, False]
    client.unclaim("r")
    assert client.claim("r")
    one, two = DenyAll(), LeaveOpen()
    assert [client.ask_once("r", one), client.ask_once("r", one), client.ask_once("r", two)] == [
        True,
        False,
        True,
    ]
