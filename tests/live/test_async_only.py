"""What only the asynchronous face has: tasks that are cancelled, callbacks that are coroutines."""

import asyncio

import pytest

from digitorn.testing import (
    CallbackFailed,
    EventPayload,
    LiveEvent,
    SessionHandle,
    StreamClosed,
    assertions,
)
from digitorn.testing.events import MessageDone, Token, ToolCall
from digitorn.testing.fakes import FakeDaemon, FakeModel


async def test_iteration_and_cancelled_waits(
    daemon: FakeDaemon, model: FakeModel, session: SessionHandle
) -> None:
    model.will_stream_text(["x"] * 3, delay=0.01)
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


async def test_callbacks_may_be_coroutines(
    daemon: FakeDaemon, model: FakeModel, session: SessionHandle
) -> None:
    model.will_stream_text(["a"]).will_stream_text(["b"])
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
        assert heard == ["b"]

        model.will_stream_text(["c"])
        stream = await client.open_event_stream(session)

        @stream.on("token")
        def fail(event: LiveEvent[EventPayload]) -> None:
            raise ValueError("no")

        accepted = await client.post_message_raw(session, "and again")
        await stream.wait_for(MessageDone, where=lambda e: e.correlation_id == accepted.correlation_id)
        with pytest.raises(CallbackFailed, match="no"):
            await stream.stop()
