"""What only the asynchronous face has: tasks that are cancelled, callbacks that are coroutines."""

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest

from digitorn_testing import (
    AsyncDevClient,
    AsyncLiveEventStream,
    CallbackFailed,
    ClientClosed,
    DaemonUnreachable,
    EventPayload,
    LiveEvent,
    RetryPolicy,
    SessionHandle,
    StreamClosed,
    WrongEventLoop,
    assertions,
)
from digitorn_testing._transport.event_connection import HandshakeRefused
from digitorn_testing._transport.event_socket import EventSocket
from digitorn_testing.events import MessageDone, Token, ToolCall
from digitorn_testing.fakes import FakeDaemon, FakeModel
from support.hostile import HostileSocket, hostile_socket
from support.sessions import add_session
from support.texts import ANSWER, PIECES, pieces


@pytest.mark.parametrize("what", ["stream", "turn", "text"])
async def test_a_read_that_timed_out_is_repeated_and_misses_nothing(
    daemon: FakeDaemon, model: FakeModel, what: str
) -> None:
    session = add_session(daemon)
    model.will_stream_text(pieces(6), delay=0.03)
    async with daemon.async_client() as client, await client.open_event_stream(session) as stream:
        turn = stream.turn(await client.post_message_raw(session, "go"), timeout=20)
        sources: dict[str, AsyncIterator[LiveEvent[EventPayload] | str]] = {
            "stream": aiter(stream),
            "turn": aiter(turn),
            "text": turn.text_deltas(),
        }
        events = sources[what]
        heard: list[str] = []
        idle = 0
        while "".join(heard) != "".join(pieces(6)):
            try:
                if idle % 2:
                    async with asyncio.timeout(0.01):
                        one = await anext(events)
                else:
                    one = await asyncio.wait_for(anext(events), 0.01)
            except TimeoutError:
                idle += 1
                continue
            if isinstance(one, str):
                heard.append(one)
            elif isinstance(one.payload, Token):
                heard.append(one.payload.delta)
        assert (idle > 0, heard) == (True, pieces(6))


async def test_an_iteration_that_was_closed_is_over(daemon: FakeDaemon) -> None:
    session = add_session(daemon)
    async with daemon.async_client() as client, await client.open_event_stream(session) as stream:
        events = stream.turn_events("fp-none", timeout=20)
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        await events.aclose()
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(waiting, 10)
        with pytest.raises(StopAsyncIteration):
            await anext(events)


async def test_iteration_and_cancelled_waits(
    daemon: FakeDaemon, model: FakeModel, session: SessionHandle
) -> None:
    model.will_stream_text(pieces(3), delay=0.01)
    async with daemon.async_client() as client:
        await client.post_message_raw(session, "go")
        stream = await client.open_event_stream(session)
        waiting = asyncio.create_task(stream.wait_for(ToolCall, timeout=30))
        await stream.wait_for(Token, timeout=10)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        seen: list[LiveEvent[EventPayload]] = []
        async for event in stream:
            seen.append(event)
            if isinstance(event.payload, MessageDone):
                await stream.stop()
        assert assertions.event_count(seen, Token, 3)
        with pytest.raises(StreamClosed):
            await stream.wait_for(ToolCall, timeout=1)


async def test_what_a_callback_awaits_may_be_cancelled(
    daemon: FakeDaemon, model: FakeModel, session: SessionHandle
) -> None:
    """It is a failure of the callback, and no end of the stream."""
    model.will_stream_text(PIECES, delay=0.01, times=None)
    heard: list[str] = []
    gone = asyncio.get_running_loop().create_future()
    gone.cancel()
    async with daemon.async_client() as client:
        await client.post_message_raw(session, "go")
        await client.wait_for_session(session)
        stream = await client.open_event_stream(session)

        @stream.on(Token)
        async def hear(event: LiveEvent[Token]) -> None:
            heard.append(event.payload.delta)
            await gone

        await stream.wait_for_turn(await client.post_message_raw(session, "again"), timeout=10)
        with pytest.raises(CallbackFailed, match="raised CancelledError"):
            await stream.stop()
    assert len(heard) > 1
    assert len(stream.callback_errors) == len(heard)


async def test_callbacks_may_be_coroutines(
    daemon: FakeDaemon, model: FakeModel, session: SessionHandle
) -> None:
    model.will_stream_text(["a"]).will_stream_text([ANSWER])
    heard: list[str] = []
    async with daemon.async_client() as client:
        async with await client.send_live(session, "go", total_timeout=10) as stream:
            heard_b = asyncio.Event()

            @stream.on(Token)
            async def hear(event: LiveEvent[Token]) -> None:
                heard.append(event.payload.delta)
                heard_b.set()

            await client.post_message_raw(session, "again")
            await asyncio.wait_for(heard_b.wait(), 10)
        assert heard == [ANSWER]

        model.will_stream_text([ANSWER])
        stream = await client.open_event_stream(session)

        @stream.on("token")
        def fail(event: LiveEvent[EventPayload]) -> None:
            raise ValueError("no")

        accepted = await client.post_message_raw(session, "and again")
        await stream.wait_for(MessageDone, where=lambda e: e.correlation_id == accepted.correlation_id)
        with pytest.raises(CallbackFailed, match="no"):
            await stream.stop()


# --- event loops


async def _chat(client: AsyncDevClient, session: SessionHandle) -> str:
    return (await client.send(session, "hi", timeout=10)).content


def test_a_client_goes_from_one_event_loop_to_the_next(
    daemon: FakeDaemon, model: FakeModel, session: SessionHandle
) -> None:
    model.will_respond_with_text("hello", times=None)
    _on_two_loops(daemon, session)
    # Were anything left open on the first of them, the collector would warn of it now.
    gc.collect()


def _on_two_loops(daemon: FakeDaemon, session: SessionHandle) -> None:
    client = daemon.async_client()
    opened: list[AsyncLiveEventStream] = []

    async def first() -> None:
        assert await _chat(client, session) == "hello"
        opened.append(await client.open_event_stream(session))

    async def second() -> None:
        # Those who wait for the session's lock here are not those of the other loop.
        assert await asyncio.gather(*(_chat(client, session) for _ in range(3))) == ["hello"] * 3
        with pytest.raises(StreamClosed, match="its event loop has ended"):
            await opened[0].wait_for(ToolCall, timeout=5)
        with pytest.raises(StreamClosed):
            await opened[0].fill_gaps()
        await opened[0].stop()
        await client.aclose()

    asyncio.run(first())
    asyncio.run(second())


def test_a_client_is_used_on_one_event_loop_at_a_time(
    daemon: FakeDaemon, model: FakeModel, session: SessionHandle
) -> None:
    model.will_respond_with_text("hello", times=None)

    async def elsewhere(client: AsyncDevClient, stream: AsyncLiveEventStream) -> None:
        for use in (
            lambda: client.get_session(session),
            lambda: client.send(session, "hi"),
            lambda: client.start_turn(session, "hi"),
            lambda: client.api.apps.list_apps(),
            client.aclose,
        ):
            with pytest.raises(WrongEventLoop, match="this client lives on another event loop"):
                await use()
        for use_stream in (lambda: stream.wait_for(ToolCall), stream.fill_gaps, stream.stop):
            with pytest.raises(WrongEventLoop, match="this stream lives on another event loop"):
                await use_stream()

    async def here() -> None:
        async with daemon.async_client() as client:
            assert await _chat(client, session) == "hello"
            async with await client.open_event_stream(session) as stream:
                await asyncio.to_thread(lambda: asyncio.run(elsewhere(client, stream)))
                # Nothing of it has hurt.
                assert stream.is_joined
            assert await _chat(client, session) == "hello"

    asyncio.run(here())


async def test_a_call_that_is_cancelled_at_any_moment_leaves_no_connection_open(
    daemon: FakeDaemon,
) -> None:
    for steps in range(40):
        async with daemon.async_client() as client:
            # Two connections stand idle, and the daemon closes them: the next call clears them away.
            await asyncio.gather(client.list_sessions("my-app"), client.list_sessions("my-app"))
            daemon.drop_connections()
            call = asyncio.create_task(client.list_sessions("my-app"))
            for _ in range(steps):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
    # The collector would warn of it now.
    gc.collect()


async def test_a_client_that_is_closed_in_the_middle_of_a_call_leaves_no_connection_open(
    daemon: FakeDaemon,
) -> None:
    for steps in range(40):
        client = daemon.async_client(retries=RetryPolicy(attempts=1))
        call = asyncio.create_task(client.list_sessions("my-app"))
        for _ in range(steps):
            await asyncio.sleep(0)
        await client.aclose()
        await asyncio.wait([call])
        if call.exception() is not None:
            with pytest.raises((ClientClosed, DaemonUnreachable)):
                await call
    gc.collect()


async def test_a_refused_namespace_is_refused_in_the_words_of_the_peer() -> None:
    def speak(socket: HostileSocket) -> None:
        socket.send('0{"sid":"e","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000}')
        socket.send('44/events,{"message":"no such namespace for a-good-token","data":{}}')
        socket.hold()

    with hostile_socket(speak) as url:
        socket = EventSocket(url, print, print)
        with pytest.raises(HandshakeRefused, match=r"^no such namespace for \S+$") as caught:
            await socket.connect("a-good-token", 5)
        assert "a-good-token" not in str(caught.value)
