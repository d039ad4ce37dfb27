"""What streams and clients take, and that they give it back."""

import gc
import time

import pytest

from digitorn_testing import (
    AsyncDevClient,
    AsyncLiveEventStream,
    CallbackFailed,
    ClientClosed,
    EventPayload,
    EventTimeout,
    LiveEvent,
    SessionHandle,
    StreamClosed,
)
from digitorn_testing.events import MessageDone, Token, ToolCall
from digitorn_testing.fakes import FakeDaemon, FakeModel
from support.faces import AsyncBackground, AsyncSignal, AsyncStall, Taken, async_gone, async_taken
from support.fixtures import Place
from support.frames import token


@pytest.fixture
async def known(client: AsyncDevClient, model: FakeModel, session: SessionHandle) -> SessionHandle:
    """A session with one finished turn."""
    model.will_stream_text(["Hello to you."], times=None)
    await client.send(session, "hi", timeout=10)
    return session


async def taken_with(
    client: AsyncDevClient, session: SessionHandle, daemon: FakeDaemon, expected: Taken | None = None
) -> Taken:
    """What is taken, with one connection for calls: the daemon closes those that nobody uses."""
    await client.get_session(session)
    return await async_taken(daemon, expected)


# --- streams that are stopped


@pytest.mark.both_daemons
async def test_stop_may_be_called_again_and_at_the_same_time(
    client: AsyncDevClient, known: SessionHandle
) -> None:
    stream = await client.open_event_stream(known)
    async with AsyncBackground() as background:
        stopping = [await background.start(stream.stop) for _ in range(4)]
        for one in stopping:
            await one.result(timeout=5)
    await stream.stop()
    assert isinstance(stream.log.closed, StreamClosed)
    assert not stream.is_joined
    for use in (lambda: stream.wait_for(ToolCall), stream.fill_gaps, stream.start):
        with pytest.raises(StreamClosed):
            await use()


@pytest.mark.both_daemons
async def test_a_stream_that_was_never_started_can_be_stopped(
    known: SessionHandle, client: AsyncDevClient
) -> None:
    stream = client._stream(known, client._approvals.of_stream())
    await stream.stop()
    with pytest.raises(StreamClosed, match="it was stopped"):
        await stream.start()


@pytest.mark.both_daemons
async def test_stop_is_bounded_whatever_a_callback_does(client: AsyncDevClient, known: SessionHandle) -> None:
    async with AsyncStall() as stall:
        stream = await client.open_event_stream(known)
        begun = AsyncSignal()

        @stream.on(MessageDone)
        async def hang(event: LiveEvent[MessageDone]) -> None:
            begun.set()
            await stall.wait()

        turn = await client.start_turn(known, "again")
        assert await begun.wait(10)
        # The reader goes on meanwhile.
        assert (await turn.result()).content == "Hello to you."
        accepted = await client.post_message_raw(known, "and again")
        assert (await stream.wait_for_turn(accepted, timeout=10)).content == "Hello to you."
        started = time.monotonic()
        await stream.stop(timeout=0.5)
        assert time.monotonic() - started < 3


@pytest.mark.both_daemons
async def test_a_callback_that_fails_is_told_of_and_others_go_on(
    client: AsyncDevClient, known: SessionHandle, caplog: pytest.LogCaptureFixture
) -> None:
    stream = await client.open_event_stream(known)
    heard: list[str] = []

    @stream.on(Token)
    def fail(event: LiveEvent[Token]) -> None:
        raise ValueError("no such thing")

    @stream.on("message_done")
    def hear(event: LiveEvent[EventPayload]) -> None:
        heard.append(event.type)

    await stream.wait_for_turn(await client.post_message_raw(known, "again"), timeout=10)
    with pytest.raises(CallbackFailed, match="fail raised ValueError: no such thing"):
        await stream.stop()
    await stream.stop()
    assert heard == ["message_done"]
    assert "no such thing" in caplog.text


@pytest.mark.both_daemons
async def test_a_callback_that_falls_behind_a_bound_is_told_of(
    client: AsyncDevClient, known: SessionHandle, model: FakeModel
) -> None:
    async with AsyncStall() as stall:
        stream = await client.open_event_stream(known, max_events=10)
        heard: list[str] = []

        @stream.on(Token)
        async def hang(event: LiveEvent[Token]) -> None:
            heard.append(event.payload.delta)
            await stall.wait()

        for _ in range(15):
            accepted = await client.post_message_raw(known, "again")
            await stream.wait_for_turn(accepted, timeout=10)
        with pytest.raises(CallbackFailed, match="it is more than max_events=10 events behind"):
            await stream.stop(timeout=0.2)
    assert heard == ["Hello to you."]
    assert len(stream.callback_errors) == 1


@pytest.mark.both_daemons
async def test_a_callback_that_always_fails_is_told_of_a_hundred_times(
    client: AsyncDevClient, known: SessionHandle
) -> None:
    stream = await client.open_event_stream(known)

    @stream.on(Token)
    def fail(event: LiveEvent[Token]) -> None:
        raise ValueError("no such thing")

    for number in range(102):
        stream.log.feed(token("x", seq=1000 + number, session_id=known.session_id))
    with pytest.raises(CallbackFailed):
        await stream.stop()
    assert len(stream.callback_errors) == 100


@pytest.mark.both_daemons
async def test_a_reader_that_falls_behind_a_bound_is_told_of(
    client: AsyncDevClient, known: SessionHandle
) -> None:
    stream = await client.open_event_stream(known, max_events=10)
    seen: list[LiveEvent[EventPayload]] = []
    last = ""
    async for event in stream:
        if not seen:
            for _ in range(5):
                accepted = await client.post_message_raw(known, "again")
                await stream.wait_for_turn(accepted, timeout=10)
                last = accepted.correlation_id or ""
        seen.append(event)
        if isinstance(event.payload, MessageDone) and event.correlation_id == last:
            break
    assert len(seen) <= 21
    with pytest.raises(CallbackFailed, match=r"the iteration .* it is more than max_events=10 events behind"):
        await stream.stop()


@pytest.mark.both_daemons
async def test_a_turn_that_was_dropped_is_not_waited_for(
    client: AsyncDevClient, known: SessionHandle
) -> None:
    async with await client.open_event_stream(known, max_events=10) as stream:
        first = await client.post_message_raw(known, "again")
        for _ in range(3):
            await stream.wait_for_turn(await client.post_message_raw(known, "again"), timeout=10)
        with pytest.raises(ValueError, match=r"no event of turn .* any more; it keeps max_events=10"):
            await stream.wait_for_turn(first, timeout=20)


# --- streams that are forgotten


async def test_a_forgotten_stream_stops(daemon: FakeDaemon, known: SessionHandle) -> None:
    async with daemon.async_client() as client:
        # What the collector finds of others is not this test's.
        gc.collect()
        before = await taken_with(client, known, daemon)
        stream = await client.open_event_stream(known)
        await stream.wait_for(MessageDone, timeout=10)
        # It lives as long as somebody holds it.
        gc.collect()
        assert stream.is_joined
        assert not (await taken_with(client, known, daemon)).is_within(before)
        held = [stream]
        del stream
        with pytest.warns(ResourceWarning, match=f"the stream of session '{known.session_id}' was forgotten"):
            assert await async_gone(held)
        assert (await taken_with(client, known, daemon, before)).is_within(before)


async def test_a_forgotten_stream_with_a_turn_that_does_not_end_stops(
    daemon: FakeDaemon, known: SessionHandle, model: FakeModel
) -> None:
    model.reset()
    model.will_never_answer()
    async with daemon.async_client() as client:
        gc.collect()
        before = await taken_with(client, known, daemon)
        stream = await client.open_event_stream(known)
        accepted = await client.post_message_raw(known, "again")
        with pytest.raises(EventTimeout):
            await stream.wait_for_turn(accepted, timeout=0.1)
        held = [stream]
        del stream
        with pytest.warns(ResourceWarning, match=f"the stream of session '{known.session_id}' was forgotten"):
            assert await async_gone(held)
        await client.abort(known)
        assert (await taken_with(client, known, daemon, before)).is_within(before)


async def test_a_forgotten_stream_with_a_callback_stops(daemon: FakeDaemon, known: SessionHandle) -> None:
    heard: list[str] = []
    async with daemon.async_client() as client:
        gc.collect()
        before = await taken_with(client, known, daemon)
        stream = await client.open_event_stream(known)

        def hear(event: LiveEvent[Token], of: AsyncLiveEventStream = stream) -> None:
            heard.append(of.session_id)

        # A callback may know its stream.
        stream.on(Token)(hear)
        del hear
        held = [stream]
        del stream
        with pytest.warns(ResourceWarning, match="was forgotten"):
            assert await async_gone(held)
        assert (await taken_with(client, known, daemon, before)).is_within(before)
        await client.send(known, "again")
    assert heard == []


async def test_a_stream_that_was_stopped_leaves_nothing(daemon: FakeDaemon, known: SessionHandle) -> None:
    async with daemon.async_client() as client:
        before = await taken_with(client, known, daemon)
        stream = await client.open_event_stream(known)
        async with stream:
            await stream.wait_for(MessageDone, timeout=10)
        assert (await taken_with(client, known, daemon, before)).is_within(before)
        held = [stream]
        del stream
        assert await async_gone(held)


# --- clients that are closed


@pytest.mark.both_daemons
async def test_a_closed_client_does_nothing_more(
    place: Place, known: SessionHandle, model: FakeModel
) -> None:
    client = place.async_client()
    stream = await client.open_event_stream(known)
    turn = await client.start_turn(known, "again")
    await turn.result()
    await client.aclose()
    await client.aclose()
    for use in (
        lambda: client.get_session(known),
        lambda: client.send(known, "more"),
        lambda: client.send_live(known, "more"),
        lambda: client.open_event_stream(known),
        client.api.apps.list_apps,
        client.__aenter__,
    ):
        with pytest.raises(ClientClosed, match=f"the client of {place.url} was closed; make a new one"):
            await use()
    # A stream that was opened by hand has a life of its own.
    assert stream.is_joined
    assert await stream.fill_gaps() >= 0
    await stream.stop()


async def test_a_failed_start_leaves_nothing(daemon: FakeDaemon, known: SessionHandle) -> None:
    async with daemon.async_client() as client:
        before = await taken_with(client, known, daemon)
        nobody = SessionHandle(session_id="nobodys", app_id="my-app", daemon_url=daemon.url)
        for _ in range(3):
            with pytest.raises(Exception, match="refused to join"):
                await client.open_event_stream(nobody)
        assert (await taken_with(client, known, daemon, before)).is_within(before)


async def test_twenty_streams_give_everything_back(daemon: FakeDaemon, known: SessionHandle) -> None:
    """The small form of `make bench-streams`."""
    async with daemon.async_client() as client:
        before = await taken_with(client, known, daemon)
        streams = [await client.open_event_stream(known) for _ in range(20)]
        for stream in streams:
            await stream.wait_for(MessageDone, timeout=10)
        during = await taken_with(client, known, daemon)
        # All blocking streams have one thread.
        assert during.threads <= before.threads + 1
        assert during.connections >= before.connections + 20
        for stream in streams:
            await stream.stop()
        assert (await taken_with(client, known, daemon, before)).is_within(before)
