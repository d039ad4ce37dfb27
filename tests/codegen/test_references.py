"""Where references lead: into other files, to anchors and ids, and nowhere."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from codegen.conftest import document, ok, ref
from digitorn_codegen import ContractError, Settings
from digitorn_codegen import _contract as contract
from digitorn_codegen._documents import Documents

Files = Callable[[Mapping[str, object]], Path]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Writes files, JSON or text, and answers their folder."""

    def write(found: Mapping[str, object]) -> Path:
        for name, content in found.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            text = content if isinstance(content, str) else json.dumps(content)
            (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path

    return write


def load(folder: Path) -> list[str]:
    """The warnings of the document in a folder."""
    found = contract.load(Settings(openapi=folder / "openapi.json", package="p", out=folder / "out" / "p"))
    return [str(warning) for warning in found.warnings]


def refused(folder: Path) -> ContractError:
    with pytest.raises(ContractError) as caught:
        load(folder)
    return caught.value


NUMBER: dict[str, object] = {"type": "integer"}
URL = "https://example.com/schemas"

# Files, where the reference stands, the reference, and the file and pointer that it leads to.
TARGETS: dict[str, tuple[dict[str, object], str, str, str, str]] = {
    "an encoded file": (
        {"my types.json": {"$defs": {"N": NUMBER}}},
        "/a",
        "my%20types.json#/$defs/N",
        "my types.json",
        "/$defs/N",
    ),
    "a raw file": (
        {"my types.json": {"$defs": {"N": NUMBER}}},
        "/a",
        "my types.json#/$defs/N",
        "my types.json",
        "/$defs/N",
    ),
    "a percent sign": (
        {"50%.json": NUMBER},
        "/a",
        "50%25.json",
        "50%.json",
        "",
    ),
    "a raw percent sign": (
        {"50%.json": NUMBER},
        "/a",
        "50%.json",
        "50%.json",
        "",
    ),
    "a question mark": (
        {"why?.json": NUMBER},
        "/a",
        "why%3F.json",
        "why?.json",
        "",
    ),
    "letters": (
        {"größe.json": NUMBER},
        "/a",
        "gr%C3%B6%C3%9Fe.json",
        "größe.json",
        "",
    ),
    "a whole file": (
        {"n.yaml": "type: integer"},
        "/a",
        "n.yaml",
        "n.yaml",
        "",
    ),
    "a whole file with an empty fragment": (
        {"n.json": NUMBER},
        "/a",
        "./x/../n.json#",
        "n.json",
        "",
    ),
    "a folder": (
        {"far/n.json": NUMBER},
        "/a",
        "far/n.json",
        "far/n.json",
        "",
    ),
    "escapes": (
        {"n.json": {"a/b": {"c~d": {"%e": NUMBER}}}},
        "/a",
        "n.json#/a~1b/c~0d/%25e",
        "n.json",
        "/a~1b/c~0d/%e",
    ),
    "a list": (
        {"n.json": {"anyOf": [{}, NUMBER]}},
        "/a",
        "n.json#/anyOf/1",
        "n.json",
        "/anyOf/1",
    ),
    "an anchor": (
        {"n.json": {"$defs": {"N": {"$anchor": "number"}}}},
        "/a",
        "n.json#number",
        "n.json",
        "/$defs/N",
    ),
    "a dynamic anchor": (
        {"n.json": {"$defs": {"N": {"$dynamicAnchor": "n"}}}},
        "/a",
        "n.json#n",
        "n.json",
        "/$defs/N",
    ),
    "an id": (
        {"openapi.json": {"$defs": {"N": {"$id": f"{URL}/n", **NUMBER}}}},
        "/a",
        f"{URL}/n",
        "openapi.json",
        "/$defs/N",
    ),
    "an id with an empty fragment": (
        {"openapi.json": {"$defs": {"N": {"$id": f"{URL}/n#"}}}},
        "/a",
        f"{URL}/n#",
        "openapi.json",
        "/$defs/N",
    ),
    "a name": (
        {"openapi.json": {"$defs": {"N": {"$id": "urn:example:n"}}}},
        "/a",
        "urn:example:n",
        "openapi.json",
        "/$defs/N",
    ),
    "below an id": (
        {"openapi.json": {"N": {"$id": f"{URL}/n", "$defs": {"B": NUMBER}}}},
        "/N/properties/b/$ref",
        "#/$defs/B",
        "openapi.json",
        "/N/$defs/B",
    ),
    "an anchor below an id": (
        {"openapi.json": {"N": {"$id": f"{URL}/n", "$defs": {"B": {"$anchor": "b"}}}, "O": {"$anchor": "b"}}},
        "/a",
        f"{URL}/n#b",
        "openapi.json",
        "/N/$defs/B",
    ),
    "beside an id": (
        {"openapi.json": {"N": {"$id": f"{URL}/n"}, "M": {"$id": f"{URL}/m"}}},
        "/N/$ref",
        "m",
        "openapi.json",
        "/M",
    ),
    "an id in an id": (
        {"openapi.json": {"N": {"$id": f"{URL}/n/", "$defs": {"M": {"$id": "deep/m"}}}}},
        "/a",
        f"{URL}/n/deep/m",
        "openapi.json",
        "/N/$defs/M",
    ),
    "an id of another scheme": (
        {"openapi.json": {"N": {"$id": "app://host/n"}, "M": {"$id": "app://host/m"}}},
        "/N/$ref",
        "m",
        "openapi.json",
        "/M",
    ),
    "a folder by an id": (
        {"openapi.json": {"N": {"$id": "far/n.json"}}, "far/m.json": NUMBER},
        "/N/$ref",
        "m.json",
        "far/m.json",
        "",
    ),
    "a neighbour of a document with an id": (
        {"openapi.json": {"$id": f"{URL}/openapi.json"}, "far/m.json": NUMBER},
        "/a",
        "far/m.json",
        "far/m.json",
        "",
    ),
    "a property called $id": (
        {"openapi.json": {"properties": {"$id": {"const": 1}}}},
        "/a",
        "#/properties/$id",
        "openapi.json",
        "/properties/$id",
    ),
}


@pytest.mark.parametrize("case", TARGETS, ids=lambda name: name.replace(" ", "-"))
def test_a_reference_leads_to_its_target(case: str, files: Files) -> None:
    found, place, reference, file, pointer = TARGETS[case]
    folder = files({"openapi.json": {}, **found})
    documents = Documents()
    target = documents.resolve(documents.get(folder / "openapi.json"), place, reference)
    assert (target.document.path, target.pointer) == (folder / file, pointer)
    assert target.value == target.document.at(pointer)


def test_an_absolute_file_and_an_id_of_a_file_that_was_read(files: Files) -> None:
    folder = files({"openapi.json": {}, "n.json": {"$id": f"{URL}/n", "$defs": {"N": NUMBER}}})
    documents = Documents()
    api, other = documents.get(folder / "openapi.json"), documents.get(folder / "n.json")
    for reference in (f"{other.path.as_uri()}#/$defs/N", f"{URL}/n#/$defs/N"):
        assert documents.resolve(api, "", reference).document is other


NOWHERE = {
    f"{URL}/n": "leaves the local files; put the document beside this one",
    "//example.com/n": "leaves the local files",
    "urn:example:m": "leaves the local files",
    "http://[x": "leaves the local files",
    "n.json": "there is no file 'n.json'",
    "a%20b.json#/x": "there is no file 'a%20b.json'",
    "#number": "has no anchor 'number'",
    "#/$defs/N/x": "has nothing at /$defs",
    "#/list/01": "has nothing at /list/01",
    "#/list/2": "has nothing at /list/2",
    "#/list/-": "has nothing at /list/-",
}


@pytest.mark.parametrize("reference", NOWHERE)
def test_a_reference_that_leads_nowhere_is_refused(reference: str, files: Files) -> None:
    folder = files({"openapi.json": {"list": [1, 2]}})
    documents = Documents()
    with pytest.raises(ContractError) as caught:
        documents.resolve(documents.get(folder / "openapi.json"), "/a/$ref", reference)
    assert NOWHERE[reference] in caught.value.reason
    assert repr(reference) in caught.value.reason
    assert caught.value.pointer == "/a/$ref"


def test_two_anchors_of_one_name_are_refused(files: Files) -> None:
    folder = files({"openapi.json": {"A": {"$anchor": "a"}, "B": {"$dynamicAnchor": "a"}}})
    documents = Documents()
    with pytest.raises(ContractError, match="the anchor 'a' is already that of /A") as caught:
        documents.resolve(documents.get(folder / "openapi.json"), "", "#a")
    assert caught.value.pointer == "/B/$dynamicAnchor"


def test_an_id_in_a_file_that_a_later_reference_reaches(files: Files) -> None:
    first = {"$ref": f"{URL}/n"}
    assert (
        load(
            files(
                {
                    "openapi.json": document({}, {"A": first, "B": {"$ref": "n.json#/$defs/Other"}}),
                    "n.json": {"$defs": {"N": {"$id": f"{URL}/n", **NUMBER}, "Other": {"type": "string"}}},
                }
            )
        )
        == []
    )


def test_a_dynamic_reference_is_a_reference(files: Files) -> None:
    tree = {"$dynamicAnchor": "node", "type": "object", "properties": {"next": {"$dynamicRef": "#node"}}}
    folder = files({"openapi.json": document({}, {"Tree": tree})})
    assert load(folder) == []
    both = {**tree, "$id": f"{URL}/strict"}
    folder = files({"openapi.json": document({}, {"Tree": tree, "Strict": both})})
    assert [one.partition("openapi.json")[2] for one in load(folder)] == [
        f"#/components/schemas/{name}/properties/next/$ref: $dynamicRef '#node' is read as a $ref to "
        f"openapi.json#/components/schemas/{name}"
        for name in ("Tree", "Strict")
    ]


def test_a_pointer_from_the_root_inside_a_schema_with_an_id_is_warned_of(files: Files) -> None:
    schemas = {"A": {"$id": "A", "type": "object", "properties": {"b": ref("B")}}, "B": NUMBER}
    (warning,) = load(files({"openapi.json": document({}, schemas)}))
    assert "reference-base: " in warning
    assert "openapi.json#/components/schemas/A/properties/b/$ref: " in warning


def test_references_below_extensions_are_not_followed(files: Files) -> None:
    nowhere = {"$ref": "#/nowhere"}
    responses = {"200": ok({}), "x-own": nowhere}
    paths = {"x-own": nowhere, "x-list": [nowhere], "/a": {"get": {"responses": responses, "x-own": nowhere}}}
    assert load(files({"openapi.json": document(paths)})) == []


# What is referred to from where, what stands there, and the pointer of the fault.
INVALID: dict[str, tuple[dict[str, object], object, str]] = {
    "a schema": (
        {"/a": {"get": {"responses": {"200": ok({"$ref": "far.json#/It"})}}}},
        {"type": "object", "properties": {"a": {"minimum": "wide"}}},
        "/properties/a/minimum",
    ),
    "a parameter": (
        {"/a": {"get": {"parameters": [{"$ref": "far.json#/It"}], "responses": {"200": ok({})}}}},
        {"name": "a", "in": "query", "schema": {"type": "text"}},
        "/schema/type",
    ),
    "a response": (
        {"/a": {"get": {"responses": {"200": {"$ref": "far.json#/It"}}}}},
        {"description": "ok", "content": {"application/json": {"examples": 5}}},
        "/content/application~1json/examples",
    ),
    "a path item": (
        {"/a": {"$ref": "far.json#/It"}},
        {"get": {"tags": "a", "responses": {"200": ok({})}}},
        "/get/tags",
    ),
    "a body": (
        {"/a": {"put": {"requestBody": {"$ref": "far.json#/It"}, "responses": {"200": ok({})}}}},
        {"content": []},
        "/content",
    ),
}


@pytest.mark.parametrize("version", ["3.0.3", "3.1.0", "3.2.0"])
@pytest.mark.parametrize("case", INVALID, ids=lambda name: name.replace(" ", "-"))
def test_what_references_reach_in_other_files_is_checked(case: str, version: str, files: Files) -> None:
    paths, it, pointer = INVALID[case]
    error = refused(
        files(
            {
                "openapi.json": document(paths, openapi=version),
                "far.json": {"It": it, "Unreached": {"$ref": "#/nowhere", "type": 5}},
            }
        )
    )
    assert (error.file.name, error.pointer) == ("far.json", f"/It{pointer}")


def test_valid_parts_of_a_3_0_document_keep_their_dialect(files: Files) -> None:
    paths = {"/a": {"get": {"responses": {"200": ok({"$ref": "far.json#/It"})}}}}
    it = {"type": "number", "nullable": True, "minimum": 1, "exclusiveMinimum": True}
    folder = files({"openapi.json": document(paths, openapi="3.0.3"), "far.json": {"It": it}})
    assert load(folder) == []
    folder = files({"openapi.json": document(paths), "far.json": {"It": it}})
    assert refused(folder).pointer == "/It/exclusiveMinimum"
