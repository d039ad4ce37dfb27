"""The sender: one process that serves every receiver the same bytes, prepared before the clock starts.

    python -m benchmarks.sender

Prints its URL, and serves until its input is closed. It speaks as much of WebSocket, Engine.IO and Socket.IO
as a client needs to connect and join, and sends the events when `/go` is called: whole WebSocket frames in
large pieces, as fast as the receiver takes them. At `/raw` the frames are the envelopes alone, without
Socket.IO.
"""

import asyncio
import base64
import contextlib
import hashlib
import re
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qs, urlsplit

from . import frames
from .answers_served import answer
from .measuring import ROOT

_KEY_SUFFIX: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_PIECE: Final = 256 * 1024
_TEXT: Final = 1
_CLOSE: Final = 8
_OPEN: Final = (
    '0{"sid":"bench","upgrades":[],"pingInterval":300000,"pingTimeout":300000,"maxPayload":100000000}'
)
_NAMESPACE: Final = "/events"
_COMMAND: Final = re.compile(rf'42{_NAMESPACE},(\d+)\["join_session"')


def _frame(text: str) -> bytes:
    body = text.encode()
    if len(body) < 126:
        return bytes((0x80 | _TEXT, len(body))) + body
    if len(body) < 65536:
        return bytes((0x80 | _TEXT, 126)) + len(body).to_bytes(2) + body
    return bytes((0x80 | _TEXT, 127)) + len(body).to_bytes(8) + body


@lru_cache(maxsize=8)
def _prepared(count: int, is_raw: bool) -> tuple[bytes, ...]:
    """The events as WebSocket frames, in pieces."""
    texts = map(frames.compact, frames.envelopes(count))
    stream = b"".join(_frame(one if is_raw else f'42{_NAMESPACE},["event",{one}]') for one in texts)
    return tuple(stream[start : start + _PIECE] for start in range(0, len(stream), _PIECE))


class _Peer:
    """The connections that wait for events."""

    def __init__(self) -> None:
        self._waiting: list[tuple[asyncio.StreamWriter, bool]] = []
        self._sending: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().split("\r\n")
                url = urlsplit(first.split(" ")[1])
                headers = {
                    name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)
                }
                if "sec-websocket-key" in headers:
                    await self._talk(reader, writer, headers["sec-websocket-key"], url.path == "/raw")
                    break
                if url.path == "/go":
                    self._go(int(parse_qs(url.query)["events"][0]))
                body = answer(url.path)
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                    % len(body)
                    + body
                )
                await writer.drain()
        writer.close()

    def _go(self, events: int) -> None:
        """Has everybody who joined get the events; they are prepared when it returns."""
        for writer, is_raw in self._waiting:
            task = asyncio.create_task(self._send(writer, _prepared(events, is_raw)))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        self._waiting.clear()

    async def _send(self, writer: asyncio.StreamWriter, pieces: tuple[bytes, ...]) -> None:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str, is_raw: bool
    ) -> None:
        accept = base64.b64encode(hashlib.sha1(key.encode() + _KEY_SUFFIX, usedforsecurity=False).digest())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        if is_raw:
            self._waiting.append((writer, True))
        else:
            writer.write(_frame(_OPEN))
        while (said := await _said(reader)) is not None:
            if said.startswith(f"40{_NAMESPACE}"):
                writer.write(_frame(f'40{_NAMESPACE},{{"sid":"bench"}}'))
            elif command := _COMMAND.match(said):
                writer.write(_frame(f"43{_NAMESPACE},{command[1]}[{frames.compact(_JOINED)}]"))
                self._waiting.append((writer, False))


_JOINED: Final = {"ok": True, "room": f"session:{frames.SESSION}", "latest_seq": frames.FIRST - 1}


async def _said(reader: asyncio.StreamReader) -> str | None:
    """The next text that a client sends; None when it closes."""
    while True:
        first, second = await reader.readexactly(2)
        size = second & 0x7F
        if size >= 126:
            size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8))
        mask = await reader.readexactly(4)
        body = bytes(byte ^ mask[at % 4] for at, byte in enumerate(await reader.readexactly(size)))
        if first & 0x0F == _CLOSE:
            return None
        if first & 0x0F == _TEXT:
            return body.decode()


async def _main() -> None:
    server = await asyncio.start_server(_Peer().serve, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)


@contextmanager
def sender() -> Generator[str]:
    """A sender in a process of its own; gives its URL."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.sender"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        # Leaving closes its input, which ends it.
        yield process.stdout.readline().strip()


if __name__ == "__main__":
    asyncio.run(_main())
