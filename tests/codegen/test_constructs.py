"""Constructs of documents by many makers: each has its classes, and what is read is written back equal."""

import json
from pathlib import Path
from typing import Any

import pytest

from codegen.conftest import Client, Make, document, ok, ref
from digitorn_codegen import Settings
from digitorn_codegen import _contract as contract

TEXT: dict[str, object] = {"type": "string"}


def obj(required: tuple[str, ...] = (), /, **properties: object) -> dict[str, object]:
    return {"type": "object", "properties": properties, **({"required": list(required)} if required else {})}


SCHEMAS_3_0: dict[str, object] = {
    "Dog": obj(("kind",), kind=TEXT, name=TEXT),
    "Cat": obj(("kind",), kind=TEXT, name=TEXT, lives={"type": "integer"}),
    "Pet": {
        "oneOf": [ref("Dog"), ref("Cat")],
        "discriminator": {
            "propertyName": "kind",
            "mapping": {"dog": "#/components/schemas/Dog", "hound": "#/components/schemas/Dog", "cat": "Cat"},
        },
    },
    "Owner": obj(
        pets={"type": "array", "items": ref("Pet")},
        # The same members under their component names.
        favourite={"oneOf": [ref("Dog"), ref("Cat")], "discriminator": {"propertyName": "kind"}},
        since={"type": "string", "format": "date-time"},
        site={"type": "string", "format": "uri"},
        until={"type": "string", "format": "date", "nullable": True},
        mood={"type": "string", "enum": ["good", "bad"], "nullable": True},
        boss={"allOf": [ref("Owner")], "nullable": True},
        size={"type": "number", "minimum": 0, "exclusiveMinimum": True},
        data={"type": "string", "format": "byte"},
    ),
    "Told": {"oneOf": [ref("Dog"), TEXT], "discriminator": {"propertyName": "kind"}},
    "Lost": {
        "oneOf": [ref("Dog"), ref("Cat")],
        "discriminator": {"propertyName": "name", "mapping": {"x": "elsewhere.yml#/X"}},
    },
    "Animal": {**obj(("sort",), sort=TEXT), "discriminator": {"propertyName": "sort"}},
    "Fish": {"allOf": [ref("Animal"), obj(fins={"type": "integer"})]},
    "Error": obj(
        ("code",), code={"type": "integer"}, context=obj(hint=TEXT), tags={"type": "array", "items": TEXT}
    ),
    "DeepError": {
        "allOf": [
            ref("Error"),
            {"properties": {"context": obj(where=TEXT), "code": {"type": "integer", "enum": [1, 2]}}},
        ]
    },
    "Sparse": {
        "allOf": [ref("Error"), {"properties": {"tags": {"type": "array", "items": {"type": "integer"}}}}]
    },
    "Two": {"allOf": [ref("Error"), ref("DeepError")]},
    "Tree": obj(("name",), name=TEXT, children={"type": "array", "items": ref("Tree")}, up=ref("Tree")),
    "Choice": {"type": "string", "enum": ["a", "b"]},
    "Defaults": obj(
        choice={"allOf": [ref("Choice")], "default": "a"},
        wrong={"type": "boolean", "default": "false"},
        wrong_choice={"allOf": [ref("Choice")], "default": {"value": "a"}},
        made={"allOf": [ref("Tree")], "default": {"name": "x"}},
        several={"type": "array", "items": ref("Tree"), "default": []},
        free={"type": "object", "default": {"format": "kept"}},
        whole={"type": "integer", "default": 1.0},
        count={"type": "integer", "default": 3},
        none={"type": "string", "default": None},
    ),
    "Checked": obj(
        slashed={"type": "string", "pattern": r"^\/[a-z]+$"},
        ahead={"type": "string", "pattern": r"^(?!x)[a-z]+$"},
        foreign={"type": "string", "pattern": r"^[\p{Upper}&&[^A]]\Z(?<n>a)(?i-s:\k<n>)$"},
    ),
    "Table": {"type": "object", "additionalProperties": ref("Choice")},
    "Odd": obj(
        (), **{"a-b": TEXT, "a_b": TEXT, "1": TEXT, "@type": TEXT, "$x": TEXT, "": TEXT, "format": TEXT}
    ),
    "Empty": {},
    "a b{c}": obj(x=TEXT),
}
PATHS_3_0: dict[str, object] = {
    "/things/{thing_id}": {
        "parameters": [{"name": "thing_id", "in": "path", "required": True, "schema": {"type": "integer"}}],
        "get": {
            "operationId": "get_thing",
            "tags": ["t"],
            "responses": {"200": ok({"$ref": "#/components/schemas/a%20b%7Bc%7D"})},
        },
        "delete": {
            "operationId": "delete_thing",
            "tags": ["t"],
            "parameters": [{"$ref": "#/paths/~1things~1%7Bthing_id%7D/put/parameters/0"}],
            "responses": {"204": {"description": "-"}},
        },
        "put": {
            "operationId": "put_thing",
            "tags": ["t"],
            "parameters": [{"name": "force", "in": "query", "schema": {"type": "boolean"}}],
            "responses": {"200": ok({"type": "string", "nullable": True})},
        },
    },
}

EXAMPLES: list[tuple[str, dict[str, object]]] = [
    ("Owner", {"pets": [{"kind": "hound", "name": "a"}, {"kind": "cat", "lives": 9}]}),
    (
        "Owner",
        {"favourite": {"kind": "Cat", "lives": 7}, "since": "2020-01-01T00:00:00Z", "site": "https://x"},
    ),
    ("Owner", {"until": None, "mood": None, "boss": None, "size": 1.5, "data": "AA=="}),
    ("Owner", {"boss": {"mood": "good"}, "new": {"member": [1]}}),
    ("Fish", {"sort": "fish", "fins": 2}),
    ("Error", {"code": 5, "context": {"hint": "x"}, "tags": ["a"]}),
    ("DeepError", {"code": 1, "context": {"where": "x", "hint": "y"}, "tags": ["a"]}),
    ("Sparse", {"code": 1, "tags": [1, 2]}),
    ("Two", {"code": 2, "context": {"where": "x"}}),
    ("Tree", {"name": "r", "children": [{"name": "c", "children": []}], "up": {"name": "u"}}),
    ("Defaults", {}),
    ("Defaults", {"wrong": True, "made": {"name": "y"}, "several": [{"name": "z"}], "free": {"a": None}}),
    ("Checked", {"slashed": "/a", "ahead": "abc", "foreign": "anything"}),
    ("Odd", {"a-b": "1", "a_b": "2", "1": "3", "@type": "4", "$x": "5", "": "6", "format": "7"}),
    ("ABC", {"x": "y"}),
]


@pytest.fixture(scope="module")
def client(make: Make) -> Client:
    return make(document(PATHS_3_0, SCHEMAS_3_0, "3.0.3"))


@pytest.mark.parametrize(("name", "wire"), EXAMPLES)
def test_what_is_read_is_written_back_equal(client: Client, name: str, wire: dict[str, object]) -> None:
    model: Any = getattr(client.module("models"), name)
    read = model.from_wire(wire)
    assert read.to_wire() == wire
    assert model.from_wire(json.loads(json.dumps(read.to_wire()))) == read


REFUSED: list[tuple[str, dict[str, object]]] = [
    ("Owner", {"pets": [{"kind": "bird"}]}),
    ("Owner", {"mood": "other"}),
    ("Owner", {"size": 0}),
    ("DeepError", {"code": 3}),
    ("Fish", {"fins": 2}),
    ("Tree", {"name": "r", "children": [{}]}),
    ("Checked", {"slashed": "a"}),
    ("Checked", {"ahead": "x"}),
]


@pytest.mark.parametrize(("name", "wire"), REFUSED)
def test_what_breaks_the_contract_is_refused(client: Client, name: str, wire: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        getattr(client.module("models"), name).from_wire(wire)


def test_a_tag_selects_the_class(client: Client) -> None:
    models = client.module("models")
    owner = models.Owner.from_wire(
        {"pets": [{"kind": "hound"}, {"kind": "cat"}], "favourite": {"kind": "Dog"}}
    )
    assert [type(pet).__name__ for pet in (*owner.pets, owner.favourite)] == ["Dog", "Cat", "Dog"]


def test_defaults_that_fit_are_kept(client: Client) -> None:
    found = client.module("models").Defaults.from_wire({})
    assert (found.choice, found.several, found.count) == ("a", [], 3)
    assert (found.wrong, found.wrong_choice, found.made, found.whole, found.none) == (None,) * 5
    assert found.free == {"format": "kept"}


def test_what_python_cannot_express_is_warned_of(client: Client) -> None:
    at = {tuple(text.split(": ")[:2]) for text in client.warnings}
    places = {(kind, place.partition("#/components/schemas/")[2]) for kind, place in at}
    assert places == {
        ("default-dropped", "Defaults/properties/wrong/default"),
        ("default-dropped", "Defaults/properties/wrong_choice/default"),
        ("default-dropped", "Defaults/properties/made/default"),
        ("default-dropped", "Defaults/properties/whole/default"),
        ("default-dropped", "Defaults/properties/none/default"),
        ("pattern-dropped", "Checked/properties/foreign/pattern"),
        ("mapping-dropped", "Lost/discriminator/mapping/x"),
        ("one-of-overlap", "Lost/oneOf"),
        ("discriminator-dropped", "Told/discriminator"),
        ("override-flattened", "Sparse/allOf"),
        ("impossible-schema", "Sparse/properties/tags/items"),
    }


def test_an_heir_is_a_class_of_its_base_where_python_allows_it(client: Client) -> None:
    models = client.module("models")
    assert issubclass(models.Fish, models.Animal)
    assert issubclass(models.DeepError, models.Error)


def test_the_client_is_strictly_typed(client: Client) -> None:
    assert client.complaints() == []


def test_percent_encoded_references_and_parameters_of_the_path(client: Client) -> None:
    api, recorder = client.api()
    api.t.delete_thing(7, force=True)
    (call,) = recorder.calls
    assert (call.path, call.query) == ("/things/7", (("force", "true"),))
    operations = client.module("operations")
    assert operations.GET_THING.read(b'{"x": "y"}').to_wire() == {"x": "y"}
    assert operations.PUT_THING.read(b"null") is None


def test_an_operation_tells_what_it_declares(make: Make) -> None:
    responses = {"404": {"description": "-"}, "204": {"description": "-"}, "5XX": {"description": "-"}}
    get: dict[str, object] = {"operationId": "a", "security": [{}, {"bearer": []}], "responses": responses}
    put: dict[str, object] = {
        "operationId": "b",
        "security": [{"bearer": []}],
        "responses": {"default": {"description": "-"}},
    }
    operations = make(document({"/a": {"get": get, "put": put}})).module("operations")
    assert (operations.A.statuses, operations.A.authenticated, operations.A.credentials_optional) == (
        (204, 404),
        True,
        True,
    )
    assert (operations.B.statuses, operations.B.authenticated, operations.B.credentials_optional) == (
        (),
        True,
        False,
    )


def test_a_document_without_operations(make: Make) -> None:
    client = make(document({}))
    client.module("rest").Api(None)
    assert client.module("operations").OPERATIONS == ()
    assert client.complaints() == []


def test_path_items_in_files_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "items").mkdir()
    parameter = {"name": "id", "in": "path", "required": True, "schema": {"$ref": "#/Id"}}
    item = {
        "Id": {"type": "string", "nullable": True, "enum": ["a", "b"]},
        "Item": {"parameters": [parameter], "get": {"operationId": "far", "responses": {"200": ok(TEXT)}}},
    }
    (tmp_path / "items" / "item.json").write_text(json.dumps(item))
    paths = {
        "/a/{id}": {
            "$ref": "items/item.json#/Item",
            "put": {"operationId": "near", "responses": {"204": {"description": "-"}}},
        }
    }
    (tmp_path / "api.json").write_text(json.dumps(document(paths, openapi="3.0.0")))
    settings = Settings(openapi=tmp_path / "api.json", package="p", out=tmp_path / "p")
    (tag,) = contract.load(settings).tags
    assert [(o.id, o.method, [p.name for p in o.parameters]) for o in tag.operations] == [
        ("far", "GET", ["id"]),
        ("near", "PUT", ["id"]),
    ]
    # A part of a 3.0 document has its dialect.
    assert contract.load(settings).definitions[0].schema["enum"] == ["a", "b", None]


def test_a_class_or_an_open_object_is_read_as_the_class_if_that_fits(make: Make) -> None:
    either = {name: {"anyOf": [ref(name), {"type": "object"}]} for name in ("Wanting", "Loose")}
    rows: dict[str, object] = {"type": "array", "items": either["Wanting"]}
    schemas: dict[str, object] = {
        "Wanting": obj(("name",), name=TEXT, value={}),
        "Loose": obj(name=TEXT),
        "Page": obj(("rows", "loose"), rows=rows, loose=either["Loose"]),
    }
    client = make(document({}, schemas))
    models = client.module("models")
    page = models.Page.from_wire(
        {"rows": [{"name": "a", "value": 1, "more": 2}, {"name": 5}, {}], "loose": {}}
    )
    assert page.rows == [models.Wanting(name="a", value=1, more=2), {"name": 5}, {}]
    # It requires nothing, so that an empty object would always fit.
    assert page.loose == {}
    assert isinstance(page.loose, dict)
    source = "".join(path.read_text(encoding="utf-8") for path in client.settings.out.glob("*models*.py"))
    assert "OrObject[Wanting]" in source
    assert "OrObject[Loose]" not in source
    assert client.complaints() == []


def test_a_long_chain_of_classes_is_read(make: Make) -> None:
    links = 150
    schemas = {f"L{number}": obj(next=ref(f"L{number + 1}")) for number in range(links)}
    client = make(document({}, {**schemas, f"L{links}": obj(end=TEXT)}))
    wire: dict[str, Any] = {"end": "x"}
    for _ in range(links):
        wire = {"next": wire}
    assert client.module("models").L0.from_wire(wire).to_wire() == wire
