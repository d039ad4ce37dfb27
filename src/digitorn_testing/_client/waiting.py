"""Deadlines of the client's calls, and the pauses between polls of a daemon that announces nothing."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

from digitorn_testing._concurrency.deadlines import until
from digitorn_testing._errors import DaemonUnreachable, EventTimeout

_FIRST, _LONGEST, _GROWTH = 0.02, 1.0, 1.5


def poll_pauses() -> Iterator[float]:
    """Seconds to wait before each next poll, with exponential backoff and without an end."""
    pause = _FIRST
    while True:
        yield pause
        pause = min(pause * _GROWTH, _LONGEST)


@contextmanager
def in_time(limit: float, missed: Callable[[], str] = lambda: "the turn did not end") -> Generator[None]:
    """Gives the block a deadline.

    Args:
        limit: Seconds from now.
        missed: Says what did not happen in time; called only when the deadline has passed.

    Raises:
        EventTimeout: A call inside was cut off by the deadline.
    """
    deadline = time.monotonic() + limit
    try:
        with until(deadline):
            yield
    except DaemonUnreachable as error:
        if time.monotonic() < deadline:
            raise
        raise EventTimeout(f"{missed()} within {limit:g} s") from error
