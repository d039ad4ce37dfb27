"""Every trap that the contract warns clients of (contract: events, section 8), and its notes on copies.

The daemon sets the trap over real HTTP and Socket.IO; the client must not fall into it.
"""

import itertools
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC
from typing import Any, TypeAlias

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
from support.sessions import add_session

Frame: TypeAlias = dict[str, Any]


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
    model: FakeModel, **options: Any
) -> AsyncGenerator[tuple[FakeDaemon, AsyncDevClient, SessionHandle]]:
    """A session of a client that approves what asks."""
    with FakeDaemon(**options) as daemon:
        daemon.add_app(APP, model=model)
        async with daemon.async_client() as client:
            yield daemon, client, add_session(daemon)


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


async def test_copies_come_in_several_shapes() -> None:
    """Those from the ring buffer share the number with the event, and have no `event_id`."""
    model = FakeModel().will_call_tool("Bash", requires_approval=True).will_respond_with_text("ok")
    async with session_on(model) as (_, client, session):
        async with await client.open_event_stream(session) as stream:
            tap = Tap(stream)
            accepted = await client.post_message_raw(session, "go")
            await stream.wait_for_turn(accepted, timeout=SECONDS)
            before, sent = len(stream.log), len(tap.frames)
            connection = inner(stream)._machines.socket
            await connection.call(REPLAY, ReplayRequest(session_id=session.session_id), SECONDS)
            await connection.call(JOIN_APP, JoinAppRequest(app_id=APP, since=1), SECONDS)
            copies = tap.frames[sent:]
            assert len(copies) > before
            assert not any("event_id" in frame for frame in copies)
            assert len(stream.log) == before


async def test_gaps_in_seq_are_normal() -> None:
    """Snapshots for another socket, and rows that are never sent, spend numbers."""
    model = FakeModel().will_call_tool("Bash", requires_approval=True).will_respond_with_text("done")
    async with session_on(model) as (daemon, client, session):
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


async def test_late_events_do_not_reopen_a_turn() -> None:
    model = FakeModel().will_call_tool("Bash", {}, result={}).will_respond_with_text("one")
    model.will_respond_with_text("two")
    async with session_on(model) as (daemon, client, session):
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
    async with session_on(FakeModel().will_respond_with_text("a")) as (_, client, session):
        async with await client.open_event_stream(session) as stream:
            tap = Tap(stream)
            tap.hold("message_done", "turn_terminal")
            accepted = await client.post_message_raw(session, "go")
            turn = stream.turn(accepted, timeout=SECONDS)
            assert (await stream.wait_for(Result, timeout=SECONDS)).op_state == "completed"
            await caught_up(stream)
            assert not turn.done
            tap.release()
            assert isinstance((await turn.result()).events[-1].payload, TurnTerminal)


async def test_turn_terminal_is_the_last_event_of_a_turn_and_leaks_into_no_other() -> None:
    model = FakeModel().will_fail("rate_limited").will_respond_with_text("b")
    async with session_on(model) as (_, client, session):
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
            for one, end in ((first, MessageCancelled), (result, MessageDone)):
                assert {event.correlation_id for event in one.events} == {one.correlation_id}
                assert [type(event.payload) for event in one.events[-2:]] == [end, TurnTerminal]


@pytest.mark.parametrize("code", ["rate_limited", "session_busy", "credential_required"])
async def test_an_interrupted_turn_may_have_failed(code: Any) -> None:
    async with session_on(FakeModel().will_fail(code, "slow down")) as (_, client, session):
        result = await client.send(session, "go", timeout=SECONDS)
        ends = [event.payload for event in result.events if event.type == "turn_terminal"]
        told = [end.status for end in ends if isinstance(end, TurnTerminal)]
        # A pause for a credential has none.
        assert told == ([] if code == "credential_required" else ["interrupted"])
        assert result.status == "failed"
        assert [error.code for error in result.errors] == [code]


async def test_operations_that_never_close() -> None:
    model = FakeModel().will_call_tool("Bash", delay=30.0)
    async with session_on(model) as (daemon, client, session):
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
    model.will_stream_text(["This is a, ", "and b."], delay=30.0)
    async with session_on(model, heartbeat=0.01) as (daemon, client, session):
        async with await client.open_event_stream(session, strict=True) as stream:
            await client.post_message_raw(session, "go")
            await stream.wait_for(
                Token, where=lambda event: event.payload.delta == "This is a, ", timeout=SECONDS
            )
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


async def test_the_same_thing_under_different_shapes() -> None:
    model = FakeModel().will_fail("rate_limited", "slow down")
    async with session_on(model) as (daemon, client, session):
        async with await client.open_event_stream(session) as stream:
            result = await client.send(session, "go", timeout=SECONDS)
            # An error and the error of the result are one.
            assert [event.type for event in result.events if event.type in ("error", "result")] == [
                "error",
                "result",
            ]
            assert [error.code for error in result.errors] == ["rate_limited"]
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


async def test_a_message_taken_out_of_the_queue_is_named_by_its_row() -> None:
    model = FakeModel().will_call_tool("Bash", requires_approval=True).will_respond_with_text("ok")
    async with session_on(model) as (_, client, session):
        first = await client.start_turn(session, "1", auto_approve=False)
        asked = await first.wait_for(ApprovalRequest, timeout=SECONDS)
        # It leaves the queue at once.
        await client.start_turn(session, "2")
        third = await client.start_turn(session, "3")
        async with await client.open_event_stream(session) as late:
            (queue,) = late.events_of(QueueSnapshot)
            entries = [one for one in queue.payload.entries if one.status == "queued"]
            rows = {one.id: one.correlation_id for one in entries}
            (row,) = rows
            assert row != third.correlation_id
            await client.cancel_queued(session, row)
            cancelled = await late.wait_for(MessageCancelled, timeout=SECONDS)
            assert (cancelled.correlation_id, cancelled.payload.entry_id) == (row, row)
            assert rows[row] == third.correlation_id
            assert (await third.result(timeout=SECONDS)).status == "cancelled"
            turn = late.operations().get(third.correlation_id)
            assert turn is not None and turn.state == "cancelled"
        assert not first.done
        await client.resolve_approval(APP, asked.payload.request_id)
        assert (await first.result(timeout=SECONDS)).ok


async def test_one_socket_hears_one_session() -> None:
    """Approvals of other sessions do not come: each session's stream has a connection of its own."""
    model = FakeModel()
    model.when(tool_result_of="Bash").will_respond_with_text("ok", times=None)
    model.will_call_tool("Bash", requires_approval=True, times=2)
    async with session_on(model) as (daemon, client, session):
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


async def test_payloads_of_the_log_carry_extra_keys() -> None:
    async with session_on(FakeModel().will_respond_with_text("Hello to you.")) as (_, client, session):
        await finished(client, session)
        async with await client.open_event_stream(session, since=1, strict=True) as stream:
            assert stream.log.closed is None
            assert stream.events_of(InvalidPayload) == []
            (token,) = stream.events_of(Token)
            assert token.payload.delta == "Hello to you."
            assert {"op_id", "op_type", "op_state", "event_id"} <= (token.payload.model_extra or {}).keys()


async def test_two_forms_of_time() -> None:
    model = FakeModel().will_stream_text(["a", "b"], delay=0.02)
    async with session_on(model, turn_heartbeat=0.01) as (_, client, session):
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


async def test_what_is_emitted_just_before_a_join_is_not_lost() -> None:
    """It misses the room, and is in the log by then."""
    words = [f"Sentence {number}. " for number in range(20)]
    model = FakeModel().will_stream_text(words, delay=0.01)
    async with session_on(model) as (daemon, client, session):
        async with await client.open_event_stream(session) as stream:
            accepted = await client.post_message_raw(session, "go")
            await stream.wait_for(
                Token, where=lambda event: event.payload.delta == "Sentence 9. ", timeout=SECONDS
            )
            daemon.drop_connections()
            result = await stream.wait_for_turn(accepted, timeout=SECONDS)
            assert [
                event.payload.delta for event in result.events if isinstance(event.payload, Token)
            ] == words


async def test_what_is_in_flight_comes_again_with_every_join() -> None:
    """Previews never end, so that those of the last minutes all come again, next to one event of the turn."""
    model = (
        FakeModel()
        .will_call_tool("Bash", requires_approval=True, text="Let me look at it.")
        .will_stream_text(["lo", "!"])
    )
    async with session_on(model) as (daemon, client, session):
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
            assert [one.text for one in result.messages] == ["Let me look at it.", "lo!"]


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
    """The live one, the row of a filled gap, the copy from the ring: in any order one event."""
    model = FakeModel().will_respond_with_text("Hello to you.")
    async with session_on(model) as (daemon, client, session):
        async with recording(daemon) as raw:
            await raw.join(session.session_id)
            await finished(client, session)
            live = await raw.wait_for("token")
            await raw.call("replay", {"since": live["seq"] - 1, "session_id": session.session_id})
            ring = next(one for one in raw.of("token") if "event_id" not in one)
        path = f"/api/apps/{APP}/sessions/{session.session_id}"
        headers = {"Authorization": f"Bearer {daemon.token()}"}
        async with httpx.AsyncClient(base_url=daemon.url + path, headers=headers) as http:
            gap = (await http.get("/state", params={"since_seq": 1})).json()["data"]["gap_events"]
            kept = (await http.get("/snapshot", params={"since": live["seq"] - 1})).json()["data"]["events"]
        shapes = [live, ring, *(one for found in (gap, kept) for one in found if one["type"] == "token")]
        assert len(shapes) == 4
        # Both copies from the ring have one shape.
        assert len({tuple(sorted(shape)) for shape in shapes}) == 3
        told: set[tuple[object, ...]] = set()
        for order in itertools.permutations(shapes[:3]):
            log = EventLog(session_id=session.session_id)
            for shape in order:
                log.feed(shape)
            (event,) = log.events()
            assert (event.seq, event.type, log.duplicates) == (live["seq"], "token", 2)
            if event.event_id is not None:
                told.add(_told(event))
        assert len(told) == 1


async def test_replay_note_in_flight_copies_are_as_first_sent_and_below_the_snapshots() -> None:
    model = FakeModel().will_stream_text(["Hello to all ", "of you."], delay=30.0)
    async with session_on(model) as (daemon, client, session):
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
                ] == ["Hello to all "]
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
    async with session_on(model) as (_, client, session):
        async with await client.open_event_stream(session, strict=True) as stream:
            await finished(client, session)
            await stream.wait_for(TurnTerminal, timeout=SECONDS)
            await stream.fill_gaps(since=0)
            assert [row.type for row in stream.log.log_only].count("tool_call") == 1
            assert stream.log.closed is None
            assert len(stream.events_of("tool_call")) == len(stream.events_of(ToolCall)) == 1
            assert stream.events_of(InvalidPayload) == []
