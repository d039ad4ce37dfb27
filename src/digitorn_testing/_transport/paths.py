"""Keeps ids inside their path segment."""

import re
from typing import Any, Final
from urllib.parse import unquote

from digitorn_testing._generated._runtime import Call

# Servers and proxies decode a segment before they interpret the path. No id of the contract contains any of
# these (contract: rest, section 1.4).
_LEADS_AWAY: Final = re.compile(r"[/\\\x00-\x1f\x7f]")


def check_path(call: Call[Any]) -> None:
    """Refuses a path that a server or proxy could read as a different one.

    Args:
        call: The call.

    Raises:
        ValueError: A segment is empty, `.` or `..`, or contains a slash, a backslash or a control character.
    """
    # A trailing slash in the contract's path is intended.
    path = call.path[:-1] if call.operation.path.endswith("/") else call.path
    for segment in path.split("/")[1:]:
        meant = unquote(segment)
        if meant in ("", ".", "..") or _LEADS_AWAY.search(meant):
            name = call.operation.id or call.operation.method
            raise ValueError(
                f"{name}: {meant!r} cannot be a part of a path: it must not be empty, "
                "'.' or '..', and hold no slash, backslash or control character"
            )
