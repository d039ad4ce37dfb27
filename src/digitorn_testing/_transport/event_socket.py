"""One Socket.IO connection to a daemon: the only place that touches python-socketio, which has no types."""

# The packages have no types: their values are unknown here, and typed from here on.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
import errno
import re
from collections.abc import Callable, Coroutine
from typing import Any, Final, cast
from urllib.parse import urlsplit

import aiohttp
from socketio.exceptions import SocketIOError

from digitorn_testing._errors import ContractViolation, DaemonUnreachable, TooLarge, UntrustedCertificate
from digitorn_testing._generated._runtime import Command
from digitorn_testing._generated.commands import CommandError, ConnectAuth
from digitorn_testing._generated.events import EVENT_NAMESPACE, EVENT_PUSH, EventEnvelope
from digitorn_testing._secrets.credentials import Credentials, Token, without
from digitorn_testing._secrets.raising import raise_detached

from .answers import refused_upgrade
from .event_connection import Ack, HandshakeRefused, Request, read_ack
from .options import ConnectionOptions, is_distrust
from .socket_io import Connections, SocketClient, websocket_options

_PATH: Final = "socket.io"
_LONGEST_WORDS: Final = 200
_TLS: Final = re.compile(r" ssl:(<[^>]*>|\w+)")


class EventSocket:
    """A connection that delivers frames as they arrive, on the event loop's thread.

    Args:
        daemon_url: Base URL of the daemon.
        on_frame: Called with each pushed envelope, still raw. Must not raise.
        on_lost: Called with a reason when the connection ends without `close`.
        connection_options: How to connect; the defaults if left out.
    """

    def __init__(
        self,
        daemon_url: str,
        on_frame: Callable[[object], None],
        on_lost: Callable[[str], None],
        connection_options: ConnectionOptions | None = None,
    ) -> None:
        self.daemon_url = daemon_url
        self._violation: TooLarge | None = None
        self._connection = connection_options or ConnectionOptions()
        # The daemon may be below a path of its host, and its socket with it.
        self._path = f"{urlsplit(daemon_url).path}/{_PATH}"
        self._token: Token | None = None
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._closing = False
        self._client: Any = None
        self._connections: Connections | None = None
        self._gone = asyncio.Event()

    async def connect(self, token: str | None, timeout: float) -> None:
        """Connects and authenticates.

        Args:
            token: The access token.
            timeout: Seconds for the whole handshake.

        Raises:
            HandshakeRefused: The daemon refused the connection.
            ApiError: The request for a WebSocket was answered with another status.
            DaemonUnreachable: There is no daemon, or it does not speak Socket.IO.
            TooLarge: The daemon sent more than the limits allow.
            InsecureConnection: The token would go over plain HTTP to another machine.
        """
        await self.close(abruptly=True)
        if token is not None:
            self._connection.check_secrets_may_go_to(self.daemon_url)
        self._token = token = Token(token) if token else None
        self._violation, self._closing, self._gone = None, False, asyncio.Event()
        websocket = websocket_options(self._connection, self.daemon_url)
        self._connections = connections = Connections(self._connection, self._took, self._oversized)
        client: Any = SocketClient(
            token,
            on_lost=self._gone.set,
            on_unreadable=self._unreadable,
            http_session=connections.http,
            websocket_extra_options=websocket,
            reconnection=False,
            handle_sigint=False,
            request_timeout=timeout,
        )
        client.on("*", self._pushed, namespace=EVENT_NAMESPACE)
        client.on("disconnect", self._disconnected, namespace=EVENT_NAMESPACE)
        words: list[object] = []
        client.on("connect_error", words.append, namespace=EVENT_NAMESPACE)
        self._client = client
        connecting = client.connect(
            self.daemon_url,
            # A function, so that no variable on the way there holds the token.
            auth=self._auth,
            transports=["websocket"],
            namespaces=[EVENT_NAMESPACE],
            socketio_path=self._path,
            wait_timeout=timeout,
        )
        said = f"no handshake within {round(timeout, 2):g} s"
        failure: Exception
        try:
            async with asyncio.timeout(timeout):
                await self._unless_lost(connecting, "the handshake")
            return
        except DaemonUnreachable as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - the package lets any exception escape
            kind = UntrustedCertificate if is_distrust(error) else DaemonUnreachable
            failure = self._unreachable(f"Socket.IO: {_said(error) or said}", kind)
        except BaseException:
            await self.close()
            raise
        if client.failed_namespaces:
            failure = HandshakeRefused(without(_in_words(words), token))
        elif (refused := connections.refused) is not None:
            answer = (refused.status, refused.headers, refused.content)
            failure = refused_upgrade(f"{self._path}/", *answer, self.daemon_url, Credentials(token))
        await self.close()
        raise self.violation or failure

    def _auth(self) -> dict[str, Any]:
        return ConnectAuth(token=self._token).to_wire() if self._token else {}

    def _unreachable(self, what: str, kind: type[DaemonUnreachable] = DaemonUnreachable) -> DaemonUnreachable:
        return kind(self.daemon_url, without(what, self._token))

    async def call(
        self, command: Command[Request, Ack], request: Request, timeout: float
    ) -> Ack | CommandError:
        """Sends a command and waits for its acknowledgement.

        Args:
            command: Which command.
            request: Its argument.
            timeout: Seconds to wait for the acknowledgement.

        Raises:
            DaemonUnreachable: The connection was lost, or no acknowledgement came in time.
            ContractViolation: The acknowledgement breaks the contract.
        """
        if self._client is None:
            raise DaemonUnreachable(self.daemon_url, f"{command.name}: the connection is closed")
        asking = self._client.call(
            command.name, request.to_wire(), namespace=command.namespace, timeout=timeout
        )
        try:
            return read_ack(command, await self._unless_lost(asking, command.name))
        except SocketIOError as error:
            said = str(error) or f"no acknowledgement within {round(timeout, 2):g} s"
            raise_detached(self._unreachable(f"{command.name}: {said}"))
        except ContractViolation as error:
            unfit = [without(one, self._token) for one in error.reasons]
            # The frames below have variables that hold what came.
            raise_detached(ContractViolation(f"the acknowledgement of {command.name!r}", unfit))

    async def _unless_lost(self, coroutine: Coroutine[Any, Any, object], what: str) -> object:
        """Awaits an answer of the peer, but no longer than the connection lasts.

        Raises:
            DaemonUnreachable: The connection was lost first.
        """
        asking = asyncio.ensure_future(coroutine)
        going = asyncio.ensure_future(self._gone.wait())
        try:
            await asyncio.wait({asking, going}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise DaemonUnreachable(self.daemon_url, f"{what}: the connection was lost")
            return asking.result()
        finally:
            asking.cancel()
            going.cancel()
            await asyncio.wait({asking, going})
            if not asking.cancelled():
                # Retrieve an exception raised on cancellation, or the event loop would log it.
                asking.exception()

    @property
    def connected(self) -> bool:
        """Whether the connection is up."""
        return self._client is not None and bool(self._client.connected)

    @property
    def violation(self) -> TooLarge | None:
        """Why the last connection ended, if it exceeded a limit."""
        return self._violation

    async def close(self, *, abruptly: bool = False) -> None:
        """Closes the connection; closing a closed one does nothing.

        Args:
            abruptly: Skip the closing handshake, which a peer that has gone would not answer.
        """
        self._closing = True
        client, self._client = self._client, None
        connections, self._connections = self._connections, None
        try:
            if abruptly and connections is not None:
                # Closing the transport ends everything that waits for the peer.
                await connections.close()
            if client is not None:
                await client.disconnect()
        finally:
            # They remain if the peer does not answer or the handshake was aborted.
            if connections is not None:
                await connections.close()

    def _took(self, envelope: object) -> None:
        self._on_frame(envelope)

    def _pushed(self, name: str, *arguments: object) -> None:
        # Some builds append arguments; the first one is the event.
        first = arguments[0] if arguments else None
        if name == EVENT_PUSH:
            self._on_frame(first)
        else:
            payload = cast("dict[str, Any]", first) if isinstance(first, dict) else {"data": first}
            self._on_frame(EventEnvelope(type=name, payload=payload).to_wire())

    def _unreadable(self, message: str | bytes) -> None:
        """Passes on a message that is not a packet, so that it appears in the log."""
        self._on_frame(message if isinstance(message, str) else message.hex())

    def _oversized(self, what: str) -> None:
        self._violation = TooLarge("what came over the event socket", [what])

    def _disconnected(self, *reason: object) -> None:
        self._gone.set()
        if not self._closing:
            self._on_lost(" ".join(str(part) for part in reason) or "the connection was lost")


def _said(error: Exception) -> str:
    """The text of an exception, and of the aiohttp exception behind it, which the package omits."""
    inner = error.__context__
    while inner is not None and not isinstance(inner, aiohttp.ClientError | OSError):
        inner = inner.__context__
    if isinstance(inner, OSError) and inner.errno == errno.ECONNREFUSED:
        return "connection refused"
    said = (str(one) for one in (error, inner) if one is not None)
    # aiohttp puts the repr of its TLS context between the host and what went wrong.
    return " ".join(_TLS.sub("", one) for one in said if one)


def _in_words(said: list[object]) -> str:
    """What the peer said when it refused the namespace: a text, or an object with one."""
    texts = [
        str(cast("dict[str, object]", one).get("message", "")) if isinstance(one, dict) else str(one)
        for one in said
    ]
    return " ".join(" ".join(texts).split())[:_LONGEST_WORDS]
