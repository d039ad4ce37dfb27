"""The check of public documents itself, and the few documents that every run of the tests checks."""

import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from digitorn_codegen import Settings
from documents.checking import Effort, Fault, check
from documents.one import check_named
from documents.oracle import Oracle
from documents.sample import sample
from documents.shapes import Json, JsonObject, as_object, same

_numbers = itertools.count()

BOOK: JsonObject = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "pages": {"type": "integer"}},
    "required": ["title"],
}


def document(schemas: JsonObject, openapi: str = "3.1.0") -> JsonObject:
    """A document whose only operation answers with the component `Book`."""
    answer: JsonObject = {"application/json": {"schema": {"$ref": "#/components/schemas/Book"}}}
    return {
        "openapi": openapi,
        "info": {"title": "Made up", "version": "1"},
        "paths": {"/book": {"get": {"responses": {"200": {"description": "a book", "content": answer}}}}},
        "components": {"schemas": schemas},
    }


Compare = Callable[[JsonObject, JsonObject], list[Fault]]


@pytest.fixture
def compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compare:
    """Generates a client of one document, and holds it against another."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def faults(made_of: JsonObject, held_against: JsonObject) -> list[Fault]:
        source = tmp_path / "openapi.json"
        source.write_text(json.dumps(made_of), encoding="utf-8")
        package = f"held_against_{next(_numbers)}"
        settings = Settings(openapi=source, package=package, out=tmp_path / package)
        findings = check(source, held_against, settings, Effort())
        assert findings.refusal is None
        return findings.faults

    return faults


def test_a_client_fits_its_own_document(compare: Compare) -> None:
    found = document({"Book": BOOK})

    assert compare(found, found) == []


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        ("members", {**BOOK, "properties": {**as_object(BOOK["properties"]), "author": True}}),
        ("required", {**BOOK, "required": ["title", "pages"]}),
        ("refuses", {**BOOK, "properties": {"title": {"type": "integer"}, "pages": {"type": "integer"}}}),
        ("accepts", {**BOOK, "properties": {"title": {"const": "Emma"}, "pages": {"type": "integer"}}}),
    ],
)
def test_another_class_is_noticed(compare: Compare, kind: str, other: JsonObject) -> None:
    found = compare(document({"Book": BOOK}), document({"Book": other}))

    assert kind in {fault.kind for fault in found}
    assert "/components/schemas/Book" in {fault.place for fault in found}


def test_a_component_without_a_class_is_noticed(compare: Compare) -> None:
    found = compare(document({"Book": BOOK}), document({"Book": BOOK, "Author": BOOK}))

    assert [(fault.kind, fault.place) for fault in found] == [("no class", "/components/schemas/Author")]


def test_a_result_of_another_type_is_noticed(compare: Compare) -> None:
    author: JsonObject = {"type": "object", "required": cast("Json", ["name"])}
    made_of = document({"Book": BOOK, "Author": author})
    held_against = json.loads(json.dumps(made_of).replace("/Book", "/Author", 1))

    assert "GET /book" in " ".join(fault.text for fault in compare(made_of, held_against))


def test_what_the_standard_leaves_open_is_no_fault() -> None:
    members: JsonObject = {
        "wrapped": {"nullable": True, "allOf": [{"type": "object"}]},
        "id": {"type": "integer", "readOnly": True},
        "at": {"type": "string", "format": "date"},
    }
    schema: JsonObject = {"type": "object", "properties": members, "required": ["id"]}
    oracle = Oracle(document({"Book": schema}, "3.0.3"))
    place = "/components/schemas/Book"

    assert oracle.judge(place, {"id": 1, "wrapped": {}}).verdict == "accepts"
    assert oracle.judge(place, {"id": 1, "wrapped": None}).verdict == "unclear"
    assert oracle.judge(place, {}).verdict == "unclear"
    assert oracle.judge(place, {}, "response").verdict == "refuses"
    assert oracle.judge(place, {"id": 1, "at": "noon"}).verdict == "unclear"
    assert oracle.judge(place, {"id": "1"}).keywords == (f"{place}/properties/id/type",)


def test_values_are_compared_as_json() -> None:
    assert same({"a": [3.0, None]}, {"a": [3, None]})
    assert not same({"a": True}, {"a": 1})
    assert not same({"a": None}, {})


def test_the_sample_holds_each_of_many_documents_once() -> None:
    listed = sample()
    names = [one.name for one in listed.documents]

    assert len(names) >= 100
    assert len({one.slug for one in listed.documents}) == len(names)
    assert {*listed.refusals, *listed.quick} <= {*names}


@pytest.mark.skipif(bool(sample().missing), reason="the documents were not downloaded")
@pytest.mark.parametrize("name", sample().quick)
def test_a_public_document(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])

    findings = check_named(name, Effort(), tmp_path)

    assert findings.refusal == sample().refusals.get(name)
    assert findings.faults == []
