"""A server that answers every call alike, after a while, and counts how many it has before it."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, cast

from digitorn_testing._concurrency.background_loop import BackgroundLoop

_SECONDS: Final = 15.0
_QUIET_SECONDS: Final = 3.0
_MORE_SECONDS: Final = 0.2
_BODY: Final = b'{"success":true,"data":[]}'
_ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(_BODY) + _BODY
)


class Server:
    """Set from any thread.

    Attributes:
        seconds: How long each call is held.
        gathers: How many calls to hold until as many are there, or no more come; 0 for none.
        most: The most calls that were held at once since it was last set to 0.
        url: Where it listens.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.gathers = 0
        self.most = 0
        self.url = ""
        self._held: set[_Connection] = set()
        self._quiet: asyncio.TimerHandle | None = None

    async def serve(self) -> asyncio.Server:
        """Begins to listen on a free port."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=1024)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    def take(self, connection: "_Connection") -> None:
        """Takes a call."""
        self._held.add(connection)
        self.most = max(self.most, len(self._held))
        loop = asyncio.get_running_loop()
        if not self.gathers:
            loop.call_later(self.seconds, self._answer, connection)
            return
        if self._quiet is not None:
            self._quiet.cancel()
        seconds = _QUIET_SECONDS if len(self._held) < self.gathers else _MORE_SECONDS
        self._quiet = loop.call_later(seconds, self._answer_all)

    def _answer_all(self) -> None:
        self.gathers = 0
        for connection in list(self._held):
            self._answer(connection)

    def _answer(self, connection: "_Connection") -> None:
        if connection in self._held:
            self._held.discard(connection)
            connection.answer()

    def lose(self, connection: "_Connection") -> None:
        """Forgets a call whose connection is gone."""
        self._held.discard(connection)


class _Connection(asyncio.Protocol):
    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._head += data
        if self._head.endswith(b"\r\n\r\n"):
            self._head = b""
            self._server.take(self)

    def answer(self) -> None:
        """Answers the call."""
        if self._transport is not None:
            self._transport.write(_ANSWER)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.lose(self)


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
