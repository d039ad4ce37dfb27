"""The asynchronous face over the wire, and its equality with the blocking one."""

import asyncio
import inspect

import pytest

from digitorn.testing import (
    AsyncDevClient,
    AsyncLiveEventStream,
    CallbackFailed,
    DevClient,
    EventLog,
    EventPayload,
    EventTimeout,
    InvalidPayload,
    JoinRefused,
    LiveEvent,
    LiveEventStream,
    SessionHandle,
    StreamClosed,
    assertions,
)
from digitorn.testing.events import MessageDone, Token, ToolCall
from digitorn.testing.fakes import FakeDaemon, FakeModel


def async_client(daemon: FakeDaemon) -> AsyncDevClient:
    return AsyncDevClient(daemon_url=daemon.url, token=daemon.token())


async def test_chat_and_send_live(daemon: FakeDaemon, model: FakeModel, session: SessionHandle) -> None:
    model.will_respond_with_text("one")
    model.will_call_tool("Bash", {}, result={}, requires_approval=True).will_stream_text(["t", "wo"])
    async with async_client(daemon) as client:
        assert (await client.chat("my-app", "hi")).content == "one"
        async with await client.send_live(session, "hi", total_timeout=10) as stream:
            assert assertions.tool_called(stream.events(), "Bash", success=True)
            assert stream.turn_result().content == "two"
            with pytest.raises(EventTimeout):
                await stream.wait_for("error", timeout=0.05)
            assert await stream.poll_for(Token) is not None


async def test_sends_side_by_side(daemon: FakeDaemon, model: FakeModel) -> None:
    model.will_stream_text(["a", "b"], delay=0.01, times=None)
    sessions = [SessionHandle(session_id=f"s{n}", app_id="my-app", daemon_url=daemon.url) for n in range(4)]
    async with async_client(daemon) as client:
        sends = [client.send_live(one, "go", total_timeout=30) for one in sessions for _ in range(3)]
        for stream in await asyncio.gather(*sends):
            async with stream:
                assert {event.session_id for event in stream.events()} <= {stream.session_id, None}
                assert stream.turn_result().content == "ab"


async def test_iteration_and_cancelled_waits(
    daemon: FakeDaemon, model: FakeModel, session: SessionHandle
) -> None:
    model.will_stream_text(["x"] * 3, delay=0.01)
    async with async_client(daemon) as client:
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
    async with async_client(daemon) as client:
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


def surface(kind: type) -> dict[str, object]:
    """Public names with the parameters of what can be called."""
    found: dict[str, object] = {}
    for name, member in inspect.getmembers(kind):
        if name.startswith("_") and name not in ("__init__", "_get_auth_token"):
            continue
        plain = {"aclose": "close"}.get(name, name)
        if callable(member):
            parameters = inspect.signature(member).parameters.values()
            found[plain] = [(p.name, p.kind, p.default) for p in parameters]
        else:
            found[plain] = "attribute"
    return found


@pytest.mark.parametrize(
    ("blocking", "asynchronous"), [(DevClient, AsyncDevClient), (LiveEventStream, AsyncLiveEventStream)]
)
def test_both_faces_are_equal(blocking: type, asynchronous: type) -> None:
    mine, theirs = surface(blocking), surface(asynchronous)
    theirs.pop("report", None)
    assert mine == theirs


async def test_a_frame_that_the_daemon_dropped_is_read_from_its_log(
    daemon: FakeDaemon, model: FakeModel, session: SessionHandle
) -> None:
    """A live copy may be dropped under pressure; its row stays (contract: events, section 1)."""
    model.will_stream_text(["old"]).will_stream_text(["a", "b", "c"])
    async with async_client(daemon) as client:
        async with await client.send_live(session, "one", total_timeout=10) as stream:
            deliver = stream._socket._on_frame

            def lose_b(frame: object) -> None:
                if "'delta': 'b'" not in repr(frame):
                    deliver(frame)

            stream._socket._on_frame = lose_b
            accepted = await client.post_message_raw(session, "two")
            assert (await stream.wait_for_turn(accepted, timeout=10)).content == "abc"
            assert [e.payload.delta for e in stream.events_of(Token)] == ["old", "a", "b", "c"]


async def test_a_refused_join_leaves_nothing_open(daemon: FakeDaemon, session: SessionHandle) -> None:
    async with async_client(daemon) as client:
        before = len(asyncio.all_tasks())
        for _ in range(3):
            with pytest.raises(JoinRefused):
                await client.open_event_stream(session)
        assert len(asyncio.all_tasks()) == before


async def test_a_callback_that_never_returns_is_cut_off(
    daemon: FakeDaemon, model: FakeModel, session: SessionHandle
) -> None:
    model.will_stream_text(["a"]).will_stream_text(["b"])
    async with async_client(daemon) as client:
        stream = await client.send_live(session, "go", total_timeout=10)
        entered = asyncio.Event()

        @stream.on(Token)
        async def stay(event: LiveEvent[Token]) -> None:
            entered.set()
            await asyncio.sleep(60)

        await client.post_message_raw(session, "again")
        await asyncio.wait_for(entered.wait(), 10)
        await asyncio.wait_for(stream.stop(timeout=0.4), 5)
        assert not stream._socket.connected
        assert not stream._tasks


async def test_a_row_of_the_log_that_breaks_the_contract_spoils_nothing(
    daemon: FakeDaemon, model: FakeModel, session: SessionHandle
) -> None:
    model.will_stream_text(["a"])
    async with async_client(daemon) as client:
        async with await client.send_live(session, "go", total_timeout=10) as stream:
            page = await client.api.sessions.list_session_events(session.app_id, session.session_id)
            raw = page.to_wire()
            raw["events"][0]["payload"] = ["no", "object"]
            raw["events"][1]["seq"] = "two"
            odd = type(page).from_wire(raw)
            fresh = EventLog(session_id=session.session_id)
            for row in odd.events:
                fresh.feed(row if isinstance(row, dict) else row.to_wire())
            assert len(fresh) == len(page.events)
            assert len(fresh.events_of(InvalidPayload)) == 2
            assert stream.log.closed is None
