"""Connections that are lost, in every way: nothing is lost with them, and nobody waits for ever."""

import random
import time
from collections.abc import Callable
from functools import partial

import pytest

from digitorn_testing import (
    AsyncDevClient,
    AsyncLiveEventStream,
    DaemonUnreachable,
    EventTimeout,
    JoinRefused,
    LiveEvent,
    ReconnectPolicy,
    SessionHandle,
    StreamClosed,
    StreamConnection,
    Unauthorized,
    assertions,
)
from digitorn_testing._events.daemon import MEANING
from digitorn_testing._generated import builders
from digitorn_testing._stream.protocol import READ_MARGIN
from digitorn_testing.events import (
    ApprovalRequest,
    Heartbeat,
    HookNotification,
    MemoryUpdate,
    MessageDone,
    Result,
    Token,
    ToolCall,
)
from digitorn_testing.fakes import FakeDaemon, FakeModel
from support.chances import by_chance, shuffled
from support.faces import AsyncBackground, AsyncSignal, async_sent_log, inner
from support.sessions import add_session, log_without_delay
from support.tcp_proxy import TcpProxy

SWIFT = ReconnectPolicy(first_pause=0.01, longest_pause=0.05)
"""Tries again sooner than usual, so that tests take less time."""


@pytest.fixture
async def known(client: AsyncDevClient, model: FakeModel, session: SessionHandle) -> SessionHandle:
    """A session with one finished turn."""
    model.will_stream_text(["An old text."])
    await (await client.send_live(session, "first", total_timeout=10)).stop()
    return session


def stream_of(
    daemon: FakeDaemon,
    session: SessionHandle,
    *,
    reconnect: ReconnectPolicy = SWIFT,
    url: str | None = None,
    since: int = 0,
) -> AsyncLiveEventStream:
    """A stream of a session that is not started."""
    return AsyncLiveEventStream(
        daemon_url=url or daemon.url,
        token=daemon.token(),
        app_id=session.app_id,
        session_id=session.session_id,
        since=since,
        timeout=20,
        reconnect=reconnect,
    )


async def assert_complete(client: AsyncDevClient, stream: AsyncLiveEventStream) -> None:
    """The stream has every event that the daemon keeps, once and in order."""
    kept = await async_sent_log(client, stream.app_id, stream.session_id)
    assert len(kept) > 0
    seen = [(one.seq, one.type) for one in stream.events() if MEANING.is_logged(one)]
    assert seen == [(one.seq, one.type) for one in kept]


def says(text: str) -> Callable[[LiveEvent[Token]], bool]:
    return lambda event: event.payload.delta == text


def is_reconnecting(connection: StreamConnection) -> bool:
    return connection.state == "reconnecting"


def has_reconnected(connection: StreamConnection) -> bool:
    return connection.state == "joined" and connection.reconnects > 0


def was_made_again(times: int, connection: StreamConnection) -> bool:
    return connection.state == "joined" and connection.reconnects == times


# --- ways to lose a connection


async def test_a_stream_survives_connections_that_drop(
    daemon: FakeDaemon, client: AsyncDevClient, model: FakeModel, known: SessionHandle
) -> None:
    pieces = [f"Sentence {number}. " for number in range(100)]
    model.will_stream_text(pieces, delay=0.002)
    dropped = [
        daemon.faults.events(Token, session=known, after=19, times=1).drop_connection("reset"),
        daemon.faults.events(Token, session=known, after=39, times=1).drop_connection("close"),
        daemon.faults.events(Token, session=known, after=59, times=1).drop_connection("disconnect"),
    ]
    async with await client.open_event_stream(known) as stream:
        # What was before is there at once, though the join does not bring it.
        assert [one.payload.delta for one in stream.events_of(Token)] == ["An old text."]
        accepted = await client.post_message_raw(known, "go")
        assert (await stream.wait_for_turn(accepted, timeout=20)).text == "".join(pieces)
        assert [one.hits for one in dropped] == [1, 1, 1]
        connection = await stream.wait_for_connection(has_reconnected, timeout=10)
        assert 1 <= connection.reconnects <= 3
        assert connection.last_loss
        await assert_complete(client, stream)
        assert f"reconnects: {connection.reconnects}" in repr(stream)


async def test_a_connection_that_was_made_again_is_made_again_once_more(
    daemon: FakeDaemon, client: AsyncDevClient, model: FakeModel, known: SessionHandle
) -> None:
    async with await client.open_event_stream(known) as stream:
        for times in (1, 2, 3):
            daemon.drop_connections()
            connection = await stream.wait_for_connection(partial(was_made_again, times), timeout=10)
            assert (connection.attempts, connection.last_error) == (0, None)
            model.will_stream_text([f"This is text {times}."])
            await client.post_message_raw(known, "go")
            await stream.wait_for(Token, where=says(f"This is text {times}."), timeout=10)
        await daemon.drain()
        await stream.fill_gaps()
        await assert_complete(client, stream)


async def test_the_state_of_a_connection_is_told(
    daemon: FakeDaemon, client: AsyncDevClient, known: SessionHandle
) -> None:
    stream = stream_of(daemon, known)
    assert stream.connection == StreamConnection()
    await stream.start()
    assert str(stream.connection) == "joined"
    assert not stream.connection.was_lost
    assert "reconnect" not in repr(stream)
    with daemon.outage():
        connection = await stream.wait_for_connection(lambda one: one.attempts >= 2, timeout=10)
        assert connection.state == "reconnecting"
        assert connection.last_loss is not None
        assert connection.last_error is not None
        assert not stream.is_joined
        assert "open, reconnecting" in repr(stream)
        with pytest.raises(EventTimeout, match=r"no ToolCall within 0\.05 s: the connection was lost"):
            await stream.wait_for(ToolCall, timeout=0.05)
        with pytest.raises(EventTimeout, match=r"not as wanted within 0\.01 s"):
            await stream.wait_for_connection(has_reconnected, timeout=0.01)
    assert (await stream.wait_for_connection(has_reconnected, timeout=10)).reconnects == 1
    with pytest.raises(EventTimeout, match=r"joined, 1 reconnect, .*lost last: "):
        await stream.wait_for(ToolCall, timeout=0.01)
    await stream.stop()
    assert str(stream.connection).startswith("closed, 1 reconnect, ")
    with pytest.raises(StreamClosed, match="stopped"):
        await stream.wait_for_connection(is_reconnecting, timeout=10)


async def test_waits_survive_an_outage(
    daemon: FakeDaemon, client: AsyncDevClient, model: FakeModel, known: SessionHandle
) -> None:
    model.will_stream_text(["A new text."])
    async with stream_of(daemon, known) as stream, AsyncBackground() as background:
        waiting = await background.start(stream.wait_for, Token, where=says("A new text."), timeout=20)
        with daemon.outage():
            await stream.wait_for_connection(is_reconnecting, timeout=10)
        await stream.wait_for_connection(has_reconnected, timeout=10)
        await client.post_message_raw(known, "go")
        assert (await waiting.result(timeout=10)).payload.delta == "A new text."


async def test_numbers_that_a_new_process_gives_out_again_are_no_copies(
    daemon: FakeDaemon, client: AsyncDevClient, model: FakeModel, known: SessionHandle
) -> None:
    """Numbers of snapshots are in no log, so that a daemon that was restarted gives them out once more."""
    async with stream_of(daemon, known) as stream:
        before, numbers = stream.log.last_seq, list[int]()
        for turn in range(2):
            daemon.restart()
            model.will_stream_text([f"This is text {turn}."])
            accepted = await client.post_message_raw(known, "go")
            result = await stream.wait_for_turn(accepted, timeout=10)
            assert result.text == f"This is text {turn}."
            numbers.append(result.events[0].seq)
            connection = await stream.wait_for_connection(has_reconnected, timeout=10)
            assert connection.reconnects == turn + 1
            assert connection.instance_id == daemon.instance_id
            assert connection.restarts == turn + 1
        assert numbers[0] <= before
        await assert_complete(client, stream)


async def test_an_expired_token_is_renewed_on_the_way(
    daemon: FakeDaemon, model: FakeModel, known: SessionHandle
) -> None:
    daemon.add_user("ann@example.com", "correct horse!")
    model.will_stream_text(["one"]).will_stream_text(["two"])
    async with await AsyncDevClient.with_user(
        "ann@example.com", "correct horse!", daemon_url=daemon.url
    ) as client:
        session = await client.new_session("my-app")
        stream = await client.send_live(session, "go", total_timeout=10)
        expired = daemon.token("ann@example.com", expires_in=-1)
        inner(stream)._transport.credentials.access_token = expired
        daemon.drop_connections()
        await stream.wait_for_connection(has_reconnected, timeout=10)
        assert inner(stream)._transport.credentials.access_token != expired
        accepted = await client.post_message_raw(session, "go on")
        assert (await stream.wait_for_turn(accepted, timeout=10)).text == "two"
        await stream.stop()


# --- when it cannot recover


async def assert_closes(
    stream: AsyncLiveEventStream, background: AsyncBackground, reason: str, cause: type[BaseException]
) -> None:
    """Everybody who waits wakes long before the own deadline, with the reason."""
    started = time.monotonic()
    with pytest.raises(StreamClosed, match=reason) as caught:
        await stream.wait_for(ToolCall, timeout=20)
    assert isinstance(caught.value.__cause__, cause)
    with pytest.raises(StreamClosed, match=reason):
        async for _ in stream:
            pass
    with pytest.raises(StreamClosed, match=reason):
        await stream.wait_for_turn("fp-000000000000", timeout=20)
    assert time.monotonic() - started < 10
    assert stream.connection.state == "closed"


async def test_a_token_that_cannot_be_renewed_ends_the_stream(
    daemon: FakeDaemon, known: SessionHandle
) -> None:
    async with stream_of(daemon, known) as stream, AsyncBackground() as background:
        waiting = await background.start(stream.wait_for, ToolCall, timeout=20)
        expired = daemon.token(expires_in=-1)
        inner(stream)._transport.credentials.access_token = expired
        daemon.drop_connections()
        with pytest.raises(StreamClosed, match="GET /auth/me") as caught:
            await waiting.result(timeout=10)
        assert expired not in str(caught.value)
        await assert_closes(stream, background, "answered 401", Unauthorized)


async def test_a_session_that_was_deleted_meanwhile_ends_the_stream(
    daemon: FakeDaemon, client: AsyncDevClient, known: SessionHandle
) -> None:
    async with stream_of(daemon, known) as stream, AsyncBackground() as background:
        with daemon.faults.refuse_connections():
            daemon.drop_connections()
            await stream.wait_for_connection(is_reconnecting, timeout=10)
            waiting = await background.start(stream.wait_for, ToolCall, timeout=20)
            await client.api.sessions.delete_session(known.app_id, known.session_id)
        with pytest.raises(StreamClosed, match="refused to join"):
            await waiting.result(timeout=10)
        await assert_closes(stream, background, "session not found or access denied", JoinRefused)


async def test_an_outage_that_lasts_too_long_ends_the_stream(
    daemon: FakeDaemon, known: SessionHandle
) -> None:
    impatient = ReconnectPolicy(first_pause=0.01, longest_pause=0.05, give_up_after=1)
    async with stream_of(daemon, known, reconnect=impatient) as stream, AsyncBackground() as background:
        waiting = await background.start(stream.wait_for, ToolCall, timeout=20)
        with daemon.outage():
            with pytest.raises(StreamClosed, match=r"given up: reconnecting for .* last error: \S"):
                await waiting.result(timeout=10)
            await assert_closes(stream, background, "given up", StreamClosed)
        assert stream.connection.attempts >= 3


async def test_refusals_without_a_reason_are_outlasted(
    daemon: FakeDaemon, client: AsyncDevClient, known: SessionHandle
) -> None:
    """A good token is refused while too many others were (contract: events, section 1)."""
    async with stream_of(daemon, known) as stream:
        refused = daemon.faults.refuse_connections(times=3)
        daemon.drop_connections()
        connection = await stream.wait_for_connection(has_reconnected, timeout=10)
        assert refused.hits == 3
        assert connection.reconnects == 1
    with daemon.faults.refuse_connections():
        with pytest.raises(JoinRefused, match=r"the token is good\. It refuses good ones too") as failed:
            await client.open_event_stream(known)
        assert "first message" not in str(failed.value)


# --- what must not get lost on the way


async def test_a_piece_that_was_dropped_is_read_when_the_turn_has_ended(
    daemon: FakeDaemon, client: AsyncDevClient, model: FakeModel, known: SessionHandle
) -> None:
    model.will_stream_text(["A new text."]).will_stream_text(["This is a, ", "b, ", "and c."])
    # A stream that was opened for a message reads nothing of what was before.
    async with await client.send_live(known, "one", total_timeout=10) as stream:
        lost = daemon.faults.events(Token, after=1, times=1).lose()
        accepted = await client.post_message_raw(known, "two")
        result = await stream.wait_for_turn(accepted, timeout=10)
        assert (result.text, result.deltas_complete) == ("This is a, b, and c.", True)
        assert lost.hits == 1
        assert stream.connection.reconnects == 0


async def test_a_wait_returns_when_what_came_before_the_event_is_here_too(
    daemon: FakeDaemon, client: AsyncDevClient, known: SessionHandle
) -> None:
    """What is sent while the log is read would otherwise be found before what the connection missed."""
    async with await client.open_event_stream(known) as stream, AsyncBackground() as background:
        arrived = AsyncSignal()

        @stream.on(MemoryUpdate)
        def _(_: LiveEvent[MemoryUpdate]) -> None:
            arrived.set()

        daemon.faults.events(HookNotification, times=1).lose()
        missed = daemon.publish(known, builders.hook_notification())
        with daemon.faults.calls(path="*/state", session=known).hang():
            daemon.drop_connections()
            await stream.wait_for_connection(has_reconnected, timeout=10)
            sent = daemon.publish(known, builders.memory_update())
            # A callback gets it at once.
            assert await arrived.wait(10)
            waiting = await background.start(stream.wait_for, MemoryUpdate, timeout=20)
            with pytest.raises(TimeoutError):
                await waiting.result(timeout=0.1)
            # At its deadline a wait returns what there is.
            assert (await stream.wait_for(MemoryUpdate, timeout=0.1)).seq == sent.seq
            assert await stream.poll_for(MemoryUpdate) is not None
            assert stream.events_of(HookNotification) == []
        assert (await waiting.result(timeout=10)).seq == sent.seq
        assert [event.seq for event in stream.events_of(HookNotification)] == [missed.seq]


async def test_an_approval_is_seen_though_the_log_cannot_be_read(
    daemon: FakeDaemon, client: AsyncDevClient, model: FakeModel, known: SessionHandle
) -> None:
    model.will_call_tool("Bash", requires_approval=True).will_respond_with_text("It has run.")
    async with stream_of(daemon, known) as stream:
        with daemon.faults.calls(path="*/state", session=known).cut_off():
            daemon.drop_connections()
            await stream.wait_for_connection(has_reconnected, timeout=10)
            turn = stream.turn(await client.post_message_raw(known, "go"), timeout=20)
            asked = await stream.wait_for(ApprovalRequest, timeout=1)
            assert (await turn.wait_for(ApprovalRequest, timeout=0.1)).seq == asked.seq
            await client.resolve_approval(known.app_id, asked.payload.request_id)
        assert (await turn.result(timeout=10)).content == "It has run."


async def test_what_is_sent_just_before_a_join_is_not_missed(model: FakeModel) -> None:
    """It misses the room, and is in the log by then (contract: events, section 3.3)."""
    with FakeDaemon(model=model) as daemon:
        daemon.add_app("my-app")
        model.will_stream_text(["one"]).will_stream_text(["two"])
        async with daemon.async_client() as client:
            session = await client.new_session("my-app")
            # A stream that was opened for a message reads nothing of what was before its own join.
            async with await client.send_live(session, "go", total_timeout=10) as stream:
                daemon.faults.events(Result, times=1).drop_connection()
                daemon.faults.events(MessageDone, times=1).lose()
                turn = (await client.post_message_raw(session, "go on")).correlation_id
                await stream.wait_for(MessageDone, where=lambda e: e.correlation_id == turn, timeout=10)
                assert stream.connection.reconnects == 1


async def test_a_new_process_is_reread_from_the_beginning(model: FakeModel) -> None:
    """It had logged little of what was seen, and numbers what it does from there on."""
    model.will_stream_text(["Text that is lost. "] * 150).will_stream_text(["A new text."])
    with FakeDaemon(model=model, log_delay=60.0) as daemon:
        daemon.add_app("my-app")
        async with daemon.async_client() as client:
            session = add_session(daemon)
            async with stream_of(daemon, session) as stream:
                await client.post_message_raw(session, "go")
                await stream.wait_for(MessageDone, timeout=10)
                daemon.restart()
                log_without_delay(daemon, session)
                with daemon.faults.refuse_connections():
                    await client.post_message_raw(session, "go on")
                    await daemon.drain()
                await stream.wait_for(Token, where=says("A new text."), timeout=10)
                assert stream.connection.restarts == 1
                assert stream.events_of(Token)[0].seq < stream.log.last_seq - READ_MARGIN


async def test_a_decision_is_sent_until_it_arrives(
    daemon: FakeDaemon, client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_call_tool("Bash", {}, requires_approval=True, result="done").will_respond_with_text("ok")
    refused = daemon.faults.calls(path="*/approve", times=1).respond_with(503)
    unreachable = daemon.faults.calls(path="*/approve", times=1).cut_off()
    stream = await client.send_live(session, "go", total_timeout=20)
    assert stream.turn_result().content == "ok"
    assert (refused.hits, unreachable.hits) == (1, 1)
    await stream.stop()


async def test_events_that_come_twice_late_or_never_are_read_once_each(
    daemon: FakeDaemon,
    client: AsyncDevClient,
    model: FakeModel,
    known: SessionHandle,
    chance: random.Random,
) -> None:
    pieces = [f"Sentence {number}. " for number in range(150)]
    model.will_stream_text(pieces, delay=0.001)
    faults = daemon.faults
    events = faults.events(session=known)
    by_chance(events.duplicate(), 0.1, chance)
    by_chance(events.lose(), 0.07, chance)
    shuffled(events, 0.25, chance)
    faults.events(session=known, every=40, times=3).drop_connection()
    async with await client.open_event_stream(known) as stream:
        accepted = await client.post_message_raw(known, "go")
        read = [event.seq async for event in stream.turn_events(accepted, timeout=20)]
        faults.clear()
        assert len(read) == len(set(read))
        result = stream.turn_result(accepted.correlation_id)
        assert set(read) <= {event.seq for event in result.events}
        assert result.text == "".join(pieces)
        await stream.fill_gaps()
        await assert_complete(client, stream)


async def test_a_stream_from_a_number_that_is_not_there_yet_begins_now(
    daemon: FakeDaemon, client: AsyncDevClient, model: FakeModel, known: SessionHandle
) -> None:
    model.will_stream_text(["A new text."])
    async with stream_of(daemon, known, since=10_000) as stream:
        daemon.faults.events(MessageDone, times=1).lose()
        await client.post_message_raw(known, "go")
        await stream.wait_for(Result, timeout=10)
        daemon.drop_connections()
        await stream.wait_for(MessageDone, timeout=10)
        assert [one.payload.delta for one in stream.events_of(Token)] == ["A new text."]


# --- the network between


@pytest.mark.parametrize("how", ["cut", "reset"])
async def test_a_network_that_breaks_loses_nothing(how: str) -> None:
    pieces = [f"Sentence {number}. " for number in range(60)]
    model = FakeModel().will_stream_text(pieces, delay=0.005)
    with FakeDaemon(model=model) as daemon, TcpProxy(daemon.port) as proxy:
        daemon.add_app("my-app")
        async with daemon.async_client(daemon_url=proxy.url) as client, daemon.async_client() as beside:
            session = await client.new_session("my-app")
            async with await client.open_event_stream(session) as stream:
                accepted = await client.post_message_raw(session, "go")
                for number in (5, 25, 45):
                    await stream.wait_for(Token, where=says(pieces[number]), timeout=10)
                    if how == "cut":
                        proxy.cut()
                    else:
                        proxy.reset()
                assert (await stream.wait_for_turn(accepted, timeout=20)).text == "".join(pieces)
                connection = await stream.wait_for_connection(has_reconnected, timeout=10)
                assert 1 <= connection.reconnects <= 3
                await assert_complete(beside, stream)
                assert proxy.accepted > 3


async def test_a_half_open_connection_is_noticed_by_its_pings() -> None:
    model = FakeModel().will_stream_text(["A new text."])
    with (
        FakeDaemon(model=model, ping_interval=0.2, ping_timeout=0.4) as daemon,
        TcpProxy(daemon.port) as proxy,
    ):
        daemon.add_app("my-app")
        async with daemon.async_client() as client:
            session = add_session(daemon)
            async with stream_of(daemon, session, url=proxy.url) as stream:
                with proxy.stalled():
                    await stream.wait_for_connection(is_reconnecting, timeout=15)
                    # Nothing of it gets through.
                    await client.post_message_raw(session, "go")
                    await daemon.drain()
                assert (await stream.wait_for(MessageDone, timeout=10)).seq > 0
                assert (await stream.wait_for_connection(has_reconnected, timeout=10)).reconnects == 1
                await assert_complete(client, stream)


async def test_a_half_open_connection_is_noticed_by_its_heartbeats() -> None:
    """The engine's own pings come once a minute (contract: events, section 1)."""
    watchful = ReconnectPolicy(first_pause=0.01, longest_pause=0.05, silence=0.4)
    model = FakeModel().will_stream_text(["A new text."])
    with FakeDaemon(model=model, heartbeat=0.05) as daemon, TcpProxy(daemon.port) as proxy:
        daemon.add_app("my-app")
        async with daemon.async_client() as client:
            session = add_session(daemon)
            async with stream_of(daemon, session, url=proxy.url, reconnect=watchful) as stream:
                await stream.wait_for(Heartbeat, timeout=5)
                with proxy.stalled():
                    connection = await stream.wait_for_connection(is_reconnecting, timeout=15)
                    assert connection.last_loss == "no frame for 0.4 s, not even a heartbeat"
                    await client.post_message_raw(session, "go")
                    await daemon.drain()
                await stream.wait_for(MessageDone, timeout=10)
                await stream.wait_for_connection(has_reconnected, timeout=10)
                await assert_complete(client, stream)


async def test_a_connection_that_falls_silent_behind_a_first_heartbeat_is_noticed() -> None:
    """It came while the history was still read, and no other follows."""
    watchful = ReconnectPolicy(first_pause=0.01, longest_pause=0.05, silence=0.4)
    with FakeDaemon(heartbeat=0.3) as daemon, TcpProxy(daemon.port) as proxy:
        daemon.add_app("my-app")
        session = add_session(daemon)
        daemon.faults.calls(path="*/events", times=1).slow_body(0.4)
        async with stream_of(daemon, session, url=proxy.url, reconnect=watchful) as stream:
            await stream.wait_for(Heartbeat, timeout=5)
            with proxy.stalled():
                await stream.wait_for_connection(is_reconnecting, timeout=15)
            await stream.wait_for_connection(has_reconnected, timeout=10)


async def test_a_connection_that_is_lost_while_the_history_is_read_is_not_taken_for_joined() -> None:
    with FakeDaemon(heartbeat=0.1) as daemon:
        daemon.add_app("my-app")
        session = add_session(daemon)
        daemon.faults.calls(path="*/events", times=1).slow_body(0.5)
        daemon.faults.events(Heartbeat, times=1).drop_connection()
        with daemon.faults.refuse_connections(after=1):
            stream = await stream_of(daemon, session).start()
            assert not stream.is_joined
            assert stream.connection.state == "reconnecting"
        async with stream:
            await stream.wait_for_connection(partial(was_made_again, 1), timeout=10)


async def test_a_connection_that_is_lost_before_the_session_exists_is_made_again(
    daemon: FakeDaemon, client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    """Nothing can be joined yet."""
    model.will_stream_text(["first"])
    stream = stream_of(daemon, session)
    await stream.connect()
    daemon.drop_connections()
    await client.post_message_raw(session, "go")
    await client.wait_for_session(session, timeout=10)
    await stream.join()
    async with stream:
        await stream.wait_for(MessageDone, timeout=10)


async def test_messages_are_sent_while_the_connection_is_made_again(
    daemon: FakeDaemon, client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    """Their client's stream comes back by itself, and brings what it missed."""
    pieces = [f"Sentence {number}. " for number in range(50)]
    model.will_stream_text(pieces, delay=0.005).will_stream_text(["second"]).will_stream_text(["third"])
    first = await client.start_turn(session, "one")
    await first.wait_for(Token, timeout=10)
    with daemon.faults.refuse_connections():
        daemon.drop_connections()
        second = await client.start_turn(session, "two")
        third = await client.turn(session, await client.post_message_raw(session, "three"))
        await daemon.drain(timeout=20)
    results = [await turn.result(timeout=20) for turn in (first, second, third)]
    assert [one.content for one in results] == ["".join(pieces), "second", "third"]


async def test_a_quiet_session_without_heartbeats_stays_connected(model: FakeModel) -> None:
    watchful = ReconnectPolicy(silence=0.05)
    with FakeDaemon(model=model, heartbeat=60.0) as daemon:
        daemon.add_app("my-app")
        session = add_session(daemon)
        async with stream_of(daemon, session, reconnect=watchful) as stream:
            with pytest.raises(EventTimeout):
                await stream.wait_for(ToolCall, timeout=0.2)
            assert not stream.connection.was_lost


async def test_a_slow_network_loses_nothing() -> None:
    pieces = [f"Sentence {number}. " for number in range(40)]
    model = FakeModel().will_stream_text(pieces)
    with FakeDaemon(model=model) as daemon, TcpProxy(daemon.port) as proxy:
        daemon.add_app("my-app")
        async with daemon.async_client() as client:
            session = add_session(daemon)
            async with stream_of(daemon, session, url=proxy.url) as stream:
                with proxy.throttled(100_000):
                    await client.post_message_raw(session, "go")
                    await stream.wait_for(MessageDone, timeout=20)
                await stream.fill_gaps()
                await assert_complete(client, stream)
                assert stream.connection.reconnects == 0


async def test_a_stream_stops_in_time_while_it_cannot_reach_its_daemon(model: FakeModel) -> None:
    with FakeDaemon(model=model) as daemon, TcpProxy(daemon.port) as proxy:
        daemon.add_app("my-app")
        session = add_session(daemon)
        stream = await stream_of(daemon, session, url=proxy.url).start()
        with proxy.stalled():
            daemon.drop_connections()
            proxy.reset()
            await stream.wait_for_connection(is_reconnecting, timeout=15)
            started = time.monotonic()
            await stream.stop(timeout=1.0)
            assert time.monotonic() - started < 3


async def test_a_daemon_that_is_not_there_at_the_start_is_an_error(
    daemon: FakeDaemon, known: SessionHandle
) -> None:
    stream = stream_of(daemon, known)
    with daemon.outage():
        with pytest.raises(DaemonUnreachable):
            await stream.start()
    assert stream.connection.state == "closed"
    assert assertions.event_count(stream.events(), Token, 0)
