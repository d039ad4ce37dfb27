"""Every trap that the contract warns clients of (contract: events, section 8), and its notes on copies.

The daemon sets the trap over real HTTP and Socket.IO, on the build that has it; the client must not fall
into it.
"""

import itertools
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC
from typing import Any, Literal, TypeAlias

import httpx
import pytest
import socketio  # pyright: ignore[reportMissingTypeStubs] - the package has none

from digitorn_testing import (
    ApproveAll,
    AsyncDevClient,
    AsyncLiveEventStream,
    EventLog,
    InvalidPayload,
    JoinRefused,
    SessionHandle,
    UnknownPayload,
)
from digitorn_testing._concurrency.backoff import Backoff
from digitorn_testing._generated import builders
from digitorn_testing._generated.commands import (
    JOIN_APP,
    LATEST_SEQ,
    REPLAY,
    JoinAppRequest,
    LatestSeqRequest,
    ReplayRequest,
)
from digitorn_testing._generated.events import EVENT_NAMESPACE, EventEnvelope
from digitorn_testing.events import (
    ApprovalRequest,
    ApprovalsSnapshot,
    Connected,
    Heartbeat,
    Info,
    MemoryUpdate,
    MessageCancelled,
    MessageDone,
    PreviewStateChanged,
    QueueCleared,
    QueueSnapshot,
    Result,
    StreamCatchup,
    Token,
    ToolCall,
    ToolCallStreaming,
    ToolStart,
    TurnHeartbeat,
    TurnTerminal,
)
from digitorn_testing.fakes import FakeDaemon, FakeModel
from digitorn_testing.fakes._agent.bus import session_room
from support.faces import inner
from support.recorder import APP, SECONDS, Recorder, SocketRefused, recording

Build: TypeAlias = Literal["A", "B"]
Frame: TypeAlias = dict[str, Any]

both = pytest.mark.parametrize("build", ["A", "B"])


class Tap:
    """What comes over a stream's connection: kept as it came, and held back on request."""

    def __init__(self, stream: AsyncLiveEventStream) -> None:
        connection: Any = inner(stream)._machines.socket
        self.frames: list[Frame] = []
        self._held: list[Frame] = []
        self._holds: Callable[[Frame], bool] = lambda _: False
        self._deliver: Callable[[Frame], None] = connection._on_frame
        connection._on_frame = self._take

    def _take(self, frame: Frame) -> None:
        self.frames.append(frame)
        if self._holds(frame):
            self._held.append(frame)
        else:
            self._deliver(frame)

    def hold(self, *wires: str) -> None:
        """Holds back the frames of some types from now on."""
        self._holds = lambda frame: frame["type"] in wires

    def release(self) -> None:
        """Hands over what is held, and holds nothing back any more."""
        self._holds = lambda _: False
        held, self._held = self._held, []
        for frame in held:
            self._deliver(frame)

    def of(self, *wires: str) -> list[Frame]:
        """The frames of some types, as they came."""
        return [frame for frame in self.frames if frame["type"] in wires]


@asynccontextmanager
async def session_on(
    build: Build, model: FakeModel, **options: Any
) -> AsyncGenerator[tuple[FakeDaemon, AsyncDevClient, SessionHandle]]:
    """A session of a client that approves what asks, on a daemon of a build."""
    with FakeDaemon(build=build, **options) as daemon:
        daemon.add_app(APP, model=model)
        async with daemon.async_client() as client:
            yield daemon, client, await client.new_session(APP)


async def caught_up(stream: AsyncLiveEventStream) -> None:
    """Waits until everything that the daemon has sent so far is here."""
    await inner(stream)._machines.socket.call(LATEST_SEQ, LatestSeqRequest(), SECONDS)


def push(daemon: FakeDaemon, session: SessionHandle, frame: Frame) -> None:
    """Makes the daemon send a frame as it is to who has joined a session."""
    room = session_room(session.session_id)
    sending = daemon._running().bus.send(EventEnvelope.from_wire(frame), to=room)
    daemon._running_thread().submit(sending).result(SECONDS)


async def finished(client: AsyncDevClient, session: SessionHandle, text: str = "go") -> str:
    """Runs a turn to its end; gives its correlation id."""
    return (await client.send(session, text, timeout=SECONDS)).correlation_id


# --- the traps


async def test_dedup_needs_two_keys() -> None:
    """The two copies of an approval share the `event_id` alone, other copies the number alone."""
    model = FakeModel().will_call_tool("Bash", requires_approval=True).will_respond_with_text("ok")
    async with session_on("A", model) as (daemon, client, session):
        async with await client.open_event_stream(session) as stream:
            tap = Tap(stream)
            accepted = await client.post_message_raw(session, "go")
            await stream.wait_for_turn(accepted, timeout=SECONDS)
            first, second = tap.of("approval_request")
            assert first["event_id"] == second["event_id"]
            assert first["seq"] != second["seq"]
            assert len(stream.events_of(ApprovalRequest)) == 1

            before, sent = len(stream.log), len(tap.frames)
            connection = inner(stream)._machines.socket
            await connection.call(REPLAY, ReplayRequest(session_id=session.session_id), SECONDS)
            await connection.call(JOIN_APP, JoinAppRequest(app_id=APP, since=1), SECONDS)
            copies = tap.frames[sent:]
            assert len(copies) > before
            assert not any("event_id" in frame for frame in copies)
            assert len(stream.log) == before

            # A socket in the app's room and in the session's is sent what a module reports twice.
            daemon.publish(session, builders.info(topic="module.report"))
            await caught_up(stream)
            assert [frame["seq"] for frame in tap.of("info")] == [stream.log.last_seq] * 2
            assert len(stream.events_of(Info)) == 1


@both
async def test_gaps_in_seq_are_normal(build: Build) -> None:
    """Snapshots for another socket, and on build B rows that are never sent, spend numbers."""
    model = FakeModel().will_call_tool("Bash", requires_approval=True).will_respond_with_text("done")
    async with session_on(build, model) as (daemon, client, session):
        turn = await client.start_turn(session, "go", auto_approve=False)
        asked = await turn.wait_for(ApprovalRequest, timeout=SECONDS)
        async with recording(daemon) as other:
            await other.join(session.session_id)
            taken = {frame["seq"] for frame in other.frames if frame["type"] == "queue:snapshot"}
        await client.resolve_approval(APP, asked.payload.request_id)
        result = await turn.result(timeout=SECONDS)
        assert (result.status, result.content) == ("completed", "done")
        numbers = [event.seq for event in result.events]
        assert taken.isdisjoint(numbers)
        assert min(numbers) < min(taken) < max(numbers)
        # And who reads event by event gets to the end.
        assert [event.seq async for event in turn] == numbers


@both
async def test_late_events_do_not_reopen_a_turn(build: Build) -> None:
    model = FakeModel().will_call_tool("Bash", {}, result={}).will_respond_with_text("one")
    model.will_respond_with_text("two")
    async with session_on(build, model) as (daemon, client, session):
        async with await client.open_event_stream(session) as stream:
            tap = Tap(stream)
            tap.hold("tool_start")
            first = await stream.wait_for_turn(await client.post_message_raw(session, "1"), timeout=SECONDS)
            # The start of a tool comes behind its end: its operation stays ended.
            tap.release()
            call = stream.operations().find(type="tool")[0]
            assert (call.state, call.is_open) == ("completed", False)

            daemon.publish(session, builders.token(delta="late"), correlation_id=first.correlation_id)
            daemon.publish(session, builders.out_token(count=1), correlation_id=first.correlation_id)
            await stream.wait_for(Token, where=lambda event: event.payload.delta == "late", timeout=SECONDS)
            assert stream.log.running_turn is None
            assert stream.log.turn_ended(first.correlation_id)
            turn = stream.operations().get(first.correlation_id)
            assert turn is not None and turn.state == "completed"
            assert first.content == "one"

            second = await client.send(session, "2", timeout=SECONDS)
            assert (second.content, second.text) == ("two", "two")
            assert {event.correlation_id for event in second.events} == {second.correlation_id}


async def test_result_is_not_the_end_of_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    # On a slow machine the client would ask the daemon meanwhile, and learn of the end from its log.
    patient = Backoff(first_pause=SECONDS, growth=1.0, longest_pause=SECONDS, jitter=0.0)
    monkeypatch.setattr("digitorn_testing._stream.following.CHECKS", patient)
    async with session_on("A", FakeModel().will_respond_with_text("a")) as (_, client, session):
        async with await client.open_event_stream(session) as stream:
            tap = Tap(stream)
            tap.hold("message_done")
            accepted = await client.post_message_raw(session, "go")
            turn = stream.turn(accepted, timeout=SECONDS)
            assert (await stream.wait_for(Result, timeout=SECONDS)).op_state == "completed"
            await caught_up(stream)
            assert not turn.done
            tap.release()
            assert isinstance((await turn.result()).events[-1].payload, MessageDone)


async def test_turn_terminal_is_the_last_event_of_a_turn_and_leaks_into_no_other() -> None:
    # The turn has no gap that would make a client read the log anyhow, nor is the log there at once.
    model = FakeModel().will_fail("rate_limited").will_respond_with_text("b")
    async with session_on("B", model, log_delay=0.2) as (_, client, session):
        async with await client.open_event_stream(session) as stream:
            tap = Tap(stream)
            tap.hold("turn_terminal")
            first = await stream.wait_for_turn(await client.post_message_raw(session, "1"), timeout=SECONDS)
            # It did not come, so that it was read from the daemon's log.
            assert isinstance(first.events[-1].payload, TurnTerminal)
            second = await client.post_message_raw(session, "2")
            turn = stream.turn(second, timeout=SECONDS)
            await stream.wait_for(MessageDone, where=lambda e: e.correlation_id == turn.correlation_id)
            tap.release()
            result = await turn.result()
            assert stream.log.running_turn is None
            assert len(stream.events_of(TurnTerminal)) == 2
            for one in (first, result):
                assert {event.correlation_id for event in one.events} == {one.correlation_id}
                assert [type(event.payload) for event in one.events[-2:]] == [MessageDone, TurnTerminal]


@both
@pytest.mark.parametrize("code", ["rate_limited", "session_busy", "credential_required"])
async def test_a_turn_that_failed_ends_as_completed(build: Build, code: Any) -> None:
    async with session_on(build, FakeModel().will_fail(code, "slow down")) as (_, client, session):
        result = await client.send(session, "go", timeout=SECONDS)
        ends = [event.payload for event in result.events if event.type == "turn_terminal"]
        told = [end.status for end in ends if isinstance(end, TurnTerminal)]
        # `op_state` of a terminal is completed whatever it says, and a pause for a credential has none.
        expected = {"rate_limited": ["completed"], "session_busy": ["failed"], "credential_required": []}
        assert told == (expected[code] if build == "B" else [])
        assert (result.status, result.error) == ("failed", "slow down")
        assert [error.code for error in result.errors] == [code]


@both
async def test_operations_that_never_close(build: Build) -> None:
    model = FakeModel().will_call_tool("Bash", delay=30.0)
    async with session_on(build, model) as (daemon, client, session):
        async with await client.open_event_stream(session) as stream:
            for key in "ab":
                daemon.publish(session, builders.preview_state_changed(key=key))
            turn = await client.start_turn(session, "go")
            await turn.wait_for(ToolStart, timeout=SECONDS)
            await turn.abort()
            result = await turn.result(timeout=SECONDS)
            assert [call.success for call in result.tool_calls] == [None]
            previews = [one for one in stream.operations() if one.name == "preview:state_changed"]
            assert [(one.state, one.is_open) for one in previews] == [("running", False)] * 2
        # They add up in what a join shows.
        view = await client.api.sessions.list_active_ops(APP, session.session_id)
        assert [one.last_type for one in view.active_ops] == ["preview:state_changed"] * 2 + ["tool_start"]


async def test_types_that_the_official_tables_lack() -> None:
    model = FakeModel().will_call_tool("Bash", {}, result={}, text="I look.")
    model.will_stream_text(["a", "b"], delay=30.0)
    async with session_on("B", model, heartbeat=0.01) as (daemon, client, session):
        async with await client.open_event_stream(session, strict=True) as stream:
            await client.post_message_raw(session, "go")
            await stream.wait_for(Token, where=lambda event: event.payload.delta == "a", timeout=SECONDS)
            async with await client.open_event_stream(session, strict=True) as late:
                assert late.events_of(StreamCatchup)
            for payload in (
                builders.system_message(content="c", source="other"),
                builders.behavior_directive(),
                builders.intent_phrases(),
            ):
                daemon.publish(session, payload)
            await client.clear_queue(session)
            await client.abort(session)
            for wanted in (QueueCleared, TurnTerminal, Heartbeat):
                await stream.wait_for(wanted, timeout=SECONDS)
            assert stream.events_of(ToolCallStreaming)
            assert stream.log.closed is None
        async with await client.open_event_stream(session) as stream:
            frame = {"type": "from_the_future", "payload": {"x": 1}, "session_id": session.session_id}
            push(daemon, session, {**frame, "seq": 10_000, "kind": "session"})
            unknown = await stream.wait_for(UnknownPayload, timeout=SECONDS)
            assert unknown["payload"] == {"x": 1}


@both
async def test_the_same_thing_under_different_shapes(build: Build) -> None:
    model = FakeModel().will_fail("rate_limited", "slow down")
    async with session_on(build, model) as (daemon, client, session):
        async with await client.open_event_stream(session) as stream:
            result = await client.send(session, "go", timeout=SECONDS)
            # An error and the error of the result are one.
            assert [event.type for event in result.events if event.type in ("error", "result")] == (
                ["result", "error"] if build == "A" else ["error", "result"]
            )
            assert [error.message for error in result.errors] == ["slow down"]
            # An agent's life, and what is derived from the tool call that it came from: one operation.
            for told in (
                builders.agent_event(action="agent_result", agent_id="agent-1", status="completed"),
                builders.agent_event(action="agent", name="Agent", agent_id="agent-1", status="completed"),
            ):
                daemon.publish(session, told)
            # A change of the memory, from the tool and from the relay: two names, and two events.
            daemon.publish(session, builders.memory_update(action="task_create", name="memory.task"))
            daemon.publish(session, builders.memory_update(action="add_todo", result={"todos": []}))
            await caught_up(stream)
            assert [one.id for one in stream.operations().find(type="agent")] == ["agent-1"]
            assert len(stream.events_of(MemoryUpdate)) == 2


@both
async def test_a_message_taken_out_of_the_queue_is_named_by_its_row(build: Build) -> None:
    model = FakeModel().will_call_tool("Bash", requires_approval=True).will_respond_with_text("ok")
    async with session_on(build, model) as (_, client, session):
        first = await client.start_turn(session, "1", auto_approve=False)
        asked = await first.wait_for(ApprovalRequest, timeout=SECONDS)
        second = await client.start_turn(session, "2")
        async with await client.open_event_stream(session) as late:
            (queue,) = late.events_of(QueueSnapshot)
            rows = {one.id: one.correlation_id for one in queue.payload.entries}
            (row,) = rows
            assert row != second.correlation_id
            await client.cancel_queued(session, row)
            cancelled = await late.wait_for(MessageCancelled, timeout=SECONDS)
            assert (cancelled.correlation_id, cancelled.payload.entry_id) == (row, row)
            assert rows[row] == second.correlation_id
            assert (await second.result(timeout=SECONDS)).status == "cancelled"
            turn = late.operations().get(second.correlation_id)
            assert turn is not None and turn.state == "cancelled"
        assert not first.done
        await client.resolve_approval(APP, asked.payload.request_id)
        assert (await first.result(timeout=SECONDS)).ok


async def test_one_socket_hears_one_session() -> None:
    """Approvals of other sessions do not come: each session's stream has a connection of its own."""
    model = FakeModel()
    for _ in range(2):
        model.will_call_tool("Bash", requires_approval=True)
    model.will_respond_with_text("ok", times=None)
    async with session_on("B", model) as (daemon, client, session):
        other = await client.new_session(APP)
        async with recording(daemon) as bystander:
            await bystander.join(session.session_id)
            async with await client.open_event_stream(session) as stream:
                turns = [
                    await client.start_turn(one, "go", approvals=ApproveAll()) for one in (other, session)
                ]
                for turn in turns:
                    result = await turn.result(timeout=SECONDS)
                    assert [one.resolution for one in result.approvals] == ["approved"]
                await caught_up(stream)
                assert stream.log.foreign == []
            assert {one["session_id"] for one in bystander.frames[1:]} == {session.session_id}


async def test_build_a_sends_approvals_of_other_sessions_too() -> None:
    model = (
        FakeModel().will_call_tool("Bash", requires_approval=True).will_respond_with_text("ok", times=None)
    )
    async with session_on("A", model) as (_, client, session):
        other = await client.new_session(APP)
        async with await client.open_event_stream(session) as stream:
            await client.send(other, "go", timeout=SECONDS)
            await caught_up(stream)
            assert [event.session_id for event in stream.log.foreign] == [other.session_id]
            assert stream.events_of(ApprovalRequest) == []
            assert stream.log.pending_approvals() == []


async def test_replayed_payloads_carry_extra_keys() -> None:
    async with session_on("A", FakeModel().will_respond_with_text("a")) as (_, client, session):
        await finished(client, session)
        async with await client.open_event_stream(session, since=1, strict=True) as stream:
            assert stream.log.closed is None
            assert stream.events_of(InvalidPayload) == []
            (token,) = stream.events_of(Token)
            assert token.payload.delta == "a"
            assert {"op_id", "op_type", "op_state", "event_id"} <= (token.payload.model_extra or {}).keys()


@both
async def test_two_forms_of_time(build: Build) -> None:
    model = FakeModel().will_stream_text(["a", "b"], delay=0.02)
    async with session_on(build, model, turn_heartbeat=0.01) as (_, client, session):
        async with await client.open_event_stream(session) as stream:
            accepted = await client.post_message_raw(session, "go")
            result = await stream.wait_for_turn(accepted, timeout=SECONDS)
            ends = {(event.ts or "")[-1:] for event in stream.events()}
            # `Z` live, an offset of nothing on snapshots and control frames.
            assert ends == {"Z", "0"}
            moments = [event.emitted_at for event in stream.events()]
            assert all(moment is not None and moment.tzinfo == UTC for moment in moments)
            assert 0.0 < result.duration < SECONDS
            # Inside payloads it is seconds since the epoch.
            beat = stream.events_of(TurnHeartbeat)[0]
            assert beat.emitted_at is not None
            assert abs(beat.payload.turn.started_at - beat.emitted_at.timestamp()) < SECONDS


@both
async def test_what_is_emitted_just_before_a_join_is_not_lost(build: Build) -> None:
    """The log is written in batches: an event can miss both the room and the replay."""
    words = [f"{number} " for number in range(20)]
    model = FakeModel().will_stream_text(words, delay=0.01)
    async with session_on(build, model, log_delay=0.15) as (daemon, client, session):
        async with await client.open_event_stream(session) as stream:
            accepted = await client.post_message_raw(session, "go")
            await stream.wait_for(Token, where=lambda event: event.payload.delta == "9 ", timeout=SECONDS)
            daemon.drop_connections()
            result = await stream.wait_for_turn(accepted, timeout=SECONDS)
            assert [
                event.payload.delta for event in result.events if isinstance(event.payload, Token)
            ] == words


async def test_what_is_in_flight_comes_again_with_every_join() -> None:
    """Previews never end, so that those of the last minutes all come again, next to one event of the turn."""
    model = (
        FakeModel().will_call_tool("Bash", requires_approval=True, text="Hel").will_stream_text(["lo", "!"])
    )
    async with session_on("B", model) as (daemon, client, session):
        async with await client.open_event_stream(session, auto_approve=False) as stream:
            tap = Tap(stream)
            shown = [daemon.publish(session, builders.preview_state_changed(key=key)) for key in "ab"]
            turn = await client.start_turn(session, "go", auto_approve=False)
            await stream.wait_for(ApprovalRequest, timeout=SECONDS)
            connected = len(stream.events_of(Connected))
            daemon.drop_connections()
            await stream.wait_for(ApprovalsSnapshot, timeout=SECONDS)
            await stream.wait_for(ApprovalRequest, timeout=SECONDS)
            (pending,) = stream.log.pending_approvals()
            await client.resolve_approval(APP, pending.request_id)
            result = await stream.wait_for_turn(turn.correlation_id, timeout=SECONDS)
            assert len(stream.events_of(Connected)) == connected + 1
            for event in shown:
                assert sum(frame.get("event_id") == event.event_id for frame in tap.frames) == 2
            assert len(tap.of("approval_request")) == 2
            assert len(stream.events_of(PreviewStateChanged)) == 2
            assert len(stream.events_of(ApprovalRequest)) == 1
            assert [one.text for one in result.messages] == ["Hel", "lo!"]


async def test_the_default_namespace_proves_nothing() -> None:
    with FakeDaemon() as daemon:
        daemon.add_app(APP)
        sio: Any = socketio.AsyncClient(reconnection=False)
        await sio.connect(daemon.url, namespaces=["/"], transports=["websocket"])
        try:
            # It answers whoever asks, without a token.
            assert await sio.call("ping", {}, timeout=SECONDS) == {"pong": True}
        finally:
            await sio.disconnect()
        with pytest.raises(SocketRefused):
            await Recorder().sio.connect(
                daemon.url, namespaces=[EVENT_NAMESPACE], transports=["websocket"], wait_timeout=SECONDS
            )
        # A stream is joined when the session's room has let it in, not when it is connected.
        stream = AsyncLiveEventStream(
            daemon_url=daemon.url, token=daemon.token(), app_id=APP, session_id="nobody"
        )
        await stream.connect()
        try:
            assert not stream.is_joined
            with pytest.raises(JoinRefused):
                await stream.join()
            assert not stream.is_joined
        finally:
            await stream.stop()


# --- the notes on copies


async def test_replay_note_3_1_each_missed_event_comes_twice_in_two_shapes() -> None:
    model = FakeModel().will_call_tool("Bash", {}, result={}).will_respond_with_text("a")
    async with session_on("A", model) as (daemon, client, session):
        async with await client.open_event_stream(session) as live:
            accepted = await client.post_message_raw(session, "go")
            whole = await live.wait_for_turn(accepted, timeout=SECONDS)
        since = whole.events[2].seq
        async with recording(daemon) as raw:
            await raw.join(session.session_id, since=since)
            rows = [frame for frame in raw.frames if frame.get("correlation_id") is not None]
            flagged = [frame for frame in rows if frame.get("replayed")]
            assert [frame["seq"] for frame in rows if not frame.get("replayed")] == [
                frame["seq"] for frame in flagged
            ]
            assert {frame["kind"] for frame in flagged} == {"event"}
        async with await client.open_event_stream(session, since=since) as stream:
            again = [event for event in stream.events() if event.correlation_id is not None]
            assert len(flagged) == len(again)
            # The stream reads the durable log too.
            assert stream.log.duplicates >= len(flagged)
            assert [_told(event) for event in again] == [_told(event) for event in whole.events[3:]]


def _told(event: Any) -> tuple[object, ...]:
    """What all shapes of an event must agree on."""
    return (
        event.seq,
        event.type,
        event.event_id,
        event.kind,
        event.correlation_id,
        event.op_id,
        event.op_type,
        event.op_state,
    )


async def test_replay_note_4_3_every_shape_of_an_event_is_the_same_event() -> None:
    """The live one, the row, the row of a filled gap, the copy from the ring: in any order one event."""
    model = FakeModel().will_respond_with_text("a")
    async with session_on("B", model) as (daemon, client, session):
        async with recording(daemon) as raw:
            await raw.join(session.session_id)
            await finished(client, session)
            live = await raw.wait_for("token")
            await raw.call("replay", {"since": live["seq"] - 1, "session_id": session.session_id})
            ring = next(one for one in raw.of("token") if "event_id" not in one)
        path = f"/api/apps/{APP}/sessions/{session.session_id}"
        headers = {"Authorization": f"Bearer {daemon.token()}"}
        async with httpx.AsyncClient(base_url=daemon.url + path, headers=headers) as http:
            row = (await http.get("/events")).json()["data"]["events"]
            gap = (await http.get("/state")).json()["data"]["gap_events"]
            kept = (await http.get("/snapshot")).json()["data"]["events"]
        shapes = [live, ring, *(one for found in (row, gap, kept) for one in found if one["type"] == "token")]
        assert len(shapes) == 5
        # Both copies from the ring have one shape.
        assert len({tuple(sorted(shape)) for shape in shapes}) == 4
        told: set[tuple[object, ...]] = set()
        for order in itertools.permutations(shapes[:4]):
            log = EventLog(session_id=session.session_id)
            for shape in order:
                log.feed(shape)
            (event,) = log.events()
            assert (event.seq, event.type, log.duplicates) == (live["seq"], "token", 3)
            if event.event_id is not None:
                told.add(_told(event))
        assert len(told) == 1


async def test_replay_note_in_flight_copies_are_as_first_sent_and_below_the_snapshots() -> None:
    model = FakeModel().will_stream_text(["Hel", "lo"], delay=30.0)
    async with session_on("B", model) as (daemon, client, session):
        async with recording(daemon) as early:
            await early.join(session.session_id)
            await client.post_message_raw(session, "go")
            token = await early.wait_for("token")
            async with await client.open_event_stream(session) as stream:
                tap = Tap(stream)
                daemon.drop_connections()
                await caught_up_again(stream, tap)
                (copy,) = tap.of("token")
                assert copy == token
                snapshots = [frame["seq"] for frame in tap.of("queue:snapshot")]
                assert copy["seq"] < min(snapshots)
                assert [event.seq for event in stream.events_of(Token)] == [token["seq"]]
                numbers = [event.seq for event in stream.events() if event.is_numbered]
                assert numbers == sorted(numbers)
                # A catch-up is the whole text so far: it is no piece of the turn's text.
                assert [
                    event.payload.delta
                    for event in stream.log.turn(token["correlation_id"])
                    if isinstance(event.payload, Token)
                ] == ["Hel"]
                assert stream.events_of(StreamCatchup)


async def caught_up_again(stream: AsyncLiveEventStream, tap: Tap) -> None:
    """Waits until a stream whose connection was cut has joined again."""
    joined = len(stream.events_of(StreamCatchup))
    await stream.wait_for(
        StreamCatchup, where=lambda _: len(stream.events_of(StreamCatchup)) > joined, timeout=SECONDS
    )


async def test_replay_note_rows_that_were_never_sent_are_no_events() -> None:
    """They come with a filled gap, some under the type of an event, and repeat what events have told."""
    model = FakeModel().will_call_tool("Bash", {"command": "ls"}, text="I look.", result={"n": 1})
    model.will_respond_with_text("One.")
    async with session_on("B", model) as (_, client, session):
        async with await client.open_event_stream(session, strict=True) as stream:
            await finished(client, session)
            await stream.wait_for(TurnTerminal, timeout=SECONDS)
            await stream.fill_gaps(since=0)
            assert [row.type for row in stream.log.log_only].count("tool_call") == 1
            assert stream.log.closed is None
            assert len(stream.events_of("tool_call")) == len(stream.events_of(ToolCall)) == 1
            assert stream.events_of(InvalidPayload) == []
