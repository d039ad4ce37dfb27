"""What a client can read back from a session: the rows of its log, and the messages of its history."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from digitorn_testing._generated.events import LIFTED, EventEnvelope
from digitorn_testing._generated.models import (
    HistoryEvent,
    HistoryFunctionCall,
    HistoryMessage,
    HistoryToolCall,
    SessionEvent,
)

from .conventions import logged_stamp, stamp


def lifted(event: EventEnvelope) -> dict[str, Any]:
    """The members of the envelope that copies repeat inside the payload; none in rows never sent."""
    if event.event_id is None:
        return {}
    # A copy has `correlation_id` in its payload only if the event had it there.
    found = {inner: getattr(event, outer) for inner, outer in LIFTED if outer != "correlation_id"}
    return {name: value for name, value in found.items() if value is not None}


def log_row(event: EventEnvelope) -> SessionEvent:
    """A row of the durable log: what is not set is empty (contract: events, section 4.3)."""
    return SessionEvent(
        ts=logged_stamp(event.ts or ""),
        seq=event.seq or 0,
        kind=event.kind or "session",
        type=event.type,
        event_id=event.event_id or "",
        op_id=event.op_id or "",
        op_type=event.op_type or "",
        op_state=event.op_state or "",
        session_id=event.session_id,
        user_id=event.user_id,
        payload={**event.payload, **lifted(event)},
        correlation_id=event.correlation_id or "",
    )


def history_event(place: int, event: EventEnvelope, message: HistoryMessage | None = None) -> HistoryEvent:
    """A row of the durable log as the history shows it.

    Args:
        place: Its place in the list, starting at 1.
        event: The event as it was sent.
        message: The message that the row stands for, if it stands for one.
    """
    said: dict[str, Any] = {
        "role": None if message is None else message.role,
        "content": None if message is None else message.content,
        "tool_call_id": _call_of(event) if message is None else message.tool_call_id,
        # Rows say null where messages have an empty list.
        "tool_calls": None if message is None else message.to_wire().get("tool_calls") or None,
    }
    return HistoryEvent.from_wire({**log_row(event).to_wire(), **said, "id": place})


def _call_of(event: EventEnvelope) -> str | None:
    """The call that a row is about, in the rows that are never sent."""
    if event.kind != "event":
        return None
    found = event.payload.get("tool_call_id", event.payload.get("id"))
    return found if isinstance(found, str) else None


def history_call(call_id: str, name: str, params: Mapping[str, Any]) -> HistoryToolCall:
    """A tool call as the history shows it: as the model wrote it, without its result."""
    function = HistoryFunctionCall(name=name, arguments=json.dumps(dict(params)))
    return HistoryToolCall(id=call_id, type="function", function=function)


def history_message(
    role: str,
    content: str,
    *,
    calls: Sequence[HistoryToolCall] = (),
    seq: int = 0,
    at: float = 0.0,
) -> HistoryMessage:
    """A message as the history shows it.

    Args:
        role: Who wrote the message.
        content: The text.
        calls: Calls that the assistant asked for.
        seq: The session's number when it was written.
        at: When it was written, in seconds since the Unix epoch.
    """
    return HistoryMessage(
        role=role,
        content=content,
        seq=seq,
        tool_call_id=None,
        tool_calls=list(calls),
        ts=stamp(datetime.fromtimestamp(at, UTC)),
        attachments=[],
    )
