"""Compares two recordings of a scenario: the orders of events, and the shapes of everything.

How two recordings are made comparable:

- **Order.** Events that the daemon awaits keep their order, so that their sequences are compared. Those that it
  emits in the background (contract: events, section 6.0) may come anywhere within their turn: of each it is
  compared how often it came. Of those that repeat for as long as something lasts it is compared whether they came,
  and of those that only time brings, nothing.
- **Who is meant.** A turn is named by the order in which its correlation id turned up, an operation likewise within
  its kind.
- **Shapes.** Everything of one kind in a scenario (events of a type, answers of a call, rows of a type) has one
  shape: for each place the set of what was seen there. A value counts with its JSON type, with its form if it is an
  id or a time, and as itself if clients act on it.
"""

import difflib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from .record import JSON, Line

REPEATED: Final = frozenset(
    {"token", "thinking_delta", "in_token", "out_token", "tool_call_streaming", "hook", "assistant_message_partial"}
)
"""Types that come as often as it takes."""

TIMED: Final = frozenset({"heartbeat", "turn:heartbeat", "approval_progress", "status"})
"""Types that come when something lasts long."""

BACKGROUND: Final = frozenset({"thinking_started", "stream_done", "bg_task_update", "result"})
"""Types that come once for each cause, at a place that is not fixed."""

TOLD: Final = frozenset(
    """
    accepted action action_type active approved category channel code content cancelled depth detail display_type
    error fast_path finished full goal group hidden hook_id icon interrupted is_active kind label level merged
    message message_count name ok op_state op_type op_parent pending phase position queue_depth queue_purged
    reason replaced retry risk_level role room running schema_version source status success task_cancelled title
    tool_calls_count tool_name truncated turn_count turn_running turns_used type verb was_active
    pending_approvals_cancelled payload_received question user_response raw_response
    """.split()
)
"""Members whose values clients act on or show."""

FORMS: Final = frozenset(
    """
    event_id op_id op_parent_id correlation_id request_id call_id id ts client_message_id user_id session_id app_id
    instance_id hook_op_id server_time running_correlation_id agent_id
    """.split()
)
"""Members that are ids or times."""

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HEX: Final = re.compile(r"(?<![a-z])[0-9a-f]{8,}(?![a-z])")
_DIGIT: Final = re.compile(r"\d")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]")

Shape: TypeAlias = dict[str, set[str]]
"""What was seen at each place."""

_CONTAINERS: Final = ("object", "list")
# Longer texts name addresses and directories.
_LONGEST: Final = 100
ABSENT: Final = "absent"
NOTHING: Final = "nothing"


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which the daemons differ.

    Attributes:
        scenario: Where it was seen.
        where: The place in it.
        real: What the released daemon does.
        embedded: What the embedded daemon does.
    """

    scenario: str
    where: str
    real: str
    embedded: str

    def __str__(self) -> str:
        return f"{self.scenario}: {self.where}: real {self.real}, embedded {self.embedded}"


def compare(scenario: str, real: Sequence[Line], embedded: Sequence[Line]) -> list[Difference]:
    """All differences between two recordings of a scenario.

    Args:
        scenario: Its name.
        real: What the released daemon sent.
        embedded: What the embedded daemon sent.
    """
    theirs, ours = _sequences(real), _sequences(embedded)
    found = [
        *_orders(theirs[0], ours[0]),
        *_counts(theirs[1], ours[1]),
        *_shapes(_seen(real), _seen(embedded)),
    ]
    return [Difference(scenario, *one) for one in found]


# --- orders

_Steps: TypeAlias = dict[str, list[str]]
"""Sequences by name."""

_Counts: TypeAlias = dict[str, Counter[str]]
"""How often things came, by name of what they came in."""

_Told: TypeAlias = tuple[str, str, str]


def _sequences(lines: Iterable[Line]) -> tuple[_Steps, _Counts]:
    """What came in order and what came in the background, on each socket and in each list of events or messages."""
    events: dict[str, list[JSON]] = defaultdict(list)
    made: _Steps = {}
    backgrounds: _Counts = {}
    for line in lines:
        if line["what"] == "event":
            events[line["label"]].append(line["data"])
        elif line["what"] == "push":
            made.setdefault("pushes", []).append(f"{line['label']}: {line['name']}")
        elif line["what"] == "http":
            for path, rows in _lists(line["data"], ""):
                if rows and isinstance(rows[0], dict) and "seq" in rows[0] and "type" in rows[0]:
                    # What is written by different parts of the daemon has no order.
                    for row in rows:
                        events[f"{line['label']} {path}{_writer(row)}"].append(row)
                elif rows and isinstance(rows[0], dict) and "role" in rows[0]:
                    said = [f"{row['role']} {row.get('content')!r}" for row in rows]
                    made.setdefault(f"{line['label']} {path}", []).extend(said)
    for name, some in events.items():
        awaited, background = _steps(some)
        made[f"order of {name}"] = awaited
        backgrounds[f"background of {name}"] = background
    return made, backgrounds


def _writer(row: JSON) -> str:
    if row.get("kind") == "message":
        return " (messages)"
    return " (log alone)" if "op_type" in row and not row["op_type"] else ""


def _steps(events: Iterable[JSON]) -> tuple[list[str], Counter[str]]:
    turns: dict[str, str] = {}
    ops: dict[str, str] = {}
    per_kind: Counter[str] = Counter()
    awaited: list[str] = []
    background: Counter[str] = Counter()

    def turn_of(event: JSON) -> str:
        found = event.get("correlation_id")
        if not found or not str(found).startswith(("fp-", "slash-")):
            return str(found or None)
        return turns.setdefault(found, f"turn {len(turns) + 1}")

    def op_of(found: str | None, kind: str) -> str:
        if not found:
            return str(found)
        if found in turns:
            return turns[found]
        if found not in ops:
            per_kind[kind] += 1
            ops[found] = f"{kind} {per_kind[kind]}"
        return ops[found]

    for event in events:
        kind = event["type"]
        members = event if "op_type" in event else event["payload"]
        step = f"{kind} ({members.get('op_type')}/{members.get('op_state')}, {turn_of(event)}"
        is_relay = members.get("op_type") == "system" and kind == "memory_update"
        if kind in TIMED:
            continue
        if kind in REPEATED:
            background[step + ")"] = 1
        elif kind in BACKGROUND or is_relay or kind.startswith(("preview:", "widget:")):
            background[step + ")"] += 1
        else:
            op = op_of(members.get("op_id"), str(members.get("op_type")))
            awaited.append(f"{step}, op {op}, in {op_of(members.get('op_parent_id'), 'unknown')})")
    return awaited, background


def _lists(value: JSON, path: str) -> Iterator[tuple[str, list[JSON]]]:
    if isinstance(value, dict):
        for key, member in value.items():
            yield from _lists(member, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        yield path, value


def _orders(real: _Steps, embedded: _Steps) -> Iterator[_Told]:
    for name in sorted(real.keys() | embedded.keys()):
        ours, theirs = embedded.get(name, []), real.get(name, [])
        matcher = difflib.SequenceMatcher(None, theirs, ours, autojunk=False)
        for what, first, last, start, end in matcher.get_opcodes():
            if what == "equal":
                continue
            after = f"{name} after {theirs[first - 1]}" if first else f"{name} at the start"
            yield after, "; ".join(theirs[first:last]) or NOTHING, "; ".join(ours[start:end]) or NOTHING


def _counts(real: _Counts, embedded: _Counts) -> Iterator[_Told]:
    for name in sorted(real.keys() | embedded.keys()):
        theirs, ours = real.get(name, Counter[str]()), embedded.get(name, Counter[str]())
        for step in sorted(theirs.keys() | ours.keys()):
            if theirs[step] != ours[step]:
                yield f"{name}: {step}", f"{theirs[step]} times", f"{ours[step]} times"


# --- shapes


def _seen(lines: Iterable[Line]) -> dict[str, Shape]:
    """The shape of each kind of thing in a recording."""
    things: dict[str, list[JSON]] = defaultdict(list)
    for line in lines:
        match line["what"]:
            case "event":
                things[f"event {line['data']['type']}{_variant(line['data'])}"].append(line["data"])
            case "push":
                things[f"push {line['name']}"].append(line["data"])
            case "ack":
                things[f"ack {line['label']}"].append(line["data"])
            case _:
                things[line["label"]].append({"status": str(line["status"]), "body": line["data"]})
    return {kind: shape_of(some) for kind, some in things.items()}


def _variant(event: JSON) -> str:
    """What tells kinds of events apart that share a type."""
    is_relay = event["type"] == "memory_update" and event.get("op_type") == "system"
    return " of the relay" if is_relay else ""


def shape_of(values: Iterable[JSON]) -> Shape:
    """The shape of things of one kind.

    Args:
        values: The things.
    """
    members: dict[str, list[dict[str, JSON]]] = defaultdict(list)
    shape: Shape = defaultdict(set)

    def walk(value: JSON, path: str, key: str) -> None:
        if isinstance(value, dict):
            shape[path].add("object")
            members[path].append(value)
            for name, member in value.items():
                walk(member, f"{path}.{name}" if path else name, name)
        elif isinstance(value, list):
            shape[path].add("list")
            for element in value:
                walk(element, f"{path}[{_row(element)}]", key)
        else:
            shape[path].add(_leaf(value, key))

    for value in values:
        walk(value, "", "")
    for path, objects in members.items():
        keys = {key for one in objects for key in one}
        for key in keys:
            if any(key not in one for one in objects):
                shape[f"{path}.{key}" if path else key].add(ABSENT)
    return dict(shape)


def _row(element: JSON) -> str:
    if isinstance(element, dict) and "seq" in element and "type" in element:
        return f"{element.get('kind')} {element['type']}{_variant(element)}"
    return ""


def _leaf(value: JSON, key: str) -> str:
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


def _shapes(real: dict[str, Shape], embedded: dict[str, Shape]) -> Iterator[_Told]:
    for kind in sorted(real.keys() | embedded.keys()):
        theirs, ours = real.get(kind), embedded.get(kind)
        if theirs is None or ours is None:
            # Of events the order tells it, unless only time brings them.
            if not kind.startswith("event "):
                yield kind, _whether(theirs), _whether(ours)
            continue
        missing: set[str] = set()
        for path in sorted(theirs.keys() | ours.keys()):
            if any(path.startswith((f"{above}.", f"{above}[")) for above in missing):
                continue
            there, here = theirs.get(path, {ABSENT}), ours.get(path, {ABSENT})
            if there != here:
                if any((kind in there) != (kind in here) for kind in _CONTAINERS):
                    missing.add(path)
                yield f"{kind}: {path}", " | ".join(sorted(there)), " | ".join(sorted(here))


def _whether(shape: Shape | None) -> str:
    return NOTHING if shape is None else "something"
