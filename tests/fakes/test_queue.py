"""The queue of a session (contract: events, section 6.4; rest, section 4.2)."""

import asyncio

import pytest

from digitorn_testing.fakes import FakeModel
from support.recorder import APP, Talk, talking


def busy_model(*answers: str) -> FakeModel:
    """A model whose first turn lasts until its approval is decided."""
    model = FakeModel().will_call_tool("Bash", requires_approval=True).will_respond_with_text("first")
    for answer in answers:
        model.will_respond_with_text(answer)
    return model


async def occupy(talk: Talk) -> str:
    """Starts a turn that waits for an approval; gives its correlation id."""
    accepted = await talk.send("first")
    assert accepted["status"] == "accepted"
    await talk.recorder.wait_for("approval_request", 2)
    return str(accepted["correlation_id"])


async def release(talk: Talk) -> None:
    """Lets that turn go on."""
    request_id = talk.recorder.of("approval_request")[0]["payload"]["request_id"]
    await talk.resolve(request_id, approved=True)


async def test_a_second_message_waits_and_then_runs() -> None:
    async with talking(busy_model("second")) as talk:
        first = await occupy(talk)
        queued = await talk.send("next", client_message_id="mine")
        assert queued["status"] == "queued"
        assert (queued["position"], queued["queue_depth"], queued["replaced"]) == (1, 1, False)
        await release(talk)
        await talk.end(queued["correlation_id"])
        assert talk.recorder.turn(queued["correlation_id"]) == [
            "message_queued",
            "user_message",
            "message_started",
            "token",
            "stream_done",
            "result",
            "message_done",
        ]
        announced, user = talk.recorder.of("message_queued")[0], talk.recorder.of("user_message")[1]
        assert announced["op_state"] == user["op_state"] == "pending"
        assert user["payload"]["pending"] is True
        assert user["payload"]["client_message_id"] == "mine"
        assert announced["payload"]["message_preview"] == "next"
        started = talk.recorder.of("message_started")[1]
        assert started["payload"]["position"] == 1
        assert "fast_path" not in started["payload"]
        done = talk.recorder.of("message_done")
        assert [one["correlation_id"] for one in done] == [first, queued["correlation_id"]]
        assert "fast_path" not in done[1]["payload"]
        assert started["seq"] > done[0]["seq"]


async def test_messages_run_first_come_first_served() -> None:
    model = busy_model("a", "b", "c")
    async with talking(model) as talk:
        await occupy(talk)
        sent = [(await talk.send(text))["correlation_id"] for text in ("1", "2", "3")]
        listed = (await talk.client.get(f"{talk.path}/queue")).json()["data"]
        assert [one["message"] for one in listed["entries"]] == ["1", "2", "3"]
        assert [one["position"] for one in listed["entries"]] == [1, 2, 3]
        await release(talk)
        await talk.end(sent[-1])
        started = [one["correlation_id"] for one in talk.recorder.of("message_started")]
        assert started[1:] == sent
    assert [one.last_text for one in model.requests[2:]] == ["1", "2", "3"]


async def test_a_full_queue_refuses_over_http_with_an_event() -> None:
    async with talking(busy_model("a"), queue_depth=1) as talk:
        await occupy(talk)
        queued = await talk.send("fits")
        refused = await talk.post("too much")
        assert refused.status_code == 429
        assert refused.json()["detail"] == "Session queue full (1/1)"
        full = await talk.recorder.wait_for("queue_full")
        assert full["payload"] == {"depth": 1, "max": 1, "session_id": talk.session_id}
        assert (full["op_id"], full["op_state"]) == (f"turn-{talk.session_id}", "failed")
        assert full["correlation_id"] is None
        await release(talk)
        await talk.end(queued["correlation_id"])


async def test_a_full_queue_refuses_over_the_socket_without_an_event() -> None:
    async with talking(busy_model("a"), queue_depth=1) as talk:
        await occupy(talk)
        request = {"app_id": APP, "session_id": talk.session_id, "message": "x"}
        fits = await talk.recorder.call("send_message", request)
        assert fits["ok"]
        assert await talk.recorder.call("send_message", request) == {
            "ok": False,
            "error": "Session queue full (1/1)",
        }
        await release(talk)
        await talk.end(fits["correlation_id"])
        assert talk.recorder.of("queue_full") == []
        assert talk.recorder.of("message_queued") == []
        # It had to wait, so its start says nothing about the fast path.
        assert "fast_path" not in talk.recorder.of("message_started")[1]["payload"]


async def test_replace_last_takes_the_place_of_the_last_one() -> None:
    model = busy_model("a")
    async with talking(model) as talk:
        await occupy(talk)
        old = await talk.send("old")
        new = await talk.send("new", queue_mode="replace_last")
        assert (new["status"], new["replaced"], new["position"]) == ("queued", True, old["position"])
        assert new["correlation_id"] != old["correlation_id"]
        replaced = await talk.recorder.wait_for("message_replaced")
        assert replaced["correlation_id"] == new["correlation_id"]
        assert replaced["payload"]["replaced"] is True
        await release(talk)
        await talk.end(new["correlation_id"])
        assert talk.recorder.turn(old["correlation_id"]) == ["message_queued", "user_message"]
        assert "user_message" not in talk.recorder.turn(new["correlation_id"])
    assert model.requests[-1].last_text == "new"


async def test_replace_last_on_an_empty_queue_waits_like_any_other() -> None:
    async with talking(busy_model("a")) as talk:
        await occupy(talk)
        sent = await talk.send("x", queue_mode="replace_last")
        assert (sent["status"], sent["replaced"]) == ("queued", False)
        await release(talk)
        await talk.end(sent["correlation_id"])


async def test_wait_answers_when_the_turn_is_over() -> None:
    async with talking(FakeModel().will_wait(0.05).will_respond_with_text("a").will_fail()) as talk:
        done = await talk.send("x", queue_mode="wait")
        assert done["status"] == "completed"
        history = (await talk.client.get(f"{talk.path}/history")).json()["data"]
        assert [one["content"] for one in history["messages"]] == ["x", "a"]
        failed = await talk.post("y", queue_mode="wait")
        assert failed.status_code == 500
        assert "provider" in failed.json()["detail"]


async def test_wait_in_the_queue_answers_when_its_own_turn_is_over() -> None:
    async with talking(busy_model("second")) as talk:
        await occupy(talk)
        waiting = asyncio.create_task(talk.send("x", queue_mode="wait"))
        await talk.recorder.wait_for("message_queued")
        assert not waiting.done()
        await release(talk)
        assert (await waiting)["status"] == "completed"


WAYS_OUT = {
    "replaced": ("POST", "/messages", {"message": "new", "queue_mode": "replace_last"}),
    "cancelled": ("DELETE", "/queue/{entry_id}", None),
    "cleared": ("POST", "/queue/clear", None),
    "purged": ("POST", "/abort?purge_queue=true", None),
    "deleted": ("DELETE", "", None),
}


@pytest.mark.parametrize("way", WAYS_OUT)
async def test_who_waits_for_a_message_that_never_runs_is_told_at_once(way: str) -> None:
    method, path, body = WAYS_OUT[way]
    async with talking(busy_model("new")) as talk:
        await occupy(talk)
        waiting = asyncio.create_task(talk.post("x", queue_mode="wait"))
        await talk.recorder.wait_for("message_queued")
        (entry,) = (await talk.get("/queue"))["entries"]
        url = talk.path + path.format(entry_id=entry["id"])
        assert (await talk.client.request(method, url, json=body)).status_code == 200
        # Its turn could not have begun: the first one still waits, or was cut off with it.
        answer = await waiting
        assert answer.status_code == 500
        told = "was replaced" if way == "replaced" else "was removed from the queue"
        assert answer.json()["detail"] == f"the message {told}"
        started = [one["correlation_id"] for one in talk.recorder.of("message_started")]
        assert entry["correlation_id"] not in started


@pytest.mark.parametrize(("method", "path"), [("POST", "/abort"), ("DELETE", "")])
async def test_who_waits_for_a_turn_that_is_cut_off_is_told_at_once(method: str, path: str) -> None:
    async with talking(FakeModel().will_stream_text(["a", "b"], delay=30.0)) as talk:
        waiting = asyncio.create_task(talk.post("x", queue_mode="wait"))
        await talk.recorder.wait_for("token")
        assert (await talk.client.request(method, talk.path + path)).status_code == 200
        answer = await waiting
        assert (answer.status_code, answer.json()["detail"]) == (500, "the turn was cut off")


async def test_who_waits_behind_an_aborted_turn_goes_on_waiting() -> None:
    async with talking(busy_model()) as talk:
        first = await occupy(talk)
        waiting = asyncio.create_task(talk.send("x", queue_mode="wait"))
        await talk.recorder.wait_for("message_queued")
        await talk.act("/abort")
        await talk.end(first)
        assert (await waiting)["status"] == "completed"


@pytest.mark.parametrize("mode", ["async", "wait"])
async def test_a_repeated_client_message_id_is_not_run_twice(mode: str) -> None:
    model = FakeModel().will_respond_with_text("a")
    async with talking(model) as talk:
        first = await talk.send("x", client_message_id="m-1", queue_mode=mode)
        again = await talk.send("x", client_message_id="m-1", queue_mode=mode)
        await talk.end(first["correlation_id"])
        late = await talk.send("x", client_message_id="m-1", queue_mode=mode)
        assert first["correlation_id"] == again["correlation_id"] == late["correlation_id"]
        assert len(talk.recorder.of("user_message")) == 1
    assert model.request_count == 1


async def test_a_message_is_taken_out_of_the_queue_by_the_id_of_its_row() -> None:
    model = busy_model("b")
    async with talking(model) as talk:
        await occupy(talk)
        gone, stays = await talk.send("gone"), await talk.send("stays")
        entries = (await talk.client.get(f"{talk.path}/queue")).json()["data"]["entries"]
        entry_id = entries[0]["id"]
        answer = (await talk.client.delete(f"{talk.path}/queue/{entry_id}")).json()
        assert answer == {"success": True, "data": {"cancelled": True, "entry_id": entry_id}}
        again = (await talk.client.delete(f"{talk.path}/queue/{entry_id}")).json()
        assert (again["success"], again["data"]["cancelled"]) == (False, False)
        cancelled = await talk.recorder.wait_for("message_cancelled")
        assert cancelled["correlation_id"] == entry_id != gone["correlation_id"]
        assert cancelled["payload"] == {"session_id": talk.session_id, "entry_id": entry_id}
        await release(talk)
        await talk.end(stays["correlation_id"])
        finished = await talk.client.get(f"{talk.path}/queue", params={"include_finished": True})
        assert [one["status"] for one in finished.json()["data"]["entries"]] == ["cancelled", "completed"]
    assert model.request_count == 3


async def test_clearing_the_queue_tells_it_once() -> None:
    model = busy_model()
    async with talking(model) as talk:
        first = await occupy(talk)
        await talk.send("a")
        await talk.send("b")
        cleared = (await talk.client.post(f"{talk.path}/queue/clear")).json()
        assert cleared["data"] == {"cancelled": 2}
        event = await talk.recorder.wait_for("queue_cleared")
        assert event["payload"] == {"session_id": talk.session_id, "cancelled": 2}
        assert event["correlation_id"] == event["op_id"] == f"queue-{talk.session_id}"
        await release(talk)
        await talk.end(first)
        assert talk.recorder.of("message_cancelled") == []
    assert model.request_count == 2
