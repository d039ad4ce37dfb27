"""Deadlines that apply to every call made within them, and sleeping in both faces."""

import asyncio
import time
from contextlib import AbstractContextManager
from contextvars import Context, ContextVar, copy_context

_DEADLINE: ContextVar[float | None] = ContextVar("digitorn_testing_deadline", default=None)


async def asleep(seconds: float) -> None:
    """Pauses the task."""
    await asyncio.sleep(seconds)


def sleep(seconds: float) -> None:
    """Pauses the thread."""
    time.sleep(seconds)


def until(deadline: float) -> AbstractContextManager[None]:
    """Sets a deadline for every call in the block, on this thread or task. A nearer outer one stays in force.

    Args:
        deadline: Time on the monotonic clock, in seconds.
    """
    return _Until(deadline)


class _Until:
    """A class, which costs a third of a context manager made from a generator: every call enters two."""

    __slots__ = ("_deadline", "_reset")

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline

    def __enter__(self) -> None:
        outer = _DEADLINE.get()
        self._reset = _DEADLINE.set(self._deadline if outer is None else min(outer, self._deadline))

    def __exit__(self, *_: object) -> None:
        _DEADLINE.reset(self._reset)


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
