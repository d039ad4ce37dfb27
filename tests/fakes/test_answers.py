"""What a scripted answer becomes in a turn: several calls, reasoning, usage, failures, no end."""

import asyncio
import json
import threading
from typing import Any

import pytest

from digitorn_testing import AppBuilder
from digitorn_testing.fakes import FakeDaemon, FakeModel, ScriptedToolCall, ScriptMismatch, Usage
from support.recorder import APP, Frame, Talk, another, calls_without_result, talking
from support.texts import ANSWER, PIECES


def named(frames: list[Frame]) -> list[tuple[str, str]]:
    """Starts and ends of calls in order of their numbers: type, and the path that the call reads."""
    found = sorted((one for one in frames if one.get("op_type") == "tool"), key=lambda one: one["seq"])
    return [(one["type"], one["payload"]["params"].get("path", "")) for one in found]


def reads(*paths: str) -> list[ScriptedToolCall]:
    """Calls that read, each slower than the next."""
    return [
        ScriptedToolCall("Read", {"path": path}, f"text of {path}", delay=0.05 * (len(paths) - at))
        for at, path in enumerate(paths)
    ]


# --- several calls in one answer


async def test_calls_that_read_run_in_parallel() -> None:
    model = (
        FakeModel().will_call_tools(reads("a", "b", "c"), text="I read them.").will_respond_with_text(ANSWER)
    )
    async with talking(model) as talk:
        types = await talk.run("go")
        assert types == [
            "user_message",
            "message_started",
            "token",
            "stream_done",
            "tool_call_streaming",
            "tool_start",
            "tool_call",
            "token",
            "stream_done",
            "result",
            "message_done",
            "turn_terminal",
        ]
        recorder = talk.recorder
        assert named(recorder.frames) == [
            *(("tool_start", path) for path in "abc"),
            *(("tool_call", path) for path in "cba"),
        ]
        starts = {one["op_id"]: one["payload"]["params"] for one in recorder.of("tool_start")}
        ends = {one["op_id"]: one["payload"]["params"] for one in recorder.of("tool_call")}
        assert starts == ends
        assert len(starts) == 3
        # One stream of the model, whose arguments are told call by call.
        assert len(recorder.of("stream_done")) == 2
        written = [one["payload"]["call_id"] for one in recorder.of("tool_call_streaming")]
        assert written == [op for op in starts for _ in range(2)]
        result = recorder.of("result")[0]["payload"]
        assert (result["tool_calls_count"], result["turns_used"]) == (3, 2)
        shown = (await talk.get("/history"))["messages"][1]
        written = [json.loads(one["function"]["arguments"])["path"] for one in shown["tool_calls"]]
        assert written == ["a", "b", "c"]
    # Whatever order they ended in, the model is told in the order in which it asked.
    last = model.requests[1].messages
    assert [one.role for one in last] == ["user", "assistant", "tool", "tool", "tool"]
    assert [call.id for call in last[1].tool_calls] == [one.tool_call_id for one in last[2:]]
    assert ["text of a" in last[2].content, "text of c" in last[4].content] == [True, True]


async def test_other_calls_run_one_by_one_between_them() -> None:
    calls = [
        *reads("a", "b"),
        ScriptedToolCall("Write", {"path": "c"}, delay=0.05),
        ScriptedToolCall("Write", {"path": "d"}),
        *reads("e"),
    ]
    async with talking(FakeModel().will_call_tools(calls).will_respond_with_text("ok")) as talk:
        await talk.run("go")
        one_by_one = [(type, path) for path in "cde" for type in ("tool_start", "tool_call")]
        assert named(talk.recorder.frames) == [
            ("tool_start", "a"),
            ("tool_start", "b"),
            ("tool_call", "b"),
            ("tool_call", "a"),
            *one_by_one,
        ]


@pytest.mark.parametrize(("read_only", "parallel"), [(True, True), (False, False), (None, False)])
async def test_the_script_may_say_what_only_reads(read_only: bool | None, parallel: bool) -> None:
    calls = [ScriptedToolCall("look", {"path": path}, "x", read_only=read_only) for path in "ab"]
    async with talking(FakeModel().will_call_tools(calls).will_respond_with_text("ok")) as talk:
        await talk.run("go")
        types = [type for type, _ in named(talk.recorder.frames)]
        together, apart = ["tool_start"] * 2 + ["tool_call"] * 2, ["tool_start", "tool_call"] * 2
        assert types == (together if parallel else apart)


async def test_python_functions_of_one_answer_meet() -> None:
    meeting = threading.Barrier(2, timeout=5)

    def look(path: str) -> str:
        meeting.wait()
        return path

    model = FakeModel().will_respond_with_text("ok")
    model.when(contains="go").will_call_tools(
        [ScriptedToolCall("look", {"path": path}, read_only=True) for path in "ab"]
    )
    with FakeDaemon() as daemon:
        daemon.deploy(AppBuilder(APP).with_tool(look), model=model)
        async with another(daemon) as talk:
            await talk.run("go")
            results = [one["payload"]["result"] for one in talk.recorder.of("tool_call")]
    assert sorted(one["output"] for one in results) == ["a", "b"]


async def test_a_function_does_not_change_an_answer_that_is_given_again() -> None:
    def add(data: dict[str, Any]) -> str:
        data["list"].append(2)
        return str(data)

    model = FakeModel().will_call_tool("add", {"data": {"list": [1]}}, times=2).will_respond_with_text("ok")
    with FakeDaemon() as daemon:
        daemon.deploy(AppBuilder(APP).with_tool(add), model=model)
        async with another(daemon) as talk:
            await talk.run("go")
            results = [one["payload"]["result"]["output"] for one in talk.recorder.of("tool_call")]
    assert results == ["{'list': [1, 2]}"] * 2


async def requests_of(talk: Talk, count: int) -> dict[str, str]:
    """The latest approvals by the path that each is about, once there are so many."""
    await talk.recorder.until(
        lambda frames: len({one["op_id"] for one in frames if one["type"] == "approval_request"}) >= count
    )
    asked = [one["payload"] for one in talk.recorder.of("approval_request")]
    return {one["tool_params"]["path"]: one["request_id"] for one in asked}


def guarded(name: str, *paths: str) -> list[ScriptedToolCall]:
    return [ScriptedToolCall(name, {"path": path}, path, requires_approval=True) for path in paths]


async def test_each_call_has_an_approval_of_its_own() -> None:
    model = FakeModel().will_call_tools(guarded("Read", "a", "b")).will_respond_with_text("ok")
    async with talking(model) as talk:
        accepted = await talk.send("go")
        # Both are asked for at once, and decided the other way round.
        asked = await requests_of(talk, 2)
        await talk.resolve(asked["b"], approved=False, message="not b")
        asked = await requests_of(talk, 3)
        await talk.resolve(asked["b"], approved=False, message="not b")
        await talk.recorder.wait_for("tool_call")
        await talk.resolve(asked["a"], approved=True)
        await talk.end(accepted["correlation_id"])
        ended = {one["payload"]["params"]["path"]: one for one in talk.recorder.of("tool_call")}
        assert (ended["a"]["op_state"], ended["b"]["op_state"]) == ("completed", "failed")
        assert "not b" in ended["b"]["payload"]["error"]
    told = model.requests[1].messages[-2:]
    assert [("not b" in one.content) for one in told] == [False, True]


async def test_calls_that_change_something_are_approved_one_after_another() -> None:
    model = FakeModel().will_call_tools(guarded("Write", "a", "b")).will_respond_with_text("ok")
    async with talking(model) as talk:
        accepted = await talk.send("go")
        asked = await requests_of(talk, 1)
        assert set(asked) == {"a"}
        await talk.resolve(asked["a"], approved=True)
        asked = await requests_of(talk, 2)
        assert [path for type, path in named(talk.recorder.frames) if type == "tool_call"] == ["a"]
        await talk.resolve(asked["b"], approved=True)
        await talk.end(accepted["correlation_id"])


async def test_an_abort_cuts_off_every_call_and_keeps_what_has_ended() -> None:
    calls = [
        ScriptedToolCall("Read", {"path": "a"}, "text of a"),
        ScriptedToolCall("Read", {"path": "b"}, delay=30.0),
        *guarded("Read", "c"),
    ]
    model = FakeModel().will_call_tools(calls).will_respond_with_text("later")
    async with talking(model) as talk:
        accepted = await talk.send("go")
        await talk.recorder.wait_for("tool_call")
        await requests_of(talk, 1)
        await talk.act("/abort")
        await talk.end(accepted["correlation_id"])
        assert talk.recorder.turn(accepted["correlation_id"])[-2:] == ["message_cancelled", "turn_terminal"]
        assert len(talk.recorder.of("tool_call")) == 1
        assert talk.recorder.of("approval_resolved") == []
        await talk.run("and now?")
    last = model.requests[1]
    assert calls_without_result(last) == []
    results = {one.tool_call_id: one.content for one in last.messages if one.role == "tool"}
    told = [results[call.id] for call in last.messages[1].tool_calls]
    assert told == ['{"output": "text of a"}', "The call was cut off.", "The call was cut off."]


# --- reasoning and usage


LONG = "First I look.\nThen I think.\nThen I answer."


async def test_texts_may_stand_between_and_behind_calls() -> None:
    first, second = ScriptedToolCall("Bash", result="a"), ScriptedToolCall("Bash", result="b")
    model = FakeModel().will_answer(["Let me look twice.", first, "And once more.", second, "One moment."])
    model.will_respond_with_text(ANSWER)
    async with talking(model) as talk:
        types = await talk.run("go")
        wanted = ("token", "stream_done", "tool_call_streaming", "tool_call")
        said = [one for one in types if one in wanted]
        assert said[:3] == ["token", "stream_done", "tool_call_streaming"]
        assert said.count("tool_call") == 2
        deltas = "".join(one["payload"]["delta"] for one in talk.recorder.of("token")[:3])
        assert deltas.startswith("Let me look twice.")
        assert said.index("token", 3) > said.index("tool_call_streaming")
    asked = model.requests[1]
    spoken = asked.messages[1]
    assert spoken.content == "Let me look twice.And once more.One moment."
    assert [one.name for one in spoken.tool_calls] == ["Bash", "Bash"]


async def test_reasoning_comes_before_calls_and_before_text() -> None:
    model = FakeModel().will_call_tool("Bash", text="I look at it.", thinking=LONG)
    model.will_respond_with_text(ANSWER, thinking=LONG)
    async with talking(model) as talk:
        block = ["thinking_started", "thinking_delta", "thinking"]
        assert await talk.run("go") == [
            "user_message",
            "message_started",
            *block,
            "token",
            "stream_done",
            "tool_call_streaming",
            "tool_start",
            "tool_call",
            *block,
            "token",
            "stream_done",
            "result",
            "message_done",
            "turn_terminal",
        ]


async def test_each_answer_of_a_turn_has_its_own_usage() -> None:
    model = FakeModel().will_call_tool("Bash", usage=Usage(10, 1))
    model.will_call_tools(reads("a", "b"), usage=Usage(20, 2)).will_stream_text(["a"], usage=Usage(30, 3))
    async with talking(model) as talk:
        await talk.run("go")
        assert [one["payload"]["count"] for one in talk.recorder.of("in_token")] == [10, 20, 30]
        assert [one["payload"]["count"] for one in talk.recorder.of("out_token")] == [1, 2, 3]
        usage = talk.recorder.of("result")[0]["payload"]["usage"]
        assert (usage["input_tokens"], usage["output_tokens"]) == (60, 6)


# --- rules


async def test_a_rule_answers_what_a_tool_returned() -> None:
    model = FakeModel()
    model.when(contains="weather").will_call_tool("WebSearch", {"query": "weather"}, result={"sky": "rain"})
    model.when(tool_result_of="WebSearch", contains="rain").will_respond_with_text("Take an umbrella.")
    model.when(tool_result_of="WebSearch").will_respond_with_text("Enjoy the sun.")
    model.will_respond_with_text("Hello.", times=None)
    async with talking(model) as talk:
        for message in ("weather?", "hi", "weather!"):
            await talk.run(message)
        said = [one["payload"]["content"] for one in talk.recorder.of("result")]
        assert said == ["Take an umbrella.", "Hello.", "Take an umbrella."]
    model.assert_exhausted()


# --- failures


async def test_a_failure_may_come_in_the_middle_of_an_answer() -> None:
    model = FakeModel().will_fail("network_error", "reset by peer", after=PIECES)
    async with talking(model.will_respond_with_text("again")) as talk:
        types = await talk.run("go")
        assert types == [
            "user_message",
            "message_started",
            "token",
            "error",
            "result",
            "message_cancelled",
            "turn_terminal",
        ]
        assert talk.recorder.of("error")[0]["payload"]["code"] == "network_error"
        await talk.run("go on")
    # Neither what was cut off nor its message is part of the conversation.
    assert [one.content for one in model.requests[1].messages] == ["go on"]


async def test_an_unscripted_request_fails_the_turn_and_the_test() -> None:
    async def ask() -> None:
        with FakeModel() as model:
            async with talking(model) as talk:
                await talk.run("what now?")
                error = talk.recorder.of("error")[0]["payload"]
                assert error["code"] == "internal_error"
                assert f"by session '{talk.session_id}' of app '{APP}'" in error["detail"]

    with pytest.raises(ScriptMismatch, match="user: 'what now\\?'") as caught:
        await ask()
    assert [one.last_text for one in caught.value.unscripted] == ["what now?"]


# --- answers without an end


async def test_an_endless_stream_goes_on_until_the_abort() -> None:
    model = FakeModel().will_stream_forever(PIECES).will_respond_with_text("after")
    async with talking(model) as talk:
        accepted = await talk.send("go")
        await talk.recorder.wait_for("token", 5)
        await talk.act("/abort")
        await talk.end(accepted["correlation_id"])
        assert talk.recorder.turn(accepted["correlation_id"])[-2:] == ["message_cancelled", "turn_terminal"]
        deltas = [one["payload"]["delta"] for one in talk.recorder.of("token")]
        assert deltas[:3] == [*PIECES, PIECES[0]]
        assert (await talk.run("next"))[-3:] == ["result", "message_done", "turn_terminal"]


async def test_silence_lasts_until_the_abort() -> None:
    model = FakeModel().will_never_answer().will_respond_with_text("after")
    async with talking(model, turn_heartbeat=0.02) as talk:
        accepted = await talk.send("go")
        await talk.recorder.wait_for("turn:heartbeat", 3)
        await talk.act("/abort")
        await talk.end(accepted["correlation_id"])
        assert talk.recorder.turn(accepted["correlation_id"]) == [
            "user_message",
            "message_started",
            "message_cancelled",
            "turn_terminal",
        ]


@pytest.mark.parametrize("endless", [True, False])
async def test_the_daemon_stops_whatever_its_model_does(endless: bool) -> None:
    model = FakeModel()
    model = model.will_stream_forever() if endless else model.will_never_answer()
    with FakeDaemon(turn_heartbeat=0.02) as daemon:
        daemon.add_app(APP, model=model)
        async with another(daemon) as talk:
            await talk.send("go")
            await talk.recorder.wait_for("token" if endless else "turn:heartbeat", 2)
            async with asyncio.timeout(5):
                await asyncio.to_thread(daemon.stop)
                await talk.recorder.lost.wait()


async def test_pieces_at_a_pace_of_their_own_are_streamed_one_by_one() -> None:
    pieces = ["a ", "b ", "c"]
    async with talking(FakeModel().will_stream_text(pieces, delay=0.01)) as talk:
        accepted = await talk.send("go")
        await talk.end(accepted["correlation_id"])
        assert [one["payload"]["delta"] for one in talk.recorder.of("token")] == pieces
