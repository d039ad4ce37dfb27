"""Connecting, joining, losing the connection and making it again, without a socket."""

import asyncio
import gc
import weakref
from collections.abc import Callable

import pytest

from digitorn_testing import (
    DaemonUnreachable,
    JoinRefused,
    RateLimited,
    ReconnectPolicy,
    ServerError,
    StreamClosed,
    StreamConnection,
    Unauthorized,
)
from digitorn_testing._concurrency.backoff import Backoff
from digitorn_testing._errors import TooLarge
from digitorn_testing._generated.commands import CommandError
from digitorn_testing._secrets.credentials import Credentials
from digitorn_testing._stream.connecting import Connecting
from digitorn_testing._stream.intake import Intake
from digitorn_testing._stream.tasks import Tasks
from digitorn_testing._transport.event_connection import HandshakeRefused
from support.frames import token
from support.stream_parts import SECONDS, ScriptedConnection, exchange, heartbeat, stream_core

QUICK = ReconnectPolicy(first_pause=0.001, longest_pause=0.001, silence=0.05)


class Stream:
    """A stream that does nothing but connect."""

    def __init__(self, policy: ReconnectPolicy = QUICK) -> None:
        self.core = stream_core(policy=policy)
        self.tasks = Tasks(self.core.log.close)
        self.credentials = Credentials("first-token")
        self.renewed: str | None = None
        self.refused: Exception | None = None
        self.rejoined_with: list[bool] = []
        self.restarts: list[int] = []
        self.first_joins = 0
        self.joins = 0
        intake = Intake(self.core.log, str)
        self.connecting = Connecting(
            self.core,
            self.tasks,
            self.credentials,
            open_connection=self._open,
            check_token=self._check_token,
            take=intake.take,
            rejoins=self,
            joined=self._joined,
            restarted=lambda: self.restarts.append(self.core.link.now.restarts),
        )
        intake.listeners = (self.connecting.noticed,)

    def _open(self, on_frame: Callable[[object], None], on_lost: Callable[[str], None]) -> ScriptedConnection:
        self.socket = ScriptedConnection(on_frame, on_lost)
        return self.socket

    async def _check_token(self) -> None:
        if self.refused is not None:
            raise self.refused
        if self.renewed is not None:
            self.credentials.access_token = self.renewed

    def _joined(self) -> None:
        self.joins += 1

    def joining(self) -> None:
        self.core.log.hold()

    def not_joined(self) -> None:
        self.core.log.release()

    async def entered(self) -> None:
        await asyncio.sleep(0)
        self.first_joins += 1

    def rejoined(self, *, restarted: bool) -> None:
        self.rejoined_with.append(restarted)

    async def start(self) -> None:
        """Connects and joins."""
        self.core.link.connecting()
        await self.connecting.connect()
        await self.connecting.enter()
        self.connecting.joined()

    async def until(self, where: Callable[[StreamConnection], bool]) -> None:
        """Waits for the connection to be of some kind."""
        changed = asyncio.Event()
        cancel = self.core.link.subscribe(lambda _: changed.set())
        self.core.log.subscribe(lambda _: changed.set())
        async with asyncio.timeout(SECONDS):
            while not where(self.core.connection):
                changed.clear()
                await changed.wait()
        cancel()


def is_closed(connection: StreamConnection) -> bool:
    return connection.state == "closed"


def joined_again(times: int) -> Callable[[StreamConnection], bool]:
    return lambda connection: connection.state == "joined" and connection.reconnects == times


# --- the first time


async def test_the_room_is_entered_behind_a_number() -> None:
    stream = Stream()
    await stream.start()
    assert (stream.socket.tokens, stream.socket.joins) == (["first-token"], 1)
    assert (stream.core.connection.state, stream.core.link.is_joined, stream.joins) == ("joined", True, 1)


NOT_YET = CommandError(ok=False, error="session not found or access denied")


async def test_a_session_is_joined_as_soon_as_it_exists() -> None:
    stream = Stream()
    stream.core.link.connecting()
    await stream.connecting.connect()
    stream.socket.acks = [NOT_YET, NOT_YET, NOT_YET]
    await stream.connecting.enter_later()
    assert (stream.socket.joins, stream.core.connection.state) == (1, "connecting")
    await stream.until(lambda connection: connection.state == "joined")
    assert (stream.socket.joins, stream.first_joins, stream.joins) == (4, 1, 1)


async def test_a_session_is_joined_at_once_when_its_first_message_was_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    never = Backoff(first_pause=3600.0, growth=1.0, longest_pause=3600.0, jitter=0.0)
    monkeypatch.setattr("digitorn_testing._stream.connecting.BEGINNING", never)
    stream = Stream()
    stream.core.link.connecting()
    await stream.connecting.connect()
    stream.socket.acks = [NOT_YET]
    await stream.connecting.enter_later()
    stream.connecting.begin()
    await stream.until(lambda connection: connection.state == "joined")
    assert (stream.socket.joins, stream.first_joins) == (2, 1)


async def test_a_stream_that_waits_for_its_session_joins_after_a_lost_connection() -> None:
    stream = Stream()
    stream.core.link.connecting()
    await stream.connecting.connect()
    stream.socket.acks = [NOT_YET, DaemonUnreachable("url", "lost"), NOT_YET]
    await stream.connecting.enter_later()
    stream.socket.lose()
    await stream.until(lambda connection: connection.state == "joined")
    assert (stream.first_joins, stream.rejoined_with) == (1, [])


async def test_a_stream_that_waits_for_its_session_keeps_nobody_alive() -> None:
    stream = Stream()
    stream.core.link.connecting()
    await stream.connecting.connect()
    stream.socket.acks = [NOT_YET] * 50
    await stream.connecting.enter_later()
    tasks = set(stream.tasks.running)
    reference = weakref.ref(stream.connecting)
    del stream
    gc.collect()
    assert reference() is None
    await asyncio.wait(tasks, timeout=SECONDS)


async def test_an_expired_token_is_renewed() -> None:
    stream = Stream()
    stream.socket.refusals = [HandshakeRefused("no")]
    stream.renewed = "second-token"
    await stream.connecting.connect()
    assert stream.socket.tokens == ["first-token", "second-token"]


async def test_a_daemon_that_refuses_a_good_token_is_not_asked_twice() -> None:
    stream = Stream()
    stream.socket.refusals = [HandshakeRefused("no")]
    with pytest.raises(HandshakeRefused, match=r"refused \(no\), the token is good"):
        await stream.connecting.connect()
    assert len(stream.socket.tokens) == 1


async def test_a_wrong_token_is_reported_as_such() -> None:
    stream = Stream()
    stream.socket.refusals = [HandshakeRefused("no")]
    stream.refused = Unauthorized(exchange(401), "expired")
    with pytest.raises(Unauthorized):
        await stream.connecting.connect()


async def test_a_refused_join_tells_why() -> None:
    stream = Stream()
    stream.socket.acks = [CommandError(ok=False, error="access denied")]
    await stream.connecting.connect()
    with pytest.raises(JoinRefused, match="access denied"):
        await stream.connecting.enter()
    assert not stream.core.link.has_joined


# --- after a loss


async def test_a_lost_connection_is_made_again_with_its_room() -> None:
    stream = Stream()
    await stream.start()
    stream.socket.lose()
    assert not stream.core.link.is_joined
    await stream.until(joined_again(1))
    assert stream.socket.joins == 2
    assert (stream.rejoined_with, stream.joins) == ([False], 2)


async def test_attempts_go_on_while_the_daemon_cannot_be_reached() -> None:
    stream = Stream()
    await stream.start()
    stream.socket.refusals = [DaemonUnreachable("url", "refused"), HandshakeRefused("no"), None]
    stream.socket.lose()
    await stream.until(joined_again(1))
    assert len(stream.socket.tokens) == 4


async def test_a_refusal_that_asks_to_wait_is_heard() -> None:
    stream = Stream()
    await stream.start()
    asks = RateLimited(exchange(429), "slow down")
    asks.retry_after = 60.0
    stream.socket.refusals = [asks, ServerError(exchange(502), "bad gateway")]
    stream.core.link.lost("gone")
    assert await stream.connecting.try_again() == 60.0
    pause = await stream.connecting.try_again()
    assert pause is not None
    assert pause < 10
    assert await stream.connecting.try_again() is None
    assert stream.core.link.is_joined


async def test_a_connection_that_was_lost_before_it_joined_joins_later() -> None:
    stream = Stream()
    stream.core.link.connecting()
    await stream.connecting.connect()
    stream.socket.lose()
    await stream.connecting.enter()
    assert (stream.socket.joins, stream.rejoined_with) == (1, [])


async def test_a_restarted_daemon_is_recognised_by_its_instance() -> None:
    stream = Stream()
    await stream.start()
    stream.socket.on_frame(heartbeat(instance_id="one"))
    stream.socket.lose()
    assert stream.restarts == []
    stream.socket.on_frame(heartbeat(instance_id="two"))
    assert stream.restarts == [1]
    await stream.until(joined_again(1))
    assert stream.rejoined_with == [True]
    stream.socket.lose()
    await stream.until(joined_again(2))
    assert stream.rejoined_with == [True, False]


async def test_a_refusal_for_now_is_tried_again_and_another_one_closes_the_stream() -> None:
    stream = Stream()
    await stream.start()
    stream.socket.acks = [
        CommandError(ok=False, error="internal error"),
        CommandError(ok=False, error="session not found or access denied"),
    ]
    stream.socket.lose()
    await stream.until(is_closed)
    assert isinstance(stream.core.log.closed, JoinRefused)
    assert stream.socket.joins == 3


async def test_a_connection_is_given_up_after_its_time() -> None:
    stream = Stream(ReconnectPolicy(first_pause=0.001, give_up_after=0.0))
    await stream.start()
    stream.socket.refusals = [DaemonUnreachable("url", "refused")] * 100
    stream.socket.lose()
    await stream.until(is_closed)
    assert isinstance(stream.core.log.closed, StreamClosed)
    assert "given up" in str(stream.core.log.closed)


async def test_a_violation_closes_the_stream_and_nothing_is_made_again() -> None:
    stream = Stream()
    await stream.start()
    stream.socket.violation = TooLarge("a frame", ["too long"])
    stream.socket.lose()
    assert stream.core.log.closed is stream.socket.violation
    assert not stream.core.link.is_joined
    assert not stream.tasks.running


async def test_a_stream_that_ended_stays_disconnected() -> None:
    stream = Stream()
    await stream.start()
    stream.core.log.close(StreamClosed("it was stopped"))
    stream.socket.lose()
    assert not stream.tasks.running


# --- silence


async def test_silence_after_a_heartbeat_counts_as_a_loss() -> None:
    stream = Stream()
    await stream.start()
    stream.socket.on_frame(heartbeat())
    await stream.until(joined_again(1))
    assert stream.socket.closed == [True]
    assert "not even a heartbeat" in str(stream.core.connection.last_loss)


async def test_any_frame_ends_the_silence() -> None:
    stream = Stream(ReconnectPolicy(silence=0.3))
    await stream.start()
    stream.socket.on_frame(heartbeat())
    began = asyncio.get_running_loop().time()
    for seq in range(1, 11):
        await asyncio.sleep(0.06)
        stream.socket.on_frame(token("x", seq=seq))
    assert asyncio.get_running_loop().time() - began > 0.5
    assert not stream.core.connection.was_lost
    stream.connecting.end()


async def test_a_daemon_without_heartbeats_may_be_silent() -> None:
    stream = Stream()
    await stream.start()
    stream.socket.on_frame(token("x", seq=1))
    await asyncio.sleep(4 * QUICK.silence)
    assert not stream.core.connection.was_lost


async def test_the_watch_for_silence_ends_with_the_stream() -> None:
    stream = Stream()
    await stream.start()
    stream.socket.on_frame(heartbeat())
    stream.connecting.end()
    await asyncio.sleep(4 * QUICK.silence)
    assert not stream.core.connection.was_lost
    assert not stream.tasks.running
