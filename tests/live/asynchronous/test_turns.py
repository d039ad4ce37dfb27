"""Turns as objects: read event by event, side by side, aborted, timed out."""

import random
import threading

import pytest

from digitorn_testing import (
    AbortFailed,
    AsyncDevClient,
    AsyncLiveEventStream,
    AsyncTurn,
    EventPayload,
    EventSelector,
    EventTimeout,
    LeaveOpen,
    LiveEvent,
    NotFound,
    SessionHandle,
    StreamClosed,
    assertions,
)
from digitorn_testing.events import (
    ApprovalRequest,
    Error,
    MessageCancelled,
    MessageDone,
    MessageQueued,
    MessageStarted,
    Result,
    StreamDone,
    Token,
    ToolCall,
    ToolStart,
    TurnTerminal,
    UserMessage,
)
from digitorn_testing.fakes import FakeDaemon, FakeModel
from support.faces import AsyncBackground, async_sent_log
from support.fixtures import Place


def event_threads() -> int:
    """How many threads the client's streams run on."""
    return sum(thread.name.startswith("digitorn-testing") for thread in threading.enumerate())


async def release(client: AsyncDevClient, turn: AsyncTurn) -> None:
    """Lets a turn go on that waits for an approval."""
    asked = await turn.wait_for(ApprovalRequest, timeout=10)
    await client.resolve_approval(turn.session.app_id, asked.payload.request_id, approved=True)


@pytest.mark.both_daemons
async def test_a_turn_is_read_as_it_comes(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_stream_text(["This is a, ", "b, ", "and c."], delay=0.01)
    turn = await client.start_turn(session, "go")
    assert turn.correlation_id
    assert turn.session == session
    seen = [event async for event in turn]
    assert turn.done
    assert assertions.event_order(seen, [UserMessage, MessageStarted, Token, StreamDone, Result, MessageDone])
    assert assertions.correlation_thread(seen, turn.correlation_id)
    assert isinstance(seen[-1].payload, TurnTerminal)
    result = await turn.result()
    assert list(result.events) == seen == turn.events
    assert (result.status, result.content, result.text) == (
        "completed",
        "This is a, b, and c.",
        "This is a, b, and c.",
    )
    assert result.session == session


@pytest.mark.both_daemons
async def test_a_turn_may_be_read_late_again_and_by_several(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    pieces = [f"Sentence {number}. " for number in range(6)]
    model.will_stream_text(pieces, delay=0.01)
    turn = await client.start_turn(session, "go")
    async with AsyncBackground() as background:

        async def read() -> list[LiveEvent[EventPayload]]:
            return [event async for event in turn]

        early = [await background.start(read) for _ in range(2)]
        await turn.result(timeout=10)
        late = await read()
        for one in early:
            assert await one.result(timeout=10) == late
    assert "".join([delta async for delta in turn.text_deltas()]) == "".join(pieces)
    assert assertions.event_count(late, Token, 6)


async def test_the_joined_deltas_are_the_answer_and_commentary_is_kept_apart(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_call_tool("Read", {"path": "a"}, result={"text": "x"}, text="Let me look.")
    model.will_call_tool("Read", {"path": "b"}, error="no such file", text="And there.")
    model.will_stream_text(["There is one ", "file ", "of two."])
    result = await client.send(session, "go", timeout=10)
    assert result.content == result.text == "There is one file of two."
    assert result.commentary == ("Let me look.", "And there.")
    assert [one.kind for one in result.messages] == ["commentary", "commentary", "answer"]
    assert result.messages[-1].deltas == ("There is one ", "file ", "of two.")
    one, two = result.tool_calls
    assert (one.name, one.params, one.success, one.result) == ("Read", {"path": "a"}, True, {"text": "x"})
    assert (two.success, two.error, two.parent) == (False, "no such file", None)
    assert one.duration is not None
    assert one.duration >= 0
    assert result.usage is not None
    assert result.ok


async def test_fifty_turns_on_ten_sessions_read_in_random_order(
    daemon: FakeDaemon, chance: random.Random
) -> None:
    async with daemon.async_client() as client:
        sessions: list[SessionHandle] = []
        for number in range(10):
            model = FakeModel()
            for place in range(5):
                model.will_call_tool("Bash", {"n": place}, result={}, requires_approval=place % 2 == 0)
                model.will_stream_text([f"Session {number}, turn {place}: ", "x, ", "y."])
            daemon.add_app(f"app-{number}", model=model)
            sessions.append(await client.new_session(f"app-{number}"))

        turns = [
            (one, await client.start_turn(one, f"m{n}", timeout=60)) for n in range(5) for one in sessions
        ]
        assert len({turn.stream for _, turn in turns}) == 10
        assert event_threads() <= 1

        readers = {turn: aiter(turn) for _, turn in turns}
        seen: dict[AsyncTurn, list[LiveEvent[EventPayload]]] = {turn: [] for turn in readers}
        open_turns = list(readers)
        while open_turns:
            turn = chance.choice(open_turns)
            event = await anext(readers[turn], None)
            if event is None:
                open_turns.remove(turn)
            else:
                seen[turn].append(event)

        for place, (session, turn) in enumerate(turns):
            events = seen[turn]
            number, text = place // 10, f"Session {place % 10}, turn {place // 10}: x, y."
            assert [event.seq for event in events] == sorted({event.seq for event in events})
            assert {event.session_id for event in events} == {session.session_id}
            assert {event.correlation_id for event in events} <= {turn.correlation_id, None}
            expected: list[EventSelector] = [
                UserMessage,
                MessageStarted,
                ToolStart,
                ToolCall,
                Token,
                StreamDone,
                Result,
                MessageDone,
            ]
            assert assertions.event_order(events, expected), assertions.report(events)
            assert assertions.event_count(events, Token, 3)
            assert assertions.event_count(events, ApprovalRequest, 1 if number % 2 == 0 else 0)
            result = await turn.result()
            assert list(result.events) == events
            assert (result.status, result.content, result.text) == ("completed", text, text)

        for session in sessions:
            sent = await async_sent_log(client, session.app_id, session.session_id)
            numbers = [event.seq for one, turn in turns if one == session for event in seen[turn]]
            assert sorted(numbers) == [event.seq for event in sent]
    assert event_threads() == 0


@pytest.mark.both_daemons
async def test_turns_of_one_session_queue_and_each_reader_gets_its_own(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_call_tool("Bash", {"command": "ls"}, result={}, requires_approval=True)
    for text in "abc":
        model.will_stream_text([text] * 3, delay=0.01)
    turns = [await client.start_turn(session, text, approvals=LeaveOpen()) for text in "abc"]
    # The first runs until the others have been posted.
    await release(client, turns[0])
    texts = ["".join([delta async for delta in turn.text_deltas()]) for turn in reversed(turns)]
    assert texts == ["ccc", "bbb", "aaa"]
    assert assertions.event_order(turns[2].events, [MessageQueued, UserMessage, MessageStarted, MessageDone])


@pytest.mark.both_daemons
async def test_a_wait_within_a_turn_finds_its_own_events_alone(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_call_tool("Read", {"n": 1}, result={}).will_stream_text(["The first text."])
    model.will_call_tool("Read", {"n": 2}, result={}).will_stream_text(["The second text."])
    first, second = [await client.start_turn(session, text) for text in "12"]
    call = await second.wait_for(ToolCall, timeout=10)
    assert call.payload.params == {"n": 2}
    token = await second.wait_for("token", where=lambda event: "text" in repr(event), timeout=10)
    assert token.correlation_id == second.correlation_id
    assert (await first.wait_for(ToolCall)).payload.params == {"n": 1}
    with pytest.raises(EventTimeout, match=r"no MessageCancelled in the turn, which has ended"):
        await second.wait_for(MessageCancelled, timeout=10)
    model.will_stream_text(["x"] * 500, delay=0.01)
    third = await client.start_turn(session, "3")
    with pytest.raises(EventTimeout, match=r"no ToolCall in the turn within 0\.1 s"):
        await third.wait_for(ToolCall, timeout=0.1)
    await third.abort()


# --- aborts


@pytest.mark.both_daemons
async def test_an_aborted_turn_is_cancelled_and_the_session_goes_on(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_stream_text(["x"] * 500, delay=0.01).will_stream_text(["again"])
    turn = await client.start_turn(session, "go")
    await turn.wait_for(Token, timeout=10)
    await turn.abort()
    result = await turn.result(timeout=10)
    assert (result.status, result.ok) == ("cancelled", False)
    assert assertions.event_order(turn.events, [MessageCancelled, TurnTerminal])
    assert isinstance(turn.events[-1].payload, TurnTerminal)
    await turn.abort()
    assert (await client.send(session, "again", timeout=10)).content == "again"


@pytest.mark.both_daemons
@pytest.mark.parametrize("purge", [False, True])
async def test_the_queue_behind_an_aborted_turn_is_kept_or_purged(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle, purge: bool
) -> None:
    model.will_stream_text(["x"] * 500, delay=0.01).will_stream_text(["next"], times=None)
    first, started, *waiting = [await client.start_turn(session, f"m{n}") for n in range(4)]
    await first.wait_for(Token, timeout=10)
    aborted = await client.abort(session, purge_queue=purge)
    assert aborted.queue_purged == (2 if purge else 0)
    assert (await first.result(timeout=10)).status == "cancelled"
    # It has left the queue (contract: events, section 6.4).
    assert (await started.result(timeout=10)).content == "next"
    for turn in waiting:
        result = await turn.result(timeout=10)
        assert (result.status, result.content) == (("cancelled", "") if purge else ("completed", "next"))
    assert (await client.send(session, "and then", timeout=10)).content == "next"


@pytest.mark.both_daemons
async def test_a_turn_that_waits_is_aborted_alone(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_call_tool("Bash", {"command": "ls"}, result={}, requires_approval=True).will_respond_with_text(
        "first"
    )
    model.will_respond_with_text("second").will_respond_with_text("fourth")
    turns = [await client.start_turn(session, text, approvals=LeaveOpen()) for text in "1234"]
    first, second, third, fourth = turns
    await third.abort()
    assert (await third.result(timeout=10)).status == "cancelled"
    # It has left the queue (contract: events, section 6.4).
    with pytest.raises(AbortFailed, match="does not give up the first message that waits"):
        await second.abort()
    await release(client, first)
    results = [await turn.result(timeout=10) for turn in (first, second, fourth)]
    assert [one.content for one in results] == ["first", "second", "fourth"]


@pytest.mark.both_daemons
async def test_a_turn_that_had_to_wait_is_aborted_like_any_other(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_stream_text(["x"] * 5, delay=0.01).will_stream_text(["y"] * 500, delay=0.01)
    first, second = [await client.start_turn(session, text) for text in "12"]
    await second.wait_for(Token, timeout=10)
    await second.abort()
    assert (await second.result(timeout=10)).status == "cancelled"
    assert (await first.result(timeout=10)).status == "completed"


# --- the queue


async def test_a_message_that_replaces_the_last_one_cancels_its_turn(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    """A replaced message never gets an event that ends it (contract: events, section 5.1)."""
    model.will_call_tool("Bash", {"command": "ls"}, result={}, requires_approval=True).will_respond_with_text(
        "first"
    )
    model.will_respond_with_text("second").will_respond_with_text("new")
    first, second, old = [
        await client.start_turn(session, text, approvals=LeaveOpen()) for text in ("1", "2", "old")
    ]
    new = await client.start_turn(session, "new", queue_mode="replace_last")
    result = await old.result(timeout=10)
    assert (result.status, result.content) == ("cancelled", "")
    await release(client, first)
    results = [await turn.result(timeout=10) for turn in (first, second, new)]
    assert [one.content for one in results] == ["first", "second", "new"]
    assert [message.content for message in model.requests[-1].messages if message.role == "user"] == [
        "1",
        "2",
        "new",
    ]


@pytest.mark.both_daemons
async def test_clearing_the_queue_cancels_the_turns_in_it(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_call_tool("Bash", {"command": "ls"}, result={}, requires_approval=True).will_respond_with_text(
        "first"
    )
    model.will_respond_with_text("second")
    first, second, *waiting = [
        await client.start_turn(session, text, approvals=LeaveOpen()) for text in "1234"
    ]
    entries = [one for one in (await client.get_queue(session)).entries if one.status == "queued"]
    assert [entry.correlation_id for entry in entries] == [turn.correlation_id for turn in waiting]
    assert (await client.clear_queue(session)).cancelled == 2
    for turn in waiting:
        assert (await turn.result(timeout=10)).status == "cancelled"
    await release(client, first)
    assert [(await turn.result(timeout=10)).content for turn in (first, second)] == ["first", "second"]


async def test_wait_mode_answers_when_the_turn_has_ended(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_stream_text(["x"] * 5, delay=0.01).will_stream_text(["waited"])
    first = await client.start_turn(session, "1")
    answered = await client.post_message_raw(session, "2", queue_mode="wait")
    assert answered.status == "completed"
    assert (await first.result(timeout=10)).ok
    turn = await client.turn(session, answered)
    assert (await turn.result(timeout=10)).content == "waited"


# --- turns that were started otherwise


@pytest.mark.both_daemons
async def test_a_turn_that_was_posted_raw_is_taken_up_complete(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_stream_text(["x"] * 10, delay=0.01)
    model.will_stream_text(["x"] * 10)
    model.will_call_tool("Bash", {"command": "ls"}, result={}, requires_approval=True).will_stream_text(
        ["approved"]
    )
    running = await client.post_message_raw(session, "1")
    await client.wait_for_session(session)
    order: list[EventSelector] = [UserMessage, MessageStarted, Token, Result, MessageDone]
    turn = await client.turn(session, running)
    assert assertions.event_order([event async for event in turn], order)
    over = await client.post_message_raw(session, "2", queue_mode="wait")
    assert assertions.event_order((await (await client.turn(session, over)).result(10)).events, order)
    asking = await client.post_message_raw(session, "3")
    assert (await (await client.turn(session, asking)).result(10)).content == "approved"
    with pytest.raises(ValueError, match="no turn to take up"):
        await client.turn(session, None)


@pytest.mark.both_daemons
async def test_a_session_that_begins_with_a_message(
    client: AsyncDevClient, model: FakeModel, place: Place
) -> None:
    model.will_call_tool("Bash", {"command": "ls"}, result={}, requires_approval=True).will_stream_text(
        ["hi", "!"]
    )
    session = await client.new_session(place.app_id, message="hello")
    assert session.first_turn
    turn = await client.turn(session, session.first_turn)
    result = await turn.result(timeout=10)
    assert (result.status, result.content) == ("completed", "hi!")
    assert [one.resolution for one in result.approvals] == ["approved"]
    assert (await client.new_session(place.app_id)).first_turn is None


# --- ends


@pytest.mark.both_daemons
async def test_a_turn_that_does_not_end_in_time(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_stream_text(["x"] * 500, delay=0.01)
    turn = await client.start_turn(session, "go", timeout=1.5)
    with pytest.raises(EventTimeout, match=r"^the turn did not end within .* s; .*; turn fp-.*, session"):
        [event async for event in turn]
    with pytest.raises(EventTimeout, match=r"did not end within 1\.5 s") as caught:
        await turn.result()
    assert caught.value.result is not None
    assert caught.value.result.status == "timed_out"
    assert caught.value.result.content.startswith("xx")
    with pytest.raises(EventTimeout, match=r"within 0\.05 s"):
        await turn.result(timeout=0.05)
    await turn.abort()
    assert (await turn.result(timeout=10)).status == "cancelled"


async def test_a_failed_turn_says_what_went_wrong(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_fail("rate_limited", "slow down")
    result = await client.send(session, "go", timeout=10)
    assert (result.status, result.content) == ("failed", "")
    (error,) = result.errors
    assert (error.code, error.category, error.retry) == ("rate_limited", "rate_limit", True)
    assert result.error == str(error)
    (told,) = (event.payload for event in result.events if isinstance(event.payload, Error))
    assert told.detail == "slow down"


@pytest.mark.both_daemons
async def test_a_turn_is_not_read_after_its_stream_was_stopped_unless_it_had_ended(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_stream_text(["It is done."]).will_stream_text(["x"] * 500, delay=0.01)
    ended = await client.start_turn(session, "1")
    await ended.result(timeout=10)
    running = await client.start_turn(session, "2")
    await running.wait_for(Token, timeout=10)
    reader = aiter(running)
    await anext(reader)
    stream = running.stream
    assert isinstance(stream, AsyncLiveEventStream)
    await stream.stop()
    with pytest.raises(StreamClosed, match="was stopped"):
        [event async for event in reader]
    with pytest.raises(StreamClosed, match="was stopped"):
        await running.result(timeout=5)
    with pytest.raises(StreamClosed, match="was stopped"):
        [event async for event in running]
    with pytest.raises(StreamClosed, match="was stopped"):
        stream.turn("fp-000000000000")
    assert (await ended.result(timeout=5)).content == "It is done."
    assert assertions.event_order([event async for event in ended], [UserMessage, Token, MessageDone])
    # The client opens another stream for the next turn.
    await client.abort(session)
    model.reset()
    model.will_stream_text(["on"])
    assert (await client.send(session, "3", timeout=10)).content == "on"


@pytest.mark.both_daemons
async def test_closing_the_client_ends_the_reading_of_its_turns(place: Place, model: FakeModel) -> None:
    model.will_stream_text(["x"] * 500, delay=0.01)
    async with place.async_client() as client:
        turn = await client.start_turn(await client.new_session(place.app_id), "go")
    with pytest.raises(StreamClosed):
        await turn.result(timeout=5)


async def test_a_message_that_is_refused_leaves_nothing_open(
    client: AsyncDevClient, daemon: FakeDaemon
) -> None:
    nowhere = SessionHandle(session_id="s", app_id="no-app", daemon_url=daemon.url)
    for _ in range(2):
        with pytest.raises(NotFound):
            await client.start_turn(nowhere, "go")
    assert event_threads() == 0


@pytest.mark.both_daemons
async def test_streams_without_an_open_turn_are_not_kept_without_end(
    client: AsyncDevClient, model: FakeModel, place: Place
) -> None:
    model.will_respond_with_text("hi", times=None)
    turns: list[AsyncTurn] = []
    for _ in range(20):
        turn = await client.start_turn(await client.new_session(place.app_id), "go")
        await turn.result(timeout=10)
        turns.append(turn)
    # Those of the turns before the last, which may have ended by the time of the count or not.
    assert [turn.stream.log.closed is None for turn in turns[:3]] == [False] * 3
    assert [turn.stream.log.closed is None for turn in turns[4:]] == [True] * 16
    assert (await turns[0].result()).content == "hi"
    # A session whose stream was closed gets another one.
    assert (await client.send(turns[0].session, "again", timeout=10)).content == "hi"


@pytest.mark.both_daemons
async def test_the_operations_of_a_turn(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_call_tool("Bash", {"command": "ls"}, result={"n": 1}).will_respond_with_text("first")
    model.will_call_tool("Bash", {"command": "exit 1"}, error="no such file").will_respond_with_text("second")
    await (await client.start_turn(session, "one")).result()
    turn = await client.start_turn(session, "two")
    await turn.result()
    found = turn.stream.operations()
    assert [one.state for one in found.find(type="tool", name="Bash")] == ["completed", "failed"]
    (call,) = found.find(type="tool", name="Bash", within=turn)
    assert (call.state, call.turn, call.is_open) == ("failed", turn.correlation_id, False)
    assert call.parent is not None
    assert (call.parent.id, call.parent.state) == (turn.correlation_id, "completed")
    assert (len(found.open()), found.violations) == (0, ())
