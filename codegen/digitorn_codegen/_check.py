"""Refuses invalid contracts, and says where they are invalid."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import validator_for
from openapi_spec_validator import OpenAPIV30SpecValidator, OpenAPIV31SpecValidator
from openapi_spec_validator.schemas.utils import get_schema_content
from openapi_spec_validator.validation.keywords import KeywordValidator

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


def schemas(documents: Iterable[Document]) -> None:
    """Refuses files of events and commands that are no JSON Schema, and malformed keys of our own in them.

    Raises:
        ContractError: The first fault of the first such file.
    """
    for document in documents:
        _validate(document, Draft202012Validator.META_SCHEMA, document.root, "", "is not valid JSON Schema")
        extensions(document, "", document.root)


def extensions(document: Document, pointer: str, value: JsonObject) -> None:
    """Refuses an object whose keys of our own (`x-…`) have not the form that docs/codegen.md describes.

    Raises:
        ContractError: The first fault.
    """
    _validate(document, _EXTENSIONS, value, pointer, "is malformed")


def _validate(
    document: Document, schema: Mapping[str, object], value: JsonValue, pointer: str, what: str
) -> None:
    # The stubs of jsonschema know no schema that is read-only.
    validator: Any = Draft202012Validator(cast("Any", schema))
    errors = cast("Iterable[ValidationError]", validator.iter_errors(value))
    for error in sorted(errors, key=lambda e: (len(e.absolute_path), str(e.absolute_path))):
        at = pointer + pointer_of(error.absolute_path)
        raise ContractError(document.path, at, f"{what}: {_short(error)}")


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
    validator: type[OpenAPIV30SpecValidator | OpenAPIV31SpecValidator]
    if re.match(r"3\.0\.\d", version):
        validator = _Validator30
    elif re.match(r"3\.[12]\.\d", version):
        validator = _Validator31
    else:
        raise ContractError(api.path, "/openapi", f"is {version!r}; OpenAPI 3.0 and 3.1 are supported")
    try:
        for error in validator(cast("Any", api.root), base_uri=api.path.as_uri()).iter_errors():
            if (error.validator, error.validator_value) == ("format", "regex"):
                # It asks Python's engine, and the contract's is another; see `_adapt`.
                continue
            raise ContractError(
                api.path, pointer_of(error.absolute_path), f"is not valid OpenAPI: {_short(error)}"
            )
    except ContractError:
        raise
    except RecursionError:
        # It follows references through lists without end, which valid documents survive elsewhere. Schemas
        # that are made of themselves are refused with their place when definitions are adapted.
        return
    except Exception as error:
        # On input that it cannot walk, it raises many errors of its own and of the libraries it uses.
        raise ContractError(
            api.path, "", f"is not valid OpenAPI: {type(error).__name__}: {_short(error)}"
        ) from error


class _AnyDefault(KeywordValidator):
    """Accepts every default: those that do not fit are left out later, with a warning."""

    def __call__(self, schema: object, value: object) -> Iterator[ValidationError]:
        return iter(())


def _structure(version: str) -> Any:
    """A validator of the document's structure by one library, whatever others happen to be installed."""
    schema = dict(get_schema_content(version))
    make: Any = validator_for(schema)
    return make(schema)


class _Validator30(OpenAPIV30SpecValidator):
    schema_validator = _structure("3.0")
    keyword_validators = dict(OpenAPIV30SpecValidator.keyword_validators, default=_AnyDefault)  # noqa: RUF012 - the base class declares it so


class _Validator31(OpenAPIV31SpecValidator):
    schema_validator = _structure("3.1")
    keyword_validators = dict(OpenAPIV31SpecValidator.keyword_validators, default=_AnyDefault)  # noqa: RUF012 - the base class declares it so


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


def _short(error: object) -> str:
    lines = str(getattr(error, "message", error)).splitlines() or [type(error).__name__]
    return lines[0] if len(lines[0]) <= 200 else lines[0][:197] + "..."
