"""The Socket.IO server, with types: the only place here that uses python-socketio, which is untyped."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, cast, get_args
from urllib.parse import parse_qs

import socketio  # pyright: ignore[reportMissingTypeStubs] - the package has none
from pydantic import ValidationError

from digitorn_testing._generated._runtime import Command, Model
from digitorn_testing._generated.commands import CommandError
from digitorn_testing._generated.events import EVENT_NAMESPACE, EVENT_PUSH
from digitorn_testing._secrets.logs import QuietLogger
from digitorn_testing._secrets.redaction import HIDDEN

from .envelopes import Frame

Request = TypeVar("Request", bound=Model)
Ack = TypeVar("Ack", bound=Model)

Scope: TypeAlias = MutableMapping[str, Any]
AsgiApp: TypeAlias = Callable[
    [Scope, Callable[[], Awaitable[Scope]], Callable[[Scope], Awaitable[None]]], Awaitable[None]
]

Cut: TypeAlias = Literal["reset", "close", "disconnect"]
"""How a connection ends from the daemon's side: `reset` breaks it as a network does, `close` ends it in
order, `disconnect` disconnects in Socket.IO first."""

logger = logging.getLogger(__name__)

# The package logs whole packets, that of the handshake with its token among them.
_TOKENS = re.compile(r"""(?<="token":")[^"]*|eyJ[\w-]+\.[\w-]+\.[\w-]+""")
_LOGGER: Any = QuietLogger(f"{__name__}.packets", lambda text: _TOKENS.sub(HIDDEN, text))


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How connections over Engine.IO behave (contract: events, section 1).

    Attributes:
        ping_interval: Seconds between two pings.
        ping_timeout: Seconds until one that is not answered ends the connection.
        max_message: Bytes of the largest message that a client may send.
    """

    ping_interval: float
    ping_timeout: float
    max_message: int


@dataclass(frozen=True, slots=True)
class Handshake:
    """What a client shows when it connects.

    Attributes:
        auth: What it sent as `auth`.
        authorization: Its `Authorization` header; empty if there is none.
        query: The parameters of its URL, the first value of each.
        cookies: Its cookies.
    """

    auth: object
    authorization: str
    query: Mapping[str, str]
    cookies: Mapping[str, str]


class Unanswered(Exception):
    """A command gets no acknowledgement at all."""


async def acknowledge(
    command: Command[Request, Ack],
    handle: Callable[[str, Request], Awaitable[Ack | CommandError]],
    sid: str,
    sent: object,
    *,
    incomplete: str,
) -> Frame:
    """The acknowledgement of a command.

    Args:
        command: The command.
        handle: Takes the socket and the request, and gives the acknowledgement.
        sid: The socket.
        sent: What came; anything but an object counts as an empty one.
        incomplete: What a client is told whose request lacks something.

    Raises:
        Unanswered: A numeric argument of the request is not a number (contract: events, section 3).
    """
    members = cast("dict[str, Any]", sent) if isinstance(sent, dict) else {}
    try:
        request = command.request.from_wire(_with_numbers(command.request, members))
    except ValidationError:
        return CommandError(ok=False, error=incomplete).to_wire()
    except (ValueError, TypeError):
        logger.warning("%s: a number in the request cannot be read", command.name)
        raise Unanswered from None
    try:
        return (await handle(sid, request)).to_wire()
    except Exception:
        logger.exception("the handler of %s crashed", command.name)
        return CommandError(ok=False, error="internal error").to_wire()


class Sockets(Protocol):
    """Connections on the namespace of the contract's events, their rooms and their commands."""

    def on_connection(
        self,
        admit: Callable[[str, Handshake], bool],
        greet: Callable[[str], Awaitable[None]],
        leave: Callable[[str], None],
    ) -> None:
        """Decides who may connect.

        Args:
            admit: Whether a socket is let in; a refusal is a connect error without a reason.
            greet: Called once the socket is in and knows it.
            leave: Called when the socket has gone.
        """
        ...

    def on_command(
        self,
        command: Command[Request, Ack],
        handle: Callable[[str, Request], Awaitable[Ack | CommandError]],
        *,
        incomplete: str,
    ) -> None:
        """Serves a command. A request with an invalid number gets no acknowledgement.

        Args:
            command: The command.
            handle: Takes the socket and the request, and gives the acknowledgement.
            incomplete: What a client is told whose request lacks something.
        """
        ...

    async def push(self, frame: Frame, *, to: str) -> None:
        """Sends a frame to a room, or to the one socket of an id."""
        ...

    async def enter(self, sid: str, room: str) -> None:
        """Puts a socket into a room."""
        ...

    async def leave(self, sid: str, room: str) -> None:
        """Takes a socket out of a room; it need not be in it."""
        ...

    async def close(self, room: str) -> None:
        """Takes every socket out of a room."""
        ...

    def members(self, room: str) -> list[str]:
        """The sockets in a room, or the one socket of an id."""
        ...

    async def cut(self, sid: str, how: Cut) -> None:
        """Ends a connection from the daemon's side; it may have gone already."""
        ...

    async def stop(self) -> None:
        """Ends what watches over the connections."""
        ...


class SocketServer:
    """Connections over Socket.IO.

    Args:
        settings: How they behave.
        reset: Breaks the connection of a client, as the scope of its request names it.
    """

    def __init__(self, settings: EngineSettings, reset: Callable[[tuple[str, int]], None]) -> None:
        self._reset = reset
        self._server: Any = socketio.AsyncServer(
            async_mode="asgi",
            ping_interval=settings.ping_interval,
            ping_timeout=settings.ping_timeout,
            max_http_buffer_size=settings.max_message,
            logger=_LOGGER,
            engineio_logger=_LOGGER,
        )
        self._greetings: set[asyncio.Task[None]] = set()
        self._endings: set[asyncio.Task[None]] = set()

    def asgi(self, other: AsgiApp) -> AsgiApp:
        """An application that serves the sockets, and everything else by another one."""
        return cast("AsgiApp", socketio.ASGIApp(self._server, other_asgi_app=other))

    def on_connection(
        self,
        admit: Callable[[str, Handshake], bool],
        greet: Callable[[str], Awaitable[None]],
        leave: Callable[[str], None],
    ) -> None:
        """Decides who may connect.

        Args:
            admit: Whether a socket is let in; a refusal is a connect error without a reason.
            greet: Called once the socket is in and knows it.
            leave: Called when the socket has gone.
        """

        async def connected(sid: str, environ: Mapping[str, Any], auth: object = None) -> bool:
            if not admit(sid, _handshake(environ, auth)):
                return False
            # The client is told that it is in only when this returns; what is sent before would be lost.
            greeting = asyncio.get_running_loop().create_task(_logged(greet, sid))
            self._greetings.add(greeting)
            greeting.add_done_callback(self._greetings.discard)
            return True

        async def disconnected(sid: str, *_: object) -> None:
            leave(sid)

        self._server.on("connect", connected, namespace=EVENT_NAMESPACE)
        self._server.on("disconnect", disconnected, namespace=EVENT_NAMESPACE)

    def on_command(
        self,
        command: Command[Request, Ack],
        handle: Callable[[str, Request], Awaitable[Ack | CommandError]],
        *,
        incomplete: str,
    ) -> None:
        """Serves a command. A request with an invalid number gets no acknowledgement.

        Args:
            command: The command.
            handle: Takes the socket and the request, and gives the acknowledgement.
            incomplete: What a client is told whose request lacks something.
        """

        async def called(sid: str, *args: object) -> Any:
            try:
                return await acknowledge(
                    command, handle, sid, args[0] if args else None, incomplete=incomplete
                )
            except Unanswered:
                return self._server.not_handled

        self._server.on(command.name, called, namespace=command.namespace)

    async def push(self, frame: Frame, *, to: str) -> None:
        """Sends a frame to a room, or to the one socket of an id."""
        await self._server.emit(EVENT_PUSH, frame, room=to, namespace=EVENT_NAMESPACE)

    async def enter(self, sid: str, room: str) -> None:
        """Puts a socket into a room."""
        await self._server.enter_room(sid, room, namespace=EVENT_NAMESPACE)

    async def leave(self, sid: str, room: str) -> None:
        """Takes a socket out of a room; it need not be in it."""
        await self._server.leave_room(sid, room, namespace=EVENT_NAMESPACE)

    async def close(self, room: str) -> None:
        """Takes every socket out of a room."""
        await self._server.close_room(room, namespace=EVENT_NAMESPACE)

    def members(self, room: str) -> list[str]:
        """The sockets in a room, or the one socket of an id."""
        return [sid for sid, _ in self._server.manager.get_participants(EVENT_NAMESPACE, room)]

    async def cut(self, sid: str, how: Cut) -> None:
        """Ends a connection from the daemon's side; it may have gone already."""
        environ: dict[str, Any] | None = self._server.get_environ(sid, namespace=EVENT_NAMESPACE)
        if environ is None:
            return
        match how:
            case "reset":
                self._reset(tuple(environ["asgi.scope"]["client"]))
            case "close":
                self._end(self._server.eio.disconnect(self._engine_id(sid)))
            case "disconnect":
                self._end(self._server.disconnect(sid, namespace=EVENT_NAMESPACE))

    def _engine_id(self, sid: str) -> str:
        return cast("str", self._server.manager.eio_sid_from_sid(sid, EVENT_NAMESPACE))

    def _end(self, ending: Coroutine[Any, Any, None]) -> None:
        """Ends a connection in order, which may wait for what is still to be sent."""
        task = asyncio.get_running_loop().create_task(ending)
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    async def stop(self) -> None:
        """Ends the watch over idle connections."""
        for ending in self._endings:
            ending.cancel()
        await self._server.shutdown()


async def _logged(greet: Callable[[str], Awaitable[None]], sid: str) -> None:
    try:
        await greet(sid)
    except Exception:
        logger.exception("a socket could not be greeted")


def _with_numbers(request: type[Model], sent: dict[str, Any]) -> dict[str, Any]:
    """A request whose numbers may have come as text, as the daemon takes them."""
    numbers = {name for name, field in request.model_fields.items() if _is_number(field.annotation)}
    return {
        name: int(value) if name in numbers and value is not None else value for name, value in sent.items()
    }


def _is_number(annotation: object) -> bool:
    return annotation is int or any(_is_number(one) for one in get_args(annotation))


def _handshake(environ: Mapping[str, Any], auth: object) -> Handshake:
    query = parse_qs(str(environ.get("QUERY_STRING", "")))
    cookies = SimpleCookie()
    try:
        cookies.load(str(environ.get("HTTP_COOKIE", "")))
    except CookieError:
        logger.warning("a client sent cookies that cannot be read")
    return Handshake(
        auth=auth,
        authorization=str(environ.get("HTTP_AUTHORIZATION", "")),
        query={name: values[0] for name, values in query.items()},
        cookies={name: one.value for name, one in cookies.items()},
    )
