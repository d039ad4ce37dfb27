"""Carries REST calls over a few connections to one daemon.

The pool of httpcore loses a place with each call that is cancelled while it connects or closes. Here nothing
is awaited to give a connection back, so that there is no moment at which a cancellation could lose it.
"""

import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Final

import h11
import httpx

from digitorn_testing._transport.http1 import Http1
from digitorn_testing._transport.lines import AsyncLine, AsyncLines, AsyncSlots, Slot

_MOST_CONNECTIONS: Final = 100
_MOST_IDLE: Final = 20
# The daemon closes an idle connection after 5 seconds; no call should meet that.
_IDLE_SECONDS: Final = 3.0


class AsyncHttp(httpx.AsyncBaseTransport):
    """The connections to one daemon.

    Args:
        tls: TLS settings; None where there is no TLS.
    """

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._lines = AsyncLines(tls)
        self._slots = AsyncSlots(_MOST_CONNECTIONS)
        self._idle: deque[_Connection] = deque()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Sends a request; the caller reads the body of the answer, and closes it."""
        limits: Mapping[str, float | None] = request.extensions["timeout"]
        slot = await self._slots.take(limits["pool"])
        connection: _Connection | None = None
        try:
            connection = self._idle_connection()
            if connection is None:
                connection = _Connection(await self._lines.open(request.url, limits["connect"]))
            answer = await connection.exchange(request, limits)
            body = _Body(connection, limits["read"], partial(self._take_back, connection, slot))
        except BaseException:
            self._take_back(connection, slot)
            raise
        return httpx.Response(
            answer.status_code,
            headers=answer.headers.raw_items(),
            stream=body,
            extensions={
                "http_version": b"HTTP/" + answer.http_version,
                "reason_phrase": bytes(answer.reason),
            },
        )

    def _idle_connection(self) -> "_Connection | None":
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if time.monotonic() < connection.expires_at and not connection.line.is_stale:
                return connection
            self._lines.drop(connection.line)

    def _take_back(self, connection: "_Connection | None", slot: Slot) -> None:
        """Ends a call. Its connection is kept for another one if it can be, and closed otherwise."""
        if connection is not None:
            if not self._lines.is_closed and len(self._idle) < _MOST_IDLE and connection.http.begin_next():
                connection.expires_at = time.monotonic() + _IDLE_SECONDS
                self._idle.append(connection)
            else:
                self._lines.drop(connection.line)
        slot.give()

    async def aclose(self) -> None:
        """Closes the connections. Otherwise the event loop does so when it shuts down."""
        self._idle.clear()
        await self._lines.aclose()


class _Connection:
    def __init__(self, line: AsyncLine) -> None:
        self.line = line
        self.http = Http1()
        self.expires_at = 0.0

    async def exchange(self, request: httpx.Request, limits: Mapping[str, float | None]) -> h11.Response:
        """Sends a request and returns the head of its answer."""
        # A server may answer and close before it has read all of a request; its answer says why.
        with suppress(httpx.WriteError):
            await self._send(request, limits["write"])
        while (answer := self.http.answer()) is None:
            self.http.receive(await self.line.read(limits["read"]))
        return answer

    async def _send(self, request: httpx.Request, limit: float | None) -> None:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        waiting = self.http.head(request.method, request.url.raw_path, request.headers.raw)
        async for part in request.stream:
            await self.line.write(waiting + self.http.data(part), limit)
            waiting = b""
        if waiting := waiting + self.http.end():
            await self.line.write(waiting, limit)


class _Body(httpx.AsyncByteStream):
    """The body of an answer.

    Args:
        connection: The connection that it comes over.
        limit: Maximum seconds for each read.
        done: Ends the call.
    """

    def __init__(self, connection: _Connection, limit: float | None, done: Callable[[], None]) -> None:
        self._connection = connection
        self._limit = limit
        self._done = done
        self._is_done = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        http, line = self._connection.http, self._connection.line
        while (part := http.body()) != b"":
            if part is None:
                http.receive(await line.read(self._limit))
            else:
                yield part

    async def aclose(self) -> None:
        """Ends the call, whether the body was read or not."""
        if not self._is_done:
            self._is_done = True
            self._done()
