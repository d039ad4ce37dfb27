"""`send_live`: every event of its own turn, whatever else happens."""

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from digitorn.testing import (
    DevClient,
    EventSelector,
    EventTimeout,
    LiveEvent,
    LiveEventStream,
    SessionHandle,
    StreamClosed,
    assertions,
)
from digitorn.testing.events import (
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
from digitorn.testing.fakes import FakeDaemon, FakeModel
from digitorn.testing.models import MessageAccepted


def is_of(accepted: MessageAccepted, event: LiveEvent[MessageDone]) -> bool:
    """Whether an event belongs to the turn of a message."""
    return event.correlation_id == accepted.correlation_id


def background_threads() -> int:
    """How many threads the streams of this process run on."""
    return sum(thread.name == "digitorn-testing-events" for thread in threading.enumerate())


TEXT_TURN: list[EventSelector] = [UserMessage, MessageStarted, Token, StreamDone, Result, MessageDone]


def test_a_session_that_the_message_creates(
    client: DevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_stream_text(["a", "b", "c"])
    with client.send_live(session, "go", total_timeout=10) as stream:
        events = stream.events()
        assert assertions.event_order(events, TEXT_TURN)
        assert assertions.contains_text(events, "abc")
        assert assertions.seq_unique(events)
        assert assertions.correlation_thread(events, stream.correlation_id)
        assert not stream.events_of(UnknownPayload, InvalidPayload)
        result = stream.turn_result()
    assert (result.status, result.content, result.ok) == ("completed", "abc", True)
    assert result.session.session_id == session.session_id


def test_a_second_message_brings_its_own_turn_alone(
    client: DevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_stream_text(["first"]).will_stream_text(["second"])
    client.send_live(session, "one", total_timeout=10).stop()
    with client.send_live(session, "two", total_timeout=10) as stream:
        assert assertions.correlation_thread(stream.events())
        assert assertions.contains_text(stream.events(), "second")
        assert not assertions.contains_text(stream.events(), "first")


@pytest.mark.parametrize("log_delay", [0.0, 0.2])
def test_a_turn_that_ends_before_the_join_is_complete(log_delay: float) -> None:
    """The room is entered late, and the log shows a row only some time after its event."""
    model = FakeModel().will_stream_text([str(n) for n in range(20)], times=None)
    with FakeDaemon(log_delay=log_delay) as daemon, daemon.client() as client:
        daemon.add_app("my-app", model=model)
        for number in range(5):
            session = SessionHandle(session_id=f"quick-{number}", app_id="my-app", daemon_url=daemon.url)
            with client.send_live(session, "go", total_timeout=20) as stream:
                assert assertions.event_count(stream.events(), Token, 20), assertions.report(stream.events())
                assert assertions.event_order(stream.events(), TEXT_TURN)


def test_the_beginning_of_a_turn_that_is_joined_late_is_complete() -> None:
    """Rows of the log that are not visible at the join are fetched when they are."""
    model = FakeModel().will_stream_text([str(n) for n in range(10)], delay=0.01, times=None)
    with FakeDaemon(log_delay=0.3) as daemon, daemon.client() as client:
        daemon.add_app("my-app", model=model)
        session = SessionHandle(session_id="late", app_id="my-app", daemon_url=daemon.url)
        with client.send_live(session, "go", total_timeout=20) as stream:
            assert assertions.event_order(stream.events(), TEXT_TURN), assertions.report(stream.events())
            assert assertions.event_count(stream.events(), Token, 10)


def test_tool_calls_are_approved_as_they_ask(
    client: DevClient, model: FakeModel, session: SessionHandle
) -> None:
    for number in range(3):
        model.will_call_tool("Bash", {"n": number}, result={"n": number}, requires_approval=True)
    model.will_stream_text(["done"])
    with client.send_live(session, "go", total_timeout=20) as stream:
        approved: list[EventSelector] = [ToolStart, ApprovalRequest, ApprovalResolved, ToolCall]
        assert assertions.event_order(stream.events(), [*approved, *approved, *approved, MessageDone])
        assert assertions.event_count(stream.events(), ApprovalRequest, 3)
        result = stream.turn_result()
        assert [call.params for call in result.tool_calls] == [{"n": 0}, {"n": 1}, {"n": 2}]
        assert assertions.event_order(result.events, [*approved, *approved, *approved, MessageDone])


def test_chat_approves_by_polling(client: DevClient, model: FakeModel) -> None:
    model.will_call_tool("Bash", {}, result={"ok": 1}, requires_approval=True).will_respond_with_text("done")
    result = client.chat("my-app", "go", timeout=20)
    assert result.content == "done"
    assert [call.success for call in result.tool_calls] == [True]


def test_a_question_is_never_answered_by_auto_approve(
    client: DevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_ask_user("Which one?", choices=["a", "b"]).will_respond_with_text("thanks")
    with pytest.raises(EventTimeout) as caught:
        client.send_live(session, "go", total_timeout=0.7)
    (pending,) = caught.value.pending_approvals
    assert "waiting for approval: ask_user" in str(caught.value)
    assert assertions.event_order(caught.value.events, [UserMessage, ToolStart, ApprovalRequest])

    with client.open_event_stream(session) as stream:
        client.resolve_approval("my-app", pending.request_id, message="b")
        stream.wait_for(MessageDone, timeout=10)
    assert [str(message.content) for message in model.requests[-1].messages if "b" in str(message.content)]


def test_a_denied_tool_fails_and_the_turn_goes_on(
    daemon: FakeDaemon, model: FakeModel, session: SessionHandle
) -> None:
    model.will_call_tool("Bash", {}, requires_approval=True).will_respond_with_text("as you wish")
    with daemon.client(auto_approve=False) as client:
        client.post_message_raw(session, "go")
        with client.open_event_stream(session) as stream:
            asked = stream.wait_for(ApprovalRequest, timeout=10)
            client.resolve_approval("my-app", asked.payload.request_id, approved=False, message="not now")
            call = stream.wait_for(ToolCall, timeout=10)
            assert not call.payload.success
            resolved = stream.wait_for(ApprovalResolved, timeout=10)
            assert (resolved.payload.approved, resolved.payload.reason) == (False, "not now")
            stream.wait_for(MessageDone, timeout=10)


def test_a_failed_turn_returns_with_its_error(
    client: DevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_fail("rate_limited", "slow down")
    with client.send_live(session, "go", total_timeout=10) as stream:
        assert not assertions.no_errors(stream.events())
        result = stream.turn_result()
    assert result.status == "failed"
    assert result.error is not None
    assert "slow down" in result.error


def test_a_message_taken_out_of_the_queue_ends_its_send_live(
    client: DevClient, model: FakeModel, session: SessionHandle
) -> None:
    """Its end names the queue row, not the message (contract: events, section 8, trap 8)."""
    model.will_call_tool("Bash", {}, requires_approval=True).will_respond_with_text("first")
    client.post_message_raw(session, "first")
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(client.send_live, session, "second", 20.0, auto_approve=False)
        with client.open_event_stream(session, auto_approve=False) as stream:
            queued = stream.wait_for(MessageQueued, timeout=10)
            (entry,) = [
                one
                for one in client.api.queue.list_session_queue("my-app", session.session_id).entries
                if one.correlation_id == queued.payload.correlation_id
            ]
            client.api.queue.cancel_queued_message("my-app", session.session_id, entry.id)
            with sending.result(timeout=15) as second:
                assert second.events_of(MessageCancelled)
                assert second.turn_result().status == "cancelled"
            client.api.sessions.abort_session("my-app", session.session_id, purge_queue=True)


def test_an_aborted_turn_is_cancelled(client: DevClient, model: FakeModel, session: SessionHandle) -> None:
    model.will_stream_text(["x"] * 200, delay=0.05)
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(client.send_live, session, "go", 20.0)
        client.wait_for_session(session)
        with client.open_event_stream(session) as stream:
            stream.wait_for(Token, timeout=10)
            client.api.sessions.abort_session("my-app", session.session_id)
        with sending.result(timeout=15) as aborted:
            assert aborted.turn_result().status == "cancelled"


def test_twenty_interleaved_sends_on_four_sessions(daemon: FakeDaemon) -> None:
    sessions = [
        SessionHandle(session_id=f"s-{n}", app_id=f"app-{n}", daemon_url=daemon.url) for n in range(4)
    ]
    for number, one in enumerate(sessions):
        model = FakeModel()
        for turn in range(5):
            model.will_stream_text([f"s{number}t{turn}:", "x", "y"], delay=0.002)
        daemon.add_app(one.app_id, model=model)

    with daemon.client() as client:

        def send(session: SessionHandle, text: str) -> tuple[SessionHandle, LiveEventStream]:
            return session, client.send_live(session, text, total_timeout=50)

        with ThreadPoolExecutor(20) as pool:
            sends = [pool.submit(send, one, f"m{turn}") for turn in range(5) for one in sessions]
            done = [one.result(timeout=55) for one in sends]
        texts: dict[str, list[str]] = {one.session_id: [] for one in sessions}
        for session, stream in done:
            with stream:
                assert {event.session_id for event in stream.events()} <= {session.session_id, None}
                mine = [e for e in stream.events() if e.correlation_id == stream.correlation_id]
                assert assertions.event_order(mine, [UserMessage, MessageStarted, Token, Result, MessageDone])
                assert assertions.event_count(mine, Token, 3)
                assert assertions.event_count(mine, MessageDone, 1)
                texts[session.session_id].append(stream.turn_result().content)
        for number, one in enumerate(sessions):
            assert sorted(texts[one.session_id]) == [f"s{number}t{turn}:xy" for turn in range(5)]
    assert background_threads() == 0


def test_many_streams_cost_one_thread(client: DevClient, model: FakeModel, session: SessionHandle) -> None:
    model.will_respond_with_text("hi")
    client.send_live(session, "go").stop()
    assert background_threads() == 0
    streams = [client.open_event_stream(session) for _ in range(20)]
    assert background_threads() == 1
    for stream in streams:
        stream.stop()
    assert background_threads() == 0


def test_a_turn_that_began_before_the_stream_is_complete_when_it_is_waited_for(
    client: DevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_stream_text(["slow "] * 10, delay=0.05).will_respond_with_text("second")
    first = client.post_message_raw(session, "one")
    client.wait_for_session(session)
    with client.send_live(session, "two", total_timeout=20) as stream:
        result = stream.wait_for_turn(first, timeout=10)
        assert assertions.event_order(result.events, TEXT_TURN)
        assert result.content == "slow " * 10
        assert result.duration > 0.3


def test_the_stream_stays_open_for_more_messages(
    client: DevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_stream_text(["one"]).will_stream_text(["two"]).will_stream_text(["three"])
    with client.send_live(session, "1", total_timeout=10) as stream:
        accepted = None
        for text in ("2", "3"):
            accepted = client.post_message_raw(session, text)
            stream.wait_for(MessageDone, where=partial(is_of, accepted), timeout=10)
        assert assertions.event_count(stream.events(), MessageDone, 3)
        assert stream.turn_result().content == "one"
        assert accepted is not None
        assert stream.wait_for_turn(accepted).content == "three"
    with pytest.raises(StreamClosed):
        stream.wait_for(ToolCall, timeout=5)


def test_a_queued_turn_is_complete_though_its_row_is_final_before_the_log_shows_it() -> None:
    model = FakeModel().will_stream_text(["slow "] * 5, delay=0.05).will_respond_with_text("second")
    with FakeDaemon(log_delay=0.3) as daemon, daemon.client() as client:
        daemon.add_app("my-app", model=model)
        session = SessionHandle(session_id="s", app_id="my-app", daemon_url=daemon.url)
        client.post_message_raw(session, "one")
        result = client.chat("my-app", "two", session=session, timeout=20)
        assert (result.status, result.content) == ("completed", "second")
        assert assertions.event_order(result.events, [UserMessage, MessageStarted, Result, MessageDone])


def test_an_aborted_message_of_the_queue_is_cancelled_though_it_ends_as_done(
    client: DevClient, model: FakeModel, session: SessionHandle
) -> None:
    """Build A ends it with message_done; its queue row tells (contract: events, section 6.6)."""
    model.will_respond_with_text("first").will_stream_text(["x"] * 200, delay=0.05)
    first = client.post_message_raw(session, "one")
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(client.send_live, session, "two", 20.0)
        client.wait_for_session(session)
        with client.open_event_stream(session) as stream:
            stream.wait_for(Token, where=lambda e: e.payload.delta == "x", timeout=10)
            client.api.sessions.abort_session("my-app", session.session_id)
        with sending.result(timeout=15) as aborted:
            assert aborted.correlation_id != first.correlation_id
            assert aborted.turn_result().status == "cancelled"
