"""Values made of schemas, and values that are changed a little; the same seed gives the same values."""

import copy
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from documents.shapes import Json, JsonObject, as_list, as_object, as_text, at

Extent: TypeAlias = Literal["least", "most", "some"]
"""How many of the members that may be left out a value has."""

_DEEPEST = 24
_DEEP = 5
_BUDGET = 300

_TEXTS: Mapping[str, str] = {
    "date-time": "2024-02-29T12:30:00Z",
    "date": "2024-02-29",
    "time": "12:30:00Z",
    "duration": "P1DT2H",
    "email": "someone@example.org",
    "idn-email": "someone@example.org",
    "hostname": "example.org",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.org/a?b=c",
    "url": "https://example.org/a?b=c",
    "uri-reference": "/a?b=c",
    "uuid": "123e4567-e89b-12d3-a456-426614174000",
    "byte": "aGVsbG8=",
    "json-pointer": "/a/b",
    "regex": "^a$",
}


class NoExampleError(Exception):
    """A schema for which no value was found."""


@dataclass
class Maker:
    """Makes values of the schemas of a document; each may still be refused by its schema.

    Args:
        root: The document.
        chance: The source of every choice.
    """

    root: JsonObject
    chance: random.Random
    _left: int = field(default=_BUDGET, init=False)

    def values(self, pointer: str, count: int) -> Iterator[Json]:
        """Values for the schema at a pointer: with the fewest members, with all, then with some of them."""
        for number in range(count):
            extent: Extent = "least" if number == 0 else "most" if number == 1 else "some"
            self._left = _BUDGET
            try:
                yield self._value(at(self.root, pointer), extent, 0)
            except (NoExampleError, LookupError, TypeError, ValueError, AttributeError):
                # Schemas that contradict themselves have no examples.
                continue

    def written(self, pointer: str) -> Iterator[Json]:
        """The examples that the document gives for the schema at a pointer."""
        schema = as_object(at(self.root, pointer))
        if "example" in schema:
            yield schema["example"]
        yield from as_list(schema.get("examples"))

    def _value(self, schema: Json, extent: Extent, depth: int) -> Json:
        if depth > _DEEPEST:
            raise NoExampleError
        self._left -= 1
        found = self._flat(schema)
        if "const" in found:
            return copy.deepcopy(found["const"])
        if values := as_list(found.get("enum")):
            return copy.deepcopy(self.chance.choice(values))
        for key in ("oneOf", "anyOf"):
            if branches := as_list(found.get(key)):
                rest: JsonObject = {name: value for name, value in found.items() if name != key}
                return self._value({"allOf": [rest, self.chance.choice(branches)]}, extent, depth + 1)
        return self._plain(found, extent, depth)

    def _plain(self, schema: JsonObject, extent: Extent, depth: int) -> Json:
        kinds = schema.get("type")
        kind = as_text(self.chance.choice(kinds) if isinstance(kinds, list) else kinds)
        if schema.get("nullable") is True and extent == "some" and self.chance.random() < 0.3:
            return None
        if not kind:
            if "properties" in schema or "additionalProperties" in schema or "required" in schema:
                kind = "object"
            elif "items" in schema or "prefixItems" in schema:
                kind = "array"
            else:
                kind = self.chance.choice(["string", "integer", "boolean"])
        make: Mapping[str, Callable[[], Json]] = {
            "null": lambda: None,
            "boolean": lambda: self.chance.random() < 0.5,
            "integer": lambda: self._number(schema, whole=True),
            "number": lambda: self._number(schema, whole=False),
            "string": lambda: self._text(schema),
            "array": lambda: self._array(schema, extent, depth),
            "object": lambda: self._object(schema, extent, depth),
        }
        if kind not in make:
            raise NoExampleError
        return make[kind]()

    def _number(self, schema: JsonObject, *, whole: bool) -> Json:
        step = schema.get("multipleOf")
        low, high = schema.get("minimum"), schema.get("maximum")
        above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
        if isinstance(above, bool):
            above = low if above else None
        if isinstance(below, bool):
            below = high if below else None
        bounds: list[float] = [v for v in (low, high) if isinstance(v, int | float)]
        bounds += [v + 1 for v in (above,) if isinstance(v, int | float)]
        bounds += [v - 1 for v in (below,) if isinstance(v, int | float)]
        value = self.chance.choice(bounds) if bounds else self.chance.choice([1, 2, 7, 1000])
        if isinstance(step, int | float) and step > 0:
            return round(value / step) * step
        if whole:
            return int(value)
        return value if bounds else self.chance.choice([value, value + 0.5])

    def _text(self, schema: JsonObject) -> Json:
        given = [one for one in (schema.get("example"), schema.get("default")) if isinstance(one, str)]
        if pattern := as_text(schema.get("pattern")):
            if given:
                return given[0]
            return _matching(pattern, self.chance)
        if (text := _TEXTS.get(as_text(schema.get("format")))) is not None:
            return text
        text = self.chance.choice(given or ["a", "some text", "ä/€"])
        least, most = schema.get("minLength"), schema.get("maxLength")
        if isinstance(least, int) and len(text) < least:
            text += "x" * (least - len(text))
        return text[:most] if isinstance(most, int) else text

    def _array(self, schema: JsonObject, extent: Extent, depth: int) -> Json:
        least = schema.get("minItems")
        found: list[Json] = [
            self._value(item, extent, depth + 1) for item in as_list(schema.get("prefixItems"))
        ]
        wanted = least if isinstance(least, int) else 0
        if extent != "least" and depth < _DEEP and self._left > 0:
            wanted = max(wanted, 1 if extent == "most" else self.chance.randint(0, 2))
        items = schema.get("items", {})
        while len(found) < wanted and items is not False:
            found.append(self._value(items, extent, depth + 1))
        return found

    def _object(self, schema: JsonObject, extent: Extent, depth: int) -> Json:
        members = as_object(schema.get("properties"))
        required = [as_text(name) for name in as_list(schema.get("required"))]
        found: JsonObject = {}
        for name in dict.fromkeys([*required, *members]):
            if name not in required:
                if extent == "least" or depth >= _DEEP or self._left <= 0:
                    continue
                if extent == "some" and self.chance.random() < 0.5:
                    continue
            try:
                found[name] = self._value(members.get(name, {}), extent, depth + 1)
            except NoExampleError:
                if name in required:
                    raise
        extra = schema.get("additionalProperties")
        patterns = as_object(schema.get("patternProperties"))
        if extent != "least" and depth < _DEEP:
            if isinstance(extra, dict):
                found["another"] = self._value(extra, extent, depth + 1)
            for pattern, member in patterns.items():
                found[_matching(pattern, self.chance)] = self._value(member, extent, depth + 1)
        return found

    def _flat(self, schema: Json) -> JsonObject:
        """A schema with its references followed and its parts merged, as far as a merge is simple."""
        if schema is True or schema == {}:
            return {}
        if not isinstance(schema, dict):
            raise NoExampleError
        merged: JsonObject = {}
        waiting: list[Json] = [schema]
        seen = 0
        while waiting:
            seen += 1
            if seen > 200:
                raise NoExampleError
            part = as_object(waiting.pop(0))
            if target := as_text(part.get("$ref")):
                if not target.startswith("#"):
                    raise NoExampleError
                waiting.insert(0, at(self.root, target[1:].replace("%7B", "{").replace("%7D", "}")))
                if as_text(self.root.get("openapi")).startswith("3.0"):
                    continue
            waiting[:0] = as_list(part.get("allOf"))
            for key, value in part.items():
                if key not in ("$ref", "allOf"):
                    merged[key] = self._both(key, merged[key], value) if key in merged else value
        return merged

    def _both(self, key: str, one: Json, other: Json) -> Json:
        if key == "properties":
            members = dict(as_object(one))
            for name, member in as_object(other).items():
                members[name] = {"allOf": [members[name], member]} if name in members else member
            return members
        if key == "required":
            return [*as_list(one), *as_list(other)]
        if key == "enum":
            return [value for value in as_list(one) if value in as_list(other)]
        if key in ("minimum", "minLength", "minItems") and isinstance(one, int | float):
            return max(one, other) if isinstance(other, int | float) else one
        if key in ("maximum", "maxLength", "maxItems") and isinstance(one, int | float):
            return min(one, other) if isinstance(other, int | float) else one
        return other


_TRIED = ("a", "A", "1", "abc", "ABC", "123", "a-b", "a_b", "x1", "aaaaaaaa", "0.1", "12:30", "2024-02-29")


def _matching(pattern: str, chance: random.Random) -> str:
    """A text for a regular expression, for the plain ones among them."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise NoExampleError from error
    fitting = [text for text in _TRIED if compiled.search(text)]
    if not fitting:
        for size in (2, 3, 5, 10, 16, 24, 32, 36, 40):
            fitting += [one * size for one in ("a", "A", "1") if compiled.search(one * size)]
    if not fitting:
        raise NoExampleError
    return chance.choice(fitting)


def mutations(value: Json, chance: random.Random, count: int) -> Iterator[Json]:
    """Copies of a value, each with one change somewhere."""
    paths = list(_paths(value))
    for _ in range(count):
        path = chance.choice(paths)
        yield _changed(value, path, chance)


def _paths(value: Json, here: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield here
    if isinstance(value, dict):
        for key, member in value.items():
            yield from _paths(member, (*here, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _paths(item, (*here, index))


def _changed(value: Json, path: tuple[str | int, ...], chance: random.Random) -> Json:
    found = copy.deepcopy(value)
    if not path:
        return _other(found, chance)
    holder: Json = found
    for step in path[:-1]:
        holder = _step(holder, step)
    last = path[-1]
    if isinstance(holder, dict) and isinstance(last, str):
        if chance.random() < 0.25:
            del holder[last]
        else:
            holder[last] = _other(holder[last], chance)
    elif isinstance(holder, list) and isinstance(last, int):
        if chance.random() < 0.2:
            holder.append(copy.deepcopy(holder[last]))
        else:
            holder[last] = _other(holder[last], chance)
    return found


def _step(holder: Json, step: str | int) -> Json:
    if isinstance(holder, dict) and isinstance(step, str):
        return holder[step]
    if isinstance(holder, list) and isinstance(step, int):
        return holder[step]
    raise LookupError(step)


def _other(value: Json, chance: random.Random) -> Json:
    """A value of another kind, or another of the same kind."""
    others: list[Json] = [None, True, 3, 3.0, 2.5, -1, "3", "other text", "", [], {}]
    if isinstance(value, bool):
        more: tuple[Json, ...] = (not value, int(value))
    elif isinstance(value, int):
        more = (value + 1, -value, value * 10**6, float(value), str(value))
    elif isinstance(value, float):
        more = (-value, value * 1e6, str(value))
    elif isinstance(value, str):
        more = (value + "x", value[:-1], value.upper(), value * 50, [value])
    elif isinstance(value, list):
        more = ([*value, *copy.deepcopy(value)], [*value, None], {"0": value})
    elif isinstance(value, dict):
        more = ({**value, "unheard of": 1}, [value], {}, dict[str, Json](dict.fromkeys(value)))
    else:
        more = ()
    return chance.choice([*others, *more])
