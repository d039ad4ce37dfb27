"""What two schemas say together: `allOf`, and what stands beside a reference or beside branches."""

import math
from collections.abc import Mapping
from fractions import Fraction

from ._documents import JsonObject, JsonValue

ANNOTATIONS = frozenset(
    {
        *("title", "description", "default", "deprecated", "readOnly", "writeOnly", "example", "examples"),
        *(
            "$comment",
            "externalDocs",
            "xml",
            "format",
            "contentMediaType",
            "contentEncoding",
            "contentSchema",
        ),
        *("$schema", "$id", "$anchor", "$dynamicAnchor", "$defs", "definitions", "discriminator"),
    }
)
"""Keywords that check nothing."""

_LARGEST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains")
_SMALLEST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains")
_TABLES = ("properties", "patternProperties", "dependentSchemas")
_SCHEMAS = ("additionalProperties", "items", "propertyNames", "unevaluatedProperties", "unevaluatedItems")
ALL_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")


def is_annotation(key: str) -> bool:
    """Whether a keyword checks nothing."""
    return key in ANNOTATIONS or key.startswith("x-")


def constraints(schema: JsonObject) -> JsonObject:
    """The keywords of a schema that check something."""
    return {key: value for key, value in schema.items() if not is_annotation(key)}


def types(schema: Mapping[str, JsonValue]) -> frozenset[str] | None:
    """The types that a schema declares; None if it declares none."""
    kind = schema.get("type")
    if isinstance(kind, str):
        return frozenset((kind,))
    return frozenset(map(str, kind)) if isinstance(kind, list) else None


def values(schema: Mapping[str, JsonValue]) -> list[JsonValue] | None:
    """The values that a schema lists; None if it lists none."""
    if "const" in schema:
        listed = schema.get("enum")
        const = schema["const"]
        return [const] if not isinstance(listed, list) or any(same(const, v) for v in listed) else []
    listed = schema.get("enum")
    return listed if isinstance(listed, list) else None


def same(one: JsonValue, other: JsonValue) -> bool:
    """Whether two JSON values are equal; true is not 1 there."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return one == other


def is_of(value: JsonValue, kind: str) -> bool:
    """Whether a value is of a type, as JSON Schema has it."""
    match value:
        case None:
            return kind == "null"
        case bool():
            return kind == "boolean"
        case int():
            return kind in ("integer", "number")
        case float():
            return kind == "number" or (kind == "integer" and value.is_integer())
        case str():
            return kind == "string"
        case list():
            return kind == "array"
        case dict():
            return kind == "object"


def merged(one: JsonObject, other: JsonObject) -> "JsonObject | None":
    """A schema that is fulfilled by what fulfils both; None if nothing does. The second one's texts win.

    Args:
        one: A schema without references and branches.
        other: Another.
    """
    if not one or not other:
        return dict(one or other)
    found = {**one, **other}
    if not _merge_types(found, one, other):
        return None
    for keys, choose in ((_LARGEST, max), (_SMALLEST, min)):
        for key in keys:
            first, second = one.get(key), other.get(key)
            if isinstance(first, int | float) and isinstance(second, int | float):
                found[key] = choose(first, second)
    for key in _TABLES:
        first, second = one.get(key), other.get(key)
        if isinstance(first, dict) and isinstance(second, dict):
            found[key] = {
                name: both(first[name], second[name])
                if name in first and name in second
                else first.get(name, second.get(name))
                for name in {**first, **second}
            }
    for key in _SCHEMAS:
        if key in one and key in other:
            found[key] = both(one[key], other[key])
    for part, beside in ((one, other), (other, one)):
        extra, table = part.get("additionalProperties"), found.get("properties")
        if isinstance(extra, dict) and isinstance(table, dict) and "patternProperties" not in part:
            added = {name: both(extra, table[name]) for name in added_members(part, beside)}
            found["properties"] = {**table, **added}
    if "prefixItems" in found:
        found["prefixItems"] = _first_items(one, other)
    for key in ("required", "x-patterns"):
        listed = [v for part in (one, other) if isinstance(names := part.get(key), list) for v in names]
        if listed:
            found[key] = list[JsonValue](dict.fromkeys(str(name) for name in listed))
    if "pattern" in one and "pattern" in other and one["pattern"] != other["pattern"]:
        also = found.get("x-patterns")
        found["x-patterns"] = [*(also if isinstance(also, list) else []), one["pattern"]]
    first, second = one.get("multipleOf"), other.get("multipleOf")
    if isinstance(first, int | float) and isinstance(second, int | float):
        found["multipleOf"] = _least_multiple(first, second)
    if one.get("uniqueItems") is True:
        found["uniqueItems"] = True
    return found


def added_members(one: JsonObject, other: JsonObject) -> list[str]:
    """The members that a schema names and another does not, to which these are any other members."""
    known, named = one.get("properties"), other.get("properties")
    if not isinstance(named, dict):
        return []
    return [name for name in named if not isinstance(known, dict) or name not in known]


def _first_items(one: JsonObject, other: JsonObject) -> list[JsonValue]:
    """The items that have schemas of their own; a list that has fewer says by `items` what the rest are."""
    first, second = (
        listed if isinstance(listed := part.get("prefixItems"), list) else [] for part in (one, other)
    )
    rest, others = one.get("items", True), other.get("items", True)
    return [
        both(first[i] if i < len(first) else rest, second[i] if i < len(second) else others)
        for i in range(max(len(first), len(second)))
    ]


def _merge_types(found: JsonObject, one: JsonObject, other: JsonObject) -> bool:
    """Merges the types and listed values; says whether any value is left."""
    first, second = types(one), types(other)
    if first is not None and second is not None:
        left = [
            kind
            for kind in ALL_TYPES
            if all(kind in kinds or (kind == "integer" and "number" in kinds) for kinds in (first, second))
        ]
        if "number" in left and "integer" in left:
            left.remove("integer")
        if not left:
            return False
        found["type"] = left[0] if len(left) == 1 else list[JsonValue](left)
    listed, also = values(one), values(other)
    if listed is not None or also is not None:
        left_values = listed if also is None else also
        if listed is not None and also is not None:
            left_values = [value for value in also if any(same(value, v) for v in listed)]
        kinds = types(found)
        if kinds is not None and left_values is not None:
            left_values = [value for value in left_values if any(is_of(value, kind) for kind in kinds)]
        if not left_values:
            return False
        found.pop("const", None)
        found["enum"] = left_values
    return True


def _least_multiple(one: float, other: float) -> float:
    """The smallest number that is a multiple of two."""
    first, second = Fraction(repr(one)), Fraction(repr(other))
    found = Fraction(
        math.lcm(first.numerator, second.numerator), math.gcd(first.denominator, second.denominator)
    )
    return found.numerator if found.denominator == 1 else float(found)


def both(one: JsonValue, other: JsonValue) -> JsonValue:
    """A schema that two schemas make together, not yet merged."""
    if same(one, other) or other is True or other == {}:
        return one
    if one is True or one == {}:
        return other
    return {"allOf": [one, other]}
