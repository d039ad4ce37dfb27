"""Pauses between polls of what cannot be waited on."""

import asyncio
import time


async def asleep(seconds: float) -> None:
    """Pauses the task."""
    await asyncio.sleep(seconds)


def sleep(seconds: float) -> None:
    """Pauses the thread."""
    time.sleep(seconds)
