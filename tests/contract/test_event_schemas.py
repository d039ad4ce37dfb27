"""Every event that the embedded daemon emits keeps to its JSON Schema, not only to the class made from it."""

import copy
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from contract.document import SCHEMA
from contract.event_schemas import schema_faults
from digitorn_testing._events.failures import FAILURES
from digitorn_testing._generated.events import CREDENTIAL_FAILURES
from digitorn_testing.fakes import FailureCode, FakeModel, Usage
from support.recorder import APP, Frame, Talk, recording, talking
from support.texts import ANSWER, PIECES

Scenario = Callable[[], Awaitable[list[Frame]]]


async def frames_of(model: FakeModel, *messages: str, **options: Any) -> list[Frame]:
    """What a session's socket is sent while some messages run, one after another."""
    async with talking(model, **options) as talk:
        for message in messages:
            await talk.run(message)
        return talk.recorder.frames


async def decided(
    model: FakeModel, decide: Callable[[Talk, str], Awaitable[object]], **options: Any
) -> list[Frame]:
    """What it is sent while a turn asks, and somebody decides."""
    async with talking(model.will_respond_with_text("done"), **options) as talk:
        accepted = await talk.send("go")
        asked = await talk.recorder.wait_for("approval_request")
        await decide(talk, asked["payload"]["request_id"])
        await talk.end(accepted["correlation_id"])
        return talk.recorder.frames


async def text() -> list[Frame]:
    return await frames_of(FakeModel().will_respond_with_text(ANSWER, usage=Usage(7, 3)), "hi")


async def streamed() -> list[Frame]:
    return await frames_of(FakeModel().will_stream_text(PIECES), "hi")


async def thinking() -> list[Frame]:
    return await frames_of(FakeModel().will_stream_text(["a"], thinking="x" * 80), "hi")


async def tool() -> list[Frame]:
    model = FakeModel().will_call_tool(
        "Bash", {"command": "ls"}, result={"stdout": "a"}, text="I look at it."
    )
    model.will_call_tool("Bash", error="no such file").will_respond_with_text("done")
    return await frames_of(model, "list")


async def long_turn() -> list[Frame]:
    model = FakeModel().will_wait(0.1).will_respond_with_text("a")
    return await frames_of(model, "hi", turn_heartbeat=0.02)


async def approved() -> list[Frame]:
    model = FakeModel().will_call_tool("Bash", {"command": "rm"}, result="gone", requires_approval=True)
    return await decided(model, lambda talk, one: talk.resolve(one, approved=True))


async def denied() -> list[Frame]:
    model = FakeModel().will_call_tool("Bash", requires_approval=True)
    return await decided(model, lambda talk, _: talk.deny("no"))


async def timed_out() -> list[Frame]:
    model = FakeModel().will_call_tool("Bash", requires_approval=True).will_respond_with_text("ok")
    return await frames_of(model, "go", approval_timeout=0.1, approval_heartbeat=0.03)


async def question() -> list[Frame]:
    model = FakeModel().will_ask_user("Which one?", choices=["a", "b"])
    return await decided(model, lambda talk, one: talk.resolve(one, approved=True, response="b"))


async def queued() -> list[Frame]:
    """A message that is replaced, one that is cancelled, one that finds no room, an emptied queue."""

    async def crowd(talk: Talk, request_id: str) -> None:
        await talk.send("started ahead")
        await talk.send("old", client_message_id="m-1")
        await talk.send("new", queue_mode="replace_last")
        gone = await talk.send("gone")
        entries = (await talk.client.get(f"{talk.path}/queue")).json()["data"]["entries"]
        (entry,) = (one["id"] for one in entries if one["correlation_id"] == gone["correlation_id"])
        await talk.client.delete(f"{talk.path}/queue/{entry}")
        await talk.send("fits")
        assert (await talk.post("too much")).status_code == 429
        await talk.recorder.wait_for("queue_full")
        await talk.client.post(f"{talk.path}/queue/clear")
        last = await talk.send("last")
        await talk.resolve(request_id, approved=True)
        await talk.end(last["correlation_id"])

    model = FakeModel().will_call_tool("Bash", requires_approval=True).will_respond_with_text("first")
    model.will_respond_with_text("second")
    return await decided(model, crowd, queue_depth=3)


async def aborted() -> list[Frame]:
    async with talking(FakeModel().will_stream_text(PIECES, delay=30.0)) as talk:
        accepted = await talk.send("go")
        await talk.recorder.wait_for("token")
        await talk.client.post(f"{talk.path}/abort")
        await talk.end(accepted["correlation_id"])
        await talk.recorder.wait_for("abort")
        return talk.recorder.frames


async def over_the_socket() -> list[Frame]:
    async with talking(FakeModel().will_respond_with_text("a")) as talk:
        request = {"app_id": APP, "session_id": talk.session_id, "message": "hi"}
        await talk.end((await talk.recorder.call("send_message", request))["correlation_id"])
        return talk.recorder.frames


async def read_back() -> list[Frame]:
    """Copies: of a join in the middle of a turn, of an app's join, of a replay."""
    model = FakeModel().will_call_tool("Bash", {"command": "ls"}, result="a").will_respond_with_text("done")
    model.will_call_tool("Bash", requires_approval=True)
    async with talking(model) as talk:
        await talk.run("one")
        await talk.send("two")
        await talk.recorder.wait_for("approval_request")
        found: list[Frame] = []
        for name, request in (
            ("join_session", {}),
            ("join_app", {"since": 1}),
            ("replay", {"since": 0}),
        ):
            async with recording(talk.daemon) as late:
                await late.wait_for("connected")
                where = {"app_id": APP, "session_id": talk.session_id}
                assert (await late.call(name, {**where, **request}))["ok"]
                assert len(late.frames) > 1
                found += late.frames
        return found


def failing(code: FailureCode) -> Scenario:
    async def failed() -> list[Frame]:
        async with talking(FakeModel().will_fail(code, "it broke")) as talk:
            await talk.send("hi")
            # A turn that lacks a credential pauses there.
            await talk.recorder.wait_for(code if code in CREDENTIAL_FAILURES else "turn_terminal")
            return talk.recorder.frames

    return failed


# What each scenario must at least have seen, so that none of them passes by seeing nothing.
SCENARIOS: dict[str, tuple[Scenario, set[str]]] = {
    "text": (text, {"token", "in_token", "out_token", "result", "message_done"}),
    "streamed": (streamed, {"token", "stream_done"}),
    "thinking": (thinking, {"thinking_started", "thinking_delta", "thinking"}),
    "tool": (tool, {"tool_call_streaming", "tool_start", "tool_call"}),
    "long turn": (long_turn, {"turn:heartbeat"}),
    "approved": (approved, {"approval_request", "approval_resolved"}),
    "denied": (denied, {"approval_request", "approval_resolved"}),
    "timed out": (timed_out, {"approval_progress", "approval_resolved"}),
    "question": (question, {"approval_request", "approval_resolved"}),
    "queued": (
        queued,
        {"message_queued", "message_replaced", "message_cancelled", "queue_full", "queue_cleared"},
    ),
    "aborted": (aborted, {"abort", "message_cancelled"}),
    "over the socket": (over_the_socket, {"message_started", "message_done"}),
    "read back": (
        read_back,
        {
            "connected",
            "queue:snapshot",
            "active_ops:snapshot",
            "session:snapshot",
            "approvals:snapshot",
            "tool_call",
        },
    ),
    **{
        f"fails with {code}": (
            failing(code),
            {code if code in CREDENTIAL_FAILURES else "error"},
        )
        for code in FAILURES
    },
}


@pytest.mark.parametrize("name", SCENARIOS)
async def test_what_is_emitted_keeps_to_its_schema(name: str) -> None:
    scenario, expected = SCENARIOS[name]
    frames = await scenario()
    assert expected <= {one["type"] for one in frames}
    assert [(one, faults) for one in frames if (faults := schema_faults(one))] == []


# --- that this can fail


async def good() -> dict[str, Frame]:
    return {one["type"]: one for one in await tool()}


@pytest.mark.parametrize(
    ("wire", "path", "value", "told"),
    [
        ("token", ("payload", "delta"), 1, "token.delta: 1 is not of type 'string'"),
        ("tool_call", ("payload", "success"), "yes", "tool_call.success: 'yes' is not of type 'boolean'"),
        ("tool_start", ("op_state",), "nonsense", "envelope.op_state: 'nonsense' is not valid"),
        ("tool_call", ("seq",), "7", "envelope.seq: '7' is not of type 'integer'"),
        ("result", ("payload", "context", "max_tokens"), "many", "result.context.max_tokens: 'many' is not"),
        ("result", ("type",), "no_such_type", "no_such_type: not in the contract"),
    ],
)
async def test_a_broken_frame_is_found(wire: str, path: tuple[str, ...], value: object, told: str) -> None:
    frame = copy.deepcopy((await good())[wire])
    assert schema_faults(frame) == []
    place: Any = frame
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert any(one.startswith(told) for one in schema_faults(frame)), schema_faults(frame)


@pytest.mark.parametrize("member", ["type", "payload"])
async def test_a_missing_member_is_found(member: str) -> None:
    frame = {key: value for key, value in (await good())["token"].items() if key != member}
    assert any(f"'{member}' is a required property" in one for one in schema_faults(frame))


def test_every_schema_of_an_event_names_its_draft() -> None:
    for one in sorted((SCHEMA / "events").glob("*.json")):
        document = json.loads(one.read_text(encoding="utf-8"))
        assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema", one.name
