"""Opening connections: which address of a host is tried, and what is said when none takes it."""

import asyncio
import gc
import socket
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, TypeAlias

import httpx
import pytest

from digitorn_testing._concurrency import deadlines
from digitorn_testing._transport import http as transport
from digitorn_testing._transport.http import AsyncHttp, Http
from support.hostile import OK, Caller, hostile, says, whole
from support.servers import refusing, silent

if TYPE_CHECKING:
    from _typeshed import TraceFunction

HOST = "daemon.example"
AT_ONCE = "255.255.255.255"
"""An address that cannot be connected to, which the system knows without a packet."""

Known: TypeAlias = Callable[[int, list[str]], httpx.URL]


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Known:
    """Makes a host known at some addresses, and gives its URL."""

    def make(port: int, addresses: list[str]) -> httpx.URL:
        def find(host: str | bytes, *_: int, **__: int) -> object:
            # Whoever tries an address may look it up again.
            named = host.decode() if isinstance(host, bytes) else host
            found = addresses if named == HOST else [named]
            return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (one, port)) for one in found]

        monkeypatch.setattr(socket, "getaddrinfo", find)
        return httpx.URL(f"http://{HOST}:{port}")

    return make


def blocking(url: httpx.URL, limit: float) -> None:
    http = Http(None)
    try:
        http.handle_request(request_to(url, limit))
    finally:
        http.close()


def asynchronous(url: httpx.URL, limit: float) -> None:
    async def run() -> None:
        http = AsyncHttp(None)
        try:
            await http.handle_async_request(request_to(url, limit))
        finally:
            await http.aclose()

    asyncio.run(run())


def request_to(url: httpx.URL, limit: float) -> httpx.Request:
    times = dict.fromkeys(("connect", "read", "write", "pool"), limit)
    return httpx.Request("GET", url, extensions={"timeout": times})


FACES = pytest.mark.parametrize("opened", [blocking, asynchronous])


@FACES
def test_an_address_that_cannot_be_reached_is_passed_over(
    known: Known, opened: Callable[[httpx.URL, float], None]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        # It is connected to, and does not answer.
        with pytest.raises(httpx.ReadTimeout):
            opened(known(listening.getsockname()[1], [AT_ONCE, "127.0.0.1"]), 0.5)


@FACES
def test_a_host_whose_addresses_all_refuse_is_told(
    known: Known, opened: Callable[[httpx.URL, float], None]
) -> None:
    with refusing() as url:
        port = httpx.URL(url).port
        assert port is not None
        with pytest.raises(httpx.ConnectError):
            opened(known(port, ["127.0.0.1", AT_ONCE]), 5)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a full queue refuses")
@FACES
def test_an_address_that_hangs_takes_no_longer_than_allowed(
    known: Known, opened: Callable[[httpx.URL, float], None]
) -> None:
    with refusing() as url:
        port = httpx.URL(url).port
    assert port is not None
    with silent("127.0.0.1", port):
        began = time.monotonic()
        with pytest.raises(httpx.ConnectTimeout):
            opened(known(port, ["127.0.0.1"]), 0.3)
        assert time.monotonic() - began < 3


def test_the_first_of_many_calls_is_sent_before_the_last_is_connected() -> None:
    calls = 60
    connections_at: list[int] = []

    async def run() -> None:
        connected = 0

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connected
            connected += 1
            await reader.readuntil(b"\r\n\r\n")
            connections_at.append(connected)
            writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            writer.close()

        async def call() -> None:
            await (await http.handle_async_request(request_to(url, 10))).aclose()

        http = AsyncHttp(None)
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
            url = httpx.URL(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
            await asyncio.gather(*(call() for _ in range(calls)))
        await http.aclose()

    asyncio.run(run())
    assert len(connections_at) == calls
    assert connections_at[0] < calls / 2


@contextmanager
def answering_after(seconds: float) -> Generator[httpx.URL]:
    """A daemon that lets each call wait, at a URL."""

    def answer(caller: Caller) -> None:
        caller.hold(seconds)
        says(whole(b"{}"))(caller)

    with hostile(answer) as url:
        yield httpx.URL(url)


def test_a_wait_in_slices_is_one_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "SLICE_SECONDS", 0.03)
    http = Http(None)
    with answering_after(0.2) as url:
        assert http.handle_request(request_to(url, 5)).read() == b"{}"
    with answering_after(5) as url:
        before = time.monotonic()
        with pytest.raises(httpx.ReadTimeout):
            http.handle_request(request_to(url, 0.2))
        assert 0.2 <= time.monotonic() - before < 5
    http.close()


def interrupted_at(line: int, call: Callable[[], object]) -> bool:
    """Whether a call of the pool ran so many of its lines, at the last of which it was interrupted."""
    left = line

    def trace(frame: FrameType, event: str, _: object) -> "TraceFunction | None":
        nonlocal left
        if "httpcore2" not in frame.f_code.co_filename:
            return trace if event == "call" else None
        if event == "line":
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


# A socket that nobody has got hold of yet is closed by the collector.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_blocking_call_may_be_interrupted_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_MOST_CONNECTIONS", 1)

    http = Http(None)
    with hostile(says(whole(b"{}", OK + b"connection: close\r\n"))) as url:
        request = request_to(httpx.URL(url), 2)

        def call() -> None:
            http.handle_request(request).read()

        line = 1
        while interrupted_at(line, call):
            call()
            line += 3
        http.close()
        gc.collect()
    assert line > 100
