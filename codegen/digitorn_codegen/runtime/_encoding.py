"""How arguments become text on the wire: paths, queries, headers, cookies, forms and multipart bodies."""

import json
import mimetypes
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, TypeGuard
from urllib.parse import quote

Style: TypeAlias = Literal[
    "comma", "space", "pipe", "deep", "json", "pairs", "label", "labels", "matrix", "matrices"
]
"""How a value that is no scalar is written, when not by default.

In a query a list is one pair an item by default, and an object one pair a member. `comma`, `space` and
`pipe` join them into one pair, `deep` writes `name[member]=value`. In a path, a header and a cookie they are
joined by commas by default; `pairs` writes `member=value,member=value`, `label` and `labels` `.value.value`,
`matrix` and `matrices` `;name=value` once or for each. `json` is JSON everywhere. A member or an item that is
null is left out, and so is a list or an object without any.
"""

FileContent: TypeAlias = bytes | tuple[str, bytes]
"""A file to upload: its bytes, or a file name and its bytes."""

Json: TypeAlias = "None | bool | int | float | str | list[Json] | dict[str, Json]"
_Several: TypeAlias = "list[Json] | dict[str, Json]"

_JOINTS: Final = {"comma": ",", "space": " ", "pipe": "|"}
_RESERVED: Final = ":/?[]@!$'()*,;="
"""Reserved characters that cannot end a pair: all but `&`, `+` and `#`."""
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def written(value: Json) -> str:
    """A value as JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def scalar(value: Json) -> str:
    """A value as text; what is no scalar as JSON."""
    return value if isinstance(value, str) else written(value)


def is_several(value: Json) -> TypeGuard[_Several]:
    """Whether a JSON value is no scalar."""
    return isinstance(value, list | dict)


def _flat(value: _Several, style: Style | None) -> list[str]:
    """The items of a list, or the members of an object with their names."""
    if isinstance(value, list):
        return [scalar(item) for item in value if item is not None]
    members = [(name, scalar(member)) for name, member in value.items() if member is not None]
    if style in ("pairs", "labels", "matrices"):
        return [f"{name}={text}" for name, text in members]
    return [text for member in members for text in member]


# --- paths


def segment(name: str, value: Json, style: Style | None, *, spans: bool) -> str:
    """A path parameter, percent-encoded; empty if there is nothing to write.

    Args:
        name: The parameter.
        value: Its value.
        style: How it is written.
        spans: Whether its slashes separate path segments.
    """
    if value is None:
        return ""
    if style in ("label", "labels", "matrix", "matrices"):
        return _prefixed(name, value, style)
    if is_several(value) and style != "json":
        return ",".join(quote(text, safe="=" if style == "pairs" else "") for text in _flat(value, style))
    text = written(value) if style == "json" else scalar(value)
    return "/".join(_quoted(part) for part in (text.split("/") if spans else [text]))


def _quoted(text: str) -> str:
    """One path segment, percent-encoded; one of dots alone would be resolved away by clients and proxies."""
    return text.replace(".", "%2E") if text in {".", ".."} else quote(text, safe="")


def _prefixed(name: str, value: Json, style: Style) -> str:
    """A path parameter of the label or the matrix style."""
    is_object = isinstance(value, dict)
    texts = _flat(value, style) if is_several(value) else [scalar(value)]
    encoded = [quote(text, safe="=") if is_object else _quoted(text) for text in texts]
    if not encoded:
        return ""
    if style in ("label", "labels"):
        joined = ("." if style == "labels" else ",").join(encoded)
        return f".{joined}" if joined else ""
    if style == "matrix":
        return f";{name}={','.join(encoded)}"
    return "".join(f";{text}" if is_object else f";{name}={text}" for text in encoded)


# --- queries and forms


@dataclass(frozen=True, slots=True)
class Pair:
    """One pair of a query or a form.

    Attributes:
        name: Its name.
        texts: Its value, or the items that are joined to it.
        joint: What joins them.
        safe: Characters that are not percent-encoded.
    """

    name: str
    texts: tuple[str, ...]
    joint: str = ""
    safe: str = ""

    @property
    def plain(self) -> tuple[str, str]:
        """The pair as people read it."""
        return self.name, self.joint.join(self.texts)

    @property
    def encoded(self) -> str:
        """The pair percent-encoded, but for what joins the items."""
        joint = "%20" if self.joint == " " else self.joint
        return f"{quote(self.name, safe='')}={joint.join(quote(text, safe=self.safe) for text in self.texts)}"


def joined(pairs: Iterable[Pair]) -> str:
    """A query or a form as it is sent."""
    return "&".join(pair.encoded for pair in pairs)


def pairs(name: str, value: Json, style: Style | None, *, reserved: bool = False) -> Iterator[Pair]:
    """The pairs that a query parameter, or a member of a form, is sent as.

    Args:
        name: Its name.
        value: Its value; null is not sent.
        style: How it is written.
        reserved: Whether characters that have a meaning in a URL are sent as they are.

    Raises:
        ValueError: An item cannot be told from what joins the items.
    """
    safe = _RESERVED if reserved else ""
    if value is None:
        return
    if style == "json":
        yield Pair(name, (written(value),), safe=safe)
    elif style == "deep":
        yield from (Pair(below, (text,), safe=safe) for below, text in _deep(name, value))
    elif not is_several(value):
        yield Pair(name, (scalar(value),), safe=safe)
    elif style is not None:
        texts, joint = tuple(_flat(value, style)), _JOINTS.get(style, ",")
        if joint == " " and any(" " in text for text in texts):
            raise ValueError(f"{name}: an item holds a space, which separates the items")
        if texts:
            yield Pair(name, texts, joint, safe.replace(joint, ""))
    elif isinstance(value, list):
        yield from (Pair(name, (scalar(item),), safe=safe) for item in value if item is not None)
    else:
        for key, member in value.items():
            yield from pairs(key, member, None, reserved=reserved)


def _deep(name: str, value: Json) -> Iterator[tuple[str, str]]:
    if not is_several(value):
        if value is not None:
            yield name, scalar(value)
        return
    for key, member in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _deep(f"{name}[{key}]", member)


# --- headers and cookies


def header(name: str, value: Json, style: Style | None) -> str | None:
    """A header's value; None if there is nothing to send.

    Raises:
        ValueError: It would be read as something else, or cannot be sent.
    """
    if value is None:
        return None
    if style == "json":
        text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    elif is_several(value):
        texts = _flat(value, style)
        if any("," in one for one in texts):
            raise ValueError(f"header {name!r}: an item holds a comma, which separates the items")
        text = ",".join(texts)
        if not texts:
            return None
    else:
        text = scalar(value)
    if _CONTROLS.search(text):
        raise ValueError(f"header {name!r} holds a line break or another control character")
    if not text.isascii():
        raise ValueError(f"header {name!r} holds a character that is not ASCII")
    return text


def cookies(name: str, value: Json, style: Style | None) -> Iterator[tuple[str, str]]:
    """The cookies that a parameter is sent as, their values percent-encoded."""
    if value is None:
        return
    if style == "json":
        yield name, quote(written(value), safe="")
    elif isinstance(value, dict) and style is None:
        yield from (
            (key, quote(scalar(member), safe="")) for key, member in value.items() if member is not None
        )
    elif is_several(value):
        if texts := _flat(value, style):
            yield name, ",".join(quote(text, safe="") for text in texts)
    else:
        yield name, quote(scalar(value), safe="")


# --- multipart bodies


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart body.

    Attributes:
        name: The member.
        content: What it holds.
        filename: Name of the file; None for a value.
        content_type: Its content type; None for plain text.
    """

    name: str
    content: bytes
    filename: str | None
    content_type: str | None = None


def value_parts(name: str, value: Json, style: Style | None, content_type: str | None) -> Iterator[Part]:
    """The parts that a member is sent as that is no file: one an item of a list.

    Args:
        name: The member.
        value: Its value; null is not sent.
        style: How it is written.
        content_type: Its content type, if the contract names one.
    """
    if style in ("comma", "space", "pipe", "deep"):
        for pair in pairs(name, value, style):
            yield Part(pair.plain[0], pair.plain[1].encode(), None, content_type)
        return
    for one in value if isinstance(value, list) and style != "json" else [value]:
        if is_several(one) or style == "json":
            yield Part(name, written(one).encode(), None, content_type or "application/json")
        elif one is not None:
            yield Part(name, scalar(one).encode(), None, content_type)


def file_part(name: str, file: FileContent, content_type: str | None) -> Part:
    """The part that a file is sent as.

    Args:
        name: The member.
        file: The file.
        content_type: The content types that the contract allows, if it names any: `image/png, image/*`.
    """
    filename, content = file if isinstance(file, tuple) else (name, file)
    guessed = mimetypes.guess_type(filename)[0] or "application/octet-stream"
    allowed = [one.strip() for one in (content_type or "").split(",") if one.strip()]
    if allowed and not any(re.fullmatch(re.escape(one).replace(r"\*", ".*"), guessed) for one in allowed):
        guessed = next((one for one in allowed if "*" not in one), guessed)
    return Part(name, content, filename, guessed)


def multipart(parts: Sequence[Part], media_type: str) -> tuple[bytes, str]:
    """A multipart body, and its content type with the boundary.

    Args:
        parts: Its parts.
        media_type: Its content type.
    """
    boundary = uuid.uuid4().hex
    is_form = media_type.startswith("multipart/form-data")
    lines: list[bytes] = []
    for part in parts:
        disposition = f'form-data; name="{_escaped(part.name)}"'
        if part.filename is not None:
            disposition += f'; filename="{_escaped(part.filename)}"'
        head = [f"--{boundary}", f"Content-Disposition: {disposition}"]
        kind = part.content_type
        if kind is None and not is_form:
            kind = "text/plain; charset=utf-8"
        if kind is not None:
            head.append(f"Content-Type: {kind}")
        if media_type.startswith("multipart/related"):
            head.append(f"Content-ID: <{quote(part.name, safe='')}>")
        lines += ["\r\n".join((*head, "", "")).encode(), part.content, b"\r\n"]
    lines.append(f"--{boundary}--\r\n".encode())
    found = f"{media_type}; boundary={boundary}"
    if media_type.startswith("multipart/related"):
        # The type of the first part, which the others belong to (RFC 2387).
        found += f'; type="{(parts[0].content_type if parts else None) or "text/plain"}"'
    return b"".join(lines), found


def _escaped(text: str) -> str:
    """A name in a header of a part, as browsers write it."""
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
