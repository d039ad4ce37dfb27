"""Makes classes of objects: what they extend, what they have, and what they may change."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from . import _ir as ir
from ._definitions import REF
from ._documents import JsonObject, JsonValue, escape, text_of
from ._facts import attribute_of, source_of, within
from ._merge import both, merged, same
from ._names import Scope, pascal
from ._parts import Core, Part
from ._plain import OF_TYPE
from ._shapes import (
    Alias,
    Anything,
    Choice,
    Class,
    Equal,
    Items,
    Member,
    Named,
    OneOf,
    Place,
    Places,
    Scalar,
    Shape,
    Table,
    names,
)


class _Mark(NamedTuple):
    made: int
    warnings: int
    one_ofs: int
    taken: Mapping[ir.Module, int]


class Classes:
    """Makes classes.

    Args:
        core: The compiler.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._raw: dict[str, Part] = {}

    def of(self, key: str, part: Part, place: Place) -> Class:
        """The class of an object."""
        self._raw[key] = part
        bases = self._without_ancestors(part.bases)
        rest = part.rest
        if bases:
            before = self._mark()
            found, refused = self._heir(key, bases, rest, place)
            if refused is None:
                return found
            self._return_to(before)
            text = f"{refused!r} is not what the base has; the class extends nothing and repeats its members"
            self._core.warn("override-flattened", place, text, "allOf")
            rest = self._flat(key)
        return self._made(key, (), rest, place)

    def _heir(
        self, key: str, bases: tuple[str, ...], rest: JsonObject, place: Place
    ) -> tuple[Class, str | None]:
        """A class that extends others, and the member that does not allow it."""
        members: dict[str, Member] = {}
        for base in bases:
            if self._core.is_open(base) and self._flat(base).get("properties", {}):
                shared = _names_of(rest) & _names_of(self._flat(base))
                if shared or len(bases) > 1:
                    # It is being made: what its members are is not known yet.
                    return Class(key), min(shared, default=base)
            for one in self._core.shapes.members_of(base):
                if one.name in members and not _is_typed_alike(members[one.name], one):
                    return Class(key), one.name
                members.setdefault(one.name, one)
        made = self._made(key, bases, rest, place)
        for one in made.members:
            if one.name in members and not self._narrows(one.shape, members[one.name].shape):
                return made, one.name
            if one.name in members and one.required and not members[one.name].required:
                text = (
                    f"{one.name!r} is optional in the base and required here, which pyright does not accept"
                )
                self._core.warn("override-required", place, text, "allOf")
        return made, None

    def _made(self, key: str, bases: tuple[str, ...], rest: JsonObject, place: Place) -> Class:
        for word in ("not", "if", "dependentRequired", "dependentSchemas", "dependencies", "enum", "const"):
            if word in rest and (word != "if" or rest.keys() & {"then", "else"}):
                self._core.warn("not-checked", place, f"{word!r} is not checked", word)
        for word in ("minProperties", "maxProperties", "propertyNames"):
            if rest.get(word, True) is not True and rest[word] not in (0, {}):
                self._core.warn("not-checked", place, f"{word!r} is not checked", word)
        if "type" not in rest and not bases and rest.keys() & OF_TYPE["object"]:
            text = "without 'type' other values fit too; it is read as object"
            self._core.warn("type-implied", place, text)
        others = self._others(rest, place, key.partition(".")[2])
        if self._stays_closed(bases, rest, place):
            others = None
        made = Class(key, bases, (), others, text_of(rest, "description"))
        # Noted before its members are made: they may refer to it.
        self._core.shapes.made.setdefault(key, made)
        return replace(made, members=tuple(self._members(made, rest, place)))

    def _mark(self) -> "_Mark":
        core = self._core
        sizes = len(core.shapes.made), len(core.definitions.warnings), len(core.one_ofs)
        return _Mark(*sizes, core.definitions.taken())

    def _return_to(self, mark: "_Mark") -> None:
        """Forgets what was made since."""
        core = self._core
        for key in list(core.shapes.made)[mark.made :]:
            del core.shapes.made[key]
        for warning in list(core.definitions.warnings)[mark.warnings :]:
            del core.definitions.warnings[warning]
        del core.one_ofs[mark.one_ofs :]
        core.definitions.give_back(mark.taken)

    def _others(self, rest: JsonObject, place: Place, name: str) -> Shape | None:
        others = rest.get("additionalProperties", rest.get("unevaluatedProperties", True))
        patterns = rest.get("patternProperties")
        if isinstance(patterns, dict) and patterns:
            text = "which members a pattern stands for is not checked"
            self._core.warn("not-checked", place, text, "patternProperties")
            return Anything()
        if others is False:
            return None
        return self._core.shape(others, (place[0], f"{place[1]}/additionalProperties"), f"{name}Value")

    def _stays_closed(self, bases: tuple[str, ...], rest: JsonObject, place: Place) -> bool:
        """Whether a class has no members but those of its bases, because one of these allows no others."""
        inherited = {one.name for base in bases for one in self._core.shapes.members_of(base)}
        if rest.get("additionalProperties", True) not in (True, {}) and inherited - _names_of(rest):
            text = "what it says of other members is not checked for those of its bases"
            self._core.warn("not-checked", place, text)
        for base in bases:
            made = self._core.shapes.made.get(base)
            if not isinstance(made, Class) or made.others is not None or self._core.is_open(base):
                continue
            known = {one.name for one in self._core.shapes.members_of(base)}
            if not (inherited | _names_of(rest)) - known:
                return True
            text = f"{base.partition('.')[2]} allows no other members; that is not checked"
            self._core.warn("not-checked", place, text)
        return False

    def _members(self, made: Class, rest: JsonObject, place: Place) -> Iterator[Member]:
        name = made.key.partition(".")[2]
        direction = self._core.definitions.directions.get(made.key, self._core.direction)
        inherited = {
            one.name: one for base in reversed(made.bases) for one in self._core.shapes.members_of(base)
        }
        raw: JsonObject = {}
        for base in made.bases:
            raw.update(_properties_of(self._flat(base)))
        needed = rest.get("required")
        required = [str(one) for one in needed] if isinstance(needed, list) else []
        # Of several bases the first one counts for Python, and each of them for the contract.
        shared = (one for base in made.bases for one in self._core.shapes.members_of(base))
        required += [one.name for one in shared if one.required and not inherited[one.name].required]
        attributes = Scope({one.attribute: wire for wire, one in inherited.items()})
        for wire, schema in _properties_of(rest).items():
            at = place[0], f"{place[1]}/properties/{escape(wire)}"
            if schema is False:
                self._core.warn("not-checked", at, f"that {wire!r} is absent is not checked")
                continue
            before = inherited.get(wire)
            if before is not None:
                known: JsonValue = (
                    {"$ref": REF + before.shape.key} if isinstance(before.shape, Named) else raw.get(wire)
                )
                schema = both(known if known is not None else True, schema)
            shape = self._core.shape(schema, at, f"{name}{pascal(wire)}")
            hidden = isinstance(schema, dict) and self._is_hidden(schema, direction)
            must = (wire in required and not hidden) or (before is not None and before.required)
            attribute = before.attribute if before else attributes.allot(attribute_of(wire), wire)
            description = self._described(schema)
            default = None if must or not isinstance(schema, dict) else self._default(schema, shape, at)
            examples = schema.get("examples") if isinstance(schema, dict) else None
            shown = tuple(examples) if isinstance(examples, list) else ()
            yield Member(wire, attribute, shape, must, default, description, shown)
        listed = _properties_of(rest)
        for wire, one in inherited.items():
            if wire not in listed and wire not in required and self._is_foreign(made, one.shape):
                # pydantic looks for the types of inherited members where the heir stands.
                yield one
        for wire in dict.fromkeys(required):
            before = inherited.get(wire)
            if wire in listed:
                continue
            if before is not None and before.required:
                if self._is_foreign(made, before.shape):
                    yield before
                continue
            if before is not None:
                yield replace(before, required=True, default=None)
                continue
            if made.others is None:
                self._core.warn("impossible-schema", place, f"requires {wire!r} and does not allow it")
            shape = made.others or Anything()
            yield Member(wire, attributes.allot(attribute_of(wire), wire), shape, True, None, "")

    def _is_foreign(self, made: Class, shape: Shape) -> bool:
        """Whether a shape names a class of another module than that of a class."""
        module = made.key.partition(".")[0]
        return any(key.partition(".")[0] != module for key in names(shape))

    def _described(self, schema: JsonValue) -> str:
        if not isinstance(schema, dict):
            return ""
        parts = schema.get("allOf")
        own = text_of(schema, "description")
        if own or not isinstance(parts, list):
            return own
        return next((text for part in reversed(parts) if (text := self._described(part))), "")

    def _is_hidden(self, schema: JsonObject, direction: ir.Direction) -> bool:
        """Whether a member is only there in the other direction."""
        word = "writeOnly" if direction == "response" else "readOnly"
        seen: set[str] = set()
        while schema.get(word) is not True:
            ref = text_of(schema, "$ref").removeprefix(REF)
            if not ref or ref in seen or ref not in self._core.definitions.found:
                return False
            seen.add(ref)
            schema = self._core.definitions.found[ref].schema
        return True

    def _default(self, schema: JsonObject, shape: Shape, place: Place) -> str | None:
        """The default of a member as source, if its type can have it."""
        if "default" not in schema:
            return None
        value = schema["default"]
        if value is None and self._core.shapes.takes_null(shape):
            return None
        if self._holds(shape, value):
            return source_of(value)
        self._core.warn(
            "default-dropped", place, f"{json.dumps(value)[:80]} is no value of the type", "default"
        )
        return None

    def _holds(self, shape: Shape, value: JsonValue) -> bool:
        """Whether a value is written the same in JSON and in Python for a type."""
        match shape:
            case Anything():
                return True
            case Scalar(kind, limits):
                if not within(value, limits):
                    return False
                wanted = {"str": str, "int": int, "float": int | float, "bool": bool, "None": type(None)}[
                    kind
                ]
                return isinstance(value, wanted) and (kind == "bool" or not isinstance(value, bool))
            case Choice(listed):
                return any(type(value) is type(one) and value == one for one in listed)
            case Equal(_, listed):
                return any(same(value, one) for one in listed)
            case Items(item):
                return isinstance(value, list) and all(self._holds(item, one) for one in value)
            case Table(item):
                return isinstance(value, dict) and all(self._holds(item, one) for one in value.values())
            case Named(key):
                made = self._core.make(key)
                return isinstance(made, Alias) and self._holds(made.shape, value)
            case OneOf(options):
                return any(self._holds(one, value) for one in options)
            case Places():
                return False

    def _without_ancestors(self, bases: Iterable[str]) -> tuple[str, ...]:
        """Classes without those that others of them extend."""
        listed = tuple(bases)
        above = {one for base in listed for one in self._core.shapes.ancestors(base)}
        return tuple(base for base in listed if base not in above)

    def _flat(self, key: str) -> JsonObject:
        """What a class says with all that it inherits, as one schema."""
        part = self._raw.get(key)
        if part is None:
            return {}
        found: JsonObject = {}
        for base in part.bases:
            if base != key:
                found = merged(found, self._flat(base)) or found
        return merged(found, part.rest) or found

    def _narrows(self, new: Shape, old: Shape) -> bool:
        """Whether a member may be typed so where the base has it otherwise."""
        if new == old or isinstance(old, Anything):
            return True
        if isinstance(new, OneOf):
            return all(self._narrows(one, old) for one in new.options)
        if isinstance(old, OneOf):
            return any(self._narrows(new, one) for one in old.options)
        match new, old:
            case Scalar(one), Scalar(other):
                return one == other
            case Choice(listed), Scalar(kind):
                wanted = {"str": str, "int": int, "float": int, "bool": bool, "None": type(None)}[kind]
                return all(type(value) is wanted for value in listed)
            case Choice(listed), Choice(others):
                return all(any(type(v) is type(o) and v == o for o in others) for v in listed)
            case Named(key), Named(base):
                alias = self._core.shapes.made.get(base)
                if isinstance(alias, Alias):
                    return self._narrows(new, alias.shape)
                return base in set(self._core.shapes.ancestors(key))
            case Named(key), _:
                alias = self._core.shapes.made.get(key)
                return isinstance(alias, Alias) and self._narrows(alias.shape, old)
            case _, Named(key):
                alias = self._core.shapes.made.get(key)
                return isinstance(alias, Alias) and self._narrows(new, alias.shape)
            case (Items(one, _, _), Items(other, _, _)) | (Table(one, _, _), Table(other, _, _)):
                return one == other
            case _:
                return False


def _is_typed_alike(one: Member, other: Member) -> bool:
    """Whether two members have one type in Python: what may be left out may be None."""
    is_always, other_is = (m.required or m.default is not None for m in (one, other))
    return one.shape == other.shape and is_always == other_is


def _properties_of(schema: JsonObject) -> JsonObject:
    found = schema.get("properties")
    return found if isinstance(found, dict) else {}


def _names_of(schema: JsonObject) -> set[str]:
    return set(_properties_of(schema))
