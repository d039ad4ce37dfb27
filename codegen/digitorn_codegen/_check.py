"""Refuses invalid contracts, and says where they are invalid."""

import json
import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal, TypeAlias, cast

from jsonschema_rs import (
    Draft4Validator,
    Draft7Validator,
    Draft202012Validator,
    Registry,
    ValidationError,
    ValidationErrorKind,
    Validator,
)

from ._documents import (
    LITERALS,
    Document,
    Documents,
    JsonObject,
    JsonValue,
    Target,
    below,
    encodable,
    escape,
    pointer_of,
    text_of,
    without_extensions,
)
from ._errors import ContractError

Warn: TypeAlias = Callable[[str, Path, str, str], None]
"""Takes a warning: its name, the file, the pointer and the text."""

_TEXT: JsonObject = {"type": "string", "minLength": 1}
_FLAG: JsonObject = {"type": "boolean"}


def _texts(*names: str, required: Iterable[str] = ()) -> JsonObject:
    return {
        "type": "object",
        "properties": dict.fromkeys(names, _TEXT),
        "required": list(required),
        "additionalProperties": False,
    }


_EXTENSIONS: JsonObject = {
    "type": "object",
    "properties": {
        "x-event-type": _TEXT,
        "x-event-variant": _texts("requires", required=("requires",)),
        "x-event-enveloped": _FLAG,
        "x-event-defaults": {"type": "object"},
        "x-event-envelope": _FLAG,
        "x-socketio": _texts("namespace", "event"),
        "x-event-live": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        "x-event-lifted": {"type": "object", "additionalProperties": _TEXT},
        "x-constants": {
            "type": "object",
            "additionalProperties": {
                "type": ["array", "object"],
                "items": {"type": "string"},
                "additionalProperties": {"type": "string"},
            },
        },
        "x-command": _TEXT,
        "x-namespace": _TEXT,
        "x-command-error": _FLAG,
        "x-connect": _FLAG,
        "x-envelope": _texts("data", "success", "error", required=("data",)),
    },
}


_JSON_SCHEMA = "https://json-schema.org/draft/2020-12/schema"
_EXTENSION_VALIDATOR = Draft202012Validator(_EXTENSIONS)
_KNOWN_DIALECT = re.compile(
    r"https://spec\.openapis\.org/oas/3\.\d/dialect/.*|https://json-schema\.org/draft/2020-12/schema#?"
)

_Dialect: TypeAlias = Literal["3.0", "3.1", "3.2", "JSON Schema"]

# What references of OpenAPI point at, as its JSON Schemas of 3.1 and 3.0 call that.
_KINDS: Mapping[str, str] = {
    "callbacks": "Callback",
    "header": "Header",
    "link": "Link",
    "media-type": "MediaType",
    "parameter": "Parameter",
    "path-item": "PathItem",
    "request-body": "RequestBody",
    "response": "Response",
    "schema": "Schema",
    "security-scheme": "SecurityScheme",
}
# What stands below a keyword, or in the list or table below it; elsewhere there are schemas.
_BELOW: Mapping[str, str] = {
    "callbacks": "callbacks",
    "content": "media-type",
    "discriminator": "discriminator",
    "headers": "header",
    "links": "link",
    "mediaTypes": "media-type",
    "parameters": "parameter",
    "pathItems": "path-item",
    "paths": "path-item",
    "requestBodies": "request-body",
    "requestBody": "request-body",
    "responses": "response",
    "securitySchemes": "security-scheme",
    "webhooks": "path-item",
}
# What OpenAPI 3.2 adds and nothing here reads.
_UNREAD: Mapping[str, tuple[str, ...]] = {
    "discriminator": ("defaultMapping",),
    "media-type": ("itemEncoding", "prefixEncoding", "$ref"),
    "path-item": ("additionalOperations", "query"),
}


def schemas(documents: Iterable[Document]) -> None:
    """Refuses files of events and commands that are no JSON Schema, and malformed keys of our own in them.

    Raises:
        ContractError: The first fault of the first such file.
    """
    for document in documents:
        _validate(document, _validator("JSON Schema", ""), document.root, "", "is not valid JSON Schema")
        extensions(document, "", document.root)


def extensions(document: Document, pointer: str, value: JsonObject) -> None:
    """Refuses an object whose keys of our own (`x-…`) break the form in docs/codegen-contracts.md.

    Raises:
        ContractError: The first fault.
    """
    _validate(document, _EXTENSION_VALIDATOR, value, pointer, "is malformed")


def _validate(document: Document, validator: Validator, value: JsonValue, pointer: str, what: str) -> None:
    try:
        try:
            errors = list(validator.iter_errors(value))
        except UnicodeEncodeError:
            errors = list(validator.iter_errors(encodable(value)))
    except ValueError as error:
        # It holds something that JSON has not, or is nested too deeply.
        raise ContractError(document.path, pointer, f"{what}: {_short(error)}") from error
    # A fault also leaves the members around it unevaluated, which is another error and no other fault.
    first = min(
        errors,
        key=lambda e: (isinstance(e.kind, _UNEVALUATED), len(e.instance_path), str(e.instance_path)),
        default=None,
    )
    if first is not None:
        first, path = _innermost(first)
        raise ContractError(document.path, pointer + pointer_of(path), f"{what}: {_short(first)}")


_UNEVALUATED = (ValidationErrorKind.UnevaluatedProperties, ValidationErrorKind.UnevaluatedItems)


def _innermost(error: ValidationError) -> tuple[ValidationError, list[str | int]]:
    """What is wrong with the only branch of a union that a value was meant to be, and where."""
    path = list(error.instance_path)
    while isinstance(error.kind, ValidationErrorKind.OneOfNotValid | ValidationErrorKind.AnyOf):
        is_reference = isinstance(error.instance, dict) and "$ref" in error.instance
        meant = [one for one in error.kind.context if _is_for_references(one) == is_reference]
        if len(meant) > 1:
            # The branches for parameters differ in a constant.
            meant = [one for one in meant if not any(isinstance(e.kind, _CHOICES) for e in one)]
        if len(meant) != 1 or not meant[0]:
            break
        error = min(meant[0], key=lambda e: (len(e.instance_path), str(e.instance_path)))
        path = list(error.instance_path)
    return error, path


_CHOICES = (ValidationErrorKind.Enum, ValidationErrorKind.Constant)


def _is_for_references(branch: Iterable[ValidationError]) -> bool:
    return any(isinstance(e.kind, ValidationErrorKind.Required) and e.kind.property == "$ref" for e in branch)


def references(
    documents: Documents, api: Document | None, schema_files: Collection[Document], warn: Warn
) -> None:
    """Refuses references that lead nowhere or round in a circle, and what is invalid where they lead.

    What stands in the files of the contract is checked as a whole elsewhere; of other files all is checked
    that a reference reaches.

    Args:
        documents: The files.
        api: The OpenAPI document, if there is one.
        schema_files: The schemas of events and commands.
        warn: Takes what may mean something else than is read.

    Raises:
        ContractError: The first fault.
    """
    found = _References(
        documents, {document.path for document in (*([api] if api else ()), *schema_files)}, warn
    )
    if api is not None:
        found.walk(Target(api, "", api.root), "document", _version(api) or "3.1")
    for document in schema_files:
        found.walk(Target(document, "", document.root), "schema", "JSON Schema")
    found.follow()


@dataclass(frozen=True)
class _Reference:
    """A reference that waits to be followed: the object that it is in, and what it should point at."""

    holder: Target
    kind: str
    dialect: _Dialect


@dataclass
class _References:
    documents: Documents
    roots: set[Path]
    warn: Warn
    _waiting: deque[_Reference] = field(default_factory=deque[_Reference])
    _reached: set[tuple[Path, str, str]] = field(default_factory=set[tuple[Path, str, str]])

    def walk(self, start: Target, kind: str, dialect: _Dialect) -> None:
        """Notes the references at and below a place."""
        for pointer, value, what in _objects(start.value, start.pointer, kind):
            if what == "schema" and (named := text_of(value, "$schema")):
                _check_dialect(start.document, f"{pointer}/$schema", named, self.warn)
            for key in _UNREAD.get(what, ()) if dialect == "3.2" else ():
                if key in value:
                    text = f"{key!r} of OpenAPI 3.2 is not read"
                    self.warn("unread", start.document.path, f"{pointer}/{key}", text)
            if isinstance(value.get("$ref"), str):
                self._waiting.append(_Reference(Target(start.document, pointer, value), what, dialect))

    def follow(self) -> None:
        """Follows every reference, and those where they lead.

        Raises:
            ContractError: The first fault.
        """
        while self._waiting:
            missed: list[_Reference] = []
            while self._waiting:
                one = self._waiting.popleft()
                try:
                    target = self._target(one)
                except ContractError:
                    # A schema with that URI may be in a file that another reference reaches.
                    missed.append(one)
                else:
                    self._reach(target, one)
            for one in missed:
                self._reach(self._target(one), one)

    def _target(self, reference: _Reference) -> Target:
        holder = reference.holder
        document, pointer = holder.document, f"{holder.pointer}/$ref"
        ref = text_of(holder.value_object, "$ref")
        target = self.documents.resolve(document, pointer, ref)
        if isinstance(target.value, dict) and "$ref" in target.value:
            self.documents.follow(document, pointer, holder.value_object)
        return target

    def _reach(self, target: Target, reference: _Reference) -> None:
        document, value, kind = target.document, target.value, reference.kind
        self._check_base(reference.holder, target)
        is_data = any(step.startswith("x-") or step in LITERALS for step in target.pointer.split("/"))
        if (document.path in self.roots and not is_data) or not isinstance(value, dict):
            return
        if (where := (document.path, target.pointer, kind)) in self._reached:
            return
        self._reached.add(where)
        dialect = _version(document) or reference.dialect
        if "$ref" not in value or (kind == "schema" and dialect != "3.0"):
            is_schema = dialect == "JSON Schema"
            what = "is not valid JSON Schema" if is_schema else "is not valid OpenAPI"
            _validate(document, _validator(dialect, kind), value, target.pointer, what)
        self.walk(target, kind, dialect)

    def _check_base(self, holder: Target, target: Target) -> None:
        """Warns of references that do not mean what they would elsewhere."""
        document, pointer = holder.document, f"{holder.pointer}/$ref"
        if not document.has_names:
            return
        ref = text_of(holder.value_object, "$ref")
        around = document.resources.around(pointer)
        if ref.startswith("#/") and not target.pointer.startswith(around):
            text = f"{ref!r} is read from the root of the file; the $id at {around} has nothing there"
            self.warn("reference-base", document.path, pointer, text)
        name = text_of(target.value_object, "$dynamicAnchor")
        if pointer in document.dynamic_refs and name and self.documents.anchors_of(name) > 1:
            text = f"$dynamicRef {ref!r} is read as a $ref to {target.document.path.name}#{target.pointer}"
            self.warn("dynamic-reference", document.path, pointer, text)


def _objects(
    value: JsonValue, pointer: str, kind: str, table: bool = False
) -> Iterator[tuple[str, JsonObject, str]]:
    """Every object at and below a value that is contract and not data, with its pointer and its kind."""
    if isinstance(value, dict):
        if not table:
            yield pointer, value, kind
        for key, member, is_table in below(value, table):
            at = f"{pointer}/{escape(key)}"
            # The members of callbacks are path items under expressions.
            what = kind if table else "path-item" if kind == "callbacks" else _BELOW.get(key, "schema")
            yield from _objects(without_extensions(member, at) if is_table else member, at, what, is_table)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _objects(item, f"{pointer}/{index}", kind)


def _check_dialect(document: Document, pointer: str, named: str, warn: Warn) -> None:
    if not _KNOWN_DIALECT.fullmatch(named):
        text = f"the dialect {named!r} is not known; read as JSON Schema 2020-12"
        warn("unknown-dialect", document.path, pointer, text)


def asyncapi(document: Document) -> None:
    """Refuses a document that is not valid AsyncAPI 2.x or 3.0.

    Raises:
        ContractError: The first fault.
    """
    version = text_of(document.root, "asyncapi")
    if re.match(r"2\.[0-6]\.\d", version):
        name, latest = "asyncapi-2.6", "2.6.0"
    elif re.match(r"3\.[01]\.\d", version):
        name, latest = "asyncapi-3.0", "3.0.0"
    else:
        raise ContractError(
            document.path, "/asyncapi", f"is {version!r}; AsyncAPI 2.0 to 2.6 and 3.0 are supported"
        )
    validator = Draft7Validator(_published(name), validate_formats=False)
    # Later versions of the format accept what earlier ones do.
    _validate(document, validator, {**document.root, "asyncapi": latest}, "", "is not valid AsyncAPI")


def openapi(api: Document, warn: Warn) -> None:
    """Refuses a document that is not valid OpenAPI 3.0, 3.1 or 3.2.

    Args:
        api: The document.
        warn: Takes what may mean something else than is read.

    Raises:
        ContractError: The first fault.
    """
    dialect = _version(api)
    if dialect is None:
        text = f"is {text_of(api.root, 'openapi')!r}; OpenAPI 3.0, 3.1 and 3.2 are supported"
        raise ContractError(api.path, "/openapi", text)
    _validate(api, _validator(dialect, ""), api.root, "", "is not valid OpenAPI")
    if named := text_of(api.root, "jsonSchemaDialect"):
        _check_dialect(api, "/jsonSchemaDialect", named, warn)
    seen: dict[str, str] = {}
    paths = api.root.get("paths")
    for path in paths if isinstance(paths, dict) else ():
        first = seen.setdefault(re.sub(r"\{[^}]*\}", "{}", path), path)
        if first != path:
            text = f"is the same path as {first}; both are generated"
            warn("path-collision", api.path, f"/paths/{escape(path)}", text)


def _version(document: Document) -> Literal["3.0", "3.1", "3.2"] | None:
    """The version of OpenAPI that a document has; None if it has none that is known."""
    found = re.match(r"3\.([012])\.\d", text_of(document.root, "openapi"))
    versions: Mapping[str, Literal["3.0", "3.1", "3.2"]] = {"0": "3.0", "1": "3.1", "2": "3.2"}
    return versions[found[1]] if found else None


@cache
def _validator(dialect: _Dialect, kind: str) -> Validator:
    """A validator of whole documents, or of one kind of object.

    Args:
        dialect: The version of OpenAPI, or JSON Schema.
        kind: The kind; empty for a whole document.
    """
    if dialect == "JSON Schema":
        return Draft202012Validator({"$ref": _JSON_SCHEMA})
    structure = _published(f"openapi-{dialect}")
    if dialect == "3.0":
        schema = {"$ref": f"#/definitions/{_KINDS[kind]}", **structure} if kind else structure
        return Draft4Validator(schema, validate_formats=False)
    published = _published(f"dialect-{dialect}")
    if kind == "schema":
        return Draft202012Validator({"$ref": published["$id"]}, registry=_registry(dialect))
    # Wherever the structure has a schema, it refers to the outermost anchor `meta`, which is this one.
    own: JsonObject = {
        "$id": f"urn:digitorn-codegen:openapi-{dialect}",
        "$ref": f"{structure['$id']}#/$defs/{kind}" if kind else structure["$id"],
        "$defs": {"schema": {"$dynamicAnchor": "meta", "$ref": published["$id"]}},
    }
    return Draft202012Validator(own, registry=_registry(dialect))


def _registry(dialect: _Dialect) -> Registry:
    named = (_published(f"{name}-{dialect}") for name in ("openapi", "dialect", "vocabulary"))
    return Registry([(text_of(one, "$id"), one) for one in named])


def _published(name: str) -> JsonObject:
    """A schema as it is published with the specification of OpenAPI."""
    file = resources.files("digitorn_codegen") / "schemas" / f"{name}.json"
    return cast("JsonObject", json.loads(file.read_text(encoding="utf-8")))


def components(api: Document) -> Iterator[str]:
    """The pointer of each component schema, its keys of our own checked.

    Raises:
        ContractError: A malformed key of our own.
    """
    found = api.root.get("components")
    named = found.get("schemas") if isinstance(found, dict) else None
    for name, schema in named.items() if isinstance(named, dict) else ():
        pointer = f"/components/schemas/{escape(name)}"
        if isinstance(schema, dict):
            envelope(api, pointer, schema)
        yield pointer


def envelope(document: Document, pointer: str, component: JsonObject) -> None:
    """Refuses a malformed `x-envelope`. All other keys that begin with `x-` are free in OpenAPI.

    Raises:
        ContractError: It is malformed.
    """
    extensions(document, pointer, {key: value for key, value in component.items() if key == "x-envelope"})


def _short(error: ValueError) -> str:
    said = error.message if isinstance(error, ValidationError) else str(error)
    lines = said.splitlines() or [type(error).__name__]
    return lines[0] if len(lines[0]) <= 200 else lines[0][:197] + "..."
