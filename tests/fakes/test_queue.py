"""The queue of a session (contract: events, section 6.4; rest, section 4.2)."""

import asyncio
from typing import Any

import pytest

from digitorn_testing.fakes import FakeModel
from support.recorder import APP, Talk, talking
from support.texts import ANSWER, PIECES


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
    await talk.recorder.wait_for("approval_request")
    return str(accepted["correlation_id"])


async def release(talk: Talk) -> None:
    """Lets that turn go on."""
    request_id = talk.recorder.of("approval_request")[0]["payload"]["request_id"]
    await talk.resolve(request_id, approved=True)


async def queue_up(talk: Talk) -> tuple[str, str]:
    """Starts that turn and one more that waits for its end, so that what is sent then waits in the queue."""
    return await occupy(talk), str((await talk.send("second"))["correlation_id"])


async def test_a_second_message_counts_as_started_while_the_first_runs() -> None:
    async with talking(busy_model(ANSWER)) as talk:
        first = await occupy(talk)
        queued = await talk.send("next", client_message_id="mine")
        assert queued["status"] == "queued"
        assert (queued["position"], queued["queue_depth"], queued["replaced"]) == (1, 1, False)
        assert "seq" not in queued
        second = queued["correlation_id"]
        started = await talk.recorder.wait_for_turn("message_started", second)
        (row,) = (await talk.get("/queue"))["entries"]
        assert (row["status"], row["correlation_id"]) == ("running", second)
        assert row["started_at"] >= row["enqueued_at"]
        await release(talk)
        assert [await talk.end(one) for one in (first, second)] == ["completed"] * 2
        assert talk.recorder.turn(second) == [
            "message_queued",
            "user_message",
            "message_started",
            "token",
            "stream_done",
            "result",
            "message_done",
            "turn_terminal",
        ]
        announced, user = talk.recorder.of("message_queued")[0], talk.recorder.of("user_message")[1]
        assert announced["op_state"] == user["op_state"] == "pending"
        assert user["payload"]["pending"] is True
        assert user["payload"]["client_message_id"] == "mine"
        assert announced["payload"]["message_preview"] == "next"
        assert started["payload"]["position"] == 1
        assert (started["payload"]["fast_path"], started["payload"]["source"]) == (False, "drain")
        # The first turn goes on and ends; only then does the model get to work for the second one.
        ends = talk.recorder.of("turn_terminal")
        assert [one["correlation_id"] for one in ends] == [first, second]
        worked = await talk.recorder.wait_for_turn("token", second)
        assert started["seq"] < ends[0]["seq"] < worked["seq"]


async def test_messages_run_first_come_first_served() -> None:
    model = busy_model("a", "b", "c")
    async with talking(model) as talk:
        await occupy(talk)
        sent = [(await talk.send(text))["correlation_id"] for text in ("1", "2", "3")]
        await talk.recorder.wait_for("message_started", 2)
        listed = (await talk.get("/queue"))["entries"]
        assert [one["message"] for one in listed] == ["1", "2", "3"]
        assert [one["position"] for one in listed] == [1, 2, 3]
        # One alone is started ahead.
        assert [one["status"] for one in listed] == ["running", "queued", "queued"]
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


async def test_replace_last_takes_the_place_of_the_last_one() -> None:
    model = busy_model("a", "b")
    async with talking(model) as talk:
        await queue_up(talk)
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


async def test_replace_last_waits_like_any_other_if_there_is_nothing_to_replace() -> None:
    async with talking(busy_model("a", "b")) as talk:
        await occupy(talk)
        # The one that has been started ahead cannot be replaced either.
        sent = [await talk.send(text, queue_mode="replace_last") for text in ("x", "y")]
        assert [(one["status"], one["replaced"]) for one in sent] == [("queued", False)] * 2
        await release(talk)
        await talk.end(sent[1]["correlation_id"])


async def test_wait_answers_when_the_turn_is_over() -> None:
    async with talking(FakeModel().will_wait(0.05).will_respond_with_text("a").will_fail()) as talk:
        done = await talk.send("x", queue_mode="wait")
        assert done["status"] == "completed"
        history = await talk.get("/history")
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
    async with talking(busy_model("second", "new")) as talk:
        await queue_up(talk)
        waiting = asyncio.create_task(talk.post("x", queue_mode="wait"))
        await talk.recorder.wait_for("message_queued", 2)
        entry = (await talk.get("/queue"))["entries"][-1]
        url = talk.path + path.format(entry_id=entry["id"])
        assert (await talk.client.request(method, url, json=body)).status_code == 200
        # Its turn could not have begun: another one is before it, or was cut off with it.
        answer = await waiting
        assert answer.status_code == 500
        told = "was replaced" if way == "replaced" else "was removed from the queue"
        assert answer.json()["detail"] == f"the message {told}"
        started = [one["correlation_id"] for one in talk.recorder.of("message_started")]
        assert entry["correlation_id"] not in started


@pytest.mark.parametrize(("method", "path"), [("POST", "/abort"), ("DELETE", "")])
async def test_who_waits_for_a_turn_that_is_cut_off_is_told_at_once(method: str, path: str) -> None:
    async with talking(FakeModel().will_stream_text(PIECES, delay=30.0)) as talk:
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


async def test_the_same_client_message_id_twice_runs_two_turns() -> None:
    model = FakeModel().will_respond_with_text("a").will_respond_with_text("b")
    async with talking(model) as talk:
        sent = [await talk.send("x", client_message_id="m-1", queue_mode="wait") for _ in range(2)]
        assert sent[0]["correlation_id"] != sent[1]["correlation_id"]
        await talk.recorder.wait_for("result", 2)
        told = [one["payload"]["client_message_id"] for one in talk.recorder.of("user_message")]
        assert told == ["m-1", "m-1"]
    assert model.request_count == 2


async def test_a_message_is_taken_out_of_the_queue_by_the_id_of_its_row() -> None:
    model = busy_model("a", "b")
    async with talking(model) as talk:
        await queue_up(talk)
        gone, stays = await talk.send("gone"), await talk.send("stays")
        entry_id = (await talk.get("/queue"))["entries"][1]["id"]
        answer = (await talk.client.delete(f"{talk.path}/queue/{entry_id}")).json()
        assert (answer["success"], answer["data"]) == (True, {"cancelled": True, "entry_id": entry_id})
        again = (await talk.client.delete(f"{talk.path}/queue/{entry_id}")).json()
        assert (again["success"], again["data"]["cancelled"]) == (False, False)
        cancelled = await talk.recorder.wait_for("message_cancelled")
        assert cancelled["correlation_id"] == entry_id != gone["correlation_id"]
        assert cancelled["payload"] == {"session_id": talk.session_id, "entry_id": entry_id}
        await release(talk)
        await talk.end(stays["correlation_id"])
        rows = (await talk.get("/queue", include_finished=True))["entries"]
        assert [one["status"] for one in rows] == ["completed", "cancelled", "completed"]
    assert [one.last_text for one in model.requests[2:]] == ["second", "stays"]


async def test_clearing_the_queue_tells_it_once() -> None:
    model = busy_model("a")
    async with talking(model) as talk:
        _, started = await queue_up(talk)
        await talk.send("a")
        await talk.send("b")
        assert await talk.act("/queue/clear") == {"cancelled": 2}
        event = await talk.recorder.wait_for("queue_cleared")
        assert event["payload"] == {"session_id": talk.session_id, "cancelled": 2}
        assert event["correlation_id"] == event["op_id"] == f"queue-{talk.session_id}"
        await release(talk)
        # What was started goes on.
        assert await talk.end(started) == "completed"
        assert talk.recorder.of("message_cancelled") == []
    assert model.request_count == 3


@pytest.mark.parametrize("code", ["credential_required", "credential_auth_required"])
async def test_the_queue_stops_behind_a_turn_that_lacks_a_credential(code: Any) -> None:
    model = busy_model().will_fail(code).will_respond_with_text("on")
    async with talking(model) as talk:
        await occupy(talk)
        paused, waits = await talk.send("paused"), await talk.send("waits")
        await release(talk)
        asked = await talk.recorder.wait_for(code)
        assert asked["correlation_id"] == paused["correlation_id"]

        def told(rows: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
            return {one["correlation_id"]: (one["status"], one["error_code"]) for one in rows}

        queue = await talk.get("/queue", include_finished=True)
        assert told(queue["entries"]) == {
            paused["correlation_id"]: ("failed", code),
            waits["correlation_id"]: ("queued", ""),
        }
        # A join starts what waits.
        await talk.recorder.join(talk.session_id)
        assert await talk.end(waits["correlation_id"]) == "completed"
