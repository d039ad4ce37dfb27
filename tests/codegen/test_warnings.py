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
        RESPONSE.replace("content:\n", "content:\n            text/event-stream: {schema: {type: string}}\n"),
        "application/json is used, text/event-stream is not",
    ),
    "reserved-encoded": (
        "name: deep, in: query,",
        "name: deep, in: query, allowReserved: true,",
        "percent-encoded",
    ),
    "part-type-ignored": (
        "          application/json:\n            schema: {$ref: '#/components/schemas/PlayRequest'}",
        "          multipart/form-data:\n            encoding: {note: {contentType: text/csv}}\n"
        "            schema: {$ref: '#/components/schemas/PlayRequest'}",
        "'note' is not sent",
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


def test_the_toy_needs_none(toy: Settings) -> None:
    warnings: list[str] = []
    generate(toy, warnings.append)
    assert warnings == []
