"""GitHub's webhooks: schemas as one package has them, example payloads as another."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

from documents.sample import CACHE, Sample
from documents.shapes import Json, JsonObject, as_list, as_object, as_text, places, read

SLUG = "github_webhook_schemas"


def contract(sample: Sample) -> tuple[Path, JsonObject]:
    """The schemas as an OpenAPI document, with a webhook for each event.

    The package has one JSON Schema with `definitions`; their names hold a `$`, which components must not.
    """
    schema = read(sample.package("webhooks-schemas").extract("schema.json"))
    definitions = {_component(name): found for name, found in as_object(schema["definitions"]).items()}
    for _, found in places(definitions):
        if target := as_text(found.get("$ref")):
            found["$ref"] = "#/components/schemas/" + _component(target.removeprefix("#/definitions/"))
    events = [as_text(as_object(one)["$ref"]).rpartition("/")[2] for one in as_list(schema["oneOf"])]
    document: JsonObject = {
        "openapi": "3.1.0",
        "info": {"title": "GitHub webhooks", "version": "1"},
        "webhooks": {event.removesuffix("_event"): _webhook(_component(event)) for event in events},
        "components": {"schemas": cast("Json", definitions)},
    }
    path = CACHE / "files" / "webhooks.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path, document


def payloads(sample: Sample, document: JsonObject) -> Mapping[str, list[Json]]:
    """The example payloads by the pointer of the schema of their event."""
    components = as_object(as_object(document["components"])["schemas"])
    found: dict[str, list[Json]] = {}
    for name, payload in _examples(sample):
        component = f"{name}_event"
        if component in components:
            found.setdefault(f"/components/schemas/{component}", []).append(payload)
        action = as_text(as_object(payload).get("action"))
        if f"{name}.{action}" in components:
            found.setdefault(f"/components/schemas/{name}.{action}", []).append(payload)
    return found


def _examples(sample: Sample) -> Iterator[tuple[str, Json]]:
    path = sample.package("webhooks-examples").extract("api.github.com/index.json")
    for event in cast("list[JsonObject]", json.loads(path.read_text(encoding="utf-8"))):
        for payload in as_list(event["examples"]):
            yield as_text(event["name"]), payload


def _component(name: str) -> str:
    return name.replace("$", ".")


def _webhook(component: str) -> Json:
    schema: JsonObject = {"$ref": f"#/components/schemas/{component}"}
    content: JsonObject = {"application/json": {"schema": schema}}
    return {
        "post": {
            "requestBody": {"required": True, "content": content},
            "responses": {"200": {"description": "received"}},
        }
    }
