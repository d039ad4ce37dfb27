"""Certificates, plain HTTP, and limits for what a client accepts."""

import ipaddress
import os
import ssl
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from digitorn_testing._errors import InsecureConnection

_CA_FILE: Final = "DIGITORN_CA_FILE"
_AUTH_URL: Final = "DIGITORN_AUTH_URL"
_ALLOW_PLAIN_HTTP: Final = "DIGITORN_ALLOW_PLAIN_HTTP"
_YES_OR_NO: Final = {"1": True, "true": True, "yes": True, "": False, "0": False, "false": False, "no": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionOptions:
    """How a client connects: which certificates it trusts, when it may use plain HTTP, how much it accepts.

    Attributes:
        ca_file: PEM file with the certificates to trust instead of the system's; `$DIGITORN_CA_FILE` if left
            out. Certificates are always verified.
        allow_plain_http: Whether tokens and passwords may go over plain HTTP to another machine;
            `$DIGITORN_ALLOW_PLAIN_HTTP` (1 or 0) if left out, and no if that is not set either.
        auth_url: Base URL of the service that logs users in; `$DIGITORN_AUTH_URL` if left out. If neither is
            set, the daemon is asked, and its redirect to the service is followed
            (contract: rest, section 1.5).
        max_response_bytes: Maximum size of the body of a REST answer, decompressed.
        max_frame_bytes: Maximum size of a message from the event socket.
        max_json_values: Maximum number of values in the JSON of one answer or event. A small text may hold
            millions, and each takes about a hundred times its size in memory.
        max_log_events: Maximum number of events that one read of a session's log accepts.

    Raises:
        ValueError: A limit is not positive.
    """

    ca_file: str | os.PathLike[str] | None = None
    allow_plain_http: bool | None = None
    auth_url: str | None = None
    max_response_bytes: int = 64 * 1024 * 1024
    max_frame_bytes: int = 16 * 1024 * 1024
    max_json_values: int = 2_000_000
    max_log_events: int = 250_000

    def __post_init__(self) -> None:
        for name in ("max_response_bytes", "max_frame_bytes", "max_json_values", "max_log_events"):
            limit: int = getattr(self, name)
            if limit < 1:
                raise ValueError(f"{name} must be 1 or more, not {limit}")

    @property
    def allows_plain_http(self) -> bool:
        """Whether tokens may go over plain HTTP to another machine, by argument or environment.

        Raises:
            ValueError: The environment variable is neither 1 nor 0.
        """
        if self.allow_plain_http is not None:
            return self.allow_plain_http
        said = os.environ.get(_ALLOW_PLAIN_HTTP, "")
        if (found := _YES_OR_NO.get(said.strip().lower())) is None:
            raise ValueError(f"${_ALLOW_PLAIN_HTTP} must be 1 or 0, not {said!r}")
        return found

    def check_secrets_may_go_to(self, daemon_url: str) -> None:
        """Refuses to send a token or a password in clear to another machine.

        Args:
            daemon_url: Base URL of the daemon.

        Raises:
            InsecureConnection: It would go over plain HTTP to a host other than loopback.
        """
        if daemon_url.startswith("http://") and not _is_loopback(daemon_url) and not self.allows_plain_http:
            raise InsecureConnection(daemon_url)

    @property
    def auth_service(self) -> str | None:
        """Base URL of the auth service, by argument or environment; None if the daemon has to be asked."""
        return self.auth_url or os.environ.get(_AUTH_URL) or None

    def may_lead_to(self, url: str) -> bool:
        """Whether a daemon may send calls with secrets on to a URL: by https, or on this machine.

        Args:
            url: Where the daemon's redirect leads.
        """
        return url.startswith("https://") or (url.startswith("http://") and _is_loopback(url))

    def tls(self, daemon_url: str) -> ssl.SSLContext | None:
        """The TLS settings for a daemon; None where there is no TLS.

        Args:
            daemon_url: Base URL of the daemon.

        Raises:
            ValueError: The certificate file cannot be read.
        """
        if not daemon_url.startswith("https://"):
            return None
        file = self.ca_file or os.environ.get(_CA_FILE) or None
        return _tls_context(None if file is None else os.fspath(file))


@lru_cache(maxsize=64)  # every call with a token asks; the URLs of a run's daemons are few
def _is_loopback(url: str) -> bool:
    """Whether a URL's host is this machine, by its name or address alone, without a DNS lookup."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


@lru_cache(maxsize=8)
def _tls_context(ca_file: str | None) -> ssl.SSLContext:
    """TLS settings, once for each file; loading the certificates takes longer than a call."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
        context.set_alpn_protocols(["http/1.1"])
        return context
    except (OSError, ssl.SSLError) as error:
        said = error.strerror or type(error).__name__
    raise ValueError(f"the certificates in {ca_file!r} cannot be read: {said}")


def is_distrust(error: BaseException) -> bool:
    """Whether an error comes from a certificate that is not trusted."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
