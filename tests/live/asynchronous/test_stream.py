"""A stream by itself: waiting, iterating, callbacks, reconnecting, ending."""

import time

import pytest

from digitorn_testing import (
    AsyncDevClient,
    AsyncLiveEventStream,
    CallbackFailed,
    ContractViolation,
    EventLog,
    EventPayload,
    EventTimeout,
    InvalidPayload,
    JoinRefused,
    LiveEvent,
    SessionHandle,
    StreamClosed,
    assertions,
)
from digitorn_testing.events import (
    ApprovalRequest,
    MessageDone,
    MessageStarted,
    Token,
    ToolCall,
    UnknownPayload,
)
from digitorn_testing.fakes import FakeDaemon, FakeModel
from support.faces import AsyncBackground, AsyncSignal, async_leftovers, deliver, inner, lose
from support.fixtures import Place


@pytest.fixture
async def known(client: AsyncDevClient, model: FakeModel, session: SessionHandle) -> SessionHandle:
    """A session with one finished turn."""
    model.will_stream_text(["An old text."])
    await (await client.send_live(session, "first", total_timeout=10)).stop()
    return session


@pytest.mark.both_daemons
async def test_wait_for_finds_what_arrived_and_what_is_to_come(
    client: AsyncDevClient, model: FakeModel, known: SessionHandle
) -> None:
    model.will_stream_text(["A new text."])
    async with await client.open_event_stream(known) as stream:
        assert (await stream.wait_for(Token, timeout=10)).payload.delta == "An old text."
        await client.post_message_raw(known, "second")
        fresh = await stream.wait_for(Token, where=lambda e: e.payload.delta == "A new text.", timeout=10)
        assert fresh.payload.delta == "A new text."
        assert await stream.poll_for(ToolCall) is None
        assert await stream.poll_for("token") is not None


@pytest.mark.both_daemons
async def test_a_timeout_says_what_did_come(client: AsyncDevClient, known: SessionHandle) -> None:
    async with await client.open_event_stream(known) as stream:
        await stream.wait_for(MessageDone, timeout=10)
        started = time.monotonic()
        with pytest.raises(EventTimeout) as caught:
            await stream.wait_for(ToolCall, timeout=0.2)
        assert 0.15 < time.monotonic() - started < 5
        assert str(caught.value).startswith("no ToolCall within 0.2 s; ")
        assert "message_done" in str(caught.value)
        assert assertions.event_count(caught.value.events, MessageDone, 1)
        with pytest.raises(ValueError, match="did you mean 'message_done'"):
            await stream.wait_for("mesage_done", timeout=0.01)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType] - a misspelt name


@pytest.mark.both_daemons
async def test_a_failing_predicate_reaches_the_caller(client: AsyncDevClient, known: SessionHandle) -> None:
    async with await client.open_event_stream(known) as stream:
        with pytest.raises(ZeroDivisionError):
            await stream.wait_for(Token, where=lambda e: bool(1 / 0), timeout=5)


@pytest.mark.both_daemons
async def test_since_leaves_out_what_was_before(
    client: AsyncDevClient, model: FakeModel, known: SessionHandle
) -> None:
    model.will_stream_text(["A new text."])
    async with await client.open_event_stream(known) as whole:
        last = (await whole.wait_for(MessageDone, timeout=10)).seq
    async with await client.open_event_stream(known, since=last) as stream:
        await client.post_message_raw(known, "second")
        assert (await stream.wait_for(MessageStarted, timeout=10)).seq > last
        await stream.wait_for(MessageDone, timeout=10)
        assert not assertions.contains_text(stream.events(), "old text")


@pytest.mark.both_daemons
async def test_iteration_yields_what_is_there_and_what_comes_and_ends_with_the_stream(
    client: AsyncDevClient, model: FakeModel, known: SessionHandle
) -> None:
    model.will_stream_text(["A new text."])
    stream = await client.open_event_stream(known)
    await client.post_message_raw(known, "second")
    seen: list[LiveEvent[EventPayload]] = []
    async for event in stream:
        seen.append(event)
        if len([one for one in seen if isinstance(one.payload, MessageDone)]) == 2:
            await stream.stop()
    assert assertions.event_order(seen, ["token", "message_done", "token", "message_done"])


@pytest.mark.both_daemons
async def test_iteration_does_not_wait_for_ever(place: Place, known: SessionHandle) -> None:
    stream = AsyncLiveEventStream(
        daemon_url=place.url,
        token=place.token,
        app_id=known.app_id,
        session_id=known.session_id,
        timeout=0.3,
    )
    async with stream:
        with pytest.raises(EventTimeout, match=r"no event within 0\.3 s"):
            async for _ in stream:
                pass


@pytest.mark.both_daemons
async def test_callbacks_run_in_order(client: AsyncDevClient, model: FakeModel, known: SessionHandle) -> None:
    model.will_stream_text(["This is a, ", "b, ", "and c."])
    heard: list[str] = []
    async with await client.open_event_stream(known, since=10_000) as stream:

        @stream.on(Token)
        def on_token(event: LiveEvent[Token]) -> None:
            heard.append(event.payload.delta)

        @stream.on("message_done")
        def on_done(event: LiveEvent[EventPayload]) -> None:
            heard.append(event.type)

        await client.post_message_raw(known, "second")
        await stream.wait_for(MessageDone, timeout=10)
    assert heard == ["This is a, ", "b, ", "and c.", "message_done"]


@pytest.mark.both_daemons
async def test_a_callback_may_resolve_approvals_itself(
    place: Place, model: FakeModel, session: SessionHandle
) -> None:
    model.will_call_tool(
        "Bash", {"command": "ls"}, requires_approval=True, text="wait"
    ).will_respond_with_text("ok")
    async with place.async_client(auto_approve=False) as client:
        await client.post_message_raw(session, "go")
        async with await client.open_event_stream(session) as stream:
            asked = await stream.wait_for(ApprovalRequest, timeout=10)

            @stream.on("approval_progress")
            def unused(event: LiveEvent[EventPayload]) -> None:
                raise AssertionError(event)

            await client.resolve_approval(session.app_id, asked.payload.request_id)
            await stream.wait_for(MessageDone, timeout=10)


@pytest.mark.both_daemons
async def test_a_slow_callback_does_not_hold_up_the_stream(
    client: AsyncDevClient, model: FakeModel, known: SessionHandle
) -> None:
    model.will_stream_text(["Some words. "] * 50)
    release = AsyncSignal()
    async with await client.open_event_stream(known, since=10_000) as stream:

        @stream.on(Token)
        async def slow(event: LiveEvent[Token]) -> None:
            await release.wait(10)

        await client.post_message_raw(known, "second")
        await stream.wait_for(MessageDone, timeout=10)
        release.set()


@pytest.mark.both_daemons
async def test_a_failing_callback_is_reported(
    client: AsyncDevClient, model: FakeModel, known: SessionHandle, caplog: pytest.LogCaptureFixture
) -> None:
    model.will_stream_text(["Some words."])
    stream = await client.open_event_stream(known, since=10_000)

    @stream.on(Token)
    def broken(event: LiveEvent[Token]) -> None:
        raise RuntimeError("boom")

    await client.post_message_raw(known, "second")
    await stream.wait_for(MessageDone, timeout=10)
    with pytest.raises(CallbackFailed, match="boom") as caught:
        await stream.stop()
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert "boom" in caplog.text
    await stream.stop()


@pytest.mark.both_daemons
async def test_a_stream_is_started_once_and_stopped_often(
    client: AsyncDevClient, known: SessionHandle
) -> None:
    stream = AsyncLiveEventStream(
        daemon_url=client.daemon_url,
        token=client._get_auth_token(),
        app_id=known.app_id,
        session_id=known.session_id,
    )
    with pytest.raises(StreamClosed, match="not started"):
        await stream.wait_for(Token, timeout=1)
    await stream.start()
    with pytest.raises(StreamClosed, match="started before"):
        await stream.start()
    await stream.stop()
    await stream.stop()
    assert stream.events_of(Token)
    with pytest.raises(StreamClosed, match="stopped"):
        await stream.wait_for(ToolCall, timeout=1)
    assert await stream.wait_for(Token, timeout=1)
    assert "closed" in repr(stream)


@pytest.mark.both_daemons
async def test_stopping_wakes_who_waits(client: AsyncDevClient, known: SessionHandle) -> None:
    stream = await client.open_event_stream(known)
    async with AsyncBackground() as background:
        waiting = await background.start(stream.wait_for, ToolCall, timeout=30)
        await stream.stop()
        with pytest.raises(StreamClosed):
            await waiting.result(timeout=5)


async def test_joining_what_is_not_there_is_refused(
    daemon: FakeDaemon, client: AsyncDevClient, known: SessionHandle
) -> None:
    unknown = SessionHandle(session_id="nobody", app_id="my-app", daemon_url=daemon.url)
    with pytest.raises(JoinRefused, match="session not found or access denied"):
        await client.open_event_stream(unknown)
    daemon.add_user("other@example.com", "another password!")
    async with await AsyncDevClient.with_user(
        "other@example.com", "another password!", daemon_url=daemon.url
    ) as other:
        with pytest.raises(JoinRefused):
            await other.open_event_stream(known)


@pytest.mark.both_daemons
async def test_a_refused_join_leaves_nothing_open(client: AsyncDevClient, session: SessionHandle) -> None:
    before = async_leftovers()
    for _ in range(3):
        with pytest.raises(JoinRefused):
            await client.open_event_stream(session)
    assert async_leftovers() == before


async def test_a_lost_connection_comes_back_without_a_gap(
    daemon: FakeDaemon, client: AsyncDevClient, model: FakeModel, known: SessionHandle
) -> None:
    model.will_stream_text([f"Sentence {n}. " for n in range(40)], delay=0.02)
    async with await client.open_event_stream(known) as stream:
        turn = (await client.post_message_raw(known, "second")).correlation_id
        await stream.wait_for(Token, where=lambda e: e.payload.delta == "Sentence 3. ", timeout=10)
        daemon.drop_connections()
        await stream.wait_for(MessageDone, where=lambda e: e.correlation_id == turn, timeout=20)
        await stream.fill_gaps()
        text = "".join(e.payload.delta for e in stream.events_of(Token) if e.correlation_id == turn)
        assert text == "".join(f"Sentence {n}. " for n in range(40))
        assert assertions.seq_unique(stream.events())


@pytest.mark.both_daemons
async def test_a_frame_that_the_daemon_dropped_is_read_from_its_log(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    """A live copy may be dropped under pressure; its row stays (contract: events, section 1)."""
    model.will_stream_text(["An old text."]).will_stream_text(["This is a, ", "b, ", "and c."])
    async with await client.send_live(session, "one", total_timeout=10) as stream:
        lose(stream, lambda frame: "'delta': 'b, '" in repr(frame))
        accepted = await client.post_message_raw(session, "two")
        assert (await stream.wait_for_turn(accepted, timeout=10)).content == "This is a, b, and c."
        assert [e.payload.delta for e in stream.events_of(Token)] == [
            "An old text.",
            "This is a, ",
            "b, ",
            "and c.",
        ]


@pytest.mark.both_daemons
async def test_a_row_of_the_log_that_breaks_the_contract_spoils_nothing(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_stream_text(["a"])
    async with await client.send_live(session, "go", total_timeout=10) as stream:
        page = await client.api.sessions.list_session_events(session.app_id, session.session_id)
        raw = page.to_wire()
        raw["events"][0]["payload"] = ["no", "object"]
        raw["events"][1]["seq"] = "two"
        odd = type(page).from_wire(raw)
        fresh = EventLog(session_id=session.session_id)
        for row in odd.events:
            fresh.feed(row if isinstance(row, dict) else row.to_wire())
        assert len(fresh) + len(fresh.log_only) == len(page.events)
        assert len(fresh.events_of(InvalidPayload)) == 2
        assert stream.log.closed is None


async def test_a_stream_outlives_the_deadline_of_the_send_that_opened_it(
    daemon: FakeDaemon, model: FakeModel, session: SessionHandle
) -> None:
    model.will_respond_with_text("first").will_call_tool("Bash", {"command": "ls"}, requires_approval=True)
    model.will_respond_with_text("second")
    async with (
        daemon.async_client() as client,
        await client.send_live(session, "one", total_timeout=2) as stream,
    ):
        assert await stream.poll_for("error", timeout=2.1) is None
        daemon.drop_connections()
        await client.aclose()
        async with daemon.async_client() as other:
            turn = (await other.post_message_raw(session, "two")).correlation_id
        await stream.wait_for(MessageDone, where=lambda e: e.correlation_id == turn, timeout=10)
        assert stream.turn_result(turn).content == "second"


@pytest.mark.both_daemons
async def test_an_unknown_type_is_kept_and_strict_refuses_it(known: SessionHandle, place: Place) -> None:
    async def open_stream(*, strict: bool) -> AsyncLiveEventStream:
        return await AsyncLiveEventStream(
            daemon_url=place.url,
            token=place.token,
            app_id=known.app_id,
            session_id=known.session_id,
            strict=strict,
        ).start()

    raw = {"type": "from_the_future", "payload": {"x": 1}, "session_id": known.session_id, "seq": 99_999}
    async with await open_stream(strict=False) as stream:
        deliver(stream, raw)
        assert (await stream.wait_for(UnknownPayload, timeout=5))["payload"] == {"x": 1}
    async with await open_stream(strict=True) as stream:
        deliver(stream, raw)
        with pytest.raises(ContractViolation, match="from_the_future"):
            await stream.wait_for(ToolCall, timeout=5)


@pytest.mark.both_daemons
async def test_a_callback_may_fail_the_test_as_the_runner_does(
    client: AsyncDevClient, model: FakeModel, known: SessionHandle
) -> None:
    model.will_stream_text(["Some words, ", "and more."])
    heard: list[str] = []
    stream = await client.open_event_stream(known, since=10_000)

    @stream.on(Token)
    def refuse(event: LiveEvent[Token]) -> None:
        heard.append(event.payload.delta)
        pytest.fail("not what I expected")

    await client.post_message_raw(known, "second")
    await stream.wait_for(MessageDone, timeout=10)
    with pytest.raises(CallbackFailed, match="not what I expected"):
        await stream.stop()
    assert heard == ["Some words, ", "and more."]


@pytest.mark.both_daemons
async def test_a_callback_that_never_returns_does_not_keep_the_stream_open(
    client: AsyncDevClient, model: FakeModel, known: SessionHandle
) -> None:
    model.will_stream_text(["Some words."])
    release, entered = AsyncSignal(), AsyncSignal()
    stream = await client.open_event_stream(known, since=10_000)

    @stream.on(Token)
    async def stay(event: LiveEvent[Token]) -> None:
        entered.set()
        await release.wait(20)

    await client.post_message_raw(known, "second")
    assert await entered.wait(10)
    started = time.monotonic()
    await stream.stop(timeout=0.5)
    assert time.monotonic() - started < 5
    assert not inner(stream)._machines.socket.connected
    assert not inner(stream)._machines.tasks.running
    release.set()


@pytest.mark.both_daemons
async def test_several_may_stop_a_stream_at_once(client: AsyncDevClient, known: SessionHandle) -> None:
    other = await client.open_event_stream(known)
    stream = await client.open_event_stream(known)
    async with AsyncBackground() as background:
        for done in [await background.start(stream.stop) for _ in range(4)]:
            await done.result(timeout=10)
    assert await other.wait_for(Token, timeout=5)
    await other.fill_gaps()
    await other.stop()


@pytest.mark.both_daemons
async def test_a_stream_that_was_not_started_has_no_gaps_to_fill(
    client: AsyncDevClient, known: SessionHandle
) -> None:
    stream = AsyncLiveEventStream(
        daemon_url=client.daemon_url,
        token=client._get_auth_token(),
        app_id=known.app_id,
        session_id=known.session_id,
    )
    with pytest.raises(StreamClosed, match="not started"):
        await stream.fill_gaps()


async def test_turns_are_read_in_order_while_connections_are_cut(
    daemon: FakeDaemon, client: AsyncDevClient, model: FakeModel, known: SessionHandle
) -> None:
    model.will_stream_text([str(number) for number in range(300)], delay=0.001)
    turn = await client.start_turn(known, "go")
    seen: list[int] = []
    async for event in turn:
        seen.append(event.seq)
        if len(seen) % 60 == 0:
            daemon.drop_connections()
    assert seen == sorted(set(seen))
    result = await turn.result()
    assert [event.seq for event in result.events] == seen
    assert result.text == "".join(str(number) for number in range(300))
