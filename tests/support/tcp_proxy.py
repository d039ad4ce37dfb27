"""A TCP proxy between a client and a daemon, that cuts, resets, stalls and throttles.

What PyPI has does not do this here: of the packages for it one asks for Python 3.14, others are clients of a
server in Go or forward without a way to stall or reset, and mitmproxy does not agree with the versions that
the checks run with. Network namespaces need root.
"""

import asyncio
import socket
import struct
from collections.abc import Generator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

from digitorn_testing._concurrency.background_loop import BackgroundLoop

_SECONDS = 15.0
_CHUNK = 65536
_NO_LINGER = struct.pack("ii", 1, 0)


class TcpProxy:
    """Forwards every connection to a port of this machine, on a thread of its own.

    Args:
        port: The port.
        host: Where it listens.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._to = port
        self._host = host
        self._loop = BackgroundLoop("tcp-proxy")
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._opened: WeakSet[asyncio.WriteTransport] = WeakSet()
        self._pumps: set[asyncio.Task[Any]] = set()
        self._flows: asyncio.Event | None = None
        self._bytes_per_second: float | None = None
        self.port = 0
        self.accepted = 0
        """How many connections there were."""

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._loop.acquire()
        self._loop.run(self._start(), _SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._loop.run(self._stop(), _SECONDS)
        finally:
            self._loop.release()

    # --- what it does to the connections

    def cut(self) -> None:
        """Ends every connection in order, on both sides."""
        self._loop.run(self._end(reset=False), _SECONDS)

    def reset(self) -> None:
        """Breaks every connection with a reset, on both sides."""
        self._loop.run(self._end(reset=True), _SECONDS)

    @contextmanager
    def stalled(self) -> Generator[None]:
        """Forwards nothing, while connections stand and new ones are accepted: they are half open."""
        self._loop.run(self._set_flow(flows=False), _SECONDS)
        try:
            yield
        finally:
            self._loop.run(self._set_flow(flows=True), _SECONDS)

    @contextmanager
    def throttled(self, bytes_per_second: float) -> Generator[None]:
        """Forwards slowly."""
        self._bytes_per_second = bytes_per_second
        try:
            yield
        finally:
            self._bytes_per_second = None

    # --- on the thread of its own

    async def _start(self) -> None:
        self._flows = asyncio.Event()
        self._flows.set()
        self._server = await asyncio.start_server(self._accept, self._host, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
        # What was accepted just now has not begun yet.
        await asyncio.sleep(0)
        while self._pumps:
            for pump in self._pumps:
                pump.cancel()
            await asyncio.wait(self._pumps)
        # One that is closed stays open until its peer has read what was sent, which it may never do.
        for transport in list(self._opened):
            transport.abort()
        await asyncio.sleep(0)

    async def _set_flow(self, *, flows: bool) -> None:
        assert self._flows is not None
        if flows:
            self._flows.set()
        else:
            self._flows.clear()

    async def _end(self, *, reset: bool) -> None:
        for writer in list(self._writers):
            if writer.transport.is_closing():
                continue
            if reset:
                made: socket.socket = writer.get_extra_info("socket")
                made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
                writer.transport.abort()
            else:
                writer.close()
        # Transports tell their end on the next round of the loop.
        await asyncio.sleep(0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        accepting = asyncio.current_task()
        assert accepting is not None
        self._pumps.add(accepting)
        self._opened.add(writer.transport)
        try:
            back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._to)
        except (OSError, asyncio.CancelledError):
            writer.close()
            return
        finally:
            self._pumps.discard(accepting)
        self._opened.add(back_writer.transport)
        self._writers |= {writer, back_writer}
        for one, other in ((reader, back_writer), (back_reader, writer)):
            pump = asyncio.create_task(self._pump(one, other))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._flows is not None
        with suppress(OSError):
            try:
                while chunk := await reader.read(_CHUNK):
                    await self._flows.wait()
                    if self._bytes_per_second is not None:
                        await asyncio.sleep(len(chunk) / self._bytes_per_second)
                    writer.write(chunk)
                    await writer.drain()
            finally:
                self._writers.discard(writer)
                writer.close()
