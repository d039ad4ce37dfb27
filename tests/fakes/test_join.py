"""What a join brings, and other ways to read back (contract: events, sections 3 and 4.3)."""

import asyncio
from typing import Any

import pytest

from digitorn_testing._generated.builders import preview_state_changed
from digitorn_testing._generated.events import EventEnvelope
from digitorn_testing.fakes import FakeDaemon, FakeModel
from digitorn_testing.fakes._store.log import RingBuffer, SessionLog
from support.recorder import APP, another, recording, talking
from support.sessions import add_session
from support.texts import ANSWER, PIECES

SNAPSHOTS = ["queue:snapshot", "active_ops:snapshot", "session:snapshot"]
NOISY = {"token", "in_token", "out_token", "stream_done", "tool_call_streaming", "hook"}
SEVEN = {"type", "seq", "kind", "app_id", "session_id", "payload", "ts"}

# --- a join


async def test_a_join_replays_nothing_and_shows_what_is_so_now() -> None:
    async with talking(FakeModel().will_respond_with_text("a")) as talk:
        await talk.run("hi")
        newest = (await talk.log())[-1]["seq"]
        async with recording(talk.daemon) as late:
            await late.wait_for("connected")
            # `since` has no effect.
            ack = await late.join(talk.session_id, since=1, since_seq=1)
            assert ack == {"ok": True, "room": f"session:{talk.session_id}", "latest_seq": newest}
            # Nothing is awaited here: the ack is the last thing that comes.
            assert late.types(1) == SNAPSHOTS
            assert [one["seq"] for one in late.frames[1:]] == [newest + 1, newest + 2, newest + 3]
            for frame in late.frames[1:]:
                assert frame["event_id"] == f"ev-hydr-{talk.session_id}-{frame['seq']}"
                assert frame["op_id"] == f"hydration-{talk.session_id}"
                assert (frame["op_type"], frame["op_state"]) == ("system", "completed")
                assert (frame["correlation_id"], frame["op_parent_id"]) == (None, None)
                assert frame["ts"].endswith("+00:00")
            assert late.frames[3]["payload"]["tokens"] == {"prompt": 0, "completion": 0, "total": 0}


async def test_snapshots_spend_numbers_that_the_log_does_not_have() -> None:
    async with talking(FakeModel().will_respond_with_text("a")) as talk:
        snapshots = [one["seq"] for one in talk.recorder.frames if one["type"] in SNAPSHOTS]
        assert snapshots == [1, 2, 3]
        await talk.run("hi")
        assert min(one["seq"] for one in await talk.log()) == 4


async def test_a_join_in_the_middle_of_a_turn_brings_the_last_event_of_each_operation() -> None:
    model = FakeModel().will_call_tool("Bash", {}, requires_approval=True, text="I look.")
    async with talking(model) as talk:
        preview = talk.daemon.publish(talk.session_id, preview_state_changed(key="k"))
        accepted = await talk.send("go")
        asked = await talk.recorder.wait_for("approval_request")
        started = talk.recorder.of("tool_start")[0]
        turn = [one for one in talk.recorder.frames if one.get("op_type") == "turn"][-1]
        shown = next(one for one in talk.recorder.frames if one.get("event_id") == preview.event_id)
        async with recording(talk.daemon) as late:
            await late.wait_for("connected")
            ack = await late.join(talk.session_id)
            assert ack["latest_seq"] == asked["seq"]
            assert late.types(1)[:4] == [*SNAPSHOTS, "approvals:snapshot"]
            # As they were first sent, in the order in which the operations began, below the snapshots.
            assert late.frames[5:] == [shown, turn, started, asked]
            assert all(one["seq"] <= ack["latest_seq"] for one in late.frames[5:])
            pending = late.of("approvals:snapshot")[0]["payload"]
            assert (pending["count"], pending["pending"][0]["request_id"]) == (1, asked["op_id"])
            open_ops = late.of("active_ops:snapshot")[0]["payload"]["active_ops"]
            assert [one["op_type"] for one in open_ops] == ["system", "turn", "tool", "approval"]
            assert late.of("session:snapshot")[0]["payload"]["turn_running"] is True
            # A turn that did not come from the queue is not in it.
            queue = late.of("queue:snapshot")[0]["payload"]
            assert (queue["depth"], queue["is_active"], queue["running_correlation_id"]) == (0, False, None)
            waits = await talk.send("next")
            await late.join(talk.session_id)
            queue = late.of("queue:snapshot")[1]["payload"]
            assert (queue["depth"], queue["is_active"]) == (1, True)
            assert queue["running_correlation_id"] == waits["correlation_id"] != accepted["correlation_id"]


async def test_a_join_while_text_is_written_catches_up_with_it() -> None:
    model = FakeModel().will_stream_text(PIECES, delay=30.0)
    async with talking(model) as talk:
        accepted = await talk.send("go")
        token = await talk.recorder.wait_for("token")
        async with recording(talk.daemon) as late:
            await late.wait_for("connected")
            await late.join(talk.session_id)
            assert late.types()[-2:] == ["token", "stream:catchup"]
            assert late.frames[-2] == token
            ((slot, partial),) = late.frames[-1]["payload"]["partials"].items()
            assert partial == {"content": PIECES[0], "correlation_id": accepted["correlation_id"]}
            assert (await talk.get("/history"))["streaming_partials"] == {slot: PIECES[0]}


async def test_a_crash_leaves_an_interrupted_turn_and_a_catchup() -> None:
    model = FakeModel().will_stream_text(PIECES, delay=30.0).will_respond_with_text("resumed")
    async with talking(model) as talk:
        sent = await talk.send("go")
        await talk.recorder.wait_for("token")
        before = talk.daemon.instance_id
        await asyncio.to_thread(talk.daemon.restart)
        async with another(talk.daemon, session_id=talk.session_id) as back:
            assert back.recorder.of("connected")[0]["instance_id"] == talk.daemon.instance_id != before
            snapshot = back.recorder.of("session:snapshot")[0]["payload"]
            assert (snapshot["interrupted"], snapshot["turn_running"]) == (True, False)
            # The turn that was cut off never ends: its last event still counts as in flight.
            assert back.recorder.frames[-2]["correlation_id"] == sent["correlation_id"]
            (partial,) = back.recorder.of("stream:catchup")[0]["payload"]["partials"].values()
            assert partial == {"content": PIECES[0], "correlation_id": None}
            assert (await back.get("/history"))["messages"] == []
            assert (await back.resume())[-1] == "result"


def test_what_is_in_flight_is_forgotten_after_ten_minutes() -> None:
    now = 0.0
    log = SessionLog(delay=0.0, clock=lambda: now)
    with FakeDaemon(listen=False) as daemon:
        daemon.add_app(APP)
        session = add_session(daemon)
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


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({}, "app_id and session_id required"),
        ("text", "app_id and session_id required"),
        ({"app_id": APP}, "app_id and session_id required"),
        ({"app_id": APP, "session_id": ""}, "app_id and session_id required"),
        ({"app_id": APP, "session_id": "unknown"}, "session not found or access denied"),
    ],
)
async def test_a_join_that_is_refused(request_: object, error: str) -> None:
    async with talking(FakeModel()) as talk:
        assert await talk.recorder.call("join_session", request_) == {"ok": False, "error": error}


async def test_another_users_session_looks_absent() -> None:
    async with talking(FakeModel()) as talk:
        eve = talk.daemon.add_user("eve@example.com", "a-long-password", permissions=["*"])
        async with recording(talk.daemon, eve) as recorder:
            assert await recorder.join(talk.session_id) == {
                "ok": False,
                "error": "session not found or access denied",
            }


# --- the log


async def test_the_log_leaves_out_noisy_types_and_the_state_has_them() -> None:
    model = FakeModel().will_call_tool("Bash", {"command": "ls"}, text="I look at it.", result={"n": 1})
    async with talking(model.will_respond_with_text(ANSWER)) as talk:
        await talk.run("hi")
        live = {one["seq"]: one for one in talk.recorder.frames if one.get("correlation_id")}
        rows = {one["seq"]: one for one in await talk.log()}
        assert {one["type"] for seq, one in live.items() if seq not in rows} <= NOISY
        assert not {one["type"] for one in rows.values()} & NOISY
        gap = {one["seq"]: one for one in await talk.gap(1)}
        assert live.keys() <= gap.keys()
        for seq in live.keys() & rows.keys():
            row, original = rows[seq], live[seq]
            assert row["event_id"] == row["payload"]["event_id"] == original["event_id"]
            assert row["payload"]["op_id"] == row["op_id"] == original["op_id"]
            assert row["kind"] == original["kind"]
            assert {k: row["payload"][k] for k in original["payload"]} == original["payload"]
            assert not {"op_parent_id", "app_id"} & row.keys()
            assert row["ts"].endswith("+00:00")
        for seq, original in live.items():
            row = gap[seq]
            assert row.keys() == SEVEN | {"user_id", "correlation_id"}
            assert (row["type"], row["kind"]) == (original["type"], "event")
            assert row["payload"]["event_kind"] == original["kind"]
            assert row["payload"]["event_id"] == original["event_id"]


async def test_rows_that_are_never_sent_spend_numbers() -> None:
    model = FakeModel().will_call_tool("Bash", {"command": "ls"}, text="I look.", result={"n": 1})
    model.will_respond_with_text("One.")
    async with talking(model) as talk:
        await talk.run("go")
        sent = {one.get("seq") for one in talk.recorder.frames}
        rows = [one for one in await talk.log() if one["seq"] not in sent]
        named = [(one["type"], one["kind"]) for one in rows if one["kind"] == "event"]
        assert named == [("tool_call", "event"), ("tool_result", "event")]
        assert {"id", "name", "arguments"} <= rows_of(rows, "tool_call")[0]["payload"].keys()
        for row in rows:
            assert (row["event_id"], row["op_id"], row["op_type"], row["op_state"]) == ("", "", "", "")
            assert row["correlation_id"] == ""
        said = [one["type"] for one in rows if one["kind"] == "message"]
        assert said.count("assistant_message") == 2
        assert said.count("user_message") == 1
        # What was streamed is in the state alone.
        partials = rows_of(await talk.gap(1), "assistant_message_partial")
        assert [one["payload"]["content"] for one in partials] == ["I look.", "One."]
        assert (await talk.get("/active-ops"))["active_ops"] == []


def rows_of(rows: list[dict[str, Any]], wire: str) -> list[dict[str, Any]]:
    return [one for one in rows if one["type"] == wire]


async def test_gaps_are_filled_over_http() -> None:
    async with talking(FakeModel().will_respond_with_text(ANSWER)) as talk:
        await talk.run("go")
        everything = await talk.gap(1)
        since = everything[2]["seq"]
        state = await talk.get("/state", since_seq=since)
        assert state["gap_events"] == everything[3:]
        assert (state["seq"], state["turn"]) == (everything[-1]["seq"], None)
        # The first number cannot be asked for like this.
        assert (await talk.get("/state"))["gap_events"] == []
        live = [one for one in talk.recorder.frames if one.get("seq", 0) > since]
        ring = await talk.get("/snapshot", since=since)
        assert (ring["full"], ring["since"], ring["instance_id"]) == (False, since, talk.daemon.instance_id)
        assert ring["current_seq"] == everything[-1]["seq"]
        assert ring["event_count"] == len(ring["events"])
        assert [one["seq"] for one in ring["events"]] == [one["seq"] for one in live]
        assert {frozenset(one) for one in ring["events"]} == {frozenset(SEVEN)}


async def test_an_event_that_is_not_written_yet_cannot_be_read_back() -> None:
    async with talking(FakeModel().will_respond_with_text("a"), log_delay=60.0) as talk:
        await talk.run("hi")
        assert await talk.log() == await talk.gap(1) == []


# --- the ring buffer


async def test_the_ring_buffer_is_replayed_in_seven_fields() -> None:
    async with talking(FakeModel().will_respond_with_text("a")) as talk:
        await talk.run("hi")
        last = talk.recorder.of("turn_terminal")[0]["seq"]
        async with recording(talk.daemon) as other:
            await other.wait_for("connected")
            ack = await other.call("replay", {"since": last - 1, "session_id": talk.session_id})
            assert ack == {"ok": True, "replayed": 1, "latest_seq": 0}
            assert other.types(1) == ["turn_terminal"]
            assert other.frames[1].keys() == SEVEN
            everything = await other.call("replay", {"app_id": APP})
            live = [one for one in talk.recorder.frames if one.get("correlation_id")]
            assert everything["replayed"] == len(live)
            assert (await other.call("replay", {"session_id": "unknown"}))["replayed"] == 0


def test_a_ring_that_has_lost_events_cannot_bridge_them() -> None:
    ring = RingBuffer()
    for seq in range(1, 2003):
        ring.append(EventEnvelope(type="token", seq=seq, session_id="s", payload={}))
    assert [ring.bridges("s", since) for since in (0, 1, 2)] == [False, False, True]
    assert ring.bridges("other", 0)
