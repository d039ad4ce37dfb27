"""Clients of AsyncAPI documents: events, commands, and what is said about the rest."""

import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from jsonschema_rs import Draft7Validator
from pydantic import ValidationError

from codegen.conftest import Client, Make
from digitorn_codegen import ContractError, Settings, generate
from digitorn_codegen._cli import main
from support.strict_mypy import StrictMypy

PUBLIC = Path(__file__).parent / "asyncapi"
INFO = {"title": "Made up", "version": "1"}


def object_of(**members: object) -> dict[str, object]:
    """A schema of an object that requires all of its members."""
    return {"type": "object", "properties": members, "required": list(members)}


TEXT = {"type": "string"}
NUMBER = {"type": "integer"}


def message(payload: object, **more: object) -> dict[str, object]:
    """A message with a payload."""
    return {"payload": payload, **more}


def api(
    messages: Mapping[str, object],
    sends: Sequence[str] = (),
    receives: Mapping[str, Sequence[str]] | None = None,
    schemas: Mapping[str, object] | None = None,
    **more: object,
) -> dict[str, Any]:
    """A document of version 3 with one channel.

    Args:
        messages: The messages, by key.
        sends: Those that the application sends.
        receives: Those that it receives, with the replies to them.
        schemas: The component schemas.
        more: Further members of the document.
    """

    def refs(keys: Sequence[str]) -> list[object]:
        return [{"$ref": f"#/channels/live/messages/{key}"} for key in keys]

    channel = {"$ref": "#/channels/live"}
    operations: dict[str, Any] = {}
    if sends:
        operations["send"] = {"action": "send", "channel": channel, "messages": refs(sends)}
    for key, replies in (receives or {}).items():
        operations[f"on_{key}"] = {"action": "receive", "channel": channel, "messages": refs([key])}
        if replies:
            operations[f"on_{key}"]["reply"] = {"channel": channel, "messages": refs(replies)}
    return {
        "asyncapi": "3.0.0",
        "info": INFO,
        "channels": {
            "live": {
                "address": "/live",
                "messages": {key: {"$ref": f"#/components/messages/{key}"} for key in messages},
            }
        },
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas or {}},
        **more,
    }


def warnings_of(client: Client) -> set[tuple[str, str]]:
    """The name and the pointer of each warning."""
    parts = [text.split(": ", 2) for text in client.warnings]
    return {(name, place.partition("#")[2]) for name, place, _ in parts}


def classes_of(client: Client) -> dict[str, str]:
    """The class name of each event, by wire name."""
    return {spec.wire: spec.payload.__name__ for spec in client.module("events").EVENTS.specs}


def accepts(events: Any, wire: str, payload: Mapping[str, object]) -> bool:
    """Whether an event of a registry can have a payload, which is then written as it was read."""
    try:
        found = events.read(wire, payload)
    except ValidationError:
        return False
    assert found.to_wire() == payload
    return True


# --- events and commands


def test_what_a_server_sends_is_an_event_and_what_it_receives_is_a_command(make: Make) -> None:
    client = make(
        api(
            {
                "lent": message(object_of(book=NUMBER), name="book.lent", description="A book was lent."),
                "ask": message(object_of(book=NUMBER), summary="Ask for a book."),
                "told": message(object_of(title=TEXT)),
                "leave": message(object_of(why=TEXT)),
            },
            sends=["lent"],
            receives={"ask": ["told"], "leave": []},
        )
    )
    assert classes_of(client) == {"book.lent": "Lent", "told": "Told"}
    assert accepts(client.module("events").EVENTS, "book.lent", {"book": 1})
    assert not accepts(client.module("events").EVENTS, "book.lent", {"book": "1"})
    assert not any(spec.enveloped for spec in client.module("events").EVENTS.specs)
    ask, leave = client.module("commands").ASK, client.module("commands").LEAVE
    assert (ask.name, ask.namespace, ask.request.__name__, ask.ack.__name__) == (
        "ask",
        "/live",
        "Ask",
        "Told",
    )
    assert (leave.name, leave.request.__name__, leave.ack) == ("leave", "Leave", type(None))
    assert client.warnings == ()


def test_in_the_document_of_a_client_it_is_the_other_way_round(tmp_path: Path) -> None:
    file = tmp_path / "client.json"
    found = api(
        {"heard": message(object_of(a=TEXT)), "said": message(object_of(b=TEXT))}, ["said"], {"heard": []}
    )
    file.write_text(json.dumps(found), encoding="utf-8")
    out = tmp_path / "of_client"
    arguments = ["generate", f"--asyncapi={file}", f"--package={out.name}", f"--out={out}"]
    assert main([*arguments, "--asyncapi-describes=client"]) == 0
    assert '"heard"' in (out / "events.py").read_text(encoding="utf-8")
    assert 'Command("said"' in (out / "commands.py").read_text(encoding="utf-8")


def test_version_2_publishes_commands_and_subscribes_to_events(make: Make) -> None:
    book = {"$ref": "#/components/schemas/Book"}
    client = make(
        {
            "asyncapi": "2.4.0",
            "info": INFO,
            "channels": {
                "books/{shelf}": {
                    "subscribe": {
                        "message": {
                            "oneOf": [
                                {"$ref": "#/components/messages/lent"},
                                {"messageId": "returned", "payload": object_of(late={"type": "boolean"})},
                            ]
                        }
                    },
                    "publish": {"operationId": "orderBook", "message": {"payload": book}},
                },
            },
            "components": {
                "messages": {
                    "lent": {
                        "name": "lent",
                        "payload": object_of(book=book),
                        "traits": [{"name": "book-lent"}],
                    },
                },
                "schemas": {"Book": object_of(title=TEXT)},
            },
        }
    )
    assert classes_of(client) == {"book-lent": "Lent", "returned": "Returned"}
    assert accepts(client.module("events").EVENTS, "book-lent", {"book": {"title": "Emma"}})
    command = client.module("commands").ORDER_BOOK
    assert (command.namespace, command.request.__name__) == ("books/{shelf}", "Book")


def test_in_version_3_a_message_wins_over_its_traits(make: Make) -> None:
    told = message(object_of(a=TEXT), name="own", traits=[{"name": "shared", "description": "Said to all."}])
    client = make(api({"told": told}, receives={"told": []}))
    assert 'Command("own"' in (client.settings.out / "commands.py").read_text(encoding="utf-8")
    assert "Said to all." in (client.settings.out / "commands.py").read_text(encoding="utf-8")


def test_an_event_without_a_payload_is_an_empty_object(make: Make) -> None:
    client = make(api({"ping": {}, "pong": {"name": "pong"}}, ["pong"], {"ping": []}))
    assert accepts(client.module("events").EVENTS, "pong", {})
    assert client.module("commands").PING.request.from_wire({}).to_wire() == {}


def test_a_payload_that_is_a_component_is_its_class(make: Make) -> None:
    schemas = {"Book": object_of(title=TEXT), "Shelf": object_of(first={"$ref": "#/components/schemas/Book"})}
    client = make(
        api(
            {
                "book": message({"$ref": "#/components/schemas/Book"}),
                "shelf": message({"$ref": "#/components/schemas/Shelf"}),
            },
            ["book", "shelf"],
            schemas=schemas,
        )
    )
    assert classes_of(client) == {"book": "Book", "shelf": "Shelf"}
    shelf = client.module("events").EVENTS.read("shelf", {"first": {"title": "Emma"}})
    assert type(shelf.first) is client.module("payloads").Book


def test_a_payload_of_branches_is_a_class_of_events_and_of_commands(make: Make) -> None:
    schemas = {"Lent": object_of(to=TEXT), "Returned": object_of(late={"type": "boolean"})}
    branches = {"oneOf": [{"$ref": f"#/components/schemas/{name}"} for name in schemas]}
    client = make(
        api({"loan": message(branches), "note": message(branches)}, ["loan"], {"note": []}, schemas=schemas)
    )
    note = client.module("commands").NOTE.request
    assert (classes_of(client), note.__name__) == ({"loan": "Loan"}, "Note")
    for payload in ({"to": "Emma"}, {"late": True}):
        assert accepts(client.module("events").EVENTS, "loan", payload)
        assert isinstance(note.from_wire(payload), note)
    assert not accepts(client.module("events").EVENTS, "loan", {"lost": True})
    with pytest.raises(ValidationError):
        note.from_wire({"lost": True})


def test_events_that_share_a_payload_have_classes_of_their_own(make: Make) -> None:
    light = {"$ref": "#/components/schemas/light"}
    client = make(
        api(
            {"turnOn": message(light), "turnOff": message(light), "light": message(light)},
            ["turnOn", "turnOff", "light"],
            schemas={"light": object_of(lamp=NUMBER)},
        )
    )
    assert classes_of(client) == {"light": "LightMessage", "turnOff": "TurnOff", "turnOn": "TurnOn"}
    events = client.module("events").EVENTS
    for wire in ("turnOn", "turnOff", "light"):
        found = events.read(wire, {"lamp": 1})
        assert isinstance(found, client.module("payloads").Light)
        assert events.spec_of(type(found)).wire == wire


def test_a_schema_of_commands_alone_is_with_the_commands(make: Make) -> None:
    schemas = {"Both": object_of(a=TEXT), "Only": object_of(b=TEXT), "Neither": object_of(c=TEXT)}
    both, only = ({"$ref": f"#/components/schemas/{name}"} for name in ("Both", "Only"))
    client = make(
        api(
            {"said": message(object_of(both=both)), "do": message(object_of(both=both, only=only))},
            ["said"],
            {"do": []},
            schemas,
        )
    )
    assert {"Both", "Neither"} <= set(client.module("payloads").__all__)
    assert set(client.module("messages").__all__) == {"Do", "Only"}
    found = client.module("messages").Do.from_wire({"both": {"a": ""}, "only": {"b": ""}})
    assert type(found.both) is client.module("payloads").Both


def test_headers_have_a_class(make: Make) -> None:
    common = {"$ref": "#/components/messageTraits/common"}
    found = api(
        {
            "lent": message(object_of(book=NUMBER), headers=object_of(trace=TEXT)),
            "returned": message(object_of(book=NUMBER), traits=[common]),
        },
        ["lent", "returned"],
    )
    found["components"]["messageTraits"] = {"common": {"headers": object_of(app=NUMBER)}}
    payloads = make(found).module("payloads")
    assert payloads.LentHeaders.from_wire({"trace": "t"}).trace == "t"
    assert payloads.CommonHeaders.from_wire({"app": 1}).app == 1


def test_an_event_that_is_a_reply_too_goes_by_one_class(make: Make) -> None:
    client = make(
        api(
            {"ask": message(object_of(a=TEXT)), "told": message(object_of(b=TEXT))},
            ["told"],
            {"ask": ["told"]},
        )
    )
    assert client.module("commands").ASK.ack is client.module("payloads").Told


# --- dialects


def test_schemas_of_the_draft_that_asyncapi_uses(make: Make) -> None:
    payload = {
        "type": "object",
        "properties": {"pair": {"type": "array", "items": [TEXT, NUMBER], "additionalItems": False}},
        "dependencies": {"a": ["b"]},
    }
    client = make(api({"told": message(payload)}, ["told"]))
    assert accepts(client.module("events").EVENTS, "told", {"pair": ["a", 1]})
    assert not accepts(client.module("events").EVENTS, "told", {"pair": [1, "a"]})
    assert not accepts(client.module("events").EVENTS, "told", {"pair": ["a", 1, 2]})


def test_what_stands_beside_a_reference_has_no_effect_in_that_draft(make: Make) -> None:
    named = {"$ref": "#/components/schemas/Name", "maxLength": 1, "description": "Who it was."}
    client = make(api({"told": message(object_of(who=named))}, ["told"], schemas={"Name": TEXT}))
    assert accepts(client.module("events").EVENTS, "told", {"who": "Emma"})
    place = "/components/messages/told/payload/properties/who/maxLength"
    assert warnings_of(client) == {("beside-reference", place)}


def test_schemas_of_openapi_3_0(make: Make) -> None:
    payload = object_of(who={"type": "string", "nullable": True}, size={"type": "integer", "minimum": 0})
    client = make(
        api(
            {
                "told": message(
                    {"schemaFormat": "application/vnd.oai.openapi+json;version=3.0.0", "schema": payload}
                ),
            },
            ["told"],
        )
    )
    assert accepts(client.module("events").EVENTS, "told", {"who": None, "size": 0})
    assert not accepts(client.module("events").EVENTS, "told", {"who": None, "size": -1})


def test_a_component_may_name_its_dialect(make: Make) -> None:
    named = {"schemaFormat": "application/schema+json;version=draft-2020-12", "schema": object_of(a=TEXT)}
    found = api({"told": message({"$ref": "#/components/schemas/Told"})}, ["told"], schemas={"Told": named})
    client = make(found)
    assert classes_of(client) == {"told": "Told"}
    assert not accepts(client.module("events").EVENTS, "told", {"a": 1})


AVRO = "application/vnd.apache.avro;version=1.9.0"
FAR = "https://example.test/Payload.avsc"


def test_a_payload_of_another_language_is_left_out_with_a_warning(make: Make) -> None:
    client = make(
        api(
            {
                "told": message({"schemaFormat": AVRO, "schema": {"$ref": FAR}}),
                "ask": message({"schemaFormat": AVRO, "schema": {"$ref": FAR}}),
                "heard": message(object_of(a=TEXT)),
            },
            ["told", "heard"],
            {"ask": ["told"]},
        )
    )
    assert classes_of(client) == {"heard": "Heard"}
    places = {f"/components/messages/{key}/payload/schema" for key in ("told", "ask")}
    assert warnings_of(client) == {("schema-format", place) for place in places}


def test_a_payload_that_is_no_object_is_a_type_outside_the_registry(make: Make) -> None:
    client = make(api({"beat": message(TEXT), "told": message(object_of(a=TEXT))}, ["beat", "told"]))
    assert classes_of(client) == {"told": "Told"}
    assert "Beat" in client.module("payloads").__all__
    assert warnings_of(client) == {("payload-no-object", "/components/messages/beat/payload")}


# --- what the output cannot express


def test_two_messages_of_one_name_are_kept_apart(make: Make) -> None:
    client = make(
        api(
            {"one": message(object_of(a=TEXT), name="x"), "two": message(object_of(b=TEXT), name="x")},
            ["one", "two"],
        )
    )
    assert classes_of(client) == {"x": "One", "two": "Two"}
    assert warnings_of(client) == {("wire-name-taken", "/components/messages/two")}


UNREAD: dict[str, tuple[dict[str, Any], str]] = {
    "bindings of a channel": (
        {"channels": {"live": {"bindings": {"ws": {"method": "GET"}}}}},
        "/channels/live/bindings",
    ),
    "parameters of a channel": (
        {"channels": {"live": {"parameters": {"shelf": {"description": "Which."}}}}},
        "/channels/live/parameters",
    ),
    "bindings of an operation": (
        {"operations": {"send": {"bindings": {"amqp": {"ack": True}}}}},
        "/operations/send/bindings",
    ),
    "correlation of a message": (
        {"components": {"messages": {"told": {"correlationId": {"location": "$message.header#/id"}}}}},
        "/components/messages/told/correlationId",
    ),
    "address of a reply": (
        {"operations": {"on_ask": {"reply": {"address": {"location": "$message.header#/to"}}}}},
        "/operations/on_ask/reply/address",
    ),
}


def merged(value: object, more: Mapping[str, object]) -> dict[str, object]:
    """A document with further members."""
    found = dict(cast("dict[str, object]", value))
    for key, member in more.items():
        found[key] = merged(found.get(key, {}), cast("Any", member)) if isinstance(member, dict) else member
    return found


@pytest.mark.parametrize("what", UNREAD)
def test_what_belongs_to_the_transport_is_said(what: str, tmp_path: Path) -> None:
    more, pointer = UNREAD[what]
    found = api(
        {"told": message(object_of(a=TEXT)), "ask": message(object_of(b=TEXT))}, ["told"], {"ask": ["told"]}
    )
    file = tmp_path / "live.json"
    file.write_text(json.dumps(merged(found, more)), encoding="utf-8")
    warnings: list[str] = []
    generate(Settings(openapi=file, asyncapi=file, package="p", out=tmp_path / "p"), warnings.append)
    assert [text.split(": ")[:2] for text in warnings] == [["transport-ignored", f"{file}#{pointer}"]]


def test_several_replies_are_events_and_no_acknowledgement(make: Make) -> None:
    names = ("ask", "yes", "no")
    client = make(api({name: message(object_of(a=TEXT)) for name in names}, receives={"ask": ["yes", "no"]}))
    assert classes_of(client) == {"no": "No", "yes": "Yes"}
    assert client.module("commands").ASK.ack is type(None)
    assert warnings_of(client) == {("several-replies", "/operations/on_ask/reply")}


def test_a_message_of_no_operation_has_a_class_and_a_warning(make: Make) -> None:
    client = make(api({"told": message(object_of(a=TEXT)), "spare": message(object_of(b=TEXT))}, ["told"]))
    assert classes_of(client) == {"told": "Told"}
    assert "Spare" in client.module("payloads").__all__
    assert warnings_of(client) == {("unused-message", "/components/messages/spare")}


def test_content_that_is_not_json_is_said(make: Make) -> None:
    client = make(api({"told": message(object_of(a=TEXT), contentType="application/protobuf")}, ["told"]))
    assert warnings_of(client) == {("content-type", "/components/messages/told/contentType")}


def test_a_tag_as_plain_text_is_not_checked_and_said(make: Make) -> None:
    pet = {**object_of(kind=TEXT), "discriminator": "kind"}
    client = make(
        api({"told": message({"$ref": "#/components/schemas/Pet"})}, ["told"], schemas={"Pet": pet})
    )
    assert warnings_of(client) == {("discriminator-dropped", "/components/schemas/Pet/discriminator")}


# --- files


def test_a_document_of_several_files(tmp_path: Path) -> None:
    found = api({"told": {"$ref": "parts/messages.yaml#/told"}}, ["told"])
    file = tmp_path / "live.json"
    file.write_text(json.dumps(found), encoding="utf-8")
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / "messages.yaml").write_text("told: {payload: {$ref: 'schemas.yaml#/Told'}}\n", encoding="utf-8")
    (parts / "schemas.yaml").write_text(
        "Told: {type: object, properties: {who: {$ref: '#/Name'}}}\nName: {type: string}\n", encoding="utf-8"
    )
    settings = Settings(openapi=file, asyncapi=file, package="p", out=tmp_path / "p")
    generate(settings)
    written = (settings.out / "payloads.py").read_text(encoding="utf-8")
    assert "class Told(EventPayload):" in written
    assert "Name" in written
    assert "../parts" not in (settings.out / ".digest").read_text(encoding="utf-8")
    assert "parts/schemas.yaml" in (settings.out / ".digest").read_text(encoding="utf-8")


FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "another version": ({"asyncapi": "1.2.0"}, "/asyncapi", "AsyncAPI 2.0 to 2.6 and 3.0 are supported"),
    "no action": (
        {"operations": {"send": {"action": "shout"}}},
        "/operations/send",
        "is not valid AsyncAPI",
    ),
    "a dangling reference": (
        {"components": {"messages": {"told": {"payload": {"$ref": "#/components/schemas/Nobody"}}}}},
        "/components/messages/told/payload",
        "dangles",
    ),
    "a malformed key of ours": (
        {"components": {"messages": {"told": {"x-event-variant": {"requires": 1}}}}},
        "/components/messages/told/x-event-variant/requires",
        "is malformed",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_refused_with_its_place(fault: str, tmp_path: Path) -> None:
    more, pointer, reason = FAULTS[fault]
    file = tmp_path / "live.json"
    file.write_text(json.dumps(merged(api({"told": {"payload": {}}}, ["told"]), more)), encoding="utf-8")
    with pytest.raises(ContractError) as caught:
        generate(Settings(openapi=file, asyncapi=file, package="p", out=tmp_path / "p"))
    assert caught.value.file == file
    assert caught.value.pointer.startswith(pointer)
    assert reason in caught.value.reason


def test_a_document_beside_a_contract_adds_to_it(toy: Settings) -> None:
    file = toy.openapi.parent / "live.json"
    found = api(
        {"told": message(object_of(a=TEXT)), "ask": message(object_of(b=TEXT))}, ["told"], {"ask": []}
    )
    file.write_text(json.dumps(found), encoding="utf-8")
    arguments = {"openapi": toy.openapi, "events": toy.events, "commands": toy.commands, "asyncapi": file}
    flags = [f"--{key}={value}" for key, value in arguments.items()]
    flags += [f"--package={toy.package}", f"--out={toy.out}"]
    assert main(["generate", *flags]) == 0
    assert main(["check", *flags]) == 0
    events = (toy.out / "events.py").read_text(encoding="utf-8")
    assert '"toy:moved"' in events
    assert '"told"' in events
    assert "EVENT_NAMESPACE" in events
    file.write_text(json.dumps(found).replace('"a"', '"c"'), encoding="utf-8")
    assert main(["check", *flags]) == 1


def test_an_event_that_both_declare_is_refused(toy: Settings) -> None:
    file = toy.openapi.parent / "live.json"
    found = api({"moved": message(object_of(a=TEXT), name="toy:moved")}, ["moved"])
    file.write_text(json.dumps(found), encoding="utf-8")
    settings = Settings(toy.openapi, toy.package, toy.out, toy.events, toy.commands, file)
    with pytest.raises(ContractError, match=r"event 'toy:moved' is already that of toy_moved\.json"):
        generate(settings)


# --- public documents


def test_public_documents(tmp_path: Path, strict_mypy: StrictMypy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    read: dict[tuple[str, str], bool] = {}
    packages: list[str] = []
    for source in sorted(PUBLIC.glob("*.yml")):
        package = f"public_{source.stem.replace('-', '_')}"
        settings = Settings(source, package, tmp_path / package, asyncapi=source)
        if source.stem == "rpc-client":
            settings = replace(settings, asyncapi_describes="client")
        generate(settings)
        packages.append(package)
        events = importlib.import_module(f"{package}.events").EVENTS
        root = yaml.safe_load(source.read_text(encoding="utf-8"))
        named = {spec.wire: spec.payload for spec in events.specs}
        builders = importlib.import_module(f"{package}.builders").BUILDERS
        for key, found in root.get("components", {}).get("messages", {}).items():
            if (wire := found.get("name", key)) not in named:
                continue
            payload = found["payload"].get("schema", found["payload"])
            schema = Draft7Validator({**payload, "components": root["components"]})
            schema.validate(builders[named[wire]]().to_wire())
            for example in found.get("examples", ()):
                read[source.stem, key] = accepts(events, wire, example["payload"])
                assert read[source.stem, key] == schema.is_valid(example["payload"])
    # In Kraken's examples a member is a text that its schema says is a list.
    assert read == {("kraken", "subscriptionStatus"): False, ("gemini", "marketData"): True}
    arguments = [argument for package in packages for argument in ("-p", package)]
    assert strict_mypy.complaints(*arguments, folder=tmp_path) == []
