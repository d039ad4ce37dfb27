"""What the tests of both faces need where the faces differ: one thing in two forms, of equal use.

Tests are written with the asynchronous form; `[[tool.digitorn-codegen.twins]]` turns its name into the
blocking one's.
"""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Literal, ParamSpec, Self, TypeVar

from digitorn.testing import AsyncLiveEventStream, LiveEventStream

P = ParamSpec("P")
T = TypeVar("T")

_MOST_THREADS = 32


@dataclass(frozen=True)
class DaemonKind:
    """A daemon that the tests run against.

    Attributes:
        build: Which of the contract's builds it is.
        listens: Whether it listens on loopback; else it is reached in process.
    """

    build: Literal["A", "B"]
    listens: bool

    def __str__(self) -> str:
        return f"{self.build} {'over sockets' if self.listens else 'in process'}"


ASYNC_DAEMONS = (DaemonKind("A", listens=True), DaemonKind("B", listens=False))
"""What the asynchronous face is tested on. The two faces together have every build both ways, each once: one
core is behind both, so that all four on each would cost twice the time and tell nothing new."""

DAEMONS = (DaemonKind("B", listens=True), DaemonKind("A", listens=False))
"""What the blocking face is tested on."""


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


def async_leftovers() -> int:
    """How many tasks there are beside the one that asks."""
    return len(asyncio.all_tasks()) - 1


def leftovers() -> int:
    """How many threads the streams of this process run on."""
    return sum(thread.name == "digitorn-testing-events" for thread in threading.enumerate())


def inner(stream: AsyncLiveEventStream | LiveEventStream) -> AsyncLiveEventStream:
    """The stream that has the connection: a blocking one is a face of it."""
    return stream._inner if isinstance(stream, LiveEventStream) else stream


def lose(stream: AsyncLiveEventStream | LiveEventStream, is_lost: Callable[[object], bool]) -> None:
    """Loses frames on their way to a stream, as a daemon under pressure does."""
    connection: Any = inner(stream)._socket
    deliver = connection._on_frame

    def keep(frame: object) -> None:
        if not is_lost(frame):
            deliver(frame)

    connection._on_frame = keep
