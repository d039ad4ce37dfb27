"""Assertions over events. Each takes payload classes or wire names and returns a `Check`.

ok, detail = assertions.event_order(events, [UserMessage, ToolCall, MessageDone])
assert assertions.no_errors(events)
"""

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from ._turns.results import TurnResult
from ._turns.spent import Spent
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
    "text_matches",
    "tool_called",
    "tools_not_called",
    "within",
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
    said, answers = _texts(events, correlation_id)
    ok = text in said or any(text in one for one in answers)
    return Check(ok, f"expected text with {text!r}, " + ("found it" if ok else f"saw {_cut(said)}"))


def text_matches(
    events: Events, wanted: "re.Pattern[str] | Callable[[str], bool]", *, correlation_id: str | None = None
) -> Check:
    """Whether the assistant's answer to a turn is as wanted.

    assert assertions.text_matches(result.events, re.compile(r"\b(42|forty-two)\b"))
    assert assertions.text_matches(result.events, lambda text: len(text.split()) < 50)

    Args:
        events: The events, in order.
        wanted: A regular expression that is to be found in the answer, or a function that takes the answer.
            Of several turns, one must have such an answer.
        correlation_id: Only this turn's answer.
    """
    said, answers = _texts(events, correlation_id)
    if isinstance(wanted, re.Pattern):
        what = f"text that matches {wanted.pattern!r}"
        ok = any(wanted.search(one) is not None for one in answers)
    else:
        name: str = getattr(wanted, "__name__", repr(wanted))
        what = "text that the predicate takes" if name == "<lambda>" else f"text that {name} takes"
        ok = any(wanted(one) for one in answers)
    seen = " and ".join(map(_cut, answers)) or (f"no answer, only {_cut(said)}" if said else "no answer")
    return Check(ok, f"expected {what}, " + ("found it" if ok else f"saw {seen}"))


def _texts(events: Events, correlation_id: str | None) -> tuple[str, list[str]]:
    """All that was streamed, and the answers of the turns."""
    turns: dict[str | None, StreamedTexts] = {}
    said = ""
    for event in _typed(events):
        if correlation_id in (None, event.correlation_id):
            said += turns.setdefault(event.correlation_id, StreamedTexts()).take(event)
    return said, [one.answer for one in turns.values() if one.answer]


def _cut(said: str) -> str:
    return repr(said if len(said) <= 500 else f"{said[:250]} … {said[-250:]}")


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


def tools_not_called(events: Events, *names: str) -> Check:
    """Whether none of these tools was called, whether or not a call was approved or succeeded.

    Args:
        events: The events.
        names: The names of the tools, as for `tool_called`. Without any, no tool may be called.
    """
    found: list[LiveEvent[EventPayload]] = []
    seen: set[str] = set()
    for event in _typed(events):
        call = MEANING.tool_began(event) or MEANING.tool_ended(event)
        if call is None or (event.op_id or call.call_id) in seen:
            continue
        known = MEANING.tool_names(call.name, call.params)
        if not names or any(is_named(name, known) for name in names):
            seen.add(event.op_id or call.call_id)
            found.append(event)
    wanted = f"no call of {' or '.join(names)}" if names else "no tool call"
    if not found:
        return Check(True, f"{wanted}, as expected")
    shown = "; ".join(f"{_place(event)}: {summary(event)}" for event in found[:_SHOWN])
    return Check(False, f"expected {wanted}, saw {len(found)}: {shown}")


def within(
    results: TurnResult | Iterable[TurnResult],
    *,
    tokens: int | None = None,
    cost_usd: float | None = None,
    seconds: float | None = None,
    tool_calls: int | None = None,
) -> Check:
    """Whether a turn stayed within limits, or several turns together.

    assert assertions.within(result, tokens=5_000, cost_usd=0.02, seconds=30, tool_calls=4)

    Args:
        results: The result of a turn; or of several, in order, whose sums count.
        tokens: The most tokens in and out of the model.
        cost_usd: The most that the session may have cost so far, US dollars: a daemon does not tell the cost
            of a single turn.
        seconds: The longest duration.
        tool_calls: The most tool calls.

    Returns:
        The check. It fails as well if the daemon has not reported what a limit is about.

    Raises:
        ValueError: No limit is given.
    """
    spent = Spent.of([results] if isinstance(results, TurnResult) else results)
    limits: list[tuple[str, float | None, float | None]] = [
        ("tokens", tokens, spent.tokens),
        ("US dollars", cost_usd, spent.cost_usd),
        ("seconds", seconds, spent.seconds),
        ("tool calls", tool_calls, spent.tool_calls),
    ]
    given = [(name, most, used) for name, most, used in limits if most is not None]
    if not given:
        raise ValueError("within needs tokens, cost_usd, seconds or tool_calls")
    told = [
        f"{_number(most)} {name}, saw {'none reported' if used is None else _number(used)}"
        for name, most, used in given
        if used is None or used > most
    ]
    if told:
        return Check(False, f"expected at most {'; at most '.join(told)}")
    return Check(
        True, "; ".join(f"{_number(used or 0)} of {_number(most)} {name}" for name, most, used in given)
    )


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.6f}".rstrip("0").rstrip(".")


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
