"""What goes over the wire as a request body, in each way of writing one."""

from collections.abc import Generator

import pytest

from digitorn_testing import AsyncDevClient, ContractViolation
from support.servers import Heard, hearing


@pytest.fixture
def heard() -> Generator[Heard]:
    """A server that notes every request and answers an empty object."""
    with hearing() as notes:
        yield notes


async def test_json(heard: Heard) -> None:
    async with AsyncDevClient(heard.url, token="a-token-of-mine", retries=None) as client:
        with pytest.raises(ContractViolation):
            await client.api.messages.send_message("a", "s", message="häi", workspace=None)
    ((method, path, headers, body),) = heard.requests
    assert (method, path) == ("POST", "/api/apps/a/sessions/s/messages")
    assert headers["content-type"] == "application/json"
    assert headers["authorization"] == "Bearer a-token-of-mine"
    assert body.decode() in ('{"message":"häi","workspace":null}', '{"message": "häi", "workspace": null}')


async def test_multipart_with_files_and_text(heard: Heard) -> None:
    async with AsyncDevClient(heard.url) as client:
        with pytest.raises(ContractViolation):
            await client.api.apps.deploy_app_upload(file=("app.yaml", b"\xff\x00raw"), force=True)
    ((_, _, headers, body),) = heard.requests
    assert headers["content-type"].startswith("multipart/form-data; boundary=")
    assert b'name="file"; filename="app.yaml"' in body
    assert b"\xff\x00raw" in body
    assert b'name="force"\r\n\r\ntrue' in body


async def test_bytes_as_they_are(heard: Heard) -> None:
    async with AsyncDevClient(heard.url) as client:
        await client.api.admin.proxy_gateway_post("deep/path", body=b"\xff\x00raw")
    ((_, path, headers, body),) = heard.requests
    assert path == "/api/admin/gateway/deep/path"
    assert body == b"\xff\x00raw"
    assert headers["content-type"] == "application/octet-stream"


async def test_no_body_and_query(heard: Heard) -> None:
    async with AsyncDevClient(heard.url) as client:
        with pytest.raises(ContractViolation):
            await client.api.sessions.list_sessions("a b", limit=5)
    ((method, path, headers, body),) = heard.requests
    assert (method, path, body) == ("GET", "/api/apps/a%20b/sessions?limit=5", b"")
    assert headers["content-type"] is None
