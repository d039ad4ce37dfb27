"""`send_live`: every event of its own turn, whatever else happens."""

from functools import partial

import pytest

from digitorn_testing import (
    AsyncDevClient,
    AsyncLiveEventStream,
    EventSelector,
    EventTimeout,
    LiveEvent,
    SessionHandle,
    StreamClosed,
    assertions,
)
from digitorn_testing.events import (
    ApprovalRequest,
    ApprovalResolved,
    InvalidPayload,
    MessageCancelled,
    MessageDone,
    MessageQueued,
    MessageStarted,
    Result,
    StreamDone,
    Token,
    ToolCall,
    ToolStart,
    UnknownPayload,
    UserMessage,
)
from digitorn_testing.fakes import FakeDaemon, FakeModel
from digitorn_testing.models import MessageAccepted
from support.faces import AsyncBackground, async_leftovers
from support.fixtures import Place


def is_of(accepted: MessageAccepted, event: LiveEvent[MessageDone]) -> bool:
    """Whether an event belongs to the turn of a message."""
    return event.correlation_id == accepted.correlation_id


TEXT_TURN: list[EventSelector] = [UserMessage, MessageStarted, Token, StreamDone, Result, MessageDone]


@pytest.mark.both_daemons
async def test_chat_and_send_live(client: AsyncDevClient, model: FakeModel, session: SessionHandle) -> None:
    model.will_respond_with_text("one")
    model.will_call_tool("Bash", {"command": "ls"}, result={}, requires_approval=True).will_stream_text(
        ["This is ", "two."]
    )
    assert (await client.chat(session.app_id, "hi")).content == "one"
    async with await client.send_live(session, "hi", total_timeout=10) as stream:
        assert assertions.tool_called(stream.events(), "Bash", success=True)
        assert stream.turn_result().content == "This is two."
        with pytest.raises(EventTimeout):
            await stream.wait_for("error", timeout=0.05)
        assert await stream.poll_for(Token) is not None


@pytest.mark.both_daemons
async def test_a_session_that_the_message_creates(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_stream_text(["This is a, ", "b, ", "and c."])
    async with await client.send_live(session, "go", total_timeout=10) as stream:
        events = stream.events()
        assert assertions.event_order(events, TEXT_TURN)
        assert assertions.contains_text(events, "a, b, and c.")
        assert assertions.seq_unique(events)
        assert assertions.correlation_thread(events, stream.correlation_id)
        assert not stream.events_of(UnknownPayload, InvalidPayload)
        result = stream.turn_result()
    assert (result.status, result.content, result.ok) == ("completed", "This is a, b, and c.", True)
    assert result.session.session_id == session.session_id


@pytest.mark.both_daemons
async def test_a_second_message_brings_its_own_turn_alone(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_stream_text(["first"]).will_stream_text(["second"])
    await (await client.send_live(session, "one", total_timeout=10)).stop()
    async with await client.send_live(session, "two", total_timeout=10) as stream:
        assert assertions.correlation_thread(stream.events())
        assert assertions.contains_text(stream.events(), "second")
        assert not assertions.contains_text(stream.events(), "first")


async def test_a_turn_that_ends_before_the_join_is_complete() -> None:
    model = FakeModel().will_stream_text([f"Sentence {n}. " for n in range(20)], times=None)
    with FakeDaemon() as daemon:
        daemon.add_app("my-app", model=model)
        async with daemon.async_client() as client:
            for number in range(3):
                session = SessionHandle(session_id=f"quick-{number}", app_id="my-app", daemon_url=daemon.url)
                async with await client.send_live(session, "go", total_timeout=20) as stream:
                    events = stream.events()
                    assert assertions.event_count(events, Token, 20), assertions.report(events)
                    assert assertions.event_order(events, TEXT_TURN)


async def test_the_beginning_of_a_turn_that_is_joined_late_is_complete() -> None:
    model = FakeModel().will_stream_text([f"Sentence {n}. " for n in range(10)], delay=0.01, times=None)
    with FakeDaemon() as daemon:
        daemon.add_app("my-app", model=model)
        session = SessionHandle(session_id="late", app_id="my-app", daemon_url=daemon.url)
        async with daemon.async_client() as client:
            async with await client.send_live(session, "go", total_timeout=20) as stream:
                events = stream.events()
                assert assertions.event_order(events, TEXT_TURN), assertions.report(events)
                assert assertions.event_count(events, Token, 10)


@pytest.mark.both_daemons
async def test_tool_calls_are_approved_as_they_ask(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    for number in range(3):
        model.will_call_tool("Bash", {"n": number}, result={"n": number}, requires_approval=True)
    model.will_stream_text(["done"])
    async with await client.send_live(session, "go", total_timeout=20) as stream:
        approved: list[EventSelector] = [ToolStart, ApprovalRequest, ApprovalResolved, ToolCall]
        assert assertions.event_order(stream.events(), [*approved, *approved, *approved, MessageDone])
        assert assertions.event_count(stream.events(), ApprovalRequest, 3)
        result = stream.turn_result()
        assert [call.params for call in result.tool_calls] == [{"n": 0}, {"n": 1}, {"n": 2}]
        assert assertions.event_order(result.events, [*approved, *approved, *approved, MessageDone])


@pytest.mark.both_daemons
async def test_chat_approves_by_polling(client: AsyncDevClient, model: FakeModel, place: Place) -> None:
    model.will_call_tool(
        "Bash", {"command": "ls"}, result={"ok": 1}, requires_approval=True
    ).will_respond_with_text("done")
    result = await client.chat(place.app_id, "go", timeout=20)
    assert result.content == "done"
    assert [call.success for call in result.tool_calls] == [True]


@pytest.mark.both_daemons
async def test_a_question_is_never_answered_by_auto_approve(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_ask_user("Which one?", choices=["a", "b"]).will_respond_with_text("thanks")
    with pytest.raises(EventTimeout) as caught:
        await client.send_live(session, "go", total_timeout=2)
    (pending,) = caught.value.pending_approvals
    assert "waits for approval of ask_user" in str(caught.value)
    assert assertions.event_order(caught.value.events, [UserMessage, ToolStart, ApprovalRequest])

    async with await client.open_event_stream(session) as stream:
        await client.resolve_approval(session.app_id, pending.request_id, message="b")
        await stream.wait_for(MessageDone, timeout=10)
    assert [str(message.content) for message in model.requests[-1].messages if "b" in str(message.content)]


@pytest.mark.both_daemons
async def test_a_denied_tool_fails_and_the_turn_goes_on(
    place: Place, model: FakeModel, session: SessionHandle
) -> None:
    model.will_call_tool("Bash", {"command": "ls"}, requires_approval=True).will_respond_with_text(
        "as you wish"
    )
    async with place.async_client(auto_approve=False) as client:
        await client.post_message_raw(session, "go")
        async with await client.open_event_stream(session) as stream:
            asked = await stream.wait_for(ApprovalRequest, timeout=10)
            await client.resolve_approval(
                session.app_id, asked.payload.request_id, approved=False, message="not now"
            )
            call = await stream.wait_for(ToolCall, timeout=10)
            assert not call.payload.success
            resolved = await stream.wait_for(ApprovalResolved, timeout=10)
            assert (resolved.payload.approved, resolved.payload.reason) == (False, "not now")
            await stream.wait_for(MessageDone, timeout=10)


@pytest.mark.both_daemons
async def test_a_failed_turn_returns_with_its_error(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_fail("auth_error", "wrong key")
    async with await client.send_live(session, "go", total_timeout=10) as stream:
        assert not assertions.no_errors(stream.events())
        result = stream.turn_result()
    assert result.status == "failed"
    assert [error.code for error in result.errors] == ["auth_error"]
    assert result.error == str(result.errors[0])


@pytest.mark.both_daemons
async def test_a_message_taken_out_of_the_queue_ends_its_send_live(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    """Its end names the queue row, not the message (contract: events, section 5.1)."""
    model.will_call_tool("Bash", {"command": "ls"}, requires_approval=True).will_respond_with_text("first")
    await client.post_message_raw(session, "first")
    # The second message leaves the queue at once (contract: events, section 6.4).
    await client.post_message_raw(session, "second")
    async with AsyncBackground() as background:
        sending = await background.start(client.send_live, session, "third", 20.0, auto_approve=False)
        async with await client.open_event_stream(session, auto_approve=False) as stream:
            queued = await stream.wait_for(
                MessageQueued, where=lambda event: "third" in repr(event), timeout=10
            )
            (entry,) = [
                one
                for one in (
                    await client.api.queue.list_session_queue(session.app_id, session.session_id)
                ).entries
                if one.correlation_id == queued.payload.correlation_id
            ]
            await client.api.queue.cancel_queued_message(session.app_id, session.session_id, entry.id)
            async with await sending.result(timeout=15) as third:
                assert third.events_of(MessageCancelled)
                assert third.turn_result().status == "cancelled"
            await client.api.sessions.abort_session(session.app_id, session.session_id, purge_queue=True)


@pytest.mark.both_daemons
async def test_an_aborted_turn_is_cancelled(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_stream_text(["x"] * 200, delay=0.05)
    async with AsyncBackground() as background:
        sending = await background.start(client.send_live, session, "go", 20.0)
        await client.wait_for_session(session)
        async with await client.open_event_stream(session) as stream:
            await stream.wait_for(Token, timeout=10)
            await client.api.sessions.abort_session(session.app_id, session.session_id)
        async with await sending.result(timeout=15) as aborted:
            assert aborted.turn_result().status == "cancelled"


async def test_sends_side_by_side(client: AsyncDevClient, daemon: FakeDaemon, model: FakeModel) -> None:
    model.will_stream_text(["a", "b"], delay=0.01, times=None)
    sessions = [SessionHandle(session_id=f"s{n}", app_id="my-app", daemon_url=daemon.url) for n in range(4)]
    async with AsyncBackground() as background:
        sends = [
            await background.start(client.send_live, one, "go", total_timeout=30)
            for one in sessions
            for _ in range(3)
        ]
        for sending in sends:
            async with await sending.result(timeout=35) as stream:
                assert {event.session_id for event in stream.events()} <= {stream.session_id, None}
                assert stream.turn_result().content == "ab"


async def test_twenty_interleaved_sends_on_four_sessions(daemon: FakeDaemon) -> None:
    sessions = [
        SessionHandle(session_id=f"s-{n}", app_id=f"app-{n}", daemon_url=daemon.url) for n in range(4)
    ]
    for number, one in enumerate(sessions):
        model = FakeModel()
        for turn in range(5):
            model.will_stream_text([f"Session {number}, turn {turn}: ", "x, ", "y."], delay=0.002)
        daemon.add_app(one.app_id, model=model)

    async with daemon.async_client() as client:

        async def send(session: SessionHandle, text: str) -> tuple[SessionHandle, AsyncLiveEventStream]:
            return session, await client.send_live(session, text, total_timeout=50)

        async with AsyncBackground() as background:
            sends = [await background.start(send, one, f"m{turn}") for turn in range(5) for one in sessions]
            done = [await one.result(timeout=55) for one in sends]
        texts: dict[str, list[str]] = {one.session_id: [] for one in sessions}
        for session, stream in done:
            async with stream:
                assert {event.session_id for event in stream.events()} <= {session.session_id, None}
                mine = [e for e in stream.events() if e.correlation_id == stream.correlation_id]
                assert assertions.event_order(mine, [UserMessage, MessageStarted, Token, Result, MessageDone])
                assert assertions.event_count(mine, Token, 3)
                assert assertions.event_count(mine, MessageDone, 1)
                texts[session.session_id].append(stream.turn_result().content)
        for number, one in enumerate(sessions):
            assert sorted(texts[one.session_id]) == [
                f"Session {number}, turn {turn}: x, y." for turn in range(5)
            ]
    assert async_leftovers() == 0


@pytest.mark.both_daemons
async def test_a_turn_that_began_before_the_stream_is_complete_when_it_is_waited_for(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_stream_text(["slow "] * 10, delay=0.05).will_respond_with_text("second")
    first = await client.post_message_raw(session, "one")
    await client.wait_for_session(session)
    async with await client.send_live(session, "two", total_timeout=20) as stream:
        result = await stream.wait_for_turn(first, timeout=10)
        assert assertions.event_order(result.events, TEXT_TURN)
        assert result.content == "slow " * 10
        assert result.duration > 0.3


@pytest.mark.both_daemons
async def test_the_stream_stays_open_for_more_messages(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_stream_text(["one"]).will_stream_text(["two"]).will_stream_text(["three"])
    async with await client.send_live(session, "1", total_timeout=10) as stream:
        accepted = None
        for text in ("2", "3"):
            accepted = await client.post_message_raw(session, text)
            await stream.wait_for(MessageDone, where=partial(is_of, accepted), timeout=10)
        assert assertions.event_count(stream.events(), MessageDone, 3)
        assert stream.turn_result().content == "one"
        assert accepted is not None
        assert (await stream.wait_for_turn(accepted)).content == "three"
    with pytest.raises(StreamClosed):
        await stream.wait_for(ToolCall, timeout=5)


async def test_a_queued_turn_is_complete_though_its_row_is_final_before_the_log_shows_it() -> None:
    model = FakeModel().will_stream_text(["slow "] * 5, delay=0.05).will_respond_with_text("second")
    with FakeDaemon(log_delay=0.3) as daemon:
        daemon.add_app("my-app", model=model)
        session = SessionHandle(session_id="s", app_id="my-app", daemon_url=daemon.url)
        async with daemon.async_client() as client:
            await client.post_message_raw(session, "one")
            result = await client.chat("my-app", "two", session=session, timeout=20)
        assert (result.status, result.content) == ("completed", "second")
        assert assertions.event_order(result.events, [UserMessage, MessageStarted, Result, MessageDone])


@pytest.mark.both_daemons
async def test_a_message_that_had_to_wait_is_aborted_like_any_other(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_respond_with_text("first").will_stream_text(["x"] * 200, delay=0.05)
    first = await client.post_message_raw(session, "one")
    async with AsyncBackground() as background:
        sending = await background.start(client.send_live, session, "two", 20.0)
        await client.wait_for_session(session)
        async with await client.open_event_stream(session) as stream:
            await stream.wait_for(Token, where=lambda e: "x" in e.payload.delta, timeout=10)
            await client.api.sessions.abort_session(session.app_id, session.session_id)
        async with await sending.result(timeout=15) as aborted:
            assert aborted.correlation_id != first.correlation_id
            assert aborted.turn_result().status == "cancelled"
