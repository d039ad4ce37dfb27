"""The background loop: who uses it, and what becomes of those when it ends."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from digitorn_testing._concurrency.background_loop import BackgroundLoop, LoopStopped


@pytest.fixture
def background() -> Iterator[BackgroundLoop]:
    """A loop that one uses."""
    made = BackgroundLoop("loop-under-test")
    made.acquire()
    yield made
    made.release()
    made.release()
    assert not [one for one in threading.enumerate() if one.name == "loop-under-test"]


async def answer() -> str:
    return "here"


async def forever() -> None:
    await asyncio.Event().wait()


def test_the_last_user_ends_it(background: BackgroundLoop) -> None:
    assert background.acquire() is background.acquire()
    background.release()
    background.release()
    assert background.run(answer(), 5) == "here"
    background.release()
    assert not background.is_running
    with pytest.raises(ConnectionError, match="does not run in this process"):
        background.run(answer(), 5)
    background.acquire()
    assert background.run(answer(), 5) == "here"


def test_one_that_ended_by_itself_is_replaced(background: BackgroundLoop) -> None:
    thread = background._thread
    assert thread is not None
    loop = background.acquire()
    waiting = background.submit(forever())
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    assert waiting.cancelled()
    for _ in range(2):
        with pytest.raises(ConnectionError, match="does not run in this process"):
            background.run(answer(), 5)
    assert background.acquire() is not loop
    assert background.run(answer(), 5) == "here"
    background.release()
    background.release()


def test_those_who_wait_are_told_when_it_ends(background: BackgroundLoop) -> None:
    told: list[BaseException] = []
    begun = threading.Event()

    async def begin() -> None:
        begun.set()
        await forever()

    def wait() -> None:
        try:
            background.run(begin())
        except LoopStopped as error:
            told.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert begun.wait(5)
    background.release()
    thread.join(5)
    assert len(told) == 1


def test_what_it_never_came_to_does_not_hang(background: BackgroundLoop) -> None:
    loop, thread = background.acquire(), background._thread
    assert thread is not None

    def stop_then_submit() -> None:
        # Behind the stop: the loop ends before it comes to this.
        loop.stop()
        loop.call_soon(lambda: submitted.append(background.submit(answer())))

    submitted: list[object] = []
    loop.call_soon_threadsafe(stop_then_submit)
    thread.join(5)
    with pytest.raises((LoopStopped, ConnectionError)):
        background.run(answer())
    background.release()


def test_a_timeout_of_the_work_is_its_own(background: BackgroundLoop) -> None:
    async def late() -> None:
        raise TimeoutError("of the work")

    with pytest.raises(TimeoutError, match="of the work"):
        background.run(late(), 5)
    with pytest.raises(TimeoutError, match=r"^$"):
        background.run(forever(), 0.01)


def test_it_does_not_wait_for_itself(background: BackgroundLoop) -> None:
    async def wait() -> None:
        with pytest.raises(RuntimeError, match="on the event loop's own thread"):
            background.run(answer())

    background.run(wait(), 5)
