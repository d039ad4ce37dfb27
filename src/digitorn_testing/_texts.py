"""Texts that people read and files hold: JSON that UTF-8 can carry, and seconds."""

import json
import re
from collections.abc import Callable, Iterable
from typing import Final

_HALF: Final = re.compile("[\ud800-\udfff]")


def printable(text: str) -> str:
    """A text that can be printed and written as UTF-8: halves of surrogate pairs are escaped, as in its repr.

    Args:
        text: Any text.
    """
    return text if text.isascii() else _HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def joined(pieces: Iterable[str]) -> str:
    """Pieces of a text as one; halves of a surrogate pair that meet become their character, as in JSON.

    Args:
        pieces: The pieces.
    """
    text = "".join(pieces)
    if text.isascii() or _HALF.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def check_sendable(text: str, name: str) -> None:
    """Refuses a text that cannot be sent.

    Args:
        text: The text.
        name: What it is called.

    Raises:
        ValueError: It holds half of a surrogate pair.
    """
    if (found := None if text.isascii() else _HALF.search(text)) is not None:
        half = f"half of a surrogate pair (U+{ord(found[0]):04X})"
        raise ValueError(f"{name} holds {half} at position {found.start()}, and cannot be sent")


def json_text(
    value: object,
    *,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    default: Callable[[object], object] | None = None,
) -> str:
    """A value as JSON. Halves of surrogate pairs are escaped, so that reading it gives them back.

    Args:
        value: JSON values.
        indent: As for `json.dumps`.
        separators: As for `json.dumps`.
        default: As for `json.dumps`.

    Raises:
        TypeError: It holds something that JSON cannot express.
        ValueError: It holds itself.
    """
    return printable(
        json.dumps(value, ensure_ascii=False, indent=indent, separators=separators, default=default)
    )


def in_seconds(seconds: float) -> str:
    """A time for people, such as `2.5 s`: what was measured has more digits than anybody wants to read.

    Args:
        seconds: The time.
    """
    return f"{round(seconds, 2 if seconds >= 1 else 3):g} s"
