"""Daemons in this process, which are reached without the network."""

from collections.abc import Callable
from typing import Final, Protocol
from weakref import WeakValueDictionary

import httpx

from digitorn_testing._errors import DaemonUnreachable

from .event_connection import EventConnection
from .options import ConnectionOptions

SCHEME: Final = "in-process://"
"""The beginning of the URL of a daemon in this process."""


class Endpoint(Protocol):
    """How to reach a daemon in this process."""

    def http(self) -> httpx.BaseTransport:
        """Carries blocking REST calls."""
        ...

    def async_http(self) -> httpx.AsyncBaseTransport:
        """Carries asynchronous REST calls."""
        ...

    def socket(self, on_frame: Callable[[object], None], on_lost: Callable[[str], None]) -> EventConnection:
        """Carries events; the arguments are those of `EventSocket`."""
        ...


_ENDPOINTS: WeakValueDictionary[str, Endpoint] = WeakValueDictionary()


def register(daemon_url: str, endpoint: Endpoint) -> None:
    """Registers a daemon in this process, for as long as somebody holds its endpoint.

    Args:
        daemon_url: Its URL.
        endpoint: How to reach it.
    """
    _ENDPOINTS[daemon_url] = endpoint


def endpoint_of(daemon_url: str) -> Endpoint | None:
    """How to reach a daemon in this process; None for a daemon on the network.

    Args:
        daemon_url: Its URL.

    Raises:
        DaemonUnreachable: There is no such daemon in this process.
    """
    if not daemon_url.startswith(SCHEME):
        return None
    endpoint = _ENDPOINTS.get(daemon_url)
    if endpoint is None:
        raise DaemonUnreachable(daemon_url, "there is no such daemon in this process")
    return endpoint


def event_connection(
    daemon_url: str,
    on_frame: Callable[[object], None],
    on_lost: Callable[[str], None],
    connection_options: ConnectionOptions | None = None,
) -> EventConnection:
    """A connection for the events of a daemon, in process or on the network; not connected yet.

    Args:
        daemon_url: Base URL of the daemon.
        on_frame: Called with each pushed envelope, still raw. Must not raise.
        on_lost: Called with a reason when the connection ends without `close`.
        connection_options: How to connect over the network; the defaults if left out.
    """
    endpoint = endpoint_of(daemon_url)
    if endpoint is not None:
        return endpoint.socket(on_frame, on_lost)
    # Imported late, because its packages take longer to import than everything else.
    from .event_socket import EventSocket

    return EventSocket(daemon_url, on_frame, on_lost, connection_options)
