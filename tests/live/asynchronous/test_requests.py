"""Calls of any route, which the contract need not have; and what people look at every day."""

from pathlib import Path

import pytest

from digitorn_testing import (
    ApiError,
    AsyncDevClient,
    ClientClosed,
    DaemonUnreachable,
    EventLog,
    InvalidRequest,
    NotFound,
    RetryPolicy,
    ServerError,
    SessionHandle,
    Unauthorized,
)
from digitorn_testing.fakes import FakeDaemon, FakeModel
from support.servers import hanging, hearing, server

LEADS_AWAY = [
    "http://example.com/",
    "//example.com/",
    "@example.com/",
    "api/apps",
    "/api/../apps",
    "/api/%2e%2e/apps",
    "/api/apps#end",
    "/api/a\nb",
    "/\\example.com",
    "",
]


@pytest.mark.both_daemons
async def test_a_route_is_called_like_an_operation_of_the_contract(
    client: AsyncDevClient, session: SessionHandle
) -> None:
    answer = await client.request("get", "/api/apps?include_hidden=true", params={"x": [1, "a"], "y": None})
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    value = answer.json()
    assert isinstance(value, dict)
    assert value["success"] is True
    assert answer.text.encode() == answer.content
    exchange = client.exchanges[-1]
    assert (exchange.operation, exchange.method, exchange.path) == ("", "GET", "/api/apps")
    assert exchange.query == (("include_hidden", "true"), ("x", "1"), ("x", "a"))
    with pytest.raises(ApiError, match=r"GET /api/apps/nobody%20here answered 40"):
        await client.request("GET", "/api/apps/nobody here")
    path = f"/api/apps/{session.app_id}/sessions/{session.session_id}/messages"
    with pytest.raises(InvalidRequest, match="message"):
        await client.request("POST", path, json={"images": []})
    assert (await client.request("GET", "/healthz")).json() is not None


async def test_bodies_and_headers_are_sent_as_they_are_given() -> None:
    with hearing() as heard:
        async with AsyncDevClient(heard.url, token="t" * 9, timeout=3, retries=None) as client:
            await client.request("POST", "/api/new", json={"a": ["é", None]})
            await client.request("PUT", "/api/new", content=b"\x00")
            kept = {"content-type": "text/csv", "X-Name": "x"}
            await client.request("POST", "/api/new/", content="é", headers=kept)
            await client.request("GET", "/api/new")
    assert [(verb, path, body) for verb, path, _, body in heard.requests] == [
        ("POST", "/api/new", '{"a":["é",null]}'.encode()),
        ("PUT", "/api/new", b"\x00"),
        ("POST", "/api/new/", "é".encode()),
        ("GET", "/api/new", b""),
    ]
    headers = [headers for _, _, headers, _ in heard.requests]
    assert [one.get_all("content-type") for one in headers] == [
        ["application/json"],
        ["application/octet-stream"],
        ["text/csv"],
        None,
    ]
    assert headers[2]["x-name"] == "x"
    assert {one["authorization"] for one in headers} == {f"Bearer {'t' * 9}"}


async def test_failures_are_those_of_other_calls() -> None:
    retries = RetryPolicy(attempts=2, first_pause=0.0)
    with server(b'{"detail": "busy"}', status=500) as url:
        async with AsyncDevClient(url, timeout=3, retries=retries) as client:
            with pytest.raises(ServerError, match=r"busy: GET /api/new answered 500 on attempt 2"):
                await client.request("GET", "/api/new")
            with pytest.raises(ServerError, match=r"busy: POST /api/new answered 500"):
                await client.request("POST", "/api/new", json={})
            assert [one.retry for one in client.exchanges] == [0, 1, 0]
    with server(b'{"success": false, "error": "not now", "data": {"why": 1}}') as url:
        async with AsyncDevClient(url, timeout=3) as client:
            with pytest.raises(ApiError, match="not now: GET /api/new answered 200") as caught:
                await client.request("GET", "/api/new")
            assert caught.value.data == {"why": 1}
    with hanging() as url:
        async with AsyncDevClient(url, timeout=30, retries=None) as client:
            with pytest.raises(DaemonUnreachable, match="timed out"):
                await client.request("GET", "/api/new", timeout=0.1)
    with pytest.raises(ClientClosed):
        await client.request("GET", "/api/new")


async def test_an_answer_is_whatever_came() -> None:
    with server(rb'{"\ud83d": "half \ud83d"}', status=201) as url:
        async with AsyncDevClient(url, timeout=3) as client:
            answer = await client.request("GET", "/api/new")
            assert (answer.status, answer.json()) == (201, {"\ud83d": "half \ud83d"})
            assert client.exchanges[-1].response == answer.json()
    with server(b"<html>", content_type="application/json") as url:
        async with AsyncDevClient(url, timeout=3) as client:
            answer = await client.request("GET", "/api/new")
            assert answer.text == "<html>"
            with pytest.raises(ValueError, match="expected value"):
                answer.json()


async def test_a_token_that_has_expired(daemon: FakeDaemon) -> None:
    async with AsyncDevClient(daemon.url, token=daemon.token(expires_in=-10)) as client:
        with pytest.raises(Unauthorized):
            await client.request("GET", "/api/apps")


@pytest.mark.parametrize("path", LEADS_AWAY)
async def test_a_path_that_leads_elsewhere_is_refused(client: AsyncDevClient, path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        await client.request("GET", path)
    assert not client.exchanges


async def test_what_cannot_be_sent_is_refused(client: AsyncDevClient) -> None:
    with pytest.raises(ValueError, match="header 'Host' is set by the client itself"):
        await client.request("GET", "/api/apps", headers={"Host": "example.com"})
    with pytest.raises(ValueError, match="'give' is no HTTP method"):
        await client.request("give", "/api/apps")
    with pytest.raises(ValueError, match="one body"):
        await client.request("POST", "/api/apps", json={}, content=b"")
    with pytest.raises(ValueError, match=r"POST: body.a holds half of a surrogate pair .* at position 1"):
        await client.request("POST", "/api/apps", json={"a": "x\ud83d"})
    with pytest.raises(ValueError, match=r"path holds half of a surrogate pair"):
        await client.request("GET", "/api/\ud83d")
    assert not client.exchanges


# --- what people look at every day


# Of the embedded daemon, health is an example.
@pytest.mark.filterwarnings("ignore::digitorn_testing.fakes.ExampleAnswer")
@pytest.mark.both_daemons
async def test_apps_events_health_and_the_user(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    assert session.app_id in [one.app_id for one in await client.list_apps()]
    assert session.app_id in [one.app_id for one in await client.list_apps(include_hidden=True)]
    assert (await client.get_app(session.app_id)).app_id == session.app_id
    with pytest.raises(NotFound):
        await client.get_app("nobody")
    assert (await client.get_health()).status
    assert (await client.get_me()).user_id
    model.will_respond_with_text("hi")
    await client.send(session, "hello", timeout=30)
    logged = await client.list_events(session, limit=2)
    assert {one["type"] if isinstance(one, dict) else one.type for one in logged.events} >= {"user_message"}
    assert len(logged.events) == 2
    later = await client.list_events(session, since=1)
    assert all((one["seq"] if isinstance(one, dict) else one.seq) > 1 for one in later.events)


async def test_texts_that_cannot_be_sent_are_refused_before_anything_is(
    client: AsyncDevClient, daemon: FakeDaemon, session: SessionHandle
) -> None:
    half = "half \ud83d"
    with pytest.raises(ValueError, match=r"^send_message: message holds half of .* at position 5"):
        await client.send(session, half)
    with pytest.raises(ValueError, match=r"^app_id holds half"):
        await client.chat(half, "hi")
    with pytest.raises(ValueError, match=r"^definition holds half"):
        await client.deploy_text(f"app: {half}")
    with pytest.raises(ValueError, match=r"^secrets.KEY holds half"):
        await client.deploy_text("app: {app_id: made}", secrets={"KEY": half})
    with pytest.raises(ValueError, match=r"^set_secret: value holds half"):
        await client.set_secret(session.app_id, "KEY", half)
    with pytest.raises(ValueError, match=r"^write_file: content holds half"):
        await client.write_file(session, "a.txt", half)
    with pytest.raises(ValueError, match=r"^resolve_approval: message holds half"):
        await client.resolve_approval(session.app_id, "request", message=half)
    with pytest.raises(ValueError, match=r"^the daemon URL holds half"):
        AsyncDevClient(f"{daemon.url}/{half}")
    assert not client.exchanges


async def test_half_of_a_pair_is_the_same_over_the_socket_over_rest_and_in_a_recording(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle, tmp_path: Path
) -> None:
    pieces = [
        "The first half \ud83d",
        " and the other \ude00 of something",
        " that goes on and on.",
    ]
    model.will_stream_text(pieces)
    path = tmp_path / "r.jsonl"
    with client.record(path):
        result = await client.send(session, "hi", timeout=10)
        late = await client.open_event_stream(session)
        await late.fill_gaps(since=0)
        read = late.turn_result(result.correlation_id)
        await late.stop()
    assert result.content == result.text == read.content == read.text == "".join(pieces)
    assert (await client.get_history(session)).messages[-1].content == result.content
    assert EventLog.load(path).turn_result().content == result.content
