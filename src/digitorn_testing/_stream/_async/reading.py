"""Reads a stream: one wait, all its events, or those of one turn.

What iterates is an object and not a generator: a read that is cancelled or interrupted may be made again, and
goes on with the next event.
"""

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Self, TypeVar
from weakref import WeakMethod

from digitorn_testing._concurrency.deadlines import checked
from digitorn_testing._concurrency.finalizers import weakly
from digitorn_testing._errors import EventTimeout
from digitorn_testing._events.event import AnyEvent
from digitorn_testing._events.meaning import Meaning
from digitorn_testing._events.selector import Selector
from digitorn_testing._log.log import Sink, Subscription
from digitorn_testing._stream.core import StreamCore
from digitorn_testing._stream.inboxes import AsyncInbox, Backlog
from digitorn_testing._stream.waiting import Waiter
from digitorn_testing._turns.texts import StreamedTexts

Item = TypeVar("Item")
Found = TypeVar("Found")


async def wait(waiter: Waiter[Item, Found]) -> Found:
    """Waits for what a waiter looks for.

    Args:
        waiter: The waiter.

    Raises:
        EventTimeout: It did not come in time.
        StreamClosed: The stream ended.
    """
    inbox: AsyncInbox[Item] = AsyncInbox()
    with waiter.listening(inbox.put) as found:
        while found is None:
            try:
                item = await inbox.next(waiter.left)
            except TimeoutError:
                return waiter.at_last()
            found = waiter.take(item)
    return found


class EventReading(ABC, AsyncIterator[AnyEvent]):
    """Reads events one after the other. It begins with the first read.

    Args:
        core: The stream.
        seconds: How long the events may take.
    """

    def __init__(self, core: StreamCore, seconds: float) -> None:
        self._core = core
        self._seconds = checked(seconds)
        self._inbox: AsyncInbox[AnyEvent | None] = AsyncInbox()
        self._existing: deque[AnyEvent] = deque()
        self._subscription: Subscription | None = None
        self._is_over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AnyEvent:
        if self._is_over:
            raise StopAsyncIteration
        if self._subscription is None:
            self._subscription = self._begin()
            self._existing.extend(self._subscription.existing)
        if self._existing:
            return self._existing.popleft()
        try:
            event = await self._inbox.next(self._left())
        except TimeoutError:
            raise self._late() from None
        if event is not None:
            return event
        if self._is_over:
            # It was closed meanwhile.
            raise StopAsyncIteration
        await self.aclose()
        if (failure := self._failure()) is not None:
            raise failure
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Ends the reading."""
        self._is_over = True
        if self._subscription is not None:
            self._subscription.cancel()
        # Whoever else waits is woken.
        self._inbox.put(None)

    @abstractmethod
    def _begin(self) -> Subscription:
        """Subscribes the inbox."""

    @abstractmethod
    def _left(self) -> float:
        """Seconds that the next event may take."""

    @abstractmethod
    def _late(self) -> EventTimeout:
        """The error for an event that did not come in time."""

    @abstractmethod
    def _failure(self) -> BaseException | None:
        """Why nothing more comes, if that is an error."""


class StreamReading(EventReading):
    """Reads every event of a stream, until it is stopped.

    Args:
        core: The stream.
        seconds: How long to wait for each event.
        check: Raises if the stream was not started. A method of the stream, which so lives as long as it is
            read.

    Raises:
        EventTimeout: No event came in time.
        StreamClosed: The stream ended and was not stopped.
    """

    def __init__(self, core: StreamCore, seconds: float, check: Callable[[], object]) -> None:
        super().__init__(core, seconds)
        self._check = check
        report = partial(weakly(core.errors.report), "the iteration")
        self._backlog = Backlog(self._inbox, core.log.max_events, report)

    def _begin(self) -> Subscription:
        self._check()
        return while_read(self._backlog.put, self._core.log.subscribe)

    def _left(self) -> float:
        return self._seconds

    def _late(self) -> EventTimeout:
        return self._core.no_event(Selector(()), self._seconds)

    def _failure(self) -> BaseException | None:
        return None if self._core.link.was_stopped else self._core.closed_error()


class TurnReading(EventReading):
    """Reads one turn's events, in order, from its first to its end.

    Args:
        core: The stream.
        correlation_id: The turn.
        seconds: How long reading it may take.
        follow: Makes the stream follow the turn. A method of the stream, which so lives as long as the turn
            is read.

    Raises:
        EventTimeout: The turn did not end in time.
        StreamClosed: The stream ended before the turn did.
        CallbackFailed: The approval policy raised.
    """

    def __init__(
        self, core: StreamCore, correlation_id: str, seconds: float, follow: Callable[[str], object]
    ) -> None:
        super().__init__(core, seconds)
        self._turn = correlation_id
        self._follow = follow
        self._deadline = 0.0

    def _begin(self) -> Subscription:
        self._deadline = time.monotonic() + self._seconds
        self._follow(self._turn)
        return while_read(self._inbox.put, partial(self._core.log.subscribe_turn, correlation_id=self._turn))

    def _left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def _late(self) -> EventTimeout:
        return self._core.turn_timeout(self._turn, self._seconds)

    def _failure(self) -> BaseException | None:
        return None if self._core.log.turn_ended(self._turn) else self._core.turn_failure(self._turn)


class TextReading(AsyncIterator[str]):
    """Reads the text that a turn streams, piece by piece.

    Args:
        events: The events of the turn.
        meaning: What they mean.
    """

    def __init__(self, events: AsyncIterator[AnyEvent], meaning: Meaning) -> None:
        self._events = events
        self._streamed = StreamedTexts(meaning)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        while True:
            if text := self._streamed.take(await anext(self._events)):
                return text


def while_read(put: Sink, subscribe: Callable[[Sink], Subscription]) -> Subscription:
    """Subscribes an inbox for as long as somebody holds it.

    Args:
        put: Puts an event into the inbox: a bound method of it, or of what holds it.
        subscribe: Subscribes to the events.
    """
    subscription: Subscription
    held = WeakMethod(put)

    def deliver(event: AnyEvent | None) -> None:
        if (put := held()) is not None:
            put(event)
        else:
            # Not when it is collected: that may happen while the log's lock is held.
            subscription.cancel()

    subscription = subscribe(deliver)
    return subscription
