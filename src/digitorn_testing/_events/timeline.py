"""Events as text that people read."""

import json
from collections.abc import Iterable

from digitorn_testing._generated.events import (
    LIFTED,
    ApprovalRequest,
    ApprovalResolved,
    Error,
    EventPayload,
    MessageCancelled,
    MessageDone,
    MessageStarted,
    Result,
    Token,
    ToolCall,
    ToolStart,
    UserMessage,
)

from .event import InvalidPayload, LiveEvent

_WIDTH = 100
_REPEATED = frozenset(inner for inner, _ in LIFTED)


def render(events: Iterable[LiveEvent[EventPayload]]) -> str:
    """A line an event: `seq`, seconds since the first event, type, and what it says.

    Args:
        events: The events, in the order to show them in.
    """
    listed = list(events)
    if not listed:
        return "no events"
    first = next((moment for event in listed if (moment := event.emitted_at) is not None), None)
    width = max(len(event.type) for event in listed)
    lines: list[str] = []
    for event in listed:
        moment = event.emitted_at
        offset = f"{(moment - first).total_seconds():+9.3f}" if moment and first else " " * 9
        seq = str(event.seq) if event.is_numbered else "-"
        lines.append(f"{seq:>5} {offset}  {event.type:<{width}}  {summary(event.payload)}".rstrip())
    return "\n".join(lines)


def summary(payload: EventPayload) -> str:
    """What a payload says, on one line."""
    match payload:
        case UserMessage(content=content):
            text = repr(content)
        case MessageStarted() | MessageDone() | MessageCancelled():
            text = ""
        case Token(delta=delta):
            text = repr(delta)
        case ToolStart(name=name, params=params):
            text = f"{name} {_json(params)}"
        case ToolCall(name=name, success=True, result=result):
            text = f"{name} -> {_json(result)}"
        case ToolCall(name=name, error=error):
            text = f"{name} failed: {error}"
        case ApprovalRequest(tool_name=name, tool_params=params):
            text = f"{name} {_json(params)}?"
        case ApprovalResolved(approved=approved, reason=reason):
            text = ("approved" if approved else "denied") + (f": {reason}" if reason else "")
        case Result(content=content, error=error):
            text = f"error: {error}" if error else repr(content)
        case Error(error=error):
            text = str(error)
        case InvalidPayload(errors=errors):
            text = "INVALID: " + "; ".join(errors)
        case _:
            # Copies from the daemon's log repeat the envelope inside the payload.
            members = {name: value for name, value in payload.to_wire().items() if name not in _REPEATED}
            text = _json(members) if members else ""
    text = " ".join(text.split())
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
