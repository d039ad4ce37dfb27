"""Recordings of a provider, for which a second model server stands, asked by the official clients."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import anthropic
import httpx
import openai
import pytest
from anthropic.types import Message

from digitorn_testing import RecordingError
from digitorn_testing.fakes import FakeModel, FakeModelServer, ScriptMismatch
from digitorn_testing.fakes._provider import recording

SECONDS = 15.0
KEY = "a-key-of-nobody-0123"
HTTP = httpx.Client(verify=False, timeout=SECONDS, trust_env=False)
HI: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def provider(model: FakeModel) -> Iterator[FakeModelServer]:
    """Stands for the real provider."""
    with FakeModelServer(model, api_key=KEY) as running:
        yield running


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "provider.jsonl"


def post(
    server: FakeModelServer, body: object = HI, path: str = "/v1/chat/completions", **headers: str
) -> httpx.Response:
    headers = {"authorization": f"Bearer {KEY}", **headers}
    return HTTP.post(f"{server.url}{path}", json=body, headers=headers)


def content(answer: httpx.Response) -> str:
    return str(answer.raise_for_status().json()["choices"][0]["message"]["content"])


def openai_client(server: FakeModelServer) -> openai.OpenAI:
    http = openai.DefaultHttpxClient(verify=False)
    return openai.OpenAI(base_url=server.base_url, api_key=KEY, http_client=http, max_retries=0)


# --- recording and replaying


def talk_to_openai(server: FakeModelServer) -> list[object]:
    with openai_client(server) as client:
        with client.responses.stream(model="m", input="hi") as stream:
            said: list[object] = [one.delta for one in stream if one.type == "response.output_text.delta"]
            first = stream.get_final_response()
        second = client.responses.create(model="m", input="and?", previous_response_id=first.id)
        chat = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
        try:
            client.models.retrieve("m/other")
            client.responses.create(model="m", input="break")
        except openai.RateLimitError as error:
            said += [error.status_code, error.message, error.response.headers["retry-after"]]
    return [*said, first.id, second.output_text, chat.model_dump()]


async def talk_to_anthropic(server: FakeModelServer) -> list[object]:
    http = anthropic.DefaultAsyncHttpxClient(verify=False)
    async with anthropic.AsyncAnthropic(base_url=server.url, api_key=KEY, http_client=http) as client:
        ask: dict[str, Any] = {**HI, "max_tokens": 9}
        async with client.messages.stream(**ask) as stream:
            said: list[object] = [one async for one in stream.text_stream]
            whole = await stream.get_final_message()
        count = await client.messages.count_tokens(**HI)
        again = cast("Message", await client.messages.create(**ask))
    return [*said, whole.model_dump(), count.input_tokens, again.model_dump()]


def talk(server: FakeModelServer) -> list[object]:
    return [*talk_to_openai(server), *asyncio.run(talk_to_anthropic(server))]


def test_what_clients_get_is_the_same_from_the_provider_and_from_the_recording(
    provider: FakeModelServer, model: FakeModel, path: Path
) -> None:
    model.will_stream_text(["Hel", "lö", "!"], thinking="Hm.").will_respond_with_text("Yes.")
    model.will_respond_with_text("Chat.").will_fail("rate_limited", "slow down", retry_after=2)
    model.will_stream_text(["One ", "two."]).will_respond_with_text("Again.")
    with FakeModelServer(record_to=path, upstream=provider.base_url) as server:
        recorded = talk(server)
    assert recorded[:4] == ["Hel", "lö", "!", 429]
    model.assert_exhausted()
    provider.stop()
    with FakeModelServer.replay(path) as server:
        assert talk(server) == recorded
        server.assert_exhausted()
    text = path.read_text(encoding="utf-8")
    assert KEY not in text
    assert len(server.requests) == len(text.splitlines()) - 1


def test_a_stream_is_passed_on_as_it_comes(provider: FakeModelServer, model: FakeModel, path: Path) -> None:
    model.will_stream_text(["one", "two"], delay=30.0)
    with FakeModelServer(record_to=path, upstream=provider.base_url) as server:
        with openai_client(server) as client, client.responses.stream(model="m", input="hi") as stream:
            assert next(one.delta for one in stream if one.type == "response.output_text.delta") == "one"
    # What came before the client left is kept, and its end is not made up.
    with FakeModelServer.replay(path) as server, openai_client(server) as client:
        with client.responses.stream(model="m", input="hi") as stream:
            with pytest.raises(openai.APIConnectionError):
                list(stream)


@contextmanager
def raw_provider(*answers: bytes, seen: list[bytes] | None = None) -> Generator[str]:
    """A provider that answers with these bytes, one connection after another; the URL of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SECONDS)

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(SECONDS)
                    asked = connection.recv(65536)
                    if seen is not None:
                        seen.append(asked)
                    connection.sendall(answer)

        serving = threading.Thread(target=serve)
        serving.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        serving.join(SECONDS)


def chunked(*chunks: bytes, headers: str = "") -> bytes:
    head = f"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n{headers}\r\n"
    return head.encode() + b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in chunks) + b"0\r\n\r\n"


def test_chunks_and_their_times_are_kept(provider: FakeModelServer, model: FakeModel, path: Path) -> None:
    model.will_stream_text(["one ", "two"], delay=0.2)
    with FakeModelServer(record_to=path, upstream=provider.base_url) as server:
        recorded = post(server, {**HI, "stream": True}).text
    chunks = json.loads(path.read_text().splitlines()[1])["chunks"]
    assert "".join(one["text"] for one in chunks) == recorded
    assert [one["text"].count("data:") for one in chunks] == [1] * len(chunks)
    for timing in (False, True):
        with FakeModelServer.replay(path, timing=timing) as server:
            answer = post(server, {**HI, "stream": True})
        assert (answer.text, answer.elapsed.total_seconds() >= 0.2) == (recorded, timing)


def test_a_body_that_is_no_text_is_kept(path: Path) -> None:
    sound = b"\xff\xfe\x00sound"
    with raw_provider(chunked(b"a\xc3", b"\xa9b"), chunked(sound, sound)) as url:
        with FakeModelServer(record_to=path, upstream=url) as server:
            assert [post(server).text, post(server, HI, "/v1/audio/speech").content] == ["aéb", sound * 2]
    with FakeModelServer.replay(path) as server:
        assert [post(server).text, post(server, HI, "/v1/audio/speech").content] == ["aéb", sound * 2]


def test_equal_requests_get_their_answers_in_order(
    provider: FakeModelServer, model: FakeModel, path: Path
) -> None:
    model.will_respond_with_text("a").will_respond_with_text("b")
    with FakeModelServer(record_to=path, upstream=provider.url) as server:
        assert [content(post(server)), content(post(server))] == ["a", "b"]
    with FakeModelServer.replay(path) as server:
        assert [content(post(server)), content(post(server))] == ["a", "b"]


@pytest.mark.parametrize(
    ("below", "path", "headers", "asked"),
    [
        ("", "/v1/chat/completions", {}, "/v1/chat/completions"),
        ("/v1", "/v1/chat/completions", {}, "/v1/chat/completions"),
        ("/api/v1/", "/v1/models/a%2Fb?limit=1", {}, "/api/v1/models/a%2Fb?limit=1"),
        ("/v1beta/openai", "/v1/chat/completions", {}, "/v1beta/openai/chat/completions"),
        ("/gateway", "/v1/messages", {"anthropic-version": "1"}, "/gateway/v1/messages"),
    ],
)
def test_requests_go_below_the_base_url_of_the_provider(
    tmp_path: Path, below: str, path: str, headers: dict[str, str], asked: str
) -> None:
    seen: list[bytes] = []
    said = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nset-cookie: a=b\r\n\r\nok"
    with raw_provider(said, seen=seen) as url:
        with FakeModelServer(record_to=tmp_path / "file", upstream=f"{url}{below}") as server:
            answer = post(server, HI, path, **{"te": "trailers", "x-mine": "1", **headers})
    head = seen[0].split(b"\r\n\r\n")[0].decode().lower().split("\r\n")
    assert head[0] == f"post {asked} http/1.1".lower()
    assert {"x-mine: 1", "accept-encoding: identity", f"authorization: bearer {KEY}"} <= set(head)
    assert not any(one.startswith("te:") for one in head)
    assert (answer.text, "set-cookie" in answer.headers) == ("ok", False)


# --- secrets


def test_secrets_are_hidden_wherever_they_stand(
    provider: FakeModelServer, model: FakeModel, path: Path
) -> None:
    secrets = {
        "header": "header-secret-1",
        "cookie": "cookie-secret-2",
        "query": "query-secret-3",
        "member": "member-secret-4",
        "nested": "nested-secret-5",
        "format": "sk-proj-abcdefghijklmnop",
    }
    body: dict[str, Any] = {
        **HI,
        "api_key": secrets["member"],
        "metadata": {"password": "short", "note": f"uses {secrets['format']} and {secrets['member']}"},
        "user": json.dumps({"client_secret": secrets["nested"], "passwd": "tiny!"}),
        "tools": [
            {"type": "function", "function": {"name": "f", "parameters": {"properties": {"token": {}}}}},
        ],
    }
    model.will_stream_text(["It was ", *secrets.values(), " and ", KEY[:9], KEY[9:]], times=2)
    target = f"/v1/chat/completions?key={secrets['query']}"
    headers = {"api-key": secrets["header"], "cookie": f"session={secrets['cookie']}; theme=dark"}
    with FakeModelServer(record_to=path, upstream=provider.base_url) as server:
        whole = post(server, body, target, **headers).text
        assert secrets["nested"] in whole
        streamed = post(server, {**body, "stream": True}, target, **headers).text
    text = path.read_text(encoding="utf-8")
    assert [one for one in (*secrets.values(), KEY, "short", "tiny!") if one in text] == []
    assert '"key", "***"' in text
    with FakeModelServer.replay(path) as server:
        assert "It was ******" in post(server, body, target, **headers).text
        # Another key asks for the same.
        again = post(server, {**body, "stream": True}, target, authorization="Bearer other-key").text
    assert len(again.split("data: ")) == len(streamed.split("data: "))


def test_a_secret_that_is_cut_in_two_is_hidden(path: Path) -> None:
    with raw_provider(chunked(b"it is " + KEY[:7].encode(), KEY[7:].encode() + b"!", b" Bye.")) as url:
        with FakeModelServer(record_to=path, upstream=url) as server:
            assert post(server).text == f"it is {KEY}! Bye."
    assert KEY[:7] not in path.read_text(encoding="utf-8")
    with FakeModelServer.replay(path) as server:
        assert post(server).text == "it is ***! Bye."


def test_the_tokens_of_a_text_are_no_secrets(path: Path) -> None:
    said = json.dumps({"choices": [{"logprobs": {"content": [{"token": "internationally", "logprob": -1}]}}]})
    with raw_provider(chunked(said.encode())) as url, FakeModelServer(record_to=path, upstream=url) as server:
        post(server)
    with FakeModelServer.replay(path) as server:
        assert post(server).text == said


# --- requests that were not recorded


def recorded(path: Path, provider: FakeModelServer, *bodies: object) -> None:
    with FakeModelServer(record_to=path, upstream=provider.base_url) as server:
        for body in bodies:
            post(server, body)


LONG = "A long prompt that is the same for many words. " * 5


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({**HI, "model": "n"}, 'body.model: recorded "m", asked "n"'),
        ({**HI, "seed": 1}, "body.seed: asked 1, not recorded"),
        ({"model": "m"}, "body.messages: recorded"),
        (
            {**HI, "messages": [*HI["messages"], {"role": "user", "content": "x"}]},
            "body.messages: recorded 1 elements, asked 2",
        ),
        (
            {**HI, "messages": [{"role": "user", "content": "ho"}]},
            'body.messages[0].content: recorded "hi", asked "ho"',
        ),
        ({"model": "m", "messages": LONG + "b"}, 'words. a", asked "ame for many words. b"'),
    ],
)
def test_a_mismatch_says_what_differs(
    provider: FakeModelServer, model: FakeModel, path: Path, asked: object, said: str
) -> None:
    model.will_respond_with_text("ok")
    recorded(path, provider, HI, {"model": "m", "messages": LONG + "a"})
    server = FakeModelServer.replay(path).start()
    refused = post(server, asked)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "unrecorded_request")
    assert said in refused.json()["error"]["message"]
    with pytest.raises(ScriptMismatch) as mismatch:
        server.__exit__(None, None, None)
    assert said in str(mismatch.value)


def test_a_request_that_was_never_recorded(provider: FakeModelServer, model: FakeModel, path: Path) -> None:
    model.will_respond_with_text("ok")
    recorded(path, provider, HI)
    server = FakeModelServer.replay(path).start()
    try:
        assert "the recording has POST /v1/chat/completions" in post(server, HI, "/v1/embeddings").text
        anthropic_says = post(server, HI, "/v1/messages", **{"anthropic-version": "1"}).json()
        assert anthropic_says["error"]["type"] == "invalid_request_error"
        with pytest.raises(ScriptMismatch, match="recorded and never asked for:\n  POST /v1/chat"):
            server.assert_exhausted()
        assert content(post(server)) == "ok"
        assert "is asked more often than the 1 times" in post(server).text
    finally:
        server.stop()


def test_another_error_on_its_way_out_gets_a_note(
    provider: FakeModelServer, model: FakeModel, path: Path
) -> None:
    model.will_respond_with_text("ok")
    recorded(path, provider, HI)

    def fail() -> None:
        with FakeModelServer.replay(path) as server:
            post(server, {})
            raise KeyError

    with pytest.raises(KeyError) as caught:
        fail()
    assert "was not recorded like this" in caught.value.__notes__[0]


def test_what_never_is_the_same_may_be_left_out(
    provider: FakeModelServer, model: FakeModel, path: Path
) -> None:
    def without_user(body: Any) -> Any:
        return {name: value for name, value in body.items() if name != "user"}

    model.will_respond_with_text("ok")
    recorded(path, provider, {**HI, "user": "today"})
    with FakeModelServer.replay(path, normalize=without_user) as server:
        assert content(post(server, {**HI, "user": "tomorrow"})) == "ok"


# --- providers that fail


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def test_a_provider_that_does_not_answer_is_a_502(path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    with FakeModelServer(record_to=path, upstream=url) as server:
        failed = post(server)
    assert failed.status_code == 502
    assert f"The provider at {url} failed: ConnectError" in failed.json()["error"]["message"]
    with FakeModelServer.replay(path) as server:
        assert (post(server).status_code, server.requests[0].body) == (502, HI)


CUT = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 99\r\n\r\ndata: 1\n\n"


@pytest.mark.parametrize("answer", [CUT, chunked(b"data: 1\n\n", b"x" * 200)])
def test_an_answer_that_breaks_off_breaks_off_again(
    path: Path, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "LARGEST_BODY", 100)

    def read(server: FakeModelServer) -> str:
        said: list[str] = []
        with HTTP.stream("POST", f"{server.base_url}/x", json=HI) as stream:
            with pytest.raises(httpx.TransportError):
                said.extend(stream.iter_text())
        return "".join(said)

    with raw_provider(answer) as url, FakeModelServer(record_to=path, upstream=url) as server:
        assert read(server) == "data: 1\n\n"
    assert "failed" in json.loads(path.read_text().splitlines()[1])["error"]
    with FakeModelServer.replay(path) as server:
        assert read(server) == "data: 1\n\n"


def test_answers_set_no_cookies_for_others(path: Path) -> None:
    seen: list[bytes] = []
    answers = chunked(b"a", headers="set-cookie: a=secret-cookie\r\n"), chunked(b"b")
    with raw_provider(*answers, seen=seen) as url, FakeModelServer(record_to=path, upstream=url) as server:
        assert [post(server).text, post(server).text] == ["a", "b"]
    assert "secret-cookie" not in path.read_text()
    assert b"secret-cookie" not in seen[1]


# --- the file


def test_a_recording_is_replaced_when_the_first_answer_has_come(
    provider: FakeModelServer, model: FakeModel, path: Path
) -> None:
    model.will_respond_with_text("old").will_respond_with_text("new")
    recorded(path, provider, HI)
    with FakeModelServer(record_to=path, upstream=provider.base_url) as server:
        assert "old" in path.read_text()
        post(server)
        server.stop()
        server.start()
        post(server, {**HI, "model": ""})
    assert "old" not in path.read_text()
    assert len(path.read_text().splitlines()) == 3


def test_a_file_that_cannot_be_written_is_an_error(
    provider: FakeModelServer, model: FakeModel, path: Path
) -> None:
    model.will_respond_with_text("ok")
    with pytest.raises(RecordingError, match="cannot be written"):
        FakeModelServer(record_to=path / "no" / "folder", upstream=provider.base_url).start()
    server = FakeModelServer(record_to=path, upstream=provider.base_url).start()
    path.unlink()
    path.mkdir()
    # The answer is right all the same.
    assert content(post(server)) == "ok"
    with pytest.raises(RecordingError, match="cannot be written"):
        server.__exit__(None, None, None)


HEADER = '{"format": "digitorn-testing model recording", "version": 1, "upstream": "http://a"}'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1 is not JSON"),
        ("{}", "line 1 is not of a model recording: format: Field required"),
        (HEADER.replace("1", "2"), "line 1 is not of a model recording: version"),
        (f"{HEADER}\n{{", "line 2 is not JSON"),
        (f'{HEADER}\n{{"method": 1}}', "line 2 is not of a model recording: method"),
        (None, "cannot be read"),
    ],
)
def test_what_is_no_recording_is_refused(path: Path, text: str | None, said: str) -> None:
    if text is not None:
        path.write_text(text)
    with pytest.raises(RecordingError, match=said):
        FakeModelServer.replay(path)


WRONG: list[tuple[Callable[[], FakeModelServer], str]] = [
    (lambda: FakeModelServer(record_to="a"), "belong together"),
    (lambda: FakeModelServer(upstream="http://a"), "belong together"),
    (lambda: FakeModelServer(FakeModel(), record_to="a", upstream="http://a"), "the provider answers"),
    (lambda: FakeModelServer(record_to="a", upstream="ftp://a"), "must be a URL"),
    (lambda: FakeModelServer(record_to="a", upstream="http://u:p@a"), "no credentials"),
]


@pytest.mark.parametrize(("make", "said"), WRONG)
def test_what_does_not_go_together_is_refused(make: Callable[[], FakeModelServer], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()
