"""Aborted turns, and turns that go on where they were cut off (contract: events, sections 6.6 and 6.9)."""

from typing import Any

from digitorn_testing._generated import models
from digitorn_testing.fakes import FakeDaemon, FakeModel, ModelRequest
from fakes.test_queue import busy_model, occupy, release
from support.recorder import APP, Talk, another, calls_without_result, talking
from support.texts import ANSWER, PIECES


async def abort(talk: Talk, *, purge: bool = False) -> dict[str, Any]:
    response = await talk.client.post(f"{talk.path}/abort", params={"purge_queue": purge})
    data: dict[str, Any] = response.json()["data"]
    return data


async def test_an_abort_cuts_off_the_turn() -> None:
    model = FakeModel().will_stream_text(PIECES, delay=30.0)
    async with talking(model) as talk:
        accepted = await talk.send("go")
        await talk.recorder.wait_for("token")
        result = await abort(talk)
        assert (result["was_active"], result["task_cancelled"], result["interrupted"]) == (True, True, True)
        assert await talk.end(accepted["correlation_id"]) == "interrupted"
        event = await talk.recorder.wait_for("abort")
        assert event["correlation_id"] == event["op_id"] == f"abort-{talk.session_id}"
        assert event["payload"] == {
            "session_id": talk.session_id,
            "queue_purged": 0,
            "queue_preserved": True,
            "task_cancelled": True,
            "approvals_cancelled": 0,
        }
        assert talk.recorder.turn(accepted["correlation_id"]) == [
            "user_message",
            "message_started",
            "token",
            "message_cancelled",
            "turn_terminal",
        ]
        cancelled = talk.recorder.of("message_cancelled")[0]
        assert cancelled["op_state"] == "cancelled"
        assert cancelled["payload"] == {
            "session_id": talk.session_id,
            "correlation_id": accepted["correlation_id"],
        }
        summary = await talk.get()
        assert (summary["interrupted"], summary["is_active"]) == (True, False)


async def test_a_tool_that_is_cut_off_never_ends() -> None:
    async with talking(FakeModel().will_call_tool("Bash", delay=30.0)) as talk:
        accepted = await talk.send("go")
        start = await talk.recorder.wait_for("tool_start")
        await abort(talk)
        await talk.end(accepted["correlation_id"])
        assert talk.recorder.of("tool_call") == []
        ops = (await talk.client.get(f"{talk.path}/active-ops")).json()["data"]["active_ops"]
        assert [(one["op_id"], one["name"]) for one in ops] == [(start["op_id"], "Bash")]


async def test_a_drained_turn_that_is_aborted_ends_as_cancelled_too() -> None:
    model = busy_model().will_stream_text(PIECES, delay=30.0)
    async with talking(model) as talk:
        await occupy(talk)
        queued = await talk.send("second")
        await release(talk)
        await talk.recorder.wait_for_turn("token", queued["correlation_id"])
        await abort(talk)
        assert await talk.end(queued["correlation_id"]) == "interrupted"
        ending = talk.recorder.turn(queued["correlation_id"])[-3:]
        assert ending == ["token", "message_cancelled", "turn_terminal"]
        assert len(talk.recorder.of("message_cancelled")) == len(talk.recorder.of("abort")) == 1


async def test_an_abort_over_the_socket_has_no_event_of_its_own() -> None:
    async with talking(busy_model()) as talk:
        first = await occupy(talk)
        started = await talk.send("started ahead")
        await talk.send("waits")
        request = {"app_id": APP, "session_id": talk.session_id, "purge_queue": True}
        assert await talk.recorder.call("abort_turn", request) == {
            "ok": True,
            "was_active": True,
            "task_cancelled": True,
            "pending_approvals_cancelled": 1,
            "queue_purged": 1,
        }
        assert await talk.end(first) == "interrupted"
        assert await talk.end(started["correlation_id"]) == "completed"
        assert talk.recorder.of("abort") == []
        refusals: list[tuple[dict[str, Any], str]] = [
            ({}, "app_id and session_id required"),
            ({**request, "session_id": "x"}, "session not found"),
        ]
        for asked, error in refusals:
            assert (await talk.recorder.call("abort_turn", asked))["error"].startswith(error)


async def test_an_abort_over_the_socket_of_nothing_says_so() -> None:
    async with talking(FakeModel()) as talk:
        request = {"app_id": APP, "session_id": talk.session_id}
        idle = await talk.recorder.call("abort_turn", request)
        assert (idle["was_active"], idle["task_cancelled"], idle["queue_purged"]) == (False, False, 0)


async def test_a_message_that_was_started_ahead_goes_on_after_an_abort() -> None:
    async with talking(busy_model()) as talk:
        first = await occupy(talk)
        started = await talk.send("second")
        result = await abort(talk)
        assert (result["queue_preserved"], result["queue_purged"]) == (True, 0)
        assert await talk.end(started["correlation_id"]) == "completed"
        assert talk.recorder.of("result")[0]["correlation_id"] == started["correlation_id"]
        assert [one["correlation_id"] for one in talk.recorder.of("message_cancelled")] == [first]


async def test_an_abort_can_purge_the_queue_silently() -> None:
    async with talking(busy_model("third")) as talk:
        first = await occupy(talk)
        started = await talk.send("second")
        waits = await talk.send("waits")
        result = await abort(talk, purge=True)
        assert (result["queue_preserved"], result["queue_purged"]) == (False, 1)
        assert await talk.end(first) == "interrupted"
        # It is no longer in the queue.
        assert await talk.end(started["correlation_id"]) == "completed"
        after = await talk.send("third")
        assert await talk.end(after["correlation_id"]) == "completed"
        assert talk.recorder.turn(waits["correlation_id"]) == ["message_queued", "user_message"]
        assert talk.recorder.of("queue_cleared") == []


async def test_a_new_message_runs_after_an_abort() -> None:
    model = FakeModel().will_stream_text(PIECES, delay=30.0).will_respond_with_text("at once")
    async with talking(model.will_respond_with_text("later")) as talk:
        cut = await talk.send("go")
        await talk.recorder.wait_for("token")
        await abort(talk)
        # Whether or not the turn has ended by now.
        soon = await talk.send("soon")
        await talk.end(cut["correlation_id"])
        await talk.end(soon["correlation_id"])
        assert "result" in talk.recorder.turn(soon["correlation_id"])
        later = await talk.send("later")
        await talk.end(later["correlation_id"])
        assert later["status"] == "accepted"
        assert (await talk.get())["interrupted"] is False
    # The message that was cut off without an answer is no part of the conversation.
    assert [one.content for one in model.requests[-1].messages] == ["soon", "at once", "later"]


async def test_a_new_message_waits_behind_those_that_an_abort_kept() -> None:
    async with talking(busy_model("second")) as talk:
        first = await occupy(talk)
        kept = await talk.send("kept")
        await abort(talk)
        await talk.end(first)
        new = await talk.send("new")
        await talk.end(new["correlation_id"])
        started = [one["correlation_id"] for one in talk.recorder.of("message_started")]
        assert started == [first, kept["correlation_id"], new["correlation_id"]]


async def test_a_call_that_was_cut_off_has_a_result_for_the_model() -> None:
    model = FakeModel().will_call_tool("Bash", delay=30.0).will_respond_with_text("a")
    async with talking(model) as talk:
        accepted = await talk.send("go")
        await talk.recorder.wait_for("tool_start")
        await abort(talk)
        await talk.end(accepted["correlation_id"])
        await talk.run("and now?")
    messages = model.requests[1].messages
    assert [one.role for one in messages] == ["user", "assistant", "tool", "user"]
    assert messages[2].content == "The call was cut off."
    assert calls_without_result(model.requests[1]) == []


async def test_an_abort_refuses_every_approval_of_the_app() -> None:
    model = FakeModel().will_call_tool("Bash", requires_approval=True)
    model.will_call_tool("Bash", requires_approval=True).will_respond_with_text("told no")
    with FakeDaemon() as daemon:
        daemon.add_app(APP, model=model)
        eve = daemon.add_user("eve@example.com", "a-long-password")
        async with another(daemon) as aborted, another(daemon, eve) as bystander:
            cut = await aborted.send("a")
            await aborted.recorder.wait_for("approval_request")
            other = await bystander.send("b")
            await bystander.recorder.wait_for("approval_request")
            assert (await abort(aborted))["approvals_cancelled"] == 2
            await aborted.end(cut["correlation_id"])
            # Like any denied call it is asked for once more.
            again = await bystander.recorder.wait_for("approval_request", 2)
            assert (await bystander.resolve(again["op_id"], approved=False)).json()["success"] is True
            await bystander.end(other["correlation_id"])
            outcome = bystander.recorder.of("approval_resolved")[0]
            assert (outcome["payload"]["approved"], outcome["payload"]["reason"]) == (False, "")
            assert outcome["op_state"] == "cancelled"
            assert bystander.recorder.of("result")[0]["payload"]["content"] == "told no"
            assert aborted.recorder.of("approval_resolved") == []
            assert aborted.recorder.of("tool_call") == []


async def test_an_abort_of_nothing_says_so() -> None:
    async with talking(FakeModel()) as talk:
        result = await abort(talk)
        assert (result["was_active"], result["aborted"], result["interrupted"]) == (False, True, True)
        assert (await talk.recorder.wait_for("abort"))["payload"]["task_cancelled"] is False


def asked_again(request: ModelRequest) -> bool:
    """Whether the model is told to go on."""
    last = request.messages[-1]
    return last.role == "user" and last.content.startswith("[auto-resume]")


async def test_a_resumed_turn_has_no_correlation_id() -> None:
    model = FakeModel().will_stream_text(PIECES, delay=30.0).will_respond_with_text(ANSWER)
    async with talking(model) as talk:
        before = await talk.client.post(f"{talk.path}/resume")
        assert before.json()["data"]["resumed"] is False
        accepted = await talk.send("go")
        await talk.recorder.wait_for("token")
        await abort(talk)
        await talk.end(accepted["correlation_id"])
        mark = len(talk.recorder.frames)
        assert await talk.resume() == ["token", "stream_done", "result"]
        for frame in talk.recorder.frames[mark:]:
            assert frame["correlation_id"] is None
            if frame["op_type"] == "turn":
                assert frame["op_id"] == f"turn-{talk.session_id}"
        shown = (await talk.get("/history"))["messages"]
        # The message that was cut off without an answer is no longer there.
        assert [one["role"] for one in shown] == ["user", "assistant"]
        assert shown[1]["content"] == ANSWER
        assert (await talk.get())["interrupted"] is False
        # It has no end of its own: nothing but the next turn comes behind its result.
        model.will_respond_with_text("a")
        mark = len(talk.recorder.frames)
        await talk.run("next")
        assert {one["correlation_id"] for one in talk.recorder.frames[mark:]} == {
            talk.recorder.of("user_message")[-1]["correlation_id"]
        }
    assert asked_again(model.requests[1])


async def test_a_failed_turn_is_resumed_too() -> None:
    model = FakeModel().will_fail().will_respond_with_text(ANSWER)
    async with talking(model) as talk:
        await talk.run("fails")
        assert (await talk.resume())[-1] == "result"
        detail = await talk.get()
        assert (detail["interrupted"], detail["last_error"]) == (False, None)
    assert asked_again(model.requests[1])


async def test_what_a_resumed_turn_had_done_stays() -> None:
    model = FakeModel().will_call_tool("Read", result="text").will_call_tool("Bash", delay=30.0)
    model.will_call_tool("Bash", result="done").will_respond_with_text(ANSWER)
    async with talking(model) as talk:
        accepted = await talk.send("go")
        await talk.recorder.wait_for("tool_start", 2)
        await abort(talk)
        await talk.end(accepted["correlation_id"])
        before = (await talk.get("/history"))["messages"]
        assert await talk.resume() == [
            "stream_done",
            "tool_call_streaming",
            "tool_start",
            "tool_call",
            "token",
            "stream_done",
            "result",
        ]
        after = (await talk.get("/history"))["messages"]
        assert after[: len(before)] == before
        assert [one["role"] for one in after] == [
            "user",
            "assistant",
            "assistant",
            "user",
            *["assistant"] * 2,
        ]
        assert (await talk.act("/resume"))["resumed"] is False
    assert calls_without_result(model.requests[2]) == []
    assert asked_again(model.requests[2])


async def test_what_cannot_be_resumed() -> None:
    model = busy_model().will_stream_text(PIECES, delay=30.0).will_respond_with_text("goes on")
    async with talking(model) as talk:

        async def refused() -> str:
            answer = models.ResumeResult.from_wire(await talk.act("/resume"))
            assert answer.resumed is False
            assert answer.reason is not None
            return answer.reason

        assert await refused() == "nothing to resume"
        busy = await occupy(talk)
        assert await refused() == "session is busy"
        await release(talk)
        await talk.end(busy)
        assert await refused() == "nothing to resume"
        cut = await talk.send("cut")
        await talk.recorder.wait_for_turn("token", cut["correlation_id"])
        waits = await talk.send("waits")
        await abort(talk)
        await talk.end(cut["correlation_id"])
        # The next message goes on instead.
        assert await refused() in ("session is busy", "nothing to resume")
        await talk.end(waits["correlation_id"])
        absent = await talk.client.post(f"/api/apps/{APP}/sessions/absent/resume")
        assert absent.status_code == 404
