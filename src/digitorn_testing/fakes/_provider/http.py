"""One request over HTTP and its answer."""

import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

from digitorn_testing.fakes._wire.socketio import Scope

from .core import Event, JsonObject, Refused

LARGEST_BODY: Final = 32 * 1024 * 1024
"""Bytes of the largest body, of a request or an answer."""

Receive: TypeAlias = Callable[[], Awaitable[Scope]]
Send: TypeAlias = Callable[[Scope], Awaitable[None]]


class ConnectionLost(Exception):
    """The connection is to break."""


class Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, keep_alive: bool) -> None:
        self.method = str(scope["method"])
        self.path = str(scope["path"])
        self.raw_path = bytes(scope["raw_path"]).decode("latin-1")
        self.query = bytes(scope["query_string"]).decode("latin-1")
        self.client: tuple[str, int] = tuple(scope["client"])
        self.headers: dict[str, str] = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        self.body = b""
        self.has_started = False
        self._is_too_large = False
        self._keep_alive = keep_alive
        self._receive = receive
        self._send = send

    @property
    def retry_count(self) -> int:
        """How often the client says that it has sent the request before."""
        count = self.headers.get("x-stainless-retry-count", "")
        return int(count) if count.isdecimal() else 0

    async def read(self) -> bool:
        """Reads the body; False if the client has gone meanwhile."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                return False
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > LARGEST_BODY:
                # It is read to its end all the same: clients that are still sending do not see the answer.
                parts.clear()
            if not message.get("more_body", False):
                self.body, self._is_too_large = b"".join(parts), size > LARGEST_BODY
                return True

    def check_size(self) -> None:
        """Refuses a body that was too large to keep.

        Raises:
            Refused: It was.
        """
        if self._is_too_large:
            raise Refused(413, f"The request is larger than {LARGEST_BODY} bytes.", code="request_too_large")

    async def closed(self) -> None:
        """Waits until the client has gone or has its answer."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def answer(self, status: int, body: JsonObject, headers: Mapping[str, str] | None = None) -> None:
        """Answers in one piece."""
        content = json.dumps(body).encode()
        length = {"content-length": str(len(content))}
        await self.start(status, {"content-type": "application/json", **length, **(headers or {})})
        await self.write(content, more=False)

    async def push(self, event: Event) -> None:
        """Sends an event of a stream."""
        if not self.has_started:
            await self.start(200, {"content-type": "text/event-stream", "cache-control": "no-cache"})
        name = f"event: {event.name}\n" if event.name else ""
        await self.write(f"{name}data: {json.dumps(event.data)}\n\n".encode())

    async def end(self, last: bytes = b"") -> None:
        """Ends an answer that has begun.

        Args:
            last: What it ends with.
        """
        await self.write(last, more=False)

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Begins the answer. It has an id under both of the names that clients look for."""
        self.has_started = True
        request_id = f"req_{uuid.uuid4().hex}"
        named = {"x-request-id": request_id, "request-id": request_id, **headers}
        if not self._keep_alive:
            named["connection"] = "close"
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in named.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def write(self, content: bytes, *, more: bool = True) -> None:
        """Sends a part of the body."""
        await self._send({"type": "http.response.body", "body": content, "more_body": more})
