"""What a join brings, and other ways to read back on build A (contract: events, sections 3 and 4.3)."""

from typing import Any

import pytest

from digitorn_testing.fakes import FakeDaemon, FakeModel
from support.recorder import APP, another, recording, talking

SNAPSHOTS = ["queue:snapshot", "state:snapshot", "active_ops:snapshot", "session:snapshot"]
SEVEN = {"type", "seq", "kind", "app_id", "session_id", "payload", "ts"}


async def test_the_handshake() -> None:
    with FakeDaemon() as daemon:
        async with recording(daemon) as recorder:
            greeting = await recorder.wait_for("connected")
            assert recorder.types() == ["connected"]
            assert greeting["kind"] == "system"
            assert greeting["payload"] == {}
            assert greeting["seq"] == greeting["latest_seq"] == 0
            assert greeting["capabilities"] == ["full_events"]
            assert (greeting["app_id"], greeting["session_id"]) == (None, None)
            assert greeting["user_id"].startswith("u-")
            assert not {"event_id", "op_id", "correlation_id"} & greeting.keys()
            assert await recorder.call("ping", {"any": 1}, namespace="/") == {"pong": True}


async def test_a_new_session_brings_snapshots_alone_and_the_ack_comes_last() -> None:
    async with talking(FakeModel()) as talk, recording(talk.daemon) as late:
        await late.wait_for("connected")
        ack = await late.join(talk.session_id)
        assert ack == {"ok": True, "room": f"session:{talk.session_id}", "latest_seq": 0}
        # Nothing is awaited here: the ack is the last thing that comes.
        assert late.types(1) == SNAPSHOTS
        for frame in (late.of("queue:snapshot")[0], late.of("state:snapshot")[0]):
            assert frame.keys() == SEVEN
            assert frame["ts"].endswith("+00:00")
        for frame in (late.of("active_ops:snapshot")[0], late.of("session:snapshot")[0]):
            assert frame["event_id"] == f"ev-hydr-{frame['seq']}"
            assert frame["op_id"] == f"hydration-{talk.session_id}"
            assert (frame["op_type"], frame["op_state"]) == ("system", "completed")
            assert frame["correlation_id"] is None
        assert late.of("state:snapshot")[0]["payload"]["turn"] is None


async def test_a_join_replays_the_whole_log_in_a_shape_of_its_own() -> None:
    async with talking(FakeModel().will_respond_with_text("a")) as talk:
        await talk.run("hi")
        live = {one["seq"]: one for one in talk.recorder.frames if one.get("correlation_id")}
        async with recording(talk.daemon) as late:
            await late.wait_for("connected")
            await late.join(talk.session_id)
            rows = late.frames[1 : -len(SNAPSHOTS)]
            assert [one["seq"] for one in rows] == sorted(live)
            assert late.types()[-len(SNAPSHOTS) :] == SNAPSHOTS
            for row in rows:
                original = live[row["seq"]]
                assert row["event_id"] == row["payload"]["event_id"] == original["event_id"]
                assert row["payload"]["op_id"] == row["op_id"] == original["op_id"]
                assert row["kind"] == original["kind"]
                assert {k: row["payload"][k] for k in original["payload"]} == original["payload"]
                assert "replayed" not in row
                assert "op_parent_id" not in row
                assert row["ts"].endswith("+00:00")


async def test_since_is_exclusive_and_brings_each_event_twice() -> None:
    async with talking(FakeModel().will_respond_with_text("a")) as talk:
        await talk.run("hi")
        since = talk.recorder.of("message_started")[0]["seq"]
        async with recording(talk.daemon) as late:
            await late.wait_for("connected")
            # Numbers may come as text.
            await late.join(talk.session_id, since=str(since))
            missed = [one["seq"] for one in await talk.log() if one["seq"] > since]
            types = late.types(1)
            first_pass = late.frames[1 : 1 + len(missed)]
            second_pass = late.frames[2 + len(missed) : 2 + 2 * len(missed)]
            assert types[len(missed)] == "queue:snapshot"
            assert types[1 + 2 * len(missed) :] == SNAPSHOTS[1:]
            assert [one["seq"] for one in first_pass] == [one["seq"] for one in second_pass] == missed
            for row in second_pass:
                assert row["replayed"] is True
                assert row["kind"] == "event"
                assert not {"event_id", "op_id", "op_type", "op_state"} & row.keys()
                assert {"event_id", "op_id", "op_type", "op_state", "event_kind"} <= row["payload"].keys()


async def test_since_seq_starts_the_second_pass_elsewhere() -> None:
    async with talking(FakeModel().will_respond_with_text("a")) as talk:
        await talk.run("hi")
        logged = [one["seq"] for one in await talk.log()]
        async with recording(talk.daemon) as late:
            await late.wait_for("connected")
            await late.join(talk.session_id, since_seq=logged[-2])
            assert [one["seq"] for one in late.frames if one.get("replayed")] == logged[-1:]
            unflagged = [one["seq"] for one in late.frames[1:] if one["type"] not in SNAPSHOTS]
            assert unflagged[: len(logged)] == logged


async def test_snapshots_spend_numbers_that_the_log_does_not_have() -> None:
    async with talking(FakeModel().will_respond_with_text("a")) as talk:
        snapshots = [one["seq"] for one in talk.recorder.frames if one["type"] in SNAPSHOTS]
        assert snapshots == [1, 2, 3, 4]
        await talk.run("hi")
        assert min(one["seq"] for one in await talk.log()) == 5


async def test_a_join_in_the_middle_of_a_turn_shows_what_is_open() -> None:
    model = FakeModel().will_call_tool("Bash", {"command": "ls"}, requires_approval=True)
    async with talking(model) as talk:
        accepted = await talk.send("go")
        request = await talk.recorder.wait_for("approval_request")
        await talk.send("next")
        async with recording(talk.daemon) as late:
            await late.wait_for("connected")
            await late.join(talk.session_id)
            assert late.types()[-5:] == [*SNAPSHOTS, "approvals:snapshot"]
            pending = late.of("approvals:snapshot")[0]["payload"]
            assert (pending["count"], pending["pending"][0]["request_id"]) == (1, request["op_id"])
            queue = late.of("queue:snapshot")[0]["payload"]
            assert (queue["depth"], queue["is_active"]) == (1, True)
            assert queue["running_correlation_id"] == accepted["correlation_id"]
            state = late.of("state:snapshot")[0]["payload"]
            assert state["turn"]["correlation_id"] == accepted["correlation_id"]
            open_ops = {one["op_type"] for one in late.of("active_ops:snapshot")[0]["payload"]["active_ops"]}
            assert open_ops == {"turn", "tool", "approval"}
            assert late.of("session:snapshot")[0]["payload"]["turn_running"] is True


async def test_an_event_that_is_not_written_yet_is_not_replayed() -> None:
    async with talking(FakeModel().will_respond_with_text("a"), log_delay=60.0) as talk:
        await talk.run("hi")
        assert await talk.log() == []
        async with recording(talk.daemon) as late:
            await late.wait_for("connected")
            await late.join(talk.session_id)
            assert late.types(1) == SNAPSHOTS


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


async def test_a_number_that_is_none_gets_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    async with talking(FakeModel()) as talk:
        answers: list[Any] = []
        request = {"app_id": APP, "session_id": talk.session_id, "since": "soon"}
        await talk.recorder.sio.emit("join_session", request, namespace="/events", callback=answers.append)
        # The answer to what was sent later has come, so none comes for that one.
        await talk.recorder.call("latest_seq", {})
        assert answers == []


async def test_leaving_a_session_ends_its_events() -> None:
    model = FakeModel().will_respond_with_text("a").will_respond_with_text("b")
    async with talking(model) as talk, recording(talk.daemon) as other:
        await other.join(talk.session_id)
        await talk.run("one")
        await other.wait_for("message_done")
        assert await other.call("leave_session", {"session_id": talk.session_id}) == {"ok": True}
        assert await other.call("leave_session", {"session_id": "never-joined"}) == {"ok": True}
        assert (await other.call("leave_session", {}))["error"] == "session_id required"
        await talk.run("two")
        await other.call("latest_seq", {})
        assert len(other.of("message_done")) == 1


async def test_the_ring_buffer_is_replayed_in_seven_fields() -> None:
    async with talking(FakeModel().will_respond_with_text("a")) as talk:
        await talk.run("hi")
        done = talk.recorder.of("message_done")[0]["seq"]
        async with recording(talk.daemon) as other:
            await other.wait_for("connected")
            ack = await other.call("replay", {"since": done - 1, "session_id": talk.session_id})
            assert ack == {"ok": True, "replayed": 1, "latest_seq": 0}
            assert other.types(1) == ["message_done"]
            assert other.frames[1].keys() == SEVEN
            everything = await other.call("replay", {"app_id": APP})
            assert everything["replayed"] == len(await talk.log())
            assert (await other.call("replay", {"session_id": "unknown"}))["replayed"] == 0


async def test_an_app_is_joined_with_and_without_since() -> None:
    async with talking(FakeModel().will_respond_with_text("a")) as talk:
        await talk.run("hi")
        async with recording(talk.daemon) as other:
            await other.wait_for("connected")
            ack = await other.call("join_app", {"app_id": APP})
            assert ack == {"ok": True, "room": f"app:{APP}", "latest_seq": 0}
            assert other.types() == ["connected"]
            await other.call("join_app", {"app_id": APP, "since": 1})
            assert other.types()[-1] == "message_done"
            assert (await other.call("join_app", {}))["error"] == "app_id required"
            assert await other.call("leave_app", {"app_id": APP}) == {"ok": True}
            assert await other.call("latest_seq", {}) == {"ok": True, "latest_seq": 0}


async def test_events_stay_in_their_session() -> None:
    model = FakeModel().will_respond_with_text("a")
    async with talking(model) as talk, another(talk.daemon) as other:
        before = len(other.recorder.frames)
        await talk.run("hi")
        await other.recorder.call("latest_seq", {})
        assert other.recorder.types(before) == []


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
