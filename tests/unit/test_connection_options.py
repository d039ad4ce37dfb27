"""Which daemons are trusted, and with what."""

import ssl
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitorn_testing import (
    AsyncDevClient,
    ConnectionOptions,
    DevClient,
    InsecureConnection,
    LiveEventStream,
)
from digitorn_testing._transport.daemon_url import resolve_daemon_url

TOKEN = "a-token-that-is-secret"


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DIGITORN_ALLOW_PLAIN_HTTP", "DIGITORN_CA_FILE", "DIGITORN_DAEMON_URL"):
        monkeypatch.delenv(name, raising=False)


LOOPBACK = [
    "http://localhost",
    "http://LOCALHOST:8000/base",
    "http://daemon.localhost.:1",
    "http://127.0.0.1:8000",
    "http://127.9.9.9",
    "http://[::1]:8000",
    "http://[::ffff:127.0.0.1]:8000",
]
ELSEWHERE = [
    "http://daemon.example",
    "http://10.0.0.1:8000",
    "http://0.0.0.0:8000",
    "http://[2001:db8::1]:8000",
    "http://localhost.example",
    "http://127.0.0.1.example",
    "http://notlocalhost",
    # Some resolvers take these for 127.0.0.1; nothing is sent to what is not plainly that.
    "http://127.1",
    "http://2130706433",
    "http://0x7f.1",
    "http://\uff11\uff12\uff17.0.0.1",
]


@pytest.mark.parametrize("url", LOOPBACK)
def test_loopback_may_be_plain(url: str) -> None:
    ConnectionOptions().check_secrets_may_go_to(url)
    DevClient(url, token=TOKEN)


@pytest.mark.parametrize("url", ELSEWHERE)
def test_no_token_goes_to_another_machine_in_clear(url: str) -> None:
    for make in (DevClient, AsyncDevClient):
        with pytest.raises(InsecureConnection, match="plain HTTP and another machine") as caught:
            make(url, token=TOKEN)
        assert TOKEN not in str(caught.value)
        assert isinstance(caught.value, ValueError)
    with pytest.raises(InsecureConnection):
        LiveEventStream(daemon_url=url, token=TOKEN, app_id="a", session_id="s")
    # Without a secret there is nothing to lose.
    DevClient(url)


def test_it_can_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://daemon.example"
    DevClient(url, token=TOKEN, connection_options=ConnectionOptions(allow_plain_http=True))
    monkeypatch.setenv("DIGITORN_ALLOW_PLAIN_HTTP", "1")
    DevClient(url, token=TOKEN)
    LiveEventStream(daemon_url=url, token=TOKEN, app_id="a", session_id="s")
    with pytest.raises(InsecureConnection):
        DevClient(url, token=TOKEN, connection_options=ConnectionOptions(allow_plain_http=False))
    monkeypatch.setenv("DIGITORN_ALLOW_PLAIN_HTTP", "no")
    with pytest.raises(InsecureConnection):
        DevClient(url, token=TOKEN)
    monkeypatch.setenv("DIGITORN_ALLOW_PLAIN_HTTP", "maybe")
    with pytest.raises(ValueError, match="must be 1 or 0, not 'maybe'"):
        DevClient(url, token=TOKEN)


def test_tls_is_verified_always() -> None:
    context = ConnectionOptions().tls("https://daemon.example")
    assert context is not None
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert ConnectionOptions().tls("http://127.0.0.1") is None


def test_certificates_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing, empty = tmp_path / "missing.pem", tmp_path / "empty.pem"
    empty.write_text("none")
    for file in (missing, empty):
        with pytest.raises(ValueError, match=f"{file.name}.* cannot be read"):
            ConnectionOptions(ca_file=file).tls("https://daemon.example")
        monkeypatch.setenv("DIGITORN_CA_FILE", str(file))
        with pytest.raises(ValueError, match=f"{file.name}.* cannot be read"):
            ConnectionOptions().tls("https://daemon.example")


@pytest.mark.parametrize(
    "name", ["max_response_bytes", "max_frame_bytes", "max_json_values", "max_log_events"]
)
def test_a_limit_is_positive(name: str) -> None:
    limit: dict[str, Any] = {name: 0}
    with pytest.raises(ValueError, match=f"{name} must be 1 or more"):
        ConnectionOptions(**limit)


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{TOKEN}@127.0.0.1",
        f"http://127.0.0.1/?token={TOKEN}",
        f"http://127.0.0.1#{TOKEN}",
        f"http://user:{TOKEN}\\@127.0.0.1",
        f"ftp://user:{TOKEN}@127.0.0.1?token={TOKEN}",
        f"{TOKEN}@127.0.0.1",
    ],
)
def test_a_url_holds_no_secret(url: str) -> None:
    with pytest.raises(ValueError, match="the daemon URL") as caught:
        DevClient(url)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["http://", "https://:80", "http://a b", "http://a:b", "http://a:99999", "http://[::1", "http://a\n"]
    + [f"http://a/{path}" for path in ("../b", "b/.", "b/%2e%2e/c", "b//c")],
)
def test_a_url_that_names_no_host(url: str) -> None:
    with pytest.raises(ValueError, match="must be a host with a port and a path"):
        resolve_daemon_url(url)


@given(st.text(max_size=20))
def test_every_other_reader_of_an_accepted_url_finds_the_same_host(rest: str) -> None:
    import httpx
    from yarl import URL

    try:
        url = resolve_daemon_url(f"http://{rest}")
        ConnectionOptions().check_secrets_may_go_to(url)
    except ValueError:
        return
    assert httpx.URL(url).host in ("localhost", "127.0.0.1", "::1") or httpx.URL(url).host.startswith("127.")
    assert URL(url).host == httpx.URL(url).host
