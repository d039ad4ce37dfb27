"""A stream by itself: waiting, iterating, callbacks, reconnecting, ending."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from digitorn.testing import (
    CallbackFailed,
    ContractViolation,
    DevClient,
    EventPayload,
    EventTimeout,
    JoinRefused,
    LiveEvent,
    LiveEventStream,
    SessionHandle,
    StreamClosed,
    assertions,
)
from digitorn.testing.events import (
    ApprovalRequest,
    MessageDone,
    MessageStarted,
    Token,
    ToolCall,
    UnknownPayload,
)
from digitorn.testing.fakes import FakeDaemon, FakeModel


@pytest.fixture
def known(client: DevClient, model: FakeModel, session: SessionHandle) -> SessionHandle:
    """A session with one finished turn."""
    model.will_stream_text(["old"])
    client.send_live(session, "first", total_timeout=10).stop()
    return session


def test_wait_for_finds_what_arrived_and_what_is_to_come(
    client: DevClient, model: FakeModel, known: SessionHandle
) -> None:
    model.will_stream_text(["new"])
    with client.open_event_stream(known) as stream:
        assert stream.wait_for(Token, timeout=10).payload.delta == "old"
        client.post_message_raw(known, "second")
        fresh = stream.wait_for(Token, where=lambda e: e.payload.delta == "new", timeout=10)
        assert fresh.payload.delta == "new"
        assert stream.poll_for(ToolCall) is None
        assert stream.poll_for("token") is not None


def test_a_timeout_says_what_did_come(client: DevClient, known: SessionHandle) -> None:
    with client.open_event_stream(known) as stream:
        stream.wait_for(MessageDone, timeout=10)
        started = time.monotonic()
        with pytest.raises(EventTimeout) as caught:
            stream.wait_for(ToolCall, timeout=0.2)
        assert 0.15 < time.monotonic() - started < 5
        assert "no ToolCall within 0.2 s on session" in str(caught.value)
        assert "message_done" in str(caught.value)
        assert assertions.event_count(caught.value.events, MessageDone, 1)
        with pytest.raises(ValueError, match="did you mean 'message_done'"):
            stream.wait_for("mesage_done", timeout=0.01)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType] - a misspelt name


def test_a_failing_predicate_reaches_the_caller(client: DevClient, known: SessionHandle) -> None:
    with client.open_event_stream(known) as stream, pytest.raises(ZeroDivisionError):
        stream.wait_for(Token, where=lambda e: bool(1 / 0), timeout=5)


def test_a_predicate_may_use_the_client(client: DevClient, known: SessionHandle) -> None:
    with client.open_event_stream(known) as stream:

        def asks(event: LiveEvent[Token]) -> bool:
            return not client.list_pending_approvals("my-app") and stream.log.last_seq > 0

        assert stream.wait_for(Token, where=asks, timeout=10)


def test_since_leaves_out_what_was_before(client: DevClient, model: FakeModel, known: SessionHandle) -> None:
    model.will_stream_text(["new"])
    with client.open_event_stream(known) as whole:
        last = whole.wait_for(MessageDone, timeout=10).seq
    with client.open_event_stream(known, since=last) as stream:
        client.post_message_raw(known, "second")
        assert stream.wait_for(MessageStarted, timeout=10).seq > last
        stream.wait_for(MessageDone, timeout=10)
        assert not assertions.contains_text(stream.events(), "old")


def test_iteration_yields_what_is_there_and_what_comes_and_ends_with_the_stream(
    client: DevClient, model: FakeModel, known: SessionHandle
) -> None:
    model.will_stream_text(["new"])
    stream = client.open_event_stream(known)
    client.post_message_raw(known, "second")
    seen: list[LiveEvent[EventPayload]] = []
    for event in stream:
        seen.append(event)
        if len([one for one in seen if isinstance(one.payload, MessageDone)]) == 2:
            stream.stop()
    assert assertions.event_order(seen, ["token", "message_done", "token", "message_done"])


def test_iteration_does_not_wait_for_ever(daemon: FakeDaemon, known: SessionHandle) -> None:
    stream = LiveEventStream(
        daemon_url=daemon.url,
        token=daemon.token(),
        app_id=known.app_id,
        session_id=known.session_id,
        timeout=0.3,
    )
    with stream, pytest.raises(EventTimeout, match=r"no event within 0\.3 s"):
        for _ in stream:
            pass


def test_callbacks_run_in_order_off_the_reading_thread(
    client: DevClient, model: FakeModel, known: SessionHandle
) -> None:
    model.will_stream_text(list("abc"))
    heard: list[str] = []
    threads: set[str] = set()
    with client.open_event_stream(known, since=10_000) as stream:

        @stream.on(Token)
        def on_token(event: LiveEvent[Token]) -> None:
            heard.append(event.payload.delta)
            threads.add(threading.current_thread().name)

        @stream.on("message_done")
        def on_done(event: LiveEvent[EventPayload]) -> None:
            heard.append(event.type)

        client.post_message_raw(known, "second")
        stream.wait_for(MessageDone, timeout=10)
    assert heard == ["a", "b", "c", "message_done"]
    assert len(threads) == 1
    assert threads.isdisjoint({threading.current_thread().name, "digitorn-testing-events"})


def test_a_callback_may_resolve_approvals_itself(
    daemon: FakeDaemon, model: FakeModel, session: SessionHandle
) -> None:
    model.will_call_tool("Bash", {}, requires_approval=True, text="wait").will_respond_with_text("ok")
    with daemon.client(auto_approve=False) as client:
        client.post_message_raw(session, "go")
        with client.open_event_stream(session) as stream:
            asked = stream.wait_for(ApprovalRequest, timeout=10)

            @stream.on("approval_progress")
            def unused(event: LiveEvent[EventPayload]) -> None:
                raise AssertionError(event)

            client.resolve_approval("my-app", asked.payload.request_id)
            stream.wait_for(MessageDone, timeout=10)


def test_a_slow_callback_does_not_hold_up_the_stream(
    client: DevClient, model: FakeModel, known: SessionHandle
) -> None:
    model.will_stream_text(["x"] * 50)
    release = threading.Event()
    with client.open_event_stream(known, since=10_000) as stream:

        @stream.on(Token)
        def slow(event: LiveEvent[Token]) -> None:
            release.wait(10)

        client.post_message_raw(known, "second")
        stream.wait_for(MessageDone, timeout=10)
        release.set()


def test_a_failing_callback_is_reported(
    client: DevClient, model: FakeModel, known: SessionHandle, caplog: pytest.LogCaptureFixture
) -> None:
    model.will_stream_text(["x"])
    stream = client.open_event_stream(known, since=10_000)

    @stream.on(Token)
    def broken(event: LiveEvent[Token]) -> None:
        raise RuntimeError("boom")

    client.post_message_raw(known, "second")
    stream.wait_for(MessageDone, timeout=10)
    with pytest.raises(CallbackFailed, match="boom") as caught:
        stream.stop()
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert "boom" in caplog.text
    stream.stop()


def test_a_stream_is_started_once_and_stopped_often(client: DevClient, known: SessionHandle) -> None:
    stream = LiveEventStream(
        daemon_url=client.daemon_url,
        token=client._get_auth_token(),
        app_id=known.app_id,
        session_id=known.session_id,
    )
    with pytest.raises(StreamClosed, match="not started"):
        stream.wait_for(Token, timeout=1)
    with pytest.raises(StreamClosed, match="not started"):
        stream.fill_gaps()
    stream.start()
    with pytest.raises(StreamClosed, match="started before"):
        stream.start()
    stream.stop()
    stream.stop()
    assert stream.events_of(Token)
    with pytest.raises(StreamClosed, match="stopped"):
        stream.wait_for(ToolCall, timeout=1)
    assert stream.wait_for(Token, timeout=1)
    assert "closed" in repr(stream)


def test_stopping_wakes_who_waits(client: DevClient, known: SessionHandle) -> None:
    stream = client.open_event_stream(known)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(stream.wait_for, ToolCall, timeout=30)
        stream.stop()
        with pytest.raises(StreamClosed):
            waiting.result(timeout=5)


def test_joining_what_is_not_there_is_refused(
    daemon: FakeDaemon, client: DevClient, known: SessionHandle
) -> None:
    unknown = SessionHandle(session_id="nobody", app_id="my-app", daemon_url=daemon.url)
    with pytest.raises(JoinRefused, match="session not found or access denied"):
        client.open_event_stream(unknown)
    daemon.add_user("other@example.com", "another password!")
    with (
        DevClient.with_user("other@example.com", "another password!", daemon_url=daemon.url) as other,
        pytest.raises(JoinRefused),
    ):
        other.open_event_stream(known)


def test_a_lost_connection_comes_back_without_a_gap(
    daemon: FakeDaemon, client: DevClient, model: FakeModel, known: SessionHandle
) -> None:
    model.will_stream_text([f"{n} " for n in range(40)], delay=0.02)
    with client.open_event_stream(known) as stream:
        turn = client.post_message_raw(known, "second").correlation_id
        stream.wait_for(Token, where=lambda e: e.payload.delta == "3 ", timeout=10)
        daemon.drop_connections()
        stream.wait_for(MessageDone, where=lambda e: e.correlation_id == turn, timeout=20)
        stream.fill_gaps()
        text = "".join(e.payload.delta for e in stream.events_of(Token) if e.correlation_id == turn)
        assert text == "".join(f"{n} " for n in range(40))
        assert assertions.seq_unique(stream.events())


def test_a_stream_outlives_the_deadline_of_the_send_that_opened_it(
    daemon: FakeDaemon, model: FakeModel, session: SessionHandle
) -> None:
    model.will_respond_with_text("first").will_call_tool("Bash", {}, requires_approval=True)
    model.will_respond_with_text("second")
    with daemon.client() as client, client.send_live(session, "one", total_timeout=0.8) as stream:
        assert stream.poll_for("error", timeout=1.0) is None
        daemon.drop_connections()
        client.close()
        turn = client.post_message_raw(session, "two").correlation_id
        stream.wait_for(MessageDone, where=lambda e: e.correlation_id == turn, timeout=10)
        assert stream.turn_result(turn).content == "second"


def test_an_unknown_type_is_kept_and_strict_refuses_it(known: SessionHandle, daemon: FakeDaemon) -> None:
    def open_stream(*, strict: bool) -> LiveEventStream:
        return LiveEventStream(
            daemon_url=daemon.url,
            token=daemon.token(),
            app_id=known.app_id,
            session_id=known.session_id,
            strict=strict,
        ).start()

    raw = {"type": "from_the_future", "payload": {"x": 1}, "session_id": known.session_id, "seq": 99_999}
    with open_stream(strict=False) as stream:
        stream._inner._received(raw)
        assert stream.wait_for(UnknownPayload, timeout=5)["payload"] == {"x": 1}
    with open_stream(strict=True) as stream:
        stream._inner._received(raw)
        with pytest.raises(ContractViolation, match="from_the_future"):
            stream.wait_for(ToolCall, timeout=5)


def test_a_callback_may_fail_the_test_as_the_runner_does(
    client: DevClient, model: FakeModel, known: SessionHandle
) -> None:
    model.will_stream_text(["x", "y"])
    heard: list[str] = []
    stream = client.open_event_stream(known, since=10_000)

    @stream.on(Token)
    def refuse(event: LiveEvent[Token]) -> None:
        heard.append(event.payload.delta)
        pytest.fail("not what I expected")

    client.post_message_raw(known, "second")
    stream.wait_for(MessageDone, timeout=10)
    with pytest.raises(CallbackFailed, match="not what I expected"):
        stream.stop()
    assert heard == ["x", "y"]


def test_a_callback_that_never_returns_does_not_keep_the_stream_open(
    client: DevClient, model: FakeModel, known: SessionHandle
) -> None:
    model.will_stream_text(["x"])
    release, entered = threading.Event(), threading.Event()
    stream = client.open_event_stream(known, since=10_000)

    @stream.on(Token)
    def stay(event: LiveEvent[Token]) -> None:
        entered.set()
        release.wait(20)

    client.post_message_raw(known, "second")
    assert entered.wait(10)
    started = time.monotonic()
    stream.stop(timeout=0.5)
    assert time.monotonic() - started < 5
    assert not stream._inner._socket.connected
    release.set()


def test_two_threads_may_stop_a_stream(client: DevClient, known: SessionHandle) -> None:
    other = client.open_event_stream(known)
    stream = client.open_event_stream(known)
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(stream.stop) for _ in range(4)]:
            done.result(timeout=10)
    assert other.wait_for(Token, timeout=5)
    other.fill_gaps()
    other.stop()
