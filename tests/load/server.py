"""A server that answers every call alike, after a while, and counts how many it has before it."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, cast

from digitorn_testing._concurrency.background_loop import BackgroundLoop

_SECONDS: Final = 15.0
_BODY: Final = b'{"success":true,"data":[]}'
_ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(_BODY) + _BODY
)


class Server:
    """Set from any thread.

    Attributes:
        seconds: How long each call is held.
        most: The most calls that were held at once since it was last set to 0.
        url: Where it listens.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.most = 0
        self.url = ""
        self.held: set[asyncio.TimerHandle] = set()

    async def serve(self) -> asyncio.Server:
        """Begins to listen on a free port."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=1024)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server


class _Connection(asyncio.Protocol):
    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._answering: asyncio.TimerHandle | None = None
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._head += data
        if self._head.endswith(b"\r\n\r\n"):
            self._head = b""
            loop, held = asyncio.get_running_loop(), self._server.held
            self._answering = loop.call_later(self._server.seconds, self._answer)
            held.add(self._answering)
            self._server.most = max(self._server.most, len(held))

    def _answer(self) -> None:
        self._forget()
        if self._transport is not None:
            self._transport.write(_ANSWER)

    def _forget(self) -> None:
        if self._answering is not None:
            self._answering.cancel()
            self._server.held.discard(self._answering)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()


@contextmanager
def serving() -> Generator[Server]:
    """A server on a thread of its own."""
    server, loop = Server(), BackgroundLoop("load")
    loop.acquire()
    try:
        listening = loop.run(server.serve(), _SECONDS)
        yield server

        async def close() -> None:
            listening.close()

        loop.run(close(), _SECONDS)
    finally:
        loop.release()
