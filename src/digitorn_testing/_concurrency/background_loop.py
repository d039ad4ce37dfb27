"""One background event loop a process, for the blocking faces."""

import asyncio
import concurrent.futures
import contextlib
import os
import threading
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from .forks import in_forks, leave_behind

T = TypeVar("T")

_STOP_SECONDS = 5.0
_LOOK_SECONDS = 1.0
_NOT_RUNNING = "the event loop does not run in this process"


class LoopStopped(Exception):
    """The loop ended, and what ran on it with it."""


class BackgroundLoop:
    """An event loop on a thread of its own, that lives while somebody uses it.

    `acquire` and `release` count the users: the first starts the thread, the last stops it. A hundred
    blocking streams cost one thread.

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
        """Begins anew in a forked child, where the thread is not."""
        leave_behind((self._loop, self._thread))
        self._lock = threading.Lock()
        self._pid, self._users, self._loop, self._thread = os.getpid(), 0, None, None

    def acquire(self) -> asyncio.AbstractEventLoop:
        """Becomes a user; the loop, which runs until the matching `release`."""
        with self._lock:
            self._users += 1
            if self._loop is None or self._thread is None or not self._thread.is_alive():
                # One that ended by itself took its users' connections along; new ones need one that runs.
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
        """Ends one use; the last one stops the thread and waits for it."""
        with self._lock:
            if self._pid != os.getpid() or self._users == 0:
                return
            self._users -= 1
            if self._users or self._loop is None or self._thread is None:
                return
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
            with contextlib.suppress(RuntimeError):
                # One that ended by itself is closed.
                loop.call_soon_threadsafe(loop.stop)
        if thread is not threading.current_thread():
            thread.join(_STOP_SECONDS)

    @property
    def is_running(self) -> bool:
        """Whether it runs in this process."""
        return self._thread is not None and self._thread.is_alive()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> "concurrent.futures.Future[T]":
        """Runs a coroutine on the loop and waits for nothing.

        Raises:
            ConnectionError: The loop does not run in this process.
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
            coroutine: What to run.
            timeout: Seconds to wait; then the coroutine is cancelled.

        Raises:
            TimeoutError: The time is over.
            LoopStopped: The loop ended meanwhile.
            RuntimeError: It was called on the loop's own thread, where waiting would block the loop.
            ConnectionError: The loop does not run in this process.
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
        """The result of what runs on the loop; one that ends by itself leaves some without any."""
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
