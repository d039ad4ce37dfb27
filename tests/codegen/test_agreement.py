"""The classes of any schema accept what a validator of JSON Schema accepts, and write it back equal."""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from digitorn_codegen._merge import same
from support.classes import Components, components, wire

NAMES = ("A", "B", "C")
MEMBERS = ("a", "b", "class")
ATOMS: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    2,
    3,
    1.0,
    1.5,
    "",
    "a",
    "b",
    "abc",
    [],
    {},
    [1],
    ["a"],
    {"a": 1},
)
PATTERNS = ("^a", "b$", "^(?=.*a).", r"^\w{1,2}$")


class Grammar:
    """Makes schemas of components, and values near them.

    Args:
        seed: What they are made of.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._kinds: dict[str, str] = {name: self._random.choice(("object", "any", "any")) for name in NAMES}
        self.schemas: dict[str, Any] = {}
        for name in NAMES:
            self.schemas[name] = self._object(2) if self._kinds[name] == "object" else self._schema(3, name)

    # --- schemas

    def _may(self, share: float = 0.3) -> bool:
        return self._random.random() < share

    def _limits(self, names: tuple[str, str], values: list[Any]) -> dict[str, Any]:
        low, high = sorted(self._random.sample(values, 2))
        return {
            **({names[0]: low} if self._may() else {}),
            **({names[1]: high} if self._may() else {}),
        }

    def _scalar(self) -> dict[str, Any]:
        match self._random.randrange(9):
            case 0 | 1:
                pattern = {"pattern": self._random.choice(PATTERNS)} if self._may(0.2) else {}
                return {"type": "string", **self._limits(("minLength", "maxLength"), [0, 1, 2, 3]), **pattern}
            case 2 | 3:
                step = {"multipleOf": self._random.choice((1, 2, 0.5, 1.5))} if self._may(0.2) else {}
                kind = self._random.choice(("integer", "number"))
                names = self._random.choice(
                    (("minimum", "maximum"), ("exclusiveMinimum", "exclusiveMaximum"))
                )
                return {"type": kind, **self._limits(names, [0, 1, 1.5, 2.0, 3]), **step}
            case 4:
                return {"type": self._random.choice(("boolean", "null"))}
            case 5:
                return {"enum": self._random.sample([one for one in ATOMS if one != 1.0], 2)}
            case 6:
                return {"const": self._random.choice(ATOMS)}
            case 7:
                return {"type": "string", "enum": self._random.sample(["a", "b", "abc"], 2)}
            case _:
                kinds = ["string", "integer", "number", "boolean", "null"]
                return {"type": self._random.sample(kinds, 2)}

    def _object(self, depth: int) -> dict[str, Any]:
        names = self._random.sample(MEMBERS, self._random.randrange(1, 4))
        found: dict[str, Any] = {
            "type": "object",
            "properties": {name: self._schema(depth - 1) for name in names},
        }
        if self._may(0.5):
            found["required"] = self._random.sample(names, 1)
        if self._may(0.2):
            found["additionalProperties"] = self._random.choice((False, {"type": "integer"}))
        if self._may(0.1):
            found["type"] = ["object", "null"]
        return found

    def _array(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {"type": "array", **self._limits(("minItems", "maxItems"), [0, 1, 2, 3])}
        if self._may(0.3):
            found["prefixItems"] = [self._schema(depth - 1) for _ in range(self._random.randrange(1, 3))]
            if self._may(0.5):
                found["items"] = self._random.choice((False, self._scalar()))
        else:
            found["items"] = self._schema(depth - 1)
            if self._may(0.2):
                found["uniqueItems"] = True
        return found

    def _reference(self, name: str | None) -> dict[str, Any]:
        known = [
            one for one in NAMES if one in self.schemas or (name is None and self._kinds[one] == "object")
        ]
        found = [one for one in known if one != name]
        return {"$ref": f"#/components/schemas/{self._random.choice(found)}"} if found else self._scalar()

    def _schema(self, depth: int, name: str | None = None) -> dict[str, Any]:
        if depth <= 0:
            return self._random.choice((self._scalar, lambda: self._reference(name)))()
        match self._random.randrange(12):
            case 0 | 1 | 2:
                return self._scalar()
            case 3 | 4:
                return self._object(depth)
            case 5:
                return self._array(depth)
            case 6:
                return self._reference(name)
            case 7:
                return {"type": "object", "additionalProperties": self._schema(depth - 1)}
            case 8:
                parts = [self._part(depth - 1, name) for _ in range(self._random.randrange(1, 3))]
                return {"allOf": parts}
            case 9:
                return {**self._object(depth), "anyOf": [self._object(1), self._object(1)]}
            case _:
                key = self._random.choice(("anyOf", "oneOf"))
                return {key: [self._schema(depth - 1, name) for _ in range(self._random.randrange(1, 4))]}

    def _part(self, depth: int, name: str | None) -> dict[str, Any]:
        return self._random.choice(
            (lambda: self._object(depth), lambda: self._reference(name), self._scalar)
        )()

    # --- values

    def value(self, schema: Mapping[str, Any], depth: int = 4) -> Any:
        """A value that may fit a schema."""
        if depth <= 0 or self._may(0.08):
            return self._random.choice(ATOMS)
        if "$ref" in schema:
            return self.value(self.schemas[schema["$ref"].rpartition("/")[2]], depth)
        for key in ("anyOf", "oneOf"):
            if key in schema:
                rest = {name: one for name, one in schema.items() if name != key}
                return self._joined(
                    [rest, self._random.choice(schema[key])] if rest else [self._random.choice(schema[key])],
                    depth,
                )
        if "allOf" in schema:
            return self._joined(schema["allOf"], depth)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._random.choice(schema["enum"])
        kinds: Any = schema["type"]
        kind: str = kinds if isinstance(kinds, str) else self._random.choice(kinds)
        match kind:
            case "object":
                members = schema.get("properties", {})
                needed = schema.get("required", [])
                found = {
                    n: self.value(one, depth - 1)
                    for n, one in members.items()
                    if n in needed or self._may(0.6)
                }
                if self._may(0.2):
                    extra: Any = schema.get("additionalProperties")
                    found["more"] = (
                        self.value(extra, depth - 1)
                        if extra not in (None, True, False)
                        else self._random.choice(ATOMS)
                    )
                return found
            case "array":
                first = [self.value(one, depth - 1) for one in schema.get("prefixItems", [])]
                items: Any = schema.get("items")
                more = [
                    self.value(items, depth - 1) if items not in (None, True, False) else 1
                    for _ in range(self._random.randrange(3))
                ]
                return (first + more)[: self._random.randrange(5)]
            case "string":
                return self._random.choice(("", "a", "b", "ab", "abc", "abcd"))
            case "integer":
                return self._random.choice((0, 1, 2, 3, 4, 2.0))
            case "number":
                return self._random.choice((0, 1, 1.5, 2, 3, 2.5))
            case "boolean":
                return self._may(0.5)
            case _:
                return None

    def _joined(self, parts: list[Mapping[str, Any]], depth: int) -> Any:
        values: list[Any] = [self.value(one, depth) for one in parts]
        if all(type(one) is dict for one in values):
            return {name: member for one in values for name, member in one.items()}
        return self._random.choice(values)


def _disagreement(made: Components, schemas: Mapping[str, Any], name: str, value: Any) -> str:
    document = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
    validator: Any = Draft202012Validator(document)
    fits = bool(validator.is_valid(value))
    try:
        read = made.reader(name)(value)
    except ValidationError as error:
        return f"{name} refuses {value!r}: {error}" if fits else ""
    if fits:
        return "" if same(wire(read), value) else f"{name} reads {value!r} as {read!r}"
    return "" if any(map(made.is_warned, _reached(schemas, name))) else f"{name} accepts {value!r}"


def _reached(schemas: Mapping[str, Any], name: str) -> set[str]:
    """The components that one is made of, with itself."""
    found: set[str] = set()
    ahead = {name}
    while ahead:
        one = ahead.pop()
        found.add(one)
        ahead |= {other for other in NAMES if f"schemas/{other}" in json.dumps(schemas[one])} - found
    return found


@given(st.integers(0, 2**32))
@settings(max_examples=25, derandomize=True, database=None)
def test_classes_agree_with_a_validator(seed: int) -> None:
    grammar = Grammar(seed)
    with TemporaryDirectory() as folder:
        made = components(grammar.schemas, Path(folder))
    for name in NAMES:
        for _ in range(15):
            value = grammar.value(grammar.schemas[name])
            assert not _disagreement(made, grammar.schemas, name, value)
