"""Infers a schema from the values that were seen at one place."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

from ._documents import JsonObject, JsonValue
from ._hiding import HIDDEN

Refers: TypeAlias = "Callable[[Shape], str | None]"
"""Says which component describes a shape, if one does."""

_UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_HEX = r"(?=[a-f]*\d)[0-9a-f]{8,}"
_DATE = r"\d{4}-\d\d-\d\d\S*"
_OPAQUE = r"(?=\D*\d\D*\d)(?=.*[a-z])[a-z0-9]{16,}"
# What follows a prefix: a number after a dash, or something in which letters follow digits.
_NUMBERED = r"[a-z][a-z0-9_.]*[-:]\d+"
_PREFIXED = r"[a-z][a-z0-9_.:-]*[-_:](?=[a-z0-9]{6,}$)[a-z0-9]*\d[a-z][a-z0-9]*"
_PREFIXED_HEX = r"[a-z][a-z0-9_.:-]*[-_:](?=[a-f]*\d)[0-9a-f]{6,}"
_ID = re.compile(
    rf"\d+|{_UUID}|{_HEX}|{_DATE}|{_OPAQUE}|{_NUMBERED}|{_PREFIXED}|{_PREFIXED_HEX}|.*[@/].*", re.DOTALL
)

_MOST_TEXTS = 10
_WORD = re.compile(r"[A-Za-z][\w.:-]{0,39}")


@lru_cache(maxsize=4096)
def is_id(name: str) -> bool:
    """Whether a name looks like an identifier of some thing, and not like the name of a member."""
    return HIDDEN in name or not name or _ID.fullmatch(name.lower()) is not None


def _is_key_of_a_map(name: str) -> bool:
    return is_id(name) or "." in name or " " in name


@dataclass
class Shape:
    """What the values at one place have in common.

    Attributes:
        types: Their JSON types.
        members: The members of objects.
        required: The members that every object has; None if there was no object.
        others: The members of objects whose names look like identifiers: objects that are maps.
        items: The items of lists.
        texts: The distinct texts, as long as they are few words; None if they are not.
        repeats: Whether a text came more than once.
    """

    types: set[str] = field(default_factory=set[str])
    members: "dict[str, Shape]" = field(default_factory=dict[str, "Shape"])
    required: set[str] | None = None
    others: "Shape | None" = None
    items: "Shape | None" = None
    texts: set[str] | None = field(default_factory=set[str])
    repeats: bool = False

    @property
    def key(self) -> frozenset[str]:
        """The names of the members of an object: what tells models apart."""
        return frozenset(self.members)

    def add(self, value: JsonValue) -> None:
        """Takes a value into account."""
        match value:
            case None:
                self.types.add("null")
            case bool():
                self.types.add("boolean")
            case int():
                self.types.add("integer")
            case float():
                self.types.add("number")
            case str():
                self.types.add("string")
                self._add_text(value)
            case list():
                self.types.add("array")
                self.items = self.items or Shape()
                for one in value:
                    self.items.add(one)
            case dict():
                self.types.add("object")
                names = {name for name in value if not _is_key_of_a_map(name)}
                for name, one in value.items():
                    if name in names:
                        self.members.setdefault(name, Shape()).add(one)
                    else:
                        self.others = self.others or Shape()
                        self.others.add(one)
                self.required = names if self.required is None else self.required & names

    def _add_text(self, text: str) -> None:
        if self.texts is None:
            return
        self.repeats = self.repeats or text in self.texts
        self.texts.add(text)
        if len(self.texts) > _MOST_TEXTS or is_id(text) or not _WORD.fullmatch(text):
            self.texts = None

    def merge(self, other: "Shape") -> bool:
        """Takes everything into account that another shape does, and says whether that was new."""
        before = (len(self.types), self.required, self.texts, self.repeats)
        self.types |= other.types
        if other.required is not None:
            self.required = set(other.required) if self.required is None else self.required & other.required
        both = None if self.texts is None or other.texts is None else self.texts | other.texts
        self.texts = both if both is None or len(both) <= _MOST_TEXTS else None
        self.repeats = self.repeats or other.repeats
        changed = before != (len(self.types), self.required, self.texts, self.repeats)
        for name, member in other.members.items():
            changed |= name not in self.members
            changed |= self.members.setdefault(name, Shape()).merge(member)
        if other.others is not None:
            self.others = self.others or Shape()
            changed |= self.others.merge(other.others)
        if other.items is not None:
            self.items = self.items or Shape()
            changed |= self.items.merge(other.items)
        return changed

    def below(self) -> "Iterator[Shape]":
        """The shapes of members and items, but not those below them."""
        yield from self.members.values()
        yield from (one for one in (self.others, self.items) if one is not None)

    def walk(self) -> "Iterator[Shape]":
        """This shape and all below it."""
        yield self
        for one in self.below():
            yield from one.walk()

    def schema(self, *, enums: bool = False, refers: Refers = lambda _: None) -> JsonObject:
        """The JSON Schema of what was seen.

        Args:
            enums: Whether texts of which few were seen, some of them several times, are all that there are.
            refers: Says which component describes a shape.
        """
        found: list[JsonObject] = []
        if "object" in self.types:
            name = refers(self)
            found.append({"$ref": name} if name is not None else self.members_schema(enums, refers))
        if "array" in self.types:
            items: JsonObject = (
                self.items.schema(enums=enums, refers=refers) if self.items is not None else {}
            )
            found.append({"type": "array", "items": items})
        plain = sorted(self.types - {"object", "array", "null"})
        if "number" in plain and "integer" in plain:
            plain.remove("integer")
        if plain:
            found.append(self._plain(plain, enums))
        if "null" in self.types:
            return _nullable(found)
        return found[0] if len(found) == 1 else {"anyOf": list[JsonValue](found)} if found else {}

    def members_schema(self, enums: bool, refers: Refers) -> JsonObject:
        """The schema of the objects alone, which is never a reference."""
        found: JsonObject = {"type": "object"}
        if self.members:
            found["properties"] = {
                name: one.schema(enums=enums, refers=refers) for name, one in sorted(self.members.items())
            }
        if self.required:
            found["required"] = list[JsonValue](sorted(self.required))
        if self.others is not None:
            found["additionalProperties"] = self.others.schema(enums=enums, refers=refers)
        return found

    def _plain(self, types: list[str], enums: bool) -> JsonObject:
        found: JsonObject = {"type": types[0] if len(types) == 1 else list[JsonValue](types)}
        if enums and types == ["string"] and self.texts is not None and len(self.texts) > 1 and self.repeats:
            found["enum"] = list[JsonValue](sorted(self.texts))
        return found


def _nullable(found: list[JsonObject]) -> JsonObject:
    """The alternatives, and null."""
    if not found:
        # Null alone says nothing about what else there may be.
        return {}
    only = found[0]
    if len(found) > 1 or "type" not in only:
        return {"anyOf": [*found, {"type": "null"}]}
    several = only["type"]
    types: list[JsonValue] = [*several, "null"] if isinstance(several, list) else [several, "null"]
    nullable: JsonObject = {**only, "type": types}
    if isinstance(values := only.get("enum"), list):
        nullable["enum"] = [*values, None]
    return nullable
