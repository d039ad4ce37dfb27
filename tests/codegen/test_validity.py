"""Valid documents are accepted, with a warning where something has no effect; invalid ones have a place."""

import json
from pathlib import Path

import pytest

from codegen.conftest import document, ok, ref
from digitorn_codegen import ContractError, Settings
from digitorn_codegen import _contract as contract
from digitorn_codegen import _ir as ir

HEAD: dict[str, object] = {"openapi": "3.1.0", "info": {"title": "Made up", "version": "1"}}
GET: dict[str, object] = {"get": {"responses": {"200": ok({"type": "string"})}}}


def load(folder: Path, found: object) -> ir.Contract:
    (folder / "openapi.json").write_text(json.dumps(found), encoding="utf-8")
    return contract.load(Settings(openapi=folder / "openapi.json", package="p", out=folder / "out" / "p"))


def warnings_of(found: ir.Contract) -> list[tuple[str, str]]:
    return [(warning.name, warning.pointer) for warning in found.warnings]


def asked(name: str, where: str) -> dict[str, object]:
    parameters = [{"name": name, "in": where, "schema": {"type": "string"}}]
    return {"/a": {"get": {"parameters": parameters, "responses": {"200": ok({})}}}}


ANY: dict[str, object] = {}


def in_path(name: str) -> dict[str, object]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


VALID: dict[str, dict[str, object]] = {
    "no paths": {**HEAD, "components": {"schemas": {}}},
    "webhooks alone": {**HEAD, "webhooks": {}},
    "empty paths": document({}),
    "empty paths in 3.0": document({}, openapi="3.0.3"),
    "later patches of 3.0": document({}, openapi="3.0.4"),
    "later patches of 3.1": document({}, openapi="3.1.12"),
    "3.2": document({"/a": GET}, openapi="3.2.0"),
    "an operation without responses": document({"/a": {"get": {}}}),
    "extensions everywhere": {
        **HEAD,
        "x-a": 1,
        "info": {"title": "t", "version": "1", "x-a": {"$ref": "#/nowhere"}},
        "paths": {
            "x-root": "/apis",
            "x-list": [1],
            "x-null": None,
            "/a": {"x-a": 1, "get": {"x-a": [], "responses": {"x-a": 1, "200": {**ok({}), "x-a": 1}}}},
        },
        "components": {"x-a": 1, "schemas": {"A": {"x-a": 1, "x-constants": 5, "x-event-type": []}}},
        "tags": [{"name": "t", "x-a": 1}],
    },
    "extensions in 3.0": {
        **HEAD,
        "openapi": "3.0.3",
        "paths": {"x-a": 1, "/a": {"x-a": 1, "get": {"x-a": 1, "responses": {"x-a": 1, "200": ok({})}}}},
        "components": {"x-a": 1, "schemas": {"A": {"type": "string", "x-a": {"$ref": "#/nowhere"}}}},
    },
    "data that looks like a reference": document(
        {}, {"A": {"type": "object", "examples": [{"$ref": "#/nowhere"}], "properties": {"$ref": ANY}}}
    ),
    "a required member that is not described": document(
        {}, {"A": {"allOf": [{"type": "object", "properties": {"a": ANY}}], "required": ["a", "more"]}}
    ),
    "a known dialect": {**document({}), "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema"},
    "the dialect of OpenAPI": {
        **document({}, {"A": {"$schema": "https://spec.openapis.org/oas/3.1/dialect/base"}}),
        "jsonSchemaDialect": "https://spec.openapis.org/oas/3.1/dialect/2024-11-10",
    },
    "references to parts of every kind": {
        **HEAD,
        "paths": {"/a/{id}": {"$ref": "#/components/pathItems/P"}},
        "components": {
            "pathItems": {
                "P": {
                    "parameters": [{"$ref": "#/components/parameters/id"}],
                    "put": {
                        "requestBody": {"$ref": "#/components/requestBodies/B"},
                        "responses": {"200": {"$ref": "#/components/responses/R"}},
                    },
                }
            },
            "parameters": {"id": {"name": "id", "in": "path", "required": True, "schema": {}}},
            "requestBodies": {"B": {"content": {"application/json": {"schema": {"type": "string"}}}}},
            "responses": {"R": {**ok({}), "headers": {"H": {"$ref": "#/components/headers/H"}}}},
            "headers": {"H": {"schema": {"type": "string"}}},
        },
    },
}


@pytest.mark.parametrize("case", VALID, ids=lambda name: name.replace(" ", "-"))
def test_a_valid_document_is_accepted_without_a_warning(case: str, tmp_path: Path) -> None:
    assert warnings_of(load(tmp_path, VALID[case])) == []


WARNED: dict[str, tuple[dict[str, object], list[tuple[str, str]]]] = {
    "an unknown dialect": (
        {**document({}), "jsonSchemaDialect": "https://example.com/own"},
        [("unknown-dialect", "/jsonSchemaDialect")],
    ),
    "an unknown dialect of a schema": (
        document(
            {},
            {
                "A": {
                    "type": "object",
                    "properties": {"a": {"$schema": "http://json-schema.org/draft-07/schema#"}},
                }
            },
        ),
        [("unknown-dialect", "/components/schemas/A/properties/a/$schema")],
    ),
    "a tag twice": (
        {**document({}), "tags": [{"name": "a"}, {"name": "b"}, {"name": "a"}]},
        [("tag-repeated", "/tags/2")],
    ),
    "paths that differ in names": (
        document({f"/a/{{{name}}}": {**GET, "parameters": [in_path(name)]} for name in ("b", "c")}),
        [("path-collision", "/paths/~1a~1{c}")],
    ),
    **{
        f"a parameter {name}": (
            document(asked(name, "header")),
            [("parameter-ignored", "/paths/~1a/get/parameters/0")],
        )
        for name in ("Accept", "content-type", "AUTHORIZATION")
    },
    "one id twice": (
        document({path: {"get": {"operationId": "one"}} for path in ("/a", "/b")}),
        [("name-collision", "/paths/~1b/get")],
    ),
    "one id twice behind a reference": (
        {
            **document({"/a": {"$ref": "#/components/pathItems/P"}, "/b": {"get": {"operationId": "one"}}}),
            "components": {"pathItems": {"P": {"get": {"operationId": "one"}}}},
        },
        [("name-collision", "/paths/~1b/get")],
    ),
    "what 3.2 adds": (
        {
            **document(
                {
                    "/a": {
                        "query": ANY,
                        "additionalOperations": {"COPY": {}},
                        "get": {
                            "parameters": [
                                {"name": "q", "in": "querystring", "content": {"text/plain": ANY}}
                            ],
                        },
                    }
                },
                openapi="3.2.0",
            ),
            "$self": "https://example.com/api",
        },
        [
            ("unread", "/paths/~1a/additionalOperations"),
            ("unread", "/paths/~1a/query"),
            ("parameter-ignored", "/paths/~1a/get/parameters/0"),
        ],
    ),
}


@pytest.mark.parametrize("case", WARNED, ids=lambda name: name.replace(" ", "-"))
def test_what_has_no_effect_is_warned_of(case: str, tmp_path: Path) -> None:
    found, expected = WARNED[case]
    assert warnings_of(load(tmp_path, found)) == expected


def test_operations_of_one_id_have_names_of_their_own(tmp_path: Path) -> None:
    paths = {
        "/health": {name: {"operationId": "health"} for name in ("get", "head")},
        "/old": {"get": {"operationId": "health", "responses": {"200": ok({"type": "integer"})}}},
    }
    found = load(tmp_path, document(paths))
    assert {(one.method, one.path): one.id for tag in found.tags for one in tag.operations} == {
        ("GET", "/health"): "health",
        ("HEAD", "/health"): "health2",
        ("GET", "/old"): "health3",
    }
    assert [warning.pointer for warning in found.warnings] == ["/paths/~1health/head", "/paths/~1old/get"]


def test_parameters_that_openapi_ignores_are_no_arguments(tmp_path: Path) -> None:
    ((operation,),) = (tag.operations for tag in load(tmp_path, document(asked("Accept", "header"))).tags)
    assert operation.parameters == ()
    ((operation,),) = (tag.operations for tag in load(tmp_path, document(asked("Accept", "query"))).tags)
    assert [parameter.name for parameter in operation.parameters] == ["Accept"]


# Documents that are invalid, the place of the fault and a part of the reason.
INVALID: dict[str, tuple[dict[str, object], str, str]] = {
    "a limit that is text": (
        document({}, {"Shelf": {"properties": {"width": {"type": "number", "minimum": "wide"}}}}),
        "/components/schemas/Shelf/properties/width/minimum",
        "wide",
    ),
    "a limit that is text in 3.0": (
        document({}, {"Shelf": {"properties": {"width": {"minimum": "wide"}}}}, openapi="3.0.3"),
        "/components/schemas/Shelf/properties/width/minimum",
        "wide",
    ),
    "a type that is none in a parameter": (
        document({"/a": {"get": {"parameters": [{"name": "a", "in": "query", "schema": {"type": "text"}}]}}}),
        "/paths/~1a/get/parameters/0/schema/type",
        "text",
    ),
    "a type that is none in a parameter of 3.0": (
        document(
            {
                "/a": {
                    "get": {
                        "parameters": [{"name": "a", "in": "query", "schema": {"type": "text"}}],
                        "responses": {"200": ok({})},
                    }
                }
            },
            openapi="3.0.3",
        ),
        "/paths/~1a/get/parameters/0/schema/type",
        "text",
    ),
    "a type that is none deep in a response of 3.0": (
        document(
            {"/a": {"get": {"responses": {"200": ok({"items": {"type": "text"}, "type": "array"})}}}},
            openapi="3.0.3",
        ),
        "/paths/~1a/get/responses/200/content/application~1json/schema/items/type",
        "text",
    ),
    "a path parameter that is optional in 3.0": (
        document(
            {
                "/{a}": {
                    "get": {
                        "parameters": [{"name": "a", "in": "path", "schema": ANY}],
                        "responses": {"200": ok({})},
                    }
                }
            },
            openapi="3.0.3",
        ),
        "/paths/~1{a}/get/parameters/0",
        "required",
    ),
    "a path parameter that is not declared": (
        document({"/books/{id}": GET}),
        "/paths/~1books~1{id}/get",
        "'id'",
    ),
    "a response without a description": (
        document({"/a": {"get": {"responses": {"200": {}}}}}),
        "/paths/~1a/get/responses/200",
        "description",
    ),
    "a key that is not known": (document({"/a": {"get": {"result": {}}}}), "/paths/~1a/get", "result"),
    "a reference that dangles": (
        document({"/a": {"get": {"responses": {"200": ok(ref("None"))}}}}),
        "/paths/~1a/get/responses/200/content/application~1json/schema/$ref",
        "dangles",
    ),
    "responses that refer to each other": (
        {
            **document({}),
            "components": {
                "responses": {
                    "A": {"$ref": "#/components/responses/B"},
                    "B": {"$ref": "#/components/responses/A"},
                }
            },
        },
        "/components/responses/A",
        "refers to itself",
    ),
    "the version before 3.0": ({"swagger": "2.0", "paths": {}}, "/openapi", "are supported"),
}


@pytest.mark.parametrize("case", INVALID, ids=lambda name: name.replace(" ", "-"))
def test_an_invalid_document_is_refused_at_its_place(case: str, tmp_path: Path) -> None:
    found, pointer, reason = INVALID[case]
    with pytest.raises(ContractError) as caught:
        load(tmp_path, found)
    assert (caught.value.file.name, caught.value.pointer) == ("openapi.json", pointer)
    assert reason in caught.value.reason
