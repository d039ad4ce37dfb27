"""One background event loop per process, for the blocking faces."""

import asyncio
import concurrent.futures
import contextlib
import os
import threading
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from .deadlines import join
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
        in_forks(self)

    def after_fork(self) -> None:
        """Resets it in a forked child, where the thread does not exist."""
        leave_behind((self._loop, self._thread))
        self._lock = threading.Lock()
        self._pid, self._users, self._loop, self._thread = os.getpid(), 0, None, None

    def acquire(self) -> asyncio.AbstractEventLoop:
        """Adds a user and returns the loop, which runs until the matching `release`."""
        with self._lock:
            self._users += 1
            if self._loop is None or self._thread is None or not self._thread.is_alive():
                # A loop that died took its users' connections with it; new users need a running one.
                return self._start()
            return self._loop

    def _start(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        running = threading.Event()
        thread = threading.Thread(target=_run, args=(loop, running), name=self._name, daemon=True)
        thread.start()
        running.wait(_STOP_SECONDS)
        self._loop, self._thread = loop, thread
        return loop

    def release(self) -> None:
        """Removes a user; removing the last one stops the thread and waits for it."""
        with self._lock:
            if self._pid != os.getpid() or self._users == 0:
                return
            self._users -= 1
            if self._users or self._loop is None or self._thread is None:
                return
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
            with contextlib.suppress(RuntimeError):
                # If the loop died, it is closed already.
                loop.call_soon_threadsafe(loop.stop)
        if thread is not threading.current_thread():
            join(thread, _STOP_SECONDS)

    @property
    def is_running(self) -> bool:
        """Whether the loop is running in this process."""
        return self._thread is not None and self._thread.is_alive()

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
        except (KeyboardInterrupt, concurrent.futures.TimeoutError):
            future.cancel()
            raise

    def _result(self, future: "concurrent.futures.Future[T]", timeout: float | None) -> T:
        """Waits for a future and checks regularly that the loop is alive: a dead loop never resolves it."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not future.done() and (thread := self._thread) is not None and thread.is_alive():
            left = _LOOK_SECONDS if deadline is None else min(_LOOK_SECONDS, deadline - time.monotonic())
            try:
                return future.result(max(0.0, left))
            except concurrent.futures.TimeoutError:
                if future.done() or (deadline is not None and time.monotonic() >= deadline):
                    raise
        try:
            return future.result(0 if timeout is not None else _LOOK_SECONDS)
        except concurrent.futures.TimeoutError:
            if future.done():
                raise
            raise LoopStopped from None


def _run(loop: asyncio.AbstractEventLoop, running: threading.Event) -> None:
    asyncio.set_event_loop(loop)
    loop.call_soon(running.set)
    try:
        loop.run_forever()
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=_STOP_SECONDS))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        asyncio.set_event_loop(None)
        loop.close()


BACKGROUND = BackgroundLoop()
"""The loop of this process."""
