"""A uvicorn server on a thread of its own."""

import asyncio
import concurrent.futures
import logging
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol, TypeVar

import uvicorn

from digitorn_testing._concurrency.background_loop import BackgroundLoop
from digitorn_testing._errors import DigitornError

from .socketio import AsgiApp

T = TypeVar("T")

_START_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 10.0
_GRACE_SECONDS: Final = 1.0
_ACCEPTING_ROUNDS: Final = 5
"""How many rounds of the loop an accepted connection takes at most until its protocol knows it."""
_NO_LINGER: Final = struct.pack("ii", 1, 0)
"""Makes the system answer with a reset instead of an end when a socket is closed."""

_UVICORN_LOGGERS: Final = ("uvicorn.error", "uvicorn.access", "uvicorn.asgi")


class DaemonNotStarted(DigitornError, RuntimeError):
    """The embedded daemon did not come up, or is not running."""


class _Silence(logging.Filter):
    """Drops what uvicorn says from one thread below an error: it names addresses, and tokens with them."""

    def __init__(self, thread: threading.Thread) -> None:
        super().__init__()
        self._thread = thread

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR or record.thread != self._thread.ident


class _Server(uvicorn.Server):
    """Tells when it is up, and ends when it is told to instead of looking ten times a second."""

    def __init__(
        self,
        config: uvicorn.Config,
        stopping: asyncio.Event,
        up: threading.Event,
        before_stop: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(config)
        self._stopping = stopping
        self._up = up
        self._before_stop = before_stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._up.set()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self._stopping.wait()
        await self._before_stop()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Uvicorn's own waits a tenth of a second at least, which every test would pay.
        await self._accept_no_more()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if self.server_state.tasks:
            await asyncio.wait(set(self.server_state.tasks), timeout=_GRACE_SECONDS)
        for task in set(self.server_state.tasks):
            task.cancel()
        self.abort_connections()
        # Transports tell their end on the next round of the loop.
        await asyncio.sleep(0)

    async def _accept_no_more(self) -> None:
        loop = asyncio.get_running_loop()
        for server in self.servers:
            for listener in server.sockets:
                loop.remove_reader(listener)
        # A connection that is just being accepted needs the server open, or nobody would ever close it.
        for _ in range(_ACCEPTING_ROUNDS):
            await asyncio.sleep(0)
        for server in self.servers:
            server.close()

    def abort_connections(self, client: tuple[str, int] | None = None) -> None:
        """Cuts every connection, or the one of a client, without a goodbye."""
        for connection in list(self.server_state.connections):
            # The protocols are all on a stream transport, which uvicorn's types do not tell.
            transport: Any = connection.transport
            # An IPv6 address has more parts than host and port, one that has gone has none.
            if client is None or (transport.get_extra_info("peername") or ())[:2] == client:
                transport.abort()

    def reset_connection(self, client: tuple[str, int]) -> None:
        """Breaks the connection of a client so that its end sees a reset, as from a network."""
        for connection in list(self.server_state.connections):
            transport: Any = connection.transport
            if (transport.get_extra_info("peername") or ())[:2] == client:
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
                transport.abort()


class DaemonThread(Protocol):
    """The thread that a daemon runs on."""

    def start(self) -> None:
        """Starts it."""
        ...

    def stop(self) -> None:
        """Ends what runs, and waits for the thread."""
        ...

    def let_go(self) -> None:
        """Ends what runs, and waits for nothing."""
        ...

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> "concurrent.futures.Future[T]":
        """Runs a coroutine on its event loop.

        Raises:
            ConnectionError: It does not run.
        """
        ...

    async def abort_connections(self) -> None:
        """Cuts every connection over the network without a goodbye. On its event loop."""
        ...

    def reset_connection(self, client: tuple[str, int]) -> None:
        """Breaks one connection with a reset. On its event loop."""
        ...


class LoopThread:
    """An event loop on a thread of its own, that listens nowhere.

    Args:
        name: Name of the thread.
        before_stop: Awaited in the loop before it ends.
    """

    def __init__(self, name: str, before_stop: Callable[[], Awaitable[None]]) -> None:
        self._background = BackgroundLoop(name)
        self._before_stop = before_stop

    def start(self) -> None:
        """Starts it."""
        self._background.acquire()

    def stop(self) -> None:
        """Ends what runs, and waits for the thread."""

        async def end() -> None:
            await self._before_stop()

        try:
            self._background.run(end(), _STOP_SECONDS)
        finally:
            self._background.release()

    def let_go(self) -> None:
        """Ends what runs, and waits for nothing."""

        async def end() -> None:
            await self._before_stop()

        self._background.submit(end()).add_done_callback(lambda _: self._background.release())

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> "concurrent.futures.Future[T]":
        """Runs a coroutine on its event loop."""
        return self._background.submit(coroutine)

    async def abort_connections(self) -> None:
        """There are none."""

    def reset_connection(self, client: tuple[str, int]) -> None:
        """There are none."""


class ServerThread:
    """Serves an ASGI application on a free port, with an event loop on its own thread.

    Args:
        app: The application.
        host: Address to listen on.
        before_stop: Awaited in the loop before the connections are closed.
        port: Port to listen on; a free one if left out.
    """

    def __init__(
        self, app: AsgiApp, host: str, before_stop: Callable[[], Awaitable[None]], *, port: int = 0
    ) -> None:
        self._app = app
        self._before_stop = before_stop
        self._up = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._server: _Server | None = None
        self._socket = _listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run, name=f"fake-daemon-{self.port}", daemon=True)
        self._silence = _Silence(self._thread)

    def start(self) -> None:
        """Starts serving.

        Raises:
            DaemonNotStarted: The server did not come up.
        """
        for name in _UVICORN_LOGGERS:
            logging.getLogger(name).addFilter(self._silence)
        self._thread.start()
        self._up.wait(_START_SECONDS)
        if self._failure is not None or self._server is None or not self._server.started:
            self.stop()
            raise DaemonNotStarted(
                f"the embedded daemon did not come up on port {self.port} within {_START_SECONDS:g} s"
            ) from self._failure

    def stop(self) -> None:
        """Stops serving, closes every connection and waits for the thread.

        Raises:
            RuntimeError: The thread does not end.
        """
        self.let_go()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)
        self._socket.close()
        for name in _UVICORN_LOGGERS:
            logging.getLogger(name).removeFilter(self._silence)
        if self._thread.is_alive():
            raise RuntimeError(f"the embedded daemon did not stop within {_STOP_SECONDS:g} s")

    def let_go(self) -> None:
        """Stops serving and closes every connection, and waits for nothing."""
        loop, stopping = self._loop, self._stopping
        if loop is not None and stopping is not None and not loop.is_closed():
            loop.call_soon_threadsafe(stopping.set)

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> "concurrent.futures.Future[T]":
        """Runs a coroutine on the server's event loop.

        Raises:
            ConnectionError: It does not run.
        """
        loop = self._loop
        if loop is None or loop.is_closed():
            coroutine.close()
            raise ConnectionError("the embedded daemon is not running")
        return asyncio.run_coroutine_threadsafe(coroutine, loop)

    async def abort_connections(self) -> None:
        """Cuts every connection without a goodbye. On the server's event loop."""
        if self._server is not None:
            self._server.abort_connections()

    def reset_connection(self, client: tuple[str, int]) -> None:
        """Breaks one connection with a reset. To be called in the server's loop.

        Args:
            client: The client's end of it, as the scope of its request names it.
        """
        if self._server is not None:
            self._server.reset_connection(client)

    def abort_connection(self, client: tuple[str, int]) -> None:
        """Cuts one connection as if the network had failed. To be called in the server's loop.

        Args:
            client: The client's end of it, as the scope of its request names it.
        """
        if self._server is not None:
            self._server.abort_connections(client)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits for the start
            self._failure = error
        finally:
            self._up.set()

    async def _serve(self) -> None:
        self._stopping = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        config = uvicorn.Config(
            self._app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="websockets-sansio",
            date_header=False,
            server_header=False,
            proxy_headers=False,
        )
        self._server = server = _Server(config, self._stopping, self._up, self._before_stop)
        await server.serve(sockets=[self._socket])


def _listen(host: str, port: int) -> socket.socket:
    made = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    # asyncio sends small answers at once only on sockets that say they are TCP; on others each waits about
    # 40 ms for the client's delayed acknowledgement. Accepted sockets take the protocol from the listener.
    listener = socket.socket(made.family, made.type, socket.IPPROTO_TCP, fileno=made.detach())
    listener.setblocking(False)
    return listener
