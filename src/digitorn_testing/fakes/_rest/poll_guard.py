"""Refuses clients that go on asking for what is not there (contract: rest, section 1.6)."""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

MOST_MISSES: Final = 30
"""How many answers of 404 a client gets for one path before it is refused."""

WINDOW: Final = 60.0
"""Seconds until a miss is forgotten."""


class PollGuard:
    """Counts the answers of 404 of each client and path. It is used on one thread.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._misses: dict[tuple[str, str], deque[float]] = {}

    def refuses(self, client: str, path: str) -> bool:
        """Whether a client has missed too often to be answered."""
        misses = self._misses.get((client, path))
        if misses is None:
            return False
        while misses and misses[0] <= self._clock() - WINDOW:
            misses.popleft()
        if not misses:
            del self._misses[client, path]
        return len(misses) >= MOST_MISSES

    def missed(self, client: str, path: str) -> None:
        """Notes an answer of 404."""
        self._misses.setdefault((client, path), deque()).append(self._clock())
