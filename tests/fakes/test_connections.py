"""Connections, rooms and what sockets ask beside messages (contract: events, sections 1 to 3)."""

from typing import Any

import httpx
import pytest

from digitorn_testing.fakes import FakeDaemon, FakeModel
from support.recorder import APP, another, http, recording, talking

# --- the connection


async def test_the_handshake_is_a_control_frame_that_names_the_instance() -> None:
    with FakeDaemon() as daemon:
        async with recording(daemon) as recorder, http(daemon) as client:
            greeting = await recorder.wait_for("connected")
            assert recorder.types() == ["connected"]
            assert greeting["control"] is True
            assert (greeting["kind"], greeting["payload"]) == ("system", {})
            assert (greeting["app_id"], greeting["session_id"]) == (None, None)
            assert greeting["capabilities"] == ["full_events"]
            assert greeting["instance_id"] == daemon.instance_id
            assert greeting["latest_seq"] == 0
            assert greeting["user_id"].startswith("u-")
            assert not {"seq", "event_id", "op_id", "correlation_id"} & greeting.keys()
            for path in ("/healthz", "/api/apps", "/nowhere"):
                assert (await client.get(path)).headers["X-Digitorn-Instance"] == daemon.instance_id
            assert await recorder.call("ping", {"any": 1}, namespace="/") == {"pong": True}
    first = greeting["instance_id"]
    with daemon:
        assert daemon.instance_id != first


async def test_the_engine() -> None:
    with FakeDaemon() as daemon:
        daemon.add_app(APP)
        async with httpx.AsyncClient(base_url=daemon.url) as client:
            opened = (await client.get("/socket.io/", params={"EIO": 4, "transport": "polling"})).text
        assert '"pingInterval":60000' in opened
        assert '"pingTimeout":20000' in opened
        async with recording(daemon) as recorder:
            request = {"app_id": APP, "session_id": "s", "message": "x" * 255_000}
            assert (await recorder.call("send_message", request))["ok"]
            large = {**request, "message": "x" * 256_000}
            await recorder.sio.emit("send_message", large, namespace="/events")
            await recorder.lost.wait()


async def test_heartbeats_tell_the_instance_and_the_newest_number() -> None:
    async with talking(FakeModel(), heartbeat=0.01) as talk:
        newest = max(one.get("seq", 0) for one in talk.recorder.frames)
        await talk.recorder.until(lambda frames: frames[-1].get("current_seq") == newest)
        beat = talk.recorder.frames[-1]
        assert (beat["type"], beat["control"]) == ("heartbeat", True)
        assert (beat["session_id"], beat["app_id"]) == (talk.session_id, None)
        assert beat["instance_id"] == talk.daemon.instance_id
        assert "seq" not in beat
        await talk.recorder.call("leave_session", {"session_id": talk.session_id})
        before = len(talk.recorder.frames)
        for _ in range(20):
            await talk.recorder.call("latest_seq", {})
        assert talk.recorder.types(before) == []


# --- rooms


async def test_a_socket_is_in_one_session_only() -> None:
    model = FakeModel().will_respond_with_text("a", times=None)
    async with talking(model) as talk, another(talk.daemon) as other:
        await talk.recorder.call("join_app", {"app_id": APP})
        await talk.recorder.join(other.session_id)
        before = len(talk.recorder.frames)
        async with another(talk.daemon, session_id=talk.session_id) as third:
            await third.run("go")
        await other.run("go")
        last = other.recorder.of("turn_terminal")[0]["correlation_id"]
        await talk.recorder.wait_for_turn("turn_terminal", last)
        assert {one["session_id"] for one in talk.recorder.frames[before:]} == {other.session_id}


async def test_leaving_a_session_ends_its_events() -> None:
    model = FakeModel().will_respond_with_text("a").will_respond_with_text("b")
    async with talking(model) as talk, recording(talk.daemon) as other:
        await other.join(talk.session_id)
        await talk.run("one")
        await other.wait_for("turn_terminal")
        assert await other.call("leave_session", {"session_id": talk.session_id}) == {"ok": True}
        assert await other.call("leave_session", {"session_id": "never-joined"}) == {"ok": True}
        assert (await other.call("leave_session", {}))["error"] == "session_id required"
        await talk.run("two")
        await other.call("latest_seq", {})
        assert len(other.of("turn_terminal")) == 1


async def test_approvals_are_asked_in_the_session_alone() -> None:
    model = FakeModel().will_call_tool("Bash", requires_approval=True).will_respond_with_text("ok")
    async with talking(model) as talk, recording(talk.daemon) as bystander:
        sent = await talk.send("go")
        asked = await talk.recorder.wait_for("approval_request")
        refused: list[tuple[dict[str, Any], str]] = [
            ({}, "app_id and request_id required"),
            ({"app_id": APP, "request_id": ""}, "app_id and request_id required"),
            ({"app_id": "none", "request_id": "r"}, "app not deployed"),
            ({"app_id": APP, "request_id": "r"}, "request not found, already resolved, or not authorized"),
        ]
        for request, error in refused:
            assert await talk.recorder.call("resolve_approval", request) == {"ok": False, "error": error}
        decision = {"app_id": APP, "request_id": asked["op_id"], "approved": True, "message": "fine"}
        assert await bystander.call("resolve_approval", decision) == {
            "ok": True,
            "request_id": asked["op_id"],
            "approved": True,
            "payload_received": True,
        }
        assert await talk.end(sent["correlation_id"]) == "completed"
        assert talk.recorder.of("approval_resolved")[0]["payload"]["reason"] == "fine"
        assert len(talk.recorder.of("approval_request")) == 1
        assert bystander.types() == ["connected"]


async def test_an_app_is_joined_with_and_without_since() -> None:
    async with talking(FakeModel().will_respond_with_text("a")) as talk:
        await talk.run("hi")
        async with recording(talk.daemon) as other:
            await other.wait_for("connected")
            ack = await other.call("join_app", {"app_id": APP})
            assert ack == {"ok": True, "room": f"app:{APP}", "latest_seq": 0}
            assert other.types() == ["connected"]
            await other.call("join_app", {"app_id": APP, "since": 1})
            assert other.types()[-1] == "turn_terminal"
            assert (await other.call("join_app", {}))["error"] == "app_id required"
            assert await other.call("leave_app", {"app_id": APP}) == {"ok": True}


# --- what is asked and refused


async def test_the_newest_number_of_a_session() -> None:
    async with talking(FakeModel()) as talk:
        newest = max(one.get("seq", 0) for one in talk.recorder.frames)
        answer = await talk.recorder.call("latest_seq", {"session_id": talk.session_id})
        assert answer == {"ok": True, "latest_seq": newest}
        for request in ({}, {"session_id": "unknown"}):
            assert (await talk.recorder.call("latest_seq", request))["latest_seq"] == 0
        eve = talk.daemon.add_user("eve@example.com", "a-long-password", permissions=["*"])
        async with recording(talk.daemon, eve) as foreign:
            assert (await foreign.call("latest_seq", {"session_id": talk.session_id}))["latest_seq"] == 0


async def test_a_number_that_is_none_gets_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    async with talking(FakeModel()) as talk:
        answers: list[Any] = []
        request = {"app_id": APP, "since": "soon"}
        await talk.recorder.sio.emit("join_app", request, namespace="/events", callback=answers.append)
        # The answer to what was sent later has come, so none comes for that one.
        await talk.recorder.call("latest_seq", {})
        assert answers == []


async def test_the_socket_refuses_a_message_it_cannot_take() -> None:
    async with talking(FakeModel()) as talk:
        refusals = [
            ({"app_id": APP, "session_id": "x"}, "app_id, session_id and message required"),
            ({"app_id": "", "session_id": "x", "message": ""}, "app_id, session_id and message required"),
            ({"app_id": "none", "session_id": "x", "message": ""}, "enqueue failed:"),
        ]
        for request, error in refusals:
            ack = await talk.recorder.call("send_message", request)
            assert ack["ok"] is False
            assert ack["error"].startswith(error)
