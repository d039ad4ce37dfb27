"""The background tasks of a stream end when it does."""

import asyncio
import time

from digitorn_testing._concurrency.deadlines import remaining, until
from digitorn_testing._stream.tasks import Tasks
from support.stream_parts import SECONDS


async def test_a_task_that_fails_is_reported() -> None:
    failures: list[BaseException] = []
    tasks = Tasks(failures.append)

    async def fail() -> None:
        raise LookupError("x")

    async with asyncio.timeout(SECONDS):
        await asyncio.wait({tasks.spawn(fail())})
    await asyncio.sleep(0)
    assert [type(error) for error in failures] == [LookupError]
    assert not tasks.running


async def test_the_end_cancels_tasks_and_lets_deliveries_finish() -> None:
    failures: list[BaseException] = []
    tasks = Tasks(failures.append)
    gate, done = asyncio.Event(), list[str]()

    async def deliver() -> None:
        await gate.wait()
        done.append("delivered")

    background = tasks.spawn(asyncio.sleep(SECONDS))
    tasks.deliver(deliver())
    await asyncio.sleep(0)
    gate.set()
    await tasks.end(SECONDS)
    assert (done, background.cancelled(), failures) == (["delivered"], True, [])
    assert not tasks.running
    assert not tasks.deliveries


async def test_a_delivery_that_hangs_is_cancelled_in_time() -> None:
    tasks = Tasks(lambda _: None)

    async def hang() -> None:
        await asyncio.Event().wait()

    tasks.deliver(hang())
    await asyncio.sleep(0)
    began = time.monotonic()
    await tasks.end(0.1)
    assert time.monotonic() - began < SECONDS / 2
    assert not tasks.running


async def test_a_task_may_end_the_others() -> None:
    tasks = Tasks(lambda _: None)
    tasks.spawn(asyncio.sleep(SECONDS))
    async with asyncio.timeout(SECONDS):
        await tasks.spawn(tasks.end(SECONDS))
    await asyncio.sleep(0)
    assert not tasks.running


async def test_a_task_does_not_keep_to_the_deadline_of_whoever_started_it() -> None:
    tasks, left = Tasks(lambda _: None), list[float]()

    async def look() -> None:
        left.append(remaining(1000))

    with until(time.monotonic() + 1):
        await tasks.spawn(look())
        assert remaining(1000) <= 1
    assert left == [1000]
