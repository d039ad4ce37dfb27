"""Drafts event schemas from recordings, and finds where a contract and recordings differ."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from genson import SchemaBuilder  # pyright: ignore[reportMissingTypeStubs] - the package has none

from ._diff import Side, members_of
from ._errors import SettingsError
from ._names import pascal

DIALECT = "https://json-schema.org/draft/2020-12/schema"


@dataclass
class _Seen:
    """The payloads of one event type."""

    builder: Any = field(default_factory=SchemaBuilder)
    members: set[str] = field(default_factory=set[str])
    count: int = 0


@dataclass(frozen=True)
class Learned:
    """What recordings taught.

    Attributes:
        drafts: Schemas for event types that the contract lacks, by wire name.
        undeclared: Members that were seen and are not declared, by wire name.
        unseen: Members that are declared and were never seen, by wire name.
        events: How many events were read.
        skipped: Lines that hold no event, as `file:line: why`.
    """

    drafts: Mapping[str, Mapping[str, object]]
    undeclared: Mapping[str, list[str]]
    unseen: Mapping[str, list[str]]
    events: int
    skipped: list[str]


def learn(contract: Side, recordings: Iterable[Path]) -> Learned:
    """Compares recordings with a contract.

    Args:
        contract: The contract with its events.
        recordings: Files with one raw event envelope a line, as JSON.

    Raises:
        SettingsError: A recording cannot be read.
    """
    seen: dict[str, _Seen] = {}
    skipped: list[str] = []
    for recording in recordings:
        _read(recording, seen, skipped)
    known = _known(contract)
    patterns = tuple(wire[:-1] for wire in known if wire.endswith("*"))
    undeclared: dict[str, list[str]] = {}
    unseen: dict[str, list[str]] = {}
    drafts: dict[str, Mapping[str, object]] = {}
    for wire, found in sorted(seen.items()):
        if wire in known:
            if extra := sorted(found.members - known[wire]):
                undeclared[wire] = extra
            if missing := sorted(known[wire] - found.members):
                unseen[wire] = missing
        elif not wire.startswith(patterns):
            drafts[wire] = _draft(wire, found)
    return Learned(drafts, undeclared, unseen, sum(found.count for found in seen.values()), skipped)


def write_drafts(learned: Learned, folder: Path) -> list[Path]:
    """Writes the drafts as files of a folder; one that exists is left as it is.

    Args:
        learned: What recordings taught.
        folder: Where event schemas live.

    Returns:
        The files that were written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for wire, schema in learned.drafts.items():
        path = folder / f"{''.join(c if c.isalnum() or c in '._-' else '.' for c in wire)}.json"
        if not path.exists():
            path.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            written.append(path)
    return written


def _read(recording: Path, seen: dict[str, _Seen], skipped: list[str]) -> None:
    try:
        lines = recording.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise SettingsError(f"{recording}: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{recording}:{number}"
        try:
            event: object = json.loads(line)
        except (ValueError, RecursionError) as error:
            skipped.append(f"{where}: not JSON: {error}")
            continue
        frame = cast("dict[str, object]", event) if isinstance(event, dict) else {}
        wire, payload = frame.get("type"), frame.get("payload")
        if not isinstance(wire, str) or not wire or not isinstance(payload, dict):
            skipped.append(f"{where}: no event with a type and a payload")
            continue
        found = seen.setdefault(wire, _Seen())
        found.builder.add_object(payload)
        found.members.update(cast("dict[str, object]", payload))
        found.count += 1


def _known(contract: Side) -> dict[str, set[str]]:
    """The declared members of each wire name, those of all its variants together."""
    known: dict[str, set[str]] = {}
    for title, document in contract.events.items():
        known.setdefault(title.partition(" (")[0], set()).update(members_of(contract, document))
    return known


def _draft(wire: str, found: _Seen) -> dict[str, object]:
    inferred: dict[str, object] = found.builder.to_schema()
    inferred.pop("$schema", None)
    times = f"{found.count} recorded event{'s' * (found.count != 1)}"
    return {
        "$schema": DIALECT,
        "title": pascal(wire),
        "description": f"Draft, inferred from {times}; not reviewed.",
        "x-event-type": wire,
        "x-draft": True,
        **inferred,
    }
