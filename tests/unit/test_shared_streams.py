"""The streams that turns share, without a socket: opening, sharing, locks, closing."""

import asyncio
import gc
from collections.abc import Sized
from concurrent.futures import ThreadPoolExecutor

import pytest

from digitorn_testing import CallbackFailed, EventTimeout, SessionHandle, WrongEventLoop
from digitorn_testing._client._async.shared_streams import IDLE_STREAMS, AsyncSharedStreams, Shareable
from digitorn_testing._client._sync.shared_streams import SharedStreams
from digitorn_testing._client.locks import Lock

SECONDS = 5.0


class Stream:
    """A stream that has no connection: it follows as many turns as a test says."""

    def __init__(self, session: SessionHandle) -> None:
        self.session = session
        self.is_usable = True
        self.has_joined = False
        self.has_open_turns = False
        self.calls: list[str] = []
        self.failure: CallbackFailed | None = None

    async def connect(self) -> None:
        self.calls.append("connect")

    async def drain(self, timeout: float) -> bool:
        self.calls.append(f"drain {timeout:g}")
        return True

    async def stop(self) -> None:
        self.calls.append("stop")
        if self.failure is not None:
            raise self.failure


class Streams:
    """The object under test, with the streams that it made."""

    def __init__(self) -> None:
        self.shared = AsyncSharedStreams[Shareable]()
        self.made: list[Stream] = []

    def make(self, session: SessionHandle) -> Stream:
        self.made.append(Stream(session))
        return self.made[-1]

    async def use(self, session: SessionHandle, *, open_turns: bool = False) -> Stream:
        """What the client does with a turn: it joins the session and follows the turn."""
        async with self.shared.sharing(session, SECONDS, self.make) as stream:
            assert isinstance(stream, Stream)
            stream.has_joined, stream.has_open_turns = True, open_turns
            return stream

    def open(self) -> list[str]:
        return [one.session.session_id for one in self.made if "stop" not in one.calls]


def session(number: int, app_id: str = "my-app") -> SessionHandle:
    return SessionHandle(session_id=f"s-{number}", app_id=app_id, daemon_url="http://127.0.0.1:8000")


@pytest.fixture
def streams() -> Streams:
    return Streams()


async def test_turns_of_a_session_share_one_stream_and_other_sessions_have_their_own(
    streams: Streams,
) -> None:
    first = await streams.use(session(1))
    assert first.calls == ["connect"]
    assert await streams.use(session(1)) is first
    assert await streams.use(session(2)) is not first
    assert await streams.use(session(1, app_id="other-app")) is not first
    assert first.calls == ["connect"]


async def test_a_handle_that_says_more_names_the_same_session(streams: Streams) -> None:
    first = await streams.use(session(1))
    other = SessionHandle(session_id="s-1", app_id="my-app", daemon_url="", workspace="/srv", first_turn="t")
    assert await streams.use(other) is first


async def test_a_stream_that_cannot_be_used_any_more_is_replaced(streams: Streams) -> None:
    first = await streams.use(session(1))
    first.is_usable = False
    second = await streams.use(session(1))
    assert second is not first
    assert second.calls == ["connect"]


async def test_a_failed_connection_leaves_nothing_behind(streams: Streams) -> None:
    class Unreachable(Stream):
        async def connect(self) -> None:
            raise ConnectionError

    with pytest.raises(ConnectionError):
        async with streams.shared.sharing(session(1), SECONDS, Unreachable):
            pytest.fail("it is not connected")
    assert (await streams.use(session(1))).calls == ["connect"]


@pytest.mark.parametrize(("joined", "open_turns", "closed"), [(0, 0, 1), (1, 0, 0), (0, 1, 0), (1, 1, 0)])
async def test_a_failure_closes_the_stream_only_if_nothing_was_joined_and_no_turn_is_open(
    streams: Streams, joined: bool, open_turns: bool, closed: bool
) -> None:
    stream = await streams.use(session(1))
    stream.has_joined, stream.has_open_turns = joined, open_turns
    with pytest.raises(KeyError):
        async with streams.shared.sharing(session(1), SECONDS, streams.make):
            raise KeyError
    assert ("stop" in stream.calls) == closed
    assert (await streams.use(session(1)) is not stream) == closed


async def test_messages_to_a_session_wait_for_each_other_and_those_to_others_do_not(streams: Streams) -> None:
    async with streams.shared.sharing(session(1), SECONDS, streams.make):
        with pytest.raises(EventTimeout, match="another message to session 's-1' is still being sent"):
            async with streams.shared.sharing(session(1), 0.0, streams.make):
                pytest.fail("the lock is held")
        async with streams.shared.sharing(session(2), 0.0, streams.make):
            pass
    async with streams.shared.sharing(session(1), 0.0, streams.make):
        pass


async def test_the_least_recently_used_idle_streams_are_closed(streams: Streams) -> None:
    await streams.use(session(0), open_turns=True)
    for number in range(1, IDLE_STREAMS + 1):
        await streams.use(session(number))
    assert len(streams.open()) == IDLE_STREAMS + 1
    await streams.use(session(1))
    await streams.use(session(100))
    await streams.use(session(101))
    kept = {f"s-{number}" for number in (0, 1, 100, 101, *range(4, IDLE_STREAMS + 1))}
    assert set(streams.open()) == kept
    assert all(one.calls in (["connect"], ["connect", "stop"]) for one in streams.made)


async def test_an_idle_stream_that_is_in_use_stays_open(streams: Streams) -> None:
    async with streams.shared.sharing(session(0), SECONDS, streams.make) as stream:
        for number in range(1, IDLE_STREAMS + 1):
            await streams.use(session(number))
        assert "s-0" in streams.open()
        assert isinstance(stream, Stream)
        stream.has_joined = True
    assert "s-0" not in streams.open()


async def test_a_stream_that_replaced_a_surplus_one_stays_open(streams: Streams) -> None:
    stopping, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Stream):
        async def stop(self) -> None:
            stopping.set()
            await go_on.wait()

    async with streams.shared.sharing(session(0), SECONDS, Slow) as slow:
        assert isinstance(slow, Slow)
        slow.has_joined = slow.has_open_turns = True
    first = await streams.use(session(1), open_turns=True)
    for number in range(2, IDLE_STREAMS + 1):
        await streams.use(session(number))
    slow.has_open_turns = first.has_open_turns = False
    closing = asyncio.create_task(streams.use(session(100)))
    async with asyncio.timeout(SECONDS):
        await stopping.wait()
    # By now the first stream is on the list of those to be closed.
    first.is_usable = False
    second = await streams.use(session(1))
    go_on.set()
    await closing
    assert second.calls == ["connect"]


async def test_deleting_a_session_waits_for_its_turns_and_closes_its_stream(streams: Streams) -> None:
    stream = await streams.use(session(1))
    assert not streams.shared.is_deleted(session(1))
    await streams.shared.delete(session(1), 2.5)
    assert stream.calls == ["connect", "drain 2.5", "stop"]
    assert streams.shared.is_deleted(session(1))
    assert not streams.shared.is_deleted(session(1, app_id="other-app"))
    await streams.shared.delete(session(2), 2.5)
    assert streams.shared.is_deleted(session(2))


async def test_stopping_closes_all_and_gives_the_first_failure(streams: Streams) -> None:
    made = [await streams.use(session(number)) for number in range(3)]
    made[1].failure, made[2].failure = CallbackFailed("first"), CallbackFailed("second")
    assert await streams.shared.stop() is made[1].failure
    assert [one.calls for one in made] == [["connect", "stop"]] * 3
    assert await streams.shared.stop() is None
    assert [one.calls for one in made] == [["connect", "stop"]] * 3


async def test_a_forked_child_forgets_streams_and_locks_but_not_what_was_deleted(streams: Streams) -> None:
    await streams.shared.delete(session(2), 0.0)
    async with streams.shared.sharing(session(1), SECONDS, streams.make) as stream:
        streams.shared.after_fork()
        async with streams.shared.sharing(session(1), 0.0, streams.make) as other:
            assert other is not stream
        assert isinstance(stream, Stream)
        stream.has_joined = True
        assert "stop" not in stream.calls
    assert streams.shared.is_deleted(session(2))


def test_a_lock_that_an_ended_event_loop_held_is_free_on_the_next(streams: Streams) -> None:
    loop = asyncio.new_event_loop()
    held = streams.shared.sharing(session(1), SECONDS, streams.make)
    loop.run_until_complete(held.__aenter__())

    async def use() -> None:
        async with streams.shared.sharing(session(1), 0.0, streams.make):
            pass

    other = asyncio.new_event_loop()
    with pytest.raises(WrongEventLoop):
        other.run_until_complete(use())
    loop.close()
    other.run_until_complete(use())
    other.close()


async def test_locks_live_as_long_as_somebody_needs_them_and_deleted_sessions_are_forgotten(
    streams: Streams,
) -> None:
    for number in range(5000):
        await streams.shared.delete(session(number), SECONDS)
    await streams.use(session(1))
    gc.collect()
    sizes = {name: len(kept) for name, kept in vars(streams.shared).items() if isinstance(kept, Sized)}
    assert sizes == {"_streams": 1, "_locks": 0, "_deleted": 4096}
    assert streams.shared.is_deleted(session(4999))


def test_the_blocking_twin_shares_streams_too() -> None:
    class Blocking:
        def __init__(self, session: SessionHandle) -> None:
            self.session = session
            self.is_usable = self.has_joined = True
            self.has_open_turns = False
            self.calls: list[str] = []

        def connect(self) -> None:
            self.calls.append("connect")

        def drain(self, timeout: float) -> bool:
            return True

        def stop(self) -> None:
            self.calls.append("stop")

    shared = SharedStreams[Blocking]()

    def share() -> None:
        with pytest.raises(EventTimeout), shared.sharing(session(1), 0.0, Blocking):
            pytest.fail("the lock is held")

    with shared.sharing(session(1), SECONDS, Blocking) as first, ThreadPoolExecutor() as another:
        another.submit(share).result(SECONDS)
    with shared.sharing(session(1), SECONDS, Blocking) as again:
        assert again is first
    assert shared.stop() is None
    assert first.calls == ["connect", "stop"]


def test_ctrl_c_while_a_lock_is_taken_leaves_it_free() -> None:
    class Interrupted(Lock):
        def take(self, seconds: float) -> bool:
            assert super().take(seconds)
            raise KeyboardInterrupt

    lock = Interrupted("s")
    with pytest.raises(KeyboardInterrupt):
        with lock.within(0):
            pytest.fail("it was interrupted before")
    with ThreadPoolExecutor() as another:
        assert another.submit(Lock.take, lock, 0.0).result(SECONDS)
