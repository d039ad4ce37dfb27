"""One Socket.IO connection to a daemon: the only place that touches python-socketio, which has no types."""

# The packages have no types: what comes out of them is unknown here, and typed from here on.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar, cast

import aiohttp
import engineio
import socketio
from pydantic import ValidationError
from socketio.exceptions import ConnectionError as SocketConnectionError
from socketio.exceptions import SocketIOError

from ._errors import ContractViolation, DaemonUnreachable
from ._generated._runtime import Command, Model, reasons
from ._generated.commands import CommandError, ConnectAuth
from ._generated.events import EVENT_NAMESPACE, EVENT_PUSH, EventEnvelope

Request = TypeVar("Request", bound=Model)
Ack = TypeVar("Ack", bound=Model)


# What comes out of a handshake with something that is no daemon, or breaks off.
_CONNECT_ERRORS = (
    SocketConnectionError,
    TimeoutError,
    OSError,
    aiohttp.ClientError,
    ValueError,
    TypeError,
    KeyError,
)


class HandshakeRefused(Exception):
    """The daemon answered and refused the connection; it does not say why (contract: events, section 1)."""


class EventConnection(Protocol):
    """A connection to a daemon, over which events come and commands go."""

    async def connect(self, token: str | None, timeout: float) -> None:
        """Connects and authenticates.

        Args:
            token: The access token.
            timeout: Seconds for the whole handshake.

        Raises:
            HandshakeRefused: The daemon refused the connection.
            DaemonUnreachable: There is no daemon.
        """
        ...

    async def call(
        self, command: Command[Request, Ack], request: Request, timeout: float
    ) -> Ack | CommandError:
        """Sends a command and waits for its acknowledgement.

        Args:
            command: Which command.
            request: Its argument.
            timeout: Seconds to wait for the acknowledgement.

        Raises:
            DaemonUnreachable: The connection is gone or no acknowledgement came.
            ContractViolation: The acknowledgement is not what the contract says.
        """
        ...

    @property
    def connected(self) -> bool:
        """Whether the connection stands."""
        ...

    async def close(self, *, abruptly: bool = False) -> None:
        """Ends the connection. May be called again.

        Args:
            abruptly: Whether to do without taking leave, which a peer that has gone would not answer.
        """
        ...


class EventSocket:
    """A connection that hands over frames as they arrive, on the event loop's thread.

    Args:
        daemon_url: Base URL of the daemon.
        on_frame: Takes each pushed envelope, still raw. Must not raise.
        on_lost: Called with a reason when the connection ends without `close`.
    """

    def __init__(
        self, daemon_url: str, on_frame: Callable[[object], None], on_lost: Callable[[str], None]
    ) -> None:
        self.daemon_url = daemon_url
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._closing = False
        self._client: Any = None
        self._gone = asyncio.Event()

    async def connect(self, token: str | None, timeout: float) -> None:
        """Connects and authenticates.

        Args:
            token: The access token.
            timeout: Seconds for the whole handshake.

        Raises:
            HandshakeRefused: The daemon refused the connection.
            DaemonUnreachable: There is no daemon, or it does not speak Socket.IO.
        """
        await self.close(abruptly=True)
        client: Any = _SocketClient(reconnection=False, handle_sigint=False, request_timeout=timeout)
        client.on("*", self._pushed, namespace=EVENT_NAMESPACE)
        client.on("disconnect", self._disconnected, namespace=EVENT_NAMESPACE)
        self._client, self._closing, self._gone = client, False, asyncio.Event()
        client.on_engine_lost = self._gone.set
        auth = ConnectAuth(token=token).to_wire() if token else None
        connecting = client.connect(
            self.daemon_url,
            auth=auth,
            transports=["websocket"],
            namespaces=[EVENT_NAMESPACE],
            wait_timeout=timeout,
        )
        try:
            async with asyncio.timeout(timeout):
                await self._unless_lost(connecting, "the handshake")
        except (*_CONNECT_ERRORS, DaemonUnreachable) as error:
            refused = bool(client.failed_namespaces)
            await self.close()
            if refused:
                raise HandshakeRefused from None
            if isinstance(error, DaemonUnreachable):
                raise
            said = str(error) or f"no handshake within {timeout:g} s"
            raise DaemonUnreachable(self.daemon_url, f"Socket.IO: {said}") from None
        except BaseException:
            await self.close()
            raise

    async def call(
        self, command: Command[Request, Ack], request: Request, timeout: float
    ) -> Ack | CommandError:
        """Sends a command and waits for its acknowledgement.

        Args:
            command: Which command.
            request: Its argument.
            timeout: Seconds to wait for the acknowledgement.

        Raises:
            DaemonUnreachable: The connection is gone or no acknowledgement came.
            ContractViolation: The acknowledgement is not what the contract says.
        """
        if self._client is None:
            raise DaemonUnreachable(self.daemon_url, f"{command.name}: the connection is closed")
        asking = self._client.call(
            command.name, request.to_wire(), namespace=command.namespace, timeout=timeout
        )
        try:
            raw = await self._unless_lost(asking, command.name)
        except SocketIOError as error:
            said = str(error) or f"no acknowledgement within {timeout:g} s"
            raise DaemonUnreachable(self.daemon_url, f"{command.name}: {said}") from None
        return read_ack(command, raw)

    async def _unless_lost(self, coroutine: Coroutine[Any, Any, object], what: str) -> object:
        """The result of a coroutine that waits for the peer; one that is gone never answers."""
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

    @property
    def connected(self) -> bool:
        """Whether the connection stands."""
        return self._client is not None and bool(self._client.connected)

    async def close(self, *, abruptly: bool = False) -> None:
        """Ends the connection. May be called again."""
        self._closing = True
        client, self._client = self._client, None
        if client is None:
            return
        try:
            if abruptly:
                # Everything that waits for the peer ends with its transport.
                await _close_http(client)
            await client.disconnect()
        finally:
            # A peer that does not answer, or a handshake that was broken off, leaves these.
            await _close_http(client)

    def _pushed(self, name: str, *arguments: object) -> None:
        # Builds may append arguments; the first is the event.
        first = arguments[0] if arguments else None
        if name == EVENT_PUSH:
            self._on_frame(first)
        else:
            payload = cast("dict[str, Any]", first) if isinstance(first, dict) else {"data": first}
            self._on_frame(EventEnvelope(type=name, payload=payload).to_wire())

    def _disconnected(self, *reason: object) -> None:
        self._gone.set()
        if not self._closing:
            self._on_lost(" ".join(str(part) for part in reason) or "the connection was lost")


async def _close_http(client: Any) -> None:
    http = client.eio.http
    if http is not None and not http.closed:
        await http.close()


def read_ack(command: Command[Request, Ack], raw: object) -> Ack | CommandError:
    """The typed acknowledgement of a command.

    Args:
        command: Which command.
        raw: What came.

    Raises:
        ContractViolation: It is not what the contract says.
    """
    try:
        return command.ack.from_wire(raw)
    except ValidationError as error:
        try:
            return CommandError.from_wire(raw)
        except ValidationError:
            raise ContractViolation(f"the acknowledgement of {command.name!r}", reasons(error)) from None


class _EngineClient(engineio.AsyncClient):  # type: ignore[misc] # the package has no types
    """Handles messages in the reading task itself: a task for each would cost more than the event."""

    async def _trigger_event(self, event: str, *args: object, **kwargs: object) -> object:
        if event == "message":
            kwargs["run_async"] = False
        return await super()._trigger_event(event, *args, **kwargs)


class _SocketClient(socketio.AsyncClient):  # type: ignore[misc] # the package has no types
    on_engine_lost: Callable[[], None] | None = None

    def _engineio_client_class(self) -> type[engineio.AsyncClient]:
        return _EngineClient

    async def _handle_eio_disconnect(self, reason: object) -> None:
        # In the middle of a handshake the namespace's own event does not come.
        await super()._handle_eio_disconnect(reason)
        if self.on_engine_lost is not None:
            self.on_engine_lost()
