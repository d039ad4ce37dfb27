"""Deadlines that apply to every call made within them, and sleeping in both faces."""

import asyncio
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context

_DEADLINE: ContextVar[float | None] = ContextVar("digitorn_testing_deadline", default=None)


async def asleep(seconds: float) -> None:
    """Pauses the task."""
    await asyncio.sleep(seconds)


def sleep(seconds: float) -> None:
    """Pauses the thread."""
    time.sleep(seconds)


@contextmanager
def until(deadline: float) -> Generator[None]:
    """Sets a deadline for every call in the block, on this thread or task. A nearer outer one stays in force.

    Args:
        deadline: Time on the monotonic clock, in seconds.
    """
    outer = _DEADLINE.get()
    reset = _DEADLINE.set(deadline if outer is None else min(outer, deadline))
    try:
        yield
    finally:
        _DEADLINE.reset(reset)


def unbounded() -> Context:
    """A context without a deadline, for tasks that outlive the call that starts them."""
    context = copy_context()
    context.run(_DEADLINE.set, None)
    return context


def remaining(limit: float) -> float:
    """Seconds that a call may take: its own limit, or less if the deadline is nearer. Never negative.

    Args:
        limit: The call's own limit in seconds.
    """
    deadline = _DEADLINE.get()
    return max(0.0, limit if deadline is None else min(limit, deadline - time.monotonic()))
