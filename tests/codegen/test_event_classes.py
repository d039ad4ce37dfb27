"""Payloads of events: each event has a class of its own, of whatever kind its schema is."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from codegen.conftest import document
from digitorn_codegen import Settings, generate

TEXT: dict[str, Any] = {"type": "string"}
WHOLE: dict[str, Any] = {"type": "integer"}


def obj(required: tuple[str, ...] = (), /, **properties: object) -> dict[str, Any]:
    return {"type": "object", "properties": properties, **({"required": list(required)} if required else {})}


def items(item: dict[str, Any], **more: object) -> dict[str, Any]:
    return {"type": "array", "items": item, **more}


ITEM = {"$ref": "#/$defs/Item"}
PAIR = {"type": "array", "prefixItems": [TEXT, WHOLE], "minItems": 2, "maxItems": 2}
EVENTS: dict[str, dict[str, Any]] = {
    # A member is called like another event, and another like a class of a list.
    "day_closed": obj(("loan_made",), loan_made=obj(("number",), number=WHOLE)),
    "loan_made": obj(("book",), book=TEXT, tags=items(obj(("t",), t=TEXT))),
    "loan_made_tags_item": obj(("n",), n=WHOLE),
    "loan": {
        "type": "object",
        "oneOf": [
            obj(("action", "to"), action={"const": "lent"}, to=WHOLE),
            obj(("action", "late"), action={"const": "returned"}, late={"type": "boolean"}),
        ],
    },
    "message": {
        **obj(
            ("id",),
            id=TEXT,
            span=PAIR,
            parts=items(
                {
                    "oneOf": [{"$ref": "#/$defs/Words"}, {"$ref": "#/$defs/File"}],
                    "discriminator": {
                        "propertyName": "kind",
                        "mapping": {"text": "#/$defs/Words", "file": "#/$defs/File"},
                    },
                }
            ),
        ),
        "$defs": {
            "Words": obj(("text",), kind={"const": "text", "default": "text"}, text=TEXT),
            "File": obj(("url",), kind={"const": "file", "default": "file"}, url=TEXT),
        },
    },
    "lent": {**obj(("items",), items=items(ITEM)), "$defs": {"Item": obj(("x",), x=TEXT)}},
    "returned": {**obj(("items",), items=items(ITEM)), "$defs": {"Item": obj(("x",), x=TEXT)}},
    "counted": {**obj(("item",), item=ITEM), "$defs": {"Item": obj(("n",), n=WHOLE)}},
    "part": {
        "$ref": "#/$defs/Part",
        "$defs": {"Part": obj(("title",), title=TEXT, parts=items({"$ref": "#/$defs/Part"}))},
    },
    "branch": {**obj(("x",), x=TEXT), "oneOf": [obj(("y",), y=WHOLE), obj(("z",), z=WHOLE)]},
    "limits": obj(
        ("share", "step", "list", "map", "text", "given", "pair", "void"),
        share={"type": "number", "exclusiveMinimum": 0, "maximum": 0.5},
        step={"type": "integer", "multipleOf": 5, "minimum": 1},
        list=items(WHOLE, minItems=2, uniqueItems=True),
        map={"type": "object", "additionalProperties": WHOLE, "minProperties": 1},
        text={"allOf": [{"type": "string", "minLength": 5}]},
        given={"type": "string", "pattern": "^[0-9]{3}$", "examples": ["123"]},
        pair=PAIR,
        void={"type": "null"},
    ),
}
PAYLOADS: list[tuple[str, dict[str, Any], list[dict[str, Any]]]] = [
    ("day_closed", {"loan_made": {"number": 1}}, [{"loan_made": {"book": "b"}}]),
    ("loan_made", {"book": "b", "tags": [{"t": "x"}]}, [{"number": 1}, {"book": "b", "tags": [{"n": 1}]}]),
    ("loan_made_tags_item", {"n": 1}, [{"t": "x"}]),
    ("loan", {"action": "lent", "to": 1}, [{"action": "lost"}, {"action": "lent", "late": True}]),
    ("loan", {"action": "returned", "late": True}, [{"action": "returned", "to": 1}]),
    (
        "message",
        {"id": "1", "parts": [{"kind": "text", "text": "t"}, {"kind": "file", "url": "u"}], "span": ["a", 1]},
        [{"id": "1", "span": [1, "a"]}, {"id": "1", "parts": [{"kind": "text", "url": "u"}]}],
    ),
    ("lent", {"items": [{"x": "1"}]}, [{"items": [{"n": 1}]}]),
    ("returned", {"items": [{"x": "1"}]}, [{"items": [{"n": 1}]}]),
    ("counted", {"item": {"n": 1}}, [{"item": {"x": "1"}}]),
    ("part", {"title": "1", "parts": [{"title": "2"}]}, [{"parts": []}, {"title": "1", "parts": [{}]}]),
    ("branch", {"x": "1", "z": 2}, [{"x": "1"}, {"z": 2}]),
]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("events")
    (folder / "openapi.json").write_text(json.dumps(document({})), encoding="utf-8")
    events = folder / "events"
    events.mkdir()
    envelope = {**obj(("type", "payload"), type=TEXT, payload={"type": "object"}), "x-event-envelope": True}
    for name, schema in {"envelope": envelope, **EVENTS}.items():
        kind = {} if name == "envelope" else {"x-event-type": name}
        title = name.title().replace("_", "")
        whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **kind, **schema}
        (events / f"{name}.json").write_text(json.dumps(whole), encoding="utf-8")
    out = folder / "out" / "event_classes"
    generate(Settings(openapi=folder / "openapi.json", events=events, package=out.name, out=out))
    sys.path.insert(0, str(out.parent))
    yield out.name
    sys.path.remove(str(Path(out.parent)))


@pytest.mark.parametrize(("name", "value", "others"), PAYLOADS)
def test_a_payload_is_read_as_its_own_class(
    name: str, value: dict[str, Any], others: list[dict[str, Any]], package: str
) -> None:
    events = importlib.import_module(f"{package}.events").EVENTS
    assert events.payload_class(name, value).from_wire(value).to_wire() == value
    for other in others:
        with pytest.raises(ValidationError):
            events.payload_class(name, other).from_wire(other)


def test_a_builder_without_arguments_makes_what_its_class_accepts(package: str) -> None:
    builders = importlib.import_module(f"{package}.builders")
    events = importlib.import_module(f"{package}.events").EVENTS
    for name in EVENTS:
        payload = getattr(builders, name)().to_wire()
        assert events.payload_class(name, payload).from_wire(payload).to_wire() == payload
