"""Compares two recordings of a scenario: the order of events, and the shape of everything received.

How two recordings become comparable:

- **Order.** The daemon awaits most events before it goes on, so their order is fixed and is compared. It
  sends others in the background (contract: events, section 6.0); these may arrive anywhere in their turn,
  so only their number is compared. For types that repeat as long as something lasts (tokens, counters,
  hooks) the comparison checks that they occur, and types that only the clock causes (heartbeats) are
  ignored.
- **Identity.** Ids differ in each run. A turn is named by the order in which its correlation id appears,
  and an operation by the order in which it appears among those of its kind.
- **Shape.** All things of one kind in a scenario (events of a type, answers of a call, rows of a type) have
  one shape: for each path, the set of what was seen there. A value counts as its JSON type; an id or a time
  counts as its form; and members in `TOLD` count as their values, because clients act on them.
"""

import difflib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, cast

from .record import JSON, Line

REPEATED: Final = frozenset(
    {
        "token",
        "thinking_delta",
        "in_token",
        "out_token",
        "tool_call_streaming",
        "hook",
        "assistant_message_partial",
    }
)
"""Types that are sent as often as needed."""

TIMED: Final = frozenset({"heartbeat", "turn:heartbeat", "approval_progress", "status"})
"""Types that are sent when something takes long."""

BACKGROUND: Final = frozenset(
    {"thinking_started", "stream_done", "bg_task_update", "result", "memory_update of the relay"}
)
"""Types that are sent once for each cause, but at no fixed place."""

_BACKGROUND_GROUPS: Final = ("preview:", "widget:")

_TOLD: Final = """
    accepted action action_type active approved category channel code content depth detail error fast_path
    full goal group hidden hook_id icon interrupted is_active kind label merged message message_count name
    ok op_state op_type payload_received pending phase position question queue_depth queue_purged
    raw_response reason replaced retry risk_level role room schema_version source status success
    task_cancelled title tool_calls_count tool_name truncated turn_count turn_running turns_used type
    user_response verb was_active
"""
TOLD: Final = frozenset(_TOLD.split())
"""Members whose values are compared."""

_FORMS: Final = """
    agent_id app_id call_id client_message_id correlation_id event_id hook_op_id id instance_id op_id
    op_parent_id request_id running_correlation_id server_time session_id ts user_id
"""
FORMS: Final = frozenset(_FORMS.split())
"""Members that are ids or times."""

# Longer texts contain addresses and directories.
_LONGEST: Final = 100
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HEX: Final = re.compile(r"(?<![a-z])[0-9a-f]{8,}(?![a-z])")
_DIGIT: Final = re.compile(r"\d")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]")
_CONTAINERS: Final = ("object", "list")

ABSENT: Final = "absent"
"""What is seen at a path that one daemon lacks."""
NOTHING: Final = "nothing"
"""What a daemon sends that lacks an event, or a call."""

_Object: TypeAlias = dict[str, JSON]
_Part: TypeAlias = tuple[str, str, str]
"""Where something differs, and what each daemon does there."""

Shape: TypeAlias = dict[str, set[str]]
"""What was seen at each path."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which the daemons differ.

    Attributes:
        scenario: The scenario in which it was seen.
        where: The place in it.
        real: What the released daemon does.
        embedded: What the embedded daemon does.
    """

    scenario: str
    where: str
    real: str
    embedded: str

    def __str__(self) -> str:
        return f"{self.scenario}: {self.where}\n    real:     {self.real}\n    embedded: {self.embedded}"


def compare(scenario: str, real: Iterable[Line], embedded: Iterable[Line]) -> list[Difference]:
    """Finds all differences between two recordings of a scenario.

    Args:
        scenario: Its name.
        real: What the released daemon sent.
        embedded: What the embedded daemon sent.
    """
    theirs, ours = _Recording.of(real), _Recording.of(embedded)
    found = [
        *_differing_order(theirs.ordered, ours.ordered),
        *_differing_numbers(theirs.background, ours.background),
        *_differing_shapes(theirs.shapes(), ours.shapes()),
    ]
    return [Difference(scenario, *one) for one in found]


@dataclass(slots=True)
class _Recording:
    """A recording in comparable form.

    Attributes:
        ordered: What has a fixed order, by the name of the sequence.
        background: How often background events came, by the name of the sequence.
        things: Everything received, by kind.
    """

    ordered: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    background: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    things: dict[str, list[JSON]] = field(default_factory=dict[str, list[JSON]])

    @classmethod
    def of(cls, lines: Iterable[Line]) -> "_Recording":
        made = cls()
        events: dict[str, list[_Object]] = defaultdict(list)
        for line in lines:
            label, data = line["label"], line["data"]
            match line["what"]:
                case "event":
                    events[label].append(data)
                    made._keep(f"event {data['type']}{_variant(data)}", data)
                case "push":
                    name = line.get("name", "")
                    made.ordered.setdefault("pushes", []).append(f"{name} to {label}")
                    made._keep(f"push {name}", data)
                case "ack":
                    made._keep(f"ack {label}", data)
                case _:
                    made._keep(label, {"status": str(line.get("status")), "body": data})
                    for path, rows in _lists_in(data, ""):
                        made._keep_rows(f"{label} {path}", rows, events)
        for name, some in events.items():
            made._arrange(name, some)
        return made

    def shapes(self) -> dict[str, Shape]:
        return {kind: shape_of(some) for kind, some in self.things.items()}

    def _keep(self, kind: str, thing: JSON) -> None:
        self.things.setdefault(kind, []).append(thing)

    def _keep_rows(self, name: str, rows: list[object], events: dict[str, list[_Object]]) -> None:
        """Keeps the order of a list of events or messages that an answer has."""
        for row in (cast("_Object", one) for one in rows if isinstance(one, dict)):
            if _is_event(row):
                # Different parts of the daemon write these, in no fixed order among each other.
                events[name + _writer(row)].append(row)
            elif "role" in row:
                self.ordered.setdefault(name, []).append(f"{row['role']} {row.get('content')!r}")

    def _arrange(self, name: str, events: Sequence[_Object]) -> None:
        ordered, background = self.ordered.setdefault(f"order of {name}", []), Counter[str]()
        for kind, step, op in _steps(events):
            if kind in TIMED:
                continue
            if kind in REPEATED:
                background[step] = 1
            elif kind in BACKGROUND or kind.startswith(_BACKGROUND_GROUPS):
                background[step] += 1
            else:
                ordered.append(f"{step} {op}")
        self.background[f"background of {name}"] = background


def _steps(events: Iterable[_Object]) -> Iterator[_Part]:
    """The kind of each event, the event in words, and its operation in words."""
    turns: dict[str, str] = {}
    ops: dict[str, str] = {}
    numbers: Counter[str] = Counter()

    def op_named(op_id: str | None, kind: str) -> str:
        if not op_id or op_id in turns:
            return turns.get(op_id or "", repr(op_id))
        if op_id not in ops:
            numbers[kind] += 1
            ops[op_id] = f"{kind} {numbers[kind]}"
        return ops[op_id]

    for event in events:
        members: _Object = event if "op_type" in event else event["payload"]
        kind, op_kind = f"{event['type']}{_variant(event)}", str(members.get("op_type"))
        turn = event.get("correlation_id")
        if turn and turn.startswith("fp-"):
            turn = turns.setdefault(turn, f"turn {len(turns) + 1}")
        step = f"{kind} ({op_kind}/{members.get('op_state')}, {turn or None})"
        if kind in TIMED or kind in REPEATED or kind.startswith(_BACKGROUND_GROUPS):
            # Their operations are new ones each time.
            yield kind, step, ""
        else:
            parent = members.get("op_parent_id")
            place = f" in {op_named(parent, 'unknown')}" if parent else ""
            yield kind, step, f"{op_named(members.get('op_id'), op_kind)}{place}"


def _variant(event: _Object) -> str:
    """Tells kinds of events apart that share a type."""
    is_relay = event["type"] == "memory_update" and event.get("op_type") == "system"
    return " of the relay" if is_relay else ""


def _writer(row: _Object) -> str:
    if row.get("kind") == "message":
        return " (messages)"
    return " (log only)" if row.get("op_type") == "" or "op_id" not in {*row, *row["payload"]} else ""


def _is_event(row: _Object) -> bool:
    return "seq" in row and "type" in row and "payload" in row


def _lists_in(value: object, path: str) -> Iterator[tuple[str, list[object]]]:
    if isinstance(value, dict):
        for key, member in cast("_Object", value).items():
            yield from _lists_in(member, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        yield path, cast("list[object]", value)


# --- what differs


def _differing_order(real: dict[str, list[str]], embedded: dict[str, list[str]]) -> Iterator[_Part]:
    for name in sorted(real.keys() | embedded.keys()):
        theirs, ours = real.get(name, []), embedded.get(name, [])
        matcher = difflib.SequenceMatcher(None, theirs, ours, autojunk=False)
        for what, first, last, start, end in matcher.get_opcodes():
            if what != "equal":
                where = f"{name}, after {theirs[first - 1]}" if first else f"{name}, at the start"
                yield where, "; ".join(theirs[first:last]) or NOTHING, "; ".join(ours[start:end]) or NOTHING


def _differing_numbers(real: dict[str, Counter[str]], embedded: dict[str, Counter[str]]) -> Iterator[_Part]:
    for name in sorted(real.keys() | embedded.keys()):
        theirs, ours = real.get(name, Counter[str]()), embedded.get(name, Counter[str]())
        for step in sorted(theirs.keys() | ours.keys()):
            if theirs[step] != ours[step]:
                yield f"{name}: {step}", f"{theirs[step]} times", f"{ours[step]} times"


def _differing_shapes(real: dict[str, Shape], embedded: dict[str, Shape]) -> Iterator[_Part]:
    for kind in sorted(real.keys() | embedded.keys()):
        theirs, ours = real.get(kind), embedded.get(kind)
        if theirs is not None and ours is not None:
            for path, there, here in _differing_paths(theirs, ours):
                yield f"{kind}: {path}", there, here
        elif not kind.startswith("event "):
            # A missing event already differs in its order or number, unless only the clock causes it.
            yield kind, _whether(theirs), _whether(ours)


def _whether(shape: Shape | None) -> str:
    return NOTHING if shape is None else "something"


def _differing_paths(real: Shape, embedded: Shape) -> Iterator[_Part]:
    hidden: set[str] = set()
    for path in sorted(real.keys() | embedded.keys()):
        theirs, ours = real.get(path, {ABSENT}), embedded.get(path, {ABSENT})
        if theirs == ours or any(path.startswith((f"{above}.", f"{above}[")) for above in hidden):
            continue
        if any((kind in theirs) != (kind in ours) for kind in _CONTAINERS):
            # What is inside exists on one side only.
            hidden.add(path)
        yield path, " | ".join(sorted(theirs)), " | ".join(sorted(ours))


# --- shapes


def shape_of(things: Iterable[JSON]) -> Shape:
    """The shape of things of one kind.

    Args:
        things: The things.
    """
    shape: Shape = defaultdict(set)
    objects: dict[str, list[_Object]] = defaultdict(list)

    def walk(value: object, path: str, key: str) -> None:
        if isinstance(value, dict):
            shape[path].add("object")
            objects[path].append(members := cast("_Object", value))
            for name, member in members.items():
                walk(member, _below(path, name), name)
        elif isinstance(value, list):
            shape[path].add("list")
            for element in cast("list[object]", value):
                walk(element, f"{path}[{_row(element)}]", key)
        else:
            shape[path].add(_seen(value, key))

    for thing in things:
        walk(thing, "", "")
    for path, some in objects.items():
        for key in {key for one in some for key in one}:
            if any(key not in one for one in some):
                shape[_below(path, key)].add(ABSENT)
    return dict(shape)


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _row(element: Any) -> str:
    if not isinstance(element, dict) or not _is_event(row := cast("_Object", element)):
        return ""
    return f"{row.get('kind')} {row['type']}{_variant(row)}"


def _seen(value: object, key: str) -> str:
    if value is None:
        return "null"
    if isinstance(value, str) and key in FORMS:
        return _form(value)
    if key in TOLD and len(str(value)) <= _LONGEST:
        return repr(value)
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, int | float) else "string"


def _form(text: str) -> str:
    if _TIME.match(text):
        return _DIGIT.sub("0", text)
    return repr(_DIGIT.sub("0", _HEX.sub("<hex>", _UUID.sub("<uuid>", text))))
