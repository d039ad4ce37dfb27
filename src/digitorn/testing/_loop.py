"""One background event loop a process, for the blocking faces."""

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_STOP_SECONDS = 5.0


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

    def acquire(self) -> None:
        """Becomes a user; the loop runs until the matching `release`."""
        with self._lock:
            self._forget_after_fork()
            self._users += 1
            if self._loop is None:
                self._start()

    def _forget_after_fork(self) -> None:
        if self._pid != os.getpid():
            # A forked child has the parent's bookkeeping but none of its threads.
            self._pid, self._users, self._loop, self._thread = os.getpid(), 0, None, None

    def _start(self) -> None:
        loop = asyncio.new_event_loop()
        running = threading.Event()
        thread = threading.Thread(target=_run, args=(loop, running), name=self._name, daemon=True)
        thread.start()
        running.wait(_STOP_SECONDS)
        self._loop, self._thread = loop, thread

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
            loop.call_soon_threadsafe(loop.stop)
        if thread is not threading.current_thread():
            thread.join(_STOP_SECONDS)

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> "concurrent.futures.Future[T]":
        """Runs a coroutine on the loop and waits for nothing.

        Raises:
            ConnectionError: The loop does not run in this process.
        """
        loop = self._loop
        if loop is None or self._pid != os.getpid():
            coroutine.close()
            raise ConnectionError("the event loop does not run in this process")
        return asyncio.run_coroutine_threadsafe(coroutine, loop)

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
            return future.result(timeout)
        except concurrent.futures.CancelledError:
            raise LoopStopped from None
        except (KeyboardInterrupt, concurrent.futures.TimeoutError):
            future.cancel()
            raise


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
