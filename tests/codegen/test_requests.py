"""Requests: which arguments a stub has, and what goes over the wire."""

import json
from collections.abc import Mapping
from inspect import signature
from typing import Any, get_type_hints
from urllib.parse import parse_qs

import httpx
import pytest

from codegen.conftest import Client, Make, Recorder, document, parts_in, ref
from support.servers import hearing

TEXT: dict[str, object] = {"type": "string"}
NUMBER: dict[str, object] = {"type": "integer"}
BINARY: dict[str, object] = {"type": "string", "format": "binary"}
TEXTS: dict[str, object] = {"type": "array", "items": TEXT}
EMPTY: dict[str, object] = {"204": {"description": "-"}}


def obj(required: tuple[str, ...] = (), /, **properties: object) -> dict[str, object]:
    return {"type": "object", "properties": properties, **({"required": list(required)} if required else {})}


def operation(id_: str, **more: object) -> dict[str, object]:
    return {"operationId": id_, "tags": ["t"], "responses": EMPTY, **more}


def sending(
    id_: str, content: Mapping[str, object], *, required: bool = True, **more: object
) -> dict[str, object]:
    """An operation with a body: of JSON, if no media types are named."""
    media = content if any("/" in name for name in content) else {"application/json": {"schema": content}}
    return operation(id_, requestBody={"required": required, "content": media}, **more)


def query(name: str, schema: object = TEXTS, **more: object) -> dict[str, object]:
    return {"name": name, "in": "query", "schema": schema, **more}


NOTE = obj(("text",), text=TEXT, tags=TEXTS)
SCHEMAS: dict[str, object] = {
    "Terms": obj(("days",), days=NUMBER, note=TEXT),
    "Book": obj(("id",), id=TEXT, title=TEXT),
    "Card": obj(("card",), card=TEXT),
    "Cash": obj(("coins",), coins=NUMBER),
    "Reader": {
        **obj(
            ("id", "name", "pin"),
            id={**NUMBER, "readOnly": True},
            name=TEXT,
            pin={**TEXT, "writeOnly": True},
            since={"$ref": "#/components/schemas/Stamp"},
            made={"allOf": [ref("Stamp")]},
        )
    },
    "Stamp": {"type": "string", "readOnly": True},
    "Meta": obj(a=NUMBER),
    "OrNull": {"type": ["object", "null"], "properties": {"d": TEXT}},
}
PATHS: dict[str, object] = {
    "/optional": {
        "post": sending("optional", ref("Terms"), required=False, parameters=[query("q", TEXT)]),
        "put": sending("optional_plain", obj(a=TEXT), required=False),
        "patch": sending(
            "optional_extra", {**obj(("a",), a=TEXT), "additionalProperties": True}, required=False
        ),
    },
    "/extra": {"post": sending("extra", obj(model=TEXT, extra_body=TEXT))},
    "/typed": {
        "post": sending("typed", {**obj(a=TEXT), "additionalProperties": NUMBER}),
        "put": sending("patterns", {**obj(a=TEXT), "patternProperties": {"^x-": TEXT}}),
        "patch": sending("both", {**obj(extra_body=TEXT), "additionalProperties": True}),
    },
    "/null": {
        "put": sending("null_or_class", {"anyOf": [ref("Terms"), {"type": "null"}]}),
        "post": sending("null_or_object", ref("OrNull")),
    },
    "/beside": {
        "post": sending("beside", {**ref("Book"), **obj(("shelf",), shelf=NUMBER)}),
        "put": sending("all_of", {"allOf": [ref("Book"), obj(shelf=NUMBER), {"required": ["title"]}]}),
        "patch": sending("undeclared", obj(("a", "b"), a=TEXT)),
    },
    "/unions": {
        "post": sending("one_of", {"oneOf": [ref("Card"), ref("Cash")]}),
        "put": sending("beside_members", {**obj(fee=NUMBER), "anyOf": [ref("Card"), ref("Cash")]}),
        "patch": sending("in_part", {"allOf": [ref("Book"), {"oneOf": [ref("Card"), ref("Cash")]}]}),
        "delete": sending(
            "conditional",
            {**obj(a=TEXT), "if": {"required": ["a"]}, "then": obj(b=TEXT)},
        ),
    },
    "/form-union": {
        "post": sending(
            "form_union",
            {
                "application/x-www-form-urlencoded": {
                    "schema": {**obj(("fee",), fee=NUMBER), "oneOf": [ref("Card"), ref("Cash")]}
                }
            },
        ),
    },
    "/reader": {"post": sending("add_reader", ref("Reader"))},
    "/media": {
        "post": sending(
            "media",
            {
                name: {"schema": NOTE}
                for name in (
                    *("application/json", "application/merge-patch+json"),
                    *("application/x-www-form-urlencoded", "multipart/form-data", "application/xml"),
                )
            },
            parameters=[query("content_type", TEXT)],
        ),
        "put": sending(
            "two_schemas",
            {
                "application/json": {"schema": ref("Card")},
                "application/vnd.cash+json": {"schema": ref("Cash")},
            },
        ),
        "patch": sending("images", {"image/png": {"schema": BINARY}, "image/jpeg": {"schema": BINARY}}),
    },
    "/named": {
        "post": sending(
            "named",
            {
                name: {"schema": obj(("content_type",), content_type=TEXT, body=TEXT)}
                for name in ("application/json", "application/x-www-form-urlencoded")
            },
        )
    },
    "/mixed": {
        "post": sending(
            "mixed", {"multipart/mixed": {"schema": obj(("file",), file=BINARY, meta=ref("Meta"), n=TEXT)}}
        ),
        "put": sending(
            "related",
            {"multipart/related": {"schema": obj(("file",), meta=ref("Meta"), file=BINARY)}},
        ),
    },
    "/parts": {
        "post": sending(
            "parts",
            {
                "multipart/form-data": {
                    "schema": obj(
                        csv=TEXT,
                        picture=BINARY,
                        any_picture=BINARY,
                        rows={"type": "array", "items": ref("Meta")},
                        whole={"type": "array", "items": TEXT},
                    ),
                    "encoding": {
                        "csv": {"contentType": "text/csv"},
                        "picture": {"contentType": "image/png, image/jpeg"},
                        "any_picture": {"contentType": "image/*"},
                        "whole": {"contentType": "application/json"},
                    },
                }
            },
        )
    },
    "/free-parts": {"post": sending("free_parts", {"multipart/form-data": {"schema": {}}})},
    "/q": {
        "get": operation(
            "search",
            parameters=[
                query("ids", explode=False),
                query("pipes", style="pipeDelimited", explode=False),
                query("spaces", style="spaceDelimited", explode=False),
                query("each"),
                query("url", TEXT, allowReserved=True),
                query("deep", {"type": "object"}, style="deepObject", explode=True),
                query("rows", {"type": "array", "items": ref("Meta")}),
                {"name": "X-Note", "in": "header", "schema": TEXT},
                {"name": "X-List", "in": "header", "schema": TEXTS},
                {"name": "X-Data", "in": "header", "content": {"application/json": {"schema": ref("Meta")}}},
                {"name": "session", "in": "cookie", "schema": TEXT},
                {"name": "jar", "in": "cookie", "explode": False, "schema": TEXTS},
                {"name": "rgb", "in": "cookie", "schema": {"type": "object"}},
            ],
        )
    },
    "/label/{a}/{b}": {
        "get": operation(
            "labels",
            parameters=[
                {"name": "a", "in": "path", "required": True, "style": "label", "schema": TEXTS},
                {"name": "b", "in": "path", "required": True, "style": "matrix", "schema": TEXTS},
            ],
        )
    },
    "/files": {
        "servers": [{"url": "https://upload.test/v2"}, {"url": "https://upload.test/v1"}],
        "post": operation("upload"),
        "put": operation("sign_in", servers=[{"url": "/oauth"}]),
        "get": operation("same", servers=[{"url": "https://api.test/v3"}]),
    },
}


@pytest.fixture(scope="module")
def client(make: Make) -> Client:
    return make({**document(PATHS, SCHEMAS), "servers": [{"url": "https://api.test/v3"}]})


@pytest.fixture
def api(client: Client) -> tuple[Any, Recorder]:
    found, recorder = client.api()
    return found.t, recorder


def sent_by(recorder: Recorder) -> tuple[str, str]:
    """The last body and its content type."""
    content, media_type = recorder.calls[-1].encoded()
    return content.decode(), media_type


def parts_of(recorder: Recorder) -> list[tuple[str, object, object, str]]:
    """Name, content, file name and content type of each part of the last body."""
    return parts_in(*recorder.calls[-1].encoded())


def test_the_stubs_are_strictly_typed(client: Client) -> None:
    use = client.settings.out.parent / "use_requests.py"
    use.write_text(
        f"from {client.settings.package} import models, rest\n"
        "def use(t: rest.T) -> None:\n"
        "    t.optional()\n"
        "    t.optional(q='x')\n"
        "    t.optional(days=3, note='n')\n"
        "    t.typed(a='x', extra_body={'n': 1})\n"
        "    t.null_or_class(body=None)\n"
        "    t.null_or_class(body=models.Terms(days=3))\n"
        "    t.media(text='x', content_type_header='multipart/form-data')\n"
        "    t.optional(note='n')  # wrong: a body has its days\n"
        "    t.typed(a='x', extra_body={'n': 'x'})  # wrong: a member's type\n"
        "    t.media(text='x', content_type_header='application/xml')  # wrong: not written here\n"
    )
    assert client.complaints() == []
    found = client.mypy.complaints(str(use), folder=client.settings.out.parent)
    assert [one.line for one in found if one.file == use.name] == [10, 11, 12]


def test_a_body_that_is_optional_can_be_left_out(api: tuple[Any, Recorder]) -> None:
    stubs, recorder = api
    for leave_out in (stubs.optional, stubs.optional_plain, stubs.optional_extra):
        leave_out()
        assert recorder.calls[-1].encoded() is None
    stubs.optional(q="x", days=3)
    assert sent_by(recorder) == ('{"days":3}', "application/json")
    assert recorder.calls[-1].target == "/optional?q=x"
    stubs.optional_plain(a="")
    assert sent_by(recorder)[0] == '{"a":""}'
    stubs.optional_extra(extra_body={"b": 1})
    assert sent_by(recorder)[0] == '{"b":1}'


def test_a_body_that_is_required_is_sent_without_any_member(api: tuple[Any, Recorder]) -> None:
    stubs, recorder = api
    stubs.extra()
    assert sent_by(recorder) == ("{}", "application/json")


def test_a_member_called_extra_body_is_one_like_any_other(api: tuple[Any, Recorder]) -> None:
    stubs, recorder = api
    stubs.extra(model="m")
    assert sent_by(recorder)[0] == '{"model":"m"}'
    stubs.extra(extra_body="x")
    assert sent_by(recorder)[0] == '{"extra_body":"x"}'
    stubs.both(extra_body_body="x", extra_body={"y": 1})
    assert sent_by(recorder)[0] == '{"extra_body":"x","y":1}'


def test_members_that_a_body_does_not_name_can_be_sent(api: tuple[Any, Recorder], client: Client) -> None:
    stubs, recorder = api
    stubs.typed(a="x", extra_body={"n": 1})
    assert sent_by(recorder)[0] == '{"a":"x","n":1}'
    stubs.patterns(extra_body={"x-a": "b"})
    assert sent_by(recorder)[0] == '{"x-a":"b"}'
    hints = get_type_hints(client.module("rest").T.typed)
    assert "Mapping[str, int]" in str(hints["extra_body"])


def test_a_body_that_may_be_null_can_be_null(api: tuple[Any, Recorder]) -> None:
    stubs, recorder = api
    for stub in (stubs.null_or_class, stubs.null_or_object):
        stub(body=None)
        assert sent_by(recorder) == ("null", "application/json")
    stubs.null_or_class(body={"days": 2})
    assert sent_by(recorder)[0] == '{"days":2}'


def test_every_part_of_a_body_brings_its_members(api: tuple[Any, Recorder]) -> None:
    stubs, recorder = api
    stubs.beside(id="1", shelf=2)
    assert json.loads(sent_by(recorder)[0]) == {"id": "1", "shelf": 2}
    stubs.all_of(id="1", title="t")
    assert json.loads(sent_by(recorder)[0]) == {"id": "1", "title": "t"}
    stubs.undeclared(a="x", b=[1])
    assert json.loads(sent_by(recorder)[0]) == {"a": "x", "b": [1]}
    with pytest.raises(TypeError, match="shelf"):
        stubs.beside(id="1")
    with pytest.raises(TypeError, match="title"):
        stubs.all_of(id="1")


@pytest.mark.parametrize("stub", ["one_of", "beside_members", "in_part", "conditional"])
def test_a_union_is_passed_whole(api: tuple[Any, Recorder], stub: str) -> None:
    stubs, recorder = api
    call = getattr(stubs, stub)
    assert [*signature(call).parameters] == ["body"]
    call(body={"coins": 3})
    assert sent_by(recorder)[0] == '{"coins":3}'


def test_a_form_takes_the_members_of_every_branch(api: tuple[Any, Recorder], client: Client) -> None:
    stubs, recorder = api
    stubs.form_union(fee=1, coins=3)
    assert sent_by(recorder) == ("fee=1&coins=3", "application/x-www-form-urlencoded")
    assert any(
        text.startswith("merged-branches") and "#/paths/~1form-union/post/requestBody" in text
        for text in client.warnings
    )


def test_what_is_only_read_is_no_argument(api: tuple[Any, Recorder]) -> None:
    stubs, _ = api
    assert [*signature(stubs.add_reader).parameters] == ["name", "pin"]


def test_a_body_goes_in_the_medium_that_the_caller_chooses(api: tuple[Any, Recorder], client: Client) -> None:
    stubs, recorder = api
    stubs.media(text="a b", tags=["x"], content_type="q")
    assert sent_by(recorder) == ('{"text":"a b","tags":["x"]}', "application/json")
    stubs.media(text="a b", content_type_header="application/merge-patch+json")
    assert sent_by(recorder) == ('{"text":"a b"}', "application/merge-patch+json")
    stubs.media(text="a b", tags=["x", "&"], content_type_header="application/x-www-form-urlencoded")
    assert sent_by(recorder) == ("text=a%20b&tags=x&tags=%26", "application/x-www-form-urlencoded")
    stubs.media(text="a b", content_type_header="multipart/form-data")
    assert parts_of(recorder) == [("text", b"a b", None, "text/plain")]
    with pytest.raises(ValueError, match="application/xml"):
        stubs.media(text="x", content_type_header="application/xml")
    stubs.named(content_type="x", body="y", content_type_header="application/x-www-form-urlencoded")
    assert sent_by(recorder) == ("content_type=x&body=y", "application/x-www-form-urlencoded")
    stubs.two_schemas(body={"coins": 1}, content_type="application/vnd.cash+json")
    assert sent_by(recorder) == ('{"coins":1}', "application/vnd.cash+json")
    stubs.images(body=b"x")
    stubs.images(body=b"y", content_type="image/jpeg")
    assert [call.encoded() for call in recorder.calls[-2:]] == [(b"x", "image/png"), (b"y", "image/jpeg")]
    (ignored,) = [text for text in client.warnings if text.startswith("media-ignored")]
    assert "#/paths/~1media/post/requestBody/content/application~1xml: " in ignored


def test_multipart_bodies_of_all_kinds_have_a_boundary(api: tuple[Any, Recorder]) -> None:
    stubs, recorder = api
    stubs.mixed(file=("a.bin", b"\x00\r\n--"), meta={"a": 1}, n="ä")
    assert parts_of(recorder) == [
        ("meta", b'{"a":1}', None, "application/json"),
        ("n", "ä".encode(), None, "text/plain"),
        ("file", b"\x00\r\n--", "a.bin", "application/octet-stream"),
    ]
    _, mixed = recorder.calls[-1].encoded()
    assert mixed.startswith("multipart/mixed; boundary=")
    stubs.related(file=b"x", meta={"a": 1})
    _, related = recorder.calls[-1].encoded()
    assert related.startswith("multipart/related; boundary=")
    assert related.endswith('; type="application/json"')
    assert [part[0] for part in parts_of(recorder)] == ["meta", "file"]


def test_parts_have_the_content_type_that_the_contract_gives_them(api: tuple[Any, Recorder]) -> None:
    stubs, recorder = api
    rows = [{"a": 1}, {"a": 2}]
    stubs.parts(csv="a,b", picture=("x.jpg", b"J"), any_picture=("x.gif", b"G"), rows=rows, whole=["a", "b"])
    assert parts_of(recorder) == [
        ("csv", b"a,b", None, "text/csv"),
        ("rows", b'{"a":1}', None, "application/json"),
        ("rows", b'{"a":2}', None, "application/json"),
        ("whole", b'["a","b"]', None, "application/json"),
        ("picture", b"J", "x.jpg", "image/jpeg"),
        ("any_picture", b"G", "x.gif", "image/gif"),
    ]
    stubs.parts(picture=b"P")
    assert parts_of(recorder) == [("picture", b"P", "picture", "image/png")]
    stubs.free_parts(body={"a": 1, "file": b"F", "several": [b"1", ("2", b"2")]})
    assert [(name, content) for name, content, *_ in parts_of(recorder)] == [
        *(("a", b"1"), ("file", b"F"), ("several", b"1"), ("several", b"2"))
    ]


@pytest.mark.parametrize(
    ("arguments", "target"),
    [
        ({"ids": ["a,b", "c"]}, "?ids=a%2Cb,c"),
        ({"pipes": ["a|b", "c"]}, "?pipes=a%7Cb|c"),
        ({"spaces": ["a+b", "c"]}, "?spaces=a%2Bb%20c"),
        ({"each": ["a&b", "c d"]}, "?each=a%26b&each=c%20d"),
        ({"each": [], "ids": [], "deep": {}}, ""),
        (
            {"each": ["a", None], "ids": [None, "b"], "deep": {"x": None, "y": 1}},
            "?ids=b&each=a&deep%5By%5D=1",
        ),
        ({"url": "https://a.test/?x=1&y=a b"}, "?url=https://a.test/?x=1%26y=a%20b"),
        ({"deep": {"a": {"b": [1, 2]}}}, "?deep%5Ba%5D%5Bb%5D%5B0%5D=1&deep%5Ba%5D%5Bb%5D%5B1%5D=2"),
        ({"rows": [{"a": 1}]}, "?rows=%7B%22a%22%3A1%7D"),
    ],
)
def test_a_query_is_encoded(api: tuple[Any, Recorder], arguments: dict[str, Any], target: str) -> None:
    stubs, recorder = api
    stubs.search(**arguments)
    assert recorder.calls[-1].target == "/q" + target


def test_a_list_in_a_list_has_no_form_and_is_warned_of(client: Client) -> None:
    (found,) = [text for text in client.warnings if text.startswith("nested-parameter")]
    assert "#/paths/~1q/get/parameters/6: " in found


@pytest.mark.parametrize(
    "arguments",
    [
        {"x_note": "a\r\nX-Other: 1"},
        {"x_note": "a\nb"},
        {"x_note": "a\0"},
        {"x_note": "ä"},
        {"x_list": ["a", "b\nc"]},
        {"x_list": ["a,b", "c"]},
        {"spaces": ["a b", "c"]},
    ],
)
def test_what_would_be_read_as_something_else_is_refused(
    api: tuple[Any, Recorder], arguments: dict[str, Any]
) -> None:
    stubs, recorder = api
    with pytest.raises(ValueError, match=r"X-Note|X-List|spaces"):
        stubs.search(**arguments)
    assert recorder.calls == []


def test_headers_and_cookies(api: tuple[Any, Recorder]) -> None:
    stubs, recorder = api
    stubs.search(
        x_list=["a", "b"], x_data={"a": 1}, session="a; b=c", jar=["x,y", "z"], rgb={"R": 1, "G": ";"}
    )
    (call,) = recorder.calls
    assert call.headers == {"X-List": "a,b", "X-Data": '{"a":1}'}
    assert call.cookies == {"session": "a%3B%20b%3Dc", "jar": "x%2Cy,z", "R": "1", "G": "%3B"}
    stubs.search(x_list=[], jar=[], session="plain-1.2_3")
    assert (recorder.calls[-1].headers, recorder.calls[-1].cookies) == ({}, {"session": "plain-1.2_3"})


def test_a_path_parameter_without_a_value_is_refused(api: tuple[Any, Recorder]) -> None:
    stubs, recorder = api
    stubs.labels([".", "b"], ["x,y", "z"])
    assert recorder.calls[-1].path == "/label/.%2E,b/;b=x%2Cy,z"
    for empty in ([], [""], [None]):
        with pytest.raises(ValueError, match="path parameter 'a' is empty"):
            stubs.labels(empty, ["x"])


def test_an_operation_knows_its_servers(api: tuple[Any, Recorder], client: Client) -> None:
    stubs, recorder = api
    stubs.upload()
    stubs.sign_in()
    stubs.same()
    urls = [call.url("https://api.test/v3") for call in recorder.calls]
    assert urls == [
        "https://upload.test/v2/files",
        "https://api.test/oauth/files",
        "https://api.test/v3/files",
    ]
    servers = [call.operation.servers for call in recorder.calls]
    assert servers == [("https://upload.test/v2", "https://upload.test/v1"), ("/oauth",), ()]
    assert client.module("operations").SERVERS == ("https://api.test/v3",)


# --- over the network


class Wire:
    """A transport of a few lines, as one writes it for a generated client."""

    def __init__(self, server: str) -> None:
        self._server = server

    def send(self, call: Any) -> None:
        headers, content = dict(call.headers), None
        if (encoded := call.encoded()) is not None:
            content, headers["Content-Type"] = encoded
        if call.cookies:
            headers["Cookie"] = call.cookie_header
        method, url = call.operation.method, call.url(self._server)
        httpx.request(method, url, headers=headers, content=content, timeout=10).raise_for_status()


def test_over_the_network(client: Client) -> None:
    with hearing() as heard:
        stubs = client.module("rest").Api(Wire(heard.url)).t
        stubs.search(ids=["a,b", "c"], pipes=["d", "e|"], url="/x?", x_note="n", session="a; b=c")
        stubs.parts(picture=('a"b.png', b"\xff\r\n"), rows=[{"a": 1}])
        stubs.optional()
    searched, parts, left_out = heard.requests
    assert searched[1] == "/q?ids=a%2Cb,c&pipes=d|e%7C&url=/x?"
    assert parse_qs(searched[1].partition("?")[2]) == {"ids": ["a,b,c"], "pipes": ["d|e|"], "url": ["/x?"]}
    assert (searched[2]["x-note"], searched[2]["cookie"]) == ("n", "session=a%3B%20b%3Dc")
    first, second = parts_in(parts[3], parts[2]["content-type"])
    assert first == ("rows", b'{"a":1}', None, "application/json")
    assert second == ("picture", b"\xff\r\n", "a%22b.png", "image/png")
    assert (left_out[3], left_out[2]["content-type"]) == (b"", None)


# --- other dialects


def test_what_stands_beside_a_reference_does_not_count_in_3_0(make: Make) -> None:
    schema = {**ref("Book"), "properties": {"shelf": NUMBER}}
    path = {"name": "at", "in": "path", "required": True, "allowReserved": True, "schema": TEXT}
    client = make(
        document(
            {"/books/{at}": {"post": sending("add", schema, parameters=[path])}},
            {"Book": obj(("id",), id=TEXT)},
            openapi="3.0.3",
        )
    )
    api, _ = client.api()
    assert [*signature(api.t.add).parameters] == ["at", "id"]
    assert client.warned() == {"reserved-encoded"}


@pytest.mark.parametrize("schema", [ref("Null"), {"allOf": [ref("Book")], "nullable": True}])
def test_a_body_that_may_be_null_in_3_0(make: Make, schema: dict[str, object]) -> None:
    book = obj(("id",), id=TEXT)
    client = make(
        document(
            {"/a": {"put": sending("put_a", schema)}},
            {"Book": book, "Null": {**book, "nullable": True}},
            openapi="3.0.3",
        )
    )
    api, recorder = client.api()
    api.t.put_a(body=None)
    assert sent_by(recorder) == ("null", "application/json")
    assert client.warned() == set()
