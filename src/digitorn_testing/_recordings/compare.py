"""Compares two runs of an agent: what it did, what it said, and what it cost."""

import json
import operator
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from difflib import SequenceMatcher
from itertools import zip_longest
from os import PathLike
from typing import Final, Literal, TypeAlias, TypeVar, get_args

from pydantic import JsonValue

from digitorn_testing._errors import DigitornError
from digitorn_testing._events.daemon import MEANING
from digitorn_testing._log.log import EventLog
from digitorn_testing._log.recorded import FilePath
from digitorn_testing._texts import json_text, printable
from digitorn_testing._turns.results import ToolCallRecord, TurnResult
from digitorn_testing._turns.spent import Spent, cost_so_far, tokens_of

from .recording import Recording

ChangeKind: TypeAlias = Literal[
    "turn_added",
    "turn_lost",
    "turn_status",
    "message",
    "tool_added",
    "tool_lost",
    "tool_moved",
    "tool_arguments",
    "tool_status",
    "tool_result",
    "approval",
    "text",
    "tokens",
    "cost",
    "time",
]
"""What changed."""

KINDS: Final[tuple[ChangeKind, ...]] = get_args(ChangeKind)
"""All kinds of changes."""

Run: TypeAlias = FilePath | Recording | EventLog | TurnResult | Sequence[TurnResult]
"""A run: a recording, a log, or the results of turns."""

SHORTEST: Final = 1.0
"""Seconds by which a turn must differ at least before its time counts as changed."""

_WIDTHS: Final = (14, 24, 30, 44, 44)
HEADINGS: Final = ("change", "where", "of", "before", "after")
"""Headings of the table of changes."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference between two runs.

    Attributes:
        kind: What changed.
        where: In which turn, for example `turn 2`, or `session 2, turn 1` if there are several sessions.
        what: The tool or the message that it is about; empty for the turn itself.
        before: What there was; None if there was nothing.
        after: What there is; None if there is nothing.
    """

    kind: ChangeKind
    where: str
    what: str = ""
    before: JsonValue = None
    after: JsonValue = None

    def row(self) -> tuple[str, str, str, str, str]:
        """The change as texts for the columns of a table, under `HEADINGS`."""
        return self.kind, self.where, self.what, _shown(self.before), _shown(self.after)


class ChangesFound(DigitornError, AssertionError):
    """Two runs differ.

    Attributes:
        comparison: How they differ.
    """

    def __init__(self, comparison: "Comparison") -> None:
        self.comparison = comparison
        super().__init__(str(comparison))


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two runs differ. It has the changes as its items, and is true if there are any.

    `str()` gives them as a table.

    Attributes:
        changes: The changes, in the order of the turns.
        before: What the first run has taken.
        after: What the second run has taken.
    """

    changes: tuple[Change, ...]
    before: Spent = field(repr=False)
    after: Spent = field(repr=False)

    def __len__(self) -> int:
        return len(self.changes)

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes)

    def of(self, *kinds: ChangeKind) -> "Comparison":
        """The changes of these kinds.

        Args:
            kinds: The kinds.
        """
        return Comparison(tuple(one for one in self.changes if one.kind in kinds), self.before, self.after)

    def without(self, *kinds: ChangeKind) -> "Comparison":
        """The changes of all other kinds.

        Args:
            kinds: The kinds to leave out.
        """
        kept = tuple(one for one in self.changes if one.kind not in kinds)
        return Comparison(kept, self.before, self.after)

    def raise_for_changes(self, *, ignore: Collection[ChangeKind] = ()) -> None:
        """Raises if there are changes.

        Args:
            ignore: Kinds of changes that may be there.

        Raises:
            ChangesFound: There are others.
        """
        __tracebackhide__ = True
        found = self.without(*ignore)
        if found:
            raise ChangesFound(found)

    def summary(self) -> str:
        """The changes counted by kind, on one line."""
        counts = Counter(one.kind for one in self.changes)
        told = ", ".join(f"{number} {kind}" for kind, number in counts.items())
        return f"{_plural(len(self.changes), 'change')}: {told}" if told else "no changes"

    def spent(self) -> list[tuple[str, str, str]]:
        """What both runs have taken, as texts: the name of a measure, before and after."""
        return [
            (name, _measured(name, before), _measured(name, after))
            for name, before, after in zip(
                asdict(self.before), asdict(self.before).values(), asdict(self.after).values(), strict=True
            )
        ]

    def to_wire(self) -> dict[str, JsonValue]:
        """The comparison as JSON values."""
        return {
            "changes": [asdict(one) for one in self.changes],
            "before": asdict(self.before),
            "after": asdict(self.after),
        }

    def __str__(self) -> str:
        lines = [self.summary()]
        if self.changes:
            lines += ["", *_table([HEADINGS, *(one.row() for one in self.changes)])]
        lines += ["", *_table([("", "before", "after"), *self.spent()])]
        return printable("\n".join(lines))


def compare(
    before: Run,
    after: Run,
    *,
    same_text: Callable[[str, str], bool] = operator.eq,
    tokens: float = 0.1,
    cost: float = 0.1,
    time: float = 0.5,
) -> Comparison:
    """Compares two runs, such as the recordings of a test before and after a change of the agent.

    Sessions are paired by their first message, turns by their messages, and tool calls by name and arguments.
    Ids of sessions, turns, apps and calls differ in every run and do not count as changes.

    comparison = compare("before.jsonl", "after.jsonl")
    comparison.raise_for_changes(ignore=["text", "time"])

    Args:
        before: The first run: the path of a recording, a `Recording`, an `EventLog`, or results of turns.
        after: The second run.
        same_text: Whether two answers count as the same. A real model words its answers differently each
            time; then ignore `text`, or compare what matters in it.
        tokens: Share by which the tokens of a turn may differ; 0.1 is 10 %.
        cost: Share by which the cost of a turn may differ.
        time: Share by which the seconds of a turn may differ. Differences of up to a second never count.

    Returns:
        The changes.

    Raises:
        RecordingError: A file is no recording.
        OSError: A file cannot be read.
    """
    first, second = _sessions(before), _sessions(after)
    comparing = _Comparing(same_text, tokens, cost, time)
    pairs = _paired(first, second, lambda turns: _message(turns[0]))
    for number, (one, other) in enumerate(pairs, 1):
        comparing.session(one or [], other or [], f"session {number}, " if len(pairs) > 1 else "")
    return Comparison(
        tuple(comparing.changes),
        Spent.of(result for turns in first for result in turns),
        Spent.of(result for turns in second for result in turns),
    )


# --- what is compared


def _sessions(run: Run) -> list[list[TurnResult]]:
    """The turns of each session of a run, without sessions that have none."""
    if isinstance(run, str | PathLike):
        run = Recording.load(run)
    if isinstance(run, Recording):
        found = [_turns(run.log(session)) for session in run.sessions]
    elif isinstance(run, EventLog):
        found = [_turns(run)]
    else:
        by_session: dict[str, list[TurnResult]] = {}
        for result in [run] if isinstance(run, TurnResult) else run:
            by_session.setdefault(result.session.session_id, []).append(result)
        found = list(by_session.values())
    return [turns for turns in found if turns]


def _turns(log: EventLog) -> list[TurnResult]:
    results = (log.turn_result(turn) for turn in log.turns)
    # Other events have correlation ids too, such as those of activations.
    return [
        result
        for result in results
        if any(
            log.meaning.said_by_user(event) is not None or log.meaning.starts_running(event)
            for event in result.events
            if event.correlation_id == result.correlation_id
        )
    ]


def _message(result: TurnResult) -> str:
    """What the user said in a turn."""
    said = (
        MEANING.said_by_user(event)
        for event in result.events
        if event.correlation_id == result.correlation_id
    )
    return next((text for text in said if text is not None), "")


def _costs(turns: Sequence[TurnResult]) -> list[float | None]:
    """What each turn of a session has cost by itself."""
    costs: list[float | None] = []
    spent = 0.0
    for result in turns:
        so_far = cost_so_far(result)
        costs.append(None if so_far is None else so_far - spent)
        spent = spent if so_far is None else so_far
    return costs


@dataclass(frozen=True, slots=True)
class _Turn:
    """A turn of one of two sessions.

    Attributes:
        result: Its result.
        cost: What it has cost.
        number: Which turn of its session it is.
        calls: Its tool calls.
    """

    result: TurnResult
    cost: float | None
    number: int
    calls: "tuple[_Call, ...]"


class _Call:
    """A tool call, with ids that differ in every run taken out of what is compared.

    Attributes:
        record: The call.
        key: Its tool and its arguments.
        outcome: What it returned.
    """

    def __init__(self, record: ToolCallRecord, result: TurnResult) -> None:
        self.record = record
        ids = {
            name: text
            for name, text in (
                (record.id, "<call>"),
                (result.correlation_id, "<turn>"),
                (result.session.session_id, "<session>"),
                (result.session.app_id, "<app>"),
            )
            if name
        }
        words = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, ids))})(?![\w-])") if ids else None

        def neutral(value: object) -> str:
            text = json.dumps(value, default=str, sort_keys=True)
            return text if words is None else words.sub(lambda found: ids[found[1]], text)

        self.key = (record.name, neutral(record.params))
        self.outcome = neutral([record.result, record.error])


class _Comparing:
    """Collects the changes between sessions that belong together."""

    def __init__(
        self, same_text: Callable[[str, str], bool], tokens: float, cost: float, time: float
    ) -> None:
        self.changes: list[Change] = []
        self._same_text = same_text
        self._tokens = tokens
        self._cost = cost
        self._time = time

    def session(self, before: Sequence[TurnResult], after: Sequence[TurnResult], where: str) -> None:
        """Compares two sessions.

        Args:
            before: The turns of one; none if it is new.
            after: The turns of the other; none if there is no such session any more.
            where: Put before the number of a turn.
        """
        sides = [
            [
                _Turn(result, cost, number, tuple(_Call(one, result) for one in result.tool_calls))
                for number, (result, cost) in enumerate(zip(turns, _costs(turns), strict=True), 1)
            ]
            for turns in (before, after)
        ]
        for one, other in _aligned(*sides, key=lambda turn: _message(turn.result)):
            if one is not None and other is not None:
                self._turn(one, other, f"{where}turn {one.number}")
            elif one is not None:
                self._add("turn_lost", f"{where}turn {one.number}", before=_message(one.result))
            elif other is not None:
                self._add("turn_added", f"{where}turn {other.number}", after=_message(other.result))

    def _add(
        self,
        kind: ChangeKind,
        where: str,
        what: str = "",
        *,
        before: JsonValue = None,
        after: JsonValue = None,
    ) -> None:
        self.changes.append(Change(kind=kind, where=where, what=what, before=before, after=after))

    def _turn(self, before: _Turn, after: _Turn, where: str) -> None:
        one, other = before.result, after.result
        if _message(one) != _message(other):
            self._add("message", where, before=_message(one), after=_message(other))
        if one.status != other.status:
            self._add("turn_status", where, before=_status(one), after=_status(other))
        self._tools(before.calls, after.calls, where)
        self._approvals(one, other, where)
        if not self._same_text(one.content, other.content):
            self._add("text", where, before=one.content, after=other.content)
        self._measure("tokens", where, tokens_of(one), tokens_of(other), self._tokens)
        self._measure("cost", where, before.cost, after.cost, self._cost)
        if abs(one.duration - other.duration) > SHORTEST:
            self._measure("time", where, round(one.duration, 3), round(other.duration, 3), self._time)

    def _measure(
        self, kind: ChangeKind, where: str, before: float | None, after: float | None, tolerance: float
    ) -> None:
        if before is None or after is None:
            is_same = before is after
        else:
            is_same = abs(after - before) <= tolerance * abs(before) + 1e-9
        if not is_same:
            self._add(kind, where, before=before, after=after)

    def _approvals(self, before: TurnResult, after: TurnResult, where: str) -> None:
        sides: list[dict[str, list[str]]] = []
        for result in (before, after):
            by_tool: dict[str, list[str]] = {}
            for approval in result.approvals:
                by_tool.setdefault(approval.request.tool_name, []).append(approval.resolution)
            sides.append(by_tool)
        first, second = sides
        for tool in dict.fromkeys([*first, *second]):
            for one, other in zip_longest(first.get(tool, ()), second.get(tool, ())):
                if one != other:
                    self._add("approval", where, tool, before=one, after=other)

    def _tools(self, before: Sequence[_Call], after: Sequence[_Call], where: str) -> None:
        for one, other, is_moved in _matched(before, after):
            if one is None or other is None:
                call = one or other
                if call is None:
                    continue
                params = _json(call.record.params)
                if other is None:
                    self._add("tool_lost", where, call.record.name, before=params)
                else:
                    self._add("tool_added", where, call.record.name, after=params)
                continue
            was, now = one.record, other.record
            if is_moved:
                place, new_place = f"call {before.index(one) + 1}", f"call {after.index(other) + 1}"
                self._add("tool_moved", where, was.name, before=place, after=new_place)
            if one.key != other.key:
                self._add(
                    "tool_arguments", where, was.name, before=_json(was.params), after=_json(now.params)
                )
            if was.success is not now.success:
                self._add("tool_status", where, was.name, before=_ending(was), after=_ending(now))
            elif one.outcome != other.outcome:
                self._add("tool_result", where, was.name, before=_returned(was), after=_returned(now))


# --- what belongs together


def _paired(
    before: Sequence[_T], after: Sequence[_T], key: Callable[[_T], str]
) -> list[tuple[_T | None, _T | None]]:
    """Pairs items of the same key wherever they stand, and then the others in order."""
    rest = list(after)
    found: list[tuple[_T, _T | None]] = []
    for one in before:
        other = next((item for item in rest if key(item) == key(one)), None)
        rest = [item for item in rest if item is not other]
        found.append((one, other))
    left = iter(rest)
    pairs: list[tuple[_T | None, _T | None]] = [
        (one, next(left, None) if other is None else other) for one, other in found
    ]
    return [*pairs, *((None, other) for other in left)]


def _aligned(
    before: Sequence[_T], after: Sequence[_T], *, key: Callable[[_T], object]
) -> Iterator[tuple[_T | None, _T | None]]:
    """Pairs the items of two sequences in their order: those of the same key, and between them one by one."""
    matcher = SequenceMatcher(None, [key(one) for one in before], [key(one) for one in after], autojunk=False)
    for _, first, first_end, second, second_end in matcher.get_opcodes():
        yield from zip_longest(before[first:first_end], after[second:second_end])


def _matched(
    before: Sequence[_Call], after: Sequence[_Call]
) -> Iterator[tuple[_Call | None, _Call | None, bool]]:
    """Pairs tool calls, and says of each pair whether it stands in another place.

    Calls with the same arguments belong together, in order if possible. Of the others, those of the same tool
    do that stand between the same neighbours.
    """
    matcher = SequenceMatcher(None, [one.key for one in before], [one.key for one in after], autojunk=False)
    gaps = [
        ([*before[first:first_end]], [*after[second:second_end]])
        for tag, first, first_end, second, second_end in matcher.get_opcodes()
        if tag != "equal"
    ]
    pairs: dict[int, tuple[_Call, bool]] = {}
    for block in matcher.get_matching_blocks():
        for number in range(block.size):
            pairs[id(before[block.a + number])] = (after[block.b + number], False)
    lost = [one for gap, _ in gaps for one in gap]
    new = [one for _, gap in gaps for one in gap]
    for one in lost:
        other = next((call for call in new if call.key == one.key), None)
        if other is not None:
            pairs[id(one)] = (other, True)
            new.remove(other)
    for gap, others in gaps:
        for one in gap:
            alike = (call for call in others if call in new and call.key[0] == one.key[0])
            if id(one) not in pairs and (other := next(alike, None)) is not None:
                pairs[id(one)] = (other, False)
                new.remove(other)
    for one in before:
        other, is_moved = pairs.get(id(one), (None, False))
        yield one, other, is_moved
    for call in new:
        yield None, call, False


# --- what is shown


def _json(value: object) -> JsonValue:
    parsed: JsonValue = json.loads(json_text(value, default=str))
    return parsed


def _status(result: TurnResult) -> str:
    return f"{result.status}: {result.error}" if result.error else result.status


def _ending(call: ToolCallRecord) -> str:
    if call.success is None:
        return "did not end"
    return "succeeded" if call.success else f"failed: {call.error}"


def _returned(call: ToolCallRecord) -> JsonValue:
    return call.error if call.error else _json(call.result)


def _shown(value: JsonValue) -> str:
    if value is None:
        return "-"
    return " ".join((value if isinstance(value, str) else json_text(value)).split()) or '""'


def _measured(name: str, value: object) -> str:
    if value is None:
        return "-"
    if name == "cost_usd":
        return f"{value:.6f}"
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}"


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows with their columns below each other, cut to the widths of a table of changes."""
    limits = _WIDTHS if len(rows[0]) == len(_WIDTHS) else _WIDTHS[: len(rows[0])]
    cut = [
        [
            text if len(text) <= most else text[: most - 1] + "…"
            for text, most in zip(row, limits, strict=True)
        ]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cut, strict=True)]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cut
    ]
