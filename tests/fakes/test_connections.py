"""The embedded daemon as build B (docs/contract/README.md)."""

from typing import Any, cast

import httpx
import pytest

from digitorn_testing._generated.builders import preview_state_changed
from digitorn_testing._generated.events import EventEnvelope, LoggedCompactDone
from digitorn_testing.fakes import FakeDaemon, FakeModel
from digitorn_testing.fakes._store.log import RingBuffer, SessionLog
from fakes.test_queue import busy_model, release
from support.recorder import APP, Recorder, Talk, another, http, recording, talking

SNAPSHOTS = ["queue:snapshot", "active_ops:snapshot", "session:snapshot"]
LOG_ONLY = {"assistant_message_partial", "assistant_message", "tool_result"}


async def turn(talk: Talk, message: str = "go") -> list[str]:
    """Sends a message and waits for the last event of its turn; gives the folded types of the turn."""
    accepted = await talk.send(message)
    await ended(talk.recorder, accepted["correlation_id"])
    return talk.recorder.turn(accepted["correlation_id"])


async def ended(recorder: Recorder, correlation_id: str) -> str:
    """Waits for the last event of a turn; gives its status."""

    def last(frames: list[dict[str, Any]]) -> dict[str, Any] | None:
        found = (one for one in frames if one["type"] == "turn_terminal")
        return next((one for one in found if one["correlation_id"] == correlation_id), None)

    await recorder.until(lambda frames: last(frames) is not None)
    found = last(recorder.frames)
    assert found is not None
    assert found["op_state"] == "completed"
    return cast("str", found["payload"]["status"])


async def occupy(talk: Talk) -> str:
    """Starts a turn that waits for an approval; gives its correlation id."""
    accepted = await talk.send("first")
    await talk.recorder.wait_for("approval_request")
    return str(accepted["correlation_id"])


# --- connections


async def test_the_handshake_is_a_control_frame_that_names_the_instance() -> None:
    with FakeDaemon() as daemon:
        async with recording(daemon) as recorder, http(daemon) as client:
            greeting = await recorder.wait_for("connected")
            assert greeting["control"] is True
            assert greeting["instance_id"] == daemon.instance_id
            assert greeting["latest_seq"] == 0
            assert not {"seq", "event_id", "op_id", "correlation_id"} & greeting.keys()
            for path in ("/healthz", "/api/apps", "/nowhere"):
                assert (await client.get(path)).headers["X-Digitorn-Instance"] == daemon.instance_id
    first = greeting["instance_id"]
    with daemon:
        assert daemon.instance_id != first


async def test_build_a_names_no_instance_and_takes_no_commands_of_build_b() -> None:
    async with talking(FakeModel()) as talk:
        assert talk.daemon.instance_id is None
        assert "X-Digitorn-Instance" not in (await talk.client.get("/healthz")).headers
        assert (await talk.client.get(f"{talk.path}/snapshot")).status_code == 404
        answers: list[Any] = []
        request = {"app_id": APP, "session_id": talk.session_id}
        await talk.recorder.sio.emit("abort_turn", request, namespace="/events", callback=answers.append)
        await talk.recorder.call("latest_seq", {})
        assert answers == []
    with pytest.raises(ValueError, match="builds A, B"):
        FakeDaemon(build=cast("Any", "C"))


@pytest.mark.parametrize(
    ("build", "interval", "timeout", "most"), [("A", 25, 10, 1_000_000), ("B", 60, 20, 256_000)]
)
async def test_the_engine(build: Any, interval: int, timeout: int, most: int) -> None:
    with FakeDaemon(build=build) as daemon:
        daemon.add_app(APP)
        async with httpx.AsyncClient(base_url=daemon.url) as client:
            opened = (await client.get("/socket.io/", params={"EIO": 4, "transport": "polling"})).text
        assert f'"pingInterval":{interval * 1000}' in opened
        assert f'"pingTimeout":{timeout * 1000}' in opened
        async with recording(daemon) as recorder:
            request = {"app_id": APP, "session_id": "s", "message": "x" * (most - 1000)}
            assert (await recorder.call("send_message", request))["ok"]
            await recorder.sio.emit("send_message", {**request, "message": "x" * most}, namespace="/events")
            await recorder.lost.wait()


async def test_heartbeats_tell_the_instance_and_the_newest_number() -> None:
    async with talking(FakeModel(), heartbeat=0.01) as talk:
        beat = await talk.recorder.wait_for("heartbeat")
        assert beat["control"] is True
        assert (beat["session_id"], beat["app_id"]) == (talk.session_id, None)
        assert (beat["instance_id"], beat["current_seq"]) == (talk.daemon.instance_id, len(SNAPSHOTS))
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
            await turn(third)
        await turn(other)
        await ended(talk.recorder, other.recorder.of("turn_terminal")[0]["correlation_id"])
        assert {one["session_id"] for one in talk.recorder.frames[before:]} == {other.session_id}


async def test_approvals_are_asked_in_the_session_alone() -> None:
    model = FakeModel().will_call_tool("Bash", requires_approval=True).will_respond_with_text("ok")
    async with talking(model) as talk, recording(talk.daemon) as bystander:
        await talk.send("go")
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
        assert await ended(talk.recorder, talk.recorder.of("tool_start")[0]["correlation_id"]) == "completed"
        assert talk.recorder.of("approval_resolved")[0]["payload"]["reason"] == "fine"
        assert len(talk.recorder.of("approval_request")) == 1
        assert bystander.types() == ["connected"]


# --- joining


async def test_a_join_replays_nothing_and_shows_what_is_so_now() -> None:
    async with talking(FakeModel().will_respond_with_text("a")) as talk:
        await turn(talk)
        newest = (await talk.log())[-1]["seq"]
        async with recording(talk.daemon) as late:
            await late.wait_for("connected")
            # `since` has no effect.
            ack = await late.join(talk.session_id, since=1, since_seq=1)
            assert ack == {"ok": True, "room": f"session:{talk.session_id}", "latest_seq": newest}
            assert late.types(1) == SNAPSHOTS
            assert [one["seq"] for one in late.frames[1:]] == [newest + 1, newest + 2, newest + 3]
            for frame in late.frames[1:]:
                assert frame["event_id"] == f"ev-hydr-{talk.session_id}-{frame['seq']}"
                assert frame["op_id"] == f"hydration-{talk.session_id}"
                assert (frame["op_type"], frame["op_state"]) == ("system", "completed")
                assert frame["ts"].endswith("+00:00")
            assert late.frames[3]["payload"]["tokens"] == {"prompt": 0, "completion": 0, "total": 0}


async def test_a_join_in_the_middle_of_a_turn_brings_the_last_event_of_each_operation() -> None:
    model = FakeModel().will_call_tool("Bash", {}, requires_approval=True, text="I look.")
    async with talking(model) as talk:
        preview = talk.daemon.publish(talk.session_id, preview_state_changed(key="k"))
        await talk.send("go")
        asked = await talk.recorder.wait_for("approval_request")
        started = talk.recorder.of("tool_start")[0]
        turn_op = [one for one in talk.recorder.frames if one.get("op_type") == "turn"][-1]
        shown = next(one for one in talk.recorder.frames if one.get("event_id") == preview.event_id)
        async with recording(talk.daemon) as late:
            await late.wait_for("connected")
            ack = await late.join(talk.session_id)
            assert ack["latest_seq"] == asked["seq"]
            assert late.types(1)[:4] == [*SNAPSHOTS, "approvals:snapshot"]
            # As they were first sent, in the order in which the operations began, below the snapshots.
            assert late.frames[5:] == [shown, turn_op, started, asked]
            assert all(one["seq"] < ack["latest_seq"] + 1 for one in late.frames[5:])


async def test_a_join_while_text_is_written_catches_up_with_it() -> None:
    model = FakeModel().will_stream_text(["Hel", "lo", "!"], delay=30.0)
    async with talking(model) as talk:
        accepted = await talk.send("go")
        token = await talk.recorder.wait_for("token")
        async with recording(talk.daemon) as late:
            await late.wait_for("connected")
            await late.join(talk.session_id)
            assert late.types()[-2:] == ["token", "stream:catchup"]
            assert late.frames[-2] == token
            (partial,) = late.frames[-1]["payload"]["partials"].values()
            assert partial == {"content": "Hel", "correlation_id": accepted["correlation_id"]}


def test_what_is_in_flight_is_forgotten_after_ten_minutes() -> None:
    now = 0.0
    log = SessionLog(delay=0.0, clock=lambda: now)
    with FakeDaemon(listen=False) as daemon, daemon.client() as client:
        daemon.add_app(APP)
        session = client.new_session(APP)
        shown = daemon.publish(session, preview_state_changed(key="k"))
        found = daemon.sessions.get(session.session_id)
        assert found is not None
        (row,) = found.log.in_flight()
        assert row.event_id == shown.event_id
    log.append(row)
    now = 600.0
    assert log.in_flight() == [row]
    now = 600.1
    assert log.in_flight() == []


# --- messages and their turns


async def test_a_turn_over_http() -> None:
    model = FakeModel().will_respond_with_text("a").will_respond_with_text("b")
    async with talking(model) as talk:
        accepted = await talk.send("go")
        assert await ended(talk.recorder, accepted["correlation_id"]) == "completed"
        assert talk.recorder.turn(accepted["correlation_id"]) == [
            "user_message",
            "message_started",
            "token",
            "stream_done",
            "result",
            "message_done",
            "turn_terminal",
        ]
        assert accepted["seq"] == talk.recorder.of("user_message")[0]["seq"]
        started = talk.recorder.of("message_started")[0]["payload"]
        assert (started["fast_path"], started["source"]) == (True, "fast")
        assert talk.recorder.of("result")[0]["payload"]["model"]
        assert "fast_path" not in talk.recorder.of("message_done")[0]["payload"]


async def test_a_message_over_the_socket_is_told_of_as_one_that_waits() -> None:
    async with talking(FakeModel().will_respond_with_text("a")) as talk:
        request = {"app_id": APP, "session_id": talk.session_id, "message": "go"}
        ack = await talk.recorder.call("send_message", request)
        assert await ended(talk.recorder, ack["correlation_id"]) == "completed"
        told = talk.recorder.of("user_message")[0]
        assert (told["op_type"], told["op_state"], told["payload"]["pending"]) == ("message", "pending", True)
        assert "client_message_id" not in told["payload"]
        started = talk.recorder.of("message_started")[0]
        assert started["seq"] > told["seq"]
        assert (started["payload"]["fast_path"], started["payload"]["source"]) == (False, "resume")


async def test_a_message_that_waits_is_drained_behind_the_terminal_of_the_turn_before() -> None:
    model = busy_model().will_respond_with_text("b")
    async with talking(model) as talk:
        first = await occupy(talk)
        second = await talk.send("next")
        assert "seq" not in second
        await release(talk)
        for one in (first, second["correlation_id"]):
            assert await ended(talk.recorder, one) == "completed"
        started = talk.recorder.of("message_started")[1]
        assert (started["payload"]["fast_path"], started["payload"]["source"]) == (False, "drain")
        assert started["seq"] > talk.recorder.of("turn_terminal")[0]["seq"]


async def test_a_provider_that_fails_ends_its_turn_as_completed() -> None:
    async with talking(FakeModel().will_fail("rate_limited", "slow down")) as talk:
        types = await turn(talk)
        assert types[-4:] == ["error", "result", "message_done", "turn_terminal"]
        assert talk.recorder.of("turn_terminal")[0]["payload"]["status"] == "completed"
        assert talk.recorder.of("result")[0]["payload"]["error"] == "slow down"


async def test_a_failure_before_the_loop_has_no_result() -> None:
    model = busy_model().will_fail("session_busy", times=2)
    async with talking(model) as talk:
        await occupy(talk)
        drained = await talk.send("drained")
        await release(talk)
        error = await talk.recorder.wait_for("error")
        assert (await turn(talk))[-3:] == ["error", "message_done", "turn_terminal"]
        assert talk.recorder.of("turn_terminal")[-1]["payload"]["status"] == "failed"
        # One from the queue ends with the error alone.
        assert talk.recorder.turn(drained["correlation_id"])[-1] == "error"
        assert error["correlation_id"] == drained["correlation_id"]


@pytest.mark.parametrize("code", ["credential_required", "credential_auth_required"])
async def test_a_turn_without_a_credential_pauses_and_the_queue_stops(code: Any) -> None:
    model = busy_model().will_fail(code).will_respond_with_text("on")
    async with talking(model) as talk:
        await occupy(talk)
        paused, waits = await talk.send("paused"), await talk.send("waits")
        await release(talk)
        asked = await talk.recorder.wait_for(code)
        assert (asked["op_state"], asked["correlation_id"]) == ("waiting_approval", paused["correlation_id"])
        assert asked["payload"]["correlation_id"] == paused["correlation_id"]
        queue = await talk.get("/queue", include_finished=True)
        ends = {one["correlation_id"]: (one["status"], one["error_code"]) for one in queue["entries"]}
        assert ends == {paused["correlation_id"]: ("failed", code), waits["correlation_id"]: ("queued", "")}
        assert talk.recorder.turn(paused["correlation_id"])[-1] == code
        # A join starts what waits.
        await talk.recorder.join(talk.session_id)
        assert await ended(talk.recorder, waits["correlation_id"]) == "completed"


# --- cutting off


async def test_an_abort_ends_a_drained_turn_as_cancelled_too() -> None:
    model = busy_model().will_stream_text(["a", "b"], delay=30.0)
    async with talking(model) as talk:
        await occupy(talk)
        accepted = await talk.send("next")
        await release(talk)
        # The turn before has tokens too.
        await talk.recorder.until(
            lambda frames: (
                ("token", accepted["correlation_id"])
                in [(one["type"], one.get("correlation_id")) for one in frames]
            )
        )
        await talk.act("/abort")
        assert await ended(talk.recorder, accepted["correlation_id"]) == "interrupted"
        assert talk.recorder.turn(accepted["correlation_id"])[-2:] == ["message_cancelled", "turn_terminal"]
        (cancelled,) = talk.recorder.of("message_cancelled")
        assert cancelled["payload"]["reason"] == "task_cancelled"
        assert len(talk.recorder.of("abort")) == 1


async def test_an_abort_over_the_socket_has_no_event_of_its_own() -> None:
    model = FakeModel().will_call_tool("Bash", requires_approval=True)
    async with talking(model) as talk:
        accepted = await talk.send("go")
        await talk.send("waits")
        await talk.recorder.wait_for("approval_request")
        request = {"app_id": APP, "session_id": talk.session_id, "purge_queue": True}
        assert await talk.recorder.call("abort_turn", request) == {
            "ok": True,
            "was_active": True,
            "task_cancelled": True,
            "pending_approvals_cancelled": 1,
            "queue_purged": 1,
        }
        assert await ended(talk.recorder, accepted["correlation_id"]) == "interrupted"
        assert talk.recorder.of("abort") == []
        idle = await talk.recorder.call("abort_turn", {**request, "purge_queue": False})
        assert (idle["was_active"], idle["queue_purged"]) == (False, 0)
        refusals: list[tuple[dict[str, Any], str]] = [
            ({}, "app_id and session_id required"),
            ({**request, "session_id": "x"}, "session not found"),
        ]
        for asked, error in refusals:
            assert (await talk.recorder.call("abort_turn", asked))["error"].startswith(error)


# --- what was missed


async def test_rows_that_are_never_sent_spend_numbers() -> None:
    model = FakeModel().will_call_tool("Bash", {"command": "ls"}, text="I look.", result={"n": 1})
    model.will_respond_with_text("One.")
    async with talking(model) as talk:
        await turn(talk)
        sent = {one.get("seq") for one in talk.recorder.frames}
        rows = [one for one in await talk.log() if one["seq"] not in sent]
        assert [one["type"] for one in rows] == [
            "assistant_message_partial",
            "assistant_message",
            "tool_call",
            "tool_result",
            "assistant_message_partial",
            "assistant_message",
        ]
        assert {one["kind"] for one in rows if one["type"] == "assistant_message"} == {"message"}
        assert rows[2]["payload"].keys() == {"id", "name", "arguments", "correlation_id"}
        assert not any("op_id" in one for one in rows)
        ops = (await talk.get("/active-ops"))["active_ops"]
        assert ops == []


async def test_a_compaction_is_logged_beside_its_event() -> None:
    model = FakeModel().will_respond_with_text("a", times=None)
    async with talking(model) as talk:
        for _ in range(4):
            await turn(talk)
        await talk.act("/compact")
        event = await talk.recorder.wait_for("compaction")
        row = (await talk.log())[-1]
        assert (row["type"], row["seq"]) == ("compact_done", event["seq"] + 1)
        assert row["payload"]["cutoff_seq"] == event["payload"]["compacted_range"]["to_seq"]
        assert LoggedCompactDone.from_wire(row["payload"]).summary == event["payload"]["summary_text"]


async def test_gaps_are_filled_over_http() -> None:
    async with talking(FakeModel().will_respond_with_text("a")) as talk:
        await turn(talk)
        logged = await talk.log()
        since = logged[2]["seq"]
        state = await talk.get("/state", since_seq=since)
        assert [one["seq"] for one in state["gap_events"]] == [one["seq"] for one in logged[3:]]
        for row in state["gap_events"]:
            assert row["kind"] == "event"
            assert not {"event_id", "op_id", "replayed"} & row.keys()
            assert "event_kind" in row["payload"]
        assert (state["seq"], state["turn"]) == (logged[-1]["seq"], None)
        ring = await talk.get("/snapshot", since=since)
        assert (ring["full"], ring["since"], ring["instance_id"]) == (False, since, talk.daemon.instance_id)
        assert ring["current_seq"] == logged[-1]["seq"]
        assert ring["event_count"] == len(ring["events"])
        assert [one["type"] for one in ring["events"]] == [
            one["type"] for one in logged[3:] if one["type"] not in LOG_ONLY
        ]
        assert not any("event_id" in one for one in ring["events"])


def test_a_ring_that_has_lost_events_cannot_bridge_them() -> None:
    ring = RingBuffer()
    for seq in range(1, 2003):
        ring.append(EventEnvelope(type="token", seq=seq, session_id="s", payload={}))
    assert [ring.bridges("s", since) for since in (0, 1, 2)] == [False, False, True]
    assert ring.bridges("other", 0)


async def test_the_newest_number_of_a_session() -> None:
    async with talking(FakeModel()) as talk:
        answer = await talk.recorder.call("latest_seq", {"session_id": talk.session_id})
        assert answer == {"ok": True, "latest_seq": len(SNAPSHOTS)}
        for request in ({}, {"session_id": "unknown"}):
            assert (await talk.recorder.call("latest_seq", request))["latest_seq"] == 0
        eve = talk.daemon.add_user("eve@example.com", "a-long-password", permissions=["*"])
        async with recording(talk.daemon, eve) as foreign:
            assert (await foreign.call("latest_seq", {"session_id": talk.session_id}))["latest_seq"] == 0
