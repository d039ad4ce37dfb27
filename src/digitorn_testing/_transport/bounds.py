"""Limits for what a daemon may send, so that a broken or hostile one cannot exhaust the test run."""

import re
import zlib
from collections.abc import Iterable
from typing import Any, Final, Protocol, cast

DEEPEST: Final = 100
"""How deeply arrays and objects of an event may be nested; the limit for REST answers is 200."""

_TEXT: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_TEXT_BYTES: Final = re.compile(_TEXT.pattern.encode(), re.DOTALL)
_OPENING: Final = ("[", "{")


class OutOfBounds(Exception):
    """Something exceeds a limit; the text says what."""


class NotUnpacked(Exception):
    """A body that cannot be decompressed; the text says why."""


class _Unpacking(Protocol):
    def decompress(self, data: bytes, max_length: int = 0, /) -> bytes: ...
    @property
    def unconsumed_tail(self) -> bytes: ...


class BoundedBody:
    """Collects and decompresses the body of an answer, up to a limit.

    Args:
        limit: Maximum size in bytes, decompressed.
        encoding: The content encoding that the answer names.

    Raises:
        NotUnpacked: The content encoding is unknown.
    """

    def __init__(self, limit: int, encoding: str | None) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._unpacking: _Unpacking | None = None
        self._kind = kind = (encoding or "identity").strip().lower()
        if kind in ("gzip", "x-gzip", "deflate"):
            # Adding 32 makes zlib detect gzip and zlib by their headers.
            self._unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        elif kind != "identity":
            raise NotUnpacked(f"its content encoding {kind[:40]!r} was not asked for")

    def feed(self, chunk: bytes) -> None:
        """Adds a piece of the body.

        Raises:
            OutOfBounds: The body exceeds the limit.
            NotUnpacked: The body cannot be decompressed.
        """
        if self._unpacking is None:
            self._add(chunk)
            return
        while chunk:
            try:
                # One byte above the limit is enough to recognise a decompression bomb.
                unpacked = self._unpacking.decompress(chunk, self._limit - self._size + 1)
            except zlib.error as error:
                said = str(error)
            else:
                self._add(unpacked)
                chunk = self._unpacking.unconsumed_tail
                continue
            raise NotUnpacked(f"its {self._kind} cannot be unpacked: {said}")

    def _add(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._limit:
            self._parts.clear()
            raise OutOfBounds(f"more than {self._limit} bytes (max_response_bytes)")
        self._parts.append(piece)

    def whole(self) -> bytes:
        """The complete body."""
        return b"".join(self._parts)


def check_values(document: bytes | str, most: int) -> None:
    """Refuses a JSON text with too many values, before it is parsed.

    Args:
        document: The text; it need not be JSON.
        most: Maximum number of values.

    Raises:
        OutOfBounds: There are more.
    """
    # Excluding the commas inside strings is slow, so it is done only if it may change the outcome.
    if _values(document) > most:
        without = _TEXT_BYTES.sub(b"", document) if isinstance(document, bytes) else _TEXT.sub("", document)
        if _values(without) > most:
            raise OutOfBounds(f"more than {most} JSON values (max_json_values)")


def _values(document: bytes | str) -> int:
    if isinstance(document, bytes):
        return document.count(b",") + document.count(b"[") + document.count(b"{")
    return document.count(",") + document.count("[") + document.count("{")


def check_depth(text: str, value: object, deepest: int = DEEPEST) -> None:
    """Refuses a JSON value that is nested too deeply for the code that reads it later.

    Args:
        text: The JSON text.
        value: The parsed value.
        deepest: Maximum number of levels.

    Raises:
        OutOfBounds: There are more.
    """
    if sum(map(text.count, _OPENING)) <= deepest:
        return
    level: list[Any] = [value]
    for _ in range(deepest + 1):
        level = [
            inner
            for one in level
            if isinstance(one, list | dict)
            for inner in _members(cast("list[Any] | dict[str, Any]", one))
        ]
        if not level:
            return
    raise OutOfBounds(f"nested more than {deepest} levels deep")


def _members(value: list[Any] | dict[str, Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value
