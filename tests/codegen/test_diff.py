"""Differences between two contracts: one pair of contracts for each rule."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codegen.test_diff_pairs import pairs
from digitorn_codegen import ContractError
from digitorn_codegen._cli import main
from digitorn_codegen._diff import RULES, Change, as_json, compare
from digitorn_codegen._sides import read_side

Edit = Callable[[dict[str, Any]], None]

OBJECT: dict[str, Any] = {
    "type": "object",
    "required": ["id"],
    "properties": {
        "id": {"type": "string"},
        "size": {"type": "integer", "maximum": 9},
        "kind": {"type": "string", "enum": ["a", "b"]},
    },
}

KINDS = ["a", "b"]
CODES = {"x": "1", "y": "2"}


def contract() -> dict[str, Any]:
    """A contract with one operation, one event and one command; the three shapes are alike."""
    ask: dict[str, Any] = {
        "operationId": "ask",
        "tags": ["talk"],
        "parameters": [{"name": "deep", "in": "query", "schema": {"type": "string"}}],
        "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Asked"}}}},
        "responses": {
            "200": {
                "description": "ok",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Answered"}}},
            },
            "422": {"$ref": "#/components/responses/Refused"},
        },
    }
    return {
        "openapi": {
            "openapi": "3.1.0",
            "info": {"title": "T", "version": "1"},
            "paths": {"/ask": {"post": ask}},
            "components": {
                "schemas": {"Asked": copy.deepcopy(OBJECT), "Answered": copy.deepcopy(OBJECT)},
                "responses": {
                    "Refused": {
                        "description": "refused",
                        "content": {"application/json": {"schema": copy.deepcopy(OBJECT)}},
                    }
                },
            },
        },
        "events": {
            "envelope": {
                "title": "Envelope",
                "x-event-envelope": True,
                "x-socketio": {"namespace": "/events", "event": "event"},
                **copy.deepcopy(OBJECT),
            },
            "moved": {
                "title": "Moved",
                "x-event-type": "moved",
                "x-event-defaults": {"op_state": "completed"},
                "x-constants": {"KINDS": KINDS, "CODES": CODES},
                **copy.deepcopy(OBJECT),
            },
        },
        "commands": {
            "join": {
                "x-command": "join",
                "$defs": {"JoinRequest": copy.deepcopy(OBJECT), "JoinAck": copy.deepcopy(OBJECT)},
            }
        },
    }


def write(folder: Path, found: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / "openapi.json").write_text(json.dumps(found["openapi"]))
    for kind in ("events", "commands"):
        (folder / kind).mkdir()
        for name, schema in found[kind].items():
            (folder / kind / f"{name}.json").write_text(json.dumps(schema))
    return folder


def differences(tmp_path: Path, edit: Edit, *, reverse: bool = False) -> list[Change]:
    before, after = contract(), contract()
    edit(after)
    old = read_side(write(tmp_path / "old", before))
    new = read_side(write(tmp_path / "new", after))
    return compare(new, old) if reverse else compare(old, new)


def operation(found: dict[str, Any]) -> dict[str, Any]:
    ask: dict[str, Any] = found["openapi"]["paths"]["/ask"]["post"]
    return ask


def asked(found: dict[str, Any]) -> dict[str, Any]:
    shape: dict[str, Any] = found["openapi"]["components"]["schemas"]["Asked"]
    return shape


def answered(found: dict[str, Any]) -> dict[str, Any]:
    shape: dict[str, Any] = found["openapi"]["components"]["schemas"]["Answered"]
    return shape


def add_field(shape: Callable[[dict[str, Any]], dict[str, Any]], *, required: bool = False) -> Edit:
    def edit(found: dict[str, Any]) -> None:
        shape(found)["properties"]["extra"] = {"type": "string"}
        if required:
            shape(found)["required"].append("extra")

    return edit


def put(shape: Callable[[dict[str, Any]], dict[str, Any]], name: str, **members: Any) -> Edit:
    return lambda found: shape(found)["properties"][name].update(members)


def require(shape: Callable[[dict[str, Any]], dict[str, Any]]) -> Edit:
    return lambda found: shape(found)["required"].append("size")


def answers(found: dict[str, Any]) -> dict[str, Any]:
    """The responses of the operation; the refusal is one that operations share."""
    responses: dict[str, Any] = {**operation(found)["responses"]}
    responses["422"] = found["openapi"]["components"]["responses"]["Refused"]
    return responses


def answer(status: str, like: str = "") -> Edit:
    def edit(found: dict[str, Any]) -> None:
        response = answers(found)[like] if like else {"description": "what"}
        operation(found)["responses"][status] = copy.deepcopy(response)

    return edit


def either(shape: Callable[[dict[str, Any]], dict[str, Any]]) -> Edit:
    """Makes a member a union of objects; on the side without the edit it is the first of them."""

    def edit(found: dict[str, Any]) -> None:
        first = copy.deepcopy(shape(found))
        second = {"type": "object", "properties": {"other": {"type": "string"}}}
        shape(found).clear()
        shape(found)["oneOf"] = [first, second]

    return edit


def put_extension(key: str, value: dict[str, Any]) -> Edit:
    return lambda found: found["events"]["moved"].update({key: value})


def add_parameter(**members: Any) -> Edit:
    added = {"name": "more", "in": "query", "schema": {"type": "string"}, **members}
    return lambda found: operation(found)["parameters"].append(added)


def add_event(found: dict[str, Any]) -> None:
    found["events"]["extra"] = {**found["events"]["moved"], "x-event-type": "extra"}


def add_variant(found: dict[str, Any]) -> None:
    variant = {"title": "MovedFar", "x-event-variant": {"requires": "far"}}
    found["events"]["far"] = {**found["events"]["moved"], **variant}


def add_failure(found: dict[str, Any]) -> None:
    found["commands"]["failure"] = {"x-command-error": True, **copy.deepcopy(OBJECT)}


def add_command(found: dict[str, Any]) -> None:
    found["commands"]["extra"] = {**found["commands"]["join"], "x-command": "extra"}


def add_operation(found: dict[str, Any]) -> None:
    found["openapi"]["paths"]["/more"] = {"get": {"operationId": "more", "responses": {}}}


def require_body(found: dict[str, Any]) -> None:
    operation(found)["requestBody"]["required"] = True


def drop_body(found: dict[str, Any]) -> None:
    del operation(found)["requestBody"]


# Each rule with an edit that makes it, and whether it is the way back that does.
PAIRS: dict[str, tuple[Edit, bool]] = {
    "operation-added": (add_operation, False),
    "operation-removed": (add_operation, True),
    "operation-renamed": (lambda found: operation(found).update(operationId="inquire"), False),
    "operation-moved": (lambda found: operation(found).update(tags=["other"]), False),
    "parameter-added": (add_parameter(), False),
    "parameter-removed": (add_parameter(), True),
    "parameter-added-required": (add_parameter(required=True), False),
    "parameter-required": (lambda found: operation(found)["parameters"][0].update(required=True), False),
    "parameter-optional": (lambda found: operation(found)["parameters"][0].update(required=True), True),
    "body-removed": (drop_body, False),
    "body-added": (drop_body, True),
    "request-field-added": (add_field(asked), False),
    "request-field-removed": (add_field(asked), True),
    "request-field-added-required": (add_field(asked, required=True), False),
    "request-field-required": (require(asked), False),
    "request-field-optional": (require(asked), True),
    "request-type-widened": (put(asked, "id", type=["string", "null"]), False),
    "request-type-narrowed": (put(asked, "id", type=["string", "null"]), True),
    "request-value-added": (put(asked, "kind", enum=["a", "b", "c"]), False),
    "request-value-removed": (put(asked, "kind", enum=["a", "b", "c"]), True),
    "request-limit-tightened": (put(asked, "size", maximum=5), False),
    "request-limit-loosened": (put(asked, "size", maximum=5), True),
    "request-variant-added": (either(asked), False),
    "request-variant-removed": (either(asked), True),
    "result-removed": (lambda found: answers(found)["200"].pop("content"), False),
    "result-added": (lambda found: answers(found)["200"].pop("content"), True),
    "success-added": (answer("202", "200"), False),
    "success-removed": (answer("202", "200"), True),
    "redirect-added": (answer("308"), False),
    "redirect-removed": (answer("308"), True),
    "error-added": (answer("409"), False),
    "error-removed": (answer("409"), True),
    "error-body-removed": (lambda found: answers(found)["422"].pop("content"), False),
    "error-body-added": (lambda found: answers(found)["422"].pop("content"), True),
    "response-field-added": (add_field(answered), False),
    "response-field-removed": (add_field(answered), True),
    "response-field-required": (require(answered), False),
    "response-field-optional": (require(answered), True),
    "response-type-widened": (put(answered, "id", type=["string", "null"]), False),
    "response-type-narrowed": (put(answered, "id", type=["string", "null"]), True),
    "response-value-added": (put(answered, "kind", enum=["a", "b", "c"]), False),
    "response-value-removed": (put(answered, "kind", enum=["a", "b", "c"]), True),
    "response-variant-added": (either(answered), False),
    "response-variant-removed": (either(answered), True),
    "event-added": (add_event, False),
    "event-removed": (add_event, True),
    "event-renamed": (lambda found: found["events"]["moved"].update(title="Shifted"), False),
    "event-moved": (lambda found: found["events"]["moved"].update({"x-event-enveloped": False}), False),
    "event-default-changed": (put_extension("x-event-defaults", {"op_state": "failed"}), False),
    "event-default-removed": (put_extension("x-event-defaults", {}), False),
    "event-default-added": (put_extension("x-event-defaults", {}), True),
    "envelope-removed": (lambda found: found["events"].pop("envelope"), False),
    "envelope-added": (lambda found: found["events"].pop("envelope"), True),
    "constant-removed": (put_extension("x-constants", {"KINDS": KINDS}), False),
    "constant-added": (put_extension("x-constants", {"KINDS": KINDS}), True),
    "constant-value-removed": (put_extension("x-constants", {"KINDS": KINDS[:1], "CODES": CODES}), False),
    "constant-value-added": (put_extension("x-constants", {"KINDS": KINDS[:1], "CODES": CODES}), True),
    "event-variant-added": (add_variant, False),
    "event-variant-removed": (add_variant, True),
    "envelope-copies-changed": (
        lambda found: found["events"]["envelope"].update({"x-event-lifted": {"id": "id"}}),
        False,
    ),
    "command-added": (add_command, False),
    "command-removed": (add_command, True),
    "command-moved": (lambda found: found["commands"]["join"].update({"x-namespace": "/other"}), False),
    "message-added": (add_failure, False),
    "message-removed": (add_failure, True),
}


@pytest.mark.parametrize("rule", PAIRS)
def test_each_rule_has_a_pair(rule: str, tmp_path: Path) -> None:
    edit, reverse = PAIRS[rule]
    changes = differences(tmp_path, edit, reverse=reverse)
    assert [change.rule for change in changes] == [rule]
    assert changes[0].breaking is RULES[rule][0]
    assert RULES[rule][1] in changes[0].reason


def test_a_required_body_where_there_was_none(tmp_path: Path) -> None:
    before, after = contract(), contract()
    drop_body(before)
    require_body(after)
    old, new = write(tmp_path / "old", before), write(tmp_path / "new", after)
    assert [change.rule for change in compare(read_side(old), read_side(new))] == ["body-added-required"]


def test_every_rule_is_tested_and_documented() -> None:
    of_documents = {
        line.rpartition(" ")[2]
        for pair in pairs("documents.yaml")
        for line in (*pair.get("there", ()), *pair.get("back", ()))
    }
    of_values = {
        f"{way}-{rule}"
        for pair in pairs("values.yaml")
        for rule in (*pair.get("there", ()), *pair.get("back", ()))
        for way in ("request", "response")
    }
    assert set(PAIRS) | of_documents | of_values == set(RULES)
    documented = (Path(__file__).parents[2] / "docs" / "contract-changes.md").read_text(encoding="utf-8")
    for rule, (breaking, why) in RULES.items():
        assert f"| `{rule}` | {'breaking' if breaking else 'compatible'} | {why} |" in documented


def test_nothing_changed(tmp_path: Path) -> None:
    assert differences(tmp_path, lambda found: None) == []


def test_texts_do_not_matter(tmp_path: Path) -> None:
    def describe(found: dict[str, Any]) -> None:
        asked(found)["description"] = "new words"
        operation(found)["summary"] = "new words"

    assert differences(tmp_path, describe) == []


def test_a_shape_that_many_share_is_reported_once_for_each_way_it_travels(tmp_path: Path) -> None:
    def share(found: dict[str, Any]) -> None:
        content = operation(found)["requestBody"]["content"]["application/json"]
        content["schema"] = {"$ref": "#/components/schemas/Answered"}

    before, after = contract(), contract()
    share(before)
    share(after)
    answered(after)["properties"]["kind"]["enum"] = ["a"]
    old, new = write(tmp_path / "old", before), write(tmp_path / "new", after)
    changes = compare(read_side(old), read_side(new))
    assert [(change.rule, change.where) for change in changes] == [
        ("request-value-removed", "POST /ask, Answered.kind"),
        ("response-value-removed", "POST /ask, Answered.kind"),
    ]


def test_event_payloads_and_commands_are_compared_as_they_travel(tmp_path: Path) -> None:
    def edit(found: dict[str, Any]) -> None:
        del found["events"]["moved"]["properties"]["size"]
        definitions = found["commands"]["join"]["$defs"]
        definitions["JoinRequest"]["required"].append("size")
        definitions["JoinAck"]["required"].append("size")

    assert [(change.rule, change.where) for change in differences(tmp_path, edit)] == [
        ("response-field-removed", "event moved.size"),
        ("request-field-required", "command join, request.size"),
        ("response-field-required", "command join, ack.size"),
    ]


def test_nested_shapes_arrays_and_unions(tmp_path: Path) -> None:
    def nest(found: dict[str, Any], inner: dict[str, Any]) -> None:
        answered(found)["properties"]["nested"] = {
            "type": "array",
            "items": {"anyOf": [{"type": "null"}, {"allOf": [{"type": "object", "properties": inner}]}]},
        }

    before, after = contract(), contract()
    nest(before, {"x": {"type": "integer"}, "y": {"type": "integer"}})
    nest(after, {"x": {"type": "integer"}})
    old, new = write(tmp_path / "old", before), write(tmp_path / "new", after)
    (change,) = compare(read_side(old), read_side(new))
    assert (change.rule, change.where) == ("response-field-removed", "POST /ask, Answered.nested[].y")


def test_the_body_of_an_error_is_compared_once_for_all_operations(tmp_path: Path) -> None:
    def edit(found: dict[str, Any]) -> None:
        members = answers(found)["422"]["content"]["application/json"]["schema"]["properties"]
        members["sizes"] = members.pop("size")

    def more(found: dict[str, Any]) -> None:
        found["openapi"]["paths"]["/more"] = {"post": {**operation(found), "operationId": "more"}}

    before, after = contract(), contract()
    more(before)
    more(after)
    edit(after)
    old, new = write(tmp_path / "old", before), write(tmp_path / "new", after)
    assert [(change.rule, change.where) for change in compare(read_side(old), read_side(new))] == [
        ("response-field-removed", "POST /ask, Refused.size"),
        ("response-field-added", "POST /ask, Refused.sizes"),
    ]


def test_statuses_are_told_together(tmp_path: Path) -> None:
    def edit(found: dict[str, Any]) -> None:
        operation(found)["responses"] = {
            "202": answers(found)["200"],
            "204": {"description": "nothing to say"},
            "404": {"description": "none"},
            "409": {"description": "busy"},
        }

    assert [(change.rule, change.reason.partition(";")[0]) for change in differences(tmp_path, edit)] == [
        ("success-removed", "success 200 was removed"),
        ("success-added", "success 202, 204 was added"),
        ("error-removed", "error 422 was removed"),
        ("error-added", "error 404, 409 was added"),
        ("result-optional", "the result became optional"),
    ]


def test_a_result_that_became_required_again(tmp_path: Path) -> None:
    changes = differences(tmp_path, answer("204"), reverse=True)
    assert [change.rule for change in changes] == ["success-removed", "result-required"]


def test_the_envelope_is_compared_as_it_travels(tmp_path: Path) -> None:
    def edit(found: dict[str, Any]) -> None:
        envelope = found["events"]["envelope"]
        del envelope["properties"]["size"]
        envelope["properties"]["kind"] = {"anyOf": [envelope["properties"]["kind"], {"enum": [""]}]}
        envelope["x-socketio"]["event"] = "message"

    assert [(change.rule, change.where) for change in differences(tmp_path, edit)] == [
        ("event-moved", "the envelope of events"),
        ("response-field-removed", "the envelope of events.size"),
        ("response-value-added", "the envelope of events.kind"),
    ]


def test_the_values_of_a_union_are_told_once(tmp_path: Path) -> None:
    def widen(found: dict[str, Any]) -> None:
        found["openapi"]["components"]["schemas"]["Kind"] = {"type": "string", "enum": ["a", "b"]}
        kind = {"anyOf": [{"$ref": "#/components/schemas/Kind"}, {"type": "string", "enum": ["c"]}]}
        answered(found)["properties"]["kind"] = kind

    before, after = contract(), contract()
    widen(before)
    widen(after)
    after["openapi"]["components"]["schemas"]["Kind"]["enum"] = ["a", "d"]
    old, new = write(tmp_path / "old", before), write(tmp_path / "new", after)
    assert [(change.rule, change.reason[:9]) for change in compare(read_side(old), read_side(new))] == [
        ("response-value-removed", 'value "b"'),
        ("response-value-added", 'value "d"'),
    ]


def test_members_of_a_body_that_became_nullable(tmp_path: Path) -> None:
    def edit(found: dict[str, Any]) -> None:
        schema = operation(found)["requestBody"]["content"]["application/json"]
        schema["schema"] = {"anyOf": [schema["schema"], {"type": "null"}]}
        del asked(found)["properties"]["size"]

    assert [(change.rule, change.where) for change in differences(tmp_path, edit)] == [
        ("request-type-widened", "POST /ask, body"),
        ("request-field-removed", "POST /ask, Asked.size"),
    ]


def test_a_shape_that_contains_itself(tmp_path: Path) -> None:
    def recurse(found: dict[str, Any]) -> None:
        answered(found)["properties"]["next"] = {"$ref": "#/components/schemas/Answered"}

    before, after = contract(), contract()
    recurse(before)
    recurse(after)
    old, new = write(tmp_path / "old", before), write(tmp_path / "new", after)
    assert compare(read_side(old), read_side(new)) == []


def test_text_and_json(tmp_path: Path) -> None:
    changes = differences(tmp_path, add_field(asked, required=True))
    assert str(changes[0]) == (
        "BREAKING    POST /ask, Asked.extra: was added, required; requests without it are refused"
        " [request-field-added-required]"
    )
    assert json.loads(as_json(changes)) == [
        {
            "rule": "request-field-added-required",
            "where": "POST /ask, Asked.extra",
            "breaking": True,
            "reason": "was added, required; requests without it are refused",
            "old": "openapi.json#/components/schemas/Asked",
            "new": "openapi.json#/components/schemas/Asked/properties/extra",
        }
    ]


def test_a_folder_without_a_contract(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"holds no openapi\.yaml"):
        read_side(tmp_path)


def test_exit_statuses_and_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = contract(), contract()
    add_field(asked, required=True)(after)
    add_event(after)
    old, new = write(tmp_path / "old", before), write(tmp_path / "new", after)
    assert main(["diff", str(old), str(old)]) == 0
    assert capsys.readouterr().out == "0 changes, 0 of them breaking\n"
    assert main(["diff", str(old), str(new)]) == 1
    kinds = [line.partition(" ")[0] for line in capsys.readouterr().out.splitlines()]
    assert kinds == ["BREAKING", "compatible", "2"]
    assert main(["diff", "--json", str(new), str(old)]) == 1
    found = json.loads(capsys.readouterr().out)
    assert {one["old"] for one in found} == {
        "openapi.json#/components/schemas/Asked/properties/extra",
        "events/extra.json#",
    }
    (new / "openapi.json").write_text(json.dumps({"swagger": "2.0"}))
    assert main(["diff", str(old), str(new)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "openapi.json#/openapi: is ''; OpenAPI 3.0, 3.1 and 3.2 are supported" in said.err
