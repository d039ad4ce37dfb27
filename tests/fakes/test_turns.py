"""The order of events in a turn (contract: events, sections 6.1 to 6.7)."""

import asyncio
import json
from typing import Any

import pytest

from digitorn_testing._events.failures import FAILURES
from digitorn_testing.fakes import FailureCode, FakeDaemon, FakeModel, ModelRequest, Usage
from digitorn_testing.fakes._model.script import Scripted
from support.recorder import APP, Talk, another, talking
from support.texts import ANSWER, PIECES

FAILED = ["error", "result", "message_cancelled", "turn_terminal"]
TEXT = ["user_message", "message_started", "token", "stream_done", "result", "message_done", "turn_terminal"]


# --- 6.1 text


async def test_text_turn_over_http() -> None:
    async with talking(FakeModel().will_stream_text(PIECES)) as talk:
        accepted = await talk.send("hi")
        assert await talk.end(accepted["correlation_id"]) == "completed"
        recorder = talk.recorder
        assert recorder.turn(accepted["correlation_id"]) == TEXT
        user, started = recorder.of("user_message")[0], recorder.of("message_started")[0]
        assert (user["op_type"], user["op_state"], user["payload"]["pending"]) == ("turn", "running", False)
        assert user["payload"]["client_message_id"] == ""
        assert user["seq"] == accepted["seq"]
        assert (started["payload"]["fast_path"], started["payload"]["source"]) == (True, "fast")
        assert started["payload"]["position"] == 0
        assert [one["payload"]["delta"] for one in recorder.of("token")] == list(PIECES)
        result, done = recorder.of("result")[0], recorder.of("message_done")[0]
        assert result["payload"]["content"] == "".join(PIECES)
        assert result["payload"]["error"] is None
        assert result["payload"]["tool_calls_count"] == 0
        assert result["payload"]["turns_used"] == 1
        assert result["payload"]["context"]["max_tokens"] > 0
        assert result["payload"]["model"]
        assert done["payload"] == {
            "correlation_id": accepted["correlation_id"],
            "session_id": talk.session_id,
        }
        terminal = recorder.of("turn_terminal")[0]
        assert {one["op_id"] for one in (user, started, result, done, terminal)} == {user["correlation_id"]}
        assert user["correlation_id"].startswith("fp-")
        assert user["ts"].endswith("Z")


@pytest.mark.parametrize(
    ("answer", "streamed"),
    [
        (["ten chars."], ["ten chars."]),
        # Nothing of an answer of fewer than ten characters is streamed.
        (["nine char"], []),
        (["nine", "\n"], ["nine\n"]),
        # Pieces are joined until there are so many.
        (["Let ", "me ", "look ", "at ", "it."], ["Let me look ", "at ", "it."]),
        # The end may be that of a marker that begins there.
        (["It is done with bash"], ["It is done with bas"]),
        (["It has some length", " or more."], ["It has some lengt", "h or more."]),
        # Nothing comes behind a call that is written as text.
        (["I call it: <tool_call>", "{}", "</tool_call> and so on."], ["I call it: "]),
    ],
)
async def test_what_is_streamed_of_an_answer(answer: list[str], streamed: list[str]) -> None:
    async with talking(FakeModel().will_stream_text(answer)) as talk:
        await talk.run("hi")
        assert [one["payload"]["delta"] for one in talk.recorder.of("token")] == streamed
        assert talk.recorder.of("result")[0]["payload"]["content"] == "".join(answer)


async def test_numbers_rise_and_envelopes_name_the_owner() -> None:
    async with talking(FakeModel().will_respond_with_text("a")) as talk:
        await talk.run("hi")
        frames = [one for one in talk.recorder.frames if one.get("correlation_id")]
        seqs = [one["seq"] for one in frames]
        assert seqs == sorted(set(seqs))
        assert {one["session_id"] for one in frames} == {talk.session_id}
        assert {one["app_id"] for one in frames} == {APP}
        assert len({one["event_id"] for one in frames}) == len(frames)


async def test_usage_is_counted_in_increments() -> None:
    model = FakeModel().will_respond_with_text("a", usage=Usage(7, 3)).will_respond_with_text("b")
    async with talking(model) as talk:
        await talk.run("hi")
        assert [one["payload"]["count"] for one in talk.recorder.of("in_token")] == [7]
        assert [one["payload"]["count"] for one in talk.recorder.of("out_token")] == [3]
        usage = talk.recorder.of("result")[0]["payload"]["usage"]
        assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (7, 3, 10)
        await talk.run("again")
        assert talk.recorder.of("result")[1]["payload"]["turn_number"] == 2


async def test_a_message_over_the_socket_is_told_of_as_one_that_waits() -> None:
    async with talking(FakeModel().will_respond_with_text(ANSWER)) as talk:
        request = {"app_id": APP, "session_id": talk.session_id, "message": "hi"}
        ack = await talk.recorder.call("send_message", request)
        assert (ack["ok"], ack["accepted"], ack["position"], ack["queue_depth"]) == (True, True, 1, 2)
        assert await talk.end(ack["correlation_id"]) == "completed"
        assert talk.recorder.turn(ack["correlation_id"]) == TEXT
        told = talk.recorder.of("user_message")[0]
        assert (told["op_type"], told["op_state"], told["payload"]["pending"]) == ("message", "pending", True)
        assert "client_message_id" not in told["payload"]
        started = talk.recorder.of("message_started")[0]
        assert (started["payload"]["fast_path"], started["payload"]["source"]) == (False, "resume")


@pytest.mark.parametrize(
    ("thinking", "closes"),
    [("short", False), ("x" * 80, True), ("one\ntwo\nthree", True), ("one\ntwo", False)],
)
async def test_short_thinking_has_no_closing_event(thinking: str, closes: bool) -> None:
    async with talking(FakeModel().will_stream_text(PIECES, thinking=thinking)) as talk:
        types = await talk.run("hi")
        block = (
            ["thinking_started", "thinking_delta", "thinking"]
            if closes
            else ["thinking_started", "thinking_delta"]
        )
        assert types == [*TEXT[:2], *block, *TEXT[2:]]
        assert "".join(one["payload"]["delta"] for one in talk.recorder.of("thinking_delta")) == thinking


async def test_a_long_turn_gives_signs_of_life() -> None:
    model = FakeModel().will_wait(0.2).will_respond_with_text("a")
    async with talking(model, turn_heartbeat=0.03) as talk:
        await talk.run("hi")
        beats = talk.recorder.of("turn:heartbeat")
        assert len(beats) >= 2
        assert beats[0]["payload"]["turn"]["phase"] == "requesting"
        assert beats[0]["op_state"] == "running"
        assert beats[0]["seq"] in {one["seq"] for one in await talk.gap(1)}


# --- 6.2 tools


async def test_tool_turn() -> None:
    model = FakeModel()
    model.will_call_tool("Bash", {"command": "ls"}, result={"stdout": "a.txt"}, text="Let me look.")
    model.will_respond_with_text("There is one file.")
    async with talking(model) as talk:
        types = await talk.run("list")
        assert types == [
            "user_message",
            "message_started",
            "token",
            "stream_done",
            "tool_call_streaming",
            "tool_start",
            "tool_call",
            *TEXT[2:],
        ]
        recorder = talk.recorder
        start, call = recorder.of("tool_start")[0], recorder.of("tool_call")[0]
        assert start["op_type"] == call["op_type"] == "tool"
        assert start["op_id"] == call["op_id"] == start["payload"]["id"] == call["payload"]["id"]
        assert (start["op_state"], call["op_state"]) == ("running", "completed")
        assert call["payload"]["params"] == {"command": "ls"}
        assert call["payload"]["result"] == {"stdout": "a.txt"}
        assert call["payload"]["success"] is True
        assert call["payload"]["error"] == ""
        streamed = recorder.of("tool_call_streaming")
        assert {one["op_type"] for one in streamed} == {"turn"}
        assert {one["payload"]["call_id"] for one in streamed} == {start["op_id"]}
        assert [one["payload"]["delta"] for one in recorder.of("token")] == [
            "Let me look.",
            "\n\n",
            "There is one file.",
        ]
        assert recorder.of("result")[0]["payload"]["tool_calls_count"] == 1
        assert recorder.of("result")[0]["payload"]["turns_used"] == 2


async def test_the_model_is_told_what_the_tool_returned() -> None:
    model = FakeModel().will_call_tool("Bash", {"command": "ls"}, result="a.txt").will_respond_with_text("ok")
    async with talking(model, tools=["Bash"]) as talk:
        await talk.run("list")
    first, second = model.requests
    assert [one.role for one in first.messages] == ["user"]
    assert [one.role for one in second.messages] == ["user", "assistant", "tool"]
    assert second.messages[1].tool_calls[0].id == second.messages[2].tool_call_id
    assert "a.txt" in second.last_text
    assert second.system_prompt == "You help."
    assert [one.name for one in second.tools] == ["Bash"]
    assert (second.app_id, second.session_id) == (APP, talk.session_id)


async def test_a_tool_that_fails() -> None:
    model = FakeModel().will_call_tool("Bash", error="no such file").will_respond_with_text("sorry")
    async with talking(model) as talk:
        await talk.run("list")
        call = talk.recorder.of("tool_call")[0]
        assert (call["op_state"], call["payload"]["success"], call["payload"]["error"]) == (
            "failed",
            False,
            "no such file",
        )
        assert talk.recorder.of("result")[0]["payload"]["error"] is None
    assert model.requests[1].last_text == "no such file"


# --- 6.3 approvals


async def asked(talk: Talk) -> dict[str, Any]:
    frame = await talk.recorder.wait_for("approval_request")
    payload: dict[str, Any] = frame["payload"]
    return payload


async def test_an_approval_parks_the_turn_until_it_is_given() -> None:
    model = FakeModel().will_call_tool("Bash", {"command": "rm"}, result="gone", requires_approval=True)
    model.will_respond_with_text("done")
    async with talking(model) as talk:
        accepted = await talk.send("delete")
        request = await asked(talk)
        assert model.request_count == 1
        assert talk.recorder.of("tool_call") == []
        listed = (await talk.client.get(f"/api/apps/{APP}/approvals")).json()["data"]["pending"]
        assert [one["request_id"] for one in listed] == [request["request_id"]]
        resolved = await talk.resolve(request["request_id"], approved=True)
        assert resolved.json()["data"] == {
            "request_id": request["request_id"],
            "approved": True,
            "payload_received": False,
        }
        await talk.end(accepted["correlation_id"])
        order = [one["type"] for one in talk.recorder.frames if one.get("op_type") in ("tool", "approval")]
        assert order == ["tool_start", "approval_request", "approval_resolved", "tool_call"]
        outcome = talk.recorder.of("approval_resolved")[0]
        assert (outcome["op_state"], outcome["op_id"], outcome["kind"]) == (
            "completed",
            request["request_id"],
            "approval",
        )
        assert outcome["correlation_id"] is None
        assert (await talk.client.get(f"/api/apps/{APP}/approvals")).json()["data"]["pending"] == []


async def test_a_denied_call_fails_and_the_model_hears_why() -> None:
    model = FakeModel().will_call_tool("Bash", {"command": "rm"}, result="gone", requires_approval=True)
    async with talking(model.will_respond_with_text("ok")) as talk:
        accepted = await talk.send("delete")
        await talk.deny("not today")
        await talk.end(accepted["correlation_id"])
        outcome, call = talk.recorder.of("approval_resolved")[-1], talk.recorder.of("tool_call")[0]
        assert (outcome["op_state"], outcome["payload"]["reason"]) == ("cancelled", "not today")
        assert (call["op_state"], call["payload"]["success"]) == ("failed", False)
        assert call["op_id"] == talk.recorder.of("tool_start")[0]["op_id"]
        assert call["payload"]["error"].startswith("User denied 'Bash'.")
        assert "not today" in call["payload"]["error"]
        assert talk.recorder.of("result")[0]["payload"]["content"] == "ok"
    assert "not today" in model.requests[1].last_text


@pytest.mark.parametrize("approved", [True, False])
async def test_a_denied_call_is_asked_for_once_more_and_the_second_decision_counts(approved: bool) -> None:
    model = FakeModel().will_call_tool("Bash", {"command": "rm"}, result="gone", requires_approval=True)
    async with talking(model.will_respond_with_text("ok")) as talk:
        accepted = await talk.send("delete")
        first = await asked(talk)
        await talk.resolve(first["request_id"], approved=False, message="not today")
        second = (await talk.recorder.wait_for("approval_request", 2))["payload"]
        assert second["request_id"] != first["request_id"]
        assert (first["tool_name"], second["tool_name"]) == ("shell.bash", "Bash")
        assert (first["tool_params"], second["tool_params"]) == ({"command": "rm"}, {"command": "rm"})
        assert second["description"] == "User denied: not today"
        listed = (await talk.client.get(f"/api/apps/{APP}/approvals")).json()["data"]["pending"]
        assert [one["request_id"] for one in listed] == [second["request_id"]]
        await talk.resolve(second["request_id"], approved=approved)
        await talk.end(accepted["correlation_id"])
        assert [one["payload"]["approved"] for one in talk.recorder.of("approval_resolved")] == [
            False,
            approved,
        ]
        assert len(talk.recorder.of("approval_request")) == 2
        assert talk.recorder.of("tool_call")[0]["payload"]["success"] is approved


async def test_an_approval_that_nobody_gives_times_out() -> None:
    model = FakeModel().will_call_tool("Bash", requires_approval=True).will_respond_with_text("ok")
    async with talking(model, approval_timeout=0.1, approval_heartbeat=0.04) as talk:
        await talk.run("go")
        reminder = talk.recorder.of("approval_progress")[0]
        assert reminder["op_state"] == "waiting_approval"
        assert reminder["payload"]["reason"] == "pending_heartbeat"
        assert (
            reminder["payload"]["description"]
            != talk.recorder.of("approval_request")[0]["payload"]["description"]
        )
        # It is asked for once more like any call that was denied.
        assert [one["op_state"] for one in talk.recorder.of("approval_resolved")] == ["timeout"] * 2
        assert talk.recorder.of("tool_call")[0]["payload"]["success"] is False


@pytest.mark.parametrize("key", ["message", "response", "answer", "value", "reply", "user_response"])
async def test_the_user_is_asked_and_answers(key: str) -> None:
    model = FakeModel().will_ask_user("Which one?", choices=["a", "b"]).will_respond_with_text("fine")
    async with talking(model) as talk:
        accepted = await talk.send("go")
        request = await asked(talk)
        assert request["tool_name"] == "ask_user"
        assert request["tool_params"].items() >= {"question": "Which one?", "choices": ["a", "b"]}.items()
        answered = await talk.resolve(request["request_id"], approved=True, **{key: "b"})
        assert answered.json()["data"]["payload_received"] is True
        await talk.end(accepted["correlation_id"])
        answer = talk.recorder.of("tool_call")[0]["payload"]["result"]
        assert answer == {
            "status": "approved",
            "question": "Which one?",
            "user_response": "b",
            "raw_response": "b",
        }
    assert json.loads(model.requests[1].last_text) == answer


async def test_an_approval_can_be_decided_once_and_by_its_owner_only() -> None:
    model = FakeModel().will_call_tool("Bash", requires_approval=True).will_respond_with_text("ok")
    async with talking(model) as talk:
        other = talk.daemon.add_user("eve@example.com", "a-long-password", permissions=["*"])
        accepted = await talk.send("go")
        request_id = (await asked(talk))["request_id"]
        async with another(talk.daemon, other) as foreign:
            refused = (await foreign.resolve(request_id, approved=True)).json()
            assert refused["success"] is False
            listed = await foreign.client.get(f"/api/apps/{APP}/approvals")
            assert listed.json()["data"]["pending"] == []
        assert (await talk.resolve("unknown", approved=True)).json()["success"] is False
        assert (await talk.resolve(request_id, approved=True)).json()["success"] is True
        assert (await talk.resolve(request_id, approved=True)).json()["success"] is False
        await talk.end(accepted["correlation_id"])


# --- 6.7 errors


@pytest.mark.parametrize(
    "code", sorted(FAILURES.keys() - {"credential_required", "credential_auth_required"})
)
async def test_a_turn_that_fails(code: FailureCode) -> None:
    async with talking(FakeModel().will_fail(code, "it broke")) as talk:
        types = await talk.run("hi")
        assert types == ["user_message", "message_started", *FAILED]
        result, error = talk.recorder.of("result")[0], talk.recorder.of("error")[0]
        assert (result["op_state"], result["payload"]["content"]) == ("completed", "")
        assert "it broke" in result["payload"]["error"]
        assert (error["op_state"], error["kind"]) == ("failed", "error")
        payload = error["payload"]
        assert payload["code"] == code
        assert (payload["category"], payload["retry"]) == (FAILURES[code].category, FAILURES[code].retry)
        assert payload["session_id"] == talk.session_id
        assert "it broke" in payload["detail"]
        # It ends as an abort does, but for the error.
        assert talk.recorder.of("message_cancelled")[0]["op_state"] == "cancelled"
        assert talk.recorder.of("turn_terminal")[0]["payload"]["status"] == "interrupted"
        detail = await talk.get()
        assert detail["interrupted"] is True
        assert detail["last_error"] == payload


@pytest.mark.parametrize("code", ["credential_required", "credential_auth_required"])
async def test_a_missing_credential_pauses_the_turn(code: FailureCode) -> None:
    async with talking(FakeModel().will_fail(code).will_respond_with_text(ANSWER)) as talk:
        sent = await talk.send("one")
        paused = await talk.recorder.wait_for(code)
        assert (paused["op_state"], paused["payload"]["code"]) == ("waiting_approval", code)
        assert paused["payload"]["correlation_id"] == sent["correlation_id"]
        # The session goes on, and nothing more is said of the turn.
        await talk.run("two")
        assert talk.recorder.turn(sent["correlation_id"]) == ["user_message", "message_started", code]


async def test_a_script_without_an_answer_says_what_was_asked() -> None:
    async with talking(FakeModel()) as talk:
        await talk.run("what now?")
        payload = talk.recorder.of("error")[0]["payload"]
        assert payload["code"] == "internal_error"
        assert "nothing is queued" in payload["detail"]
        assert "what now?" in payload["detail"]


class BrokenModel(FakeModel):
    async def take(self, request: ModelRequest) -> Scripted:
        raise LookupError("a bug")


async def test_a_crash_becomes_an_error_turn_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with talking(BrokenModel()) as talk:
        types = await talk.run("hi")
        assert types[2:] == FAILED
        assert "LookupError: a bug" in talk.recorder.of("error")[0]["payload"]["detail"]
    assert "a bug" in caplog.text


async def test_the_session_goes_on_after_a_failed_turn() -> None:
    async with talking(FakeModel().will_fail().will_respond_with_text(ANSWER)) as talk:
        await talk.run("one")
        assert await talk.run("two") == TEXT
        detail = await talk.get()
        assert detail["errors"]["total"] == 1
        assert (detail["interrupted"], detail["last_error"]) == (False, None)


async def test_sessions_run_in_parallel() -> None:
    model = FakeModel().will_call_tool("Bash", requires_approval=True)
    model.will_call_tool("Bash", requires_approval=True)
    model.will_respond_with_text("done", times=2)
    with FakeDaemon() as daemon:
        daemon.add_app(APP, model=model)
        async with another(daemon) as one, another(daemon) as two:
            runs = [await one.send("a"), await two.send("b")]
            # Both are parked at once.
            requests = [await asked(talk) for talk in (one, two)]
            assert len({request["request_id"] for request in requests}) == 2
            for talk, request in zip((one, two), requests, strict=True):
                await talk.resolve(request["request_id"], approved=True)
            await asyncio.gather(one.end(runs[0]["correlation_id"]), two.end(runs[1]["correlation_id"]))
