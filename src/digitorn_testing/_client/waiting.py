"""Deadlines of the client's calls, and the pauses between polls of a daemon that announces nothing."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from digitorn_testing._concurrency.backoff import Backoff
from digitorn_testing._concurrency.deadlines import checked, until
from digitorn_testing._errors import DaemonUnreachable, EventTimeout
from digitorn_testing._texts import in_seconds

POLLS: Final = Backoff(first_pause=0.03, growth=1.6, longest_pause=3.2, jitter=0.0)
"""The pauses between polls; see `Pauses`.

They make 28 polls in the first minute. After 30 answers 404 within a minute the daemon refuses the path.
"""


@contextmanager
def in_time(limit: float, missed: Callable[[], str] = lambda: "the turn did not end") -> Generator[None]:
    """Gives the block a deadline.

    Args:
        limit: Seconds from now.
        missed: Says what did not happen in time; called only when the deadline has passed.

    Raises:
        EventTimeout: A call inside was cut off by the deadline.
    """
    deadline = time.monotonic() + checked(limit)
    try:
        with until(deadline):
            yield
    except DaemonUnreachable as error:
        if time.monotonic() < deadline:
            raise
        raise EventTimeout(f"{missed()} within {in_seconds(limit)}: {error}") from error
