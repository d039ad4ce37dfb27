"""The contract as an AsyncAPI document: valid, the same each time, and read back without loss."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema_rs import Draft7Validator

import digitorn_codegen
from digitorn_codegen import ContractError, Settings, generate
from digitorn_codegen._asyncapi_export import export
from digitorn_codegen._cli import main
from digitorn_codegen._generate import render

ROOT = Path(__file__).parents[2]
PUBLISHED = Path(digitorn_codegen.__file__).parent / "schemas" / "asyncapi-3.0.json"


def code(files: Mapping[Path, str]) -> dict[str, str]:
    """Generated code by file, without the hash over the contract's files."""
    found: dict[str, str] = {}
    for path, text in files.items():
        lines = text.splitlines()[1:]
        found[path.name] = "\n".join(line for line in lines if not line.startswith("CONTRACT_DIGEST"))
    return found


def assert_valid(document: object) -> None:
    """Holds a document against the schema that AsyncAPI publishes."""
    validator = Draft7Validator(json.loads(PUBLISHED.read_text(encoding="utf-8")))
    assert [error.message for error in validator.iter_errors(document)] == []


def assert_survives(settings: Settings, files: Mapping[Path, str]) -> dict[str, Any]:
    """Exports a contract, reads the document back, and answers it.

    Args:
        settings: Where the contract is; the document is written beside it.
        files: What is generated of the contract itself.
    """
    folder = settings.openapi.parent
    text = export(settings, folder)
    document: dict[str, Any] = json.loads(text)
    assert_valid(document)
    (folder / "live.asyncapi.json").write_text(text, encoding="utf-8")
    again = replace(settings, events=None, commands=None, asyncapi=folder / "live.asyncapi.json")
    assert export(again, folder) == text
    assert code(render(again).files) == code(files)
    return document


@pytest.mark.timeout(240)
def test_the_contract_of_this_project_survives(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "schema", tmp_path / "schema")
    settings = Settings(
        openapi=tmp_path / "schema" / "openapi.yaml",
        events=tmp_path / "schema" / "events",
        commands=tmp_path / "schema" / "commands",
        package="digitorn_testing._generated",
        out=tmp_path / "_generated",
    )
    committed = ROOT / "src" / "digitorn_testing" / "_generated"
    document = assert_survives(
        settings, {path: path.read_text(encoding="utf-8") for path in committed.glob("*.py")}
    )
    channel = document["channels"]["events"]
    assert channel["address"] == "/events"
    assert channel["x-connect"] == {"$ref": "#/components/schemas/ConnectAuth"}
    join = document["operations"]["receiveJoinSession"]
    replies = [one["$ref"].rpartition("/")[2] for one in join["reply"]["messages"]]
    assert replies == ["JoinSessionAck", "CommandError"]


def add(settings: Settings, folder: str, name: str, schema: object) -> None:
    """Adds a file to a contract."""
    target = settings.openapi.parent / folder / f"{name}.json"
    target.write_text(json.dumps(schema), encoding="utf-8")


def test_a_small_contract_survives(toy: Settings) -> None:
    text = {"type": "string"}
    variant = {"type": "object", "properties": {"toys": {"type": "array", "items": text}}}
    add(
        toy,
        "events",
        "many",
        {
            "title": "ManyMoved",
            "x-event-type": "toy:moved",
            "x-event-variant": {"requires": "toys"},
            **variant,
        },
    )
    add(
        toy,
        "events",
        "any",
        {"title": "AnyNews", "x-event-type": "news:*", "type": "object", "x-event-defaults": {"op_id": None}},
    )
    add(
        toy,
        "events",
        "plain",
        {"title": "Plain", "x-event-type": "plain", "x-event-enveloped": False, "x-event-status": "seen"},
    )
    add(
        toy, "commands", "leave", {"title": "Leave", "x-command": "leave", "$defs": {"LeaveRequest": variant}}
    )
    add(toy, "commands", "error", {"title": "Failed", "x-command-error": True, **variant})
    document = assert_survives(toy, render(toy).files)
    messages = document["components"]["messages"]
    assert messages["Plain"] == {
        "name": "plain",
        "payload": {"$ref": "#/components/schemas/Plain"},
        "x-event-status": "seen",
    }
    assert messages["ManyMoved"]["x-event-variant"] == {"requires": "toys"}
    assert "reply" not in document["operations"]["receiveLeave"]
    assert document["operations"]["receiveLeave"]["channel"] == {"$ref": "#/channels/root"}
    assert document["x-constants"] == {"WAYS": ["up", "down"]}


def test_what_goes_over_the_wire_is_described(toy: Settings) -> None:
    document = json.loads(export(toy, toy.openapi.parent))
    validator = _validator(document, document["components"]["messages"]["ToyMoved"]["payload"], toy)
    event = {"type": "toy:moved", "payload": {"x": 1, "toy": {"id": "t", "name": "Bear"}}, "op_id": None}
    assert validator.is_valid(event)
    assert not validator.is_valid({**event, "type": "toy:lost"})
    assert not validator.is_valid({**event, "payload": {"x": "1"}})
    assert not validator.is_valid(event["payload"])


def _validator(document: dict[str, Any], schema: Any, settings: Settings) -> Draft7Validator:
    """A validator of a schema of the document; what the OpenAPI document holds is not checked."""
    text = json.dumps({**schema, "components": {**document["components"], "toy": {}}})
    far = f"{settings.openapi.name}#/components/schemas/Toy"
    return Draft7Validator(json.loads(text.replace(far, "#/components/toy")))


def test_schemas_of_a_later_draft_say_so(toy: Settings) -> None:
    pair = {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]}
    add(
        toy,
        "events",
        "pair",
        {"title": "Pair", "x-event-type": "pair", "type": "object", "properties": {"pair": pair}},
    )
    document = assert_survives(toy, render(toy).files)
    found = document["components"]["schemas"]["Pair"]
    assert found["schemaFormat"] == "application/schema+json;version=draft-2020-12"
    assert found["schema"]["properties"] == {"pair": pair}


def test_an_event_and_a_command_may_have_classes_of_one_name(toy: Settings) -> None:
    moved = {"type": "object", "properties": {"a": {"type": "string"}}}
    add(toy, "events", "twin", {"title": "TwinRequest", "x-event-type": "twin", **moved})
    add(toy, "commands", "twin", {"title": "Twin", "x-command": "twin", "$defs": {"TwinRequest": moved}})
    assert_survives(toy, render(toy).files)


def test_the_command_writes_the_document(
    toy: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = toy.openapi.parent
    lines = [f'{key} = "{value}"' for key, value in (("openapi", toy.openapi), ("events", toy.events))]
    lines += [f'package = "{toy.package}"', f'out = "{toy.out}"']
    (folder / "pyproject.toml").write_text("\n".join(["[tool.digitorn-codegen]", *lines]), encoding="utf-8")
    monkeypatch.chdir(folder)
    assert main(["export-asyncapi"]) == 0
    printed = capsys.readouterr().out
    assert main(["export-asyncapi", "--output=live.json"]) == 0
    assert (folder / "live.json").read_text(encoding="utf-8") == printed
    assert "openapi.yaml#/components/schemas/Toy" in printed
    (folder / "deeper").mkdir()
    assert main(["export-asyncapi", "--output=deeper/live.json"]) == 0
    assert "../openapi.yaml#/components/schemas/Toy" in (folder / "deeper" / "live.json").read_text()


def test_the_table_may_name_an_asyncapi_document(toy: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = toy.openapi.parent
    (folder / "live.json").write_text(export(toy, folder), encoding="utf-8")
    lines = ['asyncapi = "live.json"', 'package = "p"']
    lines += [f'openapi = "{toy.openapi.name}"', 'out = "p"', 'asyncapi-describes = "server"']
    (folder / "pyproject.toml").write_text("\n".join(["[tool.digitorn-codegen]", *lines]), encoding="utf-8")
    monkeypatch.chdir(folder)
    assert main(["generate"]) == 0
    assert main(["check"]) == 0
    table = (folder / "pyproject.toml").read_text(encoding="utf-8")
    for describes, status in (("client", 1), ("daemon", 2)):
        (folder / "pyproject.toml").write_text(table.replace("server", describes), encoding="utf-8")
        assert main(["check"]) == status


def test_a_contract_without_events_is_refused(without_events: Settings) -> None:
    with pytest.raises(ContractError, match="has no events and no commands"):
        export(without_events, without_events.openapi.parent)


def test_an_event_file_without_a_schema_has_no_payload(toy: Settings) -> None:
    add(toy, "events", "bell", {"title": "Bell", "description": "It rang.", "x-event-type": "bell"})
    generate(toy)
    assert "class Bell(EventPayload):" in (toy.out / "payloads.py").read_text(encoding="utf-8")


def test_a_command_file_may_do_without_an_acknowledgement(toy: Settings) -> None:
    request = {"type": "object", "properties": {"a": {"$ref": "#/$defs/Part"}}}
    part = {"type": "object", "properties": {"b": {"type": "string"}}}
    command = {"title": "Leave", "x-command": "leave", "$defs": {"LeaveRequest": request, "Part": part}}
    add(toy, "commands", "leave", command)
    generate(toy)
    text = (toy.out / "commands.py").read_text(encoding="utf-8")
    assert 'LEAVE: Final = Command("leave", "/", LeaveRequest, type(None))' in text


def test_a_misspelt_acknowledgement_is_refused(toy: Settings) -> None:
    shape = {"type": "object"}
    command = {"title": "Leave", "x-command": "leave", "$defs": {"LeaveRequest": shape, "LeaveAkc": shape}}
    add(toy, "commands", "leave", command)
    with pytest.raises(ContractError, match="'LeaveAkc' is neither") as caught:
        generate(toy)
    assert caught.value.pointer == "/$defs/LeaveAkc"
