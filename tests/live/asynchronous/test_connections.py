"""Where a token goes: over TLS that is verified, to the daemon, and nowhere else."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from digitorn_testing import (
    ApiError,
    AsyncDevClient,
    AsyncLiveEventStream,
    ClientClosed,
    ConnectionOptions,
    InsecureConnection,
    SessionHandle,
    UntrustedCertificate,
)
from digitorn_testing.events import MessageDone
from digitorn_testing.fakes import FakeDaemon, FakeModel
from support.hostile import Certificates, behind_tls
from support.servers import Heard, hearing, serving

TOKEN = "a-token-of-mine"


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


@pytest.fixture
def listening(model: FakeModel) -> Iterator[FakeDaemon]:
    """A daemon on a port."""
    with FakeDaemon() as daemon:
        daemon.add_app("my-app", model=model)
        yield daemon


# --- TLS


async def test_a_whole_turn_over_tls(
    listening: FakeDaemon, model: FakeModel, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.will_respond_with_text("safe", times=None)
    with behind_tls(listening, certificates.server("127.0.0.1")) as url:
        for connection in (ConnectionOptions(ca_file=certificates.file), None):
            if connection is None:
                monkeypatch.setenv("DIGITORN_CA_FILE", str(certificates.file))
            async with AsyncDevClient(url, token=listening.token(), connection_options=connection) as client:
                session = await client.new_session("my-app")
                async with await client.send_live(session, "hi", 10) as stream:
                    assert stream.turn_result().content == "safe"
                async with await client.open_event_stream(session) as again:
                    await again.wait_for(MessageDone, timeout=5)


async def test_who_is_not_trusted_gets_nothing(
    listening: FakeDaemon, certificates: Certificates, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    ours, theirs = ConnectionOptions(ca_file=certificates.file), Certificates(other)
    for connection, server in (
        (None, certificates.server("127.0.0.1")),
        (ours, theirs.server("127.0.0.1")),
        (ours, certificates.server("daemon.example")),
    ):
        with behind_tls(listening, server) as url:
            async with AsyncDevClient(url, token=TOKEN, connection_options=connection) as client:
                with pytest.raises(UntrustedCertificate, match="ca_file") as caught:
                    await client.list_sessions("my-app")
                # It would be the same a moment later.
                assert caught.value.attempts == 1
                assert TOKEN not in str(caught.value)
            stream = AsyncLiveEventStream(
                daemon_url=url, token=TOKEN, app_id="a", session_id="s", connection_options=connection
            )
            with pytest.raises(UntrustedCertificate, match="ca_file"):
                await stream.start()
    assert not listening.exchanges


# --- plain HTTP


async def test_no_password_goes_to_another_machine_in_clear() -> None:
    async with AsyncDevClient("http://daemon.example") as client:
        with pytest.raises(InsecureConnection):
            await client.login("me@example.com", "correct horse battery")
        with pytest.raises(InsecureConnection):
            await client.register("me", "correct horse battery")
        # A token that comes later is no other case.
        client._credentials.access_token = TOKEN
        with pytest.raises(InsecureConnection):
            await client.list_sessions("my-app")
        session = SessionHandle(session_id="s", app_id="a", daemon_url="http://daemon.example")
        with pytest.raises(InsecureConnection):
            await client.send_live(session, "hi", 5)
        assert not client.exchanges


# --- redirects


def redirecting(target: Heard, status: int) -> type[BaseHTTPRequestHandler]:
    class Redirecting(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(status)
            self.send_header("location", target.url + self.path)
            self.send_header("content-length", "0")
            self.end_headers()

        do_POST = do_PUT = do_DELETE = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            """Keeps the test's output clean."""

    return Redirecting


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_takes_nothing_to_another_origin(status: int) -> None:
    with hearing() as elsewhere, serving(redirecting(elsewhere, status)) as url:
        async with AsyncDevClient(url, token=TOKEN) as client:
            with pytest.raises(ApiError, match="Redirects are not followed") as caught:
                await client.list_sessions("my-app")
            assert caught.value.status == status
            assert elsewhere.url in str(caught.value)
            if status not in (307, 308):
                with pytest.raises(ApiError, match="Redirects are not followed"):
                    await client.login("me@example.com", "correct horse battery")
        stream = AsyncLiveEventStream(daemon_url=url, token=TOKEN, app_id="a", session_id="s")
        with pytest.raises(ApiError, match=f"redirects are not followed, .* leads to {elsewhere.url}"):
            await stream.start()
        assert elsewhere.requests == []


# --- the auth service


async def test_logins_follow_the_daemon_to_its_auth_service() -> None:
    with FakeDaemon() as service, serving(redirecting(Heard(service.url), 308)) as url:
        async with AsyncDevClient(url) as client:
            made = await client.register("somebody", "correct horse battery")
            assert client._get_auth_token() == made.access_token
            # Known from then on: the daemon is not asked once more.
            again = await client.login("somebody", "correct horse battery")
            assert again.user_id == made.user_id
            assert [one.status for one in client.exchanges] == [308, 200, 200]
            with pytest.raises(ApiError, match="Redirects are not followed"):
                await client.list_sessions("my-app")


async def test_the_auth_service_may_be_named() -> None:
    with FakeDaemon() as service, hearing() as daemon:
        options = ConnectionOptions(auth_url=service.url)
        async with AsyncDevClient(daemon.url, connection_options=options) as client:
            await client.register("somebody", "correct horse battery")
            assert client._get_auth_token()
        assert daemon.requests == []
        with pytest.raises(ClientClosed):
            await client.login("somebody", "correct horse battery")


async def test_the_auth_service_may_be_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeDaemon() as service, hearing() as daemon:
        monkeypatch.setenv("DIGITORN_AUTH_URL", service.url)
        async with AsyncDevClient(daemon.url) as client:
            await client.register("somebody", "correct horse battery")
        assert daemon.requests == []


@pytest.mark.parametrize(
    "elsewhere", ["http://auth.example", "ftp://127.0.0.1", "//127.0.0.1:1", "http://me@127.0.0.1"]
)
async def test_a_password_does_not_follow_a_redirect_over_plain_http(elsewhere: str) -> None:
    with serving(redirecting(Heard(elsewhere), 308)) as url:
        async with AsyncDevClient(url, retries=None) as client:
            with pytest.raises(ApiError, match="Redirects are not followed"):
                await client.login("me@example.com", "correct horse battery")
