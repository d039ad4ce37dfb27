"""The contract's JSON Schemas of events, to hold frames against as they came over the wire."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from contract.document import OPENAPI, SCHEMA, openapi

Json = dict[str, Any]
Schema = bool | Mapping[str, Any]


def schema_faults(frame: Mapping[str, Any]) -> list[str]:
    """What in a frame breaks the schema of the envelope or that of its payload."""
    faults = _faults("envelope", "envelope.json", frame)
    wire, payload = frame.get("type"), frame.get("payload")
    if isinstance(wire, str) and isinstance(payload, dict):
        members = cast("Json", payload)
        name = schema_of(wire, members)
        faults += [f"{wire}: not in the contract"] if name is None else _faults(wire, name, members)
    return faults


def schema_of(wire: str, payload: Mapping[str, Any]) -> str | None:
    """The file that describes a payload of a wire name: a variant's, the name's own, or a family's."""
    family: str | None = None
    plain: str | None = None
    for name, schema in _payload_schemas().items():
        declared: str = schema["x-event-type"]
        variant = schema.get("x-event-variant")
        if declared == wire and variant is not None:
            if variant["requires"] in payload:
                return name
        elif declared == wire:
            plain = name
        elif declared.endswith("*") and wire.startswith(declared[:-1]):
            family = name
    return plain or family


def _faults(what: str, name: str, value: object) -> list[str]:
    found: list[ValidationError] = list(cast("Any", _validator(name)).iter_errors(value))
    return [f"{what}{one.json_path[1:]}: {one.message}" for one in found]


@cache
def _validator(name: str) -> Draft202012Validator:
    uri = (SCHEMA / "events" / name).as_uri()
    return Draft202012Validator({"$ref": uri}, registry=_registry())


@cache
def _registry() -> "Registry[Schema]":
    return cast("Registry[Schema]", cast("Any", Registry)(retrieve=_retrieve))


@cache
def _retrieve(uri: str) -> "Resource[Schema]":
    path = Path(uri.removeprefix("file://"))
    document = openapi() if path == OPENAPI else json.loads(path.read_text(encoding="utf-8"))
    return DRAFT202012.create_resource(document)


@cache
def _payload_schemas() -> dict[str, Json]:
    documents = {
        one.name: cast("Json", json.loads(one.read_text(encoding="utf-8")))
        for one in sorted((SCHEMA / "events").glob("*.json"))
    }
    return {name: one for name, one in documents.items() if "x-event-type" in one}
