"""What goes over the wire as a request body, in each way of writing one."""

import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from digitorn.testing import ContractViolation, DevClient


@dataclass
class Heard:
    """The requests that a server got, as they came."""

    url: str
    requests: list[tuple[str, str, Message, bytes]] = field(
        default_factory=list[tuple[str, str, Message, bytes]]
    )


@pytest.fixture
def heard() -> Generator[Heard]:
    """A server that notes every request and answers an empty object."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            notes.requests.append((self.command, self.path, self.headers, body))
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        do_GET = do_PUT = do_POST

        def log_message(self, format: str, *args: object) -> None:
            """Keeps the test's output clean."""

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        notes = Heard(f"http://127.0.0.1:{http.server_port}")
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield notes
        finally:
            http.shutdown()
            thread.join()


def test_json(heard: Heard) -> None:
    with DevClient(heard.url, token="a-token-of-mine") as client, pytest.raises(ContractViolation):
        client.api.messages.send_message("a", "s", message="häi", workspace=None)
    ((method, path, headers, body),) = heard.requests
    assert (method, path) == ("POST", "/api/apps/a/sessions/s/messages")
    assert headers["content-type"] == "application/json"
    assert headers["authorization"] == "Bearer a-token-of-mine"
    assert body.decode() in ('{"message":"häi","workspace":null}', '{"message": "häi", "workspace": null}')


def test_multipart_with_files_and_text(heard: Heard) -> None:
    with DevClient(heard.url) as client, pytest.raises(ContractViolation):
        client.api.apps.deploy_app_upload(file=("app.yaml", b"\xff\x00raw"), force=True)
    ((_, _, headers, body),) = heard.requests
    assert headers["content-type"].startswith("multipart/form-data; boundary=")
    assert b'name="file"; filename="app.yaml"' in body
    assert b"\xff\x00raw" in body
    assert b'name="force"\r\n\r\ntrue' in body


def test_bytes_as_they_are(heard: Heard) -> None:
    with DevClient(heard.url) as client:
        client.api.preview.proxy_preview_post("a", "deep/path", body=b"\xff\x00raw")
    ((_, path, headers, body),) = heard.requests
    assert path == "/api/apps/a/preview-server/proxy/deep/path"
    assert body == b"\xff\x00raw"
    assert headers["content-type"] == "application/octet-stream"


def test_no_body_and_query(heard: Heard) -> None:
    with DevClient(heard.url) as client, pytest.raises(ContractViolation):
        client.api.sessions.list_sessions("a b", limit=5)
    ((method, path, headers, body),) = heard.requests
    assert (method, path, body) == ("GET", "/api/apps/a%20b/sessions?limit=5", b"")
    assert headers["content-type"] is None
