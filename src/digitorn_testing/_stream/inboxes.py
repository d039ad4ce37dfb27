"""Where what arrives waits for its reader, in both faces."""

import asyncio
import math
import queue
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from digitorn_testing._concurrency.deadlines import finite, slices
from digitorn_testing._events.event import AnyEvent

T = TypeVar("T")


class AsyncInbox(Generic[T]):
    """A queue that a task reads."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[T] = asyncio.Queue()

    def put(self, item: T) -> None:
        """Adds an item. To be called on the reader's event loop."""
        self._queue.put_nowait(item)

    async def next(self, seconds: float = math.inf) -> T:
        """The next item. A call that is cancelled takes none.

        Args:
            seconds: How long to wait.

        Raises:
            TimeoutError: None came in time.
        """
        async with asyncio.timeout(finite(seconds)):
            return await self._queue.get()

    def drop_oldest(self) -> None:
        """Drops the oldest item, if there is one."""
        if not self._queue.empty():
            self._queue.get_nowait()

    def __len__(self) -> int:
        return self._queue.qsize()


class Inbox(Generic[T]):
    """The blocking equal of `AsyncInbox`: any thread may add to it."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[T] = queue.SimpleQueue()

    def put(self, item: T) -> None:
        """Adds an item."""
        self._queue.put(item)

    def next(self, seconds: float = math.inf) -> T:
        """The next item.

        Args:
            seconds: How long to wait.

        Raises:
            TimeoutError: None came in time.
        """
        for part in slices(seconds):
            with suppress(queue.Empty):
                return self._queue.get(timeout=part)
        raise TimeoutError

    def drop_oldest(self) -> None:
        """Drops the oldest item, if there is one."""
        try:
            self._queue.get_nowait()
        except queue.Empty:
            # The reader has taken it in the meantime.
            return

    def __len__(self) -> int:
        return self._queue.qsize()


class _Waiting(Protocol):
    """An inbox of either face."""

    def put(self, item: AnyEvent | None, /) -> None: ...

    def drop_oldest(self) -> None: ...

    def __len__(self) -> int: ...


class Backlog:
    """Bounds what waits for a slow reader of events: beyond the bound the oldest event is dropped.

    Args:
        inbox: Where events wait.
        most: How many may wait; any number when it is None.
        tell: Called once, when an event is dropped for the first time.
    """

    def __init__(self, inbox: _Waiting, most: int | None, tell: Callable[[BaseException], object]) -> None:
        self._inbox = inbox
        self._most = most
        self._tell = tell
        self._told = False

    def put(self, event: AnyEvent | None) -> None:
        """Adds an event, or None for the end, which is never dropped for want of room."""
        if self._most is not None and event is not None and len(self._inbox) >= self._most:
            self._inbox.drop_oldest()
            if not self._told:
                self._told = True
                self._tell(
                    OverflowError(f"it is more than max_events={self._most} events behind, and misses some")
                )
        self._inbox.put(event)
