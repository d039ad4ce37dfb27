"""Connections to a host, for both faces.

They are opened quickly whatever the host's addresses. Each read and write takes at most what remains of
`_concurrency.deadlines.until`, so that a server that sends a byte now and then cannot hold up a call. Closing
one need not be awaited, so that a cancelled call gives back what it has at once.
"""

import asyncio
import math
import select
import selectors
import socket
import ssl
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, zip_longest
from queue import Empty, SimpleQueue
from typing import Final, Protocol, TypeAlias, cast
from weakref import WeakSet

import httpx

from digitorn_testing._concurrency.deadlines import remaining

_PIECE: Final = 64 * 1024
_NEXT_ADDRESS_SECONDS: Final = 0.25
"""Head start of each address before the next one is tried too (RFC 8305 §5)."""

LOCALHOST: Final = "localhost"
LOOPBACKS: Final = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
"""This machine. Some know `localhost` in one family alone, and daemons listen in the other."""

_CLOSED: Final = "the client was closed meanwhile"

_SocketAddress: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
_Address: TypeAlias = tuple[socket.AddressFamily, _SocketAddress]
_Found: TypeAlias = Sequence[tuple[int, int, int, str, tuple[object, ...]]]


def _left(limit: float | None, late: type[httpx.TimeoutException]) -> float | None:
    """Seconds that one step may take; None for any time.

    Raises:
        httpx.TimeoutException: The deadline has passed.
    """
    left = remaining(math.inf if limit is None else limit)
    if left <= 0:
        raise late("timed out")
    return None if left == math.inf else left


def _in_turns(host: str, port: int, found: _Found) -> list[_Address]:
    """Addresses of a host, families alternating, so that one that does not work cannot hold up the other."""
    families: dict[int, list[_Address]] = {}
    for family, _, _, _, address in found:
        one = (socket.AddressFamily(family), cast("_SocketAddress", address))
        families.setdefault(family, []).append(one)
    if host == LOCALHOST:
        for missing, loopback in LOOPBACKS:
            families.setdefault(missing, [(missing, (loopback, port))])
    return [one for one in chain.from_iterable(zip_longest(*families.values())) if one is not None]


def _is_readable(connection: socket.socket) -> bool:
    """Whether there is something to read, which on an idle connection is its end."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([connection], [], [], 0)[0])


class _Origin(Protocol):
    """What a connection is opened to; a part of `httpx.URL`."""

    @property
    def scheme(self) -> str: ...
    @property
    def raw_host(self) -> bytes: ...
    @property
    def port(self) -> int | None: ...


def _host_and_port(origin: _Origin) -> tuple[str, int]:
    return origin.raw_host.decode("ascii"), origin.port or (443 if origin.scheme == "https" else 80)


# --- asynchronous


class AsyncLine(asyncio.Protocol):
    """A connection that is awaited; `AsyncLines.open` makes one."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parts: deque[bytes] = deque()
        self._size = 0
        self._error: Exception | None = None
        self._is_over = self._is_full = False
        self._waiting: asyncio.Future[bool] | None = None

    async def read(self, limit: float | None) -> bytes:
        """What comes next; empty at the end.

        Args:
            limit: Maximum seconds.

        Raises:
            httpx.ReadError: The connection was lost.
            httpx.ReadTimeout: Nothing came in time.
        """
        while not self._parts:
            if self._is_over:
                if self._error is not None:
                    raise httpx.ReadError(str(self._error)) from self._error
                return b""
            await self._wait(limit, httpx.ReadTimeout)
        part = self._parts.popleft()
        self._size -= len(part)
        if self._size <= _PIECE and self._transport is not None and not self._is_over:
            self._transport.resume_reading()
        return part

    async def write(self, data: bytes, limit: float | None) -> None:
        """Sends data.

        Args:
            data: What to send.
            limit: Maximum seconds.

        Raises:
            httpx.WriteError: The connection was lost.
            httpx.WriteTimeout: The other side did not take it in time.
        """
        if not self._is_over and self._transport is not None:
            _left(limit, httpx.WriteTimeout)
            self._transport.write(data)
        while self._is_full and not self._is_over:
            await self._wait(limit, httpx.WriteTimeout)
        if self._is_over:
            raise httpx.WriteError(str(self._error or "the connection was closed"))

    async def _wait(self, limit: float | None, late: type[httpx.TimeoutException]) -> None:
        """Waits until something happens to the connection."""
        left = _left(limit, late)
        loop = asyncio.get_running_loop()
        self._waiting = waiting = loop.create_future()
        timer = None if left is None else loop.call_later(left, self._wake, False)
        try:
            if not await waiting:
                raise late("timed out")
        finally:
            self._waiting = None
            if timer is not None:
                timer.cancel()

    def _wake(self, in_time: bool = True) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(in_time)

    @property
    def is_stale(self) -> bool:
        """Whether an idle connection has ended, or brought what nobody asked for."""
        if self._transport is None or self._is_over or self._parts or self._transport.is_closing():
            return True
        # The event loop may not have seen it yet.
        return _is_readable(self._transport.get_extra_info("socket"))

    def abort(self) -> None:
        """Closes the connection at once, and ends whoever reads from it."""
        self._is_over, self._error = True, self._error or ConnectionAbortedError(_CLOSED)
        if self._transport is not None:
            self._transport.abort()
        self._wake()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._parts.append(data)
        self._size += len(data)
        if self._size > 4 * _PIECE and self._transport is not None:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """Called by the event loop, which then closes the connection."""
        self._is_over = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self._is_over, self._error = True, self._error or exc
        self._wake()

    def pause_writing(self) -> None:
        """Called by the event loop."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Called by the event loop."""
        self._is_full = False
        self._wake()


async def _find_async(host: str, port: int) -> list[_Address]:
    try:
        # What is an address already needs neither a lookup nor the thread that makes it.
        found: _Found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except OSError:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError:
            if host != LOCALHOST:
                raise
            found = ()
    return _in_turns(host, port, found)


def _find(host: str, port: int) -> list[_Address]:
    try:
        found: _Found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        if host != LOCALHOST:
            raise
        found = ()
    return _in_turns(host, port, found)


async def _dial_async(addresses: list[_Address]) -> socket.socket:
    """A connection to the address that is first to take it.

    Raises:
        OSError: None of them did; what the first one failed with.
    """
    loop = asyncio.get_running_loop()
    trying: dict[asyncio.Task[None], socket.socket] = {}
    failures: list[OSError] = []
    left = deque(addresses)
    try:
        while left or trying:
            if left:
                family, address = left.popleft()
                try:
                    connection = socket.socket(family, socket.SOCK_STREAM)
                except OSError as error:
                    failures.append(error)
                    continue
                connection.setblocking(False)
                trying[loop.create_task(loop.sock_connect(connection, address))] = connection
            ended, _ = await asyncio.wait(
                trying,
                timeout=_NEXT_ADDRESS_SECONDS if left else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in ended:
                connection = trying.pop(task)
                failure = task.exception()
                if failure is None:
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    return connection
                connection.close()
                if not isinstance(failure, OSError):
                    raise failure
                failures.append(failure)
        raise failures[0] if failures else OSError("the host has no address")
    finally:
        for task, connection in trying.items():
            task.add_done_callback(partial(_drop, connection))
            task.cancel()


def _drop(connection: socket.socket, task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        # Retrieve an exception, or the event loop would log it.
        task.exception()
    connection.close()


class AsyncLines:
    """The open connections of one client. An event loop that ends closes those that nobody closed.

    Args:
        tls: TLS settings; None where there is no TLS.
    """

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        self._open: set[AsyncLine] = set()
        self.is_closed = False
        self._closing: AsyncGenerator[None] | None = None

    async def open(self, origin: _Origin, limit: float | None) -> AsyncLine:
        """Connects to a host.

        Args:
            origin: Scheme, host and port.
            limit: Maximum seconds.

        Raises:
            httpx.ConnectError: No address of the host took the connection, or the client was closed.
            httpx.ConnectTimeout: The time was not enough.
        """
        if self._closing is None:
            self._closing = _close_with_the_loop(self._open)
            await anext(self._closing)
        try:
            async with asyncio.timeout(_left(limit, httpx.ConnectTimeout)):
                line = await self._connect(*_host_and_port(origin))
        except TimeoutError as error:
            raise httpx.ConnectTimeout("timed out") from error
        except OSError as error:
            raise httpx.ConnectError(str(error)) from error
        self._open.add(line)
        if self.is_closed:
            self.drop(line)
            raise httpx.ConnectError(_CLOSED)
        return line

    async def _connect(self, host: str, port: int) -> AsyncLine:
        connection = await _dial_async(await _find_async(host, port))
        try:
            _, line = await asyncio.get_running_loop().create_connection(
                AsyncLine, sock=connection, ssl=self._tls, server_hostname=host if self._tls else None
            )
        except BaseException:
            connection.close()
            raise
        return line

    def drop(self, line: AsyncLine) -> None:
        """Closes a connection at once.

        Args:
            line: The connection.
        """
        self._open.discard(line)
        line.abort()

    async def aclose(self) -> None:
        """Closes all connections, and those that are being made."""
        self.is_closed = True
        if self._closing is not None:
            await self._closing.aclose()
        # The event loop closes the sockets in its next round.
        await asyncio.sleep(0)


async def _close_with_the_loop(lines: set[AsyncLine]) -> AsyncGenerator[None]:
    """A started generator: an ending event loop closes it, and with it whatever nobody closed."""
    try:
        yield
    finally:
        while lines:
            lines.pop().abort()


class Slot:
    """Leave for one call.

    Args:
        give: Gives it back.
    """

    def __init__(self, give: Callable[[], object]) -> None:
        self._give = give
        self._is_given = False

    def give(self) -> None:
        """Gives it back; once more does nothing."""
        if not self._is_given:
            self._give()
            self._is_given = True


class AsyncSlots:
    """How many calls there may be at once.

    Args:
        most: How many.
    """

    def __init__(self, most: int) -> None:
        self._free = asyncio.Semaphore(most)

    async def take(self, limit: float | None) -> Slot:
        """Waits for a slot.

        Args:
            limit: Maximum seconds.

        Raises:
            httpx.PoolTimeout: None became free in time.
        """
        left = _left(limit, httpx.PoolTimeout)
        if not self._free.locked():
            await self._free.acquire()
        else:
            try:
                async with asyncio.timeout(left):
                    await self._free.acquire()
            except TimeoutError as error:
                raise httpx.PoolTimeout("timed out") from error
        return Slot(self._free.release)


# --- blocking


class Line:
    """A connection that blocks; `Lines.open` makes one.

    Args:
        connection: The connected socket.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._is_aborted = False

    def read(self, limit: float | None) -> bytes:
        """What comes next; see `AsyncLine.read`."""
        try:
            self._socket.settimeout(_left(limit, httpx.ReadTimeout))
            data = self._socket.recv(_PIECE)
        except TimeoutError as error:
            raise httpx.ReadTimeout("timed out") from error
        except OSError as error:
            raise httpx.ReadError(_CLOSED if self._is_aborted else str(error)) from error
        if self._is_aborted:
            raise httpx.ReadError(_CLOSED)
        return data

    def write(self, data: bytes, limit: float | None) -> None:
        """Sends data; see `AsyncLine.write`."""
        try:
            # With TLS each partial write may take the full timeout again.
            for start in range(0, len(data), _PIECE):
                self._socket.settimeout(_left(limit, httpx.WriteTimeout))
                self._socket.sendall(data[start : start + _PIECE])
        except TimeoutError as error:
            raise httpx.WriteTimeout("timed out") from error
        except OSError as error:
            raise httpx.WriteError(str(error)) from error

    @property
    def is_stale(self) -> bool:
        """Whether an idle connection has ended, or brought what nobody asked for."""
        return self._socket.fileno() < 0 or _is_readable(self._socket)

    def abort(self) -> None:
        """Closes the connection at once, and ends whoever reads from it."""
        self._is_aborted = True
        with suppress(OSError):
            # It fails if the other side has closed it already.
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def __del__(self) -> None:
        self._socket.close()


class Lines:
    """The open connections of one client.

    Args:
        tls: TLS settings; None where there is no TLS.
    """

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        # Weakly, so that one that an interrupt leaves with nobody is closed.
        self._open: WeakSet[Line] = WeakSet()
        self.is_closed = False

    def open(self, origin: _Origin, limit: float | None) -> Line:
        """Connects to a host; see `AsyncLines.open`."""
        left = _left(limit, httpx.ConnectTimeout)
        deadline = time.monotonic() + (math.inf if left is None else left)
        try:
            line = self._connect(*_host_and_port(origin), deadline)
        except TimeoutError as error:
            raise httpx.ConnectTimeout("timed out") from error
        except OSError as error:
            raise httpx.ConnectError(str(error)) from error
        self._open.add(line)
        if self.is_closed:
            self.drop(line)
            raise httpx.ConnectError(_CLOSED)
        return line

    def _connect(self, host: str, port: int, deadline: float) -> Line:
        connection = _dial(_find(host, port), deadline)
        try:
            connection.settimeout(_left(deadline - time.monotonic(), httpx.ConnectTimeout))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_hostname=host)
        except BaseException:
            connection.close()
            raise
        return Line(connection)

    def drop(self, line: Line) -> None:
        """Closes a connection at once.

        Args:
            line: The connection.
        """
        self._open.discard(line)
        line.abort()

    def close(self) -> None:
        """Closes all connections, and those that are being made."""
        self.is_closed = True
        while self._open:
            with suppress(KeyError):
                # A call that ends meanwhile may have taken the last one.
                self._open.pop().abort()


def _dial(addresses: list[_Address], deadline: float) -> socket.socket:
    """A connection to the address that is first to take it.

    Args:
        addresses: The addresses.
        deadline: When to stop, on the monotonic clock.

    Raises:
        OSError: None of them did; what the first one failed with.
        TimeoutError: None of them did in time.
    """
    failures: list[OSError] = []
    left = deque(addresses)
    with selectors.DefaultSelector() as trying:
        try:
            while left or trying.get_map():
                if left:
                    family, address = left.popleft()
                    try:
                        trying.register(_begun(family, address), selectors.EVENT_WRITE, address)
                    except OSError as error:
                        failures.append(error)
                        continue
                wait = deadline - time.monotonic()
                if wait <= 0:
                    raise TimeoutError
                if left:
                    wait = min(wait, _NEXT_ADDRESS_SECONDS)
                for key, _ in trying.select(None if wait == math.inf else wait):
                    connection = cast("socket.socket", key.fileobj)
                    trying.unregister(connection)
                    if not (code := connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
                        return connection
                    connection.close()
                    failures.append(OSError(code, f"Connect call failed {key.data}"))
            raise failures[0] if failures else OSError("the host has no address")
        finally:
            for key in trying.get_map().values():
                cast("socket.socket", key.fileobj).close()


def _begun(family: socket.AddressFamily, address: _SocketAddress) -> socket.socket:
    """A socket that is being connected."""
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        connection.connect(address)
    except BlockingIOError:
        return connection
    except BaseException:
        connection.close()
        raise
    return connection


class _SelfGiving(Slot):
    """An interrupt may come between any two steps: what nobody holds any more is given back."""

    def __del__(self) -> None:
        self.give()


class Slots:
    """How many calls there may be at once.

    Args:
        most: How many.
    """

    def __init__(self, most: int) -> None:
        # Written in C: an interrupt can leave none of its locks held.
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(most):
            self._free.put(None)

    def take(self, limit: float | None) -> Slot:
        """Waits for a slot; see `AsyncSlots.take`."""
        try:
            self._free.get(timeout=_left(limit, httpx.PoolTimeout))
        except Empty as error:
            raise httpx.PoolTimeout("timed out") from error
        return _SelfGiving(partial(self._free.put, None))
