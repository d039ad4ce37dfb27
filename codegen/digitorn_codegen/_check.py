"""Refuses invalid contracts, and says where they are invalid."""

import json
import re
from collections.abc import Iterable, Iterator
from importlib import resources
from typing import cast

from jsonschema_rs import (
    Draft4Validator,
    Draft7Validator,
    Draft202012Validator,
    Registry,
    ValidationError,
    Validator,
)

from ._documents import Document, Documents, JsonObject, JsonValue, escape, pointer_of, text_of, walk
from ._errors import ContractError

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


_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_EXTENSION_VALIDATOR = Draft202012Validator(_EXTENSIONS)


def schemas(documents: Iterable[Document]) -> None:
    """Refuses files of events and commands that are no JSON Schema, and malformed keys of our own in them.

    Raises:
        ContractError: The first fault of the first such file.
    """
    validator = Draft202012Validator({"$ref": _DIALECT})
    for document in documents:
        _validate(document, validator, document.root, "", "is not valid JSON Schema")
        extensions(document, "", document.root)


def extensions(document: Document, pointer: str, value: JsonObject) -> None:
    """Refuses an object whose keys of our own (`x-…`) have not the form that docs/codegen.md describes.

    Raises:
        ContractError: The first fault.
    """
    _validate(document, _EXTENSION_VALIDATOR, value, pointer, "is malformed")


def _validate(document: Document, validator: Validator, value: JsonValue, pointer: str, what: str) -> None:
    try:
        errors = validator.iter_errors(value)
        first = min(errors, key=lambda e: (len(e.instance_path), str(e.instance_path)), default=None)
    except ValueError as error:
        # It holds something that JSON has not, or is nested too deeply.
        raise ContractError(document.path, pointer, f"{what}: {_short(error)}") from error
    if first is not None:
        raise ContractError(
            document.path, pointer + pointer_of(first.instance_path), f"{what}: {_short(first)}"
        )


def references(documents: Documents, roots: Iterable[Document]) -> None:
    """Refuses references that lead nowhere or round in a circle, also in files that only references reach.

    Raises:
        ContractError: The first such reference.
    """
    waiting = list(roots)
    seen = {document.path for document in waiting}
    while waiting:
        document = waiting.pop(0)
        for pointer, value in walk(document.root):
            ref = value.get("$ref")
            if not isinstance(ref, str):
                continue
            target = documents.resolve(document, f"{pointer}/$ref", ref).document
            if isinstance(documents.resolve(document, f"{pointer}/$ref", ref).value, dict):
                documents.follow(document, f"{pointer}/$ref", value)
            if target.path not in seen:
                seen.add(target.path)
                waiting.append(target)


def openapi(api: Document) -> None:
    """Refuses a document that is not valid OpenAPI 3.0 or 3.1.

    Raises:
        ContractError: The first fault.
    """
    version = text_of(api.root, "openapi")
    if re.match(r"3\.0\.\d", version):
        validator: Validator = Draft4Validator(_published("openapi-3.0"), validate_formats=False)
    elif re.match(r"3\.1\.\d", version):
        validator = _openapi_3_1()
    else:
        raise ContractError(api.path, "/openapi", f"is {version!r}; OpenAPI 3.0 and 3.1 are supported")
    _validate(api, validator, api.root, "", "is not valid OpenAPI")


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


def _openapi_3_1() -> Validator:
    """A validator of a document's structure, and of the schemas in it by the dialect of OpenAPI 3.1."""
    structure, dialect, vocabulary = map(_published, ("openapi-3.1", "dialect-3.1", "vocabulary-3.1"))
    # Wherever the structure has a schema, it refers to the outermost anchor `meta`, which is this one.
    schema: JsonObject = {
        "$id": "urn:digitorn-codegen:openapi-3.1",
        "$ref": structure["$id"],
        "$defs": {"schema": {"$dynamicAnchor": "meta", "$ref": dialect["$id"]}},
    }
    registry = Registry([(text_of(one, "$id"), one) for one in (structure, dialect, vocabulary)])
    return Draft202012Validator(schema, registry=registry)


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
            extensions(api, pointer, schema)
        yield pointer


def _short(error: ValueError) -> str:
    said = error.message if isinstance(error, ValidationError) else str(error)
    lines = said.splitlines() or [type(error).__name__]
    return lines[0] if len(lines[0]) <= 200 else lines[0][:197] + "..."
