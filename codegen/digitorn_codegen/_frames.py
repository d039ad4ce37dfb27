"""Reads recorded traffic: bare event envelopes, lines of frame files, and recordings of a client."""

import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast
from urllib.parse import parse_qs, parse_qsl

from ._documents import JsonObject, JsonValue, text_of
from ._errors import SettingsError

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
TEXT = "text/plain"
UNKNOWN = "*/*"
"""The media type of a body of which only the size was recorded."""

# How frame files give an answer that is not JSON: its content type in parentheses.
_NO_CONTENT = "(None)"
_MEDIA_TYPE = re.compile(r"\((?P<name>[\w.+-]+/[\w.+-]+)[^()]*\)")
_CHECKSUM = re.compile(rb',"crc":"([0-9a-f]{8})"\}$')
_FORM = re.compile(r"[\w.~%+*\[\]-]+=[^&=\s]*(&[\w.~%+*\[\]-]+=[^&=\s]*)*")
_FILE = re.compile(r".+ \(\d+ bytes\)", re.DOTALL)
"""How recordings give a file of a form: its name and its size."""


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
class SeenBody:
    """The body of a request or of an answer.

    Attributes:
        media_type: Its media type; empty without a body.
        value: The body if it is JSON, and the members of a form; None otherwise.
    """

    media_type: str
    value: JsonValue = None


@dataclass(frozen=True)
class SeenExchange:
    """A call over HTTP.

    Attributes:
        method: Its HTTP method.
        path: Its path, without the query.
        query: Its query parameters, in order.
        body: The body of the request.
        status: Status of the answer.
        answer: The body of the answer.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    body: SeenBody
    status: int
    answer: SeenBody


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
        # A text may hold other line breaks than that at the end of a line.
        lines = recording.read_bytes().split(b"\n")
    except OSError as error:
        raise SettingsError(f"{recording}: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        checksum = _CHECKSUM.search(line)
        if checksum and int(checksum[1], 16) != zlib.crc32(line[: checksum.start()] + b"}"):
            skipped.append(f"{recording}:{number}: its checksum does not fit")
            continue
        try:
            found: JsonValue = json.loads(line.decode("utf-8", errors="replace"))
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
            return _event(line.get("event"), is_one=True)
        case "push":
            name, data = text_of(line, "name"), line.get("data")
            data = {} if data is None else data
            return [SeenEvent(name, data, None)] if name and isinstance(data, dict) else None
        case "ack":
            wire, ack = text_of(line, "command"), line.get("ack")
            return [SeenCommand(wire, line.get("request"), ack), *_rows(ack)] if wire else None
        case "http":
            sent, got = line.get("body"), line.get("answer")
            query = tuple(parse_qsl(text_of(line, "path").partition("?")[2], keep_blank_values=True))
            return _exchange(line, query, _framed(sent, is_answer=False), _framed(got, is_answer=True))
        case _:
            return _event(line)


def _recorded(line: JsonObject) -> list[Frame] | None:
    """A line of a client's recording; its headers hold no traffic."""
    match line["record"]:
        case "event":
            return _event(line.get("frame"), is_one=True)
        case "exchange":
            exchange = line.get("exchange")
            return _recorded_exchange(exchange) if isinstance(exchange, dict) else None
        case _:
            return []


def _event(envelope: JsonValue, *, live: bool = True, is_one: bool = False) -> list[Frame] | None:
    """An event; one that was recorded as such may have no payload."""
    if not isinstance(envelope, dict) or not text_of(envelope, "type"):
        return None
    payload = envelope.get("payload")
    if payload is None and is_one:
        payload = {}
    if not isinstance(payload, dict):
        return None
    return [SeenEvent(text_of(envelope, "type"), payload, envelope, live)]


def _recorded_exchange(exchange: JsonObject) -> list[Frame] | None:
    if "status" in exchange and exchange["status"] is None:
        # There was no answer to learn from.
        return []
    query: list[tuple[str, str]] = []
    for pair in cast("list[JsonValue]", exchange.get("query") or []):
        if isinstance(pair, list) and len(pair) == 2:
            query.append((str(pair[0]), str(pair[1])))
    body = _recorded_body(exchange.get("request"), exchange.get("request_size"), is_answer=False)
    answer = _recorded_body(exchange.get("response"), exchange.get("response_size"), is_answer=True)
    return _exchange(exchange, tuple(query), body, answer)


def _exchange(
    line: JsonObject, query: tuple[tuple[str, str], ...], body: SeenBody, answer: SeenBody
) -> list[Frame] | None:
    method, path, status = text_of(line, "method"), text_of(line, "path"), line.get("status")
    if not method or not path or not isinstance(status, int):
        return None
    exchange = SeenExchange(method.upper(), path.partition("?")[0], query, body, status, answer)
    return [exchange, *_rows(answer.value)]


def _framed(value: JsonValue, *, is_answer: bool) -> SeenBody:
    """A body as frame files give it."""
    if value == _NO_CONTENT or (value is None and not is_answer):
        return SeenBody("")
    if isinstance(value, str):
        if other := _MEDIA_TYPE.fullmatch(value):
            return SeenBody(other["name"])
        if not is_answer and _FORM.fullmatch(value):
            return SeenBody(FORM, _members(value))
    return SeenBody(JSON, value)


def _recorded_body(value: JsonValue, size: JsonValue, *, is_answer: bool) -> SeenBody:
    """A body as recordings give it, which is without its media type."""
    if value is None:
        return SeenBody({0: "", len("null"): JSON}.get(size, UNKNOWN) if isinstance(size, int) else "")
    if isinstance(value, str):
        if not is_answer and _FORM.fullmatch(value):
            return SeenBody(FORM, _members(value))
        # JSON has quotes that the text has not.
        return SeenBody(TEXT) if size == len(value.encode(errors="replace")) else SeenBody(JSON, value)
    if not is_answer and isinstance(value, dict) and any(is_file(one) for one in value.values()):
        return SeenBody(MULTIPART, value)
    return SeenBody(JSON, value)


def is_file(value: JsonValue) -> bool:
    """Whether this is how recordings give a file of a form."""
    return isinstance(value, str) and _FILE.fullmatch(value) is not None


def _members(form: str) -> JsonObject:
    """The members of a form: texts, and lists of such for members that are there several times."""
    found = parse_qs(form, keep_blank_values=True)
    return {name: list[JsonValue](texts) if len(texts) > 1 else texts[0] for name, texts in found.items()}


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
