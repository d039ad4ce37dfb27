"""Reads a stream: one wait, all its events, or those of one turn."""

import time
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import TypeVar

from digitorn_testing._concurrency.finalizers import weakly
from digitorn_testing._events.event import AnyEvent
from digitorn_testing._events.selector import Selector
from digitorn_testing._stream.core import StreamCore
from digitorn_testing._stream.inboxes import AsyncInbox, Backlog
from digitorn_testing._stream.waiting import Waiter

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


async def read_all(core: StreamCore, timeout: float, check: Callable[[], object]) -> AsyncGenerator[AnyEvent]:
    """Every event of a stream, until it is stopped.

    Args:
        core: The stream.
        timeout: Seconds to wait for each event.
        check: Raises if the stream was not started. A method of the stream, which so lives as long as it is
            read.

    Raises:
        EventTimeout: No event came in time.
        StreamClosed: The stream ended and was not stopped.
    """
    check()
    inbox: AsyncInbox[AnyEvent | None] = AsyncInbox()
    backlog = Backlog(inbox, core.log.max_events, partial(weakly(core.errors.report), "the iteration"))
    subscription = core.log.subscribe(backlog.put)
    try:
        for existing in subscription.existing:
            yield existing
        while True:
            try:
                event = await inbox.next(timeout)
            except TimeoutError:
                raise core.no_event(Selector(()), timeout) from None
            if event is None:
                break
            yield event
    finally:
        subscription.cancel()
    if not core.link.was_stopped:
        raise core.closed_error()


async def read_turn(
    core: StreamCore, correlation_id: str, seconds: float, follow: Callable[[str], object]
) -> AsyncGenerator[AnyEvent]:
    """One turn's events, in order, from its first to its end.

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
    deadline = time.monotonic() + seconds
    follow(correlation_id)
    inbox: AsyncInbox[AnyEvent | None] = AsyncInbox()
    subscription = core.log.subscribe_turn(inbox.put, correlation_id)
    try:
        for existing in subscription.existing:
            yield existing
        while True:
            try:
                event = await inbox.next(max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                raise core.turn_timeout(correlation_id, seconds) from None
            if event is None:
                break
            yield event
    finally:
        subscription.cancel()
    if not core.log.turn_ended(correlation_id):
        raise core.turn_failure(correlation_id)
