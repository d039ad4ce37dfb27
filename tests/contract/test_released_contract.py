"""The contract of the released daemon reads everything that was captured from that daemon."""

import importlib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import pytest

from digitorn_codegen import Settings, generate

ROOT: Final = Path(__file__).parents[2]
CONTRACT: Final = ROOT / "tests" / "data" / "contract-1.0.3"
FRAMES: Final = ROOT / "tests" / "data" / "frames-1.0.3.jsonl"
PACKAGE: Final = "digitorn_1_0_3"

Json = dict[str, Any]


@dataclass(frozen=True)
class Released:
    """The generated package."""

    events: Any
    operations: Any
    runtime: Any


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Released]:
    """A package generated from the contract."""
    folder = tmp_path_factory.mktemp("released")
    generate(
        Settings(
            openapi=CONTRACT / "openapi.yaml",
            events=CONTRACT / "events",
            commands=CONTRACT / "commands",
            package=PACKAGE,
            out=folder / PACKAGE,
        )
    )
    sys.path.insert(0, str(folder))
    try:
        modules = (
            importlib.import_module(f"{PACKAGE}.{one}") for one in ("events", "operations", "_runtime")
        )
        yield Released(*modules)
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
            del sys.modules[name]


@pytest.fixture(scope="module")
def frames() -> list[Json]:
    """Every captured frame."""
    return [json.loads(line) for line in FRAMES.read_text(encoding="utf-8").splitlines()]


def events_in(frame: Json) -> Iterator[Json]:
    """The events in a frame: a live one, a push, or those that an answer lists."""
    if frame["what"] == "event":
        yield frame["event"]
    elif frame["what"] == "push":
        yield {"type": frame["name"], "payload": frame["data"]}
    elif frame["what"] == "http":
        data = members(members(frame["answer"]).get("data"))
        listed = [*(data.get("events") or ()), *(data.get("gap_events") or ())]
        yield from (row for row in map(members, listed) if {"payload", "seq"} <= row.keys())


def members(value: object) -> Json:
    """The members of an object; none of anything else."""
    return cast("Json", value) if isinstance(value, dict) else {}


@pytest.mark.timeout(180)
def test_every_captured_event_has_a_payload_class_and_fits_it(released: Released, frames: list[Json]) -> None:
    seen, unknown, invalid = 0, Counter[str](), Counter[str]()
    for frame in frames:
        for event in events_in(frame):
            seen += 1
            found = released.events.EVENTS.payload_class(event["type"], event["payload"])
            if found is None:
                unknown[event["type"]] += 1
                continue
            try:
                found.from_wire(event["payload"])
            except ValueError as error:
                invalid[f"{event['type']} as {found.__name__}: {error}"] += 1
    assert seen > 2_000
    assert (unknown, invalid) == (Counter(), Counter())


@pytest.mark.timeout(180)
def test_every_captured_answer_is_read_by_its_operation(released: Released, frames: list[Json]) -> None:
    # The most specific path comes first.
    ordered = sorted(released.operations.OPERATIONS, key=lambda one: (one.path.count("{"), -len(one.path)))
    operations = [(one, pattern(one.path)) for one in ordered]
    read, unread = 0, Counter[str]()
    for frame in frames:
        match frame:
            case {"what": "http", "status": int(status), "answer": answer} if 200 <= status < 300:
                if isinstance(answer, str) and answer.startswith("("):
                    # Only the content type of this body was captured.
                    continue
            case _:
                continue
        path = frame["path"].partition("?")[0]
        fitting = (
            one for one, known in operations if one.method == frame["method"] and known.fullmatch(path)
        )
        operation = next(fitting, None)
        if operation is None:
            unread[f"{frame['method']} {path}: no operation"] += 1
            continue
        try:
            operation.read(json.dumps(answer).encode())
        except released.runtime.Refused:
            # The daemon refused the call under a status of success.
            continue
        except released.runtime.Undecodable as error:
            unread[f"{operation.id}: {error}"] += 1
        else:
            read += 1
    assert read > 400
    assert unread == Counter()


def pattern(path: str) -> re.Pattern[str]:
    """What the path of an operation matches; the parameters that hold paths have slashes."""
    with_slashes = ("file_path", "asset_path", "tool_name", "path", "rest", "key")
    parts = re.split(r"\{(\w+)\}", path)
    return re.compile(
        "".join(
            re.escape(part) if place % 2 == 0 else (".+" if part in with_slashes else "[^/]+")
            for place, part in enumerate(parts)
        )
    )
