"""The recorded traffic of a daemon, read by what is generated from the contract (tests/data/README.md)."""

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import pytest

from digitorn_testing._events.event import InvalidPayload, UnknownPayload, decode
from digitorn_testing._generated import commands
from digitorn_testing._generated._runtime import Command, Refused, RestOperation
from digitorn_testing._generated.models import ErrorResponse, HTTPValidationError, Problem
from digitorn_testing._generated.operations import OPERATIONS

FRAMES: Final = Path(__file__).parents[1] / "data" / "frames-1.0.3.jsonl"
# Path parameters that may hold slashes (contract: rest, section 1.4).
SPANS: Final = {"file_path", "asset_path", "tool_name", "path", "key", "rest"}
COMMANDS: Final[dict[str, Command[Any, Any]]] = {
    one.name: one for one in vars(commands).values() if isinstance(one, Command)
}


@functools.cache
def frames() -> tuple[dict[str, Any], ...]:
    """Every recorded frame."""
    return tuple(json.loads(line) for line in FRAMES.read_text().splitlines())


def frames_of(what: str) -> list[dict[str, Any]]:
    return [one for one in frames() if one["what"] == what]


def envelopes() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every event with its source: live, pushed under its own name, and rows of the log in answers."""
    for one in frames_of("event"):
        yield f"{one['label']}, live", one["event"]
    for one in frames_of("push"):
        yield f"{one['label']}, pushed", {"type": one["name"], "payload": one["data"]}
    for one in frames_of("http"):
        data = members(members(one["answer"]).get("data"))
        for row in map(members, (*(data.get("events") or ()), *(data.get("gap_events") or ()))):
            if {"payload", "seq"} <= row.keys():
                yield f"{one['label']}, {one['path']}", row


def members(value: object) -> dict[str, Any]:
    """The members of an object; none of anything else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


@functools.cache
def patterns() -> tuple[tuple[str, re.Pattern[str], RestOperation[Any]], ...]:
    """The operations by method and path, the more particular ones first."""

    def pattern(path: str) -> re.Pattern[str]:
        parts = re.split(r"\{(\w+)\}", path)
        parts[1::2] = [".+" if name in SPANS else "[^/]+" for name in parts[1::2]]
        parts[::2] = [re.escape(text) for text in parts[::2]]
        return re.compile("".join(parts))

    ordered = sorted(OPERATIONS, key=lambda one: (one.path.count("{"), -len(one.path)))
    return tuple((one.method, pattern(one.path), one) for one in ordered)


def operation_of(method: str, path: str) -> RestOperation[Any]:
    bare = path.partition("?")[0]
    return next(one for verb, pattern, one in patterns() if verb == method and pattern.fullmatch(bare))


def is_json(answer: object) -> bool:
    """Whether the body was recorded; of any other the media type was, in parentheses."""
    return not (isinstance(answer, str) and answer.startswith("("))


def test_every_event_has_the_payload_that_the_contract_types() -> None:
    faults: list[str] = []
    count = 0
    for source, raw in envelopes():
        count += 1
        event = decode(raw)
        if isinstance(event.payload, InvalidPayload):
            faults.append(f"{source}: {event.type}: {event.payload.errors}")
        elif isinstance(event.payload, UnknownPayload):
            faults.append(f"{source}: {event.type} is not in the contract")
    assert faults == []
    assert count > 2_000


def test_every_command_is_acknowledged_as_the_contract_says() -> None:
    acknowledged = frames_of("ack")
    assert len(acknowledged) > 50
    for one in acknowledged:
        command = COMMANDS[one["command"]]
        if one["ack"].get("ok", True):
            command.request.from_wire(one["request"])
            command.ack.from_wire(one["ack"])
        else:
            assert commands.CommandError.from_wire(one["ack"]).error


def test_every_success_is_read_as_the_contract_says() -> None:
    read = refused = 0
    for one in frames_of("http"):
        if one["status"] >= 300 or not is_json(one["answer"]):
            continue
        operation = operation_of(one["method"], one["path"])
        content = json.dumps(one["answer"]).encode()
        if operation.envelope is not None and one["answer"].get("success") is False:
            with pytest.raises(Refused):
                operation.read(content)
            refused += 1
        else:
            operation.read(content)
            read += 1
    assert read > 300
    assert refused > 0


def test_every_refusal_has_a_body_of_the_contract() -> None:
    bodies = [(one["status"], one["answer"]) for one in frames_of("http") if one["status"] >= 400]
    assert len(bodies) > 20
    for status, body in bodies:
        if not is_json(body):
            continue
        if "details" in body:
            assert status == 422
            HTTPValidationError.from_wire(body)
        elif "detail" in body:
            Problem.from_wire(body)
        else:
            ErrorResponse.from_wire(body)


@pytest.mark.parametrize("what", ["event", "push", "ack", "http"])
def test_each_kind_of_frame_was_recorded(what: str) -> None:
    assert frames_of(what)
