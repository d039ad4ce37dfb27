"""Limits for what a daemon may send, so that a broken or hostile one cannot exhaust the test run."""

import re
import zlib
from itertools import accumulate
from typing import Final, Protocol

DEEPEST: Final = 100
"""How deeply arrays and objects of an event may be nested; the limit for REST answers is 200."""

# The quote at the end is optional, so that a match never fails: otherwise every quote would start another.
_STRING: Final = re.compile(rb'"[^"]*"?')
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_STEPS: Final = bytes(1 if one in b"[{" else 0xFF for one in range(256))
"""1 for a bracket that opens, -1 as a signed byte for one that closes."""


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


def check_text(text: str | bytes, most: int, deepest: int | None = DEEPEST) -> None:
    """Refuses a JSON text with too many values or levels, before it is parsed.

    Args:
        text: The text; it need not be JSON.
        most: Maximum number of values.
        deepest: Maximum number of levels of arrays and objects; None if the parser limits them.

    Raises:
        OutOfBounds: There are more.
    """
    # A text without that many characters, or that many brackets, does not have to be looked at.
    if isinstance(text, str):
        brackets = text.count("[") + text.count("{")
    else:
        brackets = text.count(b"[") + text.count(b"{")
    shallow = deepest is None or brackets <= deepest
    if shallow and len(text) <= most:
        return
    document = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if shallow and _values(document) <= most:
        return
    outside = _without_strings(document)
    if _values(outside) > most:
        raise OutOfBounds(f"more than {most} JSON values (max_json_values)")
    if not shallow and _levels(outside) > (deepest or 0):
        raise OutOfBounds(f"nested more than {deepest} levels deep")


def _values(document: bytes) -> int:
    return document.count(b",") + document.count(b"[") + document.count(b"{")


def _without_strings(document: bytes) -> bytes:
    """A JSON text without its strings; one that is not closed reaches to the end."""
    if b"\\" in document:
        document = document.replace(b"\\\\", b"").replace(b'\\"', b"")
    return _STRING.sub(b"", document)


def _levels(outside: bytes) -> int:
    """How deeply arrays and objects are nested, in a JSON text without strings."""
    steps = memoryview(outside.translate(_STEPS, _NO_BRACKETS)).cast("b")
    return max(accumulate(steps), default=0)
