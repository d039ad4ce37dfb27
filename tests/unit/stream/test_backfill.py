"""When the daemon's log is read, by a stream whose log is a list."""

import asyncio
import time

import pytest

from digitorn_testing import ContractViolation, DaemonUnreachable, NotFound, StreamClosed
from digitorn_testing._errors import TooLarge
from digitorn_testing._stream import backfill as module
from digitorn_testing._stream.backfill import Backfill
from digitorn_testing._stream.coverage import Coverage
from digitorn_testing._stream.tasks import Tasks
from support.frames import token
from support.stream_parts import SECONDS, exchange, heartbeat, stream_core


class Daemon:
    """A stream with a backfill, and the durable log that it reads."""

    def __init__(self) -> None:
        self.core = stream_core()
        self.tasks = Tasks(self.core.log.close)
        self.rows: list[int] = []
        self.reads: list[int] = []
        self.failures: list[Exception] = []
        self.finds: list[list[int]] = []
        self.read_once = asyncio.Event()
        self.in_order: list[int] = []
        self.core.log.subscribe_in_order(lambda event, _: self.in_order.append(event.seq))
        self.backfill = Backfill(self.core, Coverage(self.core.log, 0), self.tasks, self._read)

    async def _read(self, since: int) -> int:
        self.reads.append(since)
        self.read_once.set()
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop(0)
        # What was sent is in the log.
        rows = self.finds.pop(0) if self.finds else sorted({*self.rows, *self.here()} - {0})
        for seq in rows:
            if seq > since:
                self.push(seq)
        return max((since, *rows))

    def push(self, *numbers: int) -> None:
        """Events with these numbers arrive."""
        for seq in numbers:
            if (event := self.core.log.feed(token("x", seq=seq))) is not None:
                self.backfill.noticed(event)

    async def rest(self) -> None:
        """Waits until nothing goes on in the background."""
        async with asyncio.timeout(SECONDS):
            while self.tasks.running:
                await asyncio.wait(set(self.tasks.running))

    def here(self) -> list[int]:
        """The numbers that are here."""
        return [event.seq for event in self.core.log]


def unreachable() -> DaemonUnreachable:
    return DaemonUnreachable("http://127.0.0.1:1", "refused")


async def test_what_is_missing_is_taken_over_and_counted() -> None:
    daemon = Daemon()
    daemon.push(1, 2)
    daemon.rows = [1, 2, 3, 4]
    assert await daemon.backfill.fill() == 2
    assert daemon.here() == [1, 2, 3, 4]


async def test_a_missing_number_is_not_read_for() -> None:
    daemon = Daemon()
    daemon.push(1, 3)
    await daemon.rest()
    assert (daemon.in_order, daemon.reads) == ([1, 3], [])


async def test_what_comes_while_the_missed_is_read_is_given_behind_it() -> None:
    daemon = Daemon()
    daemon.push(1, 2)
    daemon.backfill.joining()
    daemon.push(5)
    daemon.rows = [1, 2, 3, 4, 5]
    daemon.backfill.rejoined(restarted=False)
    assert daemon.here() == [1, 2, 5]
    assert daemon.in_order == [1, 2]
    await asyncio.wait_for(daemon.backfill.caught_up(), SECONDS)
    assert (daemon.in_order, daemon.reads) == ([1, 2, 3, 4, 5], [0])
    daemon.push(6)
    assert daemon.in_order[-1] == 6


async def test_it_is_held_back_while_the_log_cannot_be_read() -> None:
    daemon = Daemon()
    daemon.push(1)
    daemon.failures = [unreachable() for _ in range(3)]
    daemon.rows = [1, 2]
    daemon.backfill.joining()
    daemon.backfill.rejoined(restarted=False)
    daemon.push(3)
    await daemon.rest()
    assert (daemon.in_order, len(daemon.reads)) == ([1, 2, 3], 4)


async def test_it_is_given_when_the_log_cannot_be_read_at_all() -> None:
    daemon = Daemon()
    daemon.failures = [NotFound(exchange(404), "gone")]
    daemon.backfill.joining()
    daemon.backfill.rejoined(restarted=False)
    daemon.push(3)
    await daemon.rest()
    assert daemon.in_order == [3]


async def test_it_is_given_when_there_was_no_join() -> None:
    daemon = Daemon()
    daemon.backfill.joining()
    daemon.push(3)
    daemon.backfill.not_joined()
    assert daemon.in_order == [3]


async def test_what_is_held_back_for_a_read_stays_so_when_the_next_join_fails() -> None:
    daemon = Daemon()
    daemon.rows = [1, 2]
    daemon.backfill.joining()
    daemon.push(3)
    daemon.backfill.rejoined(restarted=False)
    for _ in range(2):
        daemon.backfill.joining()
        daemon.backfill.not_joined()
    assert daemon.in_order == []
    await daemon.rest()
    assert daemon.in_order == [1, 2, 3]
    daemon.push(4)
    assert daemon.in_order[-1] == 4


async def test_after_a_rejoin_the_log_is_read_once() -> None:
    daemon = Daemon()
    daemon.backfill.joining()
    daemon.backfill.rejoined(restarted=False)
    await daemon.rest()
    assert len(daemon.reads) == 1


async def test_a_second_rejoin_while_the_log_is_read_has_it_read_again() -> None:
    daemon = Daemon()
    daemon.rows = [1]
    daemon.backfill.joining()
    daemon.backfill.rejoined(restarted=False)
    async with asyncio.timeout(SECONDS):
        await daemon.read_once.wait()
    daemon.backfill.joining()
    daemon.rows = [1, 2]
    daemon.backfill.rejoined(restarted=False)
    await daemon.rest()
    assert (daemon.reads, daemon.in_order) == ([0, 0], [1, 2])


async def test_heartbeats_that_tell_of_more_have_the_log_read() -> None:
    daemon = Daemon()
    daemon.push(1)
    daemon.rows = [1, 2]
    for _ in range(3):
        beat = daemon.core.log.feed(heartbeat(current_seq=2))
        assert beat is not None
        daemon.backfill.noticed(beat)
    await daemon.rest()
    assert [seq for seq in daemon.here() if seq] == [1, 2]
    assert len(daemon.reads) == 1


async def test_who_begins_here_reads_nothing() -> None:
    daemon = Daemon()
    daemon.backfill.joining()
    daemon.push(7)
    daemon.backfill.begin_here()
    daemon.push(8)
    assert (daemon.in_order, daemon.reads) == ([7, 8], [])
    assert await daemon.backfill.fill() == 0
    assert daemon.reads == [7]


async def test_a_daemon_that_cannot_be_reached_is_asked_again() -> None:
    daemon = Daemon()
    daemon.failures = [unreachable(), unreachable()]
    daemon.rows = [1]
    assert await daemon.backfill.fill_at_last(time.monotonic() + SECONDS) is None
    assert (daemon.here(), len(daemon.reads)) == ([1], 3)


async def test_a_session_that_is_gone_is_asked_once() -> None:
    daemon = Daemon()
    daemon.failures = [NotFound(exchange(404), "gone")]
    assert isinstance(await daemon.backfill.fill_at_last(time.monotonic() + SECONDS), NotFound)
    assert len(daemon.reads) == 1


async def test_a_log_that_is_too_long_closes_the_stream() -> None:
    daemon = Daemon()
    daemon.failures = [TooLarge("the log", ["too long"])]
    with pytest.raises(TooLarge):
        await daemon.backfill.read_history()
    assert isinstance(daemon.core.log.closed, TooLarge)


async def test_a_history_that_cannot_be_read_yet_is_read_in_the_background() -> None:
    daemon = Daemon()
    daemon.failures = [unreachable()]
    daemon.rows = [1]
    await daemon.backfill.read_history()
    assert daemon.here() == []
    await daemon.rest()
    assert daemon.here() == [1]


async def test_a_history_is_read_once() -> None:
    daemon = Daemon()
    daemon.rows = [1]
    daemon.backfill.joining()
    daemon.push(2)
    await daemon.backfill.read_history()
    await daemon.rest()
    assert (daemon.reads, daemon.in_order) == ([0], [1, 2])


async def test_a_stream_that_ended_reads_nothing() -> None:
    daemon = Daemon()
    daemon.core.log.close(StreamClosed("it was stopped"))
    with pytest.raises(StreamClosed, match="was stopped"):
        await daemon.backfill.fill()
    await daemon.backfill.fill_at_last()
    assert daemon.reads == []


async def test_nothing_has_caught_up_between_the_join_and_its_read() -> None:
    daemon = Daemon()
    daemon.push(1)
    daemon.backfill.joining()
    daemon.push(2)
    waiting = asyncio.create_task(daemon.backfill.caught_up())
    await asyncio.sleep(0)
    assert not waiting.done()
    daemon.backfill.rejoined(restarted=False)
    async with asyncio.timeout(SECONDS):
        await waiting
    assert daemon.in_order == [1, 2]


async def test_what_was_held_back_is_given_before_the_log_is_closed() -> None:
    daemon = Daemon()
    daemon.backfill.joining()
    daemon.push(1)
    waiting = asyncio.create_task(daemon.backfill.caught_up())
    daemon.core.log.close(StreamClosed("it was given up"))
    async with asyncio.timeout(SECONDS):
        await waiting
    assert daemon.in_order == [1]


def garbage() -> ContractViolation:
    return ContractViolation("the answer", ["not JSON"])


async def test_an_answer_that_is_garbage_is_asked_for_again() -> None:
    daemon = Daemon()
    daemon.failures = [garbage(), garbage()]
    daemon.rows = [1]
    assert await daemon.backfill.fill_at_last(time.monotonic() + SECONDS) is None
    assert (daemon.here(), len(daemon.reads)) == ([1], 3)


async def test_a_log_that_stays_refused_is_given_up_in_time() -> None:
    daemon = Daemon()
    daemon.failures = [garbage() for _ in range(9)]
    failure = await daemon.backfill.fill_at_last(time.monotonic() + 0.1)
    assert "not JSON" in str(failure)
    assert 1 < len(daemon.reads) < 5


async def test_a_log_that_is_behind_what_was_sent_is_read_again() -> None:
    daemon = Daemon()
    daemon.finds = [[], [], [1, 2, 3]]
    daemon.push(1, 3)
    assert await daemon.backfill.fill_at_last() is None
    assert (daemon.here(), len(daemon.reads)) == ([1, 2, 3], 3)


async def test_a_log_that_stays_behind_is_not_taken_for_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS_SECONDS", 0.0)
    daemon = Daemon()
    daemon.finds = [[], []]
    daemon.push(1, 3)
    failure = await daemon.backfill.fill_at_last()
    assert "it ends at 0, although 3 was sent" in str(failure)
    assert daemon.backfill.coverage.read_since() == 0
    # A new process need not have logged what the old one sent.
    daemon.backfill.coverage.restarted()
    assert await daemon.backfill.fill_at_last() is None


async def test_nothing_is_held_back_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.0)
    daemon = Daemon()
    daemon.failures = [unreachable()]
    daemon.rows = [1]
    daemon.backfill.joining()
    daemon.push(2)
    daemon.backfill.rejoined(restarted=False)
    assert isinstance(await daemon.backfill.caught_up(time.monotonic() + SECONDS), DaemonUnreachable)
    assert daemon.in_order == [2]
    await daemon.rest()
    assert daemon.here() == [1, 2]
    assert await daemon.backfill.caught_up(time.monotonic() + SECONDS) is None
