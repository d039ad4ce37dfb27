"""What stands between a client and its daemon: paths, refused event sockets, packed bodies, caches."""

import gzip
import socket
import sys
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import pytest

from digitorn_testing import (
    ApiError,
    AsyncDevClient,
    AsyncLiveEventStream,
    ContractViolation,
    Forbidden,
    InvalidRequest,
    NotFound,
    RateLimited,
    ReconnectPolicy,
    ServerError,
    StreamClosed,
    TooLarge,
    Unauthorized,
)
from digitorn_testing.fakes import FakeDaemon, FakeModel
from support.gateway import Gateway, gateway
from support.hostile import OK, hostile, says, whole
from support.servers import server, silent
from support.tcp_proxy import TcpProxy

TOKEN = "a-token-of-mine"
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a full queue refuses")


@pytest.fixture
def listening(model: FakeModel) -> Iterator[FakeDaemon]:
    """A daemon on a port."""
    with FakeDaemon() as daemon:
        daemon.add_app("my-app", model=model)
        yield daemon


def port(daemon: FakeDaemon) -> int:
    found = urlsplit(daemon.url).port
    assert found is not None
    return found


# --- a daemon below a path


@pytest.mark.parametrize(("path", "ending"), [("/digitorn", ""), ("/digitorn", "/"), ("/a/b%20c", "")])
async def test_calls_and_events_are_below_the_path_of_the_url(
    listening: FakeDaemon, model: FakeModel, path: str, ending: str
) -> None:
    model.will_respond_with_text("hello")
    with gateway(port(listening), path) as between:
        async with AsyncDevClient(between.url + ending, token=listening.token()) as client:
            assert (await client.chat("my-app", "hi", timeout=10)).content == "hello"
        # Another application of the same host is told nothing.
        assert between.elsewhere == []


async def test_a_client_follows_its_message_into_the_session_that_the_answer_names(
    listening: FakeDaemon, model: FakeModel
) -> None:
    model.will_respond_with_text("hello").will_respond_with_text("again")
    with gateway(port(listening)) as between:
        async with AsyncDevClient(between.url, token=listening.token()) as client:
            session = await client.new_session("my-app")
            between.posted_to[session.session_id] = "actual"
            turn = await client.start_turn(session, "hi")
            assert (await turn.result(timeout=10)).content == "hello"
            assert turn.stream.session.session_id == "actual"
            stream = await client.send_live(session, "once more", 10)
            async with stream:
                assert stream.session.session_id == "actual"
                assert stream.turn_result().content == "again"


# --- a daemon in one family of addresses


def has_ipv6() -> bool:
    with suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")
@pytest.mark.parametrize(("here", "elsewhere"), [("::1", "127.0.0.1"), ("127.0.0.1", "::1")])
@pytest.mark.parametrize("hangs", [False, pytest.param(True, marks=LINUX)])
async def test_localhost_is_whichever_family_the_daemon_listens_in(
    listening: FakeDaemon, model: FakeModel, here: str, elsewhere: str, hangs: bool
) -> None:
    model.will_respond_with_text("hello")
    with TcpProxy(port(listening), here) as proxy, ExitStack() as stack:
        if hangs:
            stack.enter_context(silent(elsewhere, proxy.port))
        url = f"http://localhost:{proxy.port}"
        async with AsyncDevClient(url, token=listening.token()) as client:
            began = time.monotonic()
            assert (await client.chat("my-app", "hi", timeout=10)).content == "hello"
            # Three connections, each of which gives the other family a quarter of a second.
            assert time.monotonic() - began < 3


# --- an event socket that is refused


def refusal(status: int, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} No", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    ("status", "body", "kind", "says"),
    [
        (200, b"<html>It works!</html>", ApiError, "It works!.*must pass on WebSocket upgrades"),
        (304, b"", ApiError, "must pass on WebSocket upgrades"),
        (400, b'{"code":1,"message":"Session ID unknown"}', InvalidRequest, "Session ID unknown: "),
        (401, b'{"detail":"log in"}', Unauthorized, "log in: .*wants a login"),
        (
            403,
            b"forbidden " * 10_000,
            Forbidden,
            "forbidden .*does not allow it; or the daemon URL .* ends with the path /below",
        ),
        (404, b"", NotFound, "^the daemon's URL .* has the path /below, .*must pass on WebSocket upgrades"),
        (426, b'{"error":"upgrade"}', ApiError, "upgrade: .*must pass on WebSocket upgrades"),
        (429, b'{"detail":"slow down"}', RateLimited, "slow down: .*wait"),
        (500, TOKEN.encode(), ServerError, r"\(hidden\)|\*"),
        (502, b"<html>Bad Gateway</html>", ServerError, "Bad Gateway.*does not reach the daemon"),
    ],
)
async def test_who_refuses_the_event_socket_is_named(
    listening: FakeDaemon, status: int, body: bytes, kind: type[ApiError], says: str
) -> None:
    with gateway(port(listening), "/below") as between:
        between.upgrade = refusal(status, body, "retry-after: 7")
        stream = AsyncLiveEventStream(daemon_url=between.url, token=TOKEN, app_id="a", session_id="s")
        with pytest.raises(kind, match=says) as caught:
            await stream.start()
    error, text = caught.value, str(caught.value)
    assert (type(error), error.status) == (kind, status)
    assert f"GET /below/socket.io/ answered {status}" in text
    assert "no daemon answered" not in text
    assert TOKEN not in text
    assert len(text) < 600
    if isinstance(error, RateLimited | ServerError):
        assert error.retry_after == 7


@pytest.fixture
async def between(listening: FakeDaemon) -> AsyncIterator[Gateway]:
    """A gateway before the daemon."""
    with gateway(port(listening)) as between:
        yield between


@pytest.fixture
async def stream(
    between: Gateway, listening: FakeDaemon, model: FakeModel
) -> AsyncIterator[AsyncLiveEventStream]:
    """A stream that was joined through the gateway."""
    model.will_respond_with_text("hello")
    async with AsyncDevClient(between.url, token=listening.token()) as client:
        session = await client.new_session("my-app", message="hi")
        policy = ReconnectPolicy(first_pause=0.01, longest_pause=0.01)
        async with AsyncLiveEventStream(
            daemon_url=between.url,
            token=listening.token(),
            app_id="my-app",
            session_id=session.session_id,
            reconnect=policy,
        ) as stream:
            yield stream


async def test_a_gateway_that_fails_for_a_while_is_outlasted(
    between: Gateway, stream: AsyncLiveEventStream
) -> None:
    between.upgrade = refusal(404, b"not yet")
    between.cut()
    refused = await stream.wait_for_connection(lambda now: now.attempts > 1, timeout=5)
    assert refused.last_error is not None
    assert "not yet: GET " in refused.last_error
    between.upgrade = None
    await stream.wait_for_connection(lambda now: now.reconnects == 1, timeout=5)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_stream_that_is_no_longer_let_in_ends(
    between: Gateway, stream: AsyncLiveEventStream, status: int
) -> None:
    between.upgrade = refusal(status, b"log in")
    between.cut()
    with pytest.raises(StreamClosed, match=f"log in: GET .* answered {status}"):
        await stream.wait_for_connection(lambda now: now.reconnects == 1, timeout=5)


# --- caches


async def test_not_modified_is_no_redirect() -> None:
    with server(b"", status=304) as url:
        async with AsyncDevClient(url) as client:
            with pytest.raises(ApiError, match=r"answered 304.*cache") as caught:
                await client.api.apps.list_apps()
            assert "edirect" not in str(caught.value)


# --- packed bodies

DATA = b"".join(b"line %d, of the artifact\n" % number for number in range(3000))
PACKED = gzip.compress(DATA)
RAW = zlib.compress(DATA)[2:-4]


async def downloaded(body: bytes, encoding: str, kind: str = "application/octet-stream") -> bytes:
    # In one chunk that ends in order, so that HTTP misses nothing.
    head = OK.replace(b"application/json", kind.encode()) + f"content-encoding: {encoding}\r\n".encode()
    head += b"transfer-encoding: chunked\r\n\r\n"
    with hostile(says(head + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n")) as url:
        async with AsyncDevClient(url, token="t", timeout=10) as client:
            return await client.api.background.download_artifact("my-app", "ev-1")


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("identity", DATA),
        ("gzip", PACKED),
        ("gzip", gzip.compress(DATA[:9000]) + gzip.compress(b"") + gzip.compress(DATA[9000:])),
        ("x-gzip", PACKED + bytes(100)),
        ("deflate", zlib.compress(DATA)),
        ("deflate", RAW),
    ],
)
async def test_a_packed_body_comes_whole(encoding: str, body: bytes) -> None:
    assert await downloaded(body, encoding) == DATA


@pytest.mark.parametrize(
    ("encoding", "body", "says"),
    [
        ("gzip", PACKED[:1], "cut off"),
        ("gzip", PACKED[: len(PACKED) // 2], "cut off after [0-9]+ unpacked bytes"),
        ("gzip", PACKED[:-1], "cut off"),
        ("gzip", PACKED + PACKED[:30], "cut off"),
        ("gzip", PACKED[:-8] + b"12345678", "cannot be unpacked"),
        ("gzip", PACKED + b"garbage", "behind its end"),
        ("gzip", PACKED + b"g", "behind its end"),
        ("deflate", zlib.compress(DATA)[:-1], "cut off"),
        ("deflate", zlib.compress(DATA) + b"garbage", "behind its end"),
        ("deflate", RAW[:-1], "cut off"),
    ],
)
async def test_a_packed_body_that_is_damaged_is_an_error(encoding: str, body: bytes, says: str) -> None:
    with pytest.raises(ContractViolation, match=says):
        await downloaded(body, encoding)


async def test_only_json_has_json_values() -> None:
    csv = b"1,2,3,4,5\n" * 450_000
    assert await downloaded(csv, "identity", "text/csv") == csv
    many = whole(b'{"success":true,"data":[' + b"0," * 2_100_000 + b"0]}")
    with hostile(says(many)) as url:
        async with AsyncDevClient(url, token="t", timeout=10) as client:
            with pytest.raises(TooLarge, match="JSON values"):
                await client.api.apps.list_apps()
