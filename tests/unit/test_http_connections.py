"""Opening connections: which address of a host is tried, and what is said when none takes it."""

import asyncio
import socket
import sys
import time
from collections.abc import Callable
from typing import TypeAlias

import httpx
import pytest

from digitorn_testing._transport.http import AsyncHttp, Http
from support.servers import refusing, silent

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
