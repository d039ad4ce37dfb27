"""The background tasks of a stream."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from digitorn_testing._concurrency.deadlines import unbounded
from digitorn_testing._concurrency.finalizers import weakly


class Tasks:
    """Starts the background tasks of a stream, and ends them.

    A running task refers to this object weakly. A task that lives as long as its stream must also refer to
    the stream's machines weakly while it waits: the event loop holds the task, a machine may hold code of
    the user, and that may hold the stream, which could then never be collected.

    Args:
        failed: Takes the exception of a task that failed.

    Attributes:
        running: All tasks that have not ended.
        deliveries: Those of them that hand something to code of the user.
    """

    def __init__(self, failed: Callable[[BaseException], object]) -> None:
        self.running: set[asyncio.Task[None]] = set()
        self.deliveries: set[asyncio.Task[None]] = set()
        self._failed = failed

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs a coroutine in a task of its own, free of the caller's deadline.

        Args:
            coroutine: What to run.
        """
        task = asyncio.get_running_loop().create_task(coroutine, context=unbounded())
        self.running.add(task)
        # The set's own method: it is right even if this object has gone by then.
        task.add_done_callback(self.running.discard)
        task.add_done_callback(weakly(self._finished))
        return task

    def deliver(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Runs a coroutine that hands something to code of the user; `end` lets it finish, within bounds.

        Args:
            coroutine: What to run.
        """
        task = self.spawn(coroutine)
        self.deliveries.add(task)
        task.add_done_callback(self.deliveries.discard)

    def _finished(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)

    async def end(self, timeout: float) -> None:
        """Lets deliveries finish, then cancels everything else; the calling task is left alone.

        Args:
            timeout: Seconds, of which deliveries have two thirds.
        """
        current = asyncio.current_task()
        if deliveries := self.deliveries - {current}:
            await asyncio.wait(deliveries, timeout=timeout * 2 / 3)
        if left := self.running - {current}:
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=timeout / 3)
