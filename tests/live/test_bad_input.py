"""Bad input gives one typed, readable error each; bad events are kept."""

import json
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest

from digitorn.testing import (
    ApiError,
    ContractViolation,
    DaemonUnreachable,
    DevClient,
    DigitornError,
    EventTimeout,
    InvalidRequest,
    LiveEventStream,
    NotFound,
    SessionHandle,
    Unauthorized,
)
from digitorn.testing.fakes import FakeDaemon, FakeModel

PASSWORD = "correct horse battery"


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
    handler = type("Fixed", (Answer,), {"status": status, "body": body, "content_type": content_type})
    with HTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()


@pytest.fixture
def closed_url() -> str:
    """A URL at which nothing listens."""
    with server(b"") as url:
        pass
    return url


def test_an_unknown_app(client: DevClient, daemon: FakeDaemon) -> None:
    with pytest.raises(NotFound, match=r"POST /api/apps/nope/sessions \(create_session\) answered 404"):
        client.chat("nope", "hi")
    session = SessionHandle(session_id="s", app_id="nope", daemon_url=daemon.url)
    with pytest.raises(NotFound, match="an app must be deployed"):
        client.send_live(session, "hi", total_timeout=5)


def test_an_unknown_session(client: DevClient, session: SessionHandle) -> None:
    with pytest.raises(NotFound, match="get_session") as caught:
        client.api.sessions.get_session(session.app_id, session.session_id)
    assert caught.value.status == 404
    with pytest.raises(EventTimeout, match="comes to exist by its first message"):
        client.wait_for_session(session, timeout=0.1)
    with pytest.raises(NotFound):
        client.api.sessions.delete_session(session.app_id, session.session_id)


def test_an_id_that_would_leave_its_path_segment(client: DevClient) -> None:
    with pytest.raises(ApiError) as caught:
        client.api.apps.get_app("../sessions?x=1")
    assert caught.value.status in (400, 404)
    assert caught.value.exchange.path == "/api/apps/..%2Fsessions%3Fx%3D1"
    with pytest.raises(ValueError, match="path parameter 'app_id' is empty"):
        client.api.apps.get_app("")


def test_a_wrong_password(daemon: FakeDaemon) -> None:
    daemon.add_user("me@example.com", PASSWORD)
    with pytest.raises(Unauthorized, match=r"POST /auth/login \(login\) answered 401") as caught:
        DevClient.with_user("me@example.com", "wrong password!!", daemon_url=daemon.url)
    assert "wrong password" not in str(caught.value)
    with pytest.raises(Unauthorized):
        DevClient.with_user("me@example.com", "wrong password!!", True, daemon_url=daemon.url)
    with pytest.raises(InvalidRequest), DevClient(daemon_url=daemon.url) as client:
        client.register("me", "short")


def test_no_token(daemon: FakeDaemon, session: SessionHandle) -> None:
    with DevClient(daemon_url=daemon.url) as client:
        with pytest.raises(Unauthorized, match="pass a fresh token"):
            client.api.apps.list_apps()
        with pytest.raises(Unauthorized):
            client.send_live(session, "hi", total_timeout=5)


def test_an_expired_token(daemon: FakeDaemon, session: SessionHandle) -> None:
    expired = daemon.token(expires_in=-10)
    with DevClient(daemon_url=daemon.url, token=expired) as client:
        with pytest.raises(Unauthorized) as caught:
            client.api.apps.list_apps()
        assert expired not in str(caught.value)
        with pytest.raises(Unauthorized) as caught:
            client.open_event_stream(session)
        assert expired not in str(caught.value)
        assert expired not in repr(client)


def test_an_expired_token_is_renewed_once_when_a_refresh_token_is_there(
    daemon: FakeDaemon, model: FakeModel, session: SessionHandle
) -> None:
    model.will_respond_with_text("hi", times=None)
    daemon.add_user("me@example.com", PASSWORD)
    with DevClient.with_user("me@example.com", PASSWORD, daemon_url=daemon.url) as client:
        fresh = client._credentials.access_token
        expired = daemon.token("me@example.com", expires_in=-10)
        client._credentials.access_token = expired
        assert client.api.auth.get_me().email == "me@example.com"
        renewed = client._credentials.access_token
        assert renewed not in (expired, None)
        assert fresh is not None

        client._credentials.access_token = expired
        client.send_live(session, "hi", total_timeout=10).stop()
        assert client._credentials.access_token != expired

        client.logout()
        with pytest.raises(Unauthorized):
            client.api.auth.get_me()


def test_a_refresh_token_that_is_refused_leaves_the_first_error(daemon: FakeDaemon) -> None:
    with DevClient(daemon_url=daemon.url, token=daemon.token(expires_in=-10)) as client:
        client._credentials.refresh_token = "nonsense"
        with pytest.raises(Unauthorized, match="get_me"):
            client.api.auth.get_me()


def test_no_daemon_there(closed_url: str) -> None:
    session = SessionHandle(session_id="s", app_id="a", daemon_url=closed_url)
    with DevClient(daemon_url=closed_url, token="t") as client:
        with pytest.raises(DaemonUnreachable, match=r"no daemon answered at http://127.0.0.1:\d+") as caught:
            client.chat("a", "hi")
        assert "DIGITORN_DAEMON_URL" in str(caught.value)
        with pytest.raises(DaemonUnreachable):
            client.send_live(session, "hi", total_timeout=5)
        with pytest.raises(DaemonUnreachable):
            client.open_event_stream(session)


def test_no_daemon_but_something_else() -> None:
    with (
        server(b"<html>It works!</html>", content_type="text/html") as url,
        DevClient(url, token="t") as client,
    ):
        with pytest.raises(ContractViolation, match="a Digitorn daemon"):
            client.api.apps.list_apps()
        stream = LiveEventStream(daemon_url=url, token="t", app_id="a", session_id="s")
        with pytest.raises(DigitornError, match="no daemon answered"):
            stream.start()
    with server(b"not found", status=404, content_type="text/plain") as url, DevClient(url) as client:
        with pytest.raises(NotFound, match="is a Digitorn daemon at"):
            client.api.apps.list_apps()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"success": true, "data": [', "not JSON"),
        (b"", "not JSON"),
        (b'{"success": true, "data": {"pending": 5}}', r"data.pending: Input should be a valid list"),
        (b'{"data": {"pending": []}}', "success: expected true or false"),
        (b'"text"', "expected an object with 'data', got str"),
    ],
)
def test_an_answer_that_breaks_the_contract(body: bytes, reason: str) -> None:
    with server(body) as url, DevClient(url, token="t") as client:
        with pytest.raises(ContractViolation, match=reason) as caught:
            client.list_pending_approvals("a")
        assert "GET /api/apps/a/approvals (list_app_approvals) answered 200" in str(caught.value)


def test_an_accepted_message_without_a_correlation_id() -> None:
    body = json.dumps({"success": True, "data": {"session_id": "s", "status": "accepted"}}).encode()
    session = SessionHandle(session_id="s", app_id="a", daemon_url="http://x")
    with server(body) as url, DevClient(url, token="t") as client:
        with pytest.raises(ContractViolation, match="correlation_id: missing"):
            client.chat("a", "hi", session=session)


def test_a_slow_daemon_is_not_waited_for_for_ever() -> None:
    held = threading.Event()

    class Hanging(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            held.wait(10)

    with HTTPServer(("127.0.0.1", 0), Hanging) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            url = f"http://127.0.0.1:{http.server_port}"
            with (
                DevClient(url, token="t", timeout=0.2) as client,
                pytest.raises(DaemonUnreachable, match="timed out"),
            ):
                client.api.apps.list_apps()
        finally:
            held.set()
            http.shutdown()
            thread.join()


def test_a_chat_that_does_not_end(client: DevClient, model: FakeModel) -> None:
    model.will_ask_user("Which?")
    with pytest.raises(EventTimeout, match=r"did not end within 0\.5 s on session") as caught:
        client.chat("my-app", "hi", timeout=0.5)
    assert isinstance(caught.value, TimeoutError)
    assert "waiting for approval: ask_user" in str(caught.value)
    assert [one.tool_name for one in caught.value.pending_approvals] == ["ask_user"]
    assert "approval_request" in {event.type for event in caught.value.events}


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


@pytest.mark.parametrize("answer", [None, b"HTTP/1.1 101 Switching\r\n\r\n", b"nonsense\r\n\r\n"])
def test_what_takes_connections_and_is_no_daemon_is_given_up_in_time(answer: bytes | None) -> None:
    session = SessionHandle(session_id="s", app_id="a", daemon_url="http://x")
    with listener(answer) as url, DevClient(url, token="t") as client:
        started = time.monotonic()
        with pytest.raises((EventTimeout, DaemonUnreachable)):
            client.send_live(session, "hi", total_timeout=0.5)
        with pytest.raises((EventTimeout, DaemonUnreachable)):
            client.chat("a", "hi", session=session, timeout=0.5)
        assert time.monotonic() - started < 8


def test_a_body_that_cannot_be_decoded() -> None:
    gzip = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nnope"
    with listener(gzip) as url, DevClient(url, token="t") as client, pytest.raises(DaemonUnreachable):
        client.api.apps.list_apps()
