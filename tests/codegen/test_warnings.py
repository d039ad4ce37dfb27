"""What the output cannot express is said, with its name and place."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from digitorn_codegen import Settings, generate

Edit = Callable[[str, str, str], None]

RESPONSE = "          content:\n            application/json:\n              schema:\n                $ref:"
CASES = {
    "media-ignored": (
        RESPONSE,
        RESPONSE.replace("content:\n", "content:\n            text/html: {schema: {type: string}}\n"),
        "application/json is asked for, text/html is not read",
    ),
    "parameter-ignored": (
        "        - {name: deep, in: query,",
        "        - {name: Accept, in: header, schema: {type: string}}\n        - {name: deep, in: query,",
        "OpenAPI ignores the header parameter 'Accept'",
    ),
    "server-variable": (
        "  /toys/{toy_id}:\n",
        "  /toys/{toy_id}:\n"
        "    servers: [{url: 'https://{zone}.test', variables: {zone: {default: eu, enum: [eu, us]}}}]\n",
        "'zone' always has its default value, 'eu'",
    ),
    "callback-ignored": (
        "      operationId: play\n",
        "      operationId: play\n"
        "      callbacks: {done: {'{$url}': {post: {responses: {'204': {description: -}}}}}}\n",
        "what the server calls back is not generated",
    ),
    "schema-unused": (
        "          application/json:\n            schema: {$ref: '#/components/schemas/PlayRequest'}",
        "          application/xml:\n            schema: {$ref: '#/components/schemas/PlayRequest'}",
        "application/xml is passed as bytes, without its schema",
    ),
    "part-headers-ignored": (
        "          application/json:\n            schema: {$ref: '#/components/schemas/PlayRequest'}",
        "          multipart/form-data:\n            encoding: {note: {headers: {X-A: {schema: {}}}}}\n"
        "            schema: {$ref: '#/components/schemas/PlayRequest'}",
        "they are not sent",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_warning_has_a_name_a_place_and_a_reason(name: str, without_events: Settings, edit: Edit) -> None:
    old, new, reason = CASES[name]
    edit("openapi.yaml", old, new)
    warnings: list[str] = []
    generate(replace(without_events), warnings.append)
    (found,) = [one for one in warnings if one.startswith(f"{name}: ")]
    assert "openapi.yaml#/paths/~1toys~1{toy_id}" in found
    assert reason in found


def test_a_member_that_a_class_requires_and_its_base_does_not(without_events: Settings, edit: Edit) -> None:
    base = "    Base: {type: object, required: [b], properties: {a: {type: string}, b: {type: string}}}\n"
    extends = "allOf: [{$ref: '#/components/schemas/Base'}, {type: object, required: [a, b]}]"
    edit("openapi.yaml", "  schemas:\n", f"  schemas:\n{base}    Derived: {{{extends}}}\n")
    warnings: list[str] = []
    generate(replace(without_events), warnings.append)
    (found,) = [one for one in warnings if one.startswith("override-required: ")]
    assert "openapi.yaml#/components/schemas/Derived/allOf: 'a' is optional in the base" in found


def test_the_toy_needs_none(toy: Settings) -> None:
    warnings: list[str] = []
    generate(toy, warnings.append)
    assert warnings == []
