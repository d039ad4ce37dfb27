"""What schemas require of values beyond their type: limits, patterns, formats and other checks."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

from typing_extensions import TypeIs

from ._documents import JsonObject, JsonValue
from ._sides import ANNOTATIONS, Place, Side, json_type

Number: TypeAlias = int | float


class Limit(NamedTuple):
    """A limit; of two upper limits the smaller one is tighter, of two lower ones the larger one.

    Attributes:
        value: The number.
        step: Tells inclusive and exclusive limits of one number apart in the same order.
        keyword: The keyword that sets it.
    """

    value: Number
    step: int
    keyword: str

    def __str__(self) -> str:
        return f"{self.keyword} {self.value}"


Limits: TypeAlias = Mapping[str, Limit]

_COUNTS = {"Length": "string", "Items": "array", "Properties": "object"}
_TYPE_OF: Mapping[str, str] = {
    **{f"{side}{name}": kind for name, kind in _COUNTS.items() for side in ("max", "min")},
    **dict.fromkeys(("maximum", "minimum", "maxBits", "multipleOf"), "number"),
    **dict.fromkeys(("uniqueItems", "contains"), "array"),
    **dict.fromkeys(("dependentRequired", "dependentSchemas", "dependencies", "propertyNames"), "object"),
}
_BITS: Mapping[str, int] = {
    f"{kind}{bits}": bits + (kind == "uint") for kind in ("int", "uint") for bits in (8, 16, 32, 64)
}
# How a text looks on a screen, and how a server stores a number, are no restrictions.
_NO_FORMATS = frozenset({"password", "float", "double", "decimal", "textarea", "html", "markdown"})
_CHECKS: Mapping[str, tuple[str, ...]] = {
    "multipleOf": (),
    "uniqueItems": (),
    "contains": ("minContains", "maxContains"),
    "dependentRequired": (),
    "dependentSchemas": (),
    "dependencies": (),
    "propertyNames": (),
    "not": (),
    "if": ("then", "else"),
}
_TABLES = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"})
_UNORDERED = frozenset({"required", "enum", "type", "anyOf", "oneOf", "allOf"})
_DEEPEST, _LONGEST = 50, 4000


def belongs(keyword: str, kind: str) -> bool:
    """Whether a keyword says something about values of a JSON type."""
    return _TYPE_OF.get(keyword, kind) == kind


def canonical(value: JsonValue) -> str:
    """A value as JSON; the same text for values that JSON does not tell apart."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def limits_of(schemas: Iterable[JsonObject]) -> dict[str, Limit]:
    """The tightest limits that schemas set together, by the keyword of the inclusive limit."""
    found: dict[str, Limit] = {}
    for schema in schemas:
        for name, limit in _limits(schema):
            best = max if name.startswith("min") else min
            found[name] = best(found[name], limit) if name in found else limit
    return found


def _limits(schema: JsonObject) -> Iterator[tuple[str, Limit]]:
    for name in _COUNTS:
        if _is_number(highest := schema.get(f"max{name}")):
            yield f"max{name}", Limit(highest, 0, f"max{name}")
        if _is_number(lowest := schema.get(f"min{name}")) and lowest > 0:
            yield f"min{name}", Limit(lowest, 0, f"min{name}")
    for name, inclusive in (("maximum", 1), ("minimum", 0)):
        keyword = f"exclusive{name.capitalize()}"
        exclusive = schema.get(keyword)
        if _is_number(limit := schema.get(name)):
            # In OpenAPI 3.0 the exclusive keyword is a flag.
            if exclusive is True:
                yield name, Limit(limit, 1 - inclusive, keyword)
            else:
                yield name, Limit(limit, inclusive, name)
        if _is_number(exclusive):
            yield name, Limit(exclusive, 1 - inclusive, keyword)


def _is_number(value: JsonValue) -> TypeIs[Number]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def whole(name: str, limit: Limit) -> Limit:
    """A limit of integers as an inclusive one."""
    if name not in ("maximum", "minimum") or limit.keyword == name:
        return limit
    if name == "minimum":
        return Limit(math.floor(limit.value) + 1, 0, limit.keyword)
    return Limit(math.ceil(limit.value) - 1, 1, limit.keyword)


def is_tighter(name: str, limit: Limit | None, other: Limit | None) -> bool:
    """Whether a limit leaves out more than another; None is no limit."""
    if limit is None or other is None:
        return limit is not None
    ranks = limit[:2], other[:2]
    return ranks[0] > ranks[1] if name.startswith("min") else ranks[0] < ranks[1]


def patterns_of(schemas: Iterable[JsonObject]) -> frozenset[str]:
    """The regular expressions that texts must match; those that every text matches are left out."""
    found = [pattern for schema in schemas if isinstance(pattern := schema.get("pattern"), str)]
    return frozenset(one for one in found if one.strip("^$") not in ("", ".*"))


def formats_of(schemas: Iterable[JsonObject]) -> frozenset[str]:
    """The formats of values; those of bytes by their names of OpenAPI 3.0."""
    found: set[str] = set()
    for schema in schemas:
        named = schema.get("format")
        if isinstance(named, str) and named not in _NO_FORMATS:
            found.add(named)
        if schema.get("contentEncoding") == "base64":
            found.add("byte")
        elif "contentMediaType" in schema and "contentEncoding" not in schema:
            found.add("binary")
    return frozenset(found)


def of_texts(formats: frozenset[str]) -> frozenset[str]:
    """Those formats that restrict texts."""
    return formats - _BITS.keys()


def bits_of(formats: frozenset[str]) -> Limit | None:
    """How large numbers may be by their format."""
    bits = [Limit(_BITS[one], 0, "bits") for one in formats if one in _BITS]
    return min(bits, default=None)


def checks_of(side: Side, place: Place, keywords: Iterable[str] = _CHECKS) -> dict[str, str]:
    """Other checks of a schema by keyword, as text that is the same for what means the same.

    Args:
        side: The contract.
        place: The schema.
        keywords: The keywords to look at.
    """
    schema = place.schema if isinstance(place.schema, dict) else {}
    found: dict[str, str] = {}
    for keyword in keywords:
        if keyword not in schema or (keyword == "uniqueItems" and not schema[keyword]):
            continue
        together = {one: schema[one] for one in (keyword, *_CHECKS.get(keyword, ())) if one in schema}
        found[keyword] = _Text(side).of(Place(place.document, together, place.pointer), (), 0)
    return found


def factor(check: str) -> Number | None:
    """The number of a `multipleOf` as `checks_of` writes it."""
    found = re.fullmatch(r'\{"multipleOf":([0-9.eE+-]+)\}', check)
    value = json.loads(found[1]) if found else 0
    return value if _is_number(value) and value > 0 else None


def text_of_schema(side: Side, place: Place) -> str:
    """A schema as text that is the same for what means the same, as far as that is easy to see."""
    return _Text(side).of(place, (), 0)


class _Text:
    """Writes a schema as text: without annotations, references expanded, up to a depth and a length."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.left = _LONGEST

    def of(self, place: Place, above: tuple[tuple[str, str], ...], depth: int, key: str = "") -> str:
        value = place.schema
        self.left -= 1
        if self.left < 0 or depth > _DEEPEST:
            return "…"
        if isinstance(value, list):
            items = [self.of(Place(place.document, one, place.pointer), above, depth + 1) for one in value]
            return f"[{','.join(sorted(items) if key in _UNORDERED else items)}]"
        if not isinstance(value, dict):
            return canonical(value)
        if isinstance(ref := value.get("$ref"), str):
            target = self.side.documents.resolve(place.document, f"{place.pointer}/$ref", ref)
            at = (str(target.document.path), target.pointer)
            if at in above:
                return f"{len(above) - above.index(at)} up"
            expanded = Place(target.document, target.value, target.pointer)
            if value.keys() - ANNOTATIONS == {"$ref"}:
                return self.of(expanded, (*above, at), depth + 1)
        members = [
            f"{canonical(name)}:{self.of(Place(place.document, one, place.pointer), above, depth + 1, name)}"
            for name, one in sorted(value.items())
            if key in _TABLES or not (name in ANNOTATIONS or name.startswith("x-"))
        ]
        return f"{{{','.join(members)}}}"


def declared_types(schema: JsonObject, every: frozenset[str]) -> frozenset[str]:
    """The JSON types of values that a schema takes by its `type` and its listed values."""
    kind = schema.get("type")
    found = frozenset(str(one) for one in (kind if isinstance(kind, list) else [kind]))
    if kind is None:
        found = every
    elif "number" in found:
        found |= {"integer"}
    listed = listed_values(schema)
    return found if listed is None else found & {json_type(value) for value in listed}


def listed_values(schema: JsonObject) -> list[JsonValue] | None:
    """The only values that a schema takes; None if it does not list them."""
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return values if isinstance(values, list) else None
