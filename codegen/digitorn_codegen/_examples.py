"""The plainest values that fit shapes: what payload builders start from."""

import math
import re
from ast import literal_eval
from collections.abc import Iterable, Iterator, Mapping
from re import _constants as sre  # pyright: ignore
from re import _parser as sre_parser  # type: ignore[attr-defined]  # pyright: ignore
from typing import Any, cast

from ._documents import JsonObject, JsonValue
from ._facts import python_pattern
from ._shapes import (
    NULL,
    Anything,
    Choice,
    Class,
    Equal,
    Items,
    Member,
    Named,
    OneOf,
    Places,
    Scalar,
    Shape,
    Shapes,
    Table,
)

_MOST_REPEATS = 64


class Examples:
    """Makes values that fit shapes.

    Args:
        shapes: The classes and aliases.
        written: The schemas of definitions, by key: their own `examples` come first.
    """

    def __init__(self, shapes: Shapes, written: Mapping[str, JsonObject]) -> None:
        self._shapes = shapes
        self._written = written
        self._open: list[str] = []

    def of_class(self, key: str) -> JsonObject:
        """An example of a class: every member that must be there."""
        made = self._shapes.made.get(key)
        if isinstance(made, Class) and made.options:
            key = made.options[0]
        return {one.name: self.of_member(one) for one in self.members(key) if one.required}

    def members(self, key: str) -> list[Member]:
        """The members of a class, those that it inherits first."""
        made = self._shapes.made.get(key)
        found: dict[str, Member] = {}
        for base in reversed(made.bases) if isinstance(made, Class) else ():
            found.update((one.name, one) for one in self.members(base))
        found.update((one.name, one) for one in (made.members if isinstance(made, Class) else ()))
        return list(found.values())

    def of_member(self, member: Member) -> JsonValue:
        """An example of a member."""
        return member.examples[0] if member.examples else self.of(member.shape, member.name)

    def of(self, shape: Shape, name: str) -> JsonValue:
        """An example of a value.

        Args:
            shape: What it is.
            name: What it is called; stands for a text.
        """
        match shape:
            case Anything():
                return None
            case Scalar(kind, limits, patterns):
                return _scalar(kind, {key: literal_eval(text) for key, text in limits}, patterns, name)
            case Choice(values):
                return values[0]
            case Equal(_, values):
                return values[0]
            case Items(item, limits, unique):
                count = int(literal_eval(dict(limits).get("min_length", "0")))
                return self._distinct(item, count, name) if unique else [self.of(item, name)] * count
            case Places(first, rest, least):
                count = max(least, len(first))
                listed = [self.of(one, name) for one in first]
                return listed + [self.of(rest or Anything(), name)] * (count - len(first))
            case Table(value, key, limits):
                count = int(literal_eval(dict(limits).get("min_length", "0")))
                return {str(self.of(key, f"{name}{i or ''}")): self.of(value, name) for i in range(count)}
            case OneOf(options):
                if NULL in options:
                    return None
                return self.of(next((one for one in options if not self._is_open(one)), options[0]), name)
            case Named(key):
                return self._named(key, name)

    def _distinct(self, item: Shape, count: int, name: str) -> list[JsonValue]:
        """Different values of one shape."""
        if count < 2:
            return [self.of(item, name) for _ in range(count)]
        match item:
            case Choice(values):
                return [*values[:count]]
            case Scalar("int" | "float"):
                first = self.of(item, name)
                limits = dict(item.limits)
                step: float = literal_eval(limits.get("multiple_of", "1"))
                down = "le" in limits or "lt" in limits
                start = first if isinstance(first, int | float) else 0
                return list[JsonValue](start - i * step if down else start + i * step for i in range(count))
            case Scalar("bool"):
                return [False, True][:count]
            case Anything():
                return [*range(count)]
            case _:
                return [self.of(item, f"{name}{i or ''}") for i in range(count)]

    def _is_open(self, shape: Shape) -> bool:
        return isinstance(shape, Named) and shape.key in self._open

    def _named(self, key: str, name: str) -> JsonValue:
        written = self._written.get(key, {}).get("examples")
        if isinstance(written, list) and written:
            return written[0]
        if key in self._open:
            # It needs another of its own kind; that one is for the caller to give.
            return {}
        made = self._shapes.made.get(key)
        if made is None or (isinstance(made, Class) and made.nullable):
            return None
        self._open.append(key)
        try:
            return self.of_class(key) if isinstance(made, Class) else self.of(made.shape, name)
        finally:
            self._open.pop()


def _scalar(kind: str, limits: Mapping[str, JsonValue], patterns: Iterable[str], name: str) -> JsonValue:
    match kind:
        case "str":
            return _text(limits, patterns, name)
        case "int":
            return int(_number(limits, whole=True))
        case "float":
            return float(_number(limits, whole=False))
        case "bool":
            return False
        case _:
            return None


def _number(limits: Mapping[str, JsonValue], *, whole: bool) -> float:
    """The number next to zero within its limits."""

    def limit(name: str) -> float | None:
        found = limits.get(name)
        return found if isinstance(found, int | float) else None

    step = limit("multiple_of") or (1 if whole else 0)
    low, above, high, below = limit("ge"), limit("gt"), limit("le"), limit("lt")
    if low is not None and low > 0:
        return math.ceil(low / step) * step if step else low
    if above is not None and above >= 0:
        if step:
            return (math.floor(above / step) + 1) * step
        upper = high if high is not None else below
        return (above + upper) / 2 if upper is not None and upper <= above + 1 else above + 1
    if high is not None and high < 0:
        return math.floor(high / step) * step if step else high
    if below is not None and below <= 0:
        if step:
            return (math.ceil(below / step) - 1) * step
        lower = low if low is not None else above
        return (below + lower) / 2 if lower is not None and lower >= below - 1 else below - 1
    return 0


def _text(limits: Mapping[str, JsonValue], patterns: Iterable[str], name: str) -> str:
    least, most = limits.get("min_length"), limits.get("max_length")
    shortest = least if isinstance(least, int) else 0
    longest = most if isinstance(most, int) else None
    plain = name.ljust(shortest, "_")[:longest]
    pattern = limits.get("pattern")
    own = python_pattern(pattern) if isinstance(pattern, str) else None
    wanted = [*([own] if own is not None else []), *patterns]
    if not wanted:
        return plain

    def fits(text: str) -> bool:
        is_long = len(text) >= shortest and (longest is None or len(text) <= longest)
        return is_long and all(re.search(one, text) for one in wanted)

    tries = (_matching(one, extra) for one in wanted for extra in range(max(shortest, 1) + 1))
    return next((text for text in (plain, *tries) if fits(text)), plain)


# --- texts that match


def _matching(pattern: str, extra: int) -> str:
    """A text that a pattern is found in, as far as a look at its parts tells.

    Args:
        pattern: The pattern.
        extra: How many more times than necessary an open repetition is repeated.
    """
    return "".join(_pieces(cast("Iterable[Any]", sre_parser.parse(pattern)), extra))


def _pieces(parts: Iterable[Any], extra: int) -> Iterator[str]:
    for code, value in parts:
        if code is sre.LITERAL:
            yield chr(cast("int", value))
        elif code is sre.NOT_LITERAL:
            yield "a" if value != ord("a") else "b"
        elif code is sre.ANY:
            yield "a"
        elif code is sre.IN:
            yield _one_of(value)
        elif code in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            low, high, inner = value
            for _ in range(min(low + extra, int(high), low + _MOST_REPEATS)):
                yield from _pieces(inner, extra)
        elif code is sre.SUBPATTERN:
            yield from _pieces(value[3], extra)
        elif code is sre.BRANCH:
            yield from _pieces(value[1][0], extra)
        elif code is sre.ASSERT:
            # What is looked for ahead may be what follows; the caller tries the text.
            continue


def _one_of(parts: list[Any]) -> str:
    letters = [*"aA0_-. ", *map(chr, range(33, 127))]
    inside = [
        char
        for char in letters
        if any(_is_in(ord(char), part) for part in parts if part[0] is not sre.NEGATE)
    ]
    if parts and parts[0][0] is sre.NEGATE:
        return next((char for char in letters if char not in inside), "\u00e9")
    if inside:
        return inside[0]
    code, value = parts[0]
    if code not in (sre.RANGE, sre.LITERAL):
        return "a"
    return chr(cast("int", value[0] if code is sre.RANGE else value))


def _is_in(char: int, part: tuple[Any, Any]) -> bool:
    code, value = part
    if code is sre.LITERAL:
        return bool(char == value)
    if code is sre.RANGE:
        return bool(value[0] <= char <= value[1])
    text = chr(char)
    kinds = {
        sre.CATEGORY_DIGIT: text.isdigit(),
        sre.CATEGORY_NOT_DIGIT: not text.isdigit(),
        sre.CATEGORY_SPACE: text.isspace(),
        sre.CATEGORY_NOT_SPACE: not text.isspace(),
        sre.CATEGORY_WORD: text.isalnum() or text == "_",
        sre.CATEGORY_NOT_WORD: not (text.isalnum() or text == "_"),
    }
    return code is sre.CATEGORY and bool(kinds.get(value, False))
