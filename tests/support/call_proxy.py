"""An HTTP proxy between a client and a daemon that loses one call or its answer."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any, Final, Literal, TypeAlias

from digitorn_testing._concurrency.background_loop import BackgroundLoop

CallFault: TypeAlias = Literal[
    "never sent", "half sent", "early cut", "late", "lost", "half answer", "stalled", "bad gateway", "refused"
]
"""What becomes of a call.

`never sent`: the proxy takes it and cuts the connection. `half sent`: the daemon gets half of it.
`early cut`: the daemon gets it, and both connections are cut at once. `late`: the client's connection is cut,
and the daemon gets the call afterwards. `lost`: it is executed, and its answer lost. `half answer`: half of
the answer comes. `stalled`: it is executed, and the answer never comes. `bad gateway`: it is executed, and
the proxy answers 502. `refused`: the proxy answers 500, and the daemon does not get it.
"""

FAULTS: Final[tuple[CallFault, ...]] = (
    "never sent",
    "half sent",
    "early cut",
    "late",
    "lost",
    "half answer",
    "stalled",
    "bad gateway",
    "refused",
)
_SECONDS: Final = 15.0
_CHUNK: Final = 65536
_LATE_SECONDS: Final = 0.7
_ANSWER: Final = b"HTTP/1.1 %d Fault\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nfault"


class CallProxy:
    """Forwards connections, and hits a `POST` whose body holds a text that was named.

    Args:
        port: Port of the daemon on this machine.

    Attributes:
        faults: What becomes of the call with a text; each hits once.
        hit: The texts whose calls were hit.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._stalled: list[asyncio.StreamWriter] = []
        # Nobody else holds them, and a task that is collected while it waits is an error.
        self._accepting: set[asyncio.Task[Any]] = set()
        self.faults: dict[str, CallFault] = {}
        self.hit: list[str] = []
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    async def serve(self) -> asyncio.Server:
        """Begins to listen on a free port."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepting = asyncio.current_task()
        assert accepting is not None
        self._accepting.add(accepting)
        accepting.add_done_callback(self._accepting.discard)
        try:
            back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.close()
            return
        answers = asyncio.create_task(_pump(back_reader, writer))
        try:
            # The streams of asyncio log a task that ends by its cancellation.
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    body = await reader.readexactly(_length(head))
                    fault = self._fault(head, body)
                    if fault is not None:
                        await self._cancel(answers)
                        await self._hit(fault, head + body, writer, back_reader, back_writer)
                        return
                    back_writer.write(head + body)
                    await back_writer.drain()
                    if b"upgrade: websocket" in head.lower():
                        await _pump(reader, back_writer)
                        return
        finally:
            if writer not in self._stalled:
                await self._cancel(answers)
                writer.close()
            back_writer.close()

    async def _cancel(self, task: asyncio.Task[Any]) -> None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    def _fault(self, head: bytes, body: bytes) -> CallFault | None:
        if not head.startswith(b"POST"):
            return None
        text = next((one for one in self.faults if one.encode() in body), None)
        if text is None:
            return None
        self.hit.append(text)
        return self.faults.pop(text)

    async def _hit(
        self,
        fault: CallFault,
        call: bytes,
        client: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        daemon: asyncio.StreamWriter,
    ) -> None:
        match fault:
            case "never sent":
                return
            case "refused":
                client.write(_ANSWER % 500)
                await client.drain()
                return
            case "half sent":
                daemon.write(call[: len(call) - 10])
                await daemon.drain()
                return
            case "late":
                client.close()
                await asyncio.sleep(_LATE_SECONDS)
            case _:
                pass
        daemon.write(call)
        await daemon.drain()
        if fault == "early cut":
            return
        answer = await answers.read(_CHUNK)
        match fault:
            case "bad gateway":
                client.write(_ANSWER % 502)
                await client.drain()
            case "half answer":
                client.write(answer[: len(answer) // 2])
                await client.drain()
            case "stalled":
                self._stalled.append(client)
            case _:
                pass

    def release(self) -> None:
        """Closes the connections that were stalled."""
        for writer in self._stalled:
            writer.close()


@contextmanager
def call_proxy(port: int) -> Generator[CallProxy]:
    """A proxy on a thread of its own.

    Args:
        port: Port of the daemon on this machine.
    """
    loop = BackgroundLoop("call-proxy")
    loop.acquire()
    proxy = CallProxy(port)
    try:
        server = loop.run(proxy.serve(), _SECONDS)
        try:
            yield proxy
        finally:
            loop.run(_close(server, proxy), _SECONDS)
    finally:
        loop.release()


async def _close(server: asyncio.Server, proxy: CallProxy) -> None:
    server.close()
    proxy.release()
    mine = asyncio.current_task()
    others = [task for task in asyncio.all_tasks() if task is not mine]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return int(value)
    return 0


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
    writer.close()
