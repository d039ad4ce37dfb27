"""What came of a turn."""

from collections.abc import Sequence
from dataclasses import dataclass

from ._event import LiveEvent
from ._generated.events import (
    CredentialAuthRequired,
    CredentialRequired,
    Error,
    EventPayload,
    MessageCancelled,
    Result,
    Token,
    ToolCall,
    TurnTerminal,
)
from ._generated.payloads import ResultUsage
from ._handles import SessionHandle
from ._session_protocol import TurnStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnResult:
    """What came of a turn.

    Attributes:
        session: Where it ran.
        correlation_id: Its identity on the wire.
        status: How it ended. A turn whose provider failed is `failed`, though the daemon closes it as done.
        content: The answer.
        tool_calls: Tool calls that ended, in order.
        usage: Tokens and cost, if the daemon reported them.
        error: What went wrong; None when nothing did.
        duration: Seconds from its first event to its last, on the daemon's clock.
        events: The turn's events, in order.
    """

    session: SessionHandle
    correlation_id: str
    status: TurnStatus
    content: str
    tool_calls: tuple[ToolCall, ...]
    usage: ResultUsage | None
    error: str | None
    duration: float
    events: tuple[LiveEvent[EventPayload], ...]

    @property
    def ok(self) -> bool:
        """Whether the turn completed without an error."""
        return self.status == "completed"


def collect(
    events: Sequence[LiveEvent[EventPayload]],
    *,
    session: SessionHandle,
    correlation_id: str,
    ending: TurnStatus | None = None,
) -> TurnResult:
    """The result that a turn's events add up to.

    Args:
        events: The turn's events, in order.
        session: Where it ran.
        correlation_id: The turn.
        ending: How the turn ended where no event of it says so.
    """
    status: TurnStatus = ending or "completed"
    answer: str | None = None
    usage: ResultUsage | None = None
    error: str | None = None
    deltas: list[str] = []
    tool_calls: list[ToolCall] = []
    for event in events:
        match event.payload:
            case Token(delta=delta):
                deltas.append(delta)
            case ToolCall() as call:
                tool_calls.append(call)
            case Result() as result:
                answer, usage = result.content, result.usage
                # Provider failures end as done; the result's own error tells (contract: events, 8, trap 4).
                error = result.error or error
            case Error() | CredentialRequired() | CredentialAuthRequired() as failure:
                error = failure.error or failure.detail or failure.code or event.type
            case MessageCancelled() | TurnTerminal(status="cancelled" | "interrupted"):
                status = "cancelled"
            case TurnTerminal(status="failed") if error is None:
                error = event.type
            case _:
                pass
    if error is not None and status == "completed":
        status = "failed"
    return TurnResult(
        session=session,
        correlation_id=correlation_id,
        status=status,
        content="".join(deltas) if answer is None else answer,
        tool_calls=tuple(tool_calls),
        usage=usage,
        error=error,
        duration=_duration(events),
        events=tuple(events),
    )


def _duration(events: Sequence[LiveEvent[EventPayload]]) -> float:
    moments = [moment for event in events if (moment := event.emitted_at) is not None]
    return (max(moments) - min(moments)).total_seconds() if moments else 0.0
