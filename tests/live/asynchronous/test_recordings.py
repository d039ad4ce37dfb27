"""What is recorded of a live session, and what a recording is good for."""

import os
from pathlib import Path

import pytest

from digitorn_testing import (
    AsyncDevClient,
    AsyncLiveEventStream,
    ClientClosed,
    Conflict,
    EventPayload,
    InvalidRequest,
    LiveEvent,
    RecordedLog,
    Recording,
    RecordingError,
    SessionHandle,
    Unauthorized,
    assertions,
)
from digitorn_testing._events.daemon import MEANING
from digitorn_testing.events import ApprovalRequest, MessageDone, Token, ToolCall
from digitorn_testing.fakes import FakeDaemon, FakeModel
from support.faces import inner
from support.fixtures import Place

_OF_A_ROW = ("event_id", "op_id", "op_type", "op_state", "op_parent_id", "correlation_id")
"""Members of the envelope that a row of the log has in its payload too (contract: events, section 4.3)."""


def own(events: list[LiveEvent[EventPayload]]) -> list[tuple[int, str, str | None, object]]:
    """What of some events does not depend on how they came."""
    return [
        (
            event.seq,
            event.type,
            event.correlation_id,
            {name: value for name, value in event.payload.to_wire().items() if name not in _OF_A_ROW},
        )
        for event in events
        if event.is_numbered and not MEANING.is_snapshot(event)
    ]


def text(path: Path) -> str:
    """What a recording says."""
    return path.read_text()


def written(path: Path) -> bool:
    """Whether there is a recording."""
    return path.exists()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a recording goes."""
    return tmp_path / "recording.jsonl"


@pytest.mark.both_daemons
async def test_a_stream_is_recorded(
    client: AsyncDevClient, place: Place, model: FakeModel, session: SessionHandle, path: Path
) -> None:
    model.will_call_tool("Bash", {"command": "ls"}, result={"stdout": "a"}, requires_approval=True)
    model.will_stream_text(["There is ", "one file."])
    async with await client.send_live(session, "list", total_timeout=10) as stream:
        first = stream.turn_result()
        with stream.record(path):
            model.will_stream_text(["Good ", "bye to you."])
            accepted = await client.post_message_raw(session, "bye")
            result = await stream.wait_for_turn(accepted, timeout=10)
        events = stream.events()
    log = RecordedLog.load(path)
    assert [event.raw for event in log] == [event.raw for event in events]
    assert [log.turn_result(turn).content for turn in log.turns] == ["There is one file.", "Good bye to you."]
    again = log.turn_result(accepted.correlation_id)
    assert (again.content, again.status, again.messages) == (result.content, result.status, result.messages)
    assert assertions.event_order(log.events(), [ApprovalRequest, ToolCall, MessageDone, Token, MessageDone])
    assert assertions.tool_called(log.events(), "Bash")
    assert log.operations()
    sent = [one for one in log.exchanges if one.operation == "send_message"]
    assert [one.correlation_id for one in sent] == [first.correlation_id, accepted.correlation_id]
    assert place.token not in text(path)


async def test_a_client_is_recorded_with_all_its_streams(place: Place, model: FakeModel, path: Path) -> None:
    model.will_stream_text(["Hello to you."], times=None)
    token = place.token
    async with AsyncDevClient(daemon_url=place.url, token=token) as client:
        recorder = client.record(path)
        sessions = [await client.new_session(place.app_id) for _ in range(3)]
        turns = [await client.start_turn(session, "hi") for session in sessions]
        results = [await turn.result() for turn in turns]
        with pytest.raises(InvalidRequest):
            await client.register("dev", "a-secret-password")
        stream = await client.open_event_stream(sessions[0])
        await stream.wait_for(MessageDone, timeout=10)
    assert recorder.is_stopped
    await stream.stop()
    recording = Recording.load(path)
    assert recording.is_complete
    assert {one.session_id for one in recording.sessions} == {one.session_id for one in sessions}
    for session, result in zip(sessions, results, strict=True):
        again = RecordedLog.load(path, session=session).turn_result()
        assert (again.content, again.session.app_id) == (result.content, place.app_id)
        assert own(list(again.events)) == own(list(result.events))
    with pytest.raises(RecordingError, match="which session"):
        RecordedLog.load(path)
    posted = [one.operation for one in recording.exchanges if one.method == "POST"]
    assert posted == ["send_message", "send_message", "send_message", "register"]
    content = text(path)
    assert token not in content and "a-secret-password" not in content


@pytest.mark.both_daemons
async def test_a_recording_begins_with_what_open_streams_hold(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle, path: Path
) -> None:
    model.will_stream_text(["Hello to you."])
    async with await client.send_live(session, "hi", total_timeout=10) as stream:
        with client.record(path):
            pass
        assert [event.raw for event in RecordedLog.load(path)] == [event.raw for event in stream.events()]


@pytest.mark.both_daemons
async def test_the_end_of_a_stream_ends_its_recording(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle, path: Path
) -> None:
    model.will_stream_text(["Hello to you."])
    stream = await client.send_live(session, "hi", total_timeout=10)
    recorder = stream.record(path)
    await stream.stop()
    assert recorder.is_stopped
    assert Recording.load(path).is_complete


@pytest.mark.both_daemons
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
async def test_a_stream_that_was_never_open_ends_its_recording(
    place: Place, session: SessionHandle, path: Path
) -> None:
    stream = AsyncLiveEventStream(
        daemon_url=place.url, token="wrong", app_id=session.app_id, session_id=session.session_id
    )
    recorder = stream.record(path)
    with pytest.raises(Unauthorized):
        await stream.start()
    await stream.stop()
    assert recorder.is_stopped
    assert Recording.load(path).is_complete


@pytest.mark.both_daemons
async def test_what_cannot_be_recorded_is_told_at_the_end(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle, path: Path
) -> None:
    model.will_stream_text(["Hello to you."], times=2)
    stream = await client.send_live(session, "hi", total_timeout=10)
    recorder = stream.record(path)
    with open("/dev/full", "ab", buffering=0) as full:  # noqa: ASYNC230 - a device
        file, recorder._file = recorder._file, full
        accepted = await client.post_message_raw(session, "again")
        assert (await stream.wait_for_turn(accepted, timeout=10)).content == "Hello to you."
        with pytest.raises(RecordingError, match=os.strerror(28)):
            await stream.stop()
    assert file is not None
    file.close()
    await stream.stop()


@pytest.mark.both_daemons
async def test_a_closed_client_records_nothing(place: Place, path: Path) -> None:
    client = place.async_client()
    await client.aclose()
    with pytest.raises(ClientClosed):
        client.record(path)
    assert not written(path)


# --- replay


@pytest.mark.both_daemons
async def test_a_replayed_session_is_the_same(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle, path: Path
) -> None:
    model.will_call_tool("Bash", {"command": "ls"}, result={"stdout": "a"}, requires_approval=True)
    model.will_stream_text(["There is ", "one file."]).will_stream_text(["There is more."])
    with client.record(path):
        async with await client.send_live(session, "list", total_timeout=10) as live:
            accepted = await client.post_message_raw(session, "more")
            await live.wait_for_turn(accepted, timeout=10)
    with FakeDaemon.replay(path, listen=session.daemon_url.startswith("http")) as replayed:
        async with replayed.async_client() as other, await other.open_event_stream(session) as stream:
            assert own(stream.events()) == own(live.events())
            # Snapshots are as they were then.
            recorded = RecordedLog.load(path)
            snapshots = [event.raw for event in recorded.events() if MEANING.is_snapshot(event)]
            assert snapshots
            assert [event.raw for event in stream.events() if MEANING.is_snapshot(event)] == snapshots
            again = await stream.wait_for_turn(accepted, timeout=5)
            assert (again.content, again.status) == ("There is more.", "completed")
            assert await stream.fill_gaps(since=0) == 0
            history = await other.get_history(session)
            assert [one.content for one in history.messages] == [
                "list",
                "There is one file.",
                "more",
                "There is more.",
            ]


async def scenario(client: AsyncDevClient) -> tuple[list[str], list[str]]:
    """What a test does: a session with two turns, and questions about it."""
    session = await client.new_session("my-app", message="list")
    first = await (await client.turn(session, session.first_turn)).result(timeout=10)
    async with await client.send_live(session, "more", total_timeout=10) as stream:
        second = stream.turn_result()
    keys = (await client.list_secrets("my-app")).keys
    return [first.content, second.content, first.tool_calls[0].name], list(keys)


async def test_a_test_runs_against_its_recording(
    client: AsyncDevClient, model: FakeModel, daemon: FakeDaemon, path: Path
) -> None:
    model.will_call_tool("Bash", {"command": "ls"}, result={"stdout": "a"}, requires_approval=True)
    model.will_stream_text(["There is ", "one file."]).will_stream_text(["There is more."])
    with client.record(path):
        told = await scenario(client)
    with FakeDaemon.replay(path, listen=daemon.url.startswith("http")) as replayed:
        async with replayed.async_client() as other:
            assert await scenario(other) == told
            # It makes nothing up.
            with pytest.raises(Conflict, match=r"no further answer to POST .*/sessions"):
                await scenario(other)
            session = SessionHandle(
                session_id=RecordedLog.load(path).session.session_id,
                app_id="my-app",
                daemon_url=other.daemon_url,
            )
            with pytest.raises(Conflict, match=r"of 'else'; it has 'more'; its sessions: "):
                await other.post_message_raw(session, "else")
            with pytest.raises(Conflict, match="no further answer to GET /api/apps/my-app/triggers"):
                await other.list_triggers("my-app")


async def two_sessions(client: AsyncDevClient) -> list[str]:
    """What a test does whose sessions have other ids each time; one of them is never used."""
    unused, one, other = [await client.new_session("my-app") for _ in range(3)]
    async with await client.open_event_stream(other) as stream:
        said = [(await client.send(session, "hi")).content for session in (one, other)]
        await stream.wait_for(MessageDone, timeout=10)
        said += [str(event.session_id == other.session_id) for event in stream.events_of(MessageDone)]
    said.append((await client.send(one, "and you?")).content)
    said += [str(message.content) for message in (await client.get_history(other)).messages]
    listed = (await client.list_sessions("my-app")).sessions
    assert {one.session_id, other.session_id} == {found.session_id for found in listed}
    assert unused.session_id not in {found.session_id for found in listed}
    return said


async def test_a_replay_takes_the_ids_of_new_sessions(
    client: AsyncDevClient, model: FakeModel, daemon: FakeDaemon, path: Path
) -> None:
    for text in ("Hello, 1.", "Hello, 2.", "I am well."):
        model.will_respond_with_text(text)
    with client.record(path):
        told = await two_sessions(client)
    with FakeDaemon.replay(path, listen=daemon.url.startswith("http")) as replayed:
        async with replayed.async_client() as other:
            assert await two_sessions(other) == told
            with pytest.raises(
                Conflict,
                match=r"of 'hi'; it has 'hi', 'hi', 'and you\?'; its sessions: .* record it again: POST",
            ):
                await other.post_message_raw(await other.new_session("my-app"), "hi")


@pytest.mark.both_daemons
async def test_a_replay_asks_for_a_token(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle, path: Path
) -> None:
    model.will_stream_text(["Hello to you."])
    with client.record(path):
        await client.send(session, "hi")
    with FakeDaemon.replay(path) as replayed:
        async with AsyncDevClient(daemon_url=replayed.url, token="none") as stranger:
            with pytest.raises(Exception, match="answered 401"):
                await stranger.get_session(session)
            with pytest.raises(Exception, match="answered 401"):
                await stranger.open_event_stream(session)


async def test_a_stream_with_a_bound_drops_the_oldest(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_stream_text(["x"] * 100).will_stream_text(["y"] * 3)
    await client.send(session, "go")
    async with await client.open_event_stream(session, max_events=20) as stream:
        await stream.wait_for(MessageDone, timeout=10)
        assert len(stream.events()) == 20
        dropped, duplicates = stream.log.dropped, stream.log.duplicates
        assert dropped > 80
        assert await stream.fill_gaps(since=0) == 0
        assert (stream.log.dropped, len(stream.log)) == (dropped, 20)
        assert stream.log.duplicates > duplicates + 80
        accepted = await client.post_message_raw(session, "again")
        result = await stream.wait_for_turn(accepted, timeout=10)
        assert result.content == "yyy"
        assert inner(stream).log.max_events == 20
