"""Schemas of AsyncAPI documents, which may be written in several dialects, as JSON Schema 2020-12."""

import re
from collections.abc import Callable
from typing import Literal, TypeAlias

from ._documents import JsonObject, JsonValue
from ._types import modern

Dialect: TypeAlias = Literal["draft-07", "openapi-3.0", "2020-12"]
Report: TypeAlias = Callable[[str, str, str], None]
"""Called with the name of a warning, what to append to the pointer, and the text."""

_NATIVE = re.compile(r"application/vnd\.aai\.asyncapi\b|application/json\b")
_JSON_SCHEMA = re.compile(r"application/schema\b")
_OPENAPI = re.compile(r"application/vnd\.oai\.openapi\b")
_ANNOTATIONS = frozenset(
    {"$comment", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"}
)


def dialect_of(schema_format: str) -> Dialect | None:
    """The dialect that a `schemaFormat` names; None if it is not JSON Schema at all."""
    if not schema_format or _NATIVE.match(schema_format):
        return "draft-07"
    if _OPENAPI.match(schema_format):
        return "2020-12" if "version=3.1" in schema_format else "openapi-3.0"
    if _JSON_SCHEMA.match(schema_format):
        is_new = re.search(r"20(?:19|20)-\d\d", schema_format)
        return "2020-12" if is_new else "openapi-3.0" if "draft-04" in schema_format else "draft-07"
    return None


def is_annotation(key: str) -> bool:
    """Whether a keyword says nothing about what is valid."""
    return key in _ANNOTATIONS or key.startswith("x-")


def modernise(schema: JsonObject, dialect: Dialect, report: Report) -> None:
    """Changes one schema in place, but not those below it.

    Args:
        schema: The schema; those below it are already changed.
        dialect: What it is written in.
        report: Called with what is lost.
    """
    if isinstance(schema.get("discriminator"), str):
        del schema["discriminator"]
        report("discriminator-dropped", "/discriminator", "the tag is not checked; the members are")
    if dialect == "2020-12":
        return
    if "$ref" in schema:
        for key in [key for key in schema if key != "$ref" and not is_annotation(key)]:
            del schema[key]
            text = f"{key!r} has no effect beside a $ref in this dialect; use allOf"
            report("beside-reference", f"/{key}", text)
        return
    if isinstance(items := schema.get("items"), list):
        schema["prefixItems"] = items
        del schema["items"]
        if "additionalItems" in schema:
            schema["items"] = schema.pop("additionalItems")
    if isinstance(dependencies := schema.pop("dependencies", None), dict):
        _split_dependencies(schema, dependencies)
    if dialect == "openapi-3.0":
        changed = modern(schema)
        schema.clear()
        schema.update(changed)


def _split_dependencies(schema: JsonObject, dependencies: JsonObject) -> None:
    required: dict[str, JsonValue] = {
        name: value for name, value in dependencies.items() if isinstance(value, list)
    }
    schemas: dict[str, JsonValue] = {
        name: value for name, value in dependencies.items() if not isinstance(value, list)
    }
    if required:
        schema["dependentRequired"] = required
    if schemas:
        schema["dependentSchemas"] = schemas
