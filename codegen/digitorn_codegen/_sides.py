"""One side of a comparison: a contract, and what its schemas declare once references are followed."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, cast

from ._documents import Document, Documents, JsonObject, JsonValue, text_of
from ._errors import ContractError

Direction: TypeAlias = Literal["request", "response"]

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
_DEEPEST = 64
_ANNOTATIONS = frozenset(
    {
        *("description", "title", "default", "example", "examples", "deprecated", "readOnly", "writeOnly"),
        *("summary", "$comment", "externalDocs"),
    }
)


@dataclass(frozen=True)
class Side:
    """One contract.

    Attributes:
        openapi: The OpenAPI document.
        events: Event payload schemas by wire name and variant.
        commands: Command schemas by wire name.
        shared: The other schemas of both folders: the envelope, shared definitions, the failure of a command.
        documents: All documents that were read.
    """

    openapi: Document
    events: Mapping[str, Document]
    commands: Mapping[str, Document]
    shared: tuple[Document, ...]
    documents: Documents

    @property
    def envelope(self) -> Document | None:
        """What events travel in, if the contract has events."""
        return self._marked("x-event-envelope")

    @property
    def command_error(self) -> Document | None:
        """The acknowledgement of a command that failed, if the contract has one."""
        return self._marked("x-command-error")

    def _marked(self, key: str) -> Document | None:
        return next((one for one in self.shared if one.root.get(key) is True), None)


@dataclass(frozen=True)
class Place:
    """A schema and the document that it stands in."""

    document: Document
    schema: JsonValue


@dataclass(frozen=True)
class Response:
    """What an operation answers under one status.

    Attributes:
        name: Name of the shared response that it refers to; empty if it stands in the operation.
        media_types: Media types of the body; none without a body.
        media_type: That of them whose schema this is: JSON if there are several; empty without a body.
        body: Schema of the body; None without a body.
    """

    name: str
    media_types: tuple[str, ...]
    media_type: str
    body: Place | None


@dataclass(frozen=True)
class Flat:
    """A schema with its `allOf` parts and references merged.

    Attributes:
        document: Where it stands.
        schema: The schema itself.
        types: The JSON types that it takes.
        values: The values that it lists, as JSON and without null; None if it lists none.
        union_values: The values of all branches of its union; None unless every branch lists its values.
        fields: Its members.
        required: The names of those that are required.
        branches: The branches of its union, by name or index.
        is_open: Whether members that it does not declare are part of it.
    """

    document: Document
    schema: JsonObject
    types: frozenset[str]
    values: frozenset[str] | None
    union_values: frozenset[str] | None
    fields: dict[str, Place]
    required: set[str]
    branches: dict[str, Place]
    is_open: bool

    @property
    def all_values(self) -> frozenset[str] | None:
        """The values that it lists, itself or in its branches."""
        return self.union_values if self.values is None else self.values


def read_side(path: Path) -> Side:
    """Reads a contract for comparison.

    Args:
        path: An OpenAPI document, or a folder with `openapi.yaml` and perhaps `events` and `commands`.

    Raises:
        ContractError: There is no contract, or it cannot be read.
    """
    if not path.is_dir():
        return read_parts(path)
    found = [path / f"openapi.{suffix}" for suffix in ("yaml", "yml", "json")]
    openapi = next((file for file in found if file.is_file()), None)
    if openapi is None:
        raise ContractError(path, "", "holds no openapi.yaml, openapi.yml or openapi.json")
    return read_parts(openapi, path / "events", path / "commands")


def read_parts(openapi: Path, events: Path | None = None, commands: Path | None = None) -> Side:
    """Reads a contract whose parts are given.

    Args:
        openapi: The OpenAPI document.
        events: Folder of event schemas, if there is one.
        commands: Folder of command schemas, if there is one.

    Raises:
        ContractError: A part cannot be read.
    """
    documents = Documents()
    event, beside_events = _schemas(documents, events, "x-event-type")
    command, beside_commands = _schemas(documents, commands, "x-command")
    return Side(documents.get(openapi), event, command, (*beside_events, *beside_commands), documents)


def _schemas(
    documents: Documents, folder: Path | None, key: str
) -> tuple[dict[str, Document], list[Document]]:
    """The schemas of a folder by wire name, and those that have none."""
    named: dict[str, Document] = {}
    others: list[Document] = []
    files = sorted(folder.iterdir()) if folder is not None and folder.is_dir() else []
    for document in [documents.get(file) for file in files if file.suffix in (".json", ".yaml", ".yml")]:
        wire = text_of(document.root, key)
        variant = text_of(object_of(document.root, "x-event-variant"), "requires")
        if wire:
            named[f"{wire} ({variant})" if variant else wire] = document
        else:
            others.append(document)
    return named, others


def object_of(value: JsonValue, key: str) -> JsonObject:
    """A member that is an object, or an empty object."""
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def root_of(document: Document) -> Place:
    """The schema that a document is."""
    return Place(document, document.root)


def command_part(document: Document, suffix: str) -> Place | None:
    """A command's definition whose name ends in a suffix, such as `Request`."""
    for name, schema in object_of(document.root, "$defs").items():
        if name.endswith(suffix):
            return Place(document, schema)
    return None


# --- operations


def operations_of(side: Side) -> dict[tuple[str, str], JsonObject]:
    """The operations of a contract by method and path, each with the parameters of its path."""
    found: dict[tuple[str, str], JsonObject] = {}
    for path, item in _paths(side.openapi):
        shared = cast("list[JsonValue]", item.get("parameters") or [])
        for method in _METHODS:
            operation = item.get(method)
            if isinstance(operation, dict):
                own = cast("list[JsonValue]", operation.get("parameters") or [])
                found[method.upper(), path] = {**operation, "parameters": [*shared, *own]}
    return found


def _paths(document: Document) -> Iterator[tuple[str, JsonObject]]:
    for path, item in object_of(document.root, "paths").items():
        if isinstance(item, dict):
            yield path, item


def parameters_of(side: Side, operation: JsonObject) -> dict[str, tuple[Place, JsonObject]]:
    """The parameters of an operation by place and name, each with its schema."""
    found: dict[str, tuple[Place, JsonObject]] = {}
    for value in cast("list[JsonValue]", operation.get("parameters") or []):
        document, parameter, _ = _whole(side, value)
        name = f"{text_of(parameter, 'in')} parameter {text_of(parameter, 'name')!r}"
        found[name] = (Place(document, parameter.get("schema", {})), parameter)
    return found


def body_of(side: Side, operation: JsonObject) -> tuple[str, Place, bool] | None:
    """Media type and schema of an operation's request body, and whether it is required."""
    if "requestBody" not in operation:
        return None
    document, body, _ = _whole(side, operation["requestBody"])
    found = _content(document, body)
    return (*found, body.get("required") is True) if found else None


def body_members(side: Side, operation: JsonObject) -> dict[str, bool]:
    """The members of an operation's request body, and whether each is required."""
    body = body_of(side, operation)
    if body is None:
        return {}
    found = flat(side, follow(side, body[1])[0])
    members = {name: name in found.required for name in found.fields}
    for branch in found.branches.values():
        below = flat(side, branch)
        members.update({name: name in below.required for name in below.fields})
    return members


def responses_of(side: Side, operation: JsonObject) -> dict[str, Response]:
    """What an operation answers by status, in ascending order."""
    found: dict[str, Response] = {}
    for status, value in sorted(object_of(operation, "responses").items()):
        document, response, name = _whole(side, value)
        media_type, body = _content(document, response) or ("", None)
        found[status] = Response(name, tuple(object_of(response, "content")), media_type, body)
    return found


def _whole(side: Side, value: JsonValue) -> tuple[Document, JsonObject, str]:
    """What a value of the OpenAPI document is once references are followed, and the name of the last."""
    document, name = side.openapi, ""
    for _ in range(_DEEPEST):
        if not isinstance(value, dict) or not isinstance(value.get("$ref"), str):
            break
        target = side.documents.resolve(document, "", str(value["$ref"]))
        document, value, name = target.document, target.value, target.pointer.rpartition("/")[2]
    return document, value if isinstance(value, dict) else {}, name


def _content(document: Document, holder: JsonObject) -> tuple[str, Place] | None:
    """Media type and schema of a body: those of JSON, or else the first."""
    content = object_of(holder, "content")
    media_type = next((one for one in content if is_json(one)), next(iter(content), None))
    if media_type is None:
        return None
    return media_type, Place(document, object_of(content, media_type).get("schema"))


def is_json(media_type: str) -> bool:
    """Whether a media type is JSON, also one such as `application/problem+json`."""
    return media_type.partition(";")[0].strip().lower().endswith(("/json", "+json"))


# --- schemas


def follow(side: Side, place: Place) -> tuple[Place, str, bool]:
    """Where a schema really stands, its name there, and whether null was one of the alternatives on the way.

    Raises:
        ContractError: It is a reference to itself.
    """
    name, nullable = "", False
    for _ in range(_DEEPEST):
        schema = place.schema
        said = {k for k in schema if not _is_annotation(k)} if isinstance(schema, dict) else set[str]()
        if isinstance(schema, dict) and said == {"$ref"}:
            target = side.documents.resolve(place.document, "", str(schema["$ref"]))
            place = Place(target.document, target.value)
            name = target.pointer.rpartition("/")[2] or target.document.path.stem
        elif isinstance(schema, dict) and (only := _only_alternative(schema, said)) is not None:
            place, nullable = Place(place.document, only), True
        else:
            return place, name, nullable
    raise ContractError(place.document.path, "", f"the reference {name!r} leads to itself")


def _is_annotation(key: str) -> bool:
    return key in _ANNOTATIONS or key.startswith("x-")


def _only_alternative(schema: JsonObject, said: set[str]) -> JsonValue:
    """The other one of a schema that is a union of null and one other."""
    if said not in ({"anyOf"}, {"oneOf"}):
        return None
    listed = schema[next(iter(said))]
    others = [one for one in listed if one != {"type": "null"}] if isinstance(listed, list) else []
    return others[0] if isinstance(listed, list) and len(others) == 1 and len(listed) == 2 else None


def flat(side: Side, place: Place, depth: int = 0) -> Flat:
    """A schema with its `allOf` parts and references merged.

    Raises:
        ContractError: It contains itself.
    """
    schema = place.schema if isinstance(place.schema, dict) else {}
    if depth > _DEEPEST:
        raise ContractError(place.document.path, "", "a schema contains itself")
    fields: dict[str, Place] = {}
    required: set[str] = set()
    types, values, branches = _declared_types(schema), _declared_values(schema), dict[str, Place]()
    union_values: frozenset[str] | None = None
    is_open = schema.get("additionalProperties", False) is not False or "patternProperties" in schema
    parts: list[tuple[Document, JsonValue]] = [
        (place.document, part) for part in cast("list[JsonValue]", schema.get("allOf") or [])
    ]
    if isinstance(schema.get("$ref"), str):
        target = side.documents.resolve(place.document, "", str(schema["$ref"]))
        parts.append((target.document, target.value))
    for document, part in parts:
        below = flat(side, Place(document, part), depth + 1)
        fields.update(below.fields)
        required |= below.required
        types &= below.types
        values = below.values if values is None else values
        union_values = below.union_values if union_values is None else union_values
        branches.update(below.branches)
        is_open = is_open or below.is_open
    for key in ("anyOf", "oneOf"):
        listed = cast("list[JsonValue]", schema.get(key) or [])
        found = {_branch_name(one, index): Place(place.document, one) for index, one in enumerate(listed)}
        alternatives = [flat(side, branch, depth + 1) for branch in found.values()]
        branches.update(found)
        if listed:
            types &= frozenset[str]().union(*(one.types for one in alternatives))
            union_values = _united(alternatives)
    for name, member in object_of(schema, "properties").items():
        fields[name] = Place(place.document, member)
    required |= {str(name) for name in cast("list[JsonValue]", schema.get("required") or [])}
    return Flat(place.document, schema, types, values, union_values, fields, required, branches, is_open)


def _united(alternatives: list[Flat]) -> frozenset[str] | None:
    """The values of all alternatives but null; None unless each lists its values."""
    listed = [one.all_values for one in alternatives if one.types - {"null"}]
    known = [values for values in listed if values is not None]
    return frozenset[str]().union(*known) if listed and len(known) == len(listed) else None


def _declared_types(schema: JsonObject) -> frozenset[str]:
    kind, values = schema.get("type"), _listed(schema)
    found = {str(one) for one in (kind if isinstance(kind, list) else [kind])}
    if kind is None:
        found = set(_TYPES) if values is None else {json_type(value) for value in values}
    if schema.get("nullable") is True:
        found.add("null")
    if "number" in found:
        found.add("integer")
    return frozenset(found)


def json_type(value: JsonValue) -> str:
    """The JSON type of a value; a number without a fraction is an integer."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "integer" if value.is_integer() else "number"
        case str():
            return "string"
        case list():
            return "array"
        case dict():
            return "object"


def _listed(schema: JsonObject) -> list[JsonValue] | None:
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return values if isinstance(values, list) else None


def _declared_values(schema: JsonObject) -> frozenset[str] | None:
    values = _listed(schema)
    return None if values is None else frozenset(json.dumps(value) for value in values if value is not None)


def _branch_name(branch: JsonValue, index: int) -> str:
    if isinstance(branch, dict) and isinstance(branch.get("$ref"), str):
        return str(branch["$ref"]).rpartition("/")[2]
    return str(index)
