"""Rows of the log that are never sent: they spend numbers and leave gaps (contract: events, section 4.2)."""

import time
from typing import Final, Literal

from digitorn_testing._generated.events import (
    AssistantMessage,
    AssistantMessagePartial,
    Compaction,
    LoggedCompactDone,
    LoggedSystemMessage,
    LoggedToolCall,
    LoggedUserMessage,
    ToolMessage,
    ToolResult,
)
from digitorn_testing.fakes._model.requests import ModelMessage
from digitorn_testing.fakes._store.sessions import Session, Turn

from .bus import EventBus

_PARTIAL_SECONDS: Final = 0.5
"""How often the text of an answer is logged while it is streamed (contract: events, section 5.2)."""


class LogRows:
    """Writes the rows of messages, tool calls and compactions.

    Args:
        bus: Where they are logged.
    """

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus

    def streamed(self, turn: Turn) -> None:
        """Logs the text so far, twice a second at most."""
        if time.monotonic() - turn.partial_logged_at >= _PARTIAL_SECONDS:
            self._partial(turn, "streaming")

    def _partial(self, turn: Turn, status: Literal["streaming", "complete"]) -> None:
        turn.partial_logged_at = time.monotonic()
        turn.partials_logged += 1
        row = AssistantMessagePartial(
            agent_seq=turn.partials_logged,
            streaming_status=status,
            content=turn.session.partial or "",
            content_kind="text",
        )
        self._bus.log(turn.session, row)

    def said(self, turn: Turn, message: ModelMessage) -> None:
        """Logs a message of the conversation, and the tool calls in it."""
        place = len(turn.session.conversation.entries)
        if message.role == "tool":
            result = ToolResult(tool_call_id=message.tool_call_id or "", output=message.content, error=None)
            self._bus.log(turn.session, result)
            self._bus.log(turn.session, ToolMessage(content_kind="text", agent_seq=place), kind="message")
            return
        if message.role == "user":
            if place == 1:
                system = LoggedSystemMessage(content_kind="text", agent_seq=0)
                self._bus.log(turn.session, system, kind="message")
            self._bus.log(
                turn.session, LoggedUserMessage(content_kind="text", agent_seq=place), kind="message"
            )
            return
        if turn.session.partial:
            self._partial(turn, "complete")
        self._bus.log(turn.session, AssistantMessage(content_kind="text", agent_seq=place), kind="message")
        for call in message.tool_calls:
            self._bus.log(
                turn.session, LoggedToolCall(id=call.id, name=call.name, arguments=dict(call.params))
            )

    def compacted(self, session: Session, payload: Compaction) -> None:
        """Logs the result of a compaction, under a type of its own (contract: events, section 5.7)."""
        row = LoggedCompactDone(
            cutoff_seq=payload.compacted_range.to_seq,
            summary=payload.summary_text,
            strategy=payload.strategy,
            tokens_estimate=payload.tokens_after,
            model=session.app.definition.model_name,
            key_event_count=0,
            compaction_at_ts=time.time(),
        )
        self._bus.log(session, row)
