"""Builders of payloads: examples that fit, and members that are typed."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from codegen.test_generate import run_in_package
from digitorn_codegen import ContractError, Settings, generate
from support.strict_mypy import StrictMypy

Edit = Callable[[str, str, str], None]


def add_event(toy: Settings, name: str, properties: dict[str, object], **more: object) -> None:
    """One more event of the toy contract; every member is required unless it is said otherwise."""
    assert toy.events is not None
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name,
        "x-event-type": name.lower(),
        "type": "object",
        "properties": properties,
        "required": list(properties),
        **more,
    }
    (toy.events / f"{name.lower()}.json").write_text(json.dumps(schema))


def built(toy: Settings, call: str) -> Any:
    """What a builder makes, as JSON values."""
    generate(toy)
    said = run_in_package(
        toy,
        "import json; from toypkg.client import builders, models\n"
        f"made = builders.{call}\n"
        "print(json.dumps([type(made).__name__, made.to_wire()]))",
    )
    return json.loads(said)


def test_an_event_has_a_builder_with_the_members_of_its_bases(toy: Settings) -> None:
    name, members = built(toy, "toy_moved(how='jump', extra_members={'z': 1})")
    assert name == "ToyMoved"
    # Required by the base, required by itself, given, and not in the contract.
    assert members["x"] == 0
    assert isinstance(members["toy"], dict)
    assert (members["how"], members["z"]) == ("jump", 1)
    assert "y" not in members
    assert "free" not in members


EXAMPLES: list[tuple[dict[str, object], object]] = [
    ({"type": "string"}, "m0"),
    ({"type": "string", "maxLength": 1}, "m"),
    ({"type": "string", "minLength": 4}, "m2__"),
    ({"type": "string", "examples": ["e", "f"]}, "e"),
    ({"type": "string", "enum": ["a", "b"]}, "a"),
    ({"enum": ["a", None]}, None),
    ({"const": 7}, 7),
    ({"type": "integer"}, 0),
    ({"type": "integer", "minimum": 3}, 3),
    ({"type": "integer", "exclusiveMinimum": 3}, 4),
    ({"type": "integer", "maximum": -3}, -3),
    ({"type": "integer", "exclusiveMaximum": 0}, -1),
    ({"type": "number"}, 0.0),
    ({"type": "boolean"}, False),
    ({"type": ["string", "null"]}, None),
    ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, None),
    ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, 0),
    ({"type": "array", "items": {"type": "string"}}, []),
    ({"type": "array", "items": {"type": "string"}, "minItems": 2}, ["m18", "m18"]),
    ({"type": "object"}, {}),
    ({"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}, "required": ["a"]}, {"a": 0}),
    ({"$ref": "shared.json#/$defs/Place"}, {"x": 0}),
    ({}, None),
]


def test_a_required_member_has_an_example_that_fits(toy: Settings) -> None:
    add_event(toy, "Other", {f"m{place}": schema for place, (schema, _) in enumerate(EXAMPLES)})
    _, members = built(toy, "other()")
    for place, (schema, value) in enumerate(EXAMPLES):
        assert members[f"m{place}"] == value, schema


def test_examples_and_nothing_else_change_with_examples(toy: Settings, edit: Edit) -> None:
    generate(toy)
    before = {path.name: path.read_text() for path in toy.out.glob("*.py")}
    edit("events/shared.json", '"type": "integer",', '"type": "integer", "examples": [5],')
    generate(toy)
    assert '"x": 5' in (toy.out / "builders.py").read_text()
    for name in ("models.py", "payloads.py", "events.py"):
        # The header names the contract's hash.
        assert (toy.out / name).read_text().partition("\n")[2] == before[name].partition("\n")[2]


def test_a_recursive_definition_is_left_to_the_caller(toy: Settings) -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}, "required": ["next"]}
    add_event(
        toy,
        "Tree",
        {"root": {"$ref": "#/$defs/Node"}},
        **{"$defs": {"Node": node}},
    )
    generate(toy)
    assert '{"root": {"next": {}}}' in (toy.out / "builders.py").read_text()


def test_names_that_python_or_the_module_needs(toy: Settings) -> None:
    words = ("class", "built", "extra_members", "self", "str")
    add_event(toy, "Built", {name: {"type": "string"} for name in words})
    name, members = built(toy, "built(class_='a', built='b', str='c')")
    assert (name, members["class"], members["built"], members["str"]) == ("Built", "a", "b", "c")


def test_builders_are_typed(toy: Settings, strict_mypy: StrictMypy) -> None:
    generate(toy)
    (toy.out.parent / "__init__.py").touch()
    use = toy.out.parent.parent / "use.py"
    use.write_text(
        "from toypkg.client import builders\n"
        "builders.toy_moved(how='jump', x=1).how\n"
        "builders.toy_moved(how='fly')\n"
        "builders.toy_moved(x='1')\n"
        "builders.toy_moved(hwo='jump')\n"
    )
    found = strict_mypy.complaints("use.py", folder=use.parent)
    assert [one.line for one in found] == [3, 4, 5], found


def test_the_members_of_the_envelope_that_go_with_an_event(toy: Settings, edit: Edit) -> None:
    edit("events/toy_moved.json", '"x-constants"', '"x-event-defaults": {"op_state": "done"}, "x-constants"')
    generate(toy)
    said = run_in_package(
        toy,
        "from toypkg.client.events import EVENTS, ToyMoved\n"
        "print(EVENTS.spec_of(ToyMoved).defaults, EVENTS.spec_of(int))",
    )
    assert said == "{'op_state': 'done'} None"


def test_an_envelope_member_that_is_none_is_refused(toy: Settings, edit: Edit) -> None:
    edit("events/toy_moved.json", '"x-constants"', '"x-event-defaults": {"op_stat": "done"}, "x-constants"')
    with pytest.raises(ContractError, match="the envelope has no 'op_stat'") as caught:
        generate(toy)
    assert (caught.value.file.name, caught.value.pointer) == ("toy_moved.json", "/x-event-defaults/op_stat")


def test_without_events_there_are_no_builders(without_events: Settings) -> None:
    generate(without_events)
    assert not (without_events.out / "builders.py").exists()
