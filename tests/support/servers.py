"""What answers at a URL and is no daemon."""

import socket
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Generator[str]:
    """A server of such requests, at a URL."""
    with HTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()


class Answer(BaseHTTPRequestHandler):
    """Answers everything with one fixed body."""

    status: ClassVar[int]
    body: ClassVar[bytes]
    content_type: ClassVar[str]

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(self.status)
        self.send_header("content-type", self.content_type)
        self.send_header("content-length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Keeps the test's output clean."""


@contextmanager
def server(body: bytes, *, status: int = 200, content_type: str = "application/json") -> Generator[str]:
    """Something that is no daemon, at a URL."""
    with serving(
        type("Fixed", (Answer,), {"status": status, "body": body, "content_type": content_type})
    ) as url:
        yield url


@contextmanager
def hanging() -> Generator[str]:
    """Something that takes a request and does not answer it, at a URL."""
    held = threading.Event()

    class Hanging(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            held.wait(10)

    with serving(Hanging) as url:
        try:
            yield url
        finally:
            held.set()


@contextmanager
def silent(host: str, port: int) -> Generator[None]:
    """A port that lets every attempt to connect hang: its queue is full."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with ExitStack() as stack:
        full = stack.enter_context(socket.socket(family))
        full.bind((host, port))
        full.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket(family))
            waiting.setblocking(False)
            waiting.connect_ex((host, port))
        yield


@contextmanager
def refusing() -> Generator[str]:
    """A URL at which nothing listens, and meanwhile nothing else can."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


@contextmanager
def listener(answer: bytes | None) -> Generator[str]:
    """Something that takes connections, and says one thing or nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.05)
        ending = threading.Event()
        held: list[socket.socket] = []

        def serve() -> None:
            while not ending.is_set():
                try:
                    connection, _ = listening.accept()
                except TimeoutError:
                    continue
                held.append(connection)
                if answer is not None:
                    connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            ending.set()
            thread.join()
            for connection in held:
                connection.close()


@dataclass
class Heard:
    """The requests that a server got, as they came."""

    url: str
    requests: list[tuple[str, str, Message, bytes]] = field(
        default_factory=list[tuple[str, str, Message, bytes]]
    )


@contextmanager
def hearing() -> Generator[Heard]:
    """A server that notes every request and answers an empty object."""
    requests: list[tuple[str, str, Message, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            requests.append((self.command, self.path, self.headers, body))
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        do_GET = do_PUT = do_POST

        def log_message(self, format: str, *args: object) -> None:
            """Keeps the test's output clean."""

    with serving(Handler) as url:
        yield Heard(url, requests)
