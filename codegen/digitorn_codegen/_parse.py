"""Parses JSON (RFC 8259) and YAML 1.2, both into the values that JSON has."""

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

import yaml

JsonValue: TypeAlias = "None | bool | int | float | str | list[JsonValue] | dict[str, JsonValue]"
JsonObject: TypeAlias = "dict[str, JsonValue]"

if TYPE_CHECKING:
    from yaml import SafeLoader as _Loader
else:
    # The parser in C, where PyYAML has it, is many times as fast.
    _Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# Whatever reads the values is recursive.
_DEEPEST = 200
# Aliases can make a few lines stand for billions of values.
_MOST = 2_000_000


class Malformed(Exception):
    """A text that is no JSON or YAML.

    Attributes:
        pointer: JSON pointer to the fault, as far as it is known.
        reason: What is wrong, and in which line.
    """

    def __init__(self, pointer: str, reason: str) -> None:
        super().__init__(reason)
        self.pointer = pointer
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return (
            type(self),
            (
                self.pointer,
                self.reason,
            ),
            vars(self),
        )


def escape(token: str) -> str:
    """One token of a JSON pointer (RFC 6901)."""
    return token.replace("~", "~0").replace("/", "~1")


# --- JSON


@dataclass(frozen=True)
class _Fault:
    """Stands in the parsed value where JSON forbids something that `json` reads."""

    reason: str
    below: str = ""


def parse_json(text: str) -> JsonValue:
    """The value of a JSON text.

    Raises:
        Malformed: It is no JSON, or holds a key twice or a number that is none.
    """
    faults: list[_Fault] = []

    def fault(reason: str, below: str = "") -> JsonValue:
        faults.append(_Fault(reason, below))
        return cast("JsonValue", faults[-1])

    def members(pairs: list[tuple[str, JsonValue]]) -> JsonValue:
        found = dict(pairs)
        if len(found) == len(pairs):
            return found
        names = [name for name, _ in pairs]
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        return fault(f"the key {twice!r} stands twice", f"/{escape(twice)}")

    def number(literal: str) -> JsonValue:
        found = float(literal)
        return found if math.isfinite(found) else fault(f"{literal} is too large a number")

    try:
        value = cast(
            "JsonValue",
            json.loads(
                text,
                object_pairs_hook=members,
                parse_float=number,
                parse_constant=lambda name: fault(f"{name} is no number in JSON"),
            ),
        )
    except (ValueError, RecursionError) as error:
        raise Malformed("", str(error)) from error
    if faults:
        pointer, first = next(_faults(value, ""))
        raise Malformed(pointer + first.below, first.reason)
    return value


def _faults(value: object, pointer: str) -> Iterator[tuple[str, _Fault]]:
    if isinstance(value, _Fault):
        yield pointer, value
    elif isinstance(value, dict):
        for key, member in cast("dict[str, object]", value).items():
            yield from _faults(member, f"{pointer}/{escape(key)}")
    elif isinstance(value, list):
        for index, item in enumerate(cast("list[object]", value)):
            yield from _faults(item, f"{pointer}/{index}")


# --- YAML

_TAG = "tag:yaml.org,2002:"
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_WORDS: dict[str, None | bool] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


def parse_yaml(text: str) -> JsonValue:
    """The value of a YAML text, read by the core schema of YAML 1.2.

    Keys are text as written, as in YAML's failsafe schema. Merge keys (`<<`) are merged.

    Raises:
        Malformed: It is no YAML, or holds something that JSON has not.
    """
    if text.lstrip().startswith("{"):
        # Most such texts are JSON, which PyYAML reads slowly and not in full: it has no pairs of surrogates.
        try:
            return parse_json(text)
        except Malformed as error:
            if not isinstance(error.__cause__, json.JSONDecodeError):
                raise
    composer = _Composer()
    try:
        for event in cast("Iterable[yaml.Event]", yaml.parse(text, Loader=_Loader)):
            composer.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Malformed(composer.pointer(), f"{_place(mark)}: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise Malformed(composer.pointer(), " ".join(str(error).split())) from error
    return composer.root


class _Mark(Protocol):
    """A place in a text, as PyYAML's parsers in C and in Python have it."""

    line: int
    column: int


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come yet.

    Attributes:
        key: The key whose value comes next, if it is a mapping; None if a key comes next.
        is_merge: Whether that key is `<<`.
        merged: The mappings that are merged into it, those that win first; None without a merge key.
        anchor: Its anchor.
        before: How many values the document had before it.
        height: How many levels there are in what its aliases stand for.
    """

    value: "list[JsonValue] | dict[str, JsonValue]"
    anchor: str | None
    before: int
    key: str | None = None
    is_merge: bool = False
    merged: list[JsonObject] | None = None
    height: int = 0


@dataclass(frozen=True, slots=True)
class _Anchored:
    """What an alias stands for.

    Attributes:
        text: The scalar as written, if it is one.
        size: How many values it is.
        height: How many levels it has.
    """

    value: JsonValue
    text: str | None
    size: int
    height: int


class _Composer:
    """Builds a value from the events of PyYAML's parser, without PyYAML's own types of scalars."""

    def __init__(self) -> None:
        self.root: JsonValue = None
        self._open: list[_Open] = []
        # None while the value is still open.
        self._anchors: dict[str, _Anchored | None] = {}
        self._count = 0
        self._documents = 0

    def pointer(self) -> str:
        """Where it is."""
        steps = (
            str(len(one.value)) if isinstance(one.value, list) else escape(one.key) if one.key else None
            for one in self._open
        )
        return "".join(f"/{step}" for step in steps if step is not None)

    def take(self, event: yaml.Event) -> None:
        """Takes the next event.

        Raises:
            Malformed: It brings something that JSON has not.
        """
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._start(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._end(event)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise self._malformed(event, "a second document begins; a file holds one")

    def _malformed(self, event: yaml.Event, reason: str) -> Malformed:
        return Malformed(self.pointer(), f"{_place(event.start_mark)}: {reason}")

    def _counted(self, event: yaml.Event, size: int, height: int) -> None:
        self._count += size
        if self._count > _MOST:
            raise self._malformed(event, f"its aliases stand for more than {_MOST} values")
        if len(self._open) + height > _DEEPEST:
            # The pointer would be no help.
            raise Malformed("", f"{_place(event.start_mark)}: it is nested deeper than {_DEEPEST} levels")

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        self._count += 1
        text, tag = event.value, event.tag
        holder = self._open[-1] if self._open else None
        if holder is not None and holder.key is None and isinstance(holder.value, dict):
            is_plain = tag is None and event.implicit[0]
            is_merge = text == "<<" and (is_plain or tag == _TAG + "merge")
            if not (is_plain or is_merge or tag is None):
                self._tagged(event, text, tag)
            self._key(event, holder, text, is_merge)
            value: JsonValue = text
        else:
            value = self._tagged(event, text, tag) if tag is not None else self._untagged(event, text)
            self._add(event, value)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(value, text, 1, 0)

    def _untagged(self, event: yaml.ScalarEvent, text: str) -> JsonValue:
        if not event.implicit[0]:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if text[0] not in "+-.0123456789":
            return text
        if _INTEGER.fullmatch(text):
            return self._integer(event, text)
        if _FLOAT.fullmatch(text):
            return self._float(event, text)
        if _NOT_FINITE.fullmatch(text):
            raise self._malformed(event, f"{text} is no number in JSON")
        return text

    def _integer(self, event: yaml.ScalarEvent, text: str) -> int:
        try:
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        except ValueError as error:
            raise self._malformed(event, f"{text[:20]}… is too large a number") from error

    def _float(self, event: yaml.ScalarEvent, text: str) -> float:
        found = float(text)
        if not math.isfinite(found):
            raise self._malformed(event, f"{text} is too large a number")
        return found

    def _tagged(self, event: yaml.ScalarEvent, text: str, tag: str) -> JsonValue:
        name = tag.removeprefix(_TAG)
        if tag == "!" or name == "str":
            return text
        if name == "int" and _INTEGER.fullmatch(text):
            return self._integer(event, text)
        if name == "float" and _FLOAT.fullmatch(text):
            return self._float(event, text)
        if (name == "null" and _WORDS.get(text, text) is None) or (
            name == "bool" and isinstance(_WORDS.get(text), bool)
        ):
            return _WORDS[text]
        if name in ("null", "bool", "int", "float"):
            raise self._malformed(event, f"{text!r} is no {name}, as its tag says")
        raise self._malformed(event, f"the tag {_shown(tag)} means nothing in JSON")

    def _key(self, event: yaml.Event, holder: _Open, text: str, is_merge: bool) -> None:
        is_twice = holder.merged is not None if is_merge else text in holder.value
        holder.key, holder.is_merge = text, is_merge
        if is_twice:
            hint = "; merge several mappings as a list: <<: [*a, *b]" if is_merge else ""
            raise self._malformed(event, f"the key {text!r} stands twice{hint}")

    def _add(self, event: yaml.Event, value: JsonValue) -> None:
        if not self._open:
            self.root = value
            return
        holder = self._open[-1]
        if isinstance(holder.value, list):
            holder.value.append(value)
            return
        # An event that is no scalar is no key: `_start` and `_alias` have seen to that.
        assert holder.key is not None
        if holder.is_merge:
            several = value if isinstance(value, list) else [value]
            merged = [one for one in several if isinstance(one, dict)]
            if len(merged) < len(several):
                raise self._malformed(event, "<< merges a mapping or a list of mappings, and nothing else")
            holder.merged = merged
        else:
            holder.value[holder.key] = value
        holder.key, holder.is_merge = None, False

    def _check_is_no_key(self, event: yaml.Event) -> None:
        holder = self._open[-1] if self._open else None
        if holder is not None and holder.key is None and isinstance(holder.value, dict):
            raise self._malformed(event, "a key is not a string")

    def _start(self, event: yaml.CollectionStartEvent) -> None:
        self._check_is_no_key(event)
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, "!", _TAG + ("map" if is_mapping else "seq")):
            raise self._malformed(event, f"the tag {_shown(str(event.tag))} means nothing in JSON")
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._open.append(_Open({} if is_mapping else [], event.anchor, self._count))
        self._counted(event, 1, 0)

    def _end(self, event: yaml.Event) -> None:
        ended = self._open.pop()
        value = ended.value
        if ended.merged is not None and isinstance(value, dict):
            value = _merged(ended.merged, value)
        if ended.anchor is not None:
            size = self._count - ended.before
            self._anchors[ended.anchor] = _Anchored(value, None, size, ended.height + 1)
        self._add(event, value)
        if self._open:
            self._open[-1].height = max(self._open[-1].height, ended.height + 1)

    def _alias(self, event: yaml.AliasEvent) -> None:
        if event.anchor not in self._anchors:
            raise self._malformed(event, f"there is no anchor {event.anchor!r} before this alias")
        found = self._anchors[event.anchor]
        if found is None:
            raise self._malformed(event, f"{event.anchor!r} contains itself")
        holder = self._open[-1] if self._open else None
        if found.text is not None and holder is not None and holder.key is None:
            if isinstance(holder.value, dict):
                self._key(event, holder, found.text, is_merge=False)
                return
        else:
            self._check_is_no_key(event)
        self._counted(event, found.size, found.height)
        if holder is not None:
            holder.height = max(holder.height, found.height)
        self._add(event, found.value)


def _merged(sources: Iterable[JsonObject], own: JsonObject) -> JsonObject:
    found: JsonObject = {}
    for source in sources:
        for key, value in source.items():
            found.setdefault(key, value)
    return {**found, **own}


def _place(mark: _Mark | None) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}" if mark is not None else "the end"


def _shown(tag: str) -> str:
    return tag.replace(_TAG, "!!", 1)
