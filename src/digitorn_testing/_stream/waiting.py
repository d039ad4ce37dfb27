"""Waiting for something on a stream, without any IO: what is looked for, until when, and what is raised.

A face of the stream only brings the items: it takes the next one out of an inbox within the seconds that are
left, and gives it to the waiter. So the predicates of a waiter run where its face runs: on the event loop, or
on the calling thread.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Generic, TypeVar

from digitorn_testing._concurrency.deadlines import checked
from digitorn_testing._errors import EventTimeout
from digitorn_testing._events.event import AnyEvent
from digitorn_testing._events.selector import EventSelector, Selector, Where
from digitorn_testing._generated.events import Disconnected

from .core import StreamCore
from .link import StreamConnection

Item = TypeVar("Item")
Found = TypeVar("Found")


class Waiter(ABC, Generic[Item, Found]):
    """One wait.

    Args:
        core: The stream.
        seconds: How long to wait.
        clock: Monotonic seconds.
    """

    def __init__(
        self, core: StreamCore, seconds: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.seconds = checked(seconds)
        self._core = core
        self._clock = clock
        self._deadline = clock() + seconds

    @property
    def left(self) -> float:
        """Seconds until the deadline; never negative."""
        return max(0.0, self._deadline - self._clock())

    @abstractmethod
    def listening(self, put: Callable[[Item], None]) -> AbstractContextManager[Found | None]:
        """Subscribes to items while the context is open, which gives what is there already.

        Args:
            put: Takes each item.
        """

    @abstractmethod
    def take(self, item: Item) -> Found | None:
        """What was looked for, if this item is it.

        Raises:
            StreamClosed: Nothing more will come.
        """

    @abstractmethod
    def at_last(self) -> Found:
        """What there is to return when the deadline has passed.

        Raises:
            EventTimeout: Nothing.
        """


class EventWaiter(Waiter[AnyEvent | None, AnyEvent]):
    """Waits for the first event of a type, of those that arrived and those to come.

    It reads in order: an event that the log holds back is found once the earlier ones are here as well, or at
    the deadline.

    Args:
        core: The stream.
        type: Payload class or wire name.
        where: A predicate that the event must satisfy.
        seconds: How long to wait.
        check: Called before the wait for events to come; raises if none can.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        core: StreamCore,
        type: EventSelector,
        where: Where | None,
        seconds: float,
        *,
        check: Callable[[], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(core, seconds, clock=clock)
        self._type = type
        self._selector = Selector((type,))
        self._where = where
        self._check = check

    @contextmanager
    def listening(self, put: Callable[[AnyEvent | None], None]) -> Generator[AnyEvent | None]:
        subscription = self._core.log.subscribe(put, (self._type,), in_order=True)
        try:
            found = next((event for event in subscription.existing if self._fits(event)), None)
            if found is None:
                self._check()
            yield found
        finally:
            subscription.cancel()

    def take(self, item: AnyEvent | None) -> AnyEvent | None:
        if item is None:
            raise self._core.closed_error()
        return item if self._fits(item) else None

    def at_last(self) -> AnyEvent:
        found = next((event for event in self._held_back() if self._fits(event)), None)
        if found is None:
            raise self._timeout() from None
        return found

    def _held_back(self) -> list[AnyEvent]:
        return self._core.log.held_back()

    def _timeout(self) -> EventTimeout:
        return self._core.no_event(self._selector, self.seconds)

    def _fits(self, event: AnyEvent) -> bool:
        return self._selector.matches(event) and (self._where is None or self._where(event))


class TurnEventWaiter(EventWaiter):
    """Waits for the first of one turn's events of a type, in the order of the turn.

    Args:
        core: The stream, which follows the turn.
        correlation_id: The turn.
        type: Payload class or wire name.
        where: A predicate that the event must satisfy.
        seconds: How long to wait.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        core: StreamCore,
        correlation_id: str,
        type: EventSelector,
        where: Where | None,
        seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(core, type, where, seconds, check=_nothing, clock=clock)
        self._turn = correlation_id

    @contextmanager
    def listening(self, put: Callable[[AnyEvent | None], None]) -> Generator[AnyEvent | None]:
        subscription = self._core.log.subscribe_turn(put, self._turn)
        try:
            yield next((event for event in subscription.existing if self._fits(event)), None)
        finally:
            subscription.cancel()

    def take(self, item: AnyEvent | None) -> AnyEvent | None:
        if item is not None:
            return super().take(item)
        if self._core.log.turn_ended(self._turn):
            raise self._core.not_in_turn(self._selector, self._turn)
        raise self._core.turn_failure(self._turn)

    def _held_back(self) -> list[AnyEvent]:
        of_turn = set(map(id, self._core.log.turn(self._turn)))
        return [event for event in super()._held_back() if id(event) in of_turn]

    def _timeout(self) -> EventTimeout:
        return self._core.no_event(self._selector, self.seconds, of_turn=self._turn)


class ConnectionWaiter(Waiter[object, StreamConnection]):
    """Waits until the connection satisfies a predicate.

    Args:
        core: The stream.
        where: The predicate.
        seconds: How long to wait.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        core: StreamCore,
        where: Callable[[StreamConnection], bool],
        seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(core, seconds, clock=clock)
        self._where = where

    @contextmanager
    def listening(self, put: Callable[[object], None]) -> Generator[StreamConnection | None]:
        # Not for the event, but to be woken by the end of the log.
        subscription = self._core.log.subscribe(put, (Disconnected,))
        cancel = self._core.link.subscribe(put)
        try:
            yield self.take(None)
        finally:
            cancel()
            subscription.cancel()

    def take(self, item: object) -> StreamConnection | None:
        known = self._core.connection
        if self._where(known):
            return known
        if known.state == "closed":
            raise self._core.closed_error()
        return None

    def at_last(self) -> StreamConnection:
        raise self._core.timed_out("the connection is not as wanted", self.seconds) from None


def _nothing() -> None:
    """A turn is followed before it is waited for, so that there is nothing to check."""
