"""Chat completions of the model server, asked by OpenAI's own client in both its forms."""

import asyncio
import socket
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol, cast

import httpx
import openai
import pytest
from openai.types import Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessageFunctionToolCall

from digitorn_testing._events.failures import FAILURES
from digitorn_testing.fakes import (
    FailureCode,
    FakeModel,
    FakeModelServer,
    ModelAttachment,
    ModelMessage,
    ModelRequest,
    ModelServerNotStarted,
    ModelToolCall,
    ScriptedToolCall,
    ScriptMismatch,
    ToolDefinition,
    Usage,
)
from digitorn_testing.fakes._model.script import Scripted

SECONDS = 15.0
HI = [{"role": "user", "content": "hi"}]


# --- clients


class Client(Protocol):
    """What both forms of the client are asked for here."""

    async def complete(self, **options: Any) -> ChatCompletion: ...
    def chunks(self, **options: Any) -> AsyncIterator[ChatCompletionChunk]: ...
    async def models(self) -> list[Model]: ...
    async def model(self, name: str) -> Model: ...


def request(options: Mapping[str, Any]) -> dict[str, Any]:
    return {"model": "gpt-x", "messages": HI, **options}


class Blocking:
    """The client that blocks, on a thread."""

    def __init__(self, **settings: Any) -> None:
        self.client = openai.OpenAI(http_client=openai.DefaultHttpxClient(verify=False), **settings)

    async def complete(self, **options: Any) -> ChatCompletion:
        create: Callable[..., ChatCompletion] = self.client.chat.completions.create
        return await asyncio.to_thread(create, **request(options))

    async def chunks(self, **options: Any) -> AsyncIterator[ChatCompletionChunk]:
        create: Callable[..., openai.Stream[ChatCompletionChunk]] = self.client.chat.completions.create
        stream = await asyncio.to_thread(create, stream=True, **request(options))
        try:
            while (chunk := await asyncio.to_thread(next, stream, None)) is not None:
                yield chunk
        finally:
            stream.close()

    async def models(self) -> list[Model]:
        return list(await asyncio.to_thread(self.client.models.list))

    async def model(self, name: str) -> Model:
        return await asyncio.to_thread(self.client.models.retrieve, name)

    async def close(self) -> None:
        self.client.close()


class Asynchronous:
    """The asynchronous client."""

    def __init__(self, **settings: Any) -> None:
        self.client = openai.AsyncOpenAI(http_client=openai.DefaultAsyncHttpxClient(verify=False), **settings)

    async def complete(self, **options: Any) -> ChatCompletion:
        return cast("ChatCompletion", await self.client.chat.completions.create(**request(options)))

    async def chunks(self, **options: Any) -> AsyncIterator[ChatCompletionChunk]:
        created: Any = await self.client.chat.completions.create(stream=True, **request(options))
        stream: openai.AsyncStream[ChatCompletionChunk] = created
        async with stream:
            async for chunk in stream:
                yield chunk

    async def models(self) -> list[Model]:
        return [one async for one in self.client.models.list()]

    async def model(self, name: str) -> Model:
        return await self.client.models.retrieve(name)

    async def close(self) -> None:
        await self.client.close()


@pytest.fixture(params=[Blocking, Asynchronous])
def kind(request: pytest.FixtureRequest) -> type[Blocking | Asynchronous]:
    """Which form of the client."""
    return cast("type[Blocking | Asynchronous]", request.param)


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def server(model: FakeModel) -> Iterator[FakeModelServer]:
    with FakeModelServer(model) as running:
        yield running


@pytest.fixture
async def client(
    kind: type[Blocking | Asynchronous], server: FakeModelServer
) -> AsyncIterator[Blocking | Asynchronous]:
    async with connected(kind, server) as one:
        yield one


@asynccontextmanager
async def connected(
    kind: type[Blocking | Asynchronous], server: FakeModelServer, **settings: Any
) -> AsyncGenerator[Blocking | Asynchronous]:
    """A client of a server."""
    usual = {"base_url": server.base_url, "api_key": server.api_key, "max_retries": 0, "timeout": SECONDS}
    one = kind(**{**usual, **settings})
    try:
        yield one
    finally:
        await one.close()


async def collected(chunks: AsyncIterator[ChatCompletionChunk]) -> list[ChatCompletionChunk]:
    return [one async for one in chunks]


def function_calls(completion: ChatCompletion) -> list[tuple[str, str]]:
    calls = completion.choices[0].message.tool_calls or []
    found = [one for one in calls if isinstance(one, ChatCompletionMessageFunctionToolCall)]
    assert len(found) == len(calls)
    return [(one.function.name, one.function.arguments) for one in found]


# --- text


async def test_text(client: Client, model: FakeModel) -> None:
    model.will_respond_with_text("Hello.", usage=Usage(7, 3))
    answer = await client.complete()
    (choice,) = answer.choices
    assert (answer.object, answer.model) == ("chat.completion", "gpt-x")
    assert answer.id.startswith("chatcmpl-")
    assert (choice.message.role, choice.message.content, choice.message.tool_calls) == (
        "assistant",
        "Hello.",
        None,
    )
    assert (choice.finish_reason, choice.index) == ("stop", 0)
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (
        7,
        3,
        10,
    )


async def test_streamed_text(client: Client, model: FakeModel) -> None:
    model.will_stream_text(["Hel", "lo"])
    found = await collected(client.chunks())
    assert [one.choices[0].delta.content for one in found] == ["", "Hel", "lo", None]
    assert found[0].choices[0].delta.role == "assistant"
    assert [one.choices[0].finish_reason for one in found] == [None, None, None, "stop"]
    assert len({one.id for one in found}) == 1
    assert {(one.object, one.model) for one in found} == {("chat.completion.chunk", "gpt-x")}
    assert all(one.usage is None for one in found)


async def test_usage_of_a_stream_comes_last_and_on_request(client: Client, model: FakeModel) -> None:
    model.will_stream_text(["Hel", "lo"], usage=Usage(7, 3))
    found = await collected(client.chunks(stream_options={"include_usage": True}))
    assert [one.usage is None for one in found] == [True] * 4 + [False]
    last = found[-1]
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (7, 3)


async def test_a_stream_arrives_as_it_is_written(client: Client, model: FakeModel) -> None:
    model.will_stream_text(["one", "two"], delay=30.0).will_respond_with_text("next")
    chunks = client.chunks()
    async with asyncio.timeout(SECONDS):
        while (await anext(chunks)).choices[0].delta.content != "one":
            pass
        await cast("Any", chunks).aclose()
        assert (await client.complete()).choices[0].message.content == "next"


async def test_a_text_that_takes_its_time_comes_whole(client: Client, model: FakeModel) -> None:
    model.will_wait(0.01).will_stream_text(["one ", "two ", "three"], delay=0.01)
    assert (await client.complete()).choices[0].message.content == "one two three"


async def test_reasoning(client: Client, model: FakeModel) -> None:
    model.will_respond_with_text("4", thinking="2 + 2\nis 4", times=2)
    message = (await client.complete()).choices[0].message
    assert (message.model_extra or {})["reasoning_content"] == "2 + 2\nis 4"
    deltas = [one.choices[0].delta for one in await collected(client.chunks())]
    said = [(one.model_extra or {}).get("reasoning_content") or one.content for one in deltas]
    assert said == ["", "2 + 2\n", "is 4", "4", None]


# --- tools


TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Looks.",
        "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
    },
}


async def test_one_call(client: Client, model: FakeModel) -> None:
    model.will_call_tool("look", {"at": "the sky"})
    answer = await client.complete(tools=[TOOL])
    assert function_calls(answer) == [("look", '{"at": "the sky"}')]
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.choices[0].message.content is None


async def test_several_calls(client: Client, model: FakeModel) -> None:
    model.will_call_tools(
        [ScriptedToolCall("look", {"at": "a"}), ScriptedToolCall("look", {"at": "b"})], text="Looking."
    )
    answer = await client.complete(tools=[TOOL])
    assert function_calls(answer) == [("look", '{"at": "a"}'), ("look", '{"at": "b"}')]
    assert answer.choices[0].message.content == "Looking."
    ids = [one.id for one in answer.choices[0].message.tool_calls or []]
    assert len(set(ids)) == 2
    assert all(one.startswith("call_") for one in ids)


async def test_streamed_calls(client: Client, model: FakeModel) -> None:
    long = "x" * 100
    model.will_call_tools([ScriptedToolCall("look", {"at": long}), ScriptedToolCall("wait")], text="Looking.")
    found = await collected(client.chunks(tools=[TOOL]))
    deltas = [delta for one in found for delta in one.choices[0].delta.tool_calls or []]
    firsts = [one for one in deltas if one.id is not None]
    names = [one.function.name for one in firsts if one.function is not None]
    assert ([one.index for one in firsts], names) == ([0, 1], ["look", "wait"])
    assert [one.index for one in deltas] == sorted(one.index for one in deltas)
    arguments = ["", ""]
    for one in deltas:
        assert one.function is not None
        arguments[one.index] += one.function.arguments or ""
    assert arguments == [f'{{"at": "{long}"}}', "{}"]
    # The longer ones come in pieces.
    assert len([one for one in deltas if one.index == 0]) > 3
    assert [one.choices[0].finish_reason for one in found if one.choices[0].finish_reason] == ["tool_calls"]


async def test_the_client_puts_a_stream_together(server: FakeModelServer, model: FakeModel) -> None:
    model.will_call_tools([ScriptedToolCall("look", {"at": "a"}), ScriptedToolCall("look", {"at": "b"})])

    def run() -> ChatCompletion:
        with openai.OpenAI(base_url=server.base_url, api_key=server.api_key, max_retries=0) as client:
            with client.chat.completions.stream(
                model="gpt-x", messages=[{"role": "user", "content": "hi"}]
            ) as stream:
                return stream.get_final_completion()

    assert function_calls(await asyncio.to_thread(run)) == [("look", '{"at": "a"}'), ("look", '{"at": "b"}')]


async def test_a_daemon_that_runs_the_tool_itself(client: Client, model: FakeModel) -> None:
    model.when(contains="weather").will_call_tool("look", {"at": "the sky"}, result="not this")
    model.when(tool_result_of="look", contains="rain").will_respond_with_text("Take an umbrella.")
    messages: list[Any] = [{"role": "user", "content": "weather?"}]
    asked = (await client.complete(messages=messages, tools=[TOOL])).choices[0].message
    (call,) = asked.tool_calls or []
    messages += [
        asked.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "rain"},
    ]
    answer = await client.complete(messages=messages, tools=[TOOL])
    assert answer.choices[0].message.content == "Take an umbrella."
    assert model.requests[1].messages[1].tool_calls == (ModelToolCall(call.id, "look", {"at": "the sky"}),)


# --- what the model is asked


async def test_the_request_is_the_one_that_an_embedded_daemon_would_make(
    client: Client, model: FakeModel, server: FakeModelServer
) -> None:
    model.will_respond_with_text("ok")
    function = {"name": "look", "arguments": '{"at": "a"}'}
    await client.complete(
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "what"}, {"type": "text", "text": "now"}]},
            {"role": "assistant", "tool_calls": [{"id": "c-1", "type": "function", "function": function}]},
            {"role": "tool", "tool_call_id": "c-1", "content": "nothing"},
            {"role": "developer", "content": "Be kind."},
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}],
            },
        ],
        tools=[TOOL],
        temperature=0.5,
        max_completion_tokens=100,
        seed=7,
    )
    asked = model.last_request
    assert asked is not None
    assert asked.system_prompt == "Be brief.\n\nBe kind."
    assert asked.messages == (
        ModelMessage("user", "what\nnow"),
        ModelMessage("assistant", "", (ModelToolCall("c-1", "look", {"at": "a"}),)),
        ModelMessage("tool", "nothing", tool_call_id="c-1"),
        ModelMessage("user", "", images=(ModelAttachment("", "", "image/png", b""),)),
    )
    assert asked.tools == (ToolDefinition("look", "Looks.", TOOL["function"]["parameters"]),)
    settings = asked.model_settings
    assert (settings.model, settings.temperature, settings.max_tokens) == ("gpt-x", 0.5, 100)
    assert (asked.app_id, asked.session_id) == ("", "")
    # What came over the wire is kept whole.
    (sent,) = server.requests
    assert isinstance(sent.body, dict)
    assert (sent.body["seed"], sent.body["temperature"]) == (7, 0.5)
    assert (sent.path, sent.headers["authorization"]) == ("/v1/chat/completions", "***")


async def test_requests_at_once_each_get_an_answer(client: Client, model: FakeModel) -> None:
    for number in range(20):
        model.will_stream_text([str(number), "!"], delay=0.01)
    answers = await asyncio.gather(*(client.complete() for _ in range(20)))
    assert {one.choices[0].message.content for one in answers} == {f"{number}!" for number in range(20)}


# --- errors


ERRORS: dict[FailureCode, tuple[type[openai.APIStatusError], int, str, str | None]] = {
    "auth_error": (openai.AuthenticationError, 401, "invalid_request_error", "invalid_api_key"),
    "credential_required": (openai.AuthenticationError, 401, "invalid_request_error", None),
    "credential_auth_required": (openai.AuthenticationError, 401, "invalid_request_error", "invalid_api_key"),
    "insufficient_balance": (openai.APIStatusError, 402, "insufficient_quota", "insufficient_quota"),
    "rate_limited": (openai.RateLimitError, 429, "requests", "rate_limit_exceeded"),
    "context_overflow": (
        openai.BadRequestError,
        400,
        "invalid_request_error",
        "context_length_exceeded",
    ),
    "model_not_provided_by_digitorn": (
        openai.NotFoundError,
        404,
        "invalid_request_error",
        "model_not_provided_by_digitorn",
    ),
    "permission_denied": (openai.BadRequestError, 400, "invalid_request_error", "permission_denied"),
    "provider_error": (openai.InternalServerError, 500, "server_error", None),
    "session_busy": (openai.BadRequestError, 400, "invalid_request_error", "session lock"),
    "agent_loop_killed": (openai.BadRequestError, 400, "invalid_request_error", "loop_guard_hard_kill"),
    "internal_error": (openai.BadRequestError, 400, "invalid_request_error", None),
}


def test_every_failure_has_an_answer() -> None:
    assert ERRORS.keys() | {"network_error"} == FAILURES.keys()


@pytest.mark.parametrize("code", ERRORS)
@pytest.mark.parametrize("streamed", [False, True])
async def test_errors_by_class(client: Client, model: FakeModel, code: FailureCode, streamed: bool) -> None:
    expected, status, family, body_code = ERRORS[code]
    model.will_fail(code, "it broke")
    with pytest.raises(expected) as caught:
        await (collected(client.chunks()) if streamed else client.complete())
    error = caught.value
    assert type(error) is expected
    assert (error.status_code, error.type, error.code) == (status, family, body_code)
    assert error.message == f"Error code: {status} - it broke"
    assert (error.request_id or "").startswith("req_")
    assert error.response.headers.get("retry-after") == ("1" if code == "rate_limited" else None)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_network_error_drops_the_connection(client: Client, model: FakeModel, streamed: bool) -> None:
    model.will_fail("network_error").will_respond_with_text("back")
    with pytest.raises(openai.APIConnectionError) as caught:
        await (collected(client.chunks()) if streamed else client.complete())
    assert not isinstance(caught.value, openai.APITimeoutError)
    assert (await client.complete()).choices[0].message.content == "back"


async def test_a_dropped_connection_takes_no_other_along(model: FakeModel, server: FakeModelServer) -> None:
    model.when(contains="drop").will_fail("network_error")
    model.when(contains="stay").will_stream_text(["a", "b"], delay=0.3)
    async with connected(Asynchronous, server) as one, connected(Asynchronous, server) as other:
        chunks = one.chunks(messages=[{"role": "user", "content": "stay"}])
        begun = [await anext(chunks), await anext(chunks)]
        with pytest.raises(openai.APIConnectionError):
            await other.complete(messages=[{"role": "user", "content": "drop"}])
        found = begun + await collected(chunks)
    assert "".join(one.choices[0].delta.content or "" for one in found) == "ab"


async def until_it_breaks(chunks: AsyncIterator[ChatCompletionChunk], said: list[str]) -> None:
    async for one in chunks:
        said.append(one.choices[0].delta.content or "")


async def test_a_failure_in_the_middle_of_a_stream(client: Client, model: FakeModel) -> None:
    model.will_fail("provider_error", "overloaded", after=["Hel", "lo"])
    said: list[str] = []
    with pytest.raises(openai.APIError, match="overloaded") as caught:
        await until_it_breaks(client.chunks(), said)
    assert not isinstance(caught.value, openai.APIStatusError | openai.APIConnectionError)
    assert "".join(said) == "Hello"


async def test_a_connection_that_drops_in_the_middle_of_a_stream(client: Client, model: FakeModel) -> None:
    model.will_fail("network_error", after=["Hel", "lo"])
    said: list[str] = []
    with pytest.raises(openai.APIConnectionError):
        await until_it_breaks(client.chunks(), said)
    assert "".join(said) == "Hello"


async def test_a_whole_answer_does_not_begin_before_it_fails(client: Client, model: FakeModel) -> None:
    model.will_fail("provider_error", after=["Hel", "lo"])
    with pytest.raises(openai.InternalServerError):
        await client.complete()


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("insufficient_balance", 402, openai.APIStatusError),
        ("provider_error", 503, openai.InternalServerError),
        ("network_error", 504, openai.InternalServerError),
    ],
)
async def test_the_script_may_choose_the_status(
    client: Client, model: FakeModel, code: FailureCode, status: int, expected: type[openai.APIStatusError]
) -> None:
    model.will_fail(code, status=status, retry_after=2.5)
    with pytest.raises(expected) as caught:
        await client.complete()
    assert caught.value.status_code == status
    assert caught.value.response.headers["retry-after"] == "2.5"


async def test_a_client_that_tries_again_succeeds(
    kind: type[Blocking | Asynchronous], model: FakeModel, server: FakeModelServer
) -> None:
    model.will_fail("rate_limited", retry_after=0.01, times=2).will_respond_with_text("at last")
    async with connected(kind, server, max_retries=2) as client:
        assert (await client.complete()).choices[0].message.content == "at last"
    assert model.request_count == 3


# How a daemon classifies an exception by its lower-cased text (contract: events, section 7).
CLASSIFICATION: list[tuple[FailureCode, list[str]]] = [
    ("insufficient_balance", ["insufficient", "quota", "balance", "billing", "payment", "402", "budget"]),
    ("auth_error", ["auth", "401", "api key", "credentials", "token expired", "forbidden", "403"]),
    ("rate_limited", ["rate limit", "429", "too many requests", "throttl"]),
    ("context_overflow", ["context length", "context window", "too long", "token limit"]),
    ("network_error", ["connection", "timeout", "dns", "ssl", "eof", "reset by peer"]),
    ("provider_error", ["500", "502", "503", "504", "server error"]),
]


@pytest.mark.parametrize("code", [code for code, _ in CLASSIFICATION])
async def test_a_daemon_takes_a_failure_for_what_it_is(
    client: Client, model: FakeModel, code: FailureCode
) -> None:
    model.will_fail(code)
    with pytest.raises(openai.APIError) as caught:
        await client.complete()
    text = str(caught.value).lower()
    assert next(found for found, words in CLASSIFICATION if any(one in text for one in words)) == code


async def test_an_unscripted_request_is_refused_once(
    kind: type[Blocking | Asynchronous],
) -> None:
    async def ask() -> None:
        with FakeModel() as model, FakeModelServer(model) as server:
            async with connected(kind, server, max_retries=2) as client:
                with pytest.raises(openai.BadRequestError, match=r"'hi'.*over HTTP") as caught:
                    await client.complete()
                assert caught.value.code == "unscripted_request"
                assert model.request_count == 1

    with pytest.raises(ScriptMismatch, match="user: 'hi'"):
        await ask()


class BrokenModel(FakeModel):
    async def take(self, request: ModelRequest) -> Scripted:
        raise LookupError("a bug")


async def test_a_crash_is_a_server_error_and_is_logged(
    kind: type[Blocking | Asynchronous], caplog: pytest.LogCaptureFixture
) -> None:
    with FakeModelServer(BrokenModel()) as server:
        async with connected(kind, server) as client:
            with pytest.raises(openai.InternalServerError, match="LookupError: a bug"):
                await client.complete()
    assert "POST /v1/chat/completions crashed" in caplog.text


# --- models and keys


async def test_any_model_will_do(client: Client, model: FakeModel) -> None:
    model.will_respond_with_text("ok")
    assert [one.id for one in await client.models()] == ["fake-model"]
    assert (await client.model("org/some-model")).id == "org/some-model"
    assert (await client.complete(model="org/some-model")).model == "org/some-model"


async def test_models_may_be_named(kind: type[Blocking | Asynchronous], model: FakeModel) -> None:
    model.will_respond_with_text("ok")
    with FakeModelServer(model, models=["a", "org/b"]) as server:
        async with connected(kind, server) as client:
            assert [one.id for one in await client.models()] == ["a", "org/b"]
            assert (await client.model("org/b")).id == "org/b"
            assert (await client.complete(model="a")).model == "a"
            with pytest.raises(openai.NotFoundError, match="'c' does not exist") as caught:
                await client.model("c")
            assert caught.value.code == "model_not_found"
            with pytest.raises(openai.NotFoundError):
                await client.complete(model="c")
    assert model.request_count == 1


async def test_a_key_is_asked_for_if_there_is_one(
    kind: type[Blocking | Asynchronous], model: FakeModel
) -> None:
    model.will_respond_with_text("ok")
    with FakeModelServer(model, api_key="sk-secret") as server:
        assert server.api_key == "sk-secret"
        async with connected(kind, server) as client, connected(kind, server, api_key="sk-wrong") as other:
            with pytest.raises(openai.AuthenticationError) as caught:
                await other.complete()
            assert caught.value.code == "invalid_api_key"
            assert "sk-" not in caught.value.message
            with pytest.raises(openai.AuthenticationError):
                await other.models()
            assert (await client.complete()).choices[0].message.content == "ok"
        async with httpx.AsyncClient() as bare:
            refused = await bare.get(f"{server.base_url}/models")
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, None)
            assert "didn't provide an API key" in refused.json()["error"]["message"]
    assert model.request_count == 1


# --- malformed requests


def message(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [fields]}


CALL = {"id": "c-1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
ASKS = {"role": "assistant", "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c-1", "content": "x"}


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"messages": HI}, "model", "missing_required_parameter"),
        ({"model": "m"}, "messages", "missing_required_parameter"),
        ({"model": "m", "messages": "hi"}, "messages", "invalid_type"),
        ({"model": 1, "messages": HI}, "model", "invalid_type"),
        ({"model": "m", "messages": []}, "messages", "empty_array"),
        (message(content="x"), "messages[0].role", "missing_required_parameter"),
        (message(role="robot", content="x"), "messages[0].role", "invalid_value"),
        (message(role="user"), "messages[0].content", "missing_required_parameter"),
        (message(role="user", content=3), "messages[0].content", "invalid_type"),
        (
            message(role="user", content=[{"text": "x"}]),
            "messages[0].content[0].type",
            "missing_required_parameter",
        ),
        (message(**RESULT), "messages[0].role", None),
        (
            {"model": "m", "messages": [*HI, {**ASKS, "tool_calls": [{**CALL, "id": None}]}]},
            "messages[1].tool_calls[0].id",
            "invalid_type",
        ),
        ({"model": "m", "messages": [ASKS]}, "messages", None),
        ({"model": "m", "messages": [ASKS, *HI, RESULT]}, "messages", None),
        ({"model": "m", "messages": [ASKS, RESULT, RESULT]}, "messages[2].role", None),
        (
            {"model": "m", "messages": [ASKS, {"role": "tool", "content": "x"}]},
            "messages[1].tool_call_id",
            "missing_required_parameter",
        ),
        (
            {"model": "m", "messages": [ASKS, {"role": "tool", "tool_call_id": "c-1"}]},
            "messages[1].content",
            "missing_required_parameter",
        ),
        (
            {
                "model": "m",
                "messages": [
                    {**ASKS, "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "{"}}]},
                    RESULT,
                ],
            },
            "messages[0].tool_calls[0].function.arguments",
            "invalid_value",
        ),
        (
            {
                "model": "m",
                "messages": [
                    {**ASKS, "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "[]"}}]},
                    RESULT,
                ],
            },
            "messages[0].tool_calls[0].function.arguments",
            "invalid_value",
        ),
        ({"model": "m", "messages": HI, "tools": [{"type": "web"}]}, "tools[0].type", "invalid_value"),
        (
            {"model": "m", "messages": HI, "tools": [{"type": "function", "function": {"name": "a.b"}}]},
            "tools[0].function.name",
            "invalid_value",
        ),
        ({"model": "m", "messages": HI, "temperature": 3}, "temperature", "invalid_value"),
        ({"model": "m", "messages": HI, "max_tokens": "9"}, "max_tokens", "invalid_type"),
        ({"model": "m", "messages": HI, "n": 2}, "n", "invalid_value"),
        ({"model": "m", "messages": HI, "stream": "yes"}, "stream", "invalid_type"),
        ({"model": "m", "messages": HI, "stream_options": {}}, "stream_options", None),
        ([], None, "invalid_type"),
    ],
)
async def test_a_malformed_request_is_refused(
    server: FakeModelServer, model: FakeModel, body: object, param: str | None, code: str | None
) -> None:
    async with httpx.AsyncClient(timeout=SECONDS) as client:
        refused = await client.post(f"{server.base_url}/chat/completions", json=body)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
    assert error["message"]
    assert (model.requests, server.requests) == ([], [])


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "said"),
    [
        ("POST", "/v1/chat/completions", b"{", 400, "could not parse the JSON"),
        ("POST", "/v1/chat/completions", b"", 400, "could not parse the JSON"),
        ("POST", "/v1/chat/completions", b'{"model": "\xff"}', 400, "could not parse the JSON"),
        ("GET", "/v1/chat/completions", b"", 405, "Not allowed to GET"),
        ("POST", "/v1/models", b"{}", 405, "Not allowed to POST"),
        ("GET", "/v1/models/", b"", 404, "Invalid URL"),
        ("POST", "/v1/embeddings", b"{}", 404, "Invalid URL (POST /v1/embeddings)"),
        ("GET", "/v1/responses", b"{}", 405, "Not allowed to GET"),
        ("POST", "/v1/messages", b"{", 400, "could not parse the JSON"),
        ("GET", "/models", b"", 404, "Invalid URL"),
    ],
)
async def test_what_is_no_request_is_refused(
    server: FakeModelServer, method: str, path: str, content: bytes, status: int, said: str
) -> None:
    async with httpx.AsyncClient(base_url=server.base_url.removesuffix("/v1"), timeout=SECONDS) as client:
        refused = await client.request(method, path, content=content)
    assert refused.status_code == status
    assert said in refused.json()["error"]["message"]


# --- answers without an end, and the end of the server


@pytest.mark.parametrize("script", [FakeModel.will_never_answer, FakeModel.will_stream_forever])
async def test_a_client_gives_up_on_an_answer_without_an_end(
    kind: type[Blocking | Asynchronous],
    model: FakeModel,
    server: FakeModelServer,
    script: Callable[[FakeModel], FakeModel],
) -> None:
    script(model).will_respond_with_text("next")
    async with connected(kind, server, timeout=0.3) as client:
        with pytest.raises(openai.APITimeoutError):
            await client.complete()
    async with connected(kind, server) as client:
        assert (await client.complete()).choices[0].message.content == "next"


async def test_a_client_leaves_an_endless_stream(client: Client, model: FakeModel) -> None:
    model.will_stream_forever(["on "]).will_respond_with_text("next")
    said: list[str] = []
    chunks = client.chunks()
    async for one in chunks:
        said.append(one.choices[0].delta.content or "")
        if len(said) > 5:
            break
    await cast("Any", chunks).aclose()
    assert set(said[1:]) == {"on "}
    assert (await client.complete()).choices[0].message.content == "next"


@pytest.fixture
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that waited for its answers would not stop in time."""
    monkeypatch.setattr("digitorn_testing.fakes._wire.server._GRACE_SECONDS", 60.0)


@pytest.mark.usefixtures("no_grace")
async def test_the_server_stops_with_an_open_stream(
    kind: type[Blocking | Asynchronous], model: FakeModel
) -> None:
    model.will_stream_forever()
    threads = threading.active_count()
    with FakeModelServer(model) as server:
        async with connected(kind, server) as client:
            chunks = client.chunks()
            await anext(chunks)
            assert threading.active_count() > threads
            await asyncio.to_thread(server.stop)
            with pytest.raises(openai.APIConnectionError):
                await collected(chunks)
            server.stop()
    assert not any(one.name.startswith("fake-daemon-") for one in threading.enumerate())


@pytest.mark.usefixtures("no_grace")
async def test_the_server_stops_with_an_open_request(
    kind: type[Blocking | Asynchronous], model: FakeModel
) -> None:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def notice(_: ModelRequest) -> bool:
        loop.call_soon_threadsafe(asked.set)
        return True

    model.when(notice).will_never_answer()
    with FakeModelServer(model) as server:
        async with connected(kind, server) as client:
            waiting = asyncio.create_task(client.complete())
            async with asyncio.timeout(SECONDS):
                await asked.wait()
            await asyncio.to_thread(server.stop)
            with pytest.raises(openai.APIConnectionError):
                await waiting


async def test_connections_may_be_dropped(client: Client, model: FakeModel, server: FakeModelServer) -> None:
    model.will_stream_forever().will_respond_with_text("back")
    chunks = client.chunks()
    await anext(chunks)
    await asyncio.to_thread(server.drop_connections)
    with pytest.raises(openai.APIConnectionError):
        await collected(chunks)
    assert (await client.complete()).choices[0].message.content == "back"


async def test_where_it_is(model: FakeModel) -> None:
    server = FakeModelServer(model)
    assert server.model is model
    with pytest.raises(ModelServerNotStarted):
        _ = server.base_url
    with server:
        assert server.base_url == f"http://127.0.0.1:{server.port}/v1"
        with pytest.raises(RuntimeError, match="runs already"):
            server.start()
    with pytest.raises(ModelServerNotStarted):
        _ = server.port
    # It may be started again.
    model.will_respond_with_text("ok")
    with server:
        async with connected(Asynchronous, server) as client:
            assert (await client.complete()).choices[0].message.content == "ok"
    with pytest.raises(ValueError, match="models is one text"):
        FakeModelServer(models="gpt-x")


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="the machine has no IPv6 loopback")
async def test_ipv6(model: FakeModel) -> None:
    model.will_respond_with_text("ok").will_fail("network_error")
    with FakeModelServer(model, host="::1") as server:
        assert server.base_url == f"http://[::1]:{server.port}/v1"
        async with connected(Asynchronous, server) as client:
            assert (await client.complete()).choices[0].message.content == "ok"
            with pytest.raises(openai.APIConnectionError):
                await client.complete()


def test_the_port_holds_no_status_that_a_daemon_would_find_in_its_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Many ports hold one of these.
    monkeypatch.setattr("digitorn_testing.fakes._provider.server._STATUSES", ("1", "2"))
    for _ in range(8):
        with FakeModelServer() as server:
            assert not {"1", "2"} & set(str(server.port))
