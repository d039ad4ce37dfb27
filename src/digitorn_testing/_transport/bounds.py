"""Limits for what a daemon may send, so that a broken or hostile one cannot exhaust the test run."""

import zlib
from collections.abc import Iterator
from itertools import accumulate
from typing import Final, Protocol

DEEPEST: Final = 100
"""How deeply arrays and objects of an event may be nested; the limit for REST answers is 200."""

_WINDOW: Final = 64 * 1024
_MEANS_NOTHING: Final = bytes(set(range(256)) - set(b'"[]{},'))
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_STEPS: Final = bytes(1 if one in b"[{" else 0xFF for one in range(256))
"""1 for a bracket that opens, -1 as a signed byte for one that closes."""
_GZIP: Final = b"\x1f\x8b"


class OutOfBounds(Exception):
    """Something exceeds a limit; the text says what."""


class NotUnpacked(Exception):
    """A body that cannot be decompressed; the text says why."""


class _Unpacking(Protocol):
    def decompress(self, data: bytes, max_length: int = 0, /) -> bytes: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def eof(self) -> bool: ...


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
        self._kind = kind = (encoding or "identity").strip().lower()
        self._is_packed = kind != "identity"
        self._unpacking: _Unpacking | None = None
        self._waiting = b""
        self._has_members = False
        if kind not in ("gzip", "x-gzip", "deflate", "identity"):
            raise NotUnpacked(f"its content encoding {kind[:40]!r} was not asked for")

    def feed(self, chunk: bytes) -> None:
        """Adds a piece of the body.

        Raises:
            OutOfBounds: The body exceeds the limit.
            NotUnpacked: The body cannot be decompressed.
        """
        if not self._is_packed:
            self._add(chunk)
            return
        chunk = self._waiting + chunk
        self._waiting = b""
        while chunk:
            if self._unpacking is None:
                if self._has_members:
                    # A gzip may be padded with zeros (https://www.gnu.org/software/gzip/manual, "Tapes").
                    chunk = chunk.lstrip(b"\0")
                if len(chunk) < len(_GZIP):
                    self._waiting = chunk
                    return
                self._unpacking = zlib.decompressobj(wbits=self._format(chunk))
            chunk = self._unpack(self._unpacking, chunk)

    def _format(self, chunk: bytes) -> int:
        """How the data that begins here was compressed, as zlib numbers it."""
        if chunk.startswith(_GZIP):
            return zlib.MAX_WBITS | 16
        if self._has_members:
            raise NotUnpacked(f"its {self._kind} has something behind its end")
        if self._kind == "deflate" and (chunk[0] & 15 != 8 or int.from_bytes(chunk[:2]) % 31):
            # Many servers leave out the header that RFC 9110 asks for.
            return -zlib.MAX_WBITS
        return zlib.MAX_WBITS

    def _unpack(self, unpacking: _Unpacking, chunk: bytes) -> bytes:
        """Decompresses some of what came; returns the rest."""
        try:
            # One byte above the limit is enough to recognise a decompression bomb.
            unpacked = unpacking.decompress(chunk, self._limit - self._size + 1)
        except zlib.error as error:
            said = str(error)
        else:
            self._add(unpacked)
            if not unpacking.eof:
                return unpacking.unconsumed_tail
            # Another member may follow (RFC 1952 §2.2).
            self._unpacking, self._has_members = None, True
            return unpacking.unused_data
        raise NotUnpacked(f"its {self._kind} cannot be unpacked: {said}")

    def _add(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._limit:
            self._parts.clear()
            raise OutOfBounds(f"more than {self._limit} bytes (max_response_bytes)")
        self._parts.append(piece)

    def whole(self) -> bytes:
        """The complete body.

        Raises:
            NotUnpacked: The body was cut off, or something stands behind its end.
        """
        if self._unpacking is not None or (self._waiting and not self._has_members):
            raise NotUnpacked(f"its {self._kind} was cut off after {self._size} unpacked bytes")
        if self._waiting:
            raise NotUnpacked(f"its {self._kind} has something behind its end")
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
    # A text without that many characters, or that many signs, does not have to be looked at.
    if isinstance(text, str):
        brackets, commas = text.count("[") + text.count("{"), text.count(",")
    else:
        brackets, commas = text.count(b"[") + text.count(b"{"), text.count(b",")
    levels = deepest if deepest is not None and brackets > deepest else None
    if levels is None and brackets + commas <= most:
        return
    values = level = 0
    for outside in _outside_of_strings(text):
        opened = outside.count(b"[") + outside.count(b"{")
        values += opened + outside.count(b",")
        if values > most:
            raise OutOfBounds(f"more than {most} JSON values (max_json_values)")
        if levels is not None:
            steps = memoryview(outside.translate(_STEPS, _NO_BRACKETS)).cast("b")
            if max(accumulate(steps, initial=level)) > levels:
                raise OutOfBounds(f"nested more than {deepest} levels deep")
            level += 2 * opened - len(steps)


def _outside_of_strings(text: str | bytes) -> Iterator[bytes]:
    """The brackets and commas of a JSON text outside of its strings, a part of the text at a time.

    All at once, each string would take many times its size for a moment.
    """
    before = quote = b""
    for start in range(0, len(text), _WINDOW):
        part = text[start : start + _WINDOW]
        window = before + (part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part)
        before = b""
        if b"\\" in window:
            if (len(window) - len(window.rstrip(b"\\"))) % 2:
                # It escapes what the next part begins with.
                window, before = window[:-1], b"\\"
            window = window.replace(b"\\\\", b"").replace(b'\\"', b"")
        # Two quotes without a sign between them change nothing for what surrounds them.
        signs = (quote + window.translate(None, _MEANS_NOTHING)).replace(b'""', b"")
        parts = signs.split(b'"')
        quote = b'"' if len(parts) % 2 == 0 else b""
        yield b"".join(parts[::2])
