"""Assertions over events. Each takes payload classes or wire names and returns a `Check`.

ok, detail = assertions.event_order(events, [UserMessage, ToolCall, MessageDone])
assert assertions.no_errors(events)
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast, overload

from typing_extensions import deprecated

from ._events.daemon import MEANING
from ._events.event import LiveEvent, decode
from ._events.selector import Selector, name_of
from ._events.timeline import render, summary
from ._events.tool_names import is_named
from ._formerly import formerly, once_took
from ._generated.events import EventPayload, EventType
from ._turns.texts import StreamedTexts

__all__ = [
    "Check",
    "contains_text",
    "correlation_thread",
    "event_count",
    "event_order",
    "no_errors",
    "no_event",
    "report",
    "seq_unique",
    "sort_by_seq",
    "tool_called",
]

Events = Iterable[Mapping[str, Any]]
"""Events of a stream, or raw envelopes."""

_SHOWN = 12


class Check(NamedTuple):
    """The result of an assertion. True if it holds; unpacks as `ok, detail`.

    Attributes:
        ok: Whether it holds.
        detail: What was expected, what was seen, and where they differ.
    """

    ok: bool
    detail: str

    # A plain tuple with two items would always be true.
    def __bool__(self) -> bool:
        return self.ok


def sort_by_seq(events: Events) -> list[LiveEvent[EventPayload]]:
    """The events in `seq` order; an event without a number stays after the event it followed.

    Args:
        events: Events in any order.
    """
    place = 0
    keyed: list[tuple[int, int, LiveEvent[EventPayload]]] = []
    for index, event in enumerate(_typed(events)):
        place = event.seq if event.is_numbered else place
        keyed.append((place, index, event))
    return [event for _, _, event in sorted(keyed, key=lambda entry: entry[:2])]


def event_order(
    events: Events, types: Sequence[type[EventPayload] | EventType], strict_contiguous: bool = False
) -> Check:
    """Whether events of these types come in this order.

    Args:
        events: The events, in order.
        types: Payload classes or wire names, in the expected order.
        strict_contiguous: No other event may come between the first and the last.

    Raises:
        ValueError: A name is not an event type of the contract.
        TypeError: `types` is not a list of types.
    """
    if isinstance(types, str):
        raise TypeError(f"event_order takes a list of types, got the text {types!r}")
    listed = _typed(events)
    wanted = [Selector((one,)) for one in types]
    expected = " → ".join(name_of(one) for one in types)
    if strict_contiguous:
        return _contiguous(listed, wanted, expected)
    position = 0
    for number, selector in enumerate(wanted):
        found = next((i for i in range(position, len(listed)) if selector.matches(listed[i])), None)
        if found is None:
            after = f" after {wanted[number - 1].label} at {_place(listed[position - 1])}" if number else ""
            earlier = next((event for event in listed[:position] if selector.matches(event)), None)
            hint = f"; one came before, at {_place(earlier)}" if earlier is not None else ""
            return Check(
                False,
                f"expected {expected}; no {selector.label}{after}{hint}; {_seen(listed)}",
            )
        position = found + 1
    return Check(True, f"{expected}, as expected")


def _contiguous(listed: list[LiveEvent[EventPayload]], wanted: Sequence[Selector], expected: str) -> Check:
    best, parts = 0, ""
    for start in range(len(listed)):
        length = 0
        for selector, event in zip(wanted, listed[start:], strict=False):
            if not selector.matches(event):
                break
            length += 1
        if length == len(wanted):
            return Check(True, f"{expected} without a gap from {_place(listed[start])} on")
        if length > best:
            best = length
            follower = listed[start + length] if start + length < len(listed) else None
            parts = f"; from {_place(listed[start])} on {length} fit, then came " + (
                f"{follower.type} at {_place(follower)}" if follower is not None else "nothing"
            )
    return Check(not wanted, f"expected {expected} without a gap{parts}; {_seen(listed)}")


@once_took
def event_count(
    events: Events,
    type: "type[EventPayload] | EventType",
    expected: int | None = None,
    *,
    at_least: int | None = None,
    at_most: int | None = None,
) -> Check:
    """Whether the number of events of a type is as expected.

    Args:
        events: The events.
        type: Payload class or wire name.
        expected: The exact number.
        at_least: The minimum.
        at_most: The maximum.

    Raises:
        ValueError: No number is given.
    """
    if expected is None and at_least is None and at_most is None:
        raise ValueError("event_count needs expected, at_least or at_most")
    listed = _typed(events)
    selector = Selector((type,))
    found = sum(1 for event in listed if selector.matches(event))
    bounds = (
        (expected, found == expected, "exactly"),
        (at_least, at_least is None or found >= at_least, "at least"),
        (at_most, at_most is None or found <= at_most, "at most"),
    )
    wanted = " and ".join(f"{word} {bound}" for bound, _, word in bounds if bound is not None)
    ok = all(holds for bound, holds, _ in bounds if bound is not None)
    detail = f"expected {wanted} {selector.label}, saw {found}"
    if expected is not None and found > expected:
        detail += f" (at_least={expected} would ask for a minimum)"
    return Check(ok, detail if ok else f"{detail}; {_seen(listed)}")


def no_event(events: Events, *types: "type[EventPayload] | EventType") -> Check:
    """Whether there are no events of these types.

    Args:
        events: The events.
        types: Payload classes or wire names; at least one.

    Raises:
        ValueError: No type is given.
    """
    if not types:
        raise ValueError("no_event needs at least one type")
    selector = Selector(types)
    found = [event for event in _typed(events) if selector.matches(event)]
    if not found:
        return Check(True, f"no {selector.label}, as expected")
    shown = "; ".join(f"{_place(event)}: {event.type} {summary(event)}" for event in found[:_SHOWN])
    return Check(False, f"expected no {selector.label}, saw {len(found)}: {shown}")


def contains_text(events: Events, text: str, *, correlation_id: str | None = None) -> Check:
    """Whether the assistant's text contains a text: the streamed tokens joined, or the final answer.

    The daemon does not stream all of an answer; the final answer is whole.

    Args:
        events: The events, in order.
        text: What to look for.
        correlation_id: Only this turn's text.
    """
    turns: dict[str | None, StreamedTexts] = {}
    said = ""
    for event in _typed(events):
        if correlation_id in (None, event.correlation_id):
            said += turns.setdefault(event.correlation_id, StreamedTexts()).take(event)
    ok = text in said or any(text in (one.answer or "") for one in turns.values())
    shown = said if len(said) <= 500 else f"{said[:250]} … {said[-250:]}"
    return Check(ok, f"expected text with {text!r}, " + ("found it" if ok else f"saw {shown!r}"))


def tool_called(
    events: Events,
    name: str,
    *,
    params: Mapping[str, object] | None = None,
    success: bool | None = None,
    times: int | None = None,
) -> Check:
    """Whether a tool was called and its call ended.

    Args:
        events: The events.
        name: The tool's name as the model is offered it (`Bash`), or as approvals have it (`shell.bash`). A
            call through a dispatcher is matched by the name of the tool that it calls.
        params: Parameters that the call must have; it may have others.
        success: Whether the call must have succeeded.
        times: The exact number of such calls. Default: at least one.
    """
    listed = _typed(events)
    calls = [(event, call) for event in listed if (call := MEANING.tool_ended(event)) is not None]
    named = [
        (event, call) for event, call in calls if is_named(name, MEANING.tool_names(call.name, call.params))
    ]
    fitting = [
        call
        for _, call in named
        if (success is None or call.success is success)
        and all(key in call.params and call.params[key] == value for key, value in (params or {}).items())
    ]
    wanted = name + (f" with {dict(params)}" if params else "")
    wanted += {True: ", successful", False: ", failed", None: ""}[success]
    ok = len(fitting) == times if times is not None else bool(fitting)
    often = f"{times} calls of" if times is not None else "a call of"
    if ok:
        return Check(True, f"{often} {wanted}, as expected")
    seen = "; ".join(summary(event) for event, _ in (named or calls)[:_SHOWN]) or "no tool call"
    return Check(False, f"expected {often} {wanted}, saw {len(fitting)}; tool calls: {seen}")


def no_errors(events: Events) -> Check:
    """Whether there are no errors, missing credentials, or results with an error.

    Args:
        events: The events.
    """
    found: list[str] = []
    for event in _typed(events):
        if MEANING.reports_error(event):
            answer = MEANING.answer(event)
            said = summary(event) if answer is None else answer.error
            found.append(f"{_place(event)}: {event.type} {said}")
    return Check(
        not found, "no errors" if not found else f"expected no errors, saw {'; '.join(found[:_SHOWN])}"
    )


@once_took
def seq_unique(events: Events) -> Check:
    """Whether no two events of a session share a `seq`.

    Args:
        events: The events.
    """
    seen: dict[tuple[str | None, int], LiveEvent[EventPayload]] = {}
    twice: list[str] = []
    for event in _typed(events):
        if not event.is_numbered:
            continue
        other = seen.setdefault((event.session_id, event.seq), event)
        if other is not event:
            twice.append(f"seq {event.seq}: {other.type} and {event.type}")
    return Check(
        not twice,
        "every seq once" if not twice else f"expected every seq once, saw {'; '.join(twice[:_SHOWN])}",
    )


def correlation_thread(events: Events, correlation_id: str | None = None) -> Check:
    """Whether one turn is complete, from its message to its end, with one correlation id.

    Args:
        events: The events, in order.
        correlation_id: The turn. If left out, there must be exactly one.
    """
    listed = _typed(events)
    threads = dict.fromkeys(
        event.correlation_id for event in listed if event.correlation_id is not None and _shows_turn(event)
    )
    if correlation_id is None:
        if len(threads) != 1:
            return Check(False, f"expected one turn, saw {len(threads)}: {', '.join(threads) or 'none'}")
        correlation_id = next(iter(threads))
    thread = [event for event in listed if event.correlation_id == correlation_id]
    if not thread:
        return Check(False, f"expected turn {correlation_id}, saw {', '.join(threads) or 'none'}")
    if not MEANING.begins_turn(thread[0]):
        return Check(False, f"turn {correlation_id} begins with {thread[0].type} at {_place(thread[0])}")
    # A turn that waits for a credential does nothing more, but has not ended.
    ends = [event for event in thread if MEANING.ends_turn(event) and MEANING.ends_what_began(event)]
    if not ends:
        return Check(
            False, f"turn {correlation_id} has no end; its last is {thread[-1].type} at {_place(thread[-1])}"
        )
    return Check(
        True, f"turn {correlation_id}: {len(thread)} events from {thread[0].type} to {ends[-1].type}"
    )


@overload
def report(events: Events) -> str: ...
@overload
@deprecated("report renders events; keep named checks in a dict, and use all(checks.values())")
def report(events: Sequence[tuple[str, tuple[bool, str]]]) -> tuple[bool, str]: ...
def report(events: Any) -> Any:
    """The events as a timeline, one line per event.

    Args:
        events: The events, in the order in which to show them.
    """
    if isinstance(events, list) and isinstance(next(iter(cast("list[object]", events)), None), tuple):
        from .legacy import report_of_checks

        return report_of_checks(cast("list[tuple[str, tuple[bool, str]]]", events))
    return render(_typed(cast("Events", events)))


if not TYPE_CHECKING:
    __getattr__ = partial(formerly("OldAssertions"), sys.modules[__name__])


def _typed(events: Events) -> list[LiveEvent[EventPayload]]:
    return [event if isinstance(event, LiveEvent) else decode(dict(event)) for event in events]


def _shows_turn(event: LiveEvent[EventPayload]) -> bool:
    return MEANING.said_by_user(event) is not None or MEANING.starts_running(event)


def _place(event: LiveEvent[EventPayload]) -> str:
    return f"seq {event.seq}"


def _seen(listed: Sequence[LiveEvent[EventPayload]]) -> str:
    if not listed:
        return "there were no events"
    types: list[str] = []
    for event in listed:
        if types and types[-1].partition(" ×")[0] == event.type:
            types[-1] = f"{event.type} ×{int(types[-1].partition(' ×')[2] or 1) + 1}"
        else:
            types.append(event.type)
    shown = types if len(types) <= 2 * _SHOWN else [*types[:_SHOWN], "…", *types[-_SHOWN:]]
    return "saw " + ", ".join(shown)
