"""What stands between a client and a daemon: a server that has the daemon below a path of its own."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Final

from digitorn_testing._concurrency.background_loop import BackgroundLoop

_SECONDS: Final = 15.0
_CHUNK: Final = 65536
_NOT_HERE: Final = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


class Gateway:
    """Forwards what comes below a path, without that path, and answers everything else by itself.

    Args:
        port: Port of the daemon on this machine.
        path: The path, with a slash at its beginning and none at its end.
        loop: Runs it.

    Attributes:
        upgrade: What a request for a WebSocket is answered; None lets it through.
        elsewhere: The requests that were not below the path, whole.
        posted_to: The session that messages to another one are sent to, by the id of that other one.
    """

    def __init__(self, port: int, path: str, loop: BackgroundLoop) -> None:
        self._to = port
        self._loop = loop
        self._path = path.encode()
        self._writers: set[asyncio.StreamWriter] = set()
        self.upgrade: bytes | None = None
        self.elsewhere: list[bytes] = []
        self.posted_to: dict[str, str] = {}
        self.url = ""

    async def serve(self) -> asyncio.Server:
        """Begins to listen on a free port."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{self._path.decode()}"
        return server

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The streams of asyncio log a task that ends by its cancellation.
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._forward(reader, writer)
        writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers |= {writer, back_writer}
        answers = asyncio.create_task(_pump(back_reader, writer))
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                method, target, rest = head.split(b" ", 2)
                if not target.startswith(self._path + b"/"):
                    self.elsewhere.append(head + await reader.readexactly(_length(head)))
                    writer.write(_NOT_HERE)
                    continue
                is_upgrade = b"\r\nupgrade: websocket" in head.lower()
                if is_upgrade and self.upgrade is not None:
                    writer.write(self.upgrade)
                    return
                if method == b"POST":
                    for proposed, actual in self.posted_to.items():
                        target = target.replace(f"/{proposed}/".encode(), f"/{actual}/".encode())
                back_writer.write(b" ".join((method, target.removeprefix(self._path), rest)))
                back_writer.write(await reader.readexactly(_length(head)))
                if is_upgrade:
                    await _pump(reader, back_writer)
        finally:
            back_writer.close()
            answers.cancel()
            self._writers -= {writer, back_writer}

    async def cut_all(self) -> None:
        """Cuts all connections; on the gateway's own thread."""
        for writer in list(self._writers):
            writer.transport.abort()

    def cut(self) -> None:
        """Cuts all connections."""
        self._loop.run(self.cut_all(), _SECONDS)


def _length(head: bytes) -> int:
    fields = (line.partition(b":") for line in head.lower().split(b"\r\n"))
    return next((int(value) for name, _, value in fields if name == b"content-length"), 0)


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await source.read(_CHUNK):
            target.write(chunk)
            await target.drain()


@contextmanager
def gateway(port: int, path: str = "") -> Generator[Gateway]:
    """A gateway on a thread of its own.

    Args:
        port: Port of the daemon on this machine.
        path: The path below which the daemon is.
    """
    loop = BackgroundLoop("gateway")
    between = Gateway(port, path, loop)
    loop.acquire()

    async def close(server: asyncio.Server) -> None:
        server.close()
        await between.cut_all()

    try:
        server = loop.run(between.serve(), _SECONDS)
        yield between
        loop.run(close(server), _SECONDS)
    finally:
        loop.release()
