"""The streams that a client keeps open for its turns, one for each session."""

import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final, Generic, Protocol, TypeVar
from weakref import WeakValueDictionary

from digitorn_testing._client.locks import AsyncLock
from digitorn_testing._concurrency.latest import Latest
from digitorn_testing._errors import CallbackFailed
from digitorn_testing._handles import SessionHandle, SessionKey, session_key
from digitorn_testing._transport.affinity import LoopAffinity

IDLE_STREAMS = 16
"""How many streams without an open turn stay open for the next turn of their session."""

_MOST_DELETED: Final = 4096


class Shareable(Protocol):
    """What is asked of a stream here; `AsyncLiveEventStream` provides it."""

    @property
    def session(self) -> SessionHandle:
        """The session."""
        ...

    @property
    def is_usable(self) -> bool:
        """Whether it is open and belongs to this event loop."""
        ...

    @property
    def has_joined(self) -> bool:
        """Whether it has ever been in the session's room."""
        ...

    @property
    def has_open_turns(self) -> bool:
        """Whether a turn that it follows has not ended."""
        ...

    async def connect(self) -> None:
        """Connects, without joining the session."""
        ...

    async def drain(self, timeout: float) -> bool:
        """Waits until its open turns have ended."""
        ...

    async def stop(self) -> None:
        """Closes it."""
        ...


S = TypeVar("S", bound=Shareable)


class AsyncSharedStreams(Generic[S]):
    """Opens, shares and closes the streams that the turns of one client are read from.

    All turns of a session share one stream. Messages to one session are sent one after the other, under the
    session's lock; different sessions do not wait for each other.

    Attributes:
        affinity: The process and event loop that the streams belong to.
    """

    def __init__(self) -> None:
        self.affinity = LoopAffinity()
        # In order of use: the least recently used stream is the first.
        self._streams: dict[SessionKey, S] = {}
        # A lock lives as long as somebody holds it or waits for it.
        self._locks: WeakValueDictionary[SessionKey, AsyncLock] = WeakValueDictionary()
        self._making = threading.Lock()
        self._deleted: Latest[SessionKey, None] = Latest(_MOST_DELETED)

    def after_fork(self) -> None:
        """Forgets the streams in a forked child: the parent still uses them."""
        self._locks, self._streams = WeakValueDictionary(), {}
        self._making = threading.Lock()

    @asynccontextmanager
    async def sharing(
        self, session: SessionHandle, seconds: float, make: Callable[[SessionHandle], S]
    ) -> AsyncGenerator[S]:
        """Holds the session's lock and gives its stream, connected.

        If the block raises before the session was joined, the stream is closed. Afterwards surplus idle
        streams are closed.

        Args:
            session: The session.
            seconds: How long to wait for the lock.
            make: Makes a stream if the session has no usable one; it is connected here.

        Raises:
            EventTimeout: Another message to the session was still being sent after that time.
            DaemonUnreachable: The stream could not connect.
        """
        async with self._lock_of(session).within(seconds):
            stream = await self._connected(session, make)
            try:
                yield stream
            except BaseException:
                if not stream.has_joined and not stream.has_open_turns:
                    await self._drop(session)
                raise
        await self._close_idle()

    async def delete(self, session: SessionHandle, seconds: float) -> None:
        """Notes that the session was deleted, and closes its stream once its open turns have ended.

        Args:
            session: The session.
            seconds: How long to wait for the open turns; the daemon still reports how it cut them off.
        """
        self._deleted[session_key(session)] = None
        stream = self._streams.get(session_key(session))
        if stream is not None:
            await stream.drain(seconds)
        await self._drop(session)

    def is_deleted(self, session: SessionHandle) -> bool:
        """Whether this client deleted the session."""
        return session_key(session) in self._deleted

    async def stop(self) -> CallbackFailed | None:
        """Closes all streams.

        Returns:
            The first failure of a callback that a stream reported, None if there was none.
        """
        streams, self._streams = list(self._streams.values()), {}
        failed: CallbackFailed | None = None
        for stream in streams:
            try:
                await stream.stop()
            except CallbackFailed as error:
                failed = failed or error
        return failed

    def _lock_of(self, session: SessionHandle) -> AsyncLock:
        if self.affinity.moved():
            # Whoever held a lock ended with the other process or event loop.
            self._locks.clear()
        with self._making:
            return self._locks.setdefault(session_key(session), AsyncLock(session.session_id))

    async def _connected(self, session: SessionHandle, make: Callable[[SessionHandle], S]) -> S:
        key = session_key(session)
        stream = self._streams.pop(key, None)
        if stream is None or not stream.is_usable:
            stream = make(session)
            await stream.connect()
        self._streams[key] = stream
        return stream

    async def _close_idle(self) -> None:
        idle = [one for one in list(self._streams.values()) if not one.has_open_turns]
        for stream in idle[:-IDLE_STREAMS]:
            lock = self._lock_of(stream.session)
            if not await lock.take(0.0):
                # A message is being sent over it.
                continue
            try:
                # Since then a turn may have begun, or another stream may have replaced it.
                if not stream.has_open_turns and self._streams.get(session_key(stream.session)) is stream:
                    await self._drop(stream.session)
            finally:
                lock.release()

    async def _drop(self, session: SessionHandle) -> None:
        stream = self._streams.pop(session_key(session), None)
        if stream is not None:
            await stream.stop()
