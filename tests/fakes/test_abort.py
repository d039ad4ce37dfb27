"""Aborts on build A (contract: events, section 6.6)."""

from typing import Any

from digitorn_testing._generated import models
from digitorn_testing.fakes import FakeDaemon, FakeModel
from fakes.test_queue import busy_model, occupy, release
from support.recorder import APP, Talk, another, calls_without_result, talking


async def abort(talk: Talk, *, purge: bool = False) -> dict[str, Any]:
    response = await talk.client.post(f"{talk.path}/abort", params={"purge_queue": purge})
    data: dict[str, Any] = response.json()["data"]
    return data


async def test_an_abort_cuts_off_the_turn() -> None:
    model = FakeModel().will_stream_text(["a", "b"], delay=30.0)
    async with talking(model) as talk:
        accepted = await talk.send("go")
        await talk.recorder.wait_for("token")
        result = await abort(talk)
        assert (result["was_active"], result["task_cancelled"], result["interrupted"]) == (True, True, True)
        await talk.end(accepted["correlation_id"])
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
        ]
        cancelled = talk.recorder.of("message_cancelled")[0]
        assert cancelled["op_state"] == "cancelled"
        assert cancelled["payload"]["fast_path"] is True
        summary = (await talk.client.get(talk.path)).json()["data"]
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


async def test_a_drained_message_that_is_aborted_ends_as_done() -> None:
    model = busy_model().will_stream_text(["a", "b"], delay=30.0)
    async with talking(model) as talk:
        await occupy(talk)
        queued = await talk.send("second")
        request_id = talk.recorder.of("approval_request")[0]["payload"]["request_id"]
        await talk.resolve(request_id, approved=True)
        await talk.recorder.until(
            lambda frames: any(
                one["type"] == "token" and one["correlation_id"] == queued["correlation_id"] for one in frames
            )
        )
        await abort(talk)
        await talk.end(queued["correlation_id"])
        assert talk.recorder.turn(queued["correlation_id"])[-2:] == ["token", "message_done"]
        assert talk.recorder.of("message_cancelled") == []


async def test_the_next_message_starts_after_an_abort() -> None:
    async with talking(busy_model()) as talk:
        first = await occupy(talk)
        queued = await talk.send("second")
        result = await abort(talk)
        assert (result["queue_preserved"], result["queue_purged"]) == (True, 0)
        await talk.end(queued["correlation_id"])
        assert talk.recorder.of("result")[0]["correlation_id"] == queued["correlation_id"]
        assert [one["correlation_id"] for one in talk.recorder.of("message_cancelled")] == [first]


async def test_an_abort_can_purge_the_queue_silently() -> None:
    async with talking(busy_model()) as talk:
        first = await occupy(talk)
        queued = await talk.send("second")
        result = await abort(talk, purge=True)
        assert (result["queue_preserved"], result["queue_purged"]) == (False, 1)
        await talk.end(first)
        after = await talk.send("third")
        await talk.end(after["correlation_id"])
        assert after["status"] == "accepted"
        assert talk.recorder.turn(queued["correlation_id"]) == ["message_queued", "user_message"]
        assert talk.recorder.of("queue_cleared") == []


async def test_a_new_message_runs_after_an_abort() -> None:
    model = FakeModel().will_stream_text(["a", "b"], delay=30.0).will_respond_with_text("at once")
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
    assert [one.content for one in model.requests[-1].messages] == ["go", "soon", "at once", "later"]


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
        call = (await talk.get("/history"))["messages"][1]["tool_calls"][0]
        assert call["result"] == "The call was cut off."
    assert [one.role for one in model.requests[1].messages] == ["user", "assistant", "tool", "user"]
    assert calls_without_result(model.requests[1]) == []


async def test_an_abort_refuses_every_approval_of_the_app() -> None:
    model = FakeModel().will_call_tool("Bash", requires_approval=True)
    model.will_call_tool("Bash", requires_approval=True).will_respond_with_text("told no")
    with FakeDaemon() as daemon:
        daemon.add_app(APP, model=model)
        eve = daemon.add_user("eve@example.com", "a-long-password")
        async with another(daemon) as aborted, another(daemon, eve) as bystander:
            cut = await aborted.send("a")
            await aborted.recorder.wait_for("approval_request", 2)
            other = await bystander.send("b")
            await bystander.recorder.wait_for("approval_request", 2)
            assert (await abort(aborted))["approvals_cancelled"] == 2
            await aborted.end(cut["correlation_id"])
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
        assert (result["was_active"], result["aborted"], result["interrupted"]) == (False, False, False)
        assert (await talk.recorder.wait_for("abort"))["payload"]["task_cancelled"] is False


async def test_an_interrupted_turn_is_resumed() -> None:
    model = FakeModel().will_stream_text(["a", "b"], delay=30.0).will_respond_with_text("resumed")
    async with talking(model) as talk:
        before = await talk.client.post(f"{talk.path}/resume")
        assert before.json()["data"]["resumed"] is False
        accepted = await talk.send("go")
        await talk.recorder.wait_for("token")
        await abort(talk)
        await talk.end(accepted["correlation_id"])
        resumed = await talk.client.post(f"{talk.path}/resume")
        assert resumed.json()["data"]["resumed"] is True
        result = await talk.recorder.wait_for("result")
        await talk.end(result["correlation_id"])
        assert talk.recorder.turn(result["correlation_id"])[0] == "message_started"
        assert len(talk.recorder.of("user_message")) == 1
        logged = [one for one in await talk.log() if one["correlation_id"] == result["correlation_id"]]
        assert logged[0]["type"] == "message_started"
        assert accepted["correlation_id"] != result["correlation_id"]
        shown = (await talk.get("/history"))["messages"]
        assert [one["content"] for one in shown] == ["go", "resumed"]
        assert (await talk.get())["interrupted"] is False
    assert [one.content for one in model.requests[1].messages] == ["go"]


async def test_what_a_resumed_turn_had_done_stays() -> None:
    model = FakeModel().will_call_tool("Read", result="text").will_call_tool("Bash", delay=30.0)
    model.will_call_tool("Bash", result="done").will_respond_with_text("resumed")
    async with talking(model) as talk:
        accepted = await talk.send("go")
        await talk.recorder.wait_for("tool_start", 2)
        await abort(talk)
        await talk.end(accepted["correlation_id"])
        before = (await talk.get("/history"))["messages"]
        assert (await talk.act("/resume")) == {"resumed": True, "session_id": talk.session_id}
        result = await talk.recorder.wait_for("result")
        await talk.end(result["correlation_id"])
        assert talk.recorder.turn(result["correlation_id"]) == [
            "message_started",
            "stream_done",
            "tool_call_streaming",
            "tool_start",
            "tool_call",
            "token",
            "stream_done",
            "result",
            "message_done",
        ]
        after = (await talk.get("/history"))["messages"]
        assert after[: len(before)] == before
        assert [one["role"] for one in after] == ["user", "assistant", "assistant", "assistant", "assistant"]
        assert (await talk.act("/resume"))["resumed"] is False
    assert calls_without_result(model.requests[2]) == []


async def test_what_cannot_be_resumed() -> None:
    model = busy_model().will_fail().will_stream_text(["a", "b"], delay=30.0)
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
        await talk.run("fails")
        assert await refused() == "nothing to resume"
        cut = await talk.send("cut")
        await talk.recorder.wait_for("token", 2)
        waits = await talk.send("waits")
        await abort(talk)
        await talk.end(cut["correlation_id"])
        # The next message goes on instead.
        assert await refused() in ("session is busy", "nothing to resume")
        await talk.end(waits["correlation_id"])
        absent = await talk.client.post(f"/api/apps/{APP}/sessions/absent/resume")
        assert absent.status_code == 404
