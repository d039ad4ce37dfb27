"""Which daemon to talk to."""

import re
from typing import Final
from urllib.parse import unquote, urlsplit

from digitorn_testing import _environment
from digitorn_testing._texts import check_sendable

from .endpoints import SCHEME

DEFAULT_DAEMON_URL = "http://127.0.0.1:8000"

# Strict, so that every parser of the URL finds the same host: no user, no query, no backslash.
_URL: Final = re.compile(
    r"https?://(?:\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[^\s/\\?#@%:\[\]\x00-\x20\x7f]+)(?::[0-9]+)?"
    r"(?:/[^\s\\?#\x00-\x20\x7f]*)?"
)


def resolve_daemon_url(daemon_url: str | None) -> str:
    """The daemon's base URL, without a trailing slash.

    Args:
        daemon_url: An explicit URL; otherwise `$DIGITORN_DEV_DAEMON_URL`, `$DIGITORN_DAEMON_URL` or the
            local default, in this order.

    Raises:
        ValueError: The URL is not an http or https URL of a host, or has further parts such as a user or a
            query. The message omits those, because they may be secret.
    """
    found = daemon_url or _environment.daemon_url() or DEFAULT_DAEMON_URL
    check_sendable(found, "the daemon URL")
    if found.startswith(SCHEME):
        return found.rstrip("/")
    if not found.startswith(("http://", "https://")):
        raise ValueError(f"the daemon URL {_without_secrets(found)!r} must start with http:// or https://")
    if _URL.fullmatch(found) is None or not _has_port_in_range(found) or _is_crooked(found):
        raise ValueError(
            f"the daemon URL {_without_secrets(found)!r} must be a host with a port and a path and no more; "
            "a token is passed as token="
        )
    return found.rstrip("/")


def _is_crooked(url: str) -> bool:
    """Whether the path has segments that some parsers leave out, so that they would disagree."""
    path = urlsplit(url).path.rstrip("/")
    return any(unquote(segment) in ("", ".", "..") for segment in path.split("/")[1:])


def _without_secrets(url: str) -> str:
    """The part of an invalid URL that is safe to show."""
    scheme, colon, rest = url.rpartition("//")
    shown = re.split(r"[?#\\]", rest.rpartition("@")[2])[0]
    return scheme.rpartition("@")[2] + colon + shown


def _has_port_in_range(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False
