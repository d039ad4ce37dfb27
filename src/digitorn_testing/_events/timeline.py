"""Events as text that people read."""

from collections.abc import Iterable

from digitorn_testing._generated.events import LIFTED, EventPayload
from digitorn_testing._texts import json_text, printable

from .daemon import MEANING
from .event import InvalidPayload, LiveEvent
from .meaning import Meaning

_WIDTH = 100
_REPEATED = frozenset(inner for inner, _ in LIFTED)


def render(events: Iterable[LiveEvent[EventPayload]], *, meaning: Meaning = MEANING) -> str:
    """One line for each event: `seq`, seconds since the first event, type, and what it says.

    Args:
        events: The events, in the order to show them in.
        meaning: What the events mean.
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
        lines.append(f"{seq:>5} {offset}  {event.type:<{width}}  {summary(event, meaning=meaning)}".rstrip())
    # A daemon may send anything, even as the name of a type.
    return printable("\n".join(lines))


def summary(event: LiveEvent[EventPayload], *, meaning: Meaning = MEANING) -> str:
    """What an event says, on one line."""
    text = printable(" ".join(_said(event, meaning).split()))
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."


def _said(event: LiveEvent[EventPayload], meaning: Meaning) -> str:
    if isinstance(event.payload, InvalidPayload):
        return "INVALID: " + "; ".join(event.payload.errors)
    for spoken in (meaning.said_by_user(event), meaning.text_delta(event)):
        if spoken is not None:
            return repr(spoken)
    if (began := meaning.tool_began(event)) is not None:
        return f"{began.name} {_json(began.params)}"
    if (ended := meaning.tool_ended(event)) is not None:
        came = f"-> {_json(ended.result)}" if ended.success else f"failed: {ended.error}"
        return f"{ended.name} {came}"
    if (asked := meaning.asked(event)) is not None:
        return f"{asked.tool_name} {_json(asked.tool_params)}?"
    if (resolved := meaning.resolved(event)) is not None:
        verdict = "approved" if resolved.approved else "denied"
        return f"{verdict}: {resolved.reason}" if resolved.reason else verdict
    if (answer := meaning.answer(event)) is not None:
        return f"error: {answer.error}" if answer.error else repr(answer.content)
    if meaning.only_marks_turn(event):
        return ""
    if (failed := meaning.failed(event)) is not None:
        return failed.message
    # Copies from the daemon's log repeat the envelope inside the payload.
    members = {name: value for name, value in event.payload.to_wire().items() if name not in _REPEATED}
    return _json(members) if members else ""


def _json(value: object) -> str:
    return json_text(value, default=str)
