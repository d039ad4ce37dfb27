"""An answer that is a stream is read item by item, as it arrives over HTTP."""

import json
import threading
import time
from collections.abc import Callable

import pytest

from digitorn_testing import (
    ConnectionOptions,
    ContractViolation,
    DaemonUnreachable,
    NotFound,
    TooLarge,
)
from digitorn_testing._exchanges import Exchange
from digitorn_testing._generated._runtime import RestOperation
from digitorn_testing._generated._streams import AnyStream
from digitorn_testing._secrets.credentials import Credentials
from digitorn_testing._transport._async.transport import AsyncTransport
from support.hostile import Caller, hostile, says, whole
from support.servers import hearing

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LIMITS = ConnectionOptions(max_response_bytes=10_000)
WATCH: RestOperation[AnyStream[dict[str, int]]] = RestOperation(
    "watch", "GET", "/watch", lambda: dict[str, int], reading="event-data"
)
EITHER: RestOperation[dict[str, str] | AnyStream[dict[str, int]]] = RestOperation(
    "either",
    "GET",
    "/either",
    lambda: dict[str, str],
    others={"text/event-stream": ("event-data", lambda: dict[str, int], None)},
)


def event(**members: object) -> bytes:
    """An event in a chunk of its own."""
    text = f"data: {json.dumps(members)}\n\n".encode()
    return f"{len(text):x}\r\n".encode() + text + b"\r\n"


def transport(url: str, seconds: float = 10.0) -> AsyncTransport:
    return AsyncTransport(url, Credentials("a-token-of-mine"), timeout=seconds, connection_options=LIMITS)


def kept(found: AsyncTransport) -> Exchange:
    (one,) = found.exchanges
    return one


async def test_an_item_is_there_before_the_next_one_is_sent() -> None:
    seen = threading.Event()

    def answer(caller: Caller) -> None:
        caller.send(HEAD + event(a=1))
        # The second event is sent only to a client that has read the first.
        assert seen.wait(10)
        caller.send(event(a=2) + b"0\r\n\r\n")

    with hostile(answer) as url:
        async with transport(url) as found:
            stream = await found.send(WATCH.call())
            items: list[dict[str, int]] = []
            async for item in stream:
                items.append(item)
                seen.set()
    assert items == [{"a": 1}, {"a": 2}]
    assert (kept(found).status, kept(found).response) == (200, 'data: {"a": 1}\n\ndata: {"a": 2}\n\n')


async def test_a_stream_that_is_closed_early() -> None:
    def answer(caller: Caller) -> None:
        caller.send(HEAD + event(a=1))
        caller.send_endlessly(event(a=2), pause=0.001)

    with hostile(answer) as url:
        async with transport(url) as found:
            stream = await found.send(WATCH.call())
            assert [await anext(stream), await anext(stream)] == [{"a": 1}, {"a": 2}]
            await stream.aclose()
            await stream.aclose()
            unread = await found.send(WATCH.call())
            await unread.aclose()
    assert found.exchanges[0].error == "closed before its end"


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (says(HEAD + event(a="x")), ContractViolation, "a: Input should be a valid integer"),
        (says(HEAD + b"8\r\ndata: x\n\r\n2\r\n\n\n\r\n"), ContractViolation, "not JSON"),
        (says(HEAD + event(a=1)), DaemonUnreachable, "GET /watch"),
        (says(HEAD + b"ffff\r\ndata: " + b"x" * 60_000), TooLarge, "10000 bytes"),
    ],
)
async def test_a_stream_that_fails(
    answer: Callable[[Caller], None], error: type[Exception], said: str
) -> None:
    with hostile(answer) as url:
        async with transport(url) as found:
            stream = await found.send(WATCH.call())
            with pytest.raises(error, match=said):
                async for _ in stream:
                    pass
    assert kept(found).error != ""
    assert kept(found).status is None


async def test_a_stream_that_goes_silent_is_given_up_after_the_timeout_of_a_call() -> None:
    def answer(caller: Caller) -> None:
        caller.send(HEAD + event(a=1))
        caller.hold()

    with hostile(answer) as url:
        async with transport(url, seconds=0.4) as found:
            stream = await found.send(WATCH.call())
            assert await anext(stream) == {"a": 1}
            began = time.monotonic()
            with pytest.raises(DaemonUnreachable, match="/watch"):
                await anext(stream)
            assert time.monotonic() - began < 6


async def test_a_refusal_is_none() -> None:
    with hostile(says(whole(b'{"detail": "no"}', b"HTTP/1.1 404 No\r\n"))) as url:
        async with transport(url) as found:
            with pytest.raises(NotFound):
                await found.send(WATCH.call())


@pytest.mark.parametrize(
    ("answer", "is_stream"), [(whole(b'{"a": "x"}'), False), (HEAD + event(a=1) + b"0\r\n\r\n", True)]
)
async def test_the_content_type_tells_how_an_answer_is_read(answer: bytes, is_stream: bool) -> None:
    with hostile(says(answer)) as url:
        async with transport(url) as found:
            result = await found.send(EITHER.call())
            if isinstance(result, AnyStream):
                assert is_stream
                assert [item async for item in result] == [{"a": 1}]
            else:
                assert not is_stream
                assert result == {"a": "x"}


async def test_a_call_with_cookies_and_a_query_in_which_commas_have_a_meaning() -> None:
    operation: RestOperation[None] = RestOperation(
        "ask", "GET", "/ask", lambda: None, reading="none", styles={("query", "ids"): "comma"}
    )
    with hearing() as heard:
        async with transport(heard.url) as found:
            await found.send(operation.call(query={"ids": ["a,b", "c"]}, cookies={"x": "1; y=2", "z": "3"}))
    ((_, path, headers, _),) = heard.requests
    assert path == "/ask?ids=a%2Cb,c"
    assert headers["cookie"] == "x=1%3B%20y%3D2; z=3"
