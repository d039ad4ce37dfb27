"""Reads recorded traffic: bare event envelopes, lines of frame files, and recordings of a client."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

from ._documents import JsonObject, JsonValue, text_of
from ._errors import SettingsError

# How frame files give an answer that is not JSON: its content type in parentheses.
_NO_CONTENT = "(None)"
_MEDIA_TYPE = re.compile(r"\((?P<name>[\w.+-]+/[\w.+-]+)[^()]*\)")


@dataclass(frozen=True)
class SeenEvent:
    """An event.

    Attributes:
        wire: Its wire name.
        payload: Its payload.
        envelope: What surrounds it; None if it was pushed under a name of its own.
        live: Whether it arrived as an event, and not as a row of a log inside an answer.
    """

    wire: str
    payload: JsonObject
    envelope: "JsonObject | None"
    live: bool = True


@dataclass(frozen=True)
class SeenExchange:
    """A call over HTTP.

    Attributes:
        method: Its HTTP method.
        path: Its path, without the query.
        body: Its body, None if it has none that is JSON.
        status: Status of the answer.
        answer: The answer, as JSON.
        media_type: Media type of an answer that is not JSON; empty for the others.
    """

    method: str
    path: str
    body: JsonValue
    status: int
    answer: JsonValue
    media_type: str


@dataclass(frozen=True)
class SeenCommand:
    """A command over the socket with its acknowledgement."""

    wire: str
    request: JsonValue
    ack: JsonValue


Frame: TypeAlias = SeenEvent | SeenExchange | SeenCommand


def frames_of(recording: Path, skipped: list[str]) -> Iterator[Frame]:
    """What a file of recorded traffic holds, one JSON object a line.

    Args:
        recording: The file.
        skipped: Where to note lines that hold none of these, as `file:line: why`.

    Raises:
        SettingsError: It cannot be read.
    """
    try:
        lines = recording.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise SettingsError(f"{recording}: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found: JsonValue = json.loads(line)
        except (ValueError, RecursionError) as error:
            skipped.append(f"{recording}:{number}: not JSON: {error}")
            continue
        frames = _frames(found) if isinstance(found, dict) else None
        if frames is None:
            skipped.append(f"{recording}:{number}: no event, exchange or command")
        else:
            yield from frames


def _frames(line: JsonObject) -> list[Frame] | None:
    """The frames of a line; None if it should hold some and does not."""
    if "record" in line:
        return _recorded(line)
    match line.get("what"):
        case "event":
            return _event(line.get("event"))
        case "push":
            name, data = text_of(line, "name"), line.get("data")
            return [SeenEvent(name, data, None)] if name and isinstance(data, dict) else None
        case "ack":
            wire, ack = text_of(line, "command"), line.get("ack")
            return [SeenCommand(wire, line.get("request"), ack), *_rows(ack)] if wire else None
        case "http":
            return _exchange(line, "body", "answer")
        case _:
            return _event(line)


def _recorded(line: JsonObject) -> list[Frame] | None:
    """A line of a client's recording; its headers hold no traffic."""
    match line["record"]:
        case "event":
            return _event(line.get("frame"))
        case "exchange":
            exchange = line.get("exchange")
            return _exchange(exchange, "request", "response") if isinstance(exchange, dict) else None
        case _:
            return []


def _event(envelope: JsonValue, *, live: bool = True) -> list[Frame] | None:
    if not _is_envelope(envelope):
        return None
    found = cast("JsonObject", envelope)
    return [SeenEvent(str(found["type"]), cast("JsonObject", found["payload"]), found, live)]


def _is_envelope(value: JsonValue) -> bool:
    return isinstance(value, dict) and bool(text_of(value, "type")) and isinstance(value.get("payload"), dict)


def _exchange(line: JsonObject, body: str, answer: str) -> list[Frame] | None:
    method, path, status = text_of(line, "method"), text_of(line, "path"), line.get("status")
    if not method or not path or not isinstance(status, int):
        return None
    sent, got = line.get(body), line.get(answer)
    other = _MEDIA_TYPE.fullmatch(got) if isinstance(got, str) else None
    if isinstance(sent, str) and _MEDIA_TYPE.fullmatch(sent):
        sent = None
    media_type = other["name"] if other else ""
    got = None if got == _NO_CONTENT else got
    exchange = SeenExchange(method.upper(), path.partition("?")[0], sent, status, got, media_type)
    return [exchange, *_rows(got)]


def _rows(value: JsonValue) -> Iterator[Frame]:
    """The rows of a log inside an answer: envelopes in a list that is called events, or something events."""
    if isinstance(value, list):
        for item in value:
            yield from _rows(item)
    elif isinstance(value, dict):
        for key, member in value.items():
            if re.fullmatch(r"(\w+_)?events", key) and isinstance(member, list):
                for row in member:
                    yield from _event(row, live=False) or ()
            else:
                yield from _rows(member)
