"""The embedded daemon without a socket, and waiting until it is idle."""

import socket
import threading

import pytest

from digitorn_testing import (
    AppBuilder,
    AsyncDevClient,
    AsyncLiveEventStream,
    DaemonUnreachable,
    EventTimeout,
    JoinRefused,
    Unauthorized,
)
from digitorn_testing.builders import payloads
from digitorn_testing.events import MessageDone, PreviewStateChanged, Token, TurnTerminal
from digitorn_testing.fakes import FakeDaemon, FakeModel
from support.sessions import add_session


async def test_nothing_listens(monkeypatch: pytest.MonkeyPatch, model: FakeModel) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    model.will_stream_text(["a", "b"])
    with FakeDaemon(listen=False) as daemon:
        monkeypatch.setattr(socket, "create_server", refuse)
        monkeypatch.setattr(socket.socket, "connect", refuse)
        daemon.add_app("my-app", model=model)
        assert daemon.url.startswith("in-process://")
        with pytest.raises(ValueError, match="listens on no port"):
            _ = daemon.port
        async with daemon.async_client() as client:
            session = await client.new_session("my-app")
            async with await client.send_live(session, "hi", total_timeout=10) as stream:
                assert stream.turn_result().text == "ab"


async def test_one_daemon_is_reached_both_ways(model: FakeModel) -> None:
    model.will_stream_text(["a", "b"], times=None)
    with FakeDaemon() as daemon:
        daemon.add_app("my-app", model=model)
        async with daemon.async_client() as outer, daemon.async_in_process_client() as inside:
            assert outer.daemon_url == daemon.url != inside.daemon_url
            session = await outer.new_session("my-app")
            async with await outer.open_event_stream(session) as one:
                async with await inside.open_event_stream(session) as two:
                    for client in (outer, inside):
                        turn = await client.start_turn(session, "hi")
                        results = [await stream.wait_for_turn(turn.correlation_id) for stream in (one, two)]
                        # One may have a row of the log where the other has the event as it was sent.
                        seen = [[(event.seq, event.type) for event in result.events] for result in results]
                        assert seen[0] == seen[1]


async def test_a_stream_by_hand_finds_the_daemon_by_its_url(model: FakeModel) -> None:
    model.will_respond_with_text("hi")
    with FakeDaemon(listen=False) as daemon:
        daemon.add_app("my-app", model=model)
        async with AsyncDevClient(daemon.url, token=daemon.token()) as client:
            session = await client.new_session("my-app")
            await client.send(session, "hi", timeout=10)
        stream = AsyncLiveEventStream(
            daemon_url=daemon.url, token=daemon.token(), app_id="my-app", session_id=session.session_id
        )
        async with stream:
            await stream.wait_for(MessageDone, timeout=10)
        refused = AsyncLiveEventStream(
            daemon_url=daemon.url, token=daemon.token(), app_id="my-app", session_id="nobody"
        )
        with pytest.raises(JoinRefused):
            await refused.start()


async def test_who_may_not_enter_is_told_as_over_sockets(model: FakeModel) -> None:
    with FakeDaemon(listen=False) as daemon:
        async with AsyncDevClient(daemon.url, token="nonsense") as client:
            with pytest.raises(Unauthorized):
                await client.list_sessions("my-app")
        stream = AsyncLiveEventStream(daemon_url=daemon.url, token="nonsense", app_id="a", session_id="s")
        with pytest.raises(Unauthorized):
            await stream.start()


async def test_a_daemon_that_has_stopped_is_unreachable() -> None:
    daemon = FakeDaemon(listen=False).start()
    daemon.add_app("my-app")
    async with daemon.async_client() as client:
        await client.list_sessions("my-app")
        daemon.stop()
        with pytest.raises(DaemonUnreachable, match="not running"):
            await client.list_sessions("my-app")
    async with AsyncDevClient("in-process://nobody", token="t") as client:
        with pytest.raises(DaemonUnreachable, match="no such daemon in this process"):
            await client.list_sessions("my-app")


async def test_calls_are_bounded_without_a_socket_too(model: FakeModel) -> None:
    model.will_stream_text(["x"] * 500, delay=0.01)
    with FakeDaemon(listen=False) as daemon:
        daemon.add_app("my-app", model=model)
        async with daemon.async_client() as patient, daemon.async_client(timeout=0.2) as client:
            session = await patient.new_session("my-app")
            with pytest.raises(DaemonUnreachable, match="timed out"):
                await client.post_message_raw(session, "hi", queue_mode="wait")


async def test_stopping_cuts_off_turns_and_connections(
    daemon: FakeDaemon, client: AsyncDevClient, model: FakeModel
) -> None:
    model.will_stream_text(["x"] * 500, delay=0.01)
    turn = await client.start_turn(await client.new_session("my-app"), "hi")
    await turn.wait_for(Token, timeout=10)
    daemon.stop()
    with pytest.raises(EventTimeout):
        await turn.result(timeout=0.2)


async def test_draining_waits_for_turns_the_queue_and_tools(
    daemon: FakeDaemon, client: AsyncDevClient
) -> None:
    release = threading.Event()
    model = FakeModel()

    def hold() -> str:
        assert release.wait(10)
        return "released"

    daemon.deploy(AppBuilder("tools").with_tool(hold), model=model)
    model.will_call_tool("hold", {}).will_respond_with_text("one").will_respond_with_text("two")
    model.will_respond_with_text("three")
    session = await client.new_session("tools")
    turns = [await client.start_turn(session, text) for text in "123"]
    # The second one has left the queue, and waits for the first (contract: events, section 6.4).
    with pytest.raises(EventTimeout, match=r"left: turn .* of session .*, 1 waiting in session"):
        await daemon.drain(timeout=0.1)
    await client.abort(session)
    assert [(await turn.result(timeout=10)).ok for turn in turns[1:]] == [True, True]
    with pytest.raises(EventTimeout, match="left: the function of tool hold"):
        await daemon.drain(timeout=0.5)
    release.set()
    await daemon.drain(timeout=10)
    assert (await turns[0].result(timeout=10)).status == "cancelled"
    await daemon.drain(timeout=5)


async def test_after_draining_everything_sent_is_in_the_streams(
    daemon: FakeDaemon, client: AsyncDevClient
) -> None:
    session = add_session(daemon)
    async with await client.open_event_stream(session) as stream:
        for number in range(20):
            daemon.publish_all(session, [payloads.preview_state_changed(value=number)] * 10)
            await daemon.drain(timeout=10)
            assert len(stream.events_of(PreviewStateChanged)) == 10 * (number + 1)
        daemon.publish(session, payloads.preview_state_changed(value=-1))
        assert await stream.drain(timeout=10)
        assert len(stream.events_of(PreviewStateChanged)) == 201


async def test_draining_waits_for_a_turn_that_nobody_follows(
    daemon: FakeDaemon, client: AsyncDevClient, model: FakeModel
) -> None:
    session = add_session(daemon)
    async with await client.open_event_stream(session) as stream:
        model.will_stream_text(["Hello ", "to you, ", "my friend."], delay=0.01)
        await client.post_message_raw(session, "hi")
        await daemon.drain(timeout=10)
        assert [event.payload.status for event in stream.events_of(TurnTerminal)] == ["completed"]


async def test_what_cannot_be_drained_is_said(
    daemon: FakeDaemon, client: AsyncDevClient, model: FakeModel
) -> None:
    with pytest.raises(ValueError, match="cannot be negative"):
        await daemon.drain(timeout=-1)
    session = add_session(daemon)
    async with await client.open_event_stream(session) as stream:
        model.will_never_answer()
        turn = await client.start_turn(session, "hi")
        assert not await stream.drain(timeout=0.05) or not stream.has_open_turns
        with pytest.raises(EventTimeout, match=f"within 0.05 s; left: turn {turn.correlation_id} of session"):
            await daemon.drain(timeout=0.05)
        with pytest.raises(EventTimeout, match="left: turn"):
            await daemon.drain(timeout=0)
        await client.abort(session)
        await daemon.drain(timeout=10)
        await daemon.drain(timeout=0)
