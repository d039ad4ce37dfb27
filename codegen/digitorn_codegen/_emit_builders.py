"""The arguments of the event payload builders, and the example that each starts from."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from . import _ir as ir
from ._definitions import REF
from ._documents import JsonObject, JsonValue, text_of
from ._names import Scope, free_argument, snake
from ._types import OPEN_OBJECT, expression

# What the module needs itself, and what may stand in annotations.
_TAKEN = (
    *("BUILDERS", "NOT_GIVEN", "Any", "Callable", "EventPayload", "Final", "Literal", "Mapping", "NotGiven"),
)
_BUILTINS = ("bool", "dict", "float", "int", "list", "str")
_EXTRA = "extra_members"


@dataclass(frozen=True)
class Member:
    """One member of a payload, passed as a keyword argument."""

    name: str
    argument: str
    type: str
    description: str


@dataclass(frozen=True)
class Builder:
    """The builder of one payload class.

    Attributes:
        function: Its name.
        payload: The class.
        members: What it takes.
        example: Every required member, with a value that fits its schema.
    """

    function: str
    payload: str
    wire: str
    members: tuple[Member, ...]
    example: JsonObject


def builders(contract: ir.Contract) -> list[Builder]:
    """A builder for each event, in the order in which the events are emitted."""
    schemas = {definition.key: definition.schema for definition in contract.definitions}
    scope = Scope.reserving((*_TAKEN, *_BUILTINS))
    return [_builder(event, schemas, scope) for event in contract.events]


def _builder(event: ir.Event, schemas: Mapping[str, JsonObject], scope: Scope) -> Builder:
    schema = schemas[f"payloads.{event.name}"]
    examples = _Examples(schemas)
    properties = examples.properties(schema)
    taken = {_EXTRA}
    members: list[Member] = []
    for name, member in properties.items():
        argument = free_argument(name, "member", taken)
        taken.add(argument)
        kind = expression(member, _unnamed, name)
        description = text_of(member, "description") if isinstance(member, dict) else ""
        members.append(Member(name, argument, kind, description))
    function = scope.allot(snake(event.name), event.name)
    return Builder(function, event.name, event.wire, tuple(members), examples.of_object(schema))


def _unnamed(schema: JsonObject, hint: str) -> str:
    """The type of a member whose shape has no name of its own: any object, checked when called."""
    return OPEN_OBJECT


class _Examples:
    """Values that fit schemas: the first of their own `examples`, or else the plainest that there is."""

    def __init__(self, schemas: Mapping[str, JsonObject]) -> None:
        self._schemas = schemas
        self._open: list[str] = []

    def properties(self, schema: JsonObject) -> JsonObject:
        """The members of an object with those that it inherits, which come first."""
        found: JsonObject = {}
        for part in self._parts(schema):
            properties = part.get("properties")
            found.update(properties if isinstance(properties, dict) else {})
        return found

    def of_object(self, schema: JsonObject) -> JsonObject:
        """An example of an object: every required member."""
        properties = self.properties(schema)
        required = dict.fromkeys(
            str(name)
            for part in self._parts(schema)
            if isinstance(names := part.get("required"), list)
            for name in names
        )
        return {name: self.of(properties.get(name), name) for name in required}

    def _parts(self, schema: JsonObject) -> Iterator[JsonObject]:
        """The schemas that all hold for an object, bases first."""
        ref = text_of(schema, "$ref").removeprefix(REF)
        if ref in self._schemas:
            yield from self._parts(self._schemas[ref])
        all_of = schema.get("allOf")
        for part in all_of if isinstance(all_of, list) else []:
            if isinstance(part, dict):
                yield from self._parts(part)
        yield schema

    def of(self, schema: JsonValue, name: str) -> JsonValue:
        """An example of a value.

        Args:
            schema: Its schema, references rewritten.
            name: What it is called; stands for a text.
        """
        if not isinstance(schema, dict):
            return None
        examples = schema.get("examples")
        if isinstance(examples, list) and examples:
            return examples[0]
        if "const" in schema:
            return schema["const"]
        values = schema.get("enum")
        if isinstance(values, list) and values:
            return None if None in values else values[0]
        ref = text_of(schema, "$ref").removeprefix(REF)
        if ref in self._schemas:
            return self._of_reference(ref, name)
        branches = schema.get("oneOf") or schema.get("anyOf")
        if isinstance(branches, list) and branches and "properties" not in schema:
            return None if {"type": "null"} in branches else self.of(branches[0], name)
        kind = schema.get("type")
        kinds = kind if isinstance(kind, list) else [kind]
        return None if "null" in kinds else self._of_type(str(kinds[0]), schema, name)

    def _of_reference(self, key: str, name: str) -> JsonValue:
        if key in self._open:
            # It needs another of its own kind; that one is for the caller to give.
            return {}
        self._open.append(key)
        try:
            return self.of(self._schemas[key], name)
        finally:
            self._open.pop()

    def _of_type(self, kind: str, schema: JsonObject, name: str) -> JsonValue:
        match kind:
            case "string":
                return _text(schema, name)
            case "integer":
                return math.ceil(_number(schema))
            case "number":
                return float(_number(schema))
            case "boolean":
                return False
            case "array":
                count = schema.get("minItems")
                return [self.of(schema.get("items"), name)] * (count if isinstance(count, int) else 0)
            case _ if kind == "object" or "properties" in schema or "allOf" in schema:
                return self.of_object(schema)
            case _:
                return None


def _text(schema: JsonObject, name: str) -> str:
    shortest, longest = schema.get("minLength"), schema.get("maxLength")
    text = name.ljust(shortest, "_") if isinstance(shortest, int) else name
    return text[:longest] if isinstance(longest, int) else text


def _number(schema: JsonObject) -> float:
    """The number next to zero within its bounds."""
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    if isinstance(low, int | float) and low > 0:
        return low
    if isinstance(above, int | float) and above >= 0:
        return above + 1
    if isinstance(high, int | float) and high < 0:
        return math.floor(high)
    if isinstance(below, int | float) and below <= 0:
        return below - 1
    return 0
