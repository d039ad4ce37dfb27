"""Reads the parameters of an operation: where each travels, and how its value is written."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from . import _ir as ir
from ._definitions import Definitions
from ._documents import Document, JsonObject, JsonValue, Target, escape, text_of
from ._errors import ContractError
from ._media import base, is_json, types_of
from ._names import free_argument, pascal

_STYLES: Mapping[tuple[str, bool], ir.Style | None] = {
    ("form", True): None,
    ("form", False): "comma",
    # An object has no exploded form in these two.
    ("spaceDelimited", True): None,
    ("spaceDelimited", False): "space",
    ("pipeDelimited", True): None,
    ("pipeDelimited", False): "pipe",
    ("deepObject", True): "deep",
    ("deepObject", False): "deep",
    ("simple", False): None,
    ("simple", True): "pairs",
    ("label", False): "label",
    ("label", True): "labels",
    ("matrix", False): "matrix",
    ("matrix", True): "matrices",
}
_ALLOWED = {
    "query": {"form", "spaceDelimited", "pipeDelimited", "deepObject"},
    "cookie": {"form"},
    "header": {"simple"},
    "path": {"simple", "label", "matrix"},
}

Listed = tuple[Document, str, JsonValue]
"""A list of parameters: the document, where the list stands in it, and the list."""


@dataclass(frozen=True)
class _Written:
    """How a parameter's value is written, and where its schema stands."""

    pointer: str
    schema: JsonValue
    style: ir.Style | None
    reserved: bool = False


@dataclass(frozen=True)
class ParameterReader:
    """Reads parameters.

    Attributes:
        definitions: Where their schemas go.
    """

    definitions: Definitions

    def read(self, lists: Iterable[Listed], id_: str, taken: set[str]) -> tuple[ir.Parameter, ...]:
        """The parameters of an operation.

        Args:
            lists: Those of its path, and its own, which take precedence.
            id_: The operation.
            taken: Arguments of the operation; gets those of the parameters.

        Raises:
            ContractError: One is no parameter, or is there twice.
        """
        targets: dict[tuple[str, str], Target] = {}
        for document, where, listed in lists:
            seen: set[tuple[str, str]] = set()
            for index, item in enumerate(listed if isinstance(listed, list) else []):
                if not isinstance(item, dict):
                    continue
                at = f"{where}/{index}"
                target = self.definitions.documents.follow(document, at, item)
                key = text_of(target.value_object, "name"), text_of(target.value_object, "in")
                if reason := _ignored(*key):
                    self.definitions.warn("parameter-ignored", document.path, at, reason)
                    continue
                if not key[0] or key[1] not in _ALLOWED:
                    raise ContractError(document.path, at, "is no parameter")
                if key in seen:
                    raise ContractError(document.path, at, f"the {key[1]} parameter {key[0]!r} stands twice")
                seen.add(key)
                targets[key] = target
        return tuple(self._parameter(target, id_, taken) for target in targets.values())

    def _parameter(self, target: Target, id_: str, taken: set[str]) -> ir.Parameter:
        value = target.value_object
        name, location = text_of(value, "name"), text_of(value, "in")
        written = self._written(target, value)
        argument = free_argument(name, location, taken)
        taken.add(argument)
        hint = f"{pascal(id_)}{pascal(name)}"
        return ir.Parameter(
            name=name,
            argument=argument,
            location=cast("ir.Location", location),
            type=self.definitions.type_of(target.document, written.pointer, written.schema, hint, "request"),
            required=location == "path" or value.get("required") is True,
            description=text_of(value, "description") or description(written.schema),
            spans_segments=value.get("x-path-segments") is True,
            style=written.style,
            reserved=written.reserved,
        )

    def _written(self, target: Target, value: JsonObject) -> _Written:
        content = value.get("content")
        if isinstance(content, dict) and content:
            media_type, entry = next(iter(content.items()))
            json: ir.Style | None = "json" if is_json(media_type) else None
            if json is None and not base(media_type).startswith("text/"):
                self._warn("parameter-media", target, f"{media_type} is written as text")
            below: JsonValue = entry.get("schema", {}) if isinstance(entry, dict) else None
            return _Written(f"{target.pointer}/content/{escape(media_type)}/schema", below, json)
        location = text_of(value, "in")
        reserved = value.get("allowReserved") is True
        if reserved and location != "query":
            self._warn("reserved-encoded", target, "reserved characters are percent-encoded all the same")
        default = "form" if location in ("query", "cookie") else "simple"
        named = text_of(value, "style") or default
        if named not in _ALLOWED.get(location, ()):
            self._warn("parameter-style", target, f"style {named!r} is none of a {location} parameter's")
            named = default
        schema = value.get("schema", {})
        written = _Written(
            f"{target.pointer}/schema",
            schema,
            style(named, value.get("explode")),
            reserved and location == "query",
        )
        self._check_depth(target, location, written)
        return written

    def _check_depth(self, target: Target, location: str, written: _Written) -> None:
        """Says what becomes of values for which OpenAPI defines no form."""
        schema = self._followed(target.document, written.pointer, written.schema)
        if location == "cookie" and written.style is None and "array" in types_of(schema.value_object):
            self._warn("cookie-list", target, "a cookie has one value; the items are joined by commas")
        if written.style != "deep" and self._is_nested(schema):
            text = "OpenAPI defines no form for lists and objects inside; the server may expect another"
            self._warn("nested-parameter", target, text)

    def _is_nested(self, schema: Target) -> bool:
        value = schema.value_object
        items, properties = value.get("items"), value.get("properties")
        below = [(f"{schema.pointer}/items", items)] if "array" in types_of(value) else []
        if isinstance(properties, dict):
            below += [(f"{schema.pointer}/properties/{escape(k)}", v) for k, v in properties.items()]
        for pointer, part in below:
            found = self._followed(schema.document, pointer, part).value_object
            if "properties" in found or {"array", "object"} & set(map(str, types_of(found))):
                return True
        return False

    def _followed(self, document: Document, pointer: str, schema: JsonValue) -> Target:
        if isinstance(schema, dict):
            return self.definitions.documents.follow(document, pointer, schema)
        return Target(document, pointer, {})

    def _warn(self, name: str, target: Target, text: str) -> None:
        self.definitions.warn(name, target.document.path, target.pointer, text)


def _ignored(name: str, location: str) -> str:
    """Why a parameter is not one of the stub's; empty if it is."""
    if location in _ALLOWED and location != "path" and not name:
        return f"the {location} parameter has no name"
    if location == "header" and name.lower() in ("accept", "authorization", "content-type"):
        return f"OpenAPI ignores the header parameter {name!r}; media types and security say what is sent"
    return "the whole query as one parameter is not supported" if location == "querystring" else ""


def style(named: str, explode: JsonValue) -> ir.Style | None:
    """How a value of a style is written; None for the default of its place."""
    return _STYLES[named, explode if isinstance(explode, bool) else named == "form"]


def field_style(encoding: JsonObject) -> ir.Style | None:
    """How a member of a form is written, by its entry in `encoding`."""
    named = text_of(encoding, "style")
    if named in _ALLOWED["query"]:
        return style(named, encoding.get("explode"))
    if isinstance(encoding.get("explode"), bool):
        return style("form", encoding["explode"])
    return "json" if is_json(text_of(encoding, "contentType")) else None


def description(schema: JsonValue) -> str:
    """What a schema says of itself."""
    return text_of(schema, "description") if isinstance(schema, dict) else ""
