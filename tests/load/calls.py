"""What is done to a client, and how many calls it can do at once before and afterwards."""

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from digitorn_testing import AsyncDevClient, DevClient, DigitornError

from .server import Server

_LIMIT: Final = 100
"""How many connections a client has."""
_MORE: Final = 20
_HELD_SECONDS: Final = 0.5
_TOGETHER: Final = 20
_STEPS: Final = 12
"""Of the event loop, about as many as a call takes."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a run.

    Attributes:
        what: What was run.
        before: How many calls the server had before it at once, of a new client.
        after: How many of a client that went through the run.
        counts: How the calls ended.
        left: Tasks or threads that were left.
        slowest_cancel: Seconds that the slowest cancelled call took to end.
        seconds: How long the run took.
    """

    what: str
    before: int
    after: int
    left: int
    seconds: float
    slowest_cancel: float = 0.0
    counts: Counter[str] = field(default_factory=Counter[str])

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost and nothing failed."""
        return self.after == self.before and not self.left and not self.counts["failed"]

    def __str__(self) -> str:
        counts = ", ".join(f"{number:,} {name}" for name, number in sorted(self.counts.items()))
        slowest = f", slowest cancel {self.slowest_cancel * 1000:.0f} ms" if self.slowest_cancel else ""
        return (
            f"{self.what}: {counts} in {self.seconds:.1f} s{slowest}; calls at once: {self.before} of a new "
            f"client, {self.after} afterwards; left behind: {self.left}"
        )


def _client(server: Server) -> DevClient:
    return DevClient(server.url, token="t", retries=None, timeout=60)


def _async_client(server: Server) -> AsyncDevClient:
    return AsyncDevClient(server.url, token="t", retries=None, timeout=60)


@contextmanager
def _slow(server: Server, seconds: float) -> Generator[None]:
    server.seconds = seconds
    try:
        yield
    finally:
        server.seconds = 0.0


# --- asynchronous


async def _call(client: AsyncDevClient, counts: Counter[str]) -> None:
    try:
        await client.api.apps.list_apps()
        counts["done"] += 1
    except DigitornError:
        counts["failed"] += 1


async def _at_once(server: Server, client: AsyncDevClient) -> int:
    server.gathers, server.most = _LIMIT, 0
    await asyncio.gather(*(_call(client, Counter()) for _ in range(_LIMIT + _MORE)))
    return server.most


async def _measured(
    what: str, server: Server, run: Callable[[AsyncDevClient, Counter[str]], Coroutine[None, None, float]]
) -> Outcome:
    counts: Counter[str] = Counter()
    async with _async_client(server) as fresh:
        before = await _at_once(server, fresh)
    tasks = len(asyncio.all_tasks())
    async with _async_client(server) as client:
        began = time.monotonic()
        slowest = await run(client, counts)
        seconds = time.monotonic() - began
        after = await _at_once(server, client)
    return Outcome(
        what=what,
        before=before,
        after=after,
        left=len(asyncio.all_tasks()) - tasks,
        slowest_cancel=slowest,
        seconds=seconds,
        counts=counts,
    )


async def cancelled_calls(server: Server, number: int, seed: int) -> Outcome:
    """Calls that are cancelled at random steps, once or twice, or given up after a random time.

    Args:
        server: Takes them.
        number: How many have to be cut off; others are done before that.
        seed: Of the random choices.
    """
    chance = random.Random(seed)

    async def one(client: AsyncDevClient, counts: Counter[str]) -> float:
        if chance.random() < 0.3:
            try:
                async with asyncio.timeout(chance.random() * 0.02):
                    await _call(client, counts)
            except TimeoutError:
                counts["timed out"] += 1
            return 0.0
        task = asyncio.create_task(_call(client, counts))
        for _ in range(chance.randrange(_STEPS)):
            await asyncio.sleep(0)
        began = time.monotonic()
        task.cancel()
        if chance.random() < 0.3:
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait({task})
        counts["cancelled"] += task.cancelled()
        return time.monotonic() - began

    async def run(client: AsyncDevClient, counts: Counter[str]) -> float:
        slowest = 0.0
        while counts["cancelled"] + counts["timed out"] < number:
            slowest = max(slowest, *await asyncio.gather(*(one(client, counts) for _ in range(_TOGETHER))))
        return slowest

    with _slow(server, 0.002):
        return await _measured("cancelled calls", server, run)


async def slow_calls(server: Server, number: int, times: int) -> Outcome:
    """More slow calls at once than a client has connections, several times over.

    Args:
        server: Takes them.
        number: How many at once.
        times: How often.
    """

    async def run(client: AsyncDevClient, counts: Counter[str]) -> float:
        for _ in range(times):
            with _slow(server, _HELD_SECONDS):
                await asyncio.gather(*(_call(client, counts) for _ in range(number)))
        return 0.0

    return await _measured("slow calls", server, run)


# --- blocking


def _in_threads(number: int, work: Callable[[], object]) -> None:
    threads = [threading.Thread(target=work) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _block(client: DevClient, counts: Counter[str], calls: int = 1) -> None:
    for _ in range(calls):
        try:
            client.api.apps.list_apps()
            counts["done"] += 1
        except DigitornError:
            counts["failed"] += 1


def _threads_at_once(server: Server, client: DevClient) -> int:
    server.gathers, server.most = _LIMIT, 0
    _in_threads(_LIMIT + _MORE, lambda: _block(client, Counter()))
    return server.most


def calls_of_threads(server: Server, number: int, times: int, seconds: float) -> Outcome:
    """Threads that share one blocking client.

    Args:
        server: Takes their calls.
        number: How many threads.
        times: How many calls each of them makes.
        seconds: How long each call takes.
    """
    counts: Counter[str] = Counter()
    with _client(server) as fresh:
        before = _threads_at_once(server, fresh)
    threads = threading.active_count()
    with _client(server) as client:
        began = time.monotonic()
        with _slow(server, seconds):
            _in_threads(number, lambda: _block(client, counts, times))
        taken = time.monotonic() - began
        after = _threads_at_once(server, client)
    missing = number * times - counts["done"] - counts["failed"]
    counts["failed"] += missing
    return Outcome(
        what=f"{number} threads",
        before=before,
        after=after,
        left=threading.active_count() - threads,
        seconds=taken,
        counts=counts,
    )
