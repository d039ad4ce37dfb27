"""Bad input gives one typed, readable error each; bad events are kept."""

import time

import pytest

from digitorn_testing import (
    ApiError,
    AsyncDevClient,
    AsyncLiveEventStream,
    ContractViolation,
    DaemonUnreachable,
    EventTimeout,
    InvalidRequest,
    NotFound,
    SessionHandle,
    Unauthorized,
)
from digitorn_testing.fakes import FakeDaemon, FakeModel
from support.faces import AsyncBackground
from support.fixtures import Place
from support.servers import hanging, listener, server

PASSWORD = "correct horse battery"


@pytest.fixture
def closed_url() -> str:
    """A URL at which nothing listens."""
    with server(b"") as url:
        pass
    return url


async def test_an_unknown_app(client: AsyncDevClient, daemon: FakeDaemon) -> None:
    with pytest.raises(NotFound, match=r"POST .*/nope/.*/messages \(send_message\) answered 404"):
        await client.chat("nope", "hi")
    session = SessionHandle(session_id="s", app_id="nope", daemon_url=daemon.url)
    with pytest.raises(NotFound, match=r"client\.list_apps\(\) says which apps are"):
        await client.send_live(session, "hi", total_timeout=5)


async def test_an_unknown_session(client: AsyncDevClient, session: SessionHandle) -> None:
    with pytest.raises(NotFound, match="get_session") as caught:
        await client.api.sessions.get_session(session.app_id, session.session_id)
    assert caught.value.status == 404
    with pytest.raises(EventTimeout, match="is created by its first message"):
        await client.wait_for_session(session, timeout=0.5)
    with pytest.raises(NotFound):
        await client.api.sessions.delete_session(session.app_id, session.session_id)


@pytest.mark.both_daemons
async def test_an_id_that_would_leave_its_path_segment(client: AsyncDevClient) -> None:
    with pytest.raises(ValueError, match=r"get_app: '\.\./sessions\?x=1' cannot be a part of a path"):
        await client.api.apps.get_app("../sessions?x=1")
    assert not client.exchanges
    with pytest.raises(ApiError) as caught:
        await client.api.apps.get_app("a?x=1")
    assert caught.value.status in (400, 404)
    assert caught.value.exchange.path == "/api/apps/a%3Fx%3D1"
    with pytest.raises(ValueError, match="path parameter 'app_id' is empty"):
        await client.api.apps.get_app("")


async def test_a_wrong_password(daemon: FakeDaemon) -> None:
    daemon.add_user("me@example.com", PASSWORD)
    with pytest.raises(Unauthorized, match=r"POST /auth/login \(login\) answered 401") as caught:
        await AsyncDevClient.with_user("me@example.com", "wrong password!!", daemon_url=daemon.url)
    assert "wrong password" not in str(caught.value)
    with pytest.raises(Unauthorized):
        await AsyncDevClient.with_user("me@example.com", "wrong password!!", True, daemon_url=daemon.url)
    async with AsyncDevClient(daemon_url=daemon.url) as client:
        with pytest.raises(InvalidRequest):
            await client.register("me", "short")


async def test_no_token(daemon: FakeDaemon, session: SessionHandle) -> None:
    async with AsyncDevClient(daemon_url=daemon.url) as client:
        with pytest.raises(Unauthorized, match="has no token"):
            await client.api.apps.list_apps()
        with pytest.raises(Unauthorized):
            await client.send_live(session, "hi", total_timeout=5)


async def test_an_expired_token(daemon: FakeDaemon, session: SessionHandle) -> None:
    expired = daemon.token(expires_in=-10)
    async with AsyncDevClient(daemon_url=daemon.url, token=expired) as client:
        with pytest.raises(Unauthorized) as caught:
            await client.api.apps.list_apps()
        assert expired not in str(caught.value)
        with pytest.raises(Unauthorized) as caught:
            await client.open_event_stream(session)
        assert expired not in str(caught.value)
        assert expired not in repr(client)


async def test_an_expired_token_is_renewed_once_when_a_refresh_token_is_there(
    daemon: FakeDaemon, model: FakeModel, session: SessionHandle
) -> None:
    model.will_respond_with_text("hi", times=None)
    daemon.add_user("me@example.com", PASSWORD)
    async with await AsyncDevClient.with_user("me@example.com", PASSWORD, daemon_url=daemon.url) as client:
        fresh = client._credentials.access_token
        expired = daemon.token("me@example.com", expires_in=-10)
        client._credentials.access_token = expired
        assert (await client.api.auth.get_me()).email == "me@example.com"
        renewed = client._credentials.access_token
        assert renewed not in (expired, None)
        assert fresh is not None

        client._credentials.access_token = expired
        await (await client.send_live(session, "hi", total_timeout=10)).stop()
        assert client._credentials.access_token != expired

        await client.logout()
        with pytest.raises(Unauthorized):
            await client.api.auth.get_me()


async def test_a_refresh_token_that_is_refused_leaves_the_first_error(daemon: FakeDaemon) -> None:
    async with AsyncDevClient(daemon_url=daemon.url, token=daemon.token(expires_in=-10)) as client:
        client._credentials.refresh_token = "nonsense"
        with pytest.raises(Unauthorized, match="get_me"):
            await client.api.auth.get_me()


async def test_no_daemon_there(closed_url: str) -> None:
    session = SessionHandle(session_id="s", app_id="a", daemon_url=closed_url)
    async with AsyncDevClient(daemon_url=closed_url, token="t") as client:
        with pytest.raises(DaemonUnreachable, match=r"no daemon answered at http://127.0.0.1:\d+") as caught:
            await client.chat("a", "hi")
        assert "DIGITORN_DAEMON_URL" in str(caught.value)
        with pytest.raises(DaemonUnreachable):
            await client.send_live(session, "hi", total_timeout=5)
        with pytest.raises(DaemonUnreachable):
            await client.open_event_stream(session)


async def test_no_daemon_but_something_else() -> None:
    with server(b"<html>It works!</html>", content_type="text/html") as url:
        async with AsyncDevClient(url, token="t") as client:
            with pytest.raises(ContractViolation, match="a Digitorn daemon"):
                await client.api.apps.list_apps()
            stream = AsyncLiveEventStream(daemon_url=url, token="t", app_id="a", session_id="s")
            with pytest.raises(ApiError, match=r"socket.io/ answered 200.* is a Digitorn daemon at"):
                await stream.start()
    with server(b"not found", status=404, content_type="text/plain") as url:
        async with AsyncDevClient(url) as client:
            with pytest.raises(NotFound, match="is a Digitorn daemon at"):
                await client.api.apps.list_apps()


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
async def test_an_answer_that_breaks_the_contract(body: bytes, reason: str) -> None:
    with server(body) as url:
        async with AsyncDevClient(url, token="t") as client:
            with pytest.raises(ContractViolation, match=reason) as caught:
                await client.list_pending_approvals("a")
    assert "GET /api/apps/a/approvals (list_app_approvals) answered 200" in str(caught.value)


async def test_a_slow_daemon_is_not_waited_for_for_ever() -> None:
    with hanging() as url:
        async with AsyncDevClient(url, token="t", timeout=0.2) as client:
            with pytest.raises(DaemonUnreachable, match="timed out"):
                await client.api.apps.list_apps()


async def test_waits_keep_their_deadlines_though_the_daemon_hangs(
    daemon: FakeDaemon, client: AsyncDevClient, session: SessionHandle
) -> None:
    with daemon.faults.calls().hang():
        async with AsyncBackground() as background:
            sending = await background.start(client.send, session, "one", timeout=8)
            started = time.monotonic()
            with pytest.raises(EventTimeout, match="whether it knows session"):
                await client.wait_for_session(session, timeout=0.3)
            with pytest.raises(EventTimeout, match="whether app 'my-app' is deployed"):
                await client.wait_for_app("my-app", timeout=0.3)
            with pytest.raises(EventTimeout, match=f"another message to session '{session.session_id}'"):
                await client.send(session, "two", timeout=0.3)
            assert time.monotonic() - started < 6
            with pytest.raises(EventTimeout):
                await sending.result(timeout=20)


@pytest.mark.both_daemons
async def test_a_chat_that_does_not_end(client: AsyncDevClient, model: FakeModel, place: Place) -> None:
    model.will_ask_user("Which?")
    with pytest.raises(
        EventTimeout, match=r"did not end within 2 s: .*; request .*, turn .*, session"
    ) as caught:
        await client.chat(place.app_id, "hi", timeout=2)
    assert isinstance(caught.value, TimeoutError)
    assert "within 2 s: the agent waits for approval of ask_user" in str(caught.value)
    assert [one.tool_name for one in caught.value.pending_approvals] == ["ask_user"]
    assert "approval_request" in {event.type for event in caught.value.events}


@pytest.mark.parametrize("answer", [None, b"HTTP/1.1 101 Switching\r\n\r\n", b"nonsense\r\n\r\n"])
async def test_what_takes_connections_and_is_no_daemon_is_given_up_in_time(answer: bytes | None) -> None:
    session = SessionHandle(session_id="s", app_id="a", daemon_url="http://x")
    with listener(answer) as url:
        async with AsyncDevClient(url, token="t") as client:
            started = time.monotonic()
            with pytest.raises((EventTimeout, DaemonUnreachable)):
                await client.send_live(session, "hi", total_timeout=0.5)
            with pytest.raises((EventTimeout, DaemonUnreachable)):
                await client.chat("a", "hi", session=session, timeout=0.5)
            assert time.monotonic() - started < 8


async def test_a_body_that_cannot_be_decoded() -> None:
    gzip = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nnope"
    with listener(gzip) as url:
        async with AsyncDevClient(url, token="t") as client:
            with pytest.raises(ContractViolation, match="its gzip cannot be unpacked"):
                await client.api.apps.list_apps()
