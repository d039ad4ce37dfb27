"""Keeps ids inside their path segment."""

import re
from typing import Any, Final
from urllib.parse import unquote

from digitorn_testing._generated._runtime import Call

# A server, or a proxy on the way, decodes a segment before it looks where it leads. No id of the contract
# holds any of these (contract: rest, section 1.4).
_LEADS_AWAY: Final = re.compile(r"[/\\\x00-\x1f\x7f]")


def check_path(call: Call[Any]) -> None:
    """Refuses a path that somebody on the way could read as another one than is meant.

    Args:
        call: The call.

    Raises:
        ValueError: A segment is empty, `.` or `..`, or holds a slash, a backslash or a control character.
    """
    # A final slash that the contract writes is meant.
    path = call.path[:-1] if call.operation.path.endswith("/") else call.path
    for segment in path.split("/")[1:]:
        meant = unquote(segment)
        if meant in ("", ".", "..") or _LEADS_AWAY.search(meant):
            raise ValueError(
                f"{call.operation.id}: {meant!r} cannot be a part of a path: it must not be empty, "
                "'.' or '..', and hold no slash, backslash or control character"
            )
