"""HTTP over the network that keeps the caller's deadline, however slowly the other side sends.

httpx limits only each single read, so a server that sends a byte now and then would never time out. The
streams here apply the deadline of `_concurrency.deadlines.until` to all reads together.
"""

import asyncio
import math
import socket
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Final, TypeAlias, cast

import httpcore2 as httpcore
import httpx

from digitorn_testing._concurrency.deadlines import remaining, slices

from .loopback import LOCALHOST, LOOPBACKS

_MOST_CONNECTIONS: Final = 100
_MOST_IDLE: Final = 20
# The daemon closes an idle connection after 5 seconds; no call should meet that.
_IDLE_SECONDS: Final = 3.0
_PIECE: Final = 64 * 1024
# With a timeout of zero a socket would not wait at all.
_LEAST_SECONDS: Final = 0.001
_MOST_CONNECTING: Final = 10
"""How many connections are made at once: the first of many calls goes out before the last is connected."""
_MOMENT: Final = 0.25
"""Seconds that each of several addresses gets before the next one is tried too (RFC 8305)."""


_NotConnected: TypeAlias = httpcore.ConnectError | httpcore.ConnectTimeout

_MAPPED: Final[tuple[tuple[type[Exception], type[httpx.RequestError]], ...]] = (
    (httpcore.ConnectTimeout, httpx.ConnectTimeout),
    (httpcore.ReadTimeout, httpx.ReadTimeout),
    (httpcore.WriteTimeout, httpx.WriteTimeout),
    (httpcore.PoolTimeout, httpx.PoolTimeout),
    (httpcore.ConnectError, httpx.ConnectError),
    (httpcore.ReadError, httpx.ReadError),
    (httpcore.WriteError, httpx.WriteError),
    (httpcore.RemoteProtocolError, httpx.RemoteProtocolError),
    (httpcore.LocalProtocolError, httpx.LocalProtocolError),
    (httpcore.UnsupportedProtocol, httpx.UnsupportedProtocol),
    (httpcore.ConnectionNotAvailable, httpx.ConnectError),
    (OSError, httpx.ReadError),
)


class _AsHttpx:
    """Raises what httpcore raises as the exceptions of httpx."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is not None:
            kind = next((ours for theirs, ours in _MAPPED if isinstance(error, theirs)), None)
            if kind is not None:
                raise kind(str(error)) from error


_AS_HTTPX: Final = _AsHttpx()


def _within(timeout: float | None, late: type[Exception]) -> float | None:
    """Seconds that one read or write may take.

    Raises:
        Exception: The deadline has passed; an exception of the given type.
    """
    left = remaining(math.inf if timeout is None else timeout)
    if left <= 0:
        raise late("the time was used up before")
    return None if left == math.inf else left


def _shares(addresses: list[str], limit: float | None) -> Iterator[tuple[str, float | None]]:
    """How long to try which address; those that refuse are taken out of the list meanwhile.

    Each gets a moment first, so that one that does not answer cannot hold up the others. Afterwards the
    remaining time is divided evenly.
    """
    deadline = math.inf if limit is None else time.monotonic() + limit
    for moment in (_MOMENT, math.inf) if len(addresses) > 1 else (math.inf,):
        for tried, address in enumerate(list(addresses)):
            share = min(moment, (deadline - time.monotonic()) / max(1, len(addresses) - tried))
            yield address, None if share == math.inf else max(_LEAST_SECONDS, share)


def _request(request: httpx.Request) -> httpcore.Request:
    url = request.url
    return httpcore.Request(
        method=request.method,
        url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
        headers=request.headers.raw,
        content=request.stream,
        extensions=request.extensions,
    )


# --- asynchronous


class _AsyncStream(httpcore.AsyncNetworkStream):
    def __init__(self, inner: httpcore.AsyncNetworkStream, network: "_AsyncNetwork") -> None:
        self._inner = inner
        self._unsent = b""
        self._network = network
        network.opened.add(self)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        # A server may answer and close before it has read all of a request; its answer says why.
        with suppress(httpcore.WriteError):
            await self._flush(timeout)
        return await self._inner.read(max_bytes, _within(timeout, httpcore.ReadTimeout))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # Head and body go out at once: the calls of one client should not overtake each other between them.
        self._unsent += buffer
        if len(self._unsent) > _PIECE:
            await self._flush(timeout)

    async def _flush(self, timeout: float | None) -> None:
        unsent, self._unsent = self._unsent, b""
        if unsent:
            await self._inner.write(unsent, _within(timeout, httpcore.WriteTimeout))

    async def aclose(self) -> None:
        self._network.opened.discard(self)
        await self._inner.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        limit = _within(timeout, httpcore.ConnectTimeout)
        encrypted = await self._inner.start_tls(ssl_context, server_hostname, limit)
        # Closing the encrypted stream closes this one too.
        self._network.opened.discard(self)
        return _AsyncStream(encrypted, self._network)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _AsyncNetwork(httpcore.AsyncNetworkBackend):
    """Tracks open streams: the pool loses those whose call is cancelled while it removes them."""

    def __init__(self) -> None:
        self.opened: set[_AsyncStream] = set()
        self._is_closed = False
        self._connecting = asyncio.Semaphore(_MOST_CONNECTING)
        # Declared as a union, whose other member is for environments without anyio.
        self._inner = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(_within(timeout, httpcore.ConnectTimeout)):
                await self._connecting.acquire()
        except TimeoutError as error:
            raise httpcore.ConnectTimeout("timed out") from error
        try:
            connected = await self._connected(host, port, timeout, local_address, socket_options)
        finally:
            self._connecting.release()
        stream = _AsyncStream(connected, self)
        if self._is_closed:
            await stream.aclose()
            raise httpcore.ConnectError("the client was closed meanwhile")
        return stream

    async def _connected(
        self, host: str, port: int, timeout: float | None, *options: Any
    ) -> httpcore.AsyncNetworkStream:
        if host != LOCALHOST:
            # It tries all addresses that the host is known to have, each a moment after the other.
            limit = _within(timeout, httpcore.ConnectTimeout)
            return await self._inner.connect_tcp(host, port, limit, *options)
        addresses = [address for _, address in LOOPBACKS]
        failure: _NotConnected | None = None
        for address, share in _shares(addresses, _within(timeout, httpcore.ConnectTimeout)):
            try:
                return await self._inner.connect_tcp(address, port, share, *options)
            except httpcore.ConnectTimeout as error:
                failure = error
            except httpcore.ConnectError as error:
                failure = failure or error
                addresses.remove(address)
        raise failure or httpcore.ConnectError(f"{host} has no address")

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)

    async def aclose(self) -> None:
        self._is_closed = True
        while self.opened:
            await self.opened.pop().aclose()


class _AsyncBody(httpx.AsyncByteStream):
    def __init__(self, inner: AsyncIterable[bytes]) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _AS_HTTPX:
            async for part in self._inner:
                yield part

    async def aclose(self) -> None:
        close: Any = getattr(self._inner, "aclose", None)
        if close is not None:
            with _AS_HTTPX:
                await close()


async def _close_with_the_loop(
    pool: httpcore.AsyncConnectionPool, network: _AsyncNetwork
) -> AsyncGenerator[None]:
    """A started generator: an ending event loop closes it, and with it whatever nobody closed."""
    try:
        yield
    finally:
        try:
            await pool.aclose()
        finally:
            await network.aclose()


class AsyncHttp(httpx.AsyncBaseTransport):
    """Carries asynchronous REST calls.

    Args:
        tls: TLS settings; None where there is no TLS.
    """

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._network = _AsyncNetwork()
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=_MOST_CONNECTIONS,
            max_keepalive_connections=_MOST_IDLE,
            keepalive_expiry=_IDLE_SECONDS,
            network_backend=self._network,
        )
        self._closing: AsyncGenerator[None] | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Sends a request; the caller reads the body of the answer."""
        if self._closing is None:
            self._closing = _close_with_the_loop(self._pool, self._network)
            await anext(self._closing)
        with _AS_HTTPX:
            answer = await self._pool.handle_async_request(_request(request))
        assert isinstance(answer.stream, AsyncIterable)
        return httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=_AsyncBody(answer.stream),
            extensions=cast("dict[str, Any]", answer.extensions),
        )

    async def aclose(self) -> None:
        """Closes the connections. Otherwise the event loop does so when it shuts down."""
        if self._closing is not None:
            await self._closing.aclose()


# --- blocking


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, network: "_Network") -> None:
        self._inner = inner
        self._unsent = b""
        self._network = network
        network.opened.add(self)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with suppress(httpcore.WriteError):
            self._flush(timeout)
        late: httpcore.ReadTimeout | None = None
        for part in slices(_within(timeout, httpcore.ReadTimeout) or math.inf):
            try:
                return self._inner.read(max_bytes, max(_LEAST_SECONDS, part))
            except httpcore.ReadTimeout as error:
                late = error
        raise late or httpcore.ReadTimeout("timed out")

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._unsent += buffer
        if len(self._unsent) > _PIECE:
            self._flush(timeout)

    def _flush(self, timeout: float | None) -> None:
        unsent, self._unsent = self._unsent, b""
        # Each partial write below may take the full timeout again.
        for start in range(0, len(unsent), _PIECE):
            self._inner.write(unsent[start : start + _PIECE], _within(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._network.opened.discard(self)
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        limit = _within(timeout, httpcore.ConnectTimeout)
        encrypted = self._inner.start_tls(ssl_context, server_hostname, limit)
        # It has the socket now.
        self._network.opened.discard(self)
        return _Stream(encrypted, self._network)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Network(httpcore.SyncBackend):
    """Tracks open streams, so that they can be closed when their pool cannot."""

    def __init__(self) -> None:
        self.opened: set[_Stream] = set()

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *args: Any, **options: Any
    ) -> httpcore.NetworkStream:
        addresses = _addresses_of(host, port)
        failure: _NotConnected | None = None
        for address, share in _shares(addresses, _within(timeout, httpcore.ConnectTimeout)):
            try:
                return _Stream(super().connect_tcp(address, port, share, *args, **options), self)
            except httpcore.ConnectTimeout as error:
                failure = error
            except httpcore.ConnectError as error:
                failure = failure or error
                addresses.remove(address)
        raise failure or httpcore.ConnectError(f"{host} has no address")

    def close(self) -> None:
        """Closes every stream."""
        while self.opened:
            with suppress(KeyError):
                # A call that ends meanwhile may have taken the last one.
                self.opened.pop().close()


def _addresses_of(host: str, port: int) -> list[str]:
    others = [address for _, address in LOOPBACKS] if host == LOCALHOST else []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        if not others:
            raise httpcore.ConnectError(str(error)) from error
        found = []
    return list(dict.fromkeys([*(str(address[0]) for *_, address in found), *others]))


class _Body(httpx.SyncByteStream):
    def __init__(self, inner: Iterable[bytes], interrupted: Callable[[], None]) -> None:
        self._inner = inner
        self._interrupted = interrupted

    def __iter__(self) -> Iterator[bytes]:
        with _AS_HTTPX, _Interruptible(self._interrupted):
            yield from self._inner

    def close(self) -> None:
        close: Any = getattr(self._inner, "close", None)
        if close is not None:
            with _AS_HTTPX, _Interruptible(self._interrupted):
                close()


class _Interruptible:
    """Tells when a call is cut off by what is no error, such as Ctrl-C."""

    def __init__(self, interrupted: Callable[[], None]) -> None:
        self._interrupted = interrupted

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, _: object, __: object) -> None:
        if kind is not None and not issubclass(kind, Exception | GeneratorExit):
            self._interrupted()


class Http(httpx.BaseTransport):
    """Carries blocking REST calls.

    Args:
        tls: TLS settings; None where there is no TLS.
    """

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        self._network = _Network()
        self._pool = self._new_pool()

    def _new_pool(self) -> httpcore.ConnectionPool:
        return httpcore.ConnectionPool(
            ssl_context=self._tls,
            max_connections=_MOST_CONNECTIONS,
            max_keepalive_connections=_MOST_IDLE,
            keepalive_expiry=_IDLE_SECONDS,
            network_backend=self._network,
        )

    def _interrupted(self) -> None:
        """Goes on with another pool: an interrupt may leave the lock of a pool held, or a place taken."""
        self._pool = self._new_pool()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Sends a request; the caller reads the body of the answer."""
        with _AS_HTTPX, _Interruptible(self._interrupted):
            answer = self._pool.handle_request(_request(request))
        assert isinstance(answer.stream, Iterable)
        return httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=_Body(answer.stream, self._interrupted),
            extensions=cast("dict[str, Any]", answer.extensions),
        )

    def close(self) -> None:
        """Closes the connections."""
        self._network.close()
        self._pool.close()
