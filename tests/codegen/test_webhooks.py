"""Webhooks of OpenAPI documents are events without an envelope."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from codegen.conftest import Client, Make, document
from digitorn_codegen import Settings, generate

OK = {"200": {"description": "ok"}}
BOOK = {"type": "object", "required": ["book"], "properties": {"book": {"type": "integer"}}}


def hook(schema: object, media: str = "application/json", **more: object) -> dict[str, object]:
    """A webhook with a body."""
    return {"post": {"requestBody": {"content": {media: {"schema": schema}}}, "responses": OK, **more}}


def api(webhooks: object, openapi: str = "3.1.0", **components: object) -> dict[str, Any]:
    """A document with webhooks."""
    found = document({}, openapi=openapi)
    found["webhooks" if openapi.startswith("3.1") else "x-webhooks"] = webhooks
    found["components"] = {"schemas": {}, **components}
    return found


def spec(client: Client, wire: str) -> Any:
    """The entry of an event in the registry."""
    (found,) = [one for one in client.module("events").EVENTS.specs if one.wire == wire]
    return found


def places(client: Client) -> list[str]:
    """Where the warnings are."""
    return [text.partition("#")[2].partition(":")[0] for text in client.warnings]


@pytest.mark.parametrize("openapi", ["3.0.3", "3.1.0"])
def test_a_webhook_is_an_event(openapi: str, make: Make) -> None:
    client = make(api({"book-lost": hook(BOOK, summary="A book was lost.")}, openapi))
    found = spec(client, "book-lost")
    assert (found.payload.__name__, found.enveloped) == ("BookLost", False)
    assert client.module("events").EVENTS.read("book-lost", {"book": 1}).book == 1
    with pytest.raises(ValidationError):
        client.module("events").EVENTS.read("book-lost", {})
    assert client.module("builders").book_lost(book=2).to_wire() == {"book": 2}
    assert client.warnings == ()


def test_a_component_is_extended(make: Make) -> None:
    shape = {"$ref": "#/components/schemas/Book"}
    client = make(api({"lost": hook(shape), "found": hook(shape)}, schemas={"Book": BOOK}))
    lost, found = spec(client, "lost").payload, spec(client, "found").payload
    assert (lost.__name__, found.__name__) == ("Lost", "Found")
    assert issubclass(lost, client.module("models").Book)
    assert client.module("events").EVENTS.spec_of(lost).wire == "lost"


def test_a_body_that_several_share(make: Make) -> None:
    body = {"$ref": "#/components/requestBodies/Lost"}
    shared = {"post": {"requestBody": body, "responses": OK}}
    content = {"application/json": {"schema": BOOK}}
    client = make(api({"lost": shared, "found": shared}, requestBodies={"Lost": {"content": content}}))
    for wire in ("lost", "found"):
        payload = client.module("events").EVENTS.read(wire, {"book": 1})
        assert type(payload).__name__ == wire.title()
        with pytest.raises(ValidationError):
            client.module("events").EVENTS.read(wire, {})


def test_a_path_item_by_reference_and_several_methods(make: Make) -> None:
    item = {**hook(BOOK), "put": hook(BOOK)["post"]}
    client = make(api({"lost": {"$ref": "#/components/pathItems/lost"}}, pathItems={"lost": item}))
    assert {one.wire for one in client.module("events").EVENTS.specs} == {"lost", "lost.post"}


def test_a_webhook_without_a_body_is_an_empty_object(make: Make) -> None:
    client = make(api({"ping": {"get": {"responses": OK}}}))
    assert client.module("events").EVENTS.read("ping", {}).to_wire() == {}


def test_a_form_is_a_payload_too(make: Make) -> None:
    client = make(api({"lost": hook(BOOK, "application/x-www-form-urlencoded")}))
    assert spec(client, "lost").payload.__name__ == "Lost"


WARNED: dict[str, tuple[object, str]] = {
    "no object": (
        hook({"type": "array", "items": BOOK}),
        "/webhooks/lost/post/requestBody/content/application~1json/schema",
    ),
    "no JSON": (hook(BOOK, "text/csv"), "/webhooks/lost/post/requestBody/content"),
    "no schema": (
        {"post": {"requestBody": {"content": {"application/json": {}}}, "responses": OK}},
        "/webhooks/lost/post/requestBody/content/application~1json",
    ),
    "parameters": (
        hook(BOOK, parameters=[{"name": "X-Id", "in": "header", "schema": {"type": "string"}}]),
        "/webhooks/lost/post/parameters",
    ),
}


@pytest.mark.parametrize("what", WARNED)
def test_what_is_not_generated_is_said(what: str, make: Make) -> None:
    item, place = WARNED[what]
    assert places(make(api({"lost": item}))) == [place]


def test_a_second_medium_is_said(make: Make) -> None:
    item = hook(BOOK)
    item["post"]["requestBody"]["content"]["application/xml"] = {"schema": BOOK}  # type: ignore[index] # JSON
    client = make(api({"lost": item}))
    assert places(client) == ["/webhooks/lost/post/requestBody/content/application~1xml"]


def test_webhooks_beside_events_in_an_envelope(toy: Settings) -> None:
    text = toy.openapi.read_text(encoding="utf-8")
    toy.openapi.write_text(f"{text}\nwebhooks: {json.dumps({'lost': hook(BOOK)})}\n", encoding="utf-8")
    generate(toy)
    events = (toy.out / "events.py").read_text(encoding="utf-8")
    assert '"toy:moved"' in events
    assert '"lost"' in events
    assert "EVENT_NAMESPACE" in events
