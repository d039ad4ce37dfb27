"""What the other tests run calls beside themselves with."""

import pytest

from support.faces import AsyncBackground, AsyncSignal


async def fail() -> None:
    raise ValueError("no")


async def test_what_no_result_told_of_is_raised_at_the_end() -> None:
    with pytest.raises(ValueError, match="no"):
        async with AsyncBackground() as background:
            await background.start(fail)


async def test_what_a_result_told_of_is_not_raised_again() -> None:
    async with AsyncBackground() as background:
        failing = await background.start(fail)
        with pytest.raises(ValueError, match="no"):
            await failing.result(timeout=5)


async def test_a_failing_test_keeps_its_own_error() -> None:
    async def failing_test() -> None:
        async with AsyncBackground() as background:
            await background.start(fail)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await failing_test()


async def test_a_result_is_waited_for_no_longer_than_asked() -> None:
    release = AsyncSignal()
    async with AsyncBackground() as background:
        waiting = await background.start(release.wait, 10)
        with pytest.raises(TimeoutError):
            await waiting.result(timeout=0.05)
        release.set()
        assert await waiting.result(timeout=5)
