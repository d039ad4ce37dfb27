"""Recordings of a real provider: written while requests are passed on to it, and answered from later.

The first line of a recording says what it is; each further one is an exchange, in JSON, without its secrets.
"""

import asyncio
import base64
import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from digitorn_testing._errors import RecordingError
from digitorn_testing.fakes._model.model import ScriptMismatch
from digitorn_testing.fakes._model.script import shown

from .core import Refused
from .http import LARGEST_BODY, ConnectionLost, Exchange
from .redaction import Hiding

Normalize: TypeAlias = Callable[[JsonValue], JsonValue]
"""Changes the JSON body of a request before it is compared."""

FilePath: TypeAlias = str | os.PathLike[str]

_FORMAT: Final = "digitorn-testing model recording"
_TIMEOUT: Final = httpx.Timeout(600.0, connect=30.0)
_MOST_DIFFERENCES: Final = 8

_NOT_FORWARDED: Final = frozenset(
    {
        *("host", "content-length", "accept-encoding", "connection", "keep-alive", "proxy-authenticate"),
        *("proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
    }
)
_KEPT_HEADERS: Final = (
    *("content-type", "retry-after", "retry-after-ms", "x-should-retry", "request-id", "x-request-id"),
    *("x-ratelimit-", "anthropic-ratelimit-"),
)
"""What the headers of an answer begin with that clients act on."""

logger = logging.getLogger(__name__)


# --- the file


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Chunk(_Part):
    """A chunk of an answer, `at` seconds after the request; one that is no text is in Base64."""

    at: float
    text: str | None = None
    base64: str | None = None

    @property
    def content(self) -> bytes:
        return (self.text or "").encode() if self.base64 is None else base64.b64decode(self.base64)


class _Exchange(_Part):
    """An exchange: how it was asked, and what came back; `error` says why that is not complete."""

    method: str
    path: str
    query: list[list[str]]
    body: object
    status: int | None
    headers: dict[str, str]
    chunks: list[_Chunk]
    error: str


class _Header(_Part):
    format: Literal["digitorn-testing model recording"]
    version: Literal[1]
    upstream: str


# --- recording


class Recorder:
    """Passes requests on to a provider and writes down what it answers.

    Args:
        path: The file. One that exists is replaced when the first answer is written.
        upstream: Base URL of the provider, with or without `/v1`.

    Raises:
        ValueError: The URL is none of HTTP, or has credentials or a query.
    """

    def __init__(self, path: FilePath, upstream: str) -> None:
        parts = urlsplit(upstream)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("upstream must be a URL such as https://api.openai.com/v1")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("upstream must have no credentials and no query; clients send their own keys")
        self._path = Path(path)
        self._upstream = upstream.rstrip("/")
        self._has_path = parts.path.rstrip("/").removesuffix("/v1") != ""
        self._has_begun = False
        self._error: RecordingError | None = None
        self._client: httpx.AsyncClient | None = None

    def open(self) -> None:
        """Sees to it that the file can be written.

        Raises:
            RecordingError: It cannot.
        """
        self._put(b"", "ab")

    def check(self, *, with_leftover: bool = False) -> None:
        """Reports that something could not be written.

        Raises:
            RecordingError: That is so.
        """
        if self._error is not None:
            raise self._error

    async def close(self) -> None:
        """Closes the connections to the provider."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def respond(self, exchange: Exchange) -> None:
        """Passes a request on, and its answer back, chunk by chunk.

        Raises:
            Refused: The provider did not answer.
            ConnectionLost: It stopped in the middle of its answer.
        """
        hiding = Hiding(exchange)
        taken = _Taken(asyncio.get_running_loop().time())
        try:
            await self._pass_on(exchange, taken)
        except (httpx.HTTPError, httpx.InvalidURL, _TooLarge) as error:
            why = f"{type(error).__name__}: {error}".rstrip(": ")
            taken.error = hiding.text(f"The provider at {self._upstream} failed: {why}")
            logger.warning("%s %s: %s", exchange.method, exchange.path, taken.error)
            if exchange.has_started:
                raise ConnectionLost from error
            raise _unanswered(taken.error) from error
        except BaseException as error:
            # The client has left, or the server stops.
            taken.error = f"The answer was not passed on to its end: {type(error).__name__}"
            raise
        finally:
            self._write(exchange, hiding, taken)
        # Only now, so that who has the whole answer finds it in the file.
        await exchange.end()

    async def _pass_on(self, exchange: Exchange, taken: "_Taken") -> None:
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=_TIMEOUT, limits=httpx.Limits(max_connections=None))
        # Answers to one client set no cookies for another one.
        self._client.cookies.clear()
        named = exchange.headers.get("connection", "").lower().replace(" ", "").split(",")
        passed = {
            name: value
            for name, value in exchange.headers.items()
            if name not in _NOT_FORWARDED and name not in named
        }
        request = self._client.build_request(
            exchange.method,
            self._target(exchange),
            headers={**passed, "accept-encoding": "identity"},
            content=exchange.body,
        )
        answer = await self._client.send(request, stream=True)
        async with contextlib.aclosing(answer):
            taken.status = answer.status_code
            taken.headers = {
                name: value for name, value in answer.headers.items() if name.startswith(_KEPT_HEADERS)
            }
            await exchange.start(taken.status, taken.headers)
            async for chunk in answer.aiter_bytes():
                taken.add(chunk)
                await exchange.write(chunk)

    def _target(self, exchange: Exchange) -> str:
        """Where a request goes: below the provider's base URL, which need not end in `/v1`."""
        path = exchange.raw_path
        is_openai = "anthropic-version" not in exchange.headers
        if self._upstream.endswith("/v1") or (self._has_path and is_openai):
            path = path.removeprefix("/v1")
        return f"{self._upstream}{path}" + (f"?{exchange.query}" if exchange.query else "")

    def _write(self, exchange: Exchange, hiding: Hiding, taken: "_Taken") -> None:
        texts = hiding.chunks([content for _, content in taken.chunks])
        chunks = [
            {"at": round(at, 4), "base64": base64.b64encode(content).decode()}
            if texts is None
            else {"at": round(at, 4), "text": texts[place]}
            for place, (at, content) in enumerate(taken.chunks)
        ]
        line = {
            "method": exchange.method,
            "path": hiding.path,
            "query": hiding.query,
            "body": hiding.body,
            "status": taken.status,
            "headers": {name: hiding.text(value) for name, value in taken.headers.items()},
            "chunks": chunks,
            "error": taken.error,
        }
        header = {"format": _FORMAT, "version": 1, "upstream": self._upstream}
        lines = [line] if self._has_begun else [header, line]
        try:
            content = "".join(f"{json.dumps(one)}\n" for one in lines).encode()
            self._put(content, "ab" if self._has_begun else "wb")
            self._has_begun = True
        except RecordingError as error:
            # The client's answer is right all the same; whoever stops the server is told.
            self._error = self._error or error
            logger.warning("%s", error)

    def _put(self, content: bytes, mode: Literal["ab", "wb"]) -> None:
        try:
            with open(self._path, mode) as file:
                file.write(content)
        except OSError as error:
            raise RecordingError(str(self._path), f"cannot be written: {error.strerror or error}") from error


class _TooLarge(Exception):
    """An answer has more bytes than are kept."""


class _Taken:
    """What has come of an answer so far."""

    def __init__(self, started: float) -> None:
        self._started = started
        self._size = 0
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.chunks: list[tuple[float, bytes]] = []
        self.error = ""

    def add(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size > LARGEST_BODY:
            raise _TooLarge(f"its answer is larger than {LARGEST_BODY} bytes")
        self.chunks.append((asyncio.get_running_loop().time() - self._started, chunk))


def _unanswered(why: str) -> Refused:
    return Refused(502, why, type="server_error", code="upstream_failed")


# --- replaying


@dataclass(frozen=True, slots=True)
class _Request:
    """What tells a request from another one."""

    method: str
    path: str
    more: JsonValue

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class Replay:
    """Answers requests as a recording says. Each recorded answer is given once, equal requests get theirs in
    the order in which they were recorded.

    Args:
        path: The recording.
        normalize: Changes the JSON body of each request, asked or recorded, before they are compared.
        timing: Whether chunks take as long as they took.

    Raises:
        RecordingError: The file cannot be read, or is no such recording.
    """

    def __init__(self, path: FilePath, *, normalize: Normalize | None, timing: bool) -> None:
        self._normalize = normalize
        self._timing = timing
        self._all = [
            (
                self._request(
                    one.method, one.path, [[*pair] for pair in one.query], cast("JsonValue", one.body)
                ),
                one,
            )
            for one in _read(os.fspath(path))
        ]
        self._left = list(self._all)
        self._mismatches: list[str] = []

    def open(self) -> None:
        """Nothing needs to be opened."""

    def check(self, *, with_leftover: bool = False) -> None:
        """Checks that each request was recorded.

        Args:
            with_leftover: Check as well that each recorded request was made.

        Raises:
            ScriptMismatch: That is not so.
        """
        leftover = tuple(f"  {request}: {_said(request)}" for request, _ in self._left if with_leftover)
        lines = [*self._mismatches, *(["recorded and never asked for:", *leftover] if leftover else [])]
        if lines:
            raise ScriptMismatch("\n".join(lines), leftover=leftover)

    async def close(self) -> None:
        """Nothing needs to be closed."""

    async def respond(self, exchange: Exchange) -> None:
        """Gives the answer that was recorded for a request.

        Raises:
            Refused: None was, or the provider did not answer then.
            ConnectionLost: The answer broke off.
        """
        hiding = Hiding(exchange)
        asked = self._request(exchange.method, hiding.path, hiding.query, hiding.body)
        found = next((one for one in self._left if one[0] == asked), None)
        if found is None:
            self._mismatches.append(said := self._mismatch(asked))
            # Not as a server error: clients would ask again.
            raise Refused(400, said, code="unrecorded_request")
        self._left.remove(found)
        await self._give(exchange, found[1])

    async def _give(self, exchange: Exchange, recorded: _Exchange) -> None:
        if recorded.status is None:
            raise _unanswered(recorded.error)
        clock = asyncio.get_running_loop().time
        started = clock()
        await exchange.start(recorded.status, recorded.headers)
        for chunk in recorded.chunks:
            await asyncio.sleep(max(0.0, started + chunk.at - clock()) if self._timing else 0.0)
            await exchange.write(chunk.content)
        if recorded.error:
            raise ConnectionLost
        await exchange.end()

    def _request(self, method: str, path: str, query: list[list[str]], body: JsonValue) -> _Request:
        compared = body if self._normalize is None else self._normalize(body)
        return _Request(method, path, {"query": [[*pair] for pair in query], "body": compared})

    def _mismatch(self, asked: _Request) -> str:
        times = sum(request == asked for request, _ in self._all)
        if times:
            how = f"is asked more often than the {times} times that it was recorded"
            return f"{asked} {how}: {_said(asked)}"
        alike = [one for one, _ in self._all if (one.method, one.path) == (asked.method, asked.path)]
        if not alike:
            known = ", ".join(sorted({str(one) for one, _ in self._all})) or "nothing"
            return f"{asked} was not recorded; the recording has {known}"
        compared = [[*_differences("", one.more, asked.more)] for one in alike]
        nearest = min(compared, key=lambda found: sum(map(len, found)))
        lines = [f"{asked} was not recorded like this; the most similar one of {len(alike)} differs:"]
        lines += [f"  {one.removeprefix('.')}" for one in nearest[:_MOST_DIFFERENCES]]
        if len(nearest) > _MOST_DIFFERENCES:
            lines.append(f"  and {len(nearest) - _MOST_DIFFERENCES} more")
        return "\n".join(lines)


def _read(path: str) -> list[_Exchange]:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordingError(path, f"cannot be read: {error}") from error
    exchanges: list[_Exchange] = []
    for number, line in enumerate(lines or [""], 1):
        try:
            value: object = json.loads(line)
            if number == 1:
                _Header.model_validate(value)
            else:
                exchanges.append(_Exchange.model_validate(value))
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, fault["loc"]))
            what = f"line {number} is not of a model recording: {place}: {fault['msg']}"
            raise RecordingError(path, what) from error
        except ValueError as error:
            raise RecordingError(path, f"line {number} is not JSON: {error}") from error
    return exchanges


def _said(request: _Request) -> str:
    """What a request says, for people."""
    match request.more:
        case {"body": {"messages": [*_, last]} | {"input": [*_, last]} | {"input": last} | last}:
            return shown(json.dumps(last, ensure_ascii=False), 120)
        case _:
            return ""


def _differences(place: str, recorded: JsonValue, asked: JsonValue) -> Iterator[str]:
    """What differs, in words, each with its place."""
    if recorded == asked:
        return
    if isinstance(recorded, dict) and isinstance(asked, dict):
        for name in dict.fromkeys((*recorded, *asked)):
            here = f"{place}.{name}"
            if name not in asked:
                yield f"{here}: recorded {_value(recorded[name])}, not asked"
            elif name not in recorded:
                yield f"{here}: asked {_value(asked[name])}, not recorded"
            else:
                yield from _differences(here, recorded[name], asked[name])
    elif isinstance(recorded, list) and isinstance(asked, list):
        for index, (one, other) in enumerate(zip(recorded, asked, strict=False)):
            yield from _differences(f"{place}[{index}]", one, other)
        if len(recorded) != len(asked):
            yield f"{place}: recorded {len(recorded)} elements, asked {len(asked)}"
    elif isinstance(recorded, str) and isinstance(asked, str):
        # Long texts may differ far behind their beginning.
        pairs = enumerate(zip(recorded, asked, strict=False))
        same = next((at for at, (one, other) in pairs if one != other), min(len(recorded), len(asked)))
        start = max(0, same - 20)
        yield f"{place}: recorded {_value(recorded[start:])}, asked {_value(asked[start:])}"
    else:
        yield f"{place}: recorded {_value(recorded)}, asked {_value(asked)}"


def _value(value: JsonValue) -> str:
    return shown(json.dumps(value, ensure_ascii=False), 80)
