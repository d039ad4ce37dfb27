"""Bounds of what a daemon sends, so that a broken or hostile one cannot exhaust the test run."""

import re
import zlib
from collections.abc import Iterable
from typing import Any, Final, Protocol, cast

DEEPEST: Final = 100
"""How many arrays and objects of an event may lie in each other; those of a REST answer end at 200."""

_TEXT: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_TEXT_BYTES: Final = re.compile(_TEXT.pattern.encode(), re.DOTALL)
_OPENING: Final = ("[", "{")


class OutOfBounds(Exception):
    """More than is taken; the text says of what."""


class NotUnpacked(Exception):
    """A body that is packed in a way that cannot be undone; the text says why."""


class _Unpacking(Protocol):
    def decompress(self, data: bytes, max_length: int = 0, /) -> bytes: ...
    @property
    def unconsumed_tail(self) -> bytes: ...


class BoundedBody:
    """Collects the body of an answer, unpacked, up to a limit.

    Args:
        limit: Most bytes.
        encoding: What the answer says of its content encoding.

    Raises:
        NotUnpacked: It is packed in a way that was not asked for.
    """

    def __init__(self, limit: int, encoding: str | None) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._unpacking: _Unpacking | None = None
        self._kind = kind = (encoding or "identity").strip().lower()
        if kind in ("gzip", "x-gzip", "deflate"):
            # 32 recognises gzip and zlib by their headers.
            self._unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        elif kind != "identity":
            raise NotUnpacked(f"its content encoding {kind[:40]!r} was not asked for")

    def feed(self, chunk: bytes) -> None:
        """Takes a piece.

        Raises:
            OutOfBounds: It is too much.
            NotUnpacked: It cannot be unpacked.
        """
        if self._unpacking is None:
            self._add(chunk)
            return
        while chunk:
            try:
                # One more than may be: of a bomb no more is unpacked than shows that it is one.
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
        """The body."""
        return b"".join(self._parts)


def check_values(document: bytes | str, most: int) -> None:
    """Refuses a JSON text that holds too many values, before they are made.

    Args:
        document: The text; it need not be JSON.
        most: Most values.

    Raises:
        OutOfBounds: It holds more.
    """
    # Commas inside of texts count only if it matters: finding them is slow.
    if _values(document) > most:
        without = _TEXT_BYTES.sub(b"", document) if isinstance(document, bytes) else _TEXT.sub("", document)
        if _values(without) > most:
            raise OutOfBounds(f"more than {most} JSON values (max_json_values)")


def _values(document: bytes | str) -> int:
    if isinstance(document, bytes):
        return document.count(b",") + document.count(b"[") + document.count(b"{")
    return document.count(",") + document.count("[") + document.count("{")


def check_depth(text: str, value: object, deepest: int = DEEPEST) -> None:
    """Refuses a JSON value that is nested too deeply for what reads it later.

    Args:
        text: The JSON text.
        value: What it says.
        deepest: Most levels.

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
