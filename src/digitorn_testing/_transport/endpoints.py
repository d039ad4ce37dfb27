"""Daemons of this process, which are reached without the network."""

from collections.abc import Callable
from typing import Final, Protocol
from weakref import WeakValueDictionary

import httpx

from digitorn_testing._errors import DaemonUnreachable

from .event_connection import EventConnection
from .options import ConnectionOptions

SCHEME: Final = "in-process://"
"""Begins the URL of a daemon of this process."""


class Endpoint(Protocol):
    """How a daemon of this process is reached."""

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
    """Makes a daemon of this process known, as long as somebody holds its endpoint.

    Args:
        daemon_url: Its URL.
        endpoint: How it is reached.
    """
    _ENDPOINTS[daemon_url] = endpoint


def endpoint_of(daemon_url: str) -> Endpoint | None:
    """How a daemon of this process is reached; None for one that is reached over the network.

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
    """A connection for the events of a daemon, wherever it is; not connected yet.

    Args:
        daemon_url: Base URL of the daemon.
        on_frame: Takes each pushed envelope, still raw. Must not raise.
        on_lost: Called with a reason when the connection ends without `close`.
        connection_options: How to connect over the network; the defaults when left out.
    """
    endpoint = endpoint_of(daemon_url)
    if endpoint is not None:
        return endpoint.socket(on_frame, on_lost)
    # Late, because its packages take longer to import than all the rest.
    from .event_socket import EventSocket

    return EventSocket(daemon_url, on_frame, on_lost, connection_options)
