"""Events as text that people read."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Final, cast

from digitorn_testing._generated.events import LIFTED, EventPayload
from digitorn_testing._texts import joined, json_text, printable

from .daemon import MEANING
from .event import InvalidPayload, LiveEvent
from .meaning import Meaning

_WIDTH = 100
_END_SHOWN: Final = 30
_VALUE_SHOWN: Final = 40
_REPEATED = frozenset(inner for inner, _ in LIFTED)


def render(
    events: Iterable[LiveEvent[EventPayload]], *, folded: bool = False, meaning: Meaning = MEANING
) -> str:
    """One line for each event: its number, seconds since its turn began, its type, and what it says.

    Args:
        events: The events, in the order to show them in.
        folded: Show runs of streamed text, and runs of events that say nothing about what the agent did, on
            one line each. Messages, tools, approvals and errors keep a line of their own.
        meaning: What the events mean.
    """
    listed = list(events)
    if not listed:
        return "no events"
    rows = _folded(listed, meaning) if folded else [_Row.of(event, meaning) for event in listed]
    begins = _Beginnings(listed, meaning)
    turns = _Turns(meaning)
    numbers = max(len(row.number) for row in rows)
    width = max((len(row.type) for row in rows if not row.is_quiet), default=0)
    lines: list[str] = []
    for row in rows:
        if folded and (turn := turns.begun_by(row.event)) > 1:
            # Times are told from here on.
            lines.append(f"-- turn {turn}")
        shown = f"{row.number:>{numbers}} {begins.offset(row.event):>9}  {row.type:<{width}}  {row.said}"
        lines.append(shown.rstrip())
    # A daemon may send anything, even as the name of a type.
    return printable("\n".join(lines))


def number(event: LiveEvent[EventPayload]) -> str:
    """The number of an event as people read it; `-` if it has none."""
    return f"#{event.seq}" if event.is_numbered else "-"


def listed_types(events: Iterable[LiveEvent[EventPayload]]) -> str:
    """The types of events in order; equal ones that follow each other are counted."""
    runs = ((type, len(list(run))) for type, run in groupby(event.type for event in events))
    return ", ".join(type if count == 1 else f"{type} ×{count}" for type, count in runs)


class _Row:
    """One line of a timeline.

    Args:
        event: The event that it shows, or the first of them.
        number: The numbers of its events.
        type: Their type.
        said: What they say.
        is_quiet: Whether it lists events that say nothing about what the agent did.
    """

    def __init__(
        self, event: LiveEvent[EventPayload], number: str, type: str, said: str, *, is_quiet: bool = False
    ) -> None:
        self.event, self.number, self.type, self.said, self.is_quiet = event, number, type, said, is_quiet

    @classmethod
    def of(cls, event: LiveEvent[EventPayload], meaning: Meaning) -> "_Row":
        return cls(event, number(event), event.type, summary(event, meaning=meaning))

    @classmethod
    def of_text(cls, run: Sequence[LiveEvent[EventPayload]], text: str) -> "_Row":
        said = printable(repr(" ".join(text.split())))
        if len(said) <= _WIDTH:
            return cls(run[0], _numbers(run), run[0].type, f"{said} ({len(run)} pieces)")
        # The end tells whether the text is whole.
        said = f"{said[: _WIDTH - _END_SHOWN]}...{said[-_END_SHOWN:]}"
        counted = f"{len(text):,} characters in {len(run):,} pieces"
        return cls(run[0], _numbers(run), run[0].type, f"{said} ({counted})")

    @classmethod
    def of_quiet(cls, run: Sequence[LiveEvent[EventPayload]]) -> "_Row":
        return cls(run[0], _numbers(run), cut(listed_types(run), _WIDTH), "", is_quiet=True)


def _folded(listed: Sequence[LiveEvent[EventPayload]], meaning: Meaning) -> list[_Row]:
    rows: list[_Row] = []
    text: list[LiveEvent[EventPayload]] = []
    quiet: list[LiveEvent[EventPayload]] = []
    failures: dict[str, str] = {}

    def end_text() -> None:
        if len(text) > 1:
            rows.append(_Row.of_text(text, joined(_piece(one, meaning) or "" for one in text)))
        else:
            rows.extend(_Row.of(one, meaning) for one in text)
        text.clear()

    def end_quiet() -> None:
        end_text()
        if quiet:
            rows.append(_Row.of_quiet(quiet))
        quiet.clear()

    for event in listed:
        if meaning.is_bookkeeping(event):
            quiet.append(event)
        elif _piece(event, meaning) is not None:
            if not text or (text[0].type, text[0].correlation_id) != (event.type, event.correlation_id):
                end_quiet()
            # Counters between the pieces of one text are left out with them.
            quiet.clear()
            text.append(event)
        else:
            end_quiet()
            row = _Row.of(event, meaning)
            why = _failure(event, meaning)
            if why and (first := failures.setdefault(why, row.number)) != row.number:
                row.said = f"error: as {first}"
            rows.append(row)
    end_quiet()
    return rows


def _failure(event: LiveEvent[EventPayload], meaning: Meaning) -> str:
    """Why something failed, where an event says so; else empty."""
    if (answer := meaning.answer(event)) is not None:
        return answer.error or ""
    failed = meaning.failed(event)
    return failed.message if failed is not None else ""


def _piece(event: LiveEvent[EventPayload], meaning: Meaning) -> str | None:
    delta = meaning.text_delta(event)
    return meaning.thought(event) if delta is None else delta


def _numbers(run: Sequence[LiveEvent[EventPayload]]) -> str:
    numbered = [event.seq for event in run if event.is_numbered]
    if not numbered:
        return "-"
    first, last = min(numbered), max(numbered)
    if first == last:
        return f"#{first}"
    if len(numbered) == 2 and last - first > 1:
        # What is between them is not in the run.
        return f"#{first}, #{last}"
    return f"#{first}-{last}"


class _Turns:
    """Counts the turns of a timeline."""

    def __init__(self, meaning: Meaning) -> None:
        self._begun: set[str] = set()
        self._meaning = meaning

    def begun_by(self, event: LiveEvent[EventPayload]) -> int:
        """Which turn begins with an event, counted from 1; 0 if none does. Asked in order."""
        turn = event.correlation_id
        if turn is None or turn in self._begun or not self._meaning.begins_turn(event):
            return 0
        self._begun.add(turn)
        return len(self._begun)


class _Beginnings:
    """When turns began.

    Args:
        listed: The events of a timeline.
        meaning: What they mean.
    """

    def __init__(self, listed: Iterable[LiveEvent[EventPayload]], meaning: Meaning) -> None:
        self._turns: dict[str | None, datetime] = {}
        self._current: datetime | None = None
        self._meaning = meaning
        for event in listed:
            moment = event.emitted_at
            if moment is None:
                continue
            if self._current is None:
                # What comes before the first turn, such as the handshake.
                self._current = moment
            if event.correlation_id is not None and meaning.begins_turn(event):
                self._turns.setdefault(event.correlation_id, moment)

    def offset(self, event: LiveEvent[EventPayload]) -> str:
        """Seconds from the beginning of an event's turn; asked in the order of the timeline."""
        moment = event.emitted_at
        began = self._turns.get(event.correlation_id)
        if began is not None:
            # What belongs to no turn is told from the turn before it.
            self._current = began
        if moment is None or self._current is None:
            return ""
        return f"{(moment - (began or self._current)).total_seconds():+.3f}"


def summary(event: LiveEvent[EventPayload], *, meaning: Meaning = MEANING) -> str:
    """What an event says, on one line."""
    return cut(printable(" ".join(_said(event, meaning).split())), _WIDTH)


def _said(event: LiveEvent[EventPayload], meaning: Meaning) -> str:
    if isinstance(event.payload, InvalidPayload):
        return "INVALID: " + "; ".join(faults(event.payload))
    for spoken in (meaning.said_by_user(event), meaning.text_delta(event)):
        if spoken is not None:
            return repr(spoken)
    if (began := meaning.tool_began(event)) is not None:
        return f"{began.name} {_json(began.params)}"
    if (ended := meaning.tool_ended(event)) is not None:
        came = f"-> {_json(ended.result)}" if ended.success else f"failed: {ended.error}"
        return f"{ended.name} {came}"
    if (asked := meaning.asked(event)) is not None:
        return f"{asked.tool_name} {_json(asked.tool_params)}"
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


def faults(payload: InvalidPayload) -> list[str]:
    """What breaks the contract, in few words and with the values that came.

    Args:
        payload: The payload of a broken event.
    """
    return [_fault(one, payload.raw) for one in payload.errors]


def _fault(error: str, raw: object) -> str:
    place, _, said = error.partition(": ")
    if said == "Field required":
        return f"{place}: missing"
    wanted = said.removeprefix("Input should be ")
    if wanted == said:
        return error
    must = f"must be {wanted.replace('a valid ', 'a ', 1)}"
    found: object = raw
    for step in place.split("."):
        if isinstance(found, Mapping) and step in found:
            found = cast("Mapping[str, object]", found)[step]
        else:
            return f"{place} {must}"
    return f"{place} is {cut(_json(found), _VALUE_SHOWN)}, {must}"


def cut(text: str, width: int) -> str:
    """A text of at most so many characters."""
    return text if len(text) <= width else text[: width - 3] + "..."


def _json(value: object) -> str:
    return json_text(value, default=str)
