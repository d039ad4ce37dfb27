"""What the tests of both faces need where the faces differ: one thing in two forms, of equal use.

Tests are written with the asynchronous form; `[[tool.digitorn-codegen.twins]]` turns its name into the
blocking one's.
"""

import asyncio
import concurrent.futures
import gc
import os
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeVar

from digitorn_testing import AsyncDevClient, AsyncLiveEventStream, DevClient, EventLog, LiveEventStream
from digitorn_testing.fakes import FakeDaemon
from digitorn_testing.fakes._wire.server import ServerThread

P = ParamSpec("P")
T = TypeVar("T")

_MOST_THREADS = 32
_ASK_SECONDS, _EVENTUALLY_SECONDS = 0.1, 15.0
_LOOK_SECONDS, _SAME_LOOKS, _SETTLE_SECONDS = 0.01, 3, 15.0


ASYNC_LISTENS = True
"""Whether the daemons of the asynchronous face's tests listen on loopback, or are reached in process."""

LISTENS = False
"""The same of the blocking face. One core is behind both faces, so each way is tested with one of them."""


class AsyncRunning(Generic[T]):
    """A call that runs beside the test."""

    def __init__(self, task: asyncio.Task[T]) -> None:
        self.task = task
        self.told = False

    async def result(self, timeout: float) -> T:
        """What the call returns; raises what it raises.

        Args:
            timeout: Seconds to wait for its end.

        Raises:
            TimeoutError: It has not ended.
        """
        await asyncio.wait({self.task}, timeout=timeout)
        if not self.task.done():
            raise TimeoutError(f"a call has not ended within {timeout:g} s")
        self.told = True
        return self.task.result()


class AsyncBackground:
    """Runs calls beside the test, each in a task.

    It is left when all have ended, and raises what one of them raised and no `result` told of. A test that
    fails cuts them off.
    """

    def __init__(self) -> None:
        self._running: list[AsyncRunning[Any]] = []

    async def start(
        self, call: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> AsyncRunning[T]:
        """Starts a call. It has got to where it first waits when this returns."""
        begun = asyncio.Event()

        async def run() -> T:
            begun.set()
            return await call(*args, **kwargs)

        running = AsyncRunning(asyncio.create_task(run()))
        self._running.append(running)
        await begun.wait()
        return running

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            for one in self._running:
                one.task.cancel()
        await asyncio.gather(*(one.task for one in self._running), return_exceptions=True)
        for one in self._running:
            if error is None and not one.told:
                await one.result(timeout=0)


class Running(Generic[T]):
    """The blocking equal of `AsyncRunning`."""

    def __init__(self, future: concurrent.futures.Future[T]) -> None:
        self.future = future
        self.told = False

    def result(self, timeout: float) -> T:
        """As in the other face."""
        concurrent.futures.wait({self.future}, timeout)
        if not self.future.done():
            raise TimeoutError(f"a call has not ended within {timeout:g} s")
        self.told = True
        return self.future.result()


class Background:
    """The blocking equal of `AsyncBackground`: each call has a thread. A test that fails waits for them."""

    def __init__(self) -> None:
        self._pool = concurrent.futures.ThreadPoolExecutor(_MOST_THREADS)
        self._running: list[Running[Any]] = []

    def start(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Running[T]:
        """Starts a call. Its thread has got to it when this returns."""
        begun = threading.Event()

        def run() -> T:
            begun.set()
            return call(*args, **kwargs)

        running = Running(self._pool.submit(run))
        self._running.append(running)
        begun.wait()
        return running

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown()
        for one in self._running:
            if error is None and not one.told:
                one.result(timeout=0)


class AsyncSignal:
    """What one side sets and another waits for."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Wakes who waits."""
        self._event.set()

    async def wait(self, timeout: float) -> bool:
        """Whether it is set within some seconds."""
        try:
            async with asyncio.timeout(timeout):
                return await self._event.wait()
        except TimeoutError:
            return False


Signal = threading.Event
"""The blocking equal of `AsyncSignal`."""


async def async_eventually(ask: Callable[[], Coroutine[Any, Any, T]], is_it: Callable[[T], bool]) -> T:
    """The first answer that is the expected one, for what no event announces."""
    async with asyncio.timeout(_EVENTUALLY_SECONDS):
        while not is_it(answer := await ask()):  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(_ASK_SECONDS)
    return answer


def eventually(ask: Callable[[], T], is_it: Callable[[T], bool]) -> T:
    """The blocking equal of `async_eventually`."""
    deadline = time.monotonic() + _EVENTUALLY_SECONDS
    while not is_it(answer := ask()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the last answer was {answer!r}")
        time.sleep(_ASK_SECONDS)
    return answer


def async_leftovers() -> int:
    """How many tasks there are beside the one that asks."""
    return len(asyncio.all_tasks()) - 1


def leftovers() -> int:
    """How many threads the streams of this process run on."""
    return sum(thread.name == "digitorn-testing-events" for thread in threading.enumerate())


def inner(stream: AsyncLiveEventStream | LiveEventStream) -> AsyncLiveEventStream:
    """The stream that has the connection: a blocking one is a face of it."""
    return stream._inner if isinstance(stream, LiveEventStream) else stream


def deliver(stream: AsyncLiveEventStream | LiveEventStream, frame: object) -> None:
    """Gives a stream a frame as if its daemon had sent it."""
    connection: Any = inner(stream)._machines.socket
    connection._on_frame(frame)


def lose(stream: AsyncLiveEventStream | LiveEventStream, is_lost: Callable[[object], bool]) -> None:
    """Loses frames on their way to a stream, as a daemon under pressure does."""
    connection: Any = inner(stream)._machines.socket
    deliver = connection._on_frame

    def keep(frame: object) -> None:
        if not is_lost(frame):
            deliver(frame)

    connection._on_frame = keep


class AsyncStall:
    """Where a callback hangs until the test is over."""

    def __init__(self) -> None:
        self._signal = AsyncSignal()

    async def wait(self) -> None:
        """Hangs."""
        await self._signal.wait(30)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._signal.set()


class Stall:
    """The blocking equal of `AsyncStall`."""

    def __init__(self) -> None:
        self._signal = Signal()

    def wait(self) -> None:
        """As in the other face."""
        self._signal.wait(30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._signal.set()


async def async_gone(held: list[Any]) -> bool:
    """Whether what a list alone holds is collected once it is let go, within some seconds.

    A stream ends first what it has begun.
    """
    reference, deadline = _let_go(held), time.monotonic() + _SETTLE_SECONDS
    while reference() is not None and time.monotonic() < deadline:
        await asyncio.sleep(_LOOK_SECONDS)
        gc.collect()
    return reference() is None


def gone(held: list[Any]) -> bool:
    """The blocking equal of `async_gone`."""
    reference, deadline = _let_go(held), time.monotonic() + _SETTLE_SECONDS
    while reference() is not None and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
        gc.collect()
    return reference() is None


def _let_go(held: list[Any]) -> "weakref.ref[Any]":
    return weakref.ref(held.pop())


async def async_sent_log(client: AsyncDevClient, app_id: str, session_id: str) -> EventLog:
    """Everything that a daemon has sent in a session, from its log."""
    log = EventLog(session_id=session_id)
    # The other route answers nothing for the number 0.
    for row in (await client.api.sessions.list_session_events(app_id, session_id, limit=1)).events:
        log.feed(row if isinstance(row, dict) else row.to_wire())
    since = 1
    while page := (
        await client.api.sessions.get_session_state(app_id, session_id, since_seq=since)
    ).gap_events:
        for gap in page:
            log.feed(gap.to_wire())
        since = page[-1].seq
    return log


def sent_log(client: DevClient, app_id: str, session_id: str) -> EventLog:
    """The blocking equal of `async_sent_log`."""
    log = EventLog(session_id=session_id)
    for row in client.api.sessions.list_session_events(app_id, session_id, limit=1).events:
        log.feed(row if isinstance(row, dict) else row.to_wire())
    since = 1
    while page := client.api.sessions.get_session_state(app_id, session_id, since_seq=since).gap_events:
        for gap in page:
            log.feed(gap.to_wire())
        since = page[-1].seq
    return log


@dataclass(frozen=True)
class Taken:
    """What this process has taken of its system, and what a daemon has of connections."""

    threads: int
    descriptors: int
    connections: int

    def is_within(self, other: "Taken") -> bool:
        """Whether it is no more than was taken before; what others had left then may be gone by now."""
        return (
            self.threads <= other.threads
            and self.descriptors <= other.descriptors
            and self.connections <= other.connections
        )


async def async_taken(daemon: FakeDaemon, expected: Taken | None = None) -> Taken:
    """What is taken once nothing changes any more.

    Args:
        daemon: The daemon.
        expected: What is waited for; the system tells nobody when a socket has gone.
    """
    for patience in _looks(daemon, expected):
        await asyncio.sleep(patience)
    return _taken(daemon)


def taken(daemon: FakeDaemon, expected: Taken | None = None) -> Taken:
    """The blocking equal of `async_taken`."""
    for patience in _looks(daemon, expected):
        time.sleep(patience)
    return _taken(daemon)


def _looks(daemon: FakeDaemon, expected: Taken | None) -> Iterator[float]:
    """The pauses between two looks."""
    same, last, deadline = 0, _taken(daemon), time.monotonic() + _SETTLE_SECONDS
    while same < _SAME_LOOKS and time.monotonic() < deadline:
        yield _LOOK_SECONDS
        now = _taken(daemon)
        settled = now == last and (expected is None or now.is_within(expected))
        same, last = (same + 1 if settled else 0), now


def _taken(daemon: FakeDaemon) -> Taken:
    endpoint, thread = daemon._endpoint, daemon._thread
    assert endpoint is not None
    connections = len(endpoint.sockets._connections)
    if isinstance(thread, ServerThread) and thread._server is not None:
        connections += len(thread._server.server_state.connections)
    return Taken(threading.active_count(), len(os.listdir("/proc/self/fd")), connections)
