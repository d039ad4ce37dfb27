"""Which daemon to talk to, and how to trust it."""

import os
import ssl
from functools import lru_cache
from typing import TypedDict

from ._approvals import ApprovalPolicy
from ._endpoints import SCHEME

DEFAULT_DAEMON_URL = "http://127.0.0.1:8000"


class ClientOptions(TypedDict, total=False):
    """Arguments of `DevClient` and `AsyncDevClient`, where something else makes them; see there.

    Attributes:
        daemon_url: Base URL of the daemon.
        auto_approve: Approve tool calls that ask in turns of this client.
        timeout: Seconds for one call, and for a turn.
        token: Access token.
        approvals: Decides what asks in turns of this client.
        keep_exchanges: How many of the last REST calls the client keeps.
    """

    daemon_url: str | None
    auto_approve: bool
    timeout: float
    token: str | None
    approvals: ApprovalPolicy | None
    keep_exchanges: int


def resolve_daemon_url(daemon_url: str | None) -> str:
    """The daemon's base URL, without a trailing slash.

    Args:
        daemon_url: An explicit URL; else `$DIGITORN_DEV_DAEMON_URL`, else `$DIGITORN_DAEMON_URL`, else
            the local default.

    Raises:
        ValueError: The URL is not an http or https URL.
    """
    found = (
        daemon_url
        or os.environ.get("DIGITORN_DEV_DAEMON_URL")
        or os.environ.get("DIGITORN_DAEMON_URL")
        or DEFAULT_DAEMON_URL
    )
    if not found.startswith(("http://", "https://", SCHEME)):
        raise ValueError(f"the daemon URL {found!r} must start with http:// or https://")
    return found.rstrip("/")


@lru_cache(maxsize=1)
def tls_context() -> ssl.SSLContext:
    """The process's TLS settings; loading the certificates takes longer than a call."""
    return ssl.create_default_context()
