"""python-socketio, hardened against a broken or hostile daemon: limits, and no token in its log.

The package makes the handshake, answers pings and matches acknowledgements. Plain events do not go through
it: that would cost many times what reading them does.
"""

# The packages have no types: their values are unknown here, and typed from here on.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, Final, cast

import aiohttp
import engineio
import socketio
from aiohttp.abc import ResolveResult
from pydantic_core import from_json
from socketio.packet import Packet

from digitorn_testing._generated.events import EVENT_NAMESPACE, EVENT_PUSH
from digitorn_testing._secrets.credentials import Token, without
from digitorn_testing._secrets.logs import QuietLogger

from .bounds import OutOfBounds, check_text
from .loopback import LOCALHOST, LOOPBACKS
from .options import ConnectionOptions

_TEXT: Final = aiohttp.WSMsgType.TEXT
_LOGGER: Final = "digitorn.testing.socketio"

_BODY_SECONDS: Final = 1.0
_LONGEST_BODY: Final = 16 * 1024
_SIGN_OF_LIFE_SECONDS: Final = 1.0
# A message (4) that is an event (2) of the contract's namespace and wants no acknowledgement.
_PUSH: Final = f'42{EVENT_NAMESPACE},["{EVENT_PUSH}",'


@dataclass(frozen=True, slots=True)
class RefusedUpgrade:
    """An answer to the request for a WebSocket that is not one.

    Attributes:
        status: Its HTTP status.
        headers: Its header fields, with lower-case names.
        content: The beginning of its body.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes


class RedirectRefused(Exception):
    """The daemon tried to redirect the connection."""


class EngineClient(engineio.AsyncClient):  # type: ignore[misc] # the package has no types
    """Handles messages in the reading task itself, because a task per message would cost too much."""

    async def disconnect(self, abort: bool = False, reason: object = None) -> None:
        # When the daemon disconnects, this runs in the reading task, which cannot wait for its own end.
        await super().disconnect(abort=abort or asyncio.current_task() is self.read_loop_task, reason=reason)

    async def _trigger_event(self, event: str, *args: object, **kwargs: object) -> object:
        if event == "message":
            kwargs["run_async"] = False
        return await super()._trigger_event(event, *args, **kwargs)


class SocketClient(socketio.AsyncClient):  # type: ignore[misc] # the package has no types
    """A client that reports everything it receives, including what it cannot read.

    Args:
        token: The token to keep out of the log.
        on_lost: Called when the connection ends, even during the handshake.
        on_unreadable: Called with a message that is not a Socket.IO packet, or not one of the contract's.
        options: Further arguments of the package's client.
    """

    def __init__(
        self,
        token: Token | None,
        *,
        on_lost: Callable[[], None],
        on_unreadable: Callable[[str | bytes], None],
        **options: Any,
    ) -> None:
        # The package declares these arguments by their defaults alone, which is wrong here.
        logger: Any = QuietLogger(_LOGGER, partial(without, secret=token))
        packets: Any = _BoundedPacket
        self._binary_packet: object = None
        super().__init__(logger=logger, engineio_logger=logger, serializer=packets, **options)
        self._on_lost = on_lost
        self._on_unreadable = on_unreadable

    def _engineio_client_class(self) -> type[engineio.AsyncClient]:
        return EngineClient

    async def _handle_eio_message(self, data: str | bytes) -> None:
        try:
            if not isinstance(data, str):
                raise ValueError("a binary message")
            await super()._handle_eio_message(data)
            if self._binary_packet is not None:
                # The package would collect parts without limit; the contract has nothing binary.
                self._binary_packet = None
                raise ValueError("a binary packet")
        except Exception as error:  # noqa: BLE001 - whatever fails in the package, the message must not be lost
            self.logger.error("a message cannot be read: %s: %s", type(error).__name__, error)
            self._on_unreadable(data)

    async def _handle_eio_disconnect(self, reason: object) -> None:
        # During the handshake the namespace gets no disconnect event of its own.
        await super()._handle_eio_disconnect(reason)
        self._on_lost()


class _BoundedWebSocket(aiohttp.ClientWebSocketResponse):
    owner: "Connections"

    async def receive(self, timeout: float | None = None) -> aiohttp.WSMessage:
        # The package waits this long for a sign of life. Now and then it gets an event as one.
        due = time.monotonic() + _SIGN_OF_LIFE_SECONDS
        while True:
            message = await super().receive(timeout)
            if time.monotonic() < due and self.owner.takes(message):
                continue
            self.owner.check(message)
            return message

    @property
    def transport(self) -> asyncio.Transport | None:
        """The transport of the connection while it is up."""
        connection = self._response.connection
        return None if connection is None else connection.transport

    def abort(self) -> None:
        """Closes the connection at once, without a closing handshake."""
        self._response.close()


class _Resolver(aiohttp.ThreadedResolver):
    """Finds the same addresses as REST calls do."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        if host != LOCALHOST:
            return await super().resolve(host, port, family)
        found: list[ResolveResult] = []
        with suppress(OSError):
            found += await super().resolve(host, port, family)
        for missing, address in LOOPBACKS:
            if missing not in (one["family"] for one in found):
                found.append(
                    ResolveResult(
                        hostname=host,
                        host=address,
                        port=port,
                        family=missing,
                        proto=0,
                        flags=socket.AI_NUMERICHOST,
                    )
                )
        return found


class Connections:
    """The connections of one event socket: without cookies or redirects, and with limits.

    Args:
        options: The limits.
        on_event: Called with the envelope of each plain event.
        on_oversize: Called with a description when a message exceeds a limit, which ends the connection.
    """

    def __init__(
        self,
        options: ConnectionOptions,
        on_event: Callable[[object], None],
        on_oversize: Callable[[str], None],
    ) -> None:
        self._options = options
        self._on_event = on_event
        self._on_oversize = on_oversize
        self._opened: list[_BoundedWebSocket] = []
        self._transports: list[asyncio.Transport] = []
        self.refused: RefusedUpgrade | None = None
        """Why there is no connection, if the request for a WebSocket was answered otherwise."""
        tracing = aiohttp.TraceConfig()
        tracing.on_request_redirect.append(self._redirected)
        tracing.on_request_end.append(self._answered)
        self.http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=_Resolver()),
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[tracing],
            # aiohttp declares a class, but only calls it.
            ws_response_class=cast("type[aiohttp.ClientWebSocketResponse]", self._open),
        )

    def _open(self, *arguments: Any, **options: Any) -> _BoundedWebSocket:
        made = _BoundedWebSocket(*arguments, **options)
        made.owner = self
        self._opened.append(made)
        if made.transport is not None:
            self._transports.append(made.transport)
        return made

    def takes(self, message: aiohttp.WSMessage) -> bool:
        """Passes on a message if it is a plain event that exceeds no limit.

        Args:
            message: Any message.

        Returns:
            Whether it was passed on, so that nothing is left to do.
        """
        if message.type is not _TEXT or not message.data.startswith(_PUSH) or message.data[-1] != "]":
            return False
        try:
            check_text(message.data, self._options.max_json_values)
            self._on_event(from_json(message.data[len(_PUSH) : -1]))
        except Exception:  # noqa: BLE001 - the package's way reports whatever it is
            # The package's parser also accepts a little more.
            return False
        return True

    def check(self, message: aiohttp.WSMessage) -> None:
        """Refuses a message that exceeds a limit.

        Raises:
            OutOfBounds: It exceeds one.
        """
        try:
            _check_message(message, self._options)
        except OutOfBounds as error:
            self._on_oversize(str(error))
            raise

    async def _redirected(
        self, session: aiohttp.ClientSession, context: object, params: aiohttp.TraceRequestRedirectParams
    ) -> None:
        # The token is sent right after the handshake, to whoever accepted it.
        await self._refuse(params.response)
        params.response.close()
        raise RedirectRefused

    async def _answered(
        self, session: aiohttp.ClientSession, context: object, params: aiohttp.TraceRequestEndParams
    ) -> None:
        if params.response.status != HTTPStatus.SWITCHING_PROTOCOLS:
            await self._refuse(params.response)

    async def _refuse(self, response: aiohttp.ClientResponse) -> None:
        headers = {name.lower(): value for name, value in response.headers.items()}
        parts: list[bytes] = []
        # Some send no end, or no body.
        with suppress(TimeoutError, aiohttp.ClientError):
            async with asyncio.timeout(_BODY_SECONDS):
                while sum(map(len, parts)) < _LONGEST_BODY and (part := await response.content.readany()):
                    parts.append(part)
        self.refused = RefusedUpgrade(response.status, headers, b"".join(parts)[:_LONGEST_BODY])

    async def close(self) -> None:
        """Closes the connections that are still open."""
        for one in self._opened:
            if not one.closed:
                one.abort()
        await self.http.close()
        for transport in self._transports:
            # A TLS transport waits for the peer's closing message, which may take longer than the loop runs.
            transport.abort()


def _check_message(message: aiohttp.WSMessage, connection: ConnectionOptions) -> None:
    broken: object = message.data
    if isinstance(broken, aiohttp.WebSocketError) and broken.code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG:
        raise OutOfBounds(f"more than {connection.max_frame_bytes} bytes (max_frame_bytes)")
    if message.type is _TEXT:
        check_text(str(message.data), connection.max_json_values, deepest=None)


def websocket_options(connection: ConnectionOptions, daemon_url: str) -> dict[str, Any]:
    """Options for the package's WebSocket.

    Args:
        connection: How to connect.
        daemon_url: Base URL of the daemon.
    """
    options: dict[str, Any] = {"max_msg_size": connection.max_frame_bytes + 1}
    if (context := connection.tls(daemon_url)) is not None:
        options["ssl"] = context
    return options


class _BoundedJson:
    dumps = staticmethod(Packet.json.dumps)

    @staticmethod
    def loads(text: str, **options: Any) -> object:
        check_text(text, most=len(text))
        value: object = Packet.json.loads(text, **options)
        return value


class _BoundedPacket(Packet):  # type: ignore[misc] # the package has no types
    json = _BoundedJson
