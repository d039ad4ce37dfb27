"""Where what arrives waits, and how much of it."""

import asyncio
import math
import threading
import time

import pytest

from digitorn_testing._concurrency import deadlines
from digitorn_testing._events.event import AnyEvent, decode
from digitorn_testing._stream.inboxes import AsyncInbox, Backlog, Inbox
from support.frames import token
from support.stream_parts import SECONDS


async def test_a_task_gets_items_in_order_and_waits_no_longer_than_it_says() -> None:
    inbox: AsyncInbox[int] = AsyncInbox()
    inbox.put(1)
    inbox.put(2)
    assert [await inbox.next(0), await inbox.next(0), len(inbox)] == [1, 2, 0]
    with pytest.raises(TimeoutError):
        await inbox.next(0.01)
    waiting = asyncio.ensure_future(inbox.next())
    await asyncio.sleep(0)
    inbox.put(3)
    assert await asyncio.wait_for(waiting, SECONDS) == 3


def test_a_thread_gets_items_in_order_and_waits_no_longer_than_it_says() -> None:
    inbox: Inbox[int] = Inbox()
    inbox.put(1)
    inbox.put(2)
    assert [inbox.next(0), inbox.next(0), len(inbox)] == [1, 2, 0]
    with pytest.raises(TimeoutError):
        inbox.next(0.01)
    threading.Timer(0.01, inbox.put, (3,)).start()
    assert inbox.next(SECONDS) == 3


def test_a_thread_waits_in_slices_where_the_platform_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "SLICE_SECONDS", 0.01)
    inbox: Inbox[int] = Inbox()
    assert len(list(deadlines.slices(0.0))) == 1
    with pytest.raises(TimeoutError):
        inbox.next(0.03)
    threading.Timer(0.03, inbox.put, (1,)).start()
    assert inbox.next() == 1
    with deadlines.until(time.monotonic() + SECONDS):
        assert deadlines.finite(deadlines.remaining(math.inf)) is not None
    assert deadlines.finite(deadlines.remaining(math.inf)) is None


@pytest.mark.parametrize("kind", [AsyncInbox, Inbox])
def test_the_oldest_is_dropped_if_there_is_one(kind: type[AsyncInbox[int]] | type[Inbox[int]]) -> None:
    inbox = kind()
    inbox.drop_oldest()
    inbox.put(1)
    inbox.put(2)
    inbox.drop_oldest()
    assert len(inbox) == 1


def test_a_backlog_drops_the_oldest_and_tells_once() -> None:
    inbox: Inbox[AnyEvent | None] = Inbox()
    told: list[BaseException] = []
    backlog = Backlog(inbox, 2, told.append)
    for seq in range(1, 6):
        backlog.put(decode(token("x", seq=seq)))
    backlog.put(None)
    left = [inbox.next(0) for _ in range(len(inbox))]
    assert [event and event.seq for event in left] == [4, 5, None]
    assert [type(error) for error in told] == [OverflowError]


def test_a_backlog_without_a_bound_keeps_everything() -> None:
    inbox: Inbox[AnyEvent | None] = Inbox()
    backlog = Backlog(inbox, None, lambda error: pytest.fail(str(error)))
    for seq in range(1, 101):
        backlog.put(decode(token("x", seq=seq)))
    assert len(inbox) == 100
