"""Names of a contract that mean one thing on the wire and would mean two in Python."""

import json
import keyword
import re
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from codegen.conftest import Client, Make, document, ok, ref
from digitorn_codegen import ContractError, Settings, generate
from digitorn_codegen import _contract as contract
from digitorn_codegen._names import constant, identifier, pascal, snake
from digitorn_codegen._text import prose

Edit = Callable[[str, str, str], None]


def operation(id_: str, *tags: str, **more: object) -> dict[str, object]:
    return {"operationId": id_, "tags": list(tags), "responses": {"200": ok({"type": "string"})}, **more}


def parameter(name: str, where: str = "query") -> dict[str, object]:
    return {"name": name, "in": where, "required": where == "path", "schema": {"type": "string"}}


TRAPS = ("self", "models", "operations", "body", "extra_body", "_models", "class", "NOT_GIVEN", "list")
NASTY = 'He said """hi\\" \\N{x} \r\n\u2028\x00 and left\\ "quoted"'


@pytest.fixture(scope="module")
def client(make: Make) -> Client:
    return make(
        {
            **document(
                {
                    "/a": {"get": operation("getUser", "Users"), "post": operation("get_user", "users")},
                    "/b": {"get": operation("list", "api"), "post": operation("2fa", "none")},
                    "/c": {"get": operation("other", "api", summary=NASTY, description=NASTY)},
                    "/d/{id}": {
                        "post": operation(
                            "traps",
                            "Transport",
                            parameters=[parameter("id", "path"), *map(parameter, TRAPS)],
                            requestBody={
                                "content": {
                                    "application/json": {
                                        "schema": {
                                            "type": "object",
                                            "additionalProperties": True,
                                            "properties": {
                                                name: {"type": "string"}
                                                for name in ("id", "body", "x-y", "x_y")
                                            },
                                        }
                                    }
                                }
                            },
                        )
                    },
                    "/a-b": {"get": {"responses": {"200": ok(ref("wire"))}}},
                    "/a_b": {"get": {"responses": {"200": ok({"type": "array", "items": ref("Literal")})}}},
                    "/2": {"get": operation("operations", "Literal")},
                },
                {
                    "wire": {
                        "type": "object",
                        "properties": {"wire": {"type": "string"}, "read": {"type": "string"}},
                    },
                    "Wire": {"type": "object", "properties": {"copy": {"type": "integer"}, "b": ref("None")}},
                    "None": {
                        "type": "object",
                        "description": NASTY,
                        "properties": {"model_config": {"type": "string"}},
                    },
                    "2fa": {"type": "string", "enum": ['a"b', "c\nd", "e\\f"]},
                    "Literal": {
                        "type": "object",
                        "properties": {"any": ref("Any"), "list": {"type": "array", "items": ref("2fa")}},
                    },
                    "Any": {"type": "object", "properties": {"x": {}, "field": ref("Field")}},
                    "Field": {
                        "type": "object",
                        "properties": {"to_wire": {"type": "string"}, "json": {"type": "string"}},
                    },
                    "Model": {
                        "type": "object",
                        "properties": {"from": {"type": "string", "description": NASTY}},
                    },
                },
            ),
            "tags": [{"name": "Users", "description": NASTY}],
            "info": {"title": 'x"""\nimport nothing', "version": "1\n2"},
        }
    )


def test_every_operation_keeps_a_stub_of_its_own(client: Client) -> None:
    api, recorder = client.api()
    api.users.get_user()
    api.users2.get_user2()
    api.api.list_()
    api.none._2fa()
    api.default.get_a_b()
    api.default.get_a_b2()
    api.literal.operations2()
    assert [f"{c.operation.method} {c.path}" for c in recorder.calls] == [
        *("GET /a", "POST /a", "GET /b", "POST /b", "GET /a-b", "GET /a_b", "GET /2"),
    ]


def test_no_argument_shadows_a_module_or_another_argument(client: Client) -> None:
    api, recorder = client.api()
    api.transport.traps(
        "p",
        **{
            name: name
            for name in ("self_", "models", "operations", "body_query", "extra_body_query", "class_", "list")
        },
        models_query="_models",
        not_given="NOT_GIVEN",
        id_body="i",
        body="b",
        x_y="1",
        x_y_body="2",
        extra_body={"more": 3},
    )
    (call,) = recorder.calls
    assert call.path == "/d/p"
    assert dict(call.query) == {
        **{name: name for name in TRAPS},
        "self": "self_",
        "body": "body_query",
        "extra_body": "extra_body_query",
        "class": "class_",
    }
    assert call.body == {"id": "i", "body": "b", "x-y": "1", "x_y": "2", "more": 3}


def test_numbered_names_are_warned_of(client: Client) -> None:
    assert client.warned() == {"name-collision"}
    told = "\n".join(client.warnings)
    for said in (
        "/paths/~1a/post: get_user is taken by GET /a; named get_user2",
        "/tags: Users is taken by tag 'Users'; named Users2",
        "/tags: Api is taken by the generated code itself; named Api2",
        "/tags: Transport is taken by the generated code itself; named Transport2",
        "/components/schemas/Wire: Wire is taken by openapi.json#/components/schemas/wire; named Wire2",
        "/components/schemas/Literal: Literal is taken by the generated code itself; named Literal2",
    ):
        assert said in told


def test_the_client_with_all_these_names_is_strictly_typed(client: Client) -> None:
    assert client.complaints() == []


def test_members_called_like_methods_of_classes_round_trip(client: Client) -> None:
    models = client.module("models")
    for name, wire in (
        ("Wire", {"wire": "a", "read": "b"}),
        ("Wire2", {"copy": 1, "b": {"model_config": "x"}}),
        ("Field2", {"to_wire": "a", "json": "b"}),
        ("Model2", {"from": "x"}),
        ("Literal2", {"any": {"x": 1, "field": {"json": "y"}}, "list": ['a"b', "c\nd", "e\\f"]}),
    ):
        model: Any = getattr(models, name)
        assert model.from_wire(wire).to_wire() == wire


def test_free_text_stands_in_docstrings_whatever_it_holds(client: Client) -> None:
    rest = client.module("rest")
    assert rest.Users.__doc__ == "He said '''hi\\\" \\N{x} and left\\ \"quoted\""
    assert rest.Api.__doc__.startswith("Every operation of x''' import nothing 1 2")
    assert client.module("__init__").CONTRACT_VERSION == "1\n2"


@pytest.mark.parametrize(
    "text", ['"', '"""', '""""', "\\", 'a\\"', "\x00\x1f\u2028\u202e", "'\"'", 'x"""', ""]
)
def test_prose_is_one_line_and_ends_no_docstring(text: str) -> None:
    source = f'"""{prose(text)}"""\nx = 1  # {prose(text)}\ny = 2\n'
    names: dict[str, object] = {}
    exec(compile(source, "prose", "exec"), names)
    assert names["y"] == 2


def retitle(toy: Settings, title: str, wire: str = "toy:moved") -> None:
    assert toy.events is not None
    path = toy.events / "toy_moved.json"
    schema = json.loads(path.read_text())
    path.write_text(json.dumps({**schema, "title": title, "x-event-type": wire}))


@pytest.mark.parametrize("title", ["literal", "final", "event spec", "type alias", "EventType"])
def test_events_called_like_what_their_module_imports_are_numbered(toy: Settings, title: str) -> None:
    retitle(toy, title)
    found = contract.load(toy)
    assert found.events[0].name.endswith("2")
    assert [warning.name for warning in found.warnings] == ["name-collision"]


def test_a_client_whose_only_events_are_patterns(toy: Settings) -> None:
    retitle(toy, "final", "toy:*")
    generate(toy)
    events = (toy.out / "events.py").read_text()
    assert "EventType: TypeAlias = str" in events
    assert re.search(r"\bFinal2,$", events, re.MULTILINE)


@pytest.mark.parametrize("name", ["EVENTS", "ToyMoved", "Final", "EventEnvelope"])
def test_a_constant_that_would_replace_something_is_refused(toy: Settings, edit: Edit, name: str) -> None:
    edit("events/toy_moved.json", '"WAYS"', f'"{name}"')
    with pytest.raises(ContractError, match="already taken") as caught:
        contract.load(toy)
    assert caught.value.pointer == f"/x-constants/{name}"


def test_a_table_of_constants_gives_a_type_of_its_keys(toy: Settings, edit: Edit) -> None:
    edit("events/toy_moved.json", '"x-constants": {', '"x-constants": {"SPEED_OF": {"a": "b"}, "EMPTY": {}, ')
    generate(toy)
    events = (toy.out / "events.py").read_text()
    assert 'SpeedOfKey: TypeAlias = Literal["a"]' in events
    assert 'SPEED_OF: Final[Mapping[SpeedOfKey, str]] = {"a": "b"}' in events
    assert "EmptyKey: TypeAlias = str" in events


def test_a_table_whose_type_of_keys_would_replace_something_is_refused(toy: Settings, edit: Edit) -> None:
    edit("events/toy_moved.json", '"x-constants": {', '"x-constants": {"SpeedKey": [], "SPEED": {"a": "b"}, ')
    with pytest.raises(ContractError, match="the name 'SpeedKey' is already taken"):
        contract.load(toy)


def test_two_commands_of_one_name_are_refused_and_of_one_constant_numbered(toy: Settings) -> None:
    assert toy.commands is not None
    other = json.loads(
        (toy.commands / "join.json").read_text().replace("JoinRequest", "BRequest").replace("JoinAck", "BAck")
    )
    (toy.commands / "zz.json").write_text(json.dumps(other))
    with pytest.raises(ContractError, match=r"command 'join' is already that of join\.json"):
        contract.load(toy)
    (toy.commands / "zz.json").write_text(json.dumps({**other, "x-command": "Join!"}))
    assert {command.constant for command in contract.load(toy).commands} == {"JOIN", "JOIN2"}


SPELLINGS = {
    "über-sicht": ("über_sicht", "ÜberSicht", "ÜBER_SICHT"),
    "getÜbersicht": ("get_übersicht", "GetÜbersicht", "GET_ÜBERSICHT"),
    "ПолучитьКнигу": ("получить_книгу", "ПолучитьКнигу", "ПОЛУЧИТЬ_КНИГУ"),
    "HTTPСтатус": ("http_статус", "HTTPСтатус", "HTTP_СТАТУС"),
    "馆藏": ("馆藏", "馆藏", "馆藏"),
    "日-本": ("日_本", "日本", "日_本"),
    "größe": ("größe", "Größe", "GRÖßE"),
    "हिन्दी": ("हिन्दी", "हिन्दी", "हिन्दी"),
    "e\u0301te\u0301": ("été", "Été", "ÉTÉ"),
    "ｃｌａｓｓ": ("class_", "Class", "CLASS"),
    "x²": ("x2", "X2", "X2"),
    "٣x": ("_٣x", "Model٣x", "_٣X"),
    "😀": ("grinning_face", "GrinningFace", "GRINNING_FACE"),
    "❤\ufe0f": ("heavy_black_heart", "HeavyBlackHeart", "HEAVY_BLACK_HEART"),
    "😀smile": ("smile", "Smile", "SMILE"),
    "$": ("dollar_sign", "DollarSign", "DOLLAR_SIGN"),
    "*/*": ("asterisk_solidus_asterisk", "AsteriskSolidusAsterisk", "ASTERISK_SOLIDUS_ASTERISK"),
    "+1": ("plus_1", "Plus1", "PLUS_1"),
    "-1": ("minus_1", "Minus1", "MINUS_1"),
    "": ("empty", "Empty", "EMPTY"),
    "2fa": ("_2fa", "Model2fa", "_2FA"),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_name_in_any_alphabet_keeps_its_letters(name: str) -> None:
    found = snake(name), pascal(name), constant(name)
    assert found == SPELLINGS[name]
    assert all(one.isidentifier() and unicodedata.normalize("NFKC", one) == one for one in found)


@given(st.text())
def test_every_name_gives_identifiers_that_python_keeps_as_they_are(name: str) -> None:
    for make in (snake, pascal, constant, identifier):
        found = make(name)
        assert found.isidentifier()
        assert not keyword.iskeyword(found)
        assert unicodedata.normalize("NFKC", found) == found


@given(st.text(), st.text())
def test_names_that_differ_still_differ_in_capitals(one: str, other: str) -> None:
    """Constants are derived from methods, whose names are given once."""
    assume(snake(one) != snake(other))
    assert constant(snake(one)) != constant(snake(other))


def test_a_client_in_other_alphabets(make: Make) -> None:
    body = {"type": "object", "properties": {"名": {"type": "string"}, "größe": {"type": "integer"}}}
    asked = {"name": "страница", "in": "query", "schema": {"type": "integer"}}
    book = {"schema": ref("Book")}
    client = make(
        document(
            {
                "/книги/{книга}": {
                    "parameters": [parameter("книга", "path")],
                    "get": {
                        "operationId": "получить",
                        "tags": ["馆藏"],
                        "parameters": [asked],
                        "responses": {"200": {"description": "ok", "content": {"application/json": book}}},
                    },
                    "put": {
                        "operationId": "getÜbersicht",
                        "tags": ["借阅"],
                        "requestBody": {"content": {"application/json": {"schema": body}}},
                        "responses": {"204": {"description": "ok"}},
                    },
                }
            },
            {"Book": body},
        )
    )
    assert client.warnings == ()
    api, recorder = client.api()
    api.馆藏.получить("й", страница=2)
    api.借阅.get_übersicht("a b", 名="x", größe=1)
    assert [(call.path, dict(call.query), call.body) for call in recorder.calls] == [
        ("/книги/%D0%B9", {"страница": "2"}, None),
        ("/книги/a%20b", {}, {"名": "x", "größe": 1}),
    ]
    model = client.module("models").Book
    assert model.from_wire({"名": "x", "größe": 1}).to_wire() == {"名": "x", "größe": 1}
