"""JSON is read as RFC 8259 has it, YAML as YAML 1.2's core schema has it."""

import json
from pathlib import Path

import pytest

from codegen.conftest import Make, document, ok, ref
from digitorn_codegen import ContractError
from digitorn_codegen._documents import read
from digitorn_codegen._parse import JsonValue, Malformed, parse_json, parse_yaml

SCALARS: dict[str, JsonValue] = {
    **dict.fromkeys(("null", "Null", "NULL", "~", "!!null null", "!!null ''"), None),
    **dict.fromkeys(("true", "True", "TRUE", "!!bool true"), True),
    **dict.fromkeys(("false", "False", "FALSE", "!!bool 'False'"), False),
    **{word: word for word in ("yes", "No", "on", "OFF", "y", "n", "tRue", "nULL", "none", "<<", "=")},
    "0": 0,
    "010": 10,
    "-12": -12,
    "+7": 7,
    "0o10": 8,
    "0x1F": 31,
    "!!int '12'": 12,
    **{text: text for text in ("1_000", "0b1", "-0x1", "0o8", "12:30", "190:20:30", "2020-01-01", "1.2.3")},
    "1e-08": 1e-08,
    "1.5e3": 1500.0,
    ".5": 0.5,
    "1.": 1.0,
    "-.5E+1": -5.0,
    "1e3": 1000.0,
    "!!float 1": 1.0,
    **{text: text for text in ("1e", ".", "-.", "+", "e3", "1.5.2", "0x", ".Info", "-.NaN")},
    "'12'": "12",
    '"true"': "true",
    "! 12": "12",
    "!!str 123": "123",
    "!!str": "",
    "''": "",
    "123456789012345678901234567890": 123456789012345678901234567890,
}


@pytest.mark.parametrize("text", SCALARS)
def test_a_yaml_scalar(text: str) -> None:
    found = parse_yaml(f"a: {text}\n")
    assert found == {"a": SCALARS[text]}
    assert isinstance(found, dict)
    assert type(found["a"]) is type(SCALARS[text])


def test_what_is_left_out_is_null() -> None:
    assert parse_yaml("a:\nb: {c: }") == {"a": None, "b": {"c": None}}


VALUES: dict[str, JsonValue] = {
    "200: a\n1.0: b\nnull: c\nyes: d\n0x10: e": {
        "200": "a",
        "1.0": "b",
        "null": "c",
        "yes": "d",
        "0x10": "e",
    },
    "&k 5: a\nb: {*k : c}": {"5": "a", "b": {"5": "c"}},
    "!!str 5: a\n!!int 6: b": {"5": "a", "6": "b"},
    "a: &x {p: 1}\nb: {<<: *x, q: 2}": {"a": {"p": 1}, "b": {"p": 1, "q": 2}},
    "a: &x {p: 1}\nb: {p: 3, <<: *x}": {"a": {"p": 1}, "b": {"p": 3}},
    "a: {<<: [{p: 1}, {p: 2, q: 2}], r: 3}": {"a": {"p": 1, "q": 2, "r": 3}},
    "a: {<<: [], r: 3}": {"a": {"r": 3}},
    "a: &x {<<: {p: 1}, q: 2}\nb: {<<: *x}": {"a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 2}},
    "a: {'<<': {p: 1}}\nb: [<<]": {"a": {"<<": {"p": 1}}, "b": ["<<"]},
    "!!merge <<: {a: 1}": {"a": 1},
    "a: &x 1\nb: [*x, *x]": {"a": 1, "b": [1, 1]},
    "a: &x 1\nb: &x 2\nc: *x": {"a": 1, "b": 2, "c": 2},
    "%YAML 1.1\n---\na: yes": {"a": "yes"},
    "%YAML 1.2\n---\na: 0o7\n...\n": {"a": 7},
    "!!map {a: !!seq [1]}": {"a": [1]},
    '{"a": "\\ud83d\\ude00", "b": "\\ud800", "<<": 1}': {"a": "\U0001f600", "b": "\ud800", "<<": 1},
    "{a: 1, 'b': [x, y]}": {"a": 1, "b": ["x", "y"]},
    "": None,
}


@pytest.mark.parametrize("text", VALUES)
def test_a_yaml_value(text: str) -> None:
    assert parse_yaml(text) == VALUES[text]


def test_what_is_merged_comes_first_and_keeps_its_place() -> None:
    found = parse_yaml("a: {z: 1, <<: {m: 2, z: 3}}")
    assert json.dumps(found) == '{"a": {"m": 2, "z": 1}}'


YAML_FAULTS: dict[str, tuple[str, str]] = {
    "a: 1\nb: 2\na: 3": ("/a", "line 3, column 1: the key 'a' stands twice"),
    "200: a\n'200': b": ("/200", "line 2, column 1: the key '200' stands twice"),
    "a: {<<: {p: 1}, <<: {q: 1}}": ("/a/<<", "the key '<<' stands twice"),
    "a:\n  b: .inf": ("/a/b", "line 2, column 6: .inf is no number in JSON"),
    "a: [1, -.INF]": ("/a/1", "-.INF is no number in JSON"),
    "a: .NaN": ("/a", ".NaN is no number in JSON"),
    "a: 1e999": ("/a", "1e999 is too large a number"),
    f"a: {'9' * 5000}": ("/a", "too large a number"),
    "a: {<<: 5}": ("/a/<<", "merges a mapping"),
    "a: {<<: [{}, 5]}": ("/a/<<", "merges a mapping"),
    "a: {<<: }": ("/a/<<", "merges a mapping"),
    "a: {? [1] : 2}": ("/a", "line 1, column 7: a key is not a string"),
    "a: &x [1]\nb: {*x : 2}": ("/b", "a key is not a string"),
    "a: *x": ("/a", "line 1, column 4: there is no anchor 'x' before this alias"),
    "a: &x [*x]": ("/a/0", "'x' contains itself"),
    "a: &x {p: &x {q: *x}}": ("/a/p/q", "'x' contains itself"),
    "a: !!int x": ("/a", "line 1, column 4: 'x' is no int, as its tag says"),
    "a: !!bool yes": ("/a", "is no bool"),
    "a: !!null x": ("/a", "is no null"),
    "a: !own x": ("/a", "the tag !own means nothing in JSON"),
    "a: !!timestamp 2020-01-01": ("/a", "the tag !!timestamp means nothing in JSON"),
    "a: !!binary aGk=": ("/a", "the tag !!binary"),
    "a: !!set {x}": ("/a", "the tag !!set"),
    "!own x: 1": ("", "the tag !own"),
    "a: 1\n---\nb: 2": ("", "line 2, column 1: a second document begins"),
    "a: b: c": ("", "line 1, column 5: mapping values are not allowed"),
    "a: @x": ("/a", "line 1, column 4"),
    '{"a": {"b": 1, "b": 2}}': ("/a/b", "the key 'b' stands twice"),
    "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60)): (
        "/a",
        "its aliases stand for more than 2000000 values",
    ),
    "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 300)): (
        "",
        "it is nested deeper than 200 levels",
    ),
}


@pytest.mark.parametrize("text", YAML_FAULTS, ids=lambda text: text[:30])
def test_a_fault_in_yaml_has_its_place(text: str) -> None:
    pointer, reason = YAML_FAULTS[text]
    with pytest.raises(Malformed) as caught:
        parse_yaml(text)
    assert reason in caught.value.reason
    assert caught.value.pointer == pointer or (pointer == "/a" and caught.value.pointer.startswith("/a"))


JSON_FAULTS = {
    '{"a": [1, {"b": 1, "c": 2, "b": 3}]}': ("/a/1/b", "the key 'b' stands twice"),
    '{"a/b": NaN}': ("/a~1b", "NaN is no number in JSON"),
    '{"a": [-Infinity]}': ("/a/0", "-Infinity is no number in JSON"),
    '{"a": 1e400}': ("/a", "1e400 is too large a number"),
    "{'a': 1}": ("", "line 1 column 2"),
    '{"a": 1,}': ("", "line 1 column"),
    '{"a": "\t"}': ("", "Invalid control character"),
    "[" * 100_000: ("", "recursion"),
}


@pytest.mark.parametrize("text", JSON_FAULTS, ids=lambda text: text[:30])
def test_a_fault_in_json_has_its_place(text: str) -> None:
    pointer, reason = JSON_FAULTS[text]
    with pytest.raises(Malformed) as caught:
        parse_json(text)
    assert caught.value.pointer == pointer
    assert reason in caught.value.reason


def test_json_keeps_large_integers_and_halves_of_surrogate_pairs() -> None:
    assert parse_json('{"a": 1234567890123456789012345678901234567890, "b": "\\ud800"}') == {
        "a": 1234567890123456789012345678901234567890,
        "b": "\ud800",
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["a.json", "a.yaml"])
def test_a_file_may_begin_with_a_byte_order_mark(name: str, encoding: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text('{"a": "ü"}' if name == "a.json" else "a: ü", encoding=encoding)
    assert read(file).root == {"a": "ü"}


def test_a_fault_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: {b: .nan}")
    with pytest.raises(ContractError, match=r"a\.yaml#/a/b: is not valid YAML: line 1, column 8") as caught:
        read(tmp_path / "a.yaml")
    assert caught.value.pointer == "/a/b"


def test_halves_of_surrogate_pairs_in_prose_and_examples_generate(make: Make) -> None:
    half = "a\ud800b"
    operation = {"operationId": "get_a", "tags": ["t"], "summary": half, "description": half}
    found = document(
        {"/a": {"get": {**operation, "responses": {"200": {**ok(ref("A")), "description": half}}}}},
        {
            "A": {
                "type": "object",
                "description": half,
                "example": half,
                "x-more": half,
                "properties": {
                    "a": {"type": "string", "description": half, "examples": [half], "default": "x"},
                    "n": {"type": "integer", "maximum": 10**400, "examples": [10**30]},
                },
            }
        },
    )
    client = make(
        {**found, "info": {"title": half, "version": "1"}, "tags": [{"name": "t", "description": half}]}
    )
    model = client.module("models").A
    assert model.__doc__ == "a\ufffdb"
    assert client.module("rest").T.__doc__ == "a\ufffdb"
    assert model.from_wire({"a": half, "n": 10**30}).to_wire() == {"a": half, "n": 10**30}


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        ({"type": "string", "enum": ["a", "\ud800"]}, "/enum/1"),
        ({"properties": {"a\udc00": {}}}, "/properties/a\udc00"),
        ({"properties": {"examples": {"const": "\ud800"}}}, "/properties/examples/const"),
    ],
)
def test_halves_of_surrogate_pairs_in_what_is_checked_are_refused(
    schema: object, pointer: str, tmp_path: Path
) -> None:
    (tmp_path / "a.json").write_text(json.dumps(document({}, {"A": schema})))
    with pytest.raises(ContractError, match="half of a surrogate pair") as caught:
        read(tmp_path / "a.json")
    assert caught.value.pointer == f"/components/schemas/A{pointer}"
