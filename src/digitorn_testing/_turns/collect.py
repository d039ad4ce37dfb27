"""Folds the events of a turn into its result."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from digitorn_testing._events.daemon import MEANING
from digitorn_testing._events.event import AnyEvent
from digitorn_testing._events.meaning import (
    Meaning,
    Resolved,
    ToolBegun,
    ToolEnded,
    TurnEnding,
    TurnStatus,
)
from digitorn_testing._generated.events import RESTART_CODES
from digitorn_testing._generated.models import PendingApproval
from digitorn_testing._handles import SessionHandle

from .results import ApprovalRecord, Resolution, ToolCallRecord, TurnError, TurnMessage, TurnResult
from .texts import first_of_answer, joined, streamed_texts

_LOST: Final = TurnError(
    message="the daemon was restarted before the turn had ended, and does not take it up again",
    code=RESTART_CODES[0],
    category="internal",
    retry=True,
)
"""The error of a turn whose process has ended."""


def collect(
    events: Sequence[AnyEvent],
    *,
    session: SessionHandle,
    correlation_id: str,
    ending: TurnEnding | None = None,
    incomplete_because: str | None = None,
    meaning: Meaning = MEANING,
) -> TurnResult:
    """Folds a turn's events into its result.

    Args:
        events: The turn's events, in order.
        session: The session it ran in.
        correlation_id: The turn.
        ending: How the turn ended, if none of its events say so.
        incomplete_because: Why events of it may be missing, if that is so.
        meaning: What the events mean.
    """
    result = next((one for event in reversed(events) if (one := meaning.answer(event)) is not None), None)
    # An error that does not name a turn may come from something else, such as an activation.
    errors = _errors((event for event in events if event.correlation_id == correlation_id), meaning)
    if ending == "lost":
        errors, ending = (*errors, _LOST), "failed"
    has_answered = result is not None and not result.error
    status = _status(events, errors, ending, meaning, has_answered=has_answered)
    content = None if result is None else result.content
    messages = _messages(streamed_texts(events, meaning), content)
    answer = next((one for one in messages if one.kind == "answer"), TurnMessage(text="", kind="answer"))
    # A turn without an answer of its own, such as a slash command, completes with the text that it streamed.
    is_answered = content is not None or status == "completed" or not messages
    return TurnResult(
        session=session,
        correlation_id=correlation_id,
        status=status,
        content=answer.text,
        deltas_complete=is_answered and joined([answer.deltas]) == answer.text,
        messages=messages,
        tool_calls=_tool_calls(events, meaning),
        approvals=_approvals(events, meaning),
        usage=None if result is None else result.usage,
        errors=errors,
        duration=_duration(events) or 0.0,
        incomplete_because=incomplete_because,
        events=tuple(events),
    )


# --- how it ended


def _status(
    events: Iterable[AnyEvent],
    errors: tuple[TurnError, ...],
    ending: TurnStatus | None,
    meaning: Meaning,
    *,
    has_answered: bool,
) -> TurnStatus:
    told = [meaning.ending(event) for event in events]
    if "timed_out" in told:
        return "timed_out"
    if ending is not None and ending != "completed":
        return ending
    if errors:
        # A daemon may end a failed turn as done or as cancelled (contract: events, section 6.7).
        return "failed"
    # A turn that was cut off has no result. After an abort the daemon may end the next turn, which has one,
    # in the same way (contract: events, sections 5.1 and 6.6).
    return "cancelled" if "cancelled" in told and not has_answered else "completed"


def _errors(events: Iterable[AnyEvent], meaning: Meaning) -> tuple[TurnError, ...]:
    errors: list[TurnError] = []
    for event in events:
        if (failed := meaning.failed(event)) is not None:
            errors.append(
                TurnError(
                    message=failed.message,
                    code=failed.code,
                    category=failed.category,
                    retry=failed.retry,
                    detail=failed.detail,
                )
            )
        elif meaning.ending(event) == "failed" and not errors:
            errors.append(TurnError(message=event.type))
    # The same failure comes as an event, classified, and in other words as the error of the result
    # (contract: events, section 8.7).
    return tuple(one for one in errors if one.code is not None) or tuple(errors)


# --- what was said


def _messages(texts: Sequence[Sequence[str]], content: str | None) -> tuple[TurnMessage, ...]:
    """The assistant's texts. The last ones that together begin the content are the answer."""
    if content is None:
        texts = [text for text in texts if text]
        first: int | None = max(0, len(texts) - 1)
        answer = joined(texts[first:])
    else:
        first, answer = first_of_answer(texts, content), content
    if first is None:
        # Pieces of the answer are missing.
        first, missing = len(texts) - 1, ""
    else:
        missing = answer.removeprefix(joined(texts[first:]))
    messages = [
        TurnMessage(text=joined([text]), kind="commentary", deltas=tuple(text))
        for text in texts[:first]
        if text
    ]
    deltas = tuple(piece for text in (*texts[first:], (missing,)) for piece in text if piece)
    if answer or deltas:
        messages.append(TurnMessage(text=answer, kind="answer", deltas=deltas))
    return tuple(messages)


# --- what was done


def _tool_calls(events: Iterable[AnyEvent], meaning: Meaning) -> tuple[ToolCallRecord, ...]:
    starts: dict[str, tuple[AnyEvent, ToolBegun]] = {}
    ends: dict[str, tuple[AnyEvent, ToolEnded]] = {}
    for event in events:
        if (began := meaning.tool_began(event)) is not None:
            starts.setdefault(event.op_id or began.call_id, (event, began))
        elif (ended := meaning.tool_ended(event)) is not None:
            ends[event.op_id or ended.call_id] = (event, ended)
    op_ids = [*starts, *(op_id for op_id in ends if op_id not in starts)]
    return tuple(_tool_call(op_id, starts.get(op_id), ends.get(op_id), meaning) for op_id in op_ids)


def _tool_call(
    op_id: str,
    start: tuple[AnyEvent, ToolBegun] | None,
    end: tuple[AnyEvent, ToolEnded] | None,
    meaning: Meaning,
) -> ToolCallRecord:
    told = [one for one in (start, end) if one is not None]
    events = [event for event, _ in told]
    first = told[0][1]
    began = start[1] if start is not None else None
    ended = end[1] if end is not None else None
    return ToolCallRecord(
        id=op_id,
        name=first.name,
        names=meaning.tool_names(first.name, first.params),
        params=first.params,
        success=None if ended is None else ended.success,
        error="" if ended is None else ended.error,
        result=None if ended is None else ended.result,
        duration=_duration(events) if began is not None and ended is not None else None,
        # What follows from a call names that call as both (contract: events, section 5.3).
        parent=next(
            (event.op_parent_id for event in events if event.op_parent_id not in (None, op_id)), None
        ),
        started=None if began is None else began.payload,
        ended=None if ended is None else ended.payload,
    )


def _approvals(events: Iterable[AnyEvent], meaning: Meaning) -> tuple[ApprovalRecord, ...]:
    asked: dict[str, tuple[AnyEvent, PendingApproval]] = {}
    resolved: dict[str, tuple[AnyEvent, Resolved]] = {}
    for event in events:
        if (request := meaning.asked(event)) is not None:
            asked.setdefault(request.request_id, (event, request))
        elif (outcome := meaning.resolved(event)) is not None:
            resolved[outcome.request_id] = (event, outcome)
    records: list[ApprovalRecord] = []
    for request_id, one in asked.items():
        record = _approval(*one, resolved.get(request_id))
        is_again = meaning.denied_before(record.request) is not None
        if not (is_again and records and _is_same_call(records[-1], record)):
            records.append(record)
        elif record.approved:
            # The call was denied, asked for once more, and then approved: it ran.
            records[-1] = replace(records[-1], resolution="approved", message=record.message)
    return tuple(records)


def _is_same_call(denied: ApprovalRecord, again: ApprovalRecord) -> bool:
    return denied.resolution in ("denied", "timed_out") and (
        (denied.request.agent_id, denied.request.tool_params)
        == (again.request.agent_id, again.request.tool_params)
    )


def _approval(
    asked: AnyEvent, request: PendingApproval, resolved: tuple[AnyEvent, Resolved] | None
) -> ApprovalRecord:
    if resolved is None:
        return ApprovalRecord(request=request, resolution="open", message="", duration=None)
    event, outcome = resolved
    resolution: Resolution = "approved" if outcome.approved else "denied"
    return ApprovalRecord(
        request=request,
        resolution="timed_out" if outcome.timed_out else resolution,
        message=outcome.reason,
        duration=_duration([asked, event]),
    )


def _duration(events: Iterable[AnyEvent]) -> float | None:
    moments: list[datetime] = [one for event in events if (one := event.emitted_at) is not None]
    return (max(moments) - min(moments)).total_seconds() if moments else None
