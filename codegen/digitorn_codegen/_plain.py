"""What schemas without references and branches are in Python."""

import re
from collections.abc import Mapping

from ._documents import JsonObject, JsonValue, escape
from ._facts import ORDER, bounds, counts, python_pattern, rust_takes, within
from ._merge import ALL_TYPES, constraints, is_of, types, values
from ._parts import Core, Part
from ._shapes import (
    NULL,
    OPEN,
    Anything,
    Choice,
    Equal,
    Items,
    Place,
    Places,
    Scalar,
    Shape,
    Table,
    union,
)

OF_TYPE: Mapping[str, frozenset[str]] = {
    "string": frozenset({"minLength", "maxLength", "pattern"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
    "array": frozenset(
        {
            *("items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains"),
            *("minContains", "maxContains", "unevaluatedItems", "additionalItems"),
        }
    ),
    "object": frozenset(
        {
            *("properties", "required", "additionalProperties", "patternProperties", "propertyNames"),
            *("minProperties", "maxProperties", "dependentRequired", "dependentSchemas", "dependencies"),
            "unevaluatedProperties",
        }
    ),
}
_COUNTS = frozenset({"minItems", "maxItems", "minProperties", "maxProperties"})
_UNCHECKED = {
    "string": (),
    "number": (),
    "array": ("contains", "unevaluatedItems", "additionalItems"),
    "object": ("dependentRequired", "dependentSchemas", "dependencies"),
}


class Plain:
    """Makes types of schemas without references and branches.

    Args:
        core: The compiler.
    """

    def __init__(self, core: Core) -> None:
        self._core = core

    def of(self, rest: JsonObject, place: Place, hint: str) -> Shape:
        """What a schema without references and branches is."""
        for key in ("not", "if"):
            if key in rest and (key == "not" or rest.keys() & {"then", "else"}):
                self._core.warn("not-checked", place, f"{key!r} is not checked", key)
        listed = values(rest)
        kinds = types(rest)
        if listed is not None:
            fitting = [v for v in listed if kinds is None or any(is_of(v, k) for k in kinds)]
            for group in ("object", "array"):
                beside = sorted((OF_TYPE[group] & rest.keys()) - _COUNTS)
                if beside and any(is_of(v, group) for v in fitting):
                    text = f"whether the listed values fit {', '.join(beside)} is not checked"
                    self._core.warn("not-checked", place, text)
            return self._listed([v for v in fitting if _keeps(v, rest)], place)
        if kinds is None:
            groups = [kind for kind, keys in OF_TYPE.items() if keys & rest.keys()]
            if len(groups) != 1:
                for kind in groups:
                    found = ", ".join(sorted(OF_TYPE[kind] & rest.keys()))
                    self._core.warn("not-checked", place, f"{found} is not checked: the schema has no type")
                return Anything()
            text = f"without 'type' other values fit too; it is read as {groups[0]}"
            self._core.warn("type-implied", place, text)
            kinds = frozenset(groups)
        if kinds >= frozenset(ALL_TYPES) - {"integer"}:
            kinds = kinds - {"integer"}
        return union([self._of_type(kind, rest, place, hint) for kind in sorted(kinds, key=ORDER.index)])

    def _listed(self, listed: list[JsonValue], place: Place) -> Shape:
        if not listed:
            self._core.warn("impossible-schema", place, "accepts nothing; it is typed Any")
            return Anything()
        plain = [value for value in listed if isinstance(value, str | bool | int)]
        special = [value for value in listed if not isinstance(value, str | bool | int | None)]
        shapes: list[Shape] = []
        if plain:
            unique = tuple(dict.fromkeys((type(value), value) for value in plain))
            shapes.append(Choice(tuple(value for _, value in unique)))
        for kind, shape in (("number", Scalar("float")), ("array", Items(Anything())), ("object", OPEN)):
            group = tuple(value for value in special if is_of(value, kind))
            if group:
                shapes.append(Equal(shape, group))
        return union([*shapes, *([NULL] if None in listed else [])])

    def _of_type(self, kind: str, rest: JsonObject, place: Place, hint: str) -> Shape:
        group = "number" if kind == "integer" else kind
        for key in _UNCHECKED.get(group, ()):
            if key in rest:
                self._core.warn("not-checked", place, f"{key!r} is not checked", key)
        match kind:
            case "string":
                return self.text(rest, place)
            case "integer" | "number":
                return Scalar("int" if kind == "integer" else "float", bounds(rest, whole=kind == "integer"))
            case "boolean":
                return Scalar("bool")
            case "null":
                return NULL
            case "array":
                return self._array(rest, place, hint)
            case _:
                if self._core.parts.is_class(Part(rest={**rest, "type": "object"})):
                    return self._core.hoisted(Part(rest={**rest, "type": "object"}), place, hint)
                return self._table(rest, place, hint)

    def text(self, rest: JsonObject, place: Place) -> Scalar:
        limits = counts(rest, "Length")
        patterns: list[str] = []
        also = rest.get("x-patterns")
        found = [rest["pattern"]] if "pattern" in rest else []
        for pattern in (*found, *(also if isinstance(also, list) else [])):
            if not isinstance(pattern, str):
                continue
            if (
                not re.search(r"\(\?<?[=!]|\\[1-9]", pattern)
                and not any(name == "pattern" for name, _ in limits)
                and rust_takes(pattern)
            ):
                limits.append(("pattern", repr(pattern)))
            elif (own := python_pattern(pattern)) is not None:
                patterns.append(own)
            else:
                text = f"{pattern!r} is no regular expression here; the text is not checked"
                self._core.warn("pattern-dropped", place, text, "pattern")
        return Scalar("str", tuple(limits), tuple(patterns))

    def _array(self, rest: JsonObject, place: Place, hint: str) -> Shape:
        first, items = rest.get("prefixItems"), rest.get("items", True)
        limits = counts(rest, "Items")
        if isinstance(first, list) and first:
            return self._places(rest, first, items, place, hint)
        if items is False:
            least = [limit for limit in limits if limit[0] == "min_length"]
            return Items(Anything(), (*least, ("max_length", "0")))
        item = self._core.shape(items, (place[0], f"{place[1]}/items"), f"{hint}Item")
        return Items(item, tuple(limits), rest.get("uniqueItems") is True)

    def _places(
        self, rest: JsonObject, first: list[JsonValue], items: JsonValue, place: Place, hint: str
    ) -> Shape:
        if rest.get("uniqueItems") is True:
            self._core.warn("not-checked", place, "'uniqueItems' is not checked", "uniqueItems")
        least, most = rest.get("minItems"), rest.get("maxItems")
        least = int(least) if isinstance(least, int | float) else 0
        most = int(most) if isinstance(most, int | float) else None
        shapes = [
            self._core.shape(one, (place[0], f"{place[1]}/prefixItems/{i}"), f"{hint}{i + 1}")
            for i, one in enumerate(first)
        ]
        limits: list[tuple[str, str]] = []
        if least > len(first):
            limits.append(("min_length", str(least)))
        if most is not None and most < len(first):
            shapes, items = shapes[:most], False
        elif most is not None and most > len(first):
            limits.append(("max_length", str(most)))
        elif most == len(first):
            items = False
        other = (
            self._core.shape(items, (place[0], f"{place[1]}/items"), f"{hint}Item")
            if items is not False
            else None
        )
        return Places(tuple(shapes), other, least, tuple(limits))

    def _table(self, rest: JsonObject, place: Place, hint: str) -> Shape:
        patterns = rest.get("patternProperties")
        others = rest.get("additionalProperties", rest.get("unevaluatedProperties", True))
        key = self._key(rest, place)
        limits = tuple(counts(rest, "Properties"))
        if isinstance(patterns, dict) and patterns:
            shapes = [
                self._core.shape(
                    one, (place[0], f"{place[1]}/patternProperties/{escape(name)}"), f"{hint}Value"
                )
                for name, one in patterns.items()
            ]
            name = next(iter(patterns))
            if len(patterns) == 1 and others is False and key == Scalar("str"):
                found = self.text({"pattern": name}, place)
                return Table(shapes[0], found, limits)
            text = "which members a pattern stands for is not checked"
            self._core.warn("not-checked", place, text, "patternProperties")
            if others is False:
                return Table(union(shapes), key, limits)
            return Table(Anything(), key, limits)
        if others is False:
            return Table(Anything(), key, (("max_length", "0"),))
        at = place[0], f"{place[1]}/additionalProperties"
        return Table(self._core.shape(others, at, f"{hint}Value"), key, limits)

    def _key(self, rest: JsonObject, place: Place) -> Scalar:
        """What the names of members are."""
        names = rest.get("propertyNames", True)
        if names is True or names == {}:
            return Scalar("str")
        if isinstance(names, dict) and constraints(names).keys() <= {
            "type",
            "pattern",
            "minLength",
            "maxLength",
        }:
            return self.text(names, (place[0], f"{place[1]}/propertyNames"))
        self._core.warn("not-checked", place, "'propertyNames' is not checked", "propertyNames")
        return Scalar("str")


def _keeps(value: JsonValue, rest: JsonObject) -> bool:
    """Whether a listed value keeps the limits that stand beside the list."""
    match value:
        case bool() | None:
            return True
        case int() | float():
            return within(value, bounds(rest, whole=False))
        case str():
            also = rest.get("x-patterns")
            found = [rest.get("pattern"), *(also if isinstance(also, list) else [])]
            patterns = [("pattern", repr(one)) for one in found if isinstance(one, str)]
            return within(value, [*counts(rest, "Length"), *patterns])
        case list():
            return within(value, counts(rest, "Items"))
        case dict():
            return within(value, counts(rest, "Properties"))
