"""Many events of one session, in the shapes that the released daemon sent."""

import copy
import json
from collections.abc import Iterator
from typing import Any, Final

from .measuring import ROOT

APP: Final = "bench"
SESSION: Final = "bench-1"
FIRST: Final = 2
"""Number of the first event: a stream that begins behind 1 reads no history."""

TURN: Final = 100
"""Events of a turn."""

LAST_OF_TURN: Final = "turn_terminal"

_BEFORE: Final = ("user_message", "message_started", "hook", "hook", "out_token")
_TOOL: Final = ("tool_call_streaming", "tool_start", "terminal_output", "tool_call", "hook", "out_token")
_AFTER: Final = ("in_token", "stream_done", "result", "message_done", LAST_OF_TURN)
_TOKENS: Final = TURN - len(_BEFORE) - len(_TOOL) - len(_AFTER)
_ORDER: Final = (
    *_BEFORE,
    *["token"] * (_TOKENS // 2),
    *_TOOL,
    *["token"] * (_TOKENS - _TOKENS // 2),
    *_AFTER,
)
_OF_TOOL: Final = frozenset({"tool_start", "terminal_output", "tool_call"})
_NAMED: Final = ("id", "call_id", "op_id", "op_parent_id")

TYPES: Final = frozenset(_ORDER)
"""The types of the events."""


def _recorded() -> dict[str, dict[str, Any]]:
    """An event of each type from the recording of the released daemon."""
    found: dict[str, dict[str, Any]] = {}
    with (ROOT / "tests/data/frames-1.0.3.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            event: dict[str, Any] = json.loads(line).get("event") or {}
            wire = event.get("type")
            if wire in TYPES and event.get("correlation_id") and wire not in found:
                found[wire] = event
    return found


def envelopes(count: int) -> Iterator[dict[str, Any]]:
    """The events, 84 of 100 `token`; each has its own number, id, time and text.

    Args:
        count: How many.
    """
    shapes = _recorded()
    for index in range(count):
        turn, place = divmod(index, TURN)
        event = copy.deepcopy(shapes[_ORDER[place]])
        seq, correlation_id = FIRST + index, f"fp-{turn:012x}"
        payload = event["payload"]
        seconds, micros = divmod(index * 1000, 1_000_000)
        event |= {
            "seq": seq,
            "event_id": f"ev-{seq:012x}",
            "ts": f"2026-11-27T{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{micros:06}Z",
            "app_id": APP,
            "session_id": SESSION,
            "correlation_id": correlation_id,
            "op_id": correlation_id,
        }
        if event["type"] in _OF_TOOL:
            op_id = f"call_{turn:024x}"
            event |= {"op_id": op_id, "op_parent_id": op_id if event["op_parent_id"] else None}
            payload |= {name: op_id for name in _NAMED if name in payload}
        elif event["type"] == "hook":
            event["op_id"] = payload["hook_op_id"] = f"op-hook-{seq:012x}"
        elif event["type"] == "token":
            payload |= {"delta": f"word {index}, and more ", "count": place}
        payload |= {
            name: value
            for name, value in (("correlation_id", correlation_id), ("session_id", SESSION))
            if name in payload
        }
        yield event


def compact(value: object) -> str:
    """JSON as the daemon's Socket.IO server writes it.

    Args:
        value: The JSON value.
    """
    return json.dumps(value, separators=(",", ":"))
