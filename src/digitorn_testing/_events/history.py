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
    SessionEvent,
)

from .conventions import logged_stamp


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


def history_event(place: int, event: EventEnvelope) -> HistoryEvent:
    """A row of the durable log as the history shows it.

    Args:
        place: Its place in the list, starting at 1.
        event: The event as it was sent.
    """
    row = log_row(event).to_wire()
    return HistoryEvent.from_wire({**row, "id": place})


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
