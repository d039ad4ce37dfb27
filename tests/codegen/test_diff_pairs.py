"""Pairs of contracts in `pairs/` and what `diff` says of each; documents that mean the same."""

import copy
import functools
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias, cast

import pytest
import yaml

from digitorn_codegen._changes import Change
from digitorn_codegen._diff import compare
from digitorn_codegen._documents import Document, Documents, JsonObject, JsonValue
from digitorn_codegen._sides import Side

PAIRS = Path(__file__).parent / "pairs"
Root: TypeAlias = "dict[str, Any]"
DONE = {"204": {"description": "Done."}}


@functools.cache
def pairs(name: str) -> list[Root]:
    """The pairs of one file."""
    found: list[Root] = yaml.safe_load((PAIRS / name).read_text(encoding="utf-8"))
    return found


def name_of(pair: Root) -> str:
    return str(pair["name"])


def side(root: Mapping[str, Any]) -> Side:
    """A contract of one document that stands in no file."""
    document = Document(Path("/openapi.json"), dict(root))
    return Side(document, {}, {}, (), Documents({document.path: document}))


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> Root:
    """Two objects as one, and so the objects in them."""
    return cast("Root", _merged(dict(one), dict(other)))


def _merged(one: JsonValue, other: JsonValue) -> JsonValue:
    if not isinstance(one, dict) or not isinstance(other, dict):
        return copy.deepcopy(other)
    return {**one, **{key: _merged(one.get(key), value) for key, value in other.items()}}


def document(part: Mapping[str, Any]) -> Root:
    """The document that a pair describes in short."""
    operation: Root = {"operationId": "x", "tags": ["t"], "responses": DONE}
    if "request" in part:
        content = {"application/json": {"schema": part["request"]}}
        operation["requestBody"] = {"required": True, "content": content}
    if "response" in part:
        content = {"application/json": {"schema": part["response"]}}
        operation["responses"] = {"200": {"description": "It worked.", "content": content}}
    elif "responses" in part.get("operation", {}):
        operation["responses"] = {}
    if "parameters" in part:
        operation["parameters"] = part["parameters"]
    item: Root = {"post": merged(operation, part.get("operation", {}))}
    components = merged(part.get("components", {}), {"schemas": part.get("schemas", {})})
    if "behind" in part:
        components[part["behind"]] = {"Moved": item}
        item = {"$ref": f"#/components/{part['behind']}/Moved"}
    return {
        "openapi": part.get("openapi", "3.1.0"),
        "info": {"title": "Pairs", "version": "1"},
        "paths": {part.get("path", "/x"): item},
        "components": components,
        **part.get("root", {}),
    }


def shown(changes: list[Change]) -> list[str]:
    return [
        f"{'breaking' if change.breaking else 'compatible'} {change.where} {change.rule}"
        for change in changes
    ]


@pytest.mark.parametrize("pair", pairs("documents.yaml"), ids=name_of)
def test_documents(pair: Root) -> None:
    both = pair.get("both", {})
    old, new = (side(document(merged(both, pair[which]))) for which in ("old", "new"))
    assert shown(compare(old, new)) == pair.get("there", [])
    assert shown(compare(new, old)) == pair.get("back", [])


@pytest.mark.parametrize("way", ["request", "response"])
@pytest.mark.parametrize("pair", pairs("values.yaml"), ids=name_of)
def test_values(pair: Root, way: str) -> None:
    def contract(schema: object) -> Side:
        part = {way: {"type": "object", "properties": {"a": schema}}, "schemas": pair.get("schemas", {})}
        return side(document(part))

    old, new = contract(pair["old"]), contract(pair["new"])
    for changes, rules, narrower in (
        (compare(old, new), pair.get("there", []), True),
        (compare(new, old), pair.get("back", []), False),
    ):
        assert [change.rule for change in changes] == [f"{way}-{rule}" for rule in rules]
        breaks = pair["effect"] == "other" or (
            pair["effect"] == "narrower" and (way == "request") is narrower
        )
        assert any(change.breaking for change in changes) is breaks
        at = pair.get("at", "a")
        whole = {"request": "body.", "response": "result."}[way] if at[0].islower() else ""
        assert {change.where for change in changes} <= {f"POST /x, {whole}{at}"}


def test_the_data_has_no_pair_twice_and_enough_of_them() -> None:
    names = [pair["name"] for file in ("documents.yaml", "values.yaml") for pair in pairs(file)]
    assert len(set(names)) == len(names) > 60


# --- documents that mean the same


def documents() -> Iterator[Root]:
    """Every document of the pairs."""
    for file in ("documents.yaml", "values.yaml"):
        for pair in pairs(file):
            for which in ("old", "new"):
                part = (
                    pair[which]
                    if file == "documents.yaml"
                    else {"request": pair[which], "response": pair[which]}
                )
                shared = {"schemas": pair["schemas"]} if "schemas" in pair else {}
                yield document(merged(merged(pair.get("both", {}), shared), part))


UNORDERED = frozenset(
    {"required", "enum", "oneOf", "anyOf", "allOf", "type", "security", "servers", "parameters"}
)


def shuffled(value: JsonValue, chance: random.Random, key: str = "") -> JsonValue:
    """A value with its members, and lists whose order means nothing, in another order."""
    if isinstance(value, dict):
        members = [(name, shuffled(member, chance, name)) for name, member in value.items()]
        chance.shuffle(members)
        return dict(members)
    if isinstance(value, list):
        items = [shuffled(item, chance) for item in value]
        if key in UNORDERED:
            chance.shuffle(items)
        return items
    return value


def moved(value: JsonValue, components: JsonObject, key: str = "") -> JsonValue:
    """A value with the schemas of members, items and bodies moved into components."""
    if isinstance(value, list):
        return [moved(item, components) for item in value]
    if not isinstance(value, dict):
        return value
    found = {name: moved(member, components, name) for name, member in value.items()}
    for name, member in found.items():
        is_schema = key == "properties" or name in ("items", "schema")
        if is_schema and isinstance(member, dict) and "$ref" not in member:
            component = f"Moved{len(components)}"
            components[component] = member
            found[name] = {"$ref": f"#/components/schemas/{component}"}
    return found


def wrapped(value: JsonValue, key: str = "") -> JsonValue:
    """A value with each reference to a schema as the only part of an `allOf`."""
    if isinstance(value, list):
        return [wrapped(item, key) for item in value]
    if not isinstance(value, dict):
        return value
    found = {name: wrapped(member, name) for name, member in value.items()}
    reference = str(found.get("$ref", ""))
    if set(found) == {"$ref"} and "/schemas/" in reference and key != "mapping":
        return {"allOf": [found], "description": "Wrapped."}
    return found


def rewritten(root: Root, how: str) -> Root:
    if how == "itself":
        return copy.deepcopy(root)
    if how == "shuffled":
        return cast("Root", shuffled(root, random.Random(1)))
    if how == "wrapped":
        return cast("Root", wrapped(root))
    components: JsonObject = {}
    found = cast("Root", moved(root, components))
    found["components"]["schemas"].update(components)
    return found


@functools.cache
def roots() -> list[Root]:
    return list(documents())


@pytest.mark.parametrize("how", ["itself", "shuffled", "moved behind references", "wrapped"])
def test_a_document_that_means_the_same(how: str) -> None:
    assert len(roots()) > 120
    for root in roots():
        other = rewritten(root, how)
        assert shown(compare(side(root), side(other))) == []
        assert shown(compare(side(other), side(root))) == []


def test_a_tower_of_references_and_unions_is_compared_in_little_time() -> None:
    """Each component refers to the next one twice, so that there are 2**400 ways down."""

    def tower(bottom: Root) -> Side:
        schemas: Root = {"L400": bottom}
        for level in range(400):
            below = {"$ref": f"#/components/schemas/L{level + 1}"}
            schemas[f"L{level}"] = {
                "type": "object",
                "properties": {"left": {"allOf": [below]}, "right": {"anyOf": [below, {"type": "null"}]}},
            }
        return side(document({"response": {"$ref": "#/components/schemas/L0"}, "schemas": schemas}))

    old, new = tower({"type": "string", "maxLength": 5}), tower({"type": "string", "maxLength": 9})
    assert shown(compare(old, new)) == ["breaking POST /x, L400 response-limit-loosened"]


def test_a_schema_of_a_thousand_levels() -> None:
    def deep(bottom: Root) -> Side:
        schema = bottom
        for _ in range(1000):
            schema = {"type": "object", "properties": {"a": schema}}
        return side(document({"response": schema}))

    changes = compare(deep({"type": "string"}), deep({"type": "integer"}))
    assert [change.rule for change in changes] == ["response-type-narrowed", "response-type-widened"]
    assert changes[0].where == f"POST /x, result{'.a' * 1000}"


def test_unions_that_multiply_are_compared_as_text() -> None:
    def product(last: str) -> Side:
        members = [
            {"anyOf": [{"properties": {f"m{n}": {"const": value}}} for value in ("x", "y", "z", last)]}
            for n in range(8)
        ]
        return side(document({"request": {"type": "object", "allOf": members}}))

    assert compare(product("u"), product("u")) == []
    assert any(change.breaking for change in compare(product("u"), product("v")))
