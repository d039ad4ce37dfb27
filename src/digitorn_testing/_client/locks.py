"""A session's lock in both faces, under names that the sync twin can translate."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress

from digitorn_testing._concurrency.deadlines import finite, slices
from digitorn_testing._errors import EventTimeout
from digitorn_testing._texts import in_seconds


def _busy(session_id: str, seconds: float) -> EventTimeout:
    return EventTimeout(
        f"another message to session {session_id!r} is still being sent after {in_seconds(seconds)}"
    )


class AsyncLock:
    """Lets one message at a time be sent to a session, among the tasks of an event loop.

    Args:
        session_id: The session.
    """

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self._lock = asyncio.Lock()

    async def take(self, seconds: float) -> bool:
        """Takes the lock; False if it was not free in time.

        Args:
            seconds: How long to wait.
        """
        try:
            async with asyncio.timeout(finite(seconds)):
                return await self._lock.acquire()
        except TimeoutError:
            return False

    def release(self) -> None:
        """Releases the lock."""
        self._lock.release()

    @asynccontextmanager
    async def within(self, seconds: float) -> AsyncGenerator[None]:
        """Holds the lock during the block.

        Args:
            seconds: How long to wait for it.

        Raises:
            EventTimeout: The lock was not free in time.
        """
        if not await self.take(seconds):
            raise _busy(self._session_id, seconds)
        try:
            yield
        finally:
            self.release()


class Lock:
    """Lets one message at a time be sent to a session, among threads.

    Args:
        session_id: The session.
    """

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        # It knows the thread that has it.
        self._lock = threading.RLock()

    def take(self, seconds: float) -> bool:
        """Takes the lock; False if it was not free in time.

        Args:
            seconds: How long to wait.
        """
        return any(self._lock.acquire(timeout=part) for part in slices(seconds))

    def release(self) -> None:
        """Releases the lock."""
        self._lock.release()

    @contextmanager
    def within(self, seconds: float) -> Generator[None]:
        """Holds the lock during the block.

        Args:
            seconds: How long to wait for it.

        Raises:
            EventTimeout: The lock was not free in time.
        """
        try:
            if not self.take(seconds):
                raise _busy(self._session_id, seconds)
            yield
        finally:
            # Whatever Ctrl-C interrupted: it is released if this thread has it.
            with suppress(RuntimeError):
                self.release()
