"""What came of a turn: everything that its events add up to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from digitorn_testing._events.event import AnyEvent
from digitorn_testing._generated.events import (
    STALE_TURN_CODES,
    ApprovalRequest,
    ApprovalResolved,
    CredentialAuthRequired,
    CredentialRequired,
    Error,
    MessageCancelled,
    Result,
    ToolCall,
    ToolStart,
    TurnTerminal,
)
from digitorn_testing._generated.models import PendingApproval
from digitorn_testing._generated.payloads import ResultUsage
from digitorn_testing._handles import SessionHandle

from . import rules as protocol
from .rules import TurnStatus

Resolution: TypeAlias = Literal["approved", "denied", "timed_out", "open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnMessage:
    """A text of the assistant in a turn.

    Attributes:
        text: The text.
        kind: Whether it is the answer, or commentary that came before a tool call.
        deltas: The pieces in which it was streamed; none for an answer that was not.
    """

    text: str
    kind: Literal["commentary", "answer"]
    deltas: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallRecord:
    """A tool call, from its start and its end.

    Attributes:
        id: Id of the call, and of its operation.
        name: Name of the tool.
        params: Arguments, as the model gave them.
        success: Whether it succeeded; None when it never ended, as under an abort.
        error: Why it failed; empty when it did not.
        result: What it gave back.
        duration: Seconds from start to end on the daemon's clock, None when one of the two is missing.
        parent: The enclosing operation, such as a sub-agent; None for a call of the turn itself.
        started: The event of its start; None for one that was only reported.
        ended: The event of its end.
    """

    id: str
    name: str
    params: Mapping[str, Any]
    success: bool | None
    error: str
    result: Mapping[str, Any] | None
    duration: float | None
    parent: str | None
    started: ToolStart | None = field(repr=False)
    ended: ToolCall | None = field(repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that the call goes by: as on the wire, without dots, and that behind a dispatcher."""
        return protocol.tool_names(self.name, self.params)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRecord:
    """An approval that a turn asked for, and what became of it.

    Attributes:
        request: What was asked.
        resolution: How it ended; `open` when it was not resolved.
        message: Reason or answer that went with it.
        duration: Seconds until it was resolved, None while it is open.
    """

    request: PendingApproval
    resolution: Resolution
    message: str
    duration: float | None

    @property
    def approved(self) -> bool:
        """Whether it was approved."""
        return self.resolution == "approved"


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnError:
    """Something that went wrong in a turn.

    Attributes:
        message: What, for people.
        code: What, for programs (contract: events, section 7); None when the daemon gave none.
        category: Family of the code.
        retry: Whether sending the message again may help.
    """

    message: str
    code: str | None = None
    category: str | None = None
    retry: bool | None = None

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnResult:
    """What came of a turn.

    Attributes:
        session: Where it ran.
        correlation_id: Its identity on the wire.
        status: How it ended. A turn whose provider failed is `failed`, though the daemon closes it as done.
        content: The final answer.
        messages: Texts of the assistant in order: commentary before tool calls, and the answer.
        tool_calls: Tool calls in order of their start.
        approvals: Approvals that were asked for, and how each was resolved.
        usage: Tokens and cost, if the daemon reported them.
        errors: What went wrong, in order.
        duration: Seconds from its first event to its last, on the daemon's clock.
        events: The turn's events, in order.
    """

    session: SessionHandle
    correlation_id: str
    status: TurnStatus
    content: str
    messages: tuple[TurnMessage, ...]
    tool_calls: tuple[ToolCallRecord, ...]
    approvals: tuple[ApprovalRecord, ...]
    usage: ResultUsage | None
    errors: tuple[TurnError, ...]
    duration: float
    events: tuple[AnyEvent, ...] = field(repr=False)

    @property
    def ok(self) -> bool:
        """Whether the turn completed without an error."""
        return self.status == "completed"

    @property
    def error(self) -> str | None:
        """What went wrong; the last when it was more than one thing, None when it was nothing."""
        return self.errors[-1].message if self.errors else None

    @property
    def text(self) -> str:
        """The answer as it was streamed, its pieces joined; empty when it was not streamed."""
        return "".join(delta for one in self.messages if one.kind == "answer" for delta in one.deltas)

    @property
    def commentary(self) -> tuple[str, ...]:
        """What the assistant said before tool calls."""
        return tuple(one.text for one in self.messages if one.kind == "commentary")


def collect(
    events: Sequence[AnyEvent],
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
    result = next((one.payload for one in reversed(events) if isinstance(one.payload, Result)), None)
    # One that names no turn may be of something else that failed meanwhile, such as an activation.
    errors = _errors(event for event in events if event.correlation_id == correlation_id)
    messages = _messages(events, None if result is None else result.content)
    answer = next((one.text for one in messages if one.kind == "answer"), "")
    return TurnResult(
        session=session,
        correlation_id=correlation_id,
        status=_status(events, errors, ending),
        content=answer,
        messages=messages,
        tool_calls=_tool_calls(events),
        approvals=_approvals(events),
        usage=None if result is None else result.usage,
        errors=errors,
        duration=_duration(events) or 0.0,
        events=tuple(events),
    )


# --- how it ended


def _status(
    events: Iterable[AnyEvent], errors: tuple[TurnError, ...], ending: TurnStatus | None
) -> TurnStatus:
    status: TurnStatus = ending or "completed"
    for event in events:
        match event.payload:
            case MessageCancelled() | TurnTerminal(status="cancelled" | "interrupted"):
                status = "cancelled" if ending is None else ending
            case Error(code=code) if code in STALE_TURN_CODES:
                return "timed_out"
            case _:
                pass
    return "failed" if errors and status == "completed" else status


def _errors(events: Iterable[AnyEvent]) -> tuple[TurnError, ...]:
    errors: list[TurnError] = []
    for event in events:
        match event.payload:
            case Result(error=error) if error:
                # Provider failures end as done; the result's own error tells (contract: events, section 6.7).
                errors.append(TurnError(message=error))
            case Error() | CredentialRequired() | CredentialAuthRequired() as failure:
                said = failure.error or failure.detail or failure.code or event.type
                errors.append(
                    TurnError(message=said, code=failure.code, category=failure.category, retry=failure.retry)
                )
            case TurnTerminal(status="failed") if not errors:
                errors.append(TurnError(message=event.type))
            case _:
                pass
    # The same failure comes as an error of the result and as an event (contract: events, section 8.7).
    classified = {one.message for one in errors if one.code is not None}
    return tuple(one for one in errors if one.code is not None or one.message not in classified)


# --- what was said


def _messages(events: Iterable[AnyEvent], content: str | None) -> tuple[TurnMessage, ...]:
    """The assistant's texts; the last ones that together are the content are the answer."""
    texts = protocol.streamed_texts(events)
    answer: list[str] = texts[-1] if texts else []
    before = texts[:-1]
    if content is not None:
        for count in range(1, len(texts) + 1):
            joined = [delta for text in texts[-count:] for delta in text]
            if "".join(joined) == content:
                answer, before = joined, texts[:-count]
                break
        else:
            if not _is_part(answer, content):
                # Nothing of the answer was streamed: what was is commentary.
                answer, before = [], texts
    said = [TurnMessage(text="".join(one), kind="commentary", deltas=tuple(one)) for one in before]
    text = "".join(answer) if content is None else content
    if text or answer:
        said.append(TurnMessage(text=text, kind="answer", deltas=tuple(answer)))
    return tuple(said)


def _is_part(deltas: Iterable[str], content: str) -> bool:
    text = "".join(deltas).strip()
    return bool(text) and text in content


# --- what was done


def _tool_calls(events: Iterable[AnyEvent]) -> tuple[ToolCallRecord, ...]:
    starts: dict[str, AnyEvent] = {}
    ends: dict[str, AnyEvent] = {}
    for event in events:
        match event.payload:
            case ToolStart(id=call_id):
                starts.setdefault(event.op_id or call_id, event)
            case ToolCall(id=call_id):
                ends[event.op_id or call_id] = event
            case _:
                pass
    found = [_tool_call(op_id, starts.get(op_id), ends.get(op_id)) for op_id in starts]
    return (*found, *(_tool_call(op_id, None, end) for op_id, end in ends.items() if op_id not in starts))


def _tool_call(op_id: str, start: AnyEvent | None, end: AnyEvent | None) -> ToolCallRecord:
    started = start.payload if start is not None and isinstance(start.payload, ToolStart) else None
    ended = end.payload if end is not None and isinstance(end.payload, ToolCall) else None
    either = started or ended
    return ToolCallRecord(
        id=op_id,
        name=either.name if either is not None else "",
        params=either.params if either is not None else {},
        success=None if ended is None else ended.success,
        error="" if ended is None else ended.error,
        result=None if ended is None else ended.result,
        duration=None if start is None or end is None else _duration([start, end]),
        parent=next(
            (one.op_parent_id for one in (start, end) if one is not None and one.op_parent_id is not None),
            None,
        ),
        started=started,
        ended=ended,
    )


def _approvals(events: Iterable[AnyEvent]) -> tuple[ApprovalRecord, ...]:
    asked: dict[str, AnyEvent] = {}
    resolved: dict[str, AnyEvent] = {}
    for event in events:
        match event.payload:
            case ApprovalRequest(request_id=request_id):
                asked.setdefault(request_id, event)
            case ApprovalResolved(request_id=request_id):
                resolved[request_id] = event
            case _:
                pass
    return tuple(_approval(event, resolved.get(request_id)) for request_id, event in asked.items())


def _approval(asked: AnyEvent, resolved: AnyEvent | None) -> ApprovalRecord:
    request = PendingApproval.from_wire(asked.payload.to_wire())
    outcome = resolved.payload if resolved is not None else None
    if resolved is None or not isinstance(outcome, ApprovalResolved):
        return ApprovalRecord(request=request, resolution="open", message="", duration=None)
    resolution: Resolution = "approved" if outcome.approved else "denied"
    if resolved.op_state == "timeout":
        resolution = "timed_out"
    return ApprovalRecord(
        request=request,
        resolution=resolution,
        message=outcome.reason,
        duration=_duration([asked, resolved]),
    )


def _duration(events: Iterable[AnyEvent]) -> float | None:
    moments: list[datetime] = [one for event in events if (one := event.emitted_at) is not None]
    return (max(moments) - min(moments)).total_seconds() if moments else None
