"""The normal form of a schema: the shapes that its values may have, seen from one side of a call.

References, `allOf`, nested unions and the two ways to write null are gone in it, so that two contracts that
say the same in different words have the same shapes.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias, cast

from ._documents import Document, JsonObject, JsonValue, escape, text_of, unescape
from ._restrictions import (
    Limits,
    canonical,
    checks_of,
    declared_types,
    formats_of,
    limits_of,
    listed_values,
    patterns_of,
)
from ._sides import ANNOTATIONS, TYPES, Direction, Place, Side, json_type, object_of

Conjunction: TypeAlias = tuple[Place, ...]
"""Schemas that hold together. Without any, every value fits."""

Key: TypeAlias = tuple[tuple[str, str], ...]
"""What a conjunction is, whatever the way that led to it."""

_NAMELESS = frozenset({"nullable", "type", "discriminator"})
_PAYLOAD = {"properties": "object", "patternProperties": "object", "additionalProperties": "object"}
_STRUCTURE = {**_PAYLOAD, "required": "object", "items": "array", "prefixItems": "array"}
# Unions that meet in one schema multiply; what is beyond is compared as text.
_MOST_SHAPES, _MOST_PRODUCTS = 1000, 200
_NULL = frozenset({"null"})

ANYTHING = Place(Document(Path(), {}), True)
"""A schema that every value fits, where a contract has none."""


def key_of(places: Iterable[Place]) -> Key:
    """The identity of schemas: the files and pointers that they stand at."""
    return tuple(sorted({(str(place.document.path), place.pointer) for place in places}))


class Tag(NamedTuple):
    """What the discriminator of a union says about one of its branches.

    Attributes:
        values: The values of the member that tells the branches apart.
        is_mapped: Whether they are written down, and not only implied by the component's name.
    """

    values: frozenset[str]
    is_mapped: bool


@dataclass(frozen=True)
class Shape:
    """One of the shapes that values may have.

    Attributes:
        key: Identity of the schemas that it is made of.
        names: The components that it is, from the outermost alias on; empty for one that is written out.
        place: Where it stands.
        types: The JSON types of its values.
        values: The only values, as JSON; None if they are not listed.
        limits: Limits of numbers, lengths and counts.
        patterns: Regular expressions for texts.
        formats: Formats.
        checks: Everything else that is required of a value, by keyword, as text that can be compared.
        members: The declared members of an object.
        required: The names of those that are required.
        by_pattern: The schemas of members by a pattern of their names.
        others: The schema of other members; None if there are none.
        prefix: The schemas of the first items of a list.
        items: The schema of the other items; None if there are none.
        listed: Members that have only certain values, with these values.
        tags: Members that tell the branches of a union apart, with their values in this one.
    """

    key: Key
    names: tuple[str, ...]
    place: Place
    types: frozenset[str]
    values: frozenset[str] | None
    limits: Limits
    patterns: frozenset[str]
    formats: frozenset[str]
    checks: Mapping[str, str]
    members: Mapping[str, Conjunction]
    required: frozenset[str]
    by_pattern: Mapping[str, Conjunction]
    others: Conjunction | None
    prefix: tuple[Conjunction, ...]
    items: Conjunction | None
    listed: Mapping[str, frozenset[str]]
    tags: Mapping[str, frozenset[str]]

    @property
    def is_free(self) -> bool:
        """Whether every value of its types fits."""
        return self.values is None and not (self.limits or self.patterns or self.formats or self.checks)


@dataclass(frozen=True)
class Form:
    """The normal form of a schema: a value fits if it has one of the shapes.

    Attributes:
        names: The components that the whole is.
        shapes: The shapes, one for null included.
        place: Where it stands.
    """

    names: tuple[str, ...]
    shapes: tuple[Shape, ...]
    place: Place

    @property
    def types(self) -> frozenset[str]:
        """The JSON types of all values."""
        return frozenset[str]().union(*(shape.types for shape in self.shapes))


@dataclass
class _State:
    """A conjunction on its way to a shape."""

    pending: list[tuple[Place, bool]]
    seen: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    done: list[Place] = field(default_factory=list[Place])
    tags: dict[str, Tag] = field(default_factory=dict[str, "Tag"])
    names: list[str] = field(default_factory=list[str])
    common: int | None = None
    opaque: dict[str, str] = field(default_factory=dict[str, str])
    types: frozenset[str] = TYPES

    def fork(self, *added: tuple[Place, bool], tags: Mapping[str, Tag] | None = None) -> "_State":
        common = len(self.names) if self.common is None else self.common
        return _State(
            [*self.pending, *added],
            set(self.seen),
            list(self.done),
            {**self.tags, **(tags or {})},
            list(self.names),
            common,
            dict(self.opaque),
            self.types,
        )


@dataclass
class Forms:
    """The normal forms of the schemas of one contract, as they travel in one direction."""

    side: Side
    direction: Direction
    _found: dict[Key, Form] = field(default_factory=dict[Key, Form])
    _modern: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        documents = (*self.side.events.values(), *self.side.commands.values(), *self.side.shared)
        self._modern = frozenset(str(document.path) for document in documents)
        self._is_old = text_of(self.side.openapi.root, "openapi").startswith("3.0")

    def form(self, places: Conjunction) -> Form:
        """The normal form of schemas that hold together.

        Raises:
            ContractError: A reference leads nowhere.
        """
        key = key_of(places)
        if key not in self._found:
            self._found[key] = self._form(places)
        return self._found[key]

    def said(self, places: Conjunction, keyword: str) -> JsonValue:
        """The value of a keyword that a schema has itself or by its references and parts; None without it."""
        waiting, seen = list(reversed(places)), set[tuple[str, str]]()
        while waiting:
            place = waiting.pop()
            at = _at(place)
            if at in seen or not isinstance(place.schema, dict):
                continue
            seen.add(at)
            if place.schema.get(keyword) is not None:
                return place.schema[keyword]
            waiting += reversed([*self._referred(place), *_parts(place, "allOf")])
        return None

    def is_elsewhere(self, places: Conjunction) -> bool:
        """Whether a member is none of this direction: only read, or only written."""
        return self.said(places, "readOnly" if self.direction == "request" else "writeOnly") is True

    def component(self, name: str) -> Place | None:
        """The component of a name, its references followed."""
        schemas = object_of(self.side.openapi.root.get("components"), "schemas")
        schema = schemas.get(name)
        if not isinstance(schema, dict):
            return None
        place = Place(self.side.openapi, schema, f"/components/schemas/{escape(name)}")
        return self._end(place)[1]

    # --- from schemas to shapes

    def _form(self, places: Conjunction) -> Form:
        states = [_State([(place, len(places) == 1) for place in reversed(places)])]
        ended: list[_State] = []
        while states:
            state = states.pop()
            if forks := self._step(state, len(states) + len(ended)):
                states += reversed(forks)
            elif state.types:
                ended.append(state)
        origin = places[0] if places else ANYTHING
        common = ended[0].common if ended else None
        names = tuple(ended[0].names[:common]) if ended else ()
        # The branches of a union have names of their own.
        is_union = sum(state.types != _NULL for state in ended) > 1
        unique: dict[Key, Shape] = {}
        for state in ended:
            shape = self._shape(state, origin, tuple(state.names[state.common if is_union else 0 :]))
            if shape.types:
                unique.setdefault(shape.key, shape)
        return Form(names, tuple(unique.values()), origin)

    def _step(self, state: _State, count: int) -> list[_State]:
        """Works on a state until it is done, impossible or several; answers these several."""
        while state.pending and state.types:
            place, is_whole = state.pending.pop()
            schema = place.schema
            if schema is False:
                state.types = frozenset()
            if not isinstance(schema, dict) or _at(place) in state.seen:
                continue
            old = self._is_old and str(place.document.path) not in self._modern
            if old and schema.get("nullable") is True and "$ref" not in schema:
                null = Place(place.document, {"type": "null"}, f"{place.pointer}/nullable")
                less: JsonObject = {key: value for key, value in schema.items() if key != "nullable"}
                rest = Place(place.document, less, place.pointer)
                return [state.fork((rest, is_whole)), state.fork((null, False))]
            state.seen.add(_at(place))
            said = {key for key in schema if key not in ANNOTATIONS and not key.startswith("x-")}
            for target in self._referred(place):
                whole = is_whole and said <= {"$ref", "nullable"}
                if whole:
                    state.names.append(name_of(target))
                state.pending.append((target, whole))
            if old and "$ref" in schema:
                continue
            parts = _parts(place, "allOf")
            whole = is_whole and len(parts) == 1 and said - _NAMELESS == {"allOf"}
            state.pending += [(part, whole) for part in reversed(parts)]
            if said - {"$ref", "allOf", "anyOf", "oneOf", "nullable", "discriminator"}:
                state.done.append(place)
                state.types &= declared_types(schema, TYPES)
            forks = self._forks(state, place, is_whole, said, count)
            if len(forks) > 1:
                return forks
        return []

    def _forks(self, state: _State, place: Place, is_whole: bool, said: set[str], count: int) -> list[_State]:
        """What a state becomes with the unions of a schema: one for each branch."""
        forks: list[_State] = [state]
        for key in ("anyOf", "oneOf"):
            branches = _parts(place, key)
            if not branches:
                continue
            whole = is_whole and said - _NAMELESS == {key}
            most = _MOST_SHAPES if state.common is None else _MOST_PRODUCTS
            if len(branches) == 1:
                for fork in forks:
                    fork.pending.append((branches[0], whole))
            elif len(forks) * len(branches) + count > most:
                for fork in forks:
                    text = checks_of(self.side, place, (key,)).get(key, "")
                    fork.opaque[key] = fork.opaque.get(key, "") + text
            else:
                tags = self._tags(place, branches)
                forks = [
                    fork.fork((branch, whole), tags=tags.get(index))
                    for fork in forks
                    for index, branch in enumerate(branches)
                ]
        return forks

    def _referred(self, place: Place) -> list[Place]:
        """What a schema refers to: one schema or none."""
        ref = place.schema.get("$ref") if isinstance(place.schema, dict) else None
        if not isinstance(ref, str):
            return []
        target = self.side.documents.resolve(place.document, f"{place.pointer}/$ref", ref)
        return [Place(target.document, target.value, target.pointer)]

    def _end(self, place: Place) -> tuple[str, Place]:
        """Where references lead, those that are the only part of an `allOf` included, and the first name."""
        name, seen = "", set[tuple[str, str]]()
        while _at(place) not in seen and isinstance(place.schema, dict):
            seen.add(_at(place))
            referred, parts = self._referred(place), _parts(place, "allOf")
            if referred:
                place = referred[0]
                name = name or name_of(place)
            elif len(parts) == 1 and _said(place) == {"allOf"}:
                place = parts[0]
        return name, place

    def _tags(self, place: Place, branches: list[Place]) -> dict[int, dict[str, Tag]]:
        """What the discriminator of a union says about each branch, by the member that tells them apart."""
        discriminator = object_of(place.schema, "discriminator")
        member = text_of(discriminator, "propertyName")
        if not member:
            return {}
        mapped: dict[tuple[str, str], set[str]] = {}
        for tag, target in object_of(discriminator, "mapping").items():
            named = self.component(target) if isinstance(target, str) and "/" not in target else None
            reference = Place(place.document, {"$ref": target}, place.pointer)
            found = named or self._end(reference)[1]
            mapped.setdefault(_at(found), set()).add(canonical(tag))
        tags: dict[int, dict[str, Tag]] = {}
        for index, branch in enumerate(branches):
            name, end = self._end(branch)
            if name:
                known = mapped.get(_at(end))
                values = frozenset(known or {canonical(name)})
                tags[index] = {member: Tag(values, known is not None)}
        return tags

    def _shape(self, state: _State, origin: Place, names: tuple[str, ...]) -> Shape:
        places = state.done
        schemas = [cast("JsonObject", place.schema) for place in places]
        types, values = state.types, _values(schemas)
        if types == TYPES and values is None:
            implied = {_STRUCTURE[key] for schema in schemas for key in schema if key in _STRUCTURE}
            types = frozenset(implied) if len(implied) == 1 else types
        if values is not None:
            values = frozenset(one for one in values if json_type(json.loads(one)) in types)
            types = frozenset(json_type(json.loads(one)) for one in values)
        members: dict[str, list[Place]] = {}
        by_pattern: dict[str, list[Place]] = {}
        for place, schema in zip(places, schemas, strict=True):
            for name, member in object_of(schema, "properties").items():
                at = f"{place.pointer}/properties/{escape(name)}"
                members.setdefault(name, []).append(Place(place.document, member, at))
            for name, member in object_of(schema, "patternProperties").items():
                at = f"{place.pointer}/patternProperties/{escape(name)}"
                by_pattern.setdefault(name, []).append(Place(place.document, member, at))
        required = {
            name
            for schema in schemas
            for name in _list(schema.get("required"))
            if isinstance(name, str) and (name not in members or not self.is_elsewhere(tuple(members[name])))
        }
        for place, schema in zip(places, schemas, strict=True):
            for name in required.intersection(map(str, _list(schema.get("required")))) - members.keys():
                members[name] = [Place(place.document, {}, f"{place.pointer}/required/{escape(name)}")]
        here = {name: _telling(found) for name, found in members.items()}
        listed = {name: found for name in here if (found := self._listed(here[name])) is not None}
        return Shape(
            key=key_of(places) or (_at(origin),),
            names=names,
            place=places[0] if places else origin,
            types=types,
            values=values,
            limits=limits_of(schemas),
            patterns=patterns_of(schemas),
            formats=formats_of(schemas),
            checks={**{k: v for one in places for k, v in checks_of(self.side, one).items()}, **state.opaque},
            members={name: found for name, found in here.items() if not self.is_elsewhere(found)},
            required=frozenset(required),
            by_pattern={name: tuple(found) for name, found in by_pattern.items()},
            others=_rest(places, ("additionalProperties", "unevaluatedProperties")),
            prefix=_prefix(places),
            items=_rest(places, ("items", "additionalItems", "unevaluatedItems")),
            listed=listed,
            tags={name: _tagged(tag, listed.get(name)) for name, tag in state.tags.items()},
        )

    def _listed(self, places: Conjunction) -> frozenset[str] | None:
        """The values that a member lists, itself or by its references and parts."""
        constants = [self.said((place,), "const") for place in places]
        listed: list[list[JsonValue]] = [[value] for value in constants if value is not None]
        listed += [values for place in places if (values := _list(self.said((place,), "enum")))]
        return _intersection(listed)


def name_of(place: Place) -> str:
    """What a schema that a reference leads to is called."""
    return unescape(place.pointer.rpartition("/")[2]) or place.document.path.stem


def _telling(places: list[Place]) -> Conjunction:
    """The schemas that say something about values; the first if none does."""
    telling = [place for place in places if not isinstance(place.schema, dict) or _said(place)]
    return tuple(telling or places[:1])


def _said(place: Place) -> set[str]:
    """The keywords of a schema that are more than annotations, or concern the direction."""
    kept = {"readOnly", "writeOnly", "default"}
    schema = place.schema if isinstance(place.schema, dict) else {}
    return {key for key in schema if key in kept or not (key in ANNOTATIONS or key.startswith("x-"))}


def _at(place: Place) -> tuple[str, str]:
    return str(place.document.path), place.pointer


def _list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []


def _parts(place: Place, keyword: str) -> list[Place]:
    """The schemas of an `allOf` or a union."""
    listed = place.schema.get(keyword) if isinstance(place.schema, dict) else None
    return [
        Place(place.document, part, f"{place.pointer}/{keyword}/{index}")
        for index, part in enumerate(_list(listed))
    ]


def _values(schemas: Iterable[JsonObject]) -> frozenset[str] | None:
    """The values that all schemas list that list some, as JSON; None if none does."""
    listed = [listed_values(schema) for schema in schemas]
    return _intersection([values for values in listed if values is not None])


def _intersection(listed: list[list[JsonValue]]) -> frozenset[str] | None:
    """The values that all lists have, as JSON; None without a list."""
    found = [frozenset(map(canonical, values)) for values in listed]
    return found[0].intersection(*found[1:]) if found else None


def _tagged(tag: Tag, listed: frozenset[str] | None) -> frozenset[str]:
    """The values of a tag in a branch that may list them itself."""
    if listed is None:
        return tag.values
    # A branch that lists its tags itself is right where the discriminator only implies one.
    return (tag.values & listed or listed) if tag.is_mapped else listed


def _rest(places: Iterable[Place], keywords: tuple[str, ...]) -> Conjunction | None:
    """The schemas of what is not declared by name or place; None if there is nothing more."""
    found: list[Place] = []
    for place in places:
        schema = place.schema if isinstance(place.schema, dict) else {}
        keyword = next((one for one in keywords if one in schema and not _is_tuple(schema, one)), None)
        if keyword is None:
            continue
        if schema[keyword] is False:
            return None
        if isinstance(schema[keyword], dict) and schema[keyword]:
            found.append(Place(place.document, schema[keyword], f"{place.pointer}/{keyword}"))
    return tuple(found)


def _is_tuple(schema: JsonObject, keyword: str) -> bool:
    return keyword == "items" and isinstance(schema[keyword], list)


def _prefix(places: Iterable[Place]) -> tuple[Conjunction, ...]:
    """The schemas of the first items, which old documents list in `items`."""
    found: list[list[Place]] = []
    for place in places:
        schema = place.schema if isinstance(place.schema, dict) else {}
        keyword = "items" if isinstance(schema.get("items"), list) else "prefixItems"
        for index, part in enumerate(_parts(place, keyword)):
            found += [[]] if index == len(found) else []
            found[index].append(part)
    return tuple(tuple(one) for one in found)
