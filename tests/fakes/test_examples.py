"""Operations that the embedded daemon has no behaviour for: examples, behind the rules that all obey."""

import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from digitorn_testing._generated import models, operations
from digitorn_testing._generated.operations import OPERATIONS
from digitorn_testing.fakes import ExampleAnswer, FakeDaemon
from digitorn_testing.fakes._rest.examples import example_of
from support.recorder import APP, another, http


@pytest.fixture
def daemon() -> Any:
    with FakeDaemon(examples="answer") as running:
        running.add_app(APP)
        yield running


@pytest.fixture
async def client(daemon: FakeDaemon) -> Any:
    async with http(daemon) as opened:
        yield opened


# --- the examples


@pytest.mark.parametrize(
    "operation", [one for one in OPERATIONS if one.reading == "json"], ids=lambda o: o.id
)
def test_an_example_keeps_to_the_contract(operation: Any) -> None:
    operation.adapter.validate_python(example_of(operation))


def test_an_example_of_success_tells_of_no_error() -> None:
    assert example_of(operations.SET_SECRET).get("reload_error") is None


def test_examples_are_the_same_in_every_process_and_order() -> None:
    code = (
        "from digitorn_testing._generated.operations import OPERATIONS\n"
        "from digitorn_testing.fakes._rest.examples import example_of\n"
        "found = [one for one in OPERATIONS if one.reading == 'json'][::-7]\n"
        "print(repr({one.id: example_of(one) for one in found}))\n"
    )
    there = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    made = [one for one in OPERATIONS if one.reading == "json"]
    here = {one.id: example_of(one) for one in made}
    assert there.stdout.strip() == repr({one.id: here[one.id] for one in made[::-7]}) != "{}"


async def test_the_same_example_comes_again(client: httpx.AsyncClient) -> None:
    first, second = [(await client.get("/api/users/me/devices")).json() for _ in range(2)]
    assert first == second
    assert first["success"] is True
    listed = models.DeviceList.from_wire(first["data"])
    assert listed.count == len(listed.devices) == 1


async def test_what_was_asked_for_has_its_own_id(client: httpx.AsyncClient) -> None:
    assert (await client.get(f"/api/apps/{APP}/watchers/mine")).json()["data"]["watcher_id"] == "mine"


async def test_the_smaller_envelope_and_none(client: httpx.AsyncClient) -> None:
    wrapped = (await client.get(f"/api/apps/{APP}/widgets")).json()
    assert wrapped.keys() == {"data"}
    assert "data" not in (await client.get("/api/modules")).json()


# --- that they are examples


@pytest.mark.parametrize("listen", [True, False])
def test_an_exchange_tells_an_example_from_behaviour(listen: bool) -> None:
    with FakeDaemon(listen=listen, examples="answer") as daemon, daemon.client() as client:
        daemon.add_app(APP)
        client.api.user.list_devices()
        client.api.apps.list_apps()
        for exchanges in (client.exchanges, daemon.exchanges):
            assert [(one.operation, one.is_example) for one in exchanges] == [
                ("list_devices", True),
                ("list_apps", False),
            ]
            assert str(exchanges[0]).endswith("(list_devices) answered 200 with an example")
            assert exchanges[0].to_wire()["is_example"] is True


async def test_examples_are_refused(client_of: Any) -> None:
    async with client_of(examples="refuse") as client:
        refused = await client.get("/api/users/me/devices")
        assert refused.status_code == 501
        assert models.Problem.from_wire(refused.json()).error == (
            "the embedded daemon has no behaviour for list_devices (GET /api/users/me/devices), and examples "
            "are refused: run this test on the released daemon, or accept answers made up from the contract "
            "with FakeDaemon(examples='answer')"
        )
        # The usual checks come first.
        assert (await client.get("/api/users/me/devices", headers={"Authorization": ""})).status_code == 401
        assert (await client.get(f"/api/apps/{APP}/errors?limit=x")).status_code == 422
        assert (await client.get("/api/apps")).status_code == 200


async def test_a_warning_tells_once_of_each_operation(client_of: Any) -> None:
    async with client_of() as client:
        with pytest.warns(ExampleAnswer, match="no behaviour for list_devices"):
            answer = await client.get("/api/users/me/devices")
        # A second warning would be an error, and so a refusal.
        again = await client.get("/api/users/me/devices")
        for one in (answer, again):
            assert (one.status_code, one.headers["x-digitorn-example"]) == (200, "true")
        # Here warnings are errors, and nobody else could tell the caller.
        assert (await client.get("/metrics")).status_code == 501


@pytest.fixture
def client_of() -> Any:
    @asynccontextmanager
    async def open_client(**options: Any) -> AsyncGenerator[httpx.AsyncClient]:
        with FakeDaemon(**options) as daemon:
            daemon.add_app(APP)
            async with http(daemon) as opened:
                yield opened

    return open_client


# --- paths


async def test_the_more_particular_path_wins(client: httpx.AsyncClient) -> None:
    tools = f"/api/apps/{APP}/tools"
    models.ToolSearchResult.from_wire((await client.get(f"{tools}/search?q=x")).json()["data"])
    models.ToolCategoryPage.from_wire((await client.get(f"{tools}/categories/x")).json()["data"])
    models.ToolSchema.from_wire((await client.get(f"{tools}/server/tool")).json()["data"])


async def test_other_methods_are_refused(client: httpx.AsyncClient) -> None:
    assert (await client.head("/api/users/me/devices")).status_code == 405


# --- who and what must be there


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/apps/a..b/triggers", 400),
        ("/api/apps/absent/triggers", 404),
        ("/api/apps/absent/notifications/active", 200),
        ("/api/apps/a..b/notifications/active", 400),
        (f"/api/apps/{APP}/sessions/absent/workspace/export", 404),
        (f"/api/apps/{APP}/sessions/a..b/workspace/export", 400),
        (f"/api/apps/{APP}/sessions/a..b/images/x", 404),
        ("/api/apps/a..b/credentials/schema", 404),
    ],
)
async def test_what_is_not_there(client: httpx.AsyncClient, path: str, status: int) -> None:
    answer = await client.get(path)
    assert answer.status_code == status
    if status != 200:
        models.Problem.from_wire(answer.json())


async def test_sessions_of_others_look_absent(daemon: FakeDaemon) -> None:
    eve = daemon.add_user("eve@example.com", "a-long-password", permissions=["*"])
    async with another(daemon) as mine, http(daemon, eve) as foreign:
        assert (await mine.client.get(f"{mine.path}/workspace/export")).status_code == 200
        assert (await foreign.get(f"{mine.path}/workspace/export")).status_code == 404


# --- what is sent


@pytest.mark.parametrize(
    ("method", "path", "body", "place"),
    [
        ("POST", "/watchers", b"", ["body"]),
        ("POST", "/watchers", b"[]", ["body"]),
        ("POST", "/watchers", b"{", ["body"]),
        ("POST", "/watchers", b"{}", ["body", "tool"]),
        ("POST", "/watchers", b'{"tool": 1}', ["body", "tool"]),
        ("GET", "/files?size=x", b"", None),
        ("GET", "/errors?limit=x", b"", ["query", "limit"]),
        ("GET", "/oauth/callback?code=x", b"", ["query", "state"]),
        ("POST", "/watchers/x/pause", b"", None),
    ],
)
async def test_a_request_must_have_its_form(
    client: httpx.AsyncClient, method: str, path: str, body: bytes, place: list[str] | None
) -> None:
    answer = await client.request(method, f"/api/apps/{APP}{path}", content=body)
    if place is None:
        assert answer.status_code == 200, answer.text
        return
    assert answer.status_code == 422
    detail = models.HTTPValidationError.from_wire(answer.json()).details
    assert detail[0].loc == place


async def test_an_upload_needs_its_file(client: httpx.AsyncClient) -> None:
    missing = await client.post("/api/transcribe", files={"other": b"x"})
    assert missing.status_code == 422
    assert models.HTTPValidationError.from_wire(missing.json()).details[0].loc == ["body", "audio"]
    sent = await client.post("/api/transcribe", files={"audio": ("a.wav", b"x")})
    assert sent.status_code == 200


# --- what is no JSON


@pytest.mark.parametrize(
    ("method", "path", "status", "media_type"),
    [
        ("GET", f"/api/apps/{APP}/icon", 200, "image/png"),
        ("GET", f"/api/apps/{APP}/assets/a/b.txt", 200, "application/octet-stream"),
        ("GET", "/metrics", 200, "text/plain; charset=utf-8"),
        ("GET", f"/api/apps/{APP}/widgets/data/x/stream", 200, "text/event-stream; charset=utf-8"),
        ("PATCH", "/api/admin/gateway/a/b", 200, "application/octet-stream"),
        ("DELETE", f"/api/security/profiles/{APP}", 204, None),
    ],
)
async def test_other_answers(
    client: httpx.AsyncClient, method: str, path: str, status: int, media_type: str | None
) -> None:
    answer = await client.request(method, path)
    assert (answer.status_code, answer.headers.get("content-type")) == (status, media_type)
    assert bool(answer.content) == (media_type is not None)
