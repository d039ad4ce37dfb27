"""Contracts that cannot be generated from: always a ContractError with file, pointer and reason."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from codegen.conftest import document, ok, ref
from digitorn_codegen import ContractError, Settings, SettingsError, generate
from digitorn_codegen import _contract as contract
from digitorn_codegen._errors import OutputError
from digitorn_codegen._format import verify
from digitorn_codegen._settings import Twin

Edit = Callable[[str, str, str], None]

SELF: dict[str, object] = {"A": ref("A")}
ROUND: dict[str, object] = {"A": ref("B"), "B": ref("C"), "C": ref("B")}
ALL_OF: dict[str, object] = {
    "A": {"allOf": [ref("B"), {"properties": {"a": {}}}]},
    "B": {"type": "object", "allOf": [ref("A")]},
}
ONE_OF: dict[str, object] = {"A": {"oneOf": [ref("A"), {"type": "string"}]}}
PLAIN: dict[str, object] = {"A": {"type": "object", "properties": {"data": {}}}}


def using(name: str) -> dict[str, object]:
    body = {"content": {"application/json": {"schema": ref(name)}}}
    return {"/a": {"post": {"requestBody": body, "responses": {"200": ok(ref(name))}}}}


def taking(*parameters: object) -> dict[str, object]:
    return {"/a": {"get": {"parameters": list(parameters), "responses": {"200": ok({})}}}}


def asked_for(name: str) -> dict[str, object]:
    return {"name": name, "in": "query", "schema": {"type": "string"}}


def enveloped(declared: object) -> dict[str, object]:
    return {"A": {"type": "object", "x-envelope": declared, "properties": {"data": {}}}}


FAULTS: dict[str, tuple[dict[str, object], str, str]] = {
    "a component that is itself": (document(using("A"), SELF), "/components/schemas/A", "refers to itself"),
    "components that are each other": (
        document(using("A"), ROUND),
        "/components/schemas/",
        "refers to itself",
    ),
    "a base that extends its heir": (document({}, ALL_OF), "/components/schemas/", "made of itself"),
    "the same in a body": (document(using("A"), ALL_OF), "", ""),
    "a union with itself": (document({}, ONE_OF), "/components/schemas/A", "made of itself"),
    "x-envelope is no object": (
        document({}, enveloped("data")),
        "/components/schemas/A/x-envelope",
        "malformed",
    ),
    "x-envelope without data": (
        document({}, enveloped({"success": "ok"})),
        "/components/schemas/A/x-envelope",
        "data",
    ),
    "x-envelope with a number": (
        document({}, enveloped({"data": 1})),
        "/components/schemas/A/x-envelope/data",
        "1",
    ),
    "x-envelope with another key": (document({}, enveloped({"data": "d", "x": "y"})), "", "x"),
    "a path parameter that the path has not": (
        document(
            {
                "/a": {
                    "get": {
                        "parameters": [
                            {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
                        ],
                        "responses": {"200": ok({})},
                    }
                }
            }
        ),
        "",
        "'id'",
    ),
    "a parameter twice": (
        document(taking(asked_for("a"), asked_for("b"), asked_for("a"))),
        "/paths/~1a/get/parameters/2",
        "'a' stands twice",
    ),
    "a parameter that is a schema": (
        document(taking(ref("A")), PLAIN),
        "/paths/~1a/get/parameters/0",
        "is no parameter",
    ),
    "an operation without answers in 3.0": (
        {**document({"/a": {"get": {}}}), "openapi": "3.0.3"},
        "/paths/~1a/get",
        "responses",
    ),
    "a limit that is text": (
        document({}, {"A": {"properties": {"a": {"type": "string", "minLength": "1"}}}}),
        "/components/schemas/A/properties/a/minLength",
        "is not valid OpenAPI",
    ),
    "a discriminator without a name": (
        document({}, {"A": {"oneOf": [ref("B"), ref("C")], "discriminator": {}}, "B": {}, "C": {}}),
        "/components/schemas/A/discriminator",
        "propertyName",
    ),
    "a version that is not known": ({**document({}), "openapi": "3.3.0"}, "/openapi", "are supported"),
    "a reference to text": (document(using("A"), {"A": {"$ref": "#/info/title"}}), "", ""),
    "no paths": ({"openapi": "3.1.0", "info": {"title": "t", "version": "1"}}, "", ""),
    "paths that are a list": (
        {"openapi": "3.0.0", "info": {"title": "t", "version": "1"}, "paths": []},
        "/paths",
        "",
    ),
}


def settings_of(folder: Path, found: object) -> Settings:
    source = folder / "made_up.json"
    source.write_text(json.dumps(found))
    return Settings(openapi=source, package="p", out=folder / "out" / "p")


@pytest.mark.parametrize("case", FAULTS, ids=lambda name: name.replace(" ", "-"))
def test_a_fault_has_its_file_pointer_and_reason(case: str, tmp_path: Path) -> None:
    found, pointer, reason = FAULTS[case]
    with pytest.raises(ContractError) as caught:
        contract.load(settings_of(tmp_path, found))
    assert caught.value.file.name == "made_up.json"
    assert caught.value.pointer.startswith(pointer)
    assert reason in caught.value.reason
    assert caught.value.reason.strip()


def test_a_document_of_hundreds_of_levels_is_read(tmp_path: Path) -> None:
    schema: dict[str, object] = {"type": "string"}
    for _ in range(300):
        schema = {"type": "object", "properties": {"a": schema}}
    assert len(contract.load(settings_of(tmp_path, document({}, {"A": schema}))).shapes.made) == 300


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 5_000, "- " * 5_000])
def test_yaml_that_is_nested_too_deeply_is_refused(text: str, tmp_path: Path) -> None:
    source = tmp_path / "deep.yaml"
    source.write_text(text)
    with pytest.raises(ContractError, match=r"#: is not valid YAML: .*it is nested deeper than 200 levels"):
        contract.load(Settings(openapi=source, package="p", out=tmp_path / "out" / "p"))


MALFORMED = {
    '"x-event-type": "toy:moved"': ('"x-event-type": 1', "/x-event-type"),
    '"x-constants": {': ('"x-constants": {"BAD": "text", ', "/x-constants/BAD"),
    '"WAYS": [': ('"BAD": {"up": 1}, "WAYS": [', "/x-constants/BAD/up"),
    '"up",': ('"up", 1,', "/x-constants/WAYS/1"),
    '"type": "object",': ('"type": "object", "x-event-variant": true,', "/x-event-variant"),
    '"title"': ('"x-event-enveloped": "no", "title"', "/x-event-enveloped"),
    '"properties": {': ('"x-event-defaults": [], "properties": {', "/x-event-defaults"),
    '"description": "A toy moved."': ('"x-command-error": 1', "/x-command-error"),
}


@pytest.mark.parametrize("old", MALFORMED)
def test_a_malformed_key_of_our_own_is_refused(toy: Settings, edit: Edit, old: str) -> None:
    new, pointer = MALFORMED[old]
    edit("events/toy_moved.json", old, new)
    with pytest.raises(ContractError, match="malformed") as caught:
        contract.load(toy)
    assert (caught.value.file.name, caught.value.pointer) == ("toy_moved.json", pointer)


def test_two_envelopes_are_refused(toy: Settings) -> None:
    assert toy.events is not None
    (toy.events / "zz.json").write_bytes((toy.events / "envelope.json").read_bytes())
    with pytest.raises(ContractError):
        contract.load(toy)


def test_a_fault_in_a_file_that_only_references_reach(toy: Settings, edit: Edit) -> None:
    (toy.openapi.parent / "far.yaml").write_text("Far: {properties: {a: {$ref: '#/Nowhere'}}}")
    edit(
        "openapi.yaml",
        "schema: {$ref: '#/components/schemas/PlayRequest'}",
        "schema: {$ref: 'far.yaml#/Far'}",
    )
    with pytest.raises(ContractError, match="dangles") as caught:
        contract.load(toy)
    assert (caught.value.file.name, caught.value.pointer) == ("far.yaml", "/Far/properties/a/$ref")


def test_source_that_is_no_python_is_shown_with_its_line() -> None:
    with pytest.raises(OutputError, match=r"a\.py:2: .*: def \(\): pass"):
        verify("a.py", "x = 1\ndef (): pass\n")
    with pytest.raises(OutputError, match=r"a\.py:3: 'f' is defined twice"):
        verify("a.py", "class A:\n    def f(self): ...\n    def f(self): ...\n")
    overloaded = "@overload\ndef f(a): ...\n@overload\ndef f(b): ...\ndef f(c): ...\n"
    verify("a.py", overloaded)
    with pytest.raises(OutputError, match=r"a\.py:6: 'f' is defined twice"):
        verify("a.py", overloaded + "def f(d): ...\n")


@pytest.mark.parametrize("name", ["rest.py", "_runtime.py", ".digest"])
def test_a_file_that_was_not_generated_is_never_overwritten(toy: Settings, name: str) -> None:
    toy.out.mkdir(parents=True)
    (toy.out / name).write_text("# mine\n")
    with pytest.raises(SettingsError, match="was not generated"):
        generate(toy)
    assert [(path.name, path.read_text()) for path in toy.out.iterdir()] == [(name, "# mine\n")]


def test_nor_one_in_the_folder_of_the_twin(without_events: Settings, tmp_path: Path) -> None:
    source, out = tmp_path / "_async", tmp_path / "_sync"
    source.mkdir()
    out.mkdir()
    (source / "a.py").write_text("async def f() -> None: ...\n")
    (out / "a.py").write_text("# mine\n")
    with pytest.raises(SettingsError, match="was not generated"):
        generate(replace(without_events, twins=(Twin(source, out),)))
    assert (out / "a.py").read_text() == "# mine\n"
    assert not without_events.out.exists()
