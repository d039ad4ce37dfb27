"""Operations as OpenTelemetry spans. Needs the extra `digitorn-testing[otel]`."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from ._extras import needing

with needing("otel", "digitorn.testing.telemetry"):
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Status, StatusCode, Tracer, set_span_in_context

from ._events.daemon import MEANING
from ._events.event import AnyEvent
from ._turns.operations import Operation

__all__ = ["export_spans"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAMES: Final = {"turn": "invoke_agent", "agent": "invoke_agent", "tool": "execute_tool"}
"""`gen_ai.operation.name` by type; the other types have none in OpenTelemetry's conventions."""

_Attributes = dict[str, str | int | bool]


def export_spans(operations: Iterable[Operation], tracer: Tracer) -> None:
    """Creates a span for each operation.

    A span has the operation's start and end on the daemon's clock, its events, and its parent if that is
    among the operations. Attributes follow OpenTelemetry's conventions for generative AI where one exists
    (`gen_ai.tool.name`, `gen_ai.conversation.id`, `gen_ai.usage.input_tokens` and others); all others begin
    with `digitorn.`. Failed and timed-out operations have the status ERROR, completed ones OK, and cancelled
    or open ones have no status. The span of an open operation ends at its last event and has the attribute
    `digitorn.operation.open`.

    Args:
        operations: What to export, such as `stream.operations()`.
        tracer: Where the spans go.

    Raises:
        ValueError: No event of an operation has a time.
    """
    listed = list(operations)
    chosen = set(listed)
    for one in listed:
        if one.started is None:
            raise ValueError(f"operation {one.id!r} ({one.type} {one.name}) has no time")
    roots = [one for one in listed if one.parent is None or one.parent not in chosen]
    stack: list[tuple[Operation, Context | None]] = [(one, None) for one in reversed(roots)]
    while stack:
        one, around = stack.pop()
        span = _start(one, tracer, around)
        inside = set_span_in_context(span, around)
        stack.extend((child, inside) for child in reversed(one.children) if child in chosen)
        for event in one.events:
            span.add_event(event.type, _of_event(event), _nanoseconds(event.emitted_at or one.started))
        span.end(_nanoseconds(one.ended or _last(one)))


def _start(one: Operation, tracer: Tracer, around: Context | None) -> Span:
    action = _NAMES.get(one.type, one.type)
    name = action if one.type == "turn" else f"{action} {one.names[-1] if one.type == 'tool' else one.name}"
    # A root becomes a child of the caller's current span, if any: for example, that of a test.
    span = tracer.start_span(
        name, context=around, attributes=_of_operation(one), start_time=_nanoseconds(one.started)
    )
    match one.state:
        case "completed":
            span.set_status(Status(StatusCode.OK))
        case "failed" | "timeout":
            span.set_status(Status(StatusCode.ERROR, _reason(one) or one.state))
        case _:
            pass
    return span


def _of_operation(one: Operation) -> _Attributes:
    first = one.events[0]
    found: dict[str, str | int | bool | None] = {
        "digitorn.operation.id": one.id,
        "digitorn.operation.type": one.type,
        "digitorn.operation.state": one.state,
        "digitorn.operation.open": True if one.is_open else None,
        "digitorn.app.id": first.app_id,
        "digitorn.turn.id": one.turn,
        "gen_ai.conversation.id": first.session_id,
        "gen_ai.operation.name": _NAMES.get(one.type),
    }
    match one.type:
        case "turn":
            found["gen_ai.agent.id"] = first.app_id
        case "tool":
            found["gen_ai.tool.name"] = one.names[-1]
            found["gen_ai.tool.call.id"] = one.id
        case "agent":
            found["gen_ai.agent.id"] = one.id
            found["gen_ai.agent.name"] = one.name
        case _:
            pass
    for event in one.events:
        if (answer := MEANING.answer(event)) is not None:
            found["gen_ai.usage.input_tokens"] = answer.usage.input_tokens
            found["gen_ai.usage.output_tokens"] = answer.usage.output_tokens
            found["gen_ai.response.model"] = answer.model
        elif (failed := MEANING.failed(event)) is not None:
            found["error.type"] = failed.code
    if one.state in ("failed", "timeout"):
        found["error.type"] = found.get("error.type") or one.state
    return {key: value for key, value in found.items() if value is not None}


def _of_event(event: AnyEvent) -> _Attributes:
    found: _Attributes = {"digitorn.event.seq": event.seq}
    if event.event_id is not None:
        found["digitorn.event.id"] = event.event_id
    if event.op_state is not None:
        found["digitorn.operation.state"] = event.op_state
    return found


def _reason(one: Operation) -> str:
    """Why an operation failed, in the daemon's words."""
    return next((error for event in reversed(one.events) if (error := MEANING.error_of(event))), "")


def _last(one: Operation) -> datetime | None:
    return max((moment for event in one.events if (moment := event.emitted_at) is not None), default=None)


def _nanoseconds(moment: datetime | None) -> int | None:
    # Computed in whole microseconds: seconds as a float would lose precision.
    return None if moment is None else (moment - _EPOCH) // timedelta(microseconds=1) * 1000
