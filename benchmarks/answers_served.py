"""Answers over REST of two sizes, prepared."""

from typing import Any, Final

from . import frames

SMALL: Final = "small"
"""Session whose list of events has 600 bytes."""

LARGE: Final = "large"
"""Session whose list of events has 560 KB."""

_UNLOGGED: Final = frozenset({"token", "out_token", "in_token", "stream_done"})
_SIZE: Final = {SMALL: 600, LARGE: 560_000}


def _page(session: str) -> bytes:
    """A page of events, up to a size."""
    rows: list[dict[str, Any]] = []
    size = 0
    for event in frames.envelopes(100_000):
        if event["type"] in _UNLOGGED:
            continue
        row = {name: value for name, value in event.items() if value is not None}
        size += len(frames.compact(row))
        if rows and size > _SIZE[session]:
            break
        rows.append(row)
    data: dict[str, Any] = {
        "session_id": frames.SESSION,
        "count": len(rows),
        "total": len(rows),
        "events": rows,
        "note": "Rows are the events that the session keeps; deltas of text are not among them.",
    }
    return frames.compact({"success": True, "data": data}).encode()


def path_of(session: str) -> str:
    """The path of a session's list of events.

    Args:
        session: `SMALL` or `LARGE`.
    """
    return f"/api/apps/{frames.APP}/sessions/{session}/events"


_PAGES: Final = {path_of(name): name for name in _SIZE}
_made: dict[str, bytes] = {}


def answer(path: str) -> bytes:
    """The body of the answer to a GET; an empty object for a path without one.

    Args:
        path: The path.
    """
    if (name := _PAGES.get(path)) is None:
        return b"{}"
    if name not in _made:
        _made[name] = _page(name)
    return _made[name]
