"""Daemons that are broken or hostile, and what stands between a client and a daemon that is neither."""

import asyncio
import contextlib
import json
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trustme
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from digitorn_testing._concurrency.background_loop import BackgroundLoop
from digitorn_testing.fakes import FakeDaemon

OPEN = '0{"sid":"x","upgrades":[],"pingInterval":25000,"pingTimeout":10000}'
"""The packet that opens a connection of Engine.IO."""


OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
"""How an answer begins that is all right so far."""


class Ending(Exception):
    """The test is over."""


class Caller:
    """A connection of a client to a hostile daemon.

    Args:
        connection: The socket.
        ending: Set when the test is over.
    """

    def __init__(self, connection: socket.socket, ending: threading.Event) -> None:
        self._connection = connection
        self._ending = ending

    def send(self, data: bytes) -> None:
        """Sends bytes, until the client has gone."""
        if self._ending.is_set():
            raise Ending
        self._connection.sendall(data)

    def send_endlessly(self, data: bytes, *, pause: float = 0.0) -> None:
        """Sends the same again and again.

        Args:
            data: What to send.
            pause: Seconds between.
        """
        while True:
            self.send(data)
            self._ending.wait(pause)

    def hold(self, seconds: float = 30) -> None:
        """Says nothing for a while."""
        self._ending.wait(seconds)


@contextmanager
def hostile(answer: Callable[[Caller], None]) -> Generator[str]:
    """A daemon that reads the head of each request and answers by hand, at a URL."""
    ending = threading.Event()
    threads: list[threading.Thread] = []

    def speak(connection: socket.socket) -> None:
        with connection:
            connection.settimeout(10)
            try:
                connection.recv(65536)
                answer(Caller(connection, ending))
            except (OSError, Ending):
                # The client has had enough.
                return

    def accept() -> None:
        while not ending.is_set():
            try:
                connection, _ = listening.accept()
            except TimeoutError:
                continue
            threads.append(threading.Thread(target=speak, args=(connection,)))
            threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.02)
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            ending.set()
            accepting.join()
            for thread in threads:
                thread.join()


class HostileSocket:
    """The event socket of a hostile daemon, from its side.

    Args:
        connection: The connection.
        ending: Set when the test is over.
    """

    def __init__(self, connection: ServerConnection, ending: threading.Event) -> None:
        self._connection = connection
        self.ending = ending

    def send(self, message: str | bytes) -> None:
        """Sends a message as one frame."""
        self._connection.send(message)

    def send_in_pieces(self, pieces: Any) -> None:
        """Sends a message as many frames."""
        self._connection.send(pieces)

    def send_raw(self, data: bytes) -> None:
        """Sends bytes that need not be a frame."""
        self._connection.socket.sendall(data)

    def event(self, envelope: object) -> None:
        """Pushes an event."""
        self.send(f'42/events,["event",{json.dumps(envelope)}]')

    def let_in(
        self, answer: str = '{"ok":true,"room":"session:s","latest_seq":0}', opening: str = OPEN
    ) -> None:
        """Lets the client in as a daemon does, and answers its wish to join a session.

        Args:
            answer: The acknowledgement as JSON.
            opening: The first message.
        """
        self.send(opening)
        assert str(self._connection.recv()).startswith("40/events,")
        self.send('40/events,{"sid":"y"}')
        asked = self._connection.recv()
        assert "join_session" in str(asked)
        number = str(asked).removeprefix("42/events,").partition("[")[0]
        self.send(f"43/events,{number}[{answer}]")

    def hold(self) -> None:
        """Says nothing more."""
        self.ending.wait(30)


@contextmanager
def hostile_socket(speak: Callable[[HostileSocket], None]) -> Generator[str]:
    """A daemon whose event socket says what it should not, at a URL."""
    ending = threading.Event()

    def handle(connection: ServerConnection) -> None:
        try:
            speak(HostileSocket(connection, ending))
        except (OSError, ConnectionClosed):
            # The client has had enough.
            return

    # What it sends shall not be found in a log of its own.
    silent = logging.Logger("hostile", logging.CRITICAL + 1)
    with serve(handle, "127.0.0.1", 0, compression=None, close_timeout=0.1, logger=silent) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            ending.set()
            server.shutdown()
            thread.join()


class Certificates:
    """A CA of the test's own.

    Args:
        folder: Where its certificate goes.
    """

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self.file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def server(self, host: str) -> ssl.SSLContext:
        """The TLS settings of a server that calls itself by a name."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # Its types name a package that is not here.
        certificate: Any = self._ca.issue_cert(host)
        certificate.configure_cert(context)
        return context


@contextmanager
def behind_tls(daemon: FakeDaemon, tls: ssl.SSLContext) -> Generator[str]:
    """A daemon that is reached over TLS, at a URL."""
    loop = BackgroundLoop("tls")

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
        except OSError:
            return
        finally:
            target.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", daemon.port)
        # asyncio of Python 3.11 logs a traceback if a relay is still cancelled when its loop ends.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))

    async def listen() -> asyncio.Server:
        return await asyncio.start_server(relay, "127.0.0.1", 0, ssl=tls)

    async def close(server: asyncio.Server) -> None:
        server.close()

    loop.acquire()
    try:
        server = loop.run(listen(), 5)
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        loop.run(close(server), 5)
    finally:
        loop.release()


def whole(body: bytes, head: bytes = OK) -> bytes:
    """An answer with a body and its length."""
    return head + f"content-length: {len(body)}\r\n\r\n".encode() + body


def says(answer: bytes) -> Callable[[Caller], None]:
    """A daemon that gives one answer to everything."""
    return lambda caller: caller.send(answer)
