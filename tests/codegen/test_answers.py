"""Answers: what is read of each content type, and streams item by item."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, get_type_hints

import pytest

from codegen.conftest import Client, Make, Recorder, document, ok, ref

TEXT: dict[str, object] = {"type": "string"}
PIECE: dict[str, object] = {"type": "object", "required": ["delta"], "properties": {"delta": TEXT}}
DONE: dict[str, object] = {"type": "object", "required": ["end"], "properties": {"end": {"type": "integer"}}}


def content(**media: object) -> dict[str, object]:
    """A response of several media types; a double underscore stands for the slash."""
    return {
        "description": "ok",
        "content": {name.replace("__", "/"): {"schema": schema} for name, schema in media.items()},
    }


def answering(id_: str, responses: dict[str, object]) -> dict[str, object]:
    return {"get": {"operationId": id_, "tags": ["t"], "responses": responses}}


SSE, LINES = "text/event-stream", "application/x-ndjson"
PATHS: dict[str, object] = {
    "/two": answering(
        "two", {"200": content(application__json=ref("Piece"), **{"application__vnd.done+json": ref("Done")})}
    ),
    "/sse": answering("sse", {"200": ok(ref("Piece"), SSE)}),
    "/sse-list": answering("sse_list", {"200": ok({"type": "array", "items": ref("Piece")}, SSE)}),
    "/sse-text": answering("sse_text", {"200": ok(TEXT, SSE)}),
    "/lines": answering("lines", {"200": ok(ref("Piece"), LINES)}),
    "/seq": answering("seq", {"200": ok({"type": "integer"}, "application/json-seq")}),
    "/either": answering(
        "either",
        {"200": content(application__json=ref("Done"), **{"text__event-stream": ref("Piece")})},
    ),
    "/csv": answering("csv", {"200": content(application__json=ref("Piece"), text__csv=TEXT)}),
    "/xml": answering("xml", {"200": content(application__xml=ref("Piece"))}),
    "/pictures": answering(
        "pictures", {"200": content(image__png={"format": "binary"}, image__jpeg={"format": "binary"})}
    ),
    "/statuses": answering(
        "statuses",
        {
            "200": ok(ref("Piece")),
            "201": ok(ref("Done")),
            "202": ok(TEXT, "text/plain"),
            "204": {"description": "-"},
            "default": ok({"type": "boolean"}),
        },
    ),
    "/range": answering("in_range", {"2XX": ok(ref("Piece")), "4XX": ok(ref("Done"))}),
    "/only-default": answering("only_default", {"default": ok(ref("Piece"))}),
    "/links": answering("links", {"200": {**ok(ref("Piece")), "links": {"next": {"operationId": "links"}}}}),
}


@pytest.fixture(scope="module")
def client(make: Make) -> Client:
    return make(document(PATHS, {"Piece": PIECE, "Done": DONE}))


@pytest.fixture(scope="module")
def operations(client: Client) -> Any:
    return client.module("operations")


def wire(value: Any) -> object:
    return value.to_wire() if hasattr(value, "to_wire") else value


def test_the_stubs_are_strictly_typed_in_both_faces(client: Client) -> None:
    use = client.settings.out.parent / "use_answers.py"
    use.write_text(
        f"from {client.settings.package} import models, rest, rest_async\n"
        f"from {client.settings.package}._streams import AsyncStream, Stream\n"
        "def use(t: rest.T) -> None:\n"
        "    with t.sse() as pieces:\n"
        "        for piece in pieces:\n"
        "            piece.delta.upper()\n"
        "    found = t.either()\n"
        "    if isinstance(found, Stream):\n"
        "        next(found).delta.upper()\n"
        "    else:\n"
        "        found.end.bit_length()\n"
        "async def use_async(t: rest_async.AsyncT) -> None:\n"
        "    async with await t.lines() as pieces:\n"
        "        async for piece in pieces:\n"
        "            piece.delta.upper()\n"
        "    for wrong in await t.sse():  # wrong: an asynchronous stream\n"
        "        pass\n"
    )
    assert client.complaints() == []
    found = client.mypy.complaints(str(use), folder=client.settings.out.parent)
    assert {one.line for one in found if one.file == use.name} == {16}


def test_two_kinds_of_json_are_a_union_and_both_are_asked_for(client: Client, operations: Any) -> None:
    assert wire(operations.TWO.read(b'{"delta": "x"}')) == {"delta": "x"}
    assert wire(operations.TWO.read(b'{"end": 1}')) == {"end": 1}
    api, recorder = client.api()
    api.t.two()
    api.t.sse()
    assert [call.headers for call in recorder.calls] == [
        {"Accept": "application/json, application/vnd.done+json"},
        {},
    ]


EVENTS = (
    b'\xef\xbb\xbfevent: a\r\ndata: {"delta":\r\ndata: "x"}\r\n\r\n'
    b': nothing\n\rdata:{"delta": "y"}\r\rdata: [DONE]\n\n'
)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize(
    ("name", "sent", "items"),
    [
        ("SSE", EVENTS, [{"delta": "x"}, {"delta": "y"}]),
        ("SSE_LIST", EVENTS, [{"delta": "x"}, {"delta": "y"}]),
        ("SSE", b'data: {"delta": "x"}\n\ndata: {"delta": "cut off"}\n', [{"delta": "x"}]),
        ("SSE", b"", []),
        ("LINES", b'{"delta": "x"}\r\n\n{"delta": "\\u00e4"}', [{"delta": "x"}, {"delta": "ä"}]),
        ("SEQ", b"\x1e1\n\x1e2\n", [1, 2]),
    ],
)
def test_a_stream_is_read_item_by_item_however_it_arrives(
    operations: Any, name: str, sent: bytes, items: list[object], size: int
) -> None:
    operation = getattr(operations, name)
    reading = operation.items()
    found = [item for start in range(0, len(sent), size) for item in reading.feed(sent[start : start + size])]
    assert [wire(one) for one in (*found, *reading.end())] == items
    assert [wire(one) for one in operation.read(sent)] == items


def test_an_item_that_breaks_the_contract(client: Client, operations: Any) -> None:
    undecodable = client.module("_runtime").Undecodable
    stream = operations.LINES.read(b'{"delta": "x"}\n{"delta": 1}\nno JSON\n')
    assert next(stream).delta == "x"
    with pytest.raises(undecodable, match="delta"):
        next(stream)
    with pytest.raises(undecodable, match="not JSON"):
        list(operations.LINES.read(b"no JSON\n"))


def test_a_stream_of_text_is_text(operations: Any) -> None:
    assert operations.SSE_TEXT.read(b"data: x\n\n") == "data: x\n\n"


def test_json_or_a_stream_is_told_apart_by_the_content_type(client: Client, operations: Any) -> None:
    either = operations.EITHER
    assert either.read(b'{"end": 1}', media_type="application/json; charset=utf-8").end == 1
    streamed = either.read(b'data: {"delta": "x"}\n\n', media_type="Text/Event-Stream; charset=utf-8")
    assert [one.delta for one in streamed] == ["x"]
    assert either.read(b'{"end": 1}').end == 1
    assert either.accept == "application/json, text/event-stream"
    assert client.warned() == {"media-ignored", "schema-unused", "links-ignored"}


def test_what_is_not_read_is_not_asked_for_and_warned_of_at_its_place(
    client: Client, operations: Any
) -> None:
    assert operations.CSV.accept == "application/json"
    places = {
        text.partition("#")[2].partition(": ")[0]
        for text in client.warnings
        if text.startswith(("media-ignored", "schema-unused", "links-ignored"))
    }
    assert places == {
        "/paths/~1csv/get/responses/200/content/text~1csv",
        "/paths/~1xml/get/responses/200/content/application~1xml",
        "/paths/~1links/get/responses/200/links",
    }
    assert operations.PICTURES.accept == "image/png, image/jpeg"
    assert operations.PICTURES.read(b"\xff", media_type="image/jpeg") == b"\xff"


def test_several_statuses_are_a_union_and_the_default_is_for_errors(operations: Any) -> None:
    statuses = operations.STATUSES
    assert wire(statuses.read(b'{"delta": "x"}')) == {"delta": "x"}
    assert wire(statuses.read(b'{"end": 1}')) == {"end": 1}
    assert statuses.read(b"in words", media_type="text/plain") == "in words"
    assert statuses.read(b"") is None
    for name in ("IN_RANGE", "ONLY_DEFAULT"):
        assert wire(getattr(operations, name).read(b'{"delta": "x"}')) == {"delta": "x"}


class Buffered(Recorder):
    """An asynchronous transport that reads the whole answer first."""

    async def send(self, call: Any) -> Any:  # type: ignore[override] # the asynchronous face
        super().send(call)
        return call.operation.read(b'{"delta": "x"}\n{"delta": "y"}\n')


def test_a_transport_may_read_the_whole_answer_first(client: Client) -> None:
    async def read() -> list[str]:
        async with await client.module("rest_async").AsyncApi(Buffered()).t.lines() as pieces:
            return [piece.delta async for piece in pieces]

    assert asyncio.run(read()) == ["x", "y"]


def test_a_stream_has_one_face_and_can_be_closed(client: Client) -> None:
    streams = client.module("_streams")
    closed: list[str] = []

    def items() -> Iterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append("items")

    async def async_items() -> AsyncIterator[int]:
        yield 1

    async def close() -> None:
        closed.append("connection")

    async def use() -> None:
        stream = streams.AnyStream(async_items(), close)
        with pytest.raises(TypeError, match="asynchronous"):
            next(stream)
        with pytest.raises(TypeError, match="asynchronous"):
            stream.close()
        async with stream:
            assert await anext(stream) == 1

    with streams.AnyStream(items(), lambda: closed.append("connection")) as stream:
        assert next(stream) == 1
    assert closed == ["items", "connection"]
    asyncio.run(use())
    assert closed == ["items", "connection", "connection"]


def test_the_result_of_a_stream_is_the_type_of_its_items(client: Client, operations: Any) -> None:
    assert operations.SSE.result is client.module("models").Piece
    hints = get_type_hints(client.module("rest").T.sse)
    assert "Stream[" in str(hints["return"])


def test_server_sent_events_that_are_described_whole(make: Make) -> None:
    event = {
        "type": "object",
        "required": ["event"],
        "properties": {"event": TEXT, "data": TEXT, "id": TEXT, "retry": {"type": "integer"}},
    }
    items = {"events": {SSE: {"itemSchema": event}}, "data": {SSE: {"itemSchema": PIECE}}}
    paths = {
        f"/{name}": answering(name, {"200": {"description": "-", "content": media}})
        for name, media in items.items()
    }
    client = make(document(paths, openapi="3.2.0"))
    assert client.warned() == set()
    made = client.module("operations")
    sent = b"event: a\nid: 7\nretry: 10\ndata: x\ndata: y\n\nevent: b\nid\ndata\n\ndata: no event\n\n"
    stream = made.EVENTS.read(sent)
    assert [wire(next(stream)), wire(next(stream))] == [
        {"event": "a", "id": "7", "retry": 10, "data": "x\ny"},
        {"event": "b", "id": "", "data": ""},
    ]
    with pytest.raises(Exception, match="event: Field required"):
        next(stream)
    assert [one.delta for one in made.DATA.read(EVENTS)] == ["x", "y"]


def test_forms_that_no_content_type_tells_apart(make: Make) -> None:
    envelope = {
        "type": "object",
        "x-envelope": {"data": "data"},
        "properties": {"data": {"type": "integer"}},
    }
    responses: dict[str, object] = {"200": ok(ref("Envelope")), "201": ok(TEXT)}
    client = make(document({"/a": answering("a", responses)}, {"Envelope": envelope}))
    assert client.warned() == {"mixed-results"}
    assert client.module("operations").A.read(json.dumps({"data": 1}).encode()) == 1
