"""What changed between two contracts, and which changes break a client."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, cast

from ._documents import Document, Documents, JsonObject, JsonValue, text_of
from ._errors import ContractError

Direction = Literal["request", "response"]

RULES: Mapping[str, tuple[bool, str]] = {
    "operation-removed": (True, "code that calls it has nothing to call"),
    "operation-added": (False, "nobody calls it yet"),
    "operation-renamed": (True, "its stub has another name"),
    "operation-moved": (True, "its stub is in another group"),
    "parameter-removed": (True, "code that passes it no longer type-checks"),
    "parameter-added": (False, "it may be left out"),
    "parameter-added-required": (True, "calls without it are refused"),
    "parameter-required": (True, "calls without it are refused"),
    "parameter-optional": (False, "calls with it still hold"),
    "body-removed": (True, "code that sends it no longer type-checks"),
    "body-added": (False, "it may be left out"),
    "body-added-required": (True, "calls without it are refused"),
    "body-media-changed": (True, "it is written in another form"),
    "request-field-removed": (True, "code that passes it no longer type-checks"),
    "request-field-added": (False, "it may be left out"),
    "request-field-added-required": (True, "requests without it are refused"),
    "request-field-required": (True, "requests without it are refused"),
    "request-field-optional": (False, "requests with it still hold"),
    "request-type-narrowed": (True, "values that were accepted are refused"),
    "request-type-widened": (False, "values that were accepted still are"),
    "request-value-removed": (True, "a value that was accepted is refused"),
    "request-value-added": (False, "one more value may be sent"),
    "request-limit-tightened": (True, "values that were accepted are refused"),
    "request-limit-loosened": (False, "values that were accepted still are"),
    "result-removed": (True, "code that reads the result has none"),
    "result-added": (False, "nobody reads it yet"),
    "response-field-removed": (True, "code that reads it no longer type-checks"),
    "response-field-added": (False, "unknown members are kept"),
    "response-field-optional": (True, "code that reads it must expect None"),
    "response-field-required": (False, "code that expects None still holds"),
    "response-type-widened": (True, "values come that the old client refuses"),
    "response-type-narrowed": (False, "every value that comes was expected before"),
    "response-value-added": (True, "a value comes that the old client refuses"),
    "response-value-removed": (False, "every value that comes was expected before"),
    "event-removed": (True, "code that waits for it waits in vain"),
    "event-added": (False, "an old client keeps it as an unknown payload"),
    "event-renamed": (True, "its payload class has another name"),
    "command-removed": (True, "code that sends it has nothing to send"),
    "command-added": (False, "nobody sends it yet"),
}
"""Each rule: whether such a change breaks a client, and why."""


@dataclass(frozen=True)
class Change:
    """One difference between two contracts.

    Attributes:
        rule: Name of the rule, a key of `RULES`.
        where: Operation, event or command, and the place in it.
        breaking: Whether code written for the old contract can fail.
        reason: What changed, and why it breaks or does not.
    """

    rule: str
    where: str
    breaking: bool
    reason: str

    def __str__(self) -> str:
        return f"{'BREAKING  ' if self.breaking else 'compatible'}  {self.where}: {self.reason} [{self.rule}]"


@dataclass(frozen=True)
class Side:
    """One of the two contracts.

    Attributes:
        openapi: The OpenAPI document.
        events: Event payload schemas by wire name and variant.
        commands: Command schemas by wire name.
        documents: All documents that were read.
    """

    openapi: Document
    events: Mapping[str, Document]
    commands: Mapping[str, Document]
    documents: Documents


def read_side(path: Path) -> Side:
    """Reads a contract for comparison.

    Args:
        path: An OpenAPI document, or a folder with `openapi.yaml` and perhaps `events` and `commands`.

    Raises:
        ContractError: There is no contract, or it cannot be read.
    """
    documents = Documents()
    if path.is_dir():
        found = [path / f"openapi.{suffix}" for suffix in ("yaml", "yml", "json")]
        openapi = next((file for file in found if file.is_file()), None)
        if openapi is None:
            raise ContractError(path, "", "holds no openapi.yaml, openapi.yml or openapi.json")
        events = _schemas(documents, path / "events", "x-event-type")
        commands = _schemas(documents, path / "commands", "x-command")
        return Side(documents.get(openapi), events, commands, documents)
    return Side(documents.get(path), {}, {}, documents)


def _schemas(documents: Documents, folder: Path, key: str) -> dict[str, Document]:
    found: dict[str, Document] = {}
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    for document in [documents.get(file) for file in files if file.suffix in (".json", ".yaml", ".yml")]:
        wire = text_of(document.root, key)
        variant = document.root.get("x-event-variant")
        if wire:
            suffix = f" ({text_of(variant, 'requires')})" if isinstance(variant, dict) else ""
            found[wire + suffix] = document
    return found


def compare(old: Side, new: Side) -> list[Change]:
    """Every difference that a client can notice, operations first, then events and commands.

    Args:
        old: What a client was generated from.
        new: What the server has now.
    """
    comparison = _Comparison(old, new)
    comparison.operations()
    comparison.events()
    comparison.commands()
    return comparison.changes


def as_json(changes: list[Change]) -> str:
    """The changes as a JSON array."""
    return json.dumps([asdict(change) for change in changes], indent=2, ensure_ascii=False)


def operations_of(side: Side) -> dict[tuple[str, str], JsonObject]:
    """The operations of a contract by method and path, each with the parameters of its path."""
    return {(method.upper(), path): operation for (method, path), operation in _operations(side).items()}


def parameters_of(side: Side, operation: JsonObject) -> dict[str, bool]:
    """The query and header parameters of an operation, and whether each is required."""
    return {
        name: parameter.get("required") is True
        for name, (_, parameter) in _parameters(side, operation).items()
        if not name.startswith("path ")
    }


def body_members(side: Side, operation: JsonObject) -> dict[str, bool]:
    """The members of an operation's request body, and whether each is required."""
    body = _body(side, operation)
    if body is None:
        return {}
    flat = _flat(side, body[1])
    members = {name: name in flat.required for name in flat.fields}
    for branch in flat.branches.values():
        below = _flat(side, branch)
        members.update({name: name in below.required for name in below.fields})
    return members


def members_of(side: Side, document: Document) -> set[str]:
    """The declared members of an event payload."""
    return set(_flat(side, _root(document)).fields)


@dataclass(frozen=True)
class _Place:
    """A schema and where it stands, on one side."""

    document: Document
    schema: JsonValue


@dataclass
class _Comparison:
    old: Side
    new: Side
    changes: list[Change] = field(default_factory=list[Change])
    _compared: set[tuple[str, str, Direction]] = field(default_factory=set[tuple[str, str, Direction]])

    def note(self, rule: str, where: str, what: str) -> None:
        breaking, why = RULES[rule]
        self.changes.append(Change(rule, where, breaking, f"{what}; {why}"))

    # --- operations

    def operations(self) -> None:
        before, after = _operations(self.old), _operations(self.new)
        for key in [key for key in before if key not in after]:
            self.note("operation-removed", _title(*key), "was removed")
        for key, operation in after.items():
            if key not in before:
                self.note("operation-added", _title(*key), "was added")
            else:
                self._operation(_title(*key), before[key], operation)

    def _operation(self, where: str, old: JsonObject, new: JsonObject) -> None:
        names = text_of(old, "operationId"), text_of(new, "operationId")
        if names[0] != names[1]:
            self.note("operation-renamed", where, f"operationId {names[0]!r} became {names[1]!r}")
        tags = _tag(old), _tag(new)
        if tags[0] != tags[1]:
            self.note("operation-moved", where, f"tag {tags[0]!r} became {tags[1]!r}")
        self._parameters(where, old, new)
        self._body(where, old, new)
        before, after = _result(self.old, old), _result(self.new, new)
        if before is not None and after is not None:
            self._schema(f"{where}, result", before, after, "response")
        elif before is not None:
            self.note("result-removed", where, "the result was removed")
        elif after is not None:
            self.note("result-added", where, "a result was added")

    def _parameters(self, where: str, old: JsonObject, new: JsonObject) -> None:
        before, after = _parameters(self.old, old), _parameters(self.new, new)
        for name in [name for name in before if name not in after]:
            self.note("parameter-removed", where, f"{name} was removed")
        for name, (place, parameter) in after.items():
            required = parameter.get("required") is True
            if name not in before:
                rule = "parameter-added-required" if required else "parameter-added"
                self.note(rule, where, f"{name} was added, {'required' if required else 'optional'}")
                continue
            old_place, old_parameter = before[name]
            was_required = old_parameter.get("required") is True
            if required != was_required:
                self.note(
                    "parameter-required" if required else "parameter-optional",
                    where,
                    f"{name} became {'required' if required else 'optional'}",
                )
            self._schema(f"{where}, {name}", old_place, place, "request")

    def _body(self, where: str, old: JsonObject, new: JsonObject) -> None:
        before, after = _body(self.old, old), _body(self.new, new)
        if before is None or after is None:
            if before is not None:
                self.note("body-removed", where, "the request body was removed")
            if after is not None:
                rule = "body-added-required" if after[2] else "body-added"
                self.note(rule, where, f"a request body was added, {'required' if after[2] else 'optional'}")
            return
        if before[0] != after[0]:
            self.note("body-media-changed", where, f"the body's media type {before[0]} became {after[0]}")
        self._schema(f"{where}, body", before[1], after[1], "request")

    # --- events and commands

    def events(self) -> None:
        before, after = self.old.events, self.new.events
        for wire in [wire for wire in before if wire not in after]:
            self.note("event-removed", f"event {wire}", "was removed")
        for wire, document in after.items():
            where = f"event {wire}"
            if wire not in before:
                self.note("event-added", where, "was added")
                continue
            titles = text_of(before[wire].root, "title"), text_of(document.root, "title")
            if titles[0] != titles[1]:
                self.note("event-renamed", where, f"class {titles[0]} became {titles[1]}")
            self._schema(where, _root(before[wire]), _root(document), "response")

    def commands(self) -> None:
        before, after = self.old.commands, self.new.commands
        for wire in [wire for wire in before if wire not in after]:
            self.note("command-removed", f"command {wire}", "was removed")
        for wire, document in after.items():
            if wire not in before:
                self.note("command-added", f"command {wire}", "was added")
                continue
            for suffix, direction in _COMMAND_PARTS:
                old, new = _part(before[wire], suffix), _part(document, suffix)
                if old is not None and new is not None:
                    self._schema(f"command {wire}, {suffix.lower()}", old, new, direction)

    # --- schemas

    def _schema(self, where: str, old: _Place, new: _Place, direction: Direction) -> None:
        old, old_name = self._follow(self.old, old)
        new, new_name = self._follow(self.new, new)
        if old_name and new_name:
            # A shape that many places share is compared once for each way it travels.
            key = (old_name, new_name, direction)
            if key in self._compared:
                return
            self._compared.add(key)
            where = f"{where.partition(',')[0]}, {new_name}" if new_name == old_name else where
        before, after = _flat(self.old, old), _flat(self.new, new)
        self._types(where, before, after, direction)
        self._values(where, before.values, after.values, direction)
        self._limits(where, before.schema, after.schema, direction)
        self._fields(where, before, after, direction)
        for part in ("items", "additionalProperties"):
            if isinstance(before.schema.get(part), dict) and isinstance(after.schema.get(part), dict):
                self._schema(
                    f"{where}[]",
                    _Place(before.document, before.schema[part]),
                    _Place(after.document, after.schema[part]),
                    direction,
                )
        for name in sorted(before.branches.keys() & after.branches.keys()):
            self._schema(where, before.branches[name], after.branches[name], direction)

    def _follow(self, side: Side, place: _Place) -> tuple[_Place, str]:
        name = ""
        for _ in range(_DEEPEST):
            schema = place.schema
            if not isinstance(schema, dict) or not isinstance(schema.get("$ref"), str) or len(schema) > 1:
                return place, name
            target = side.documents.resolve(place.document, "", str(schema["$ref"]))
            place = _Place(target.document, target.value)
            name = target.pointer.rpartition("/")[2] or target.document.path.stem
        raise ContractError(place.document.path, "", f"the reference {name!r} leads to itself")

    def _types(self, where: str, before: "_Flat", after: "_Flat", direction: Direction) -> None:
        lost, gained = sorted(before.types - after.types), sorted(after.types - before.types)
        if lost:
            rule = "request-type-narrowed" if direction == "request" else "response-type-narrowed"
            self.note(rule, where, f"no longer takes {' or '.join(lost)}")
        if gained:
            rule = "request-type-widened" if direction == "request" else "response-type-widened"
            self.note(rule, where, f"may be {' or '.join(gained)}")

    def _values(
        self, where: str, before: frozenset[str] | None, after: frozenset[str] | None, direction: Direction
    ) -> None:
        if before is None and after is None:
            return
        # Without a list of values every value is allowed.
        lost = sorted(before - after) if before is not None and after is not None else []
        gained = sorted(after - before) if before is not None and after is not None else []
        if before is None:
            lost = ["all but the listed values"]
        if after is None:
            gained = ["any other value"]
        for value in lost:
            self.note(f"{direction}-value-removed", where, f"value {value} was removed")
        for value in gained:
            self.note(f"{direction}-value-added", where, f"value {value} was added")

    def _limits(self, where: str, old: JsonObject, new: JsonObject, direction: Direction) -> None:
        if direction == "response":
            return
        for key, is_upper in _LIMITS.items():
            before, after = _number(old.get(key), is_upper), _number(new.get(key), is_upper)
            if before == after:
                continue
            tightened = after < before if is_upper else after > before
            rule = "request-limit-tightened" if tightened else "request-limit-loosened"
            self.note(rule, where, f"{key} {old.get(key, 'none')} became {new.get(key, 'none')}")

    def _fields(self, where: str, before: "_Flat", after: "_Flat", direction: Direction) -> None:
        for name in [name for name in before.fields if name not in after.fields]:
            self.note(f"{direction}-field-removed", f"{where}.{name}", "was removed")
        for name, place in after.fields.items():
            required = name in after.required
            at = f"{where}.{name}"
            if name not in before.fields:
                rule = f"{direction}-field-added"
                needed = direction == "request" and required
                self.note(f"{rule}-required" if needed else rule, at, f"was added{', required' * required}")
                continue
            if required != (name in before.required):
                became = "required" if required else "optional"
                self.note(f"{direction}-field-{became}", at, f"became {became}")
            self._schema(at, before.fields[name], place, direction)


@dataclass
class _Flat:
    """A schema with its `allOf` parts merged."""

    document: Document
    schema: JsonObject
    types: frozenset[str]
    values: frozenset[str] | None
    fields: dict[str, _Place]
    required: set[str]
    branches: dict[str, _Place]


_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
_LIMITS = {
    "maxLength": True,
    "minLength": False,
    "maximum": True,
    "minimum": False,
    "maxItems": True,
    "minItems": False,
}
_COMMAND_PARTS: tuple[tuple[str, Direction], ...] = (("Request", "request"), ("Ack", "response"))
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_DEEPEST = 64


def _flat(side: Side, place: _Place, depth: int = 0) -> _Flat:
    schema = place.schema if isinstance(place.schema, dict) else {}
    if depth > _DEEPEST:
        raise ContractError(place.document.path, "", "a schema contains itself")
    fields: dict[str, _Place] = {}
    required: set[str] = set()
    types, values, branches = _declared_types(schema), _declared_values(schema), dict[str, _Place]()
    parts: list[tuple[Document, JsonValue]] = [
        (place.document, part) for part in cast("list[JsonValue]", schema.get("allOf") or [])
    ]
    if isinstance(schema.get("$ref"), str):
        target = side.documents.resolve(place.document, "", str(schema["$ref"]))
        parts.append((target.document, target.value))
    for document, part in parts:
        below = _flat(side, _Place(document, part), depth + 1)
        fields.update(below.fields)
        required |= below.required
        types &= below.types
        values = below.values if values is None else values
        branches.update(below.branches)
    for key in ("anyOf", "oneOf"):
        listed = cast("list[JsonValue]", schema.get(key) or [])
        union: set[str] = set()
        for index, branch in enumerate(listed):
            below = _flat(side, _Place(place.document, branch), depth + 1)
            union |= below.types
            branches[_branch_name(branch, index)] = _Place(place.document, branch)
        if listed:
            types &= frozenset(union)
    properties = schema.get("properties")
    for name, member in (properties if isinstance(properties, dict) else {}).items():
        fields[name] = _Place(place.document, member)
    required |= {str(name) for name in cast("list[JsonValue]", schema.get("required") or [])}
    return _Flat(place.document, schema, types, values, fields, required, branches)


def _declared_types(schema: JsonObject) -> frozenset[str]:
    kind = schema.get("type")
    found = (
        {str(one) for one in kind}
        if isinstance(kind, list)
        else {kind}
        if isinstance(kind, str)
        else set(_TYPES)
    )
    if schema.get("nullable") is True:
        found.add("null")
    if "number" in found:
        found.add("integer")
    return frozenset(found)


def _declared_values(schema: JsonObject) -> frozenset[str] | None:
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return frozenset(json.dumps(value) for value in values) if isinstance(values, list) else None


def _branch_name(branch: JsonValue, index: int) -> str:
    if isinstance(branch, dict) and isinstance(branch.get("$ref"), str):
        return str(branch["$ref"]).rpartition("/")[2]
    return str(index)


def _number(value: JsonValue, is_upper: bool) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return float("inf") if is_upper else float("-inf")


def _title(method: str, path: str) -> str:
    return f"{method.upper()} {path}"


def _tag(operation: JsonObject) -> str:
    tags = operation.get("tags")
    return str(tags[0]) if isinstance(tags, list) and tags else ""


def _operations(side: Side) -> dict[tuple[str, str], JsonObject]:
    found: dict[tuple[str, str], JsonObject] = {}
    for path, item in _paths(side.openapi):
        shared = cast("list[JsonValue]", item.get("parameters") or [])
        for method in _METHODS:
            operation = item.get(method)
            if isinstance(operation, dict):
                own = cast("list[JsonValue]", operation.get("parameters") or [])
                found[method, path] = {**operation, "parameters": [*shared, *own]}
    return found


def _paths(document: Document) -> Iterator[tuple[str, JsonObject]]:
    paths = document.root.get("paths")
    for path, item in (paths if isinstance(paths, dict) else {}).items():
        if isinstance(item, dict):
            yield path, item


def _whole(side: Side, value: JsonValue) -> tuple[Document, JsonObject]:
    document = side.openapi
    for _ in range(_DEEPEST):
        if not isinstance(value, dict) or not isinstance(value.get("$ref"), str):
            break
        target = side.documents.resolve(document, "", str(value["$ref"]))
        document, value = target.document, target.value
    return document, value if isinstance(value, dict) else {}


def _parameters(side: Side, operation: JsonObject) -> dict[str, tuple[_Place, JsonObject]]:
    found: dict[str, tuple[_Place, JsonObject]] = {}
    for value in cast("list[JsonValue]", operation.get("parameters") or []):
        document, parameter = _whole(side, value)
        name = f"{text_of(parameter, 'in')} parameter {text_of(parameter, 'name')!r}"
        found[name] = (_Place(document, parameter.get("schema", {})), parameter)
    return found


def _content(side: Side, value: JsonValue) -> tuple[str, _Place] | None:
    document, holder = _whole(side, value)
    content = holder.get("content")
    for media, described in (content if isinstance(content, dict) else {}).items():
        return media, _Place(document, described.get("schema") if isinstance(described, dict) else None)
    return None


def _body(side: Side, operation: JsonObject) -> tuple[str, _Place, bool] | None:
    if "requestBody" not in operation:
        return None
    found = _content(side, operation["requestBody"])
    required = _whole(side, operation["requestBody"])[1].get("required") is True
    return (*found, required) if found else None


def _result(side: Side, operation: JsonObject) -> _Place | None:
    responses = operation.get("responses")
    for status, response in sorted((responses if isinstance(responses, dict) else {}).items()):
        if status.startswith("2") and (found := _content(side, response)) is not None:
            return found[1]
    return None


def _root(document: Document) -> _Place:
    return _Place(document, document.root)


def _part(document: Document, suffix: str) -> _Place | None:
    definitions = document.root.get("$defs")
    for name, schema in (definitions if isinstance(definitions, dict) else {}).items():
        if name.endswith(suffix):
            return _Place(document, schema)
    return None
