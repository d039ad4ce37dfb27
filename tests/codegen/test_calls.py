"""How arguments become a request, and an answer a result: every style and body that OpenAPI has."""

import json
from typing import Any, get_type_hints
from urllib.parse import parse_qsl

import pytest

from codegen.conftest import Client, Make, Recorder, document, ok, parts_in

OBJECT: dict[str, object] = {"type": "object", "additionalProperties": {"type": "integer"}}
LIST: dict[str, object] = {"type": "array", "items": {"type": "string"}}
BINARY: dict[str, object] = {"type": "string", "format": "binary"}


def styled(name: str, where: str, schema: object, **more: object) -> dict[str, object]:
    return {"name": name, "in": where, "required": where == "path", "schema": schema, **more}


def sending(id_: str, content: dict[str, object], **more: object) -> dict[str, object]:
    body = {"required": True, "content": content}
    return {
        "operationId": id_,
        "tags": ["t"],
        "requestBody": body,
        "responses": {"204": {"description": "-"}},
        **more,
    }


def answering(id_: str, responses: dict[str, object]) -> dict[str, object]:
    return {"operationId": id_, "tags": ["t"], "responses": responses}


UPLOAD: dict[str, object] = {
    "type": "object",
    "properties": {
        "one": BINARY,
        "maybe": {"anyOf": [BINARY, {"type": "null"}]},
        "media": {"type": "string", "contentMediaType": "image/png"},
        "many": {"type": "array", "items": BINARY},
        "tags": LIST,
        "note": {"type": "string"},
        "flag": {"type": "boolean"},
        "meta": {"type": "object", "properties": {"a": {"type": "integer"}}},
    },
    "required": ["one"],
}

PATHS: dict[str, object] = {
    "/q": {
        "get": {
            **answering("query", {"204": {"description": "-"}}),
            "parameters": [
                styled("each", "query", LIST),
                styled("comma", "query", LIST, explode=False),
                styled("space", "query", LIST, style="spaceDelimited"),
                styled("pipe", "query", LIST, style="pipeDelimited"),
                styled("deep", "query", OBJECT, style="deepObject", explode=True),
                styled("members", "query", OBJECT),
                styled("joined", "query", OBJECT, explode=False),
                {"name": "json", "in": "query", "content": {"application/json": {"schema": OBJECT}}},
                styled("flag", "query", {"type": "boolean"}),
                styled("X-List", "header", LIST),
                styled("X-Pairs", "header", OBJECT, explode=True),
                styled("jar", "cookie", LIST),
            ],
        }
    },
    "/p/{plain}/{label}{matrix}/{each}": {
        "get": {
            **answering("path", {"204": {"description": "-"}}),
            "parameters": [
                styled("plain", "path", LIST),
                styled("label", "path", OBJECT, style="label", explode=True),
                styled("matrix", "path", {"type": "integer"}, style="matrix"),
                styled("each", "path", LIST, style="matrix", explode=True),
            ],
        }
    },
    "/bytes": {"put": sending("send_bytes", {"application/octet-stream": {"schema": BINARY}})},
    "/image": {"put": sending("send_image", {"image/png": {}})},
    "/text": {"put": sending("send_text", {"text/markdown": {"schema": {"type": "string"}}})},
    "/patch": {
        "patch": sending("patch", {"application/merge-patch+json": {"schema": {"type": ["object", "null"]}}})
    },
    "/any": {
        "put": sending("send_any", {"*/*": {"schema": {"type": "array", "items": {"type": "integer"}}}})
    },
    "/form": {
        "post": sending(
            "form",
            {
                "application/x-www-form-urlencoded": {
                    "schema": {
                        "type": "object",
                        "properties": {
                            "a": LIST,
                            "b": OBJECT,
                            "c": OBJECT,
                            "d": {"type": "string"},
                            "e": LIST,
                        },
                    },
                    "encoding": {
                        "b": {"style": "deepObject", "explode": True},
                        "e": {"style": "form", "explode": False},
                    },
                }
            },
        )
    },
    "/upload": {"post": sending("upload", {"multipart/form-data": {"schema": UPLOAD}})},
    "/union": {
        "get": answering(
            "union",
            {
                "200": ok({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}),
                "202": ok({"type": "array", "items": {"type": "string"}}),
                "204": {"description": "nothing"},
            },
        )
    },
    "/nullable": {
        "get": answering(
            "nullable", {"200": ok({"type": ["object", "null"], "properties": {"a": {"type": "integer"}}})}
        )
    },
    "/mixed": {"get": answering("mixed", {"200": ok({"type": "integer"}), "201": ok({}, "text/plain")})},
    "/file": {
        "get": answering("file", {"200": ok(BINARY, "application/zip"), "204": {"description": "-"}}),
        "head": answering("file_head", {"200": ok({"type": "object"})}),
    },
    "/default": {"get": answering("fallback", {"default": ok({"type": "integer"}, "*/*")})},
}


@pytest.fixture(scope="module")
def client(make: Make) -> Client:
    return make(document(PATHS))


@pytest.fixture
def api(client: Client) -> tuple[Any, Recorder]:
    found, recorder = client.api()
    return found.t, recorder


def test_the_stubs_are_strictly_typed_and_only_a_list_in_a_cookie_is_warned_of(client: Client) -> None:
    assert client.complaints() == []
    assert client.warned() == {"cookie-list"}


def test_query_header_and_cookie_styles(api: tuple[Any, Recorder]) -> None:
    stubs, recorder = api
    several, numbers = ["a", "b c"], {"x": 1, "y": 2}
    stubs.query(
        each=several,
        comma=several,
        space=["a", "b"],
        pipe=several,
        deep=numbers,
        members=numbers,
        joined=numbers,
        json=numbers,
        flag=True,
        x_list=several,
        x_pairs=numbers,
        jar=several,
    )
    (call,) = recorder.calls
    assert call.query == (
        *(("each", "a"), ("each", "b c"), ("comma", "a,b c"), ("space", "a b"), ("pipe", "a|b c")),
        *(("deep[x]", "1"), ("deep[y]", "2"), ("x", "1"), ("y", "2"), ("joined", "x,1,y,2")),
        *(("json", '{"x":1,"y":2}'), ("flag", "true")),
    )
    assert call.headers == {"X-List": "a,b c", "X-Pairs": "x=1,y=2"}
    assert call.cookies == {"jar": "a,b%20c"}
    assert not call.has_body
    # What joins the items stays; within an item it is encoded, so that the server can tell them apart.
    assert call.target == (
        "/q?each=a&each=b%20c&comma=a,b%20c&space=a%20b&pipe=a|b%20c&deep%5Bx%5D=1&deep%5By%5D=2&x=1&y=2"
        "&joined=x,1,y,2&json=%7B%22x%22%3A1%2C%22y%22%3A2%7D&flag=true"
    )
    assert call.url("https://a.test/base/") == f"https://a.test/base{call.target}"


def test_path_styles(api: tuple[Any, Recorder]) -> None:
    stubs, recorder = api
    stubs.path(["a/b", "c"], {"x": 1, "y": 2}, 7, ["p", "q;"])
    assert recorder.calls[0].path == "/p/a%2Fb,c/.x=1.y=2;matrix=7/;each=p;each=q%3B"


@pytest.mark.parametrize(
    ("stub", "body", "sent"),
    [
        ("send_bytes", b"\xff\x00", (b"\xff\x00", "application/octet-stream")),
        ("send_bytes", b"", (b"", "application/octet-stream")),
        ("send_image", b"\x89", (b"\x89", "image/png")),
        ("send_text", "ä", ("ä".encode(), "text/markdown")),
        ("send_any", [1, 2], (b"[1,2]", "application/json")),
        ("patch", {"a": None}, (b'{"a":null}', "application/merge-patch+json")),
        ("patch", None, (b"null", "application/merge-patch+json")),
    ],
)
def test_a_body_that_is_passed_whole_is_sent_as_it_is(
    api: tuple[Any, Recorder], stub: str, body: object, sent: tuple[bytes, str]
) -> None:
    stubs, recorder = api
    getattr(stubs, stub)(body=body)
    (call,) = recorder.calls
    assert call.encoded() == sent
    assert call.content == body
    assert call.body is None
    assert call.parts() == ()


def test_a_number_that_json_has_not_is_refused(api: tuple[Any, Recorder]) -> None:
    stubs, recorder = api
    stubs.send_any(body=[float("nan")])
    with pytest.raises(ValueError, match="JSON"):
        recorder.calls[0].encoded()


def test_a_form_has_its_lists_and_objects_as_the_contract_says(api: tuple[Any, Recorder]) -> None:
    stubs, recorder = api
    stubs.form(a=["1", "2"], b={"x": 1}, c={"y": 2}, d="&=", e=["p", "q"])
    (call,) = recorder.calls
    content, media_type = call.encoded()
    assert media_type == "application/x-www-form-urlencoded"
    pairs = [("a", "1"), ("a", "2"), ("b[x]", "1"), ("c", '{"y":2}'), ("d", "&="), ("e", "p,q")]
    assert parse_qsl(content.decode()) == pairs
    assert list(call.form) == pairs
    assert call.body == {"a": ["1", "2"], "b": {"x": 1}, "c": {"y": 2}, "d": "&=", "e": ["p", "q"]}


def test_uploads_are_parts_one_a_file(client: Client, api: tuple[Any, Recorder]) -> None:
    stubs, recorder = api
    stubs.upload(
        one=("a.txt", b"A"),
        maybe=None,
        media=b"PNG",
        many=[b"1", ("2.txt", b"2")],
        tags=["x", "y"],
        flag=False,
        meta={"a": 1},
    )
    stubs.upload(one=b"A", maybe=b"B")
    first, second = recorder.calls
    content, media_type = first.encoded()
    assert media_type.startswith("multipart/form-data; boundary=")
    sent = [(name, text, filename) for name, text, filename, _ in parts_in(content, media_type)]
    assert sent == [(p.name, p.content, p.filename) for p in first.parts()]
    assert [(p.name, p.content, p.filename, p.content_type) for p in first.parts()] == [
        ("tags", b"x", None, None),
        ("tags", b"y", None, None),
        ("flag", b"false", None, None),
        ("meta", b'{"a":1}', None, "application/json"),
        ("one", b"A", "a.txt", "text/plain"),
        ("media", b"PNG", "media", "image/png"),
        ("many", b"1", "many", "application/octet-stream"),
        ("many", b"2", "2.txt", "text/plain"),
    ]
    assert first.files == {"one": ("a.txt", b"A"), "media": b"PNG"}
    assert first.file_lists == {"many": (b"1", ("2.txt", b"2"))}
    assert first.body == {"tags": ["x", "y"], "flag": False, "meta": {"a": 1}}
    assert second.files == {"one": b"A", "maybe": b"B"}
    with pytest.raises(ValueError, match="one: a file is bytes"):
        stubs.upload(one="A")
    hints = get_type_hints(client.module("rest").T.upload)
    assert str(hints["maybe"]).startswith("bytes | tuple[str, bytes] | None")


def test_several_answers_are_their_union_and_an_empty_one_is_none(client: Client) -> None:
    operations = client.module("operations")
    union = operations.UNION
    assert union.read(b'{"a": 1}').to_wire() == {"a": 1}
    assert union.read(b'["x"]') == ["x"]
    assert union.read(b"") is None
    assert operations.FILE.read(b"") is None
    assert operations.FILE.read(b"\xff") == b"\xff"
    assert operations.FILE_HEAD.read(b"") is None
    assert operations.FALLBACK.read(b"3") == 3
    with pytest.raises(client.module("_runtime").Undecodable):
        operations.FALLBACK.read(b"")


def test_an_inline_object_that_may_be_null(client: Client) -> None:
    nullable = client.module("operations").NULLABLE
    assert nullable.read(b"null") is None
    assert nullable.read(json.dumps({"a": 1}).encode()).a == 1
