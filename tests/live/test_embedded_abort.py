"""Aborts (contract: events, section 6.6, build A)."""

from typing import Any

from digitorn.testing.fakes import FakeDaemon, FakeModel
from live.test_embedded_queue import busy_model, occupy
from recorder import APP, Talk, another, talking


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
    assert [one.content for one in model.requests[1].messages] == ["go"]
