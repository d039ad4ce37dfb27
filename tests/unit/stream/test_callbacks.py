"""Callbacks get what arrives, in order, wherever they run; what they raise is collected."""

import asyncio
import gc
import threading
import weakref
from typing import Any

import pytest

from digitorn_testing import LiveEvent
from digitorn_testing._log.log import EventLog
from digitorn_testing._stream.callbacks import CallbackErrors, Callbacks, ThreadCallbacks, is_cancelled
from digitorn_testing._stream.tasks import Tasks
from digitorn_testing.events import Token
from support.frames import SESSION, message, token
from support.stream_parts import SECONDS


class Stream:
    """The callbacks of a stream that is fed by hand."""

    def __init__(self, max_events: int | None = None) -> None:
        self.log = EventLog(session_id=SESSION, max_events=max_events)
        self.errors = CallbackErrors(SESSION)
        self.tasks = Tasks(self.log.close)
        self.callbacks = Callbacks(self.log, self.tasks, self.errors)

    async def stop(self) -> None:
        """Ends the log, and lets the callbacks have what arrived before."""
        self.log.close(RuntimeError("over"))
        await self.tasks.end(SECONDS)


async def test_a_callback_gets_every_event_of_its_type_in_order_before_the_end() -> None:
    stream, heard = Stream(), list[int]()

    async def slow(event: LiveEvent[Token]) -> None:
        await asyncio.sleep(0)
        heard.append(event.seq)

    stream.callbacks.add(Token, slow)
    for seq in (1, 2, 3):
        stream.log.feed(token("x", seq=seq))
    stream.log.feed(message("message_done", seq=4, fast_path=True))
    await stream.stop()
    assert heard == [1, 2, 3]


async def test_a_callback_that_raises_is_reported_and_goes_on() -> None:
    stream, heard = Stream(), list[int]()

    def fail(event: LiveEvent[Token]) -> None:
        heard.append(event.seq)
        raise LookupError(event.seq)

    stream.callbacks.add("token", fail)
    for seq in (1, 2):
        stream.log.feed(token("x", seq=seq))
    await stream.stop()
    assert heard == [1, 2]
    assert [str(error).rpartition("raised ")[2] for error in stream.errors.errors] == [
        "LookupError: 1",
        "LookupError: 2",
    ]


async def test_a_callback_that_falls_behind_misses_the_oldest_and_is_told_once() -> None:
    stream, heard = Stream(max_events=3), list[int]()
    stream.callbacks.add(Token, lambda event: heard.append(event.seq))
    for seq in range(1, 11):
        stream.log.feed(token("x", seq=seq))
    await stream.stop()
    assert heard == [8, 9, 10]
    assert [str(error).count("max_events=3 events behind") for error in stream.errors.errors] == [1]


async def test_only_the_stream_holds_a_callback() -> None:
    stream = Stream()

    def callback(event: LiveEvent[Token]) -> None: ...

    stream.callbacks.add(Token, callback)
    log, tasks, errors = stream.log, stream.tasks, stream.errors
    reference = weakref.ref(callback)
    del stream, callback
    gc.collect()
    assert reference() is None
    log.feed(token("x", seq=1))
    # It finds nobody when something arrives, and ends.
    async with asyncio.timeout(SECONDS):
        await asyncio.wait(set(tasks.running))
    assert errors.errors == []


async def test_an_awaited_task_that_was_cancelled_is_not_a_cancellation_of_the_callback() -> None:
    stream = Stream()

    async def cancelled(event: LiveEvent[Token]) -> None:
        assert not is_cancelled()
        raise asyncio.CancelledError

    stream.callbacks.add(Token, cancelled)
    stream.log.feed(token("x", seq=1))
    await stream.stop()
    assert "CancelledError" in str(stream.errors.errors[0])


def test_no_more_than_a_hundred_errors_are_kept() -> None:
    errors = CallbackErrors(SESSION)
    for number in range(200):
        errors.report("it", ValueError(number))
    assert len(errors.errors) == 100


# --- on a thread


def test_a_thread_calls_all_callbacks_one_after_the_other() -> None:
    log, errors = EventLog(session_id=SESSION), CallbackErrors(SESSION)
    callbacks = ThreadCallbacks(log, errors, SESSION)
    heard: list[tuple[str, int, bool]] = []

    def note(name: str, event: LiveEvent[Any]) -> None:
        heard.append((name, event.seq, threading.current_thread() is threading.main_thread()))

    callbacks.add(Token, lambda event: note("a", event))
    callbacks.add("message_done", lambda event: note("b", event))
    log.feed(token("x", seq=1))
    log.feed(message("message_done", seq=2, fast_path=True))
    callbacks.stop(SECONDS)
    assert heard == [("a", 1, False), ("b", 2, False)]


def test_a_thread_reports_what_callbacks_raise() -> None:
    log, errors = EventLog(session_id=SESSION), CallbackErrors(SESSION)
    callbacks = ThreadCallbacks(log, errors, SESSION)
    heard: list[int] = []

    def fail(event: LiveEvent[Token]) -> None:
        heard.append(event.seq)
        pytest.fail("this fails the test")

    callbacks.add(Token, fail)
    for seq in (1, 2):
        log.feed(token("x", seq=seq))
    callbacks.stop(SECONDS)
    assert (heard, len(errors.errors)) == ([1, 2], 2)
