"""One background event loop per process, for the blocking faces.

Ctrl-C may interrupt the calling thread anywhere. What waits here is written in C and leaves no lock held,
unlike `Future.result` and `Event.wait`; an interrupted `Thread.is_alive` may take a running thread for dead.
"""

import asyncio
import concurrent.futures
import contextlib
import math
import os
import threading
import time
from collections.abc import Coroutine
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from .deadlines import join, slices
from .forks import in_forks, leave_behind

T = TypeVar("T")

_STOP_SECONDS = 5.0
_LOOK_SECONDS = 1.0
_NOT_RUNNING = "the event loop does not run in this process"


class LoopStopped(Exception):
    """The event loop stopped, so the coroutine will never finish."""


class BackgroundLoop:
    """An event loop on its own thread, which runs as long as it has users.

    `acquire` and `release` count the users: the first one starts the thread, the last one stops it. A hundred
    blocking streams therefore cost one thread.

    Args:
        name: Name of the thread.
    """

    def __init__(self, name: str = "digitorn-testing-events") -> None:
        self._name = name
        self._lock = threading.Lock()
        self._users = 0
        self._pid = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ended: SimpleQueue[None] = SimpleQueue()
        in_forks(self)

    def after_fork(self) -> None:
        """Resets it in a forked child, where the thread does not exist."""
        leave_behind((self._loop, self._thread))
        self._lock = threading.Lock()
        self._pid, self._users, self._loop, self._thread = os.getpid(), 0, None, None

    def acquire(self) -> asyncio.AbstractEventLoop:
        """Adds a user and returns the loop, which runs until the matching `release`."""
        with self._lock:
            # A loop that died took its users' connections with it; new users need a running one.
            loop = self._loop if self.is_running and self._loop is not None else self._start()
            self._users += 1
            return loop

    def _start(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        running: SimpleQueue[None] = SimpleQueue()
        ended: SimpleQueue[None] = SimpleQueue()
        thread = threading.Thread(target=_run, args=(loop, running, ended), name=self._name, daemon=True)
        try:
            thread.start()
            _get(running, _STOP_SECONDS)
        except BaseException:
            loop.call_soon_threadsafe(loop.stop)
            raise
        self._loop, self._thread, self._ended = loop, thread, ended
        return loop

    def release(self) -> None:
        """Removes a user; removing the last one stops the thread and waits for it."""
        with self._lock:
            if self._pid != os.getpid() or self._users == 0:
                return
            self._users -= 1
            if self._users or self._loop is None or self._thread is None:
                return
            loop, thread, ended = self._loop, self._thread, self._ended
            self._loop = self._thread = None
            with contextlib.suppress(RuntimeError):
                # If the loop died, it is closed already.
                loop.call_soon_threadsafe(loop.stop)
        if thread is not threading.current_thread():
            _get(ended, _STOP_SECONDS)
            join(thread, _STOP_SECONDS)

    @property
    def is_running(self) -> bool:
        """Whether the loop is running in this process."""
        return self._loop is not None and self._pid == os.getpid() and not self._loop.is_closed()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> "concurrent.futures.Future[T]":
        """Schedules a coroutine on the loop and returns at once.

        Raises:
            ConnectionError: The loop is not running in this process.
        """
        loop = self._loop
        if loop is None or self._pid != os.getpid() or loop.is_closed():
            coroutine.close()
            raise ConnectionError(_NOT_RUNNING)
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, loop)
        except RuntimeError:
            # It was closed in the meantime.
            coroutine.close()
            raise ConnectionError(_NOT_RUNNING) from None

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Runs a coroutine on the loop and waits for its result.

        Args:
            coroutine: The coroutine to run.
            timeout: Seconds to wait; then the coroutine is cancelled.

        Raises:
            TimeoutError: The coroutine did not finish in time.
            LoopStopped: The loop stopped while the coroutine was running.
            RuntimeError: Called on the loop's own thread, where waiting would block the loop.
            ConnectionError: The loop is not running in this process.
        """
        thread = self._thread
        if thread is not None and thread is threading.current_thread():
            coroutine.close()
            raise RuntimeError("a blocking call was made on the event loop's own thread")
        future = self.submit(coroutine)
        try:
            return self._result(future, timeout)
        except concurrent.futures.CancelledError:
            raise LoopStopped from None
        except BaseException:
            future.cancel()
            raise

    def _result(self, future: "concurrent.futures.Future[T]", timeout: float | None) -> T:
        """Waits for a future and checks regularly that the loop runs: a closed loop never resolves it."""
        deadline = time.monotonic() + (math.inf if timeout is None else timeout)
        done: SimpleQueue[object] = SimpleQueue()
        future.add_done_callback(done.put)
        while not future.done() and self.is_running and (left := deadline - time.monotonic()) > 0:
            _get(done, min(_LOOK_SECONDS, left))
        if not future.done():
            # The last steps of a loop that has just stopped may still bring it.
            _get(done, 0.0 if self.is_running else _LOOK_SECONDS)
        if future.done():
            return future.result()
        if self.is_running:
            raise concurrent.futures.TimeoutError
        raise LoopStopped


def _get(queue: "SimpleQueue[Any]", seconds: float) -> None:
    """Waits until something is in a queue, or the time is over."""
    for part in slices(seconds):
        with contextlib.suppress(Empty):
            queue.get(timeout=part)
            return


def _run(loop: asyncio.AbstractEventLoop, running: "SimpleQueue[None]", ended: "SimpleQueue[None]") -> None:
    asyncio.set_event_loop(loop)
    loop.call_soon(running.put, None)
    try:
        loop.run_forever()
    finally:
        try:
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.wait(left, timeout=_STOP_SECONDS))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            loop.close()
            ended.put(None)


BACKGROUND = BackgroundLoop()
"""The loop of this process."""
