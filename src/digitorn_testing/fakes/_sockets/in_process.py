"""An embedded daemon that is reached without a socket: REST over ASGI, events handed over as they are."""

import asyncio
import concurrent.futures
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar

import httpx

from digitorn_testing._concurrency.deadlines import finite
from digitorn_testing._errors import DaemonUnreachable
from digitorn_testing._generated._runtime import Command, Model
from digitorn_testing._generated.commands import CommandError, ConnectAuth
from digitorn_testing._transport.event_connection import HandshakeRefused, read_ack
from digitorn_testing.fakes._faults.http import LOCAL_CLIENT, CallCut
from digitorn_testing.fakes._wire.envelopes import Frame
from digitorn_testing.fakes._wire.socketio import AsgiApp, Cut, Handshake, Sockets, Unanswered, acknowledge

Request = TypeVar("Request", bound=Model)
Ack = TypeVar("Ack", bound=Model)
T = TypeVar("T")

_Answer = Callable[[str, object], Awaitable[Frame]]
_NOT_RUNNING: Final = "the embedded daemon is not running"
_STOPPED: Final = "the embedded daemon stopped"


class LocalSockets:
    """Connections within the process. Everything here runs on the daemon's event loop."""

    def __init__(self) -> None:
        self._connections: dict[str, LocalConnection] = {}
        self._rooms: dict[str, dict[str, None]] = {}
        self._commands: dict[str, _Answer] = {}
        self._admit: Callable[[str, Handshake], bool] | None = None
        self._greet: Callable[[str], Awaitable[None]] | None = None
        self._leave: Callable[[str], None] | None = None

    def __contains__(self, sid: str) -> bool:
        return sid in self._connections

    # --- what the daemon does

    def on_connection(
        self,
        admit: Callable[[str, Handshake], bool],
        greet: Callable[[str], Awaitable[None]],
        leave: Callable[[str], None],
    ) -> None:
        """Decides who may connect."""
        self._admit, self._greet, self._leave = admit, greet, leave

    def on_command(
        self,
        command: Command[Request, Ack],
        handle: Callable[[str, Request], Awaitable[Ack | CommandError]],
        *,
        incomplete: str,
    ) -> None:
        """Serves a command."""

        async def answer(sid: str, sent: object) -> Frame:
            return await acknowledge(command, handle, sid, sent, incomplete=incomplete)

        self._commands[command.name] = answer

    async def push(self, frame: Frame, *, to: str) -> None:
        """Sends a frame to a room, or to the one socket of an id."""
        for sid in [to] if to in self._connections else list(self._rooms.get(to, ())):
            self._connections[sid].deliver(frame)

    async def enter(self, sid: str, room: str) -> None:
        """Puts a socket into a room."""
        if sid in self._connections:
            self._rooms.setdefault(room, {})[sid] = None

    async def leave(self, sid: str, room: str) -> None:
        """Takes a socket out of a room."""
        self._rooms.get(room, {}).pop(sid, None)

    async def close(self, room: str) -> None:
        """Takes every socket out of a room."""
        self._rooms.pop(room, None)

    def members(self, room: str) -> list[str]:
        """The sockets in a room, or the one socket of an id."""
        return [room] if room in self._connections else list(self._rooms.get(room, ()))

    async def cut(self, sid: str, how: Cut) -> None:
        """Ends a connection from the daemon's side; all ways are the same here."""
        connection = self._connections.get(sid)
        if connection is not None:
            self.disconnect(sid)
            connection.lose()

    async def stop(self) -> None:
        """Ends every connection."""
        self.drop()

    def drop(self) -> None:
        """Ends every connection as if the network had failed."""
        for sid, connection in list(self._connections.items()):
            self.disconnect(sid)
            connection.lose()

    # --- what a client does

    async def connect(self, connection: "LocalConnection", token: str | None) -> str | None:
        """Lets a connection in; its id, or None when it is refused."""
        assert self._admit is not None
        assert self._greet is not None
        sid = f"local-{uuid.uuid4().hex}"
        auth = ConnectAuth(token=token).to_wire() if token else None
        if not self._admit(sid, Handshake(auth=auth, authorization="", query={}, cookies={})):
            return None
        self._connections[sid] = connection
        await self._greet(sid)
        return sid

    async def call(self, sid: str, name: str, sent: Frame) -> Frame:
        """The acknowledgement of a command."""
        return await self._commands[name](sid, sent)

    def disconnect(self, sid: str) -> None:
        """Takes a connection out of everything."""
        if self._connections.pop(sid, None) is not None:
            for room in self._rooms.values():
                room.pop(sid, None)
            if self._leave is not None:
                self._leave(sid)


class BothSockets:
    """Connections over Socket.IO and within the process, as one."""

    def __init__(self, local: LocalSockets, server: Sockets) -> None:
        self._local = local
        self._server = server
        self._all: tuple[Sockets, ...] = (local, server)

    def _of(self, sid: str) -> Sockets:
        return self._local if sid in self._local else self._server

    def on_connection(
        self,
        admit: Callable[[str, Handshake], bool],
        greet: Callable[[str], Awaitable[None]],
        leave: Callable[[str], None],
    ) -> None:
        """Decides who may connect."""
        for one in self._all:
            one.on_connection(admit, greet, leave)

    def on_command(
        self,
        command: Command[Request, Ack],
        handle: Callable[[str, Request], Awaitable[Ack | CommandError]],
        *,
        incomplete: str,
    ) -> None:
        """Serves a command."""
        for one in self._all:
            one.on_command(command, handle, incomplete=incomplete)

    async def push(self, frame: Frame, *, to: str) -> None:
        """Sends a frame to a room, or to the one socket of an id."""
        for one in (self._local,) if to in self._local else self._all:
            await one.push(frame, to=to)

    async def enter(self, sid: str, room: str) -> None:
        """Puts a socket into a room."""
        await self._of(sid).enter(sid, room)

    async def leave(self, sid: str, room: str) -> None:
        """Takes a socket out of a room."""
        await self._of(sid).leave(sid, room)

    async def close(self, room: str) -> None:
        """Takes every socket out of a room."""
        for one in self._all:
            await one.close(room)

    def members(self, room: str) -> list[str]:
        """The sockets in a room, or the one socket of an id."""
        return [sid for one in self._all for sid in one.members(room)]

    async def cut(self, sid: str, how: Cut) -> None:
        """Ends a connection from the daemon's side."""
        await self._of(sid).cut(sid, how)

    async def stop(self) -> None:
        """Ends what watches over the connections."""
        for one in self._all:
            await one.stop()


class LocalEndpoint:
    """How a client of this process reaches a daemon (`digitorn_testing._transport.endpoints.Endpoint`).

    Args:
        url: URL of the daemon.
        app: Its REST part.
        sockets: Its connections within the process.
        submit: Runs a coroutine on the daemon's event loop.
    """

    def __init__(
        self,
        url: str,
        app: AsgiApp,
        sockets: LocalSockets,
        submit: "Callable[[Coroutine[Any, Any, Any]], concurrent.futures.Future[Any]]",
    ) -> None:
        self.url = url
        self._asgi = httpx.ASGITransport(app, client=LOCAL_CLIENT)
        self.sockets = sockets
        self._submit = submit
        self._is_open = True

    def http(self) -> httpx.BaseTransport:
        """Carries blocking REST calls."""
        return _HttpTransport(self)

    def async_http(self) -> httpx.AsyncBaseTransport:
        """Carries asynchronous REST calls."""
        return _AsyncHttpTransport(self)

    def socket(self, on_frame: Callable[[object], None], on_lost: Callable[[str], None]) -> "LocalConnection":
        """Carries events."""
        return LocalConnection(self, on_frame, on_lost)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> "concurrent.futures.Future[T]":
        """Runs a coroutine on the daemon's event loop.

        Raises:
            ConnectionError: The daemon does not run.
        """
        if not self._is_open:
            coroutine.close()
            raise ConnectionError(_NOT_RUNNING)
        return self._submit(coroutine)

    def shut(self) -> None:
        """Lets nobody in any more."""
        self._is_open = False

    def open(
        self,
        app: AsgiApp,
        sockets: LocalSockets,
        submit: "Callable[[Coroutine[Any, Any, Any]], concurrent.futures.Future[Any]]",
    ) -> None:
        """Leads to a daemon that has taken the place of another one. The arguments are the constructor's."""
        self._asgi = httpx.ASGITransport(app, client=LOCAL_CLIENT)
        self.sockets = sockets
        self._submit = submit
        self._is_open = True

    def ask(self, request: httpx.Request, content: bytes) -> "concurrent.futures.Future[httpx.Response]":
        """Answers a REST call on the daemon's event loop.

        Raises:
            httpx.ConnectError: The daemon does not run.
        """
        carried = httpx.Request(
            request.method,
            request.url,
            headers=request.headers,
            content=content,
            extensions=request.extensions,
        )
        try:
            return self.run(self._ask(carried))
        except ConnectionError as error:
            raise httpx.ConnectError(str(error), request=request) from None

    async def _ask(self, request: httpx.Request) -> httpx.Response:
        answer = await self._asgi.handle_async_request(request)
        content = httpx.ByteStream(await answer.aread())
        return httpx.Response(answer.status_code, headers=answer.headers, stream=content)


class _HttpTransport(httpx.BaseTransport):
    def __init__(self, endpoint: LocalEndpoint) -> None:
        self._endpoint = endpoint

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answering = self._endpoint.ask(request, request.read())
        try:
            return answering.result(_seconds(request.extensions))
        except concurrent.futures.TimeoutError:
            answering.cancel()
            raise httpx.ReadTimeout("timed out", request=request) from None
        except CallCut as error:
            raise httpx.ReadError(str(error), request=request) from None
        except concurrent.futures.CancelledError:
            raise httpx.ReadError(_STOPPED, request=request) from None


class _AsyncHttpTransport(httpx.AsyncBaseTransport):
    def __init__(self, endpoint: LocalEndpoint) -> None:
        self._endpoint = endpoint

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answering = self._endpoint.ask(request, await request.aread())
        try:
            return await _answered(answering, _seconds(request.extensions))
        except TimeoutError:
            raise httpx.ReadTimeout("timed out", request=request) from None
        except ConnectionError as error:
            raise httpx.ReadError(str(error), request=request) from None


class LocalConnection:
    """One connection for events within the process: an `EventConnection` of `_transport`.

    Frames are handed over on the event loop of the client, in the order in which the daemon sent them.

    Args:
        endpoint: The daemon.
        on_frame: Takes each pushed envelope.
        on_lost: Called with a reason when the connection ends without `close`.
    """

    def __init__(
        self, endpoint: LocalEndpoint, on_frame: Callable[[object], None], on_lost: Callable[[str], None]
    ) -> None:
        self._endpoint = endpoint
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sid: str | None = None
        self._listens = False

    @property
    def connected(self) -> bool:
        """Whether the connection stands."""
        return self._sid is not None

    @property
    def violation(self) -> None:
        """Nothing: within a process nothing is too large."""
        return

    async def connect(self, token: str | None, timeout: float) -> None:
        """Connects and authenticates."""
        await self.close()
        self._loop = asyncio.get_running_loop()
        self._listens = True
        sid = await self._ask("the handshake", self._endpoint.sockets.connect(self, token), timeout)
        if sid is None:
            raise HandshakeRefused
        self._sid = sid

    async def call(
        self, command: Command[Request, Ack], request: Request, timeout: float
    ) -> Ack | CommandError:
        """Sends a command and waits for its acknowledgement."""
        if self._sid is None:
            raise DaemonUnreachable(self._endpoint.url, f"{command.name}: the connection is closed")
        asked = self._endpoint.sockets.call(self._sid, command.name, request.to_wire())
        try:
            return read_ack(command, await self._ask(command.name, asked, timeout))
        except Unanswered:
            raise DaemonUnreachable(self._endpoint.url, f"{command.name}: no acknowledgement") from None

    async def _ask(self, what: str, coroutine: Coroutine[Any, Any, T], timeout: float) -> T:
        try:
            return await _answered(self._endpoint.run(coroutine), timeout)
        except ConnectionError as error:
            raise DaemonUnreachable(self._endpoint.url, f"{what}: {error}") from None
        except TimeoutError:
            raise DaemonUnreachable(self._endpoint.url, f"{what}: nothing within {timeout:g} s") from None

    async def close(self, *, abruptly: bool = False) -> None:
        """Ends the connection. May be called again."""
        self._listens = False
        sid, self._sid = self._sid, None
        if sid is not None:
            try:
                await _answered(self._endpoint.run(_soon(self._endpoint.sockets.disconnect, sid)), None)
            except ConnectionError:
                # The daemon has gone, and the connection with it.
                return

    # --- called on the daemon's event loop

    def deliver(self, frame: Frame) -> None:
        """Hands a frame over."""
        self._soon(self._received, frame)

    def lose(self) -> None:
        """Ends the connection from the daemon's side."""
        self._soon(self._gone)

    def _soon(self, call: Callable[..., None], *arguments: object) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(call, *arguments)

    def _received(self, frame: object) -> None:
        if self._listens:
            self._on_frame(frame)

    def _gone(self) -> None:
        sid, self._sid = self._sid, None
        if sid is not None:
            self._on_lost("the connection was lost")


async def _soon(call: Callable[[str], None], sid: str) -> None:
    call(sid)


async def _answered(future: "concurrent.futures.Future[T]", timeout: float | None) -> T:
    """The result of what runs on the daemon's event loop.

    Raises:
        TimeoutError: The result is not available in time.
        ConnectionError: The daemon stopped.
    """
    try:
        async with asyncio.timeout(timeout):
            return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            raise
        # Not this task was cancelled, but what it waits for.
        raise ConnectionError(_STOPPED) from None


def _seconds(extensions: Mapping[str, Any]) -> float | None:
    timeout: Mapping[str, float | None] = extensions.get("timeout", {})
    limit = timeout.get("read")
    return None if limit is None else finite(limit)
