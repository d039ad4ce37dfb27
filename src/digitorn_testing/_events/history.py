"""What a client can read back from a session: the rows of its log, and the messages of its history."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from digitorn_testing._generated.events import LIFTED, EventEnvelope
from digitorn_testing._generated.models import (
    HistoryEvent,
    HistoryFunctionCall,
    HistoryMessage,
    HistoryToolCall,
)

from .conventions import logged_stamp


def lifted(event: EventEnvelope, *, same_name: bool) -> dict[str, Any]:
    """The fields of the envelope that copies repeat inside the payload.

    Args:
        event: The event.
        same_name: Only fields that have the same name in both places, as in rows of the log.
    """
    found = {inner: getattr(event, outer) for inner, outer in LIFTED if not same_name or inner == outer}
    return {name: value for name, value in found.items() if value is not None}


def log_row(event: EventEnvelope) -> EventEnvelope:
    """A row of the durable log, in which the payload repeats the ids (contract: events, section 4.3)."""
    # A row has only what was stored: a parent and an operation only if the event had them.
    stored = {
        name: getattr(event, name)
        for name in ("event_id", "op_id", "op_type", "op_state", "op_parent_id")
        if getattr(event, name) is not None
    }
    row = EventEnvelope(
        type=event.type,
        kind=event.kind,
        seq=event.seq,
        ts=logged_stamp(event.ts or ""),
        app_id=event.app_id,
        session_id=event.session_id,
        user_id=event.user_id,
        correlation_id=event.correlation_id,
        payload={**event.payload, **lifted(event, same_name=True)},
    )
    return row.model_copy(update=stored)


def history_event(place: int, event: EventEnvelope) -> HistoryEvent:
    """A row of the durable log as the history shows it.

    Args:
        place: Its place in the list, starting at 1.
        event: The event as it was sent.
    """
    row = log_row(event)
    return HistoryEvent(
        id=place,
        type=row.type,
        kind=row.kind or "session",
        seq=row.seq or 0,
        payload=row.payload,
        ts=row.ts,
        session_id=row.session_id,
        user_id=row.user_id,
        correlation_id=row.correlation_id or "",
        event_id=row.event_id or "",
        op_id=row.op_id or "",
        op_type=row.op_type or "",
        op_state=row.op_state or "",
    )


def history_call(call_id: str, name: str, params: Mapping[str, Any]) -> HistoryToolCall:
    """A tool call as the history shows it: as the model wrote it, without its result."""
    function = HistoryFunctionCall(name=name, arguments=json.dumps(dict(params)))
    return HistoryToolCall(id=call_id, type="function", function=function)


def history_message(role: str, content: str, *, calls: Sequence[HistoryToolCall] = ()) -> HistoryMessage:
    """A message as the history shows it.

    Args:
        role: Who wrote the message.
        content: The text.
        calls: Calls that the assistant asked for.
    """
    message = HistoryMessage(role=role, content=content)
    return message.model_copy(update={"tool_calls": list(calls)}) if calls else message
