"""Deadlines that apply to every call made within them, time limits, and sleeping in both faces."""

import asyncio
import math
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextvars import Context, ContextVar, copy_context
from typing import Final

SLICE_SECONDS: Final = 1.0 if sys.platform == "win32" else 3600.0
"""The longest single wait of a thread. On Windows, Ctrl-C interrupts no wait for a lock or socket."""

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

    Raises:
        ValueError: The limit is negative or no number.
    """
    limit, deadline = checked(limit), _DEADLINE.get()
    return max(0.0, limit if deadline is None else min(limit, deadline - time.monotonic()))


def checked(seconds: float) -> float:
    """A time limit as a caller gave it.

    Args:
        seconds: The limit; `math.inf` for none.

    Raises:
        ValueError: It is negative or no number.
    """
    if not seconds >= 0:
        raise ValueError(f"a timeout must be 0 or more seconds, or math.inf for no limit; not {seconds!r}")
    return seconds


def finite(seconds: float) -> float | None:
    """A time limit for those who want None where there is none."""
    return None if seconds == math.inf else seconds


def slices(seconds: float) -> Iterator[float]:
    """The parts of one wait of a thread, so that Ctrl-C is noticed on every platform.

    A thread that waits for a lock, a queue, a socket or another thread waits for each part in turn.

    Args:
        seconds: How long the whole wait may take; `math.inf` for any time.
    """
    deadline = time.monotonic() + seconds
    left = seconds
    while left > SLICE_SECONDS:
        yield SLICE_SECONDS
        left = deadline - time.monotonic()
    yield max(0.0, left)


def join(thread: threading.Thread, seconds: float) -> None:
    """Waits for the end of a thread; whoever calls looks whether it came.

    Args:
        thread: The thread.
        seconds: How long to wait.
    """
    for part in slices(seconds):
        thread.join(part)
        if not thread.is_alive():
            return
