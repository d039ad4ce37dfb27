"""Messages of the model server, asked by Anthropic's own client in both its forms."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol, cast

import anthropic
import httpx
import pytest
from anthropic.types import Message, RawMessageStreamEvent, TextBlock, ThinkingBlock, ToolUseBlock

from digitorn_testing.fakes import FailureCode, FakeModel, FakeModelServer, ScriptedToolCall, Usage

SECONDS = 15.0
HTTP = httpx.Client(verify=False, timeout=SECONDS, trust_env=False)
TOOL = {
    "name": "look",
    "description": "Looks.",
    "input_schema": {"type": "object", "properties": {"at": {"type": "string"}}},
}
USUAL: dict[str, Any] = {
    "model": "claude-x",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hi"}],
}


class Client(Protocol):
    """What both forms of the client are asked for here."""

    async def create(self, **options: Any) -> Message: ...
    async def events(self, **options: Any) -> list[RawMessageStreamEvent]: ...
    async def final(self, **options: Any) -> Message: ...
    async def count(self, **options: Any) -> int: ...
    async def models(self) -> list[str]: ...


class Blocking:
    """The client that blocks, on a thread."""

    def __init__(self, **settings: Any) -> None:
        http = anthropic.DefaultHttpxClient(verify=False)
        self.client = anthropic.Anthropic(http_client=http, **settings)

    async def create(self, **options: Any) -> Message:
        create: Callable[..., Message] = self.client.messages.create
        return await asyncio.to_thread(create, **{**USUAL, **options})

    async def events(self, **options: Any) -> list[RawMessageStreamEvent]:
        create: Callable[..., Any] = self.client.messages.create
        return await asyncio.to_thread(lambda: list(create(stream=True, **{**USUAL, **options})))

    async def final(self, **options: Any) -> Message:
        def run() -> Message:
            with self.client.messages.stream(**{**USUAL, **options}) as stream:
                return stream.get_final_message()

        return await asyncio.to_thread(run)

    async def count(self, **options: Any) -> int:
        counted = await asyncio.to_thread(self.client.messages.count_tokens, **options)
        return counted.input_tokens

    async def models(self) -> list[str]:
        return [one.id for one in await asyncio.to_thread(self.client.models.list)]

    async def close(self) -> None:
        self.client.close()


class Asynchronous:
    """The asynchronous client."""

    def __init__(self, **settings: Any) -> None:
        http = anthropic.DefaultAsyncHttpxClient(verify=False)
        self.client = anthropic.AsyncAnthropic(http_client=http, **settings)

    async def create(self, **options: Any) -> Message:
        return cast("Message", await self.client.messages.create(**{**USUAL, **options}))

    async def events(self, **options: Any) -> list[RawMessageStreamEvent]:
        stream: Any = await self.client.messages.create(stream=True, **{**USUAL, **options})
        return [one async for one in stream]

    async def final(self, **options: Any) -> Message:
        async with self.client.messages.stream(**{**USUAL, **options}) as stream:
            return await stream.get_final_message()

    async def count(self, **options: Any) -> int:
        return (await self.client.messages.count_tokens(**options)).input_tokens

    async def models(self) -> list[str]:
        return [one.id async for one in self.client.models.list()]

    async def close(self) -> None:
        await self.client.close()


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def server(model: FakeModel) -> Iterator[FakeModelServer]:
    with FakeModelServer(model) as running:
        yield running


@pytest.fixture(params=[Blocking, Asynchronous])
async def client(request: pytest.FixtureRequest, server: FakeModelServer) -> AsyncIterator[Client]:
    kind: type[Blocking | Asynchronous] = request.param
    one = kind(base_url=server.url, api_key=server.api_key, max_retries=0, timeout=SECONDS)
    yield one
    await one.close()


# --- answers


async def test_text(client: Client, model: FakeModel) -> None:
    model.will_respond_with_text("Hello.", usage=Usage(7, 3))
    answer = await client.create()
    assert [one.text for one in answer.content if isinstance(one, TextBlock)] == ["Hello."]
    assert (answer.model, answer.role, answer.type, answer.stop_reason) == (
        "claude-x",
        "assistant",
        "message",
        "end_turn",
    )
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (7, 3)
    assert answer.id.startswith("msg_")


async def test_a_stream_has_the_events_of_anthropic(client: Client, model: FakeModel) -> None:
    model.will_stream_text(["Hel", "lo"], thinking="Hm.", usage=Usage(7, 3))
    found = await client.events()
    assert [one.type for one in found] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    kinds = [one.delta.type for one in found if one.type == "content_block_delta"]
    assert kinds == ["thinking_delta", "signature_delta", "text_delta", "text_delta"]
    (start,) = [one.message for one in found if one.type == "message_start"]
    assert (start.usage.input_tokens, start.stop_reason, start.content) == (7, None, [])


@pytest.mark.parametrize("way", ["create", "final"])
async def test_thinking_text_and_calls(client: Client, model: FakeModel, way: str) -> None:
    calls = [ScriptedToolCall("look", {"at": "x" * 50}), ScriptedToolCall("look")]
    model.will_call_tools(calls, text="Looking.", thinking="Where?", usage=Usage(7, 3))
    answer: Message = await getattr(client, way)(tools=[TOOL])
    thought, said, first, second = answer.content
    assert isinstance(thought, ThinkingBlock)
    assert (thought.thinking, bool(thought.signature)) == ("Where?", True)
    assert isinstance(said, TextBlock)
    assert said.text == "Looking."
    assert isinstance(first, ToolUseBlock)
    assert isinstance(second, ToolUseBlock)
    assert (first.name, first.input, second.input) == ("look", {"at": "x" * 50}, {})
    assert first.id.startswith("toolu_")
    assert first.id != second.id
    assert (answer.stop_reason, answer.usage.input_tokens, answer.usage.output_tokens) == ("tool_use", 7, 3)


@pytest.mark.parametrize("way", ["create", "final"])
async def test_an_agent_that_runs_the_tool_itself(client: Client, model: FakeModel, way: str) -> None:
    model.when(contains="weather").will_call_tool("look", {"at": "sky"}, thinking="Look.")
    model.when(tool_result_of="look", contains="rain").will_respond_with_text("Take an umbrella.")
    messages: list[dict[str, Any]] = [{"role": "user", "content": "weather?"}]
    asked: Message = await getattr(client, way)(messages=messages, tools=[TOOL])
    (call,) = [one for one in asked.content if isinstance(one, ToolUseBlock)]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "rain"}]}
    messages += [{"role": "assistant", "content": asked.content}, {"role": "user", "content": [result]}]
    answer = await client.create(messages=messages, tools=[TOOL])
    assert [one.text for one in answer.content if isinstance(one, TextBlock)] == ["Take an umbrella."]


async def test_tokens_are_counted_without_asking_the_script(client: Client, model: FakeModel) -> None:
    few = await client.count(model="claude-x", messages=[{"role": "user", "content": "hi"}])
    many = await client.count(model="claude-x", messages=[{"role": "user", "content": "hi " * 100}])
    assert 0 < few < many
    assert model.requests == []


async def test_models(client: Client) -> None:
    assert await client.models() == ["fake-model"]


# --- requests


async def test_blocks_become_the_conversation(client: Client, model: FakeModel) -> None:
    model.will_respond_with_text("ok")
    await client.create(
        system=[{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "what"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                    {"type": "text", "text": "Wait."},
                    {"type": "tool_use", "id": "t-1", "name": "look", "input": {"at": "a"}},
                    {"type": "tool_use", "id": "t-2", "name": "look", "input": {}},
                ],
            },
            # One user's turn in two messages, as Digitorn 1.0.3 sends results.
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "t-1", "content": "nothing"}],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t-2", "is_error": True},
                    {"type": "text", "text": "go on"},
                ],
            },
        ],
        tools=[TOOL],
        extra_body={"temperature": 0.5},
    )
    asked = model.requests[0]
    assert asked.system_prompt == "Be brief.\n\nBe kind."
    assert [(one.role, one.content, len(one.tool_calls), one.tool_call_id) for one in asked.messages] == [
        ("user", "what", 0, None),
        ("assistant", "Wait.", 2, None),
        ("tool", "nothing", 0, "t-1"),
        ("tool", "", 0, "t-2"),
        ("user", "go on", 0, None),
    ]
    settings = asked.model_settings
    assert (settings.model, settings.temperature, settings.max_tokens) == ("claude-x", 0.5, 100)


# --- failures

ERRORS: list[tuple[FailureCode, int | None, type[anthropic.APIStatusError], int, str]] = [
    ("auth_error", None, anthropic.AuthenticationError, 401, "authentication_error"),
    ("insufficient_balance", None, anthropic.APIStatusError, 402, "billing_error"),
    ("permission_denied", 403, anthropic.PermissionDeniedError, 403, "permission_error"),
    ("model_not_provided_by_digitorn", None, anthropic.NotFoundError, 404, "not_found_error"),
    ("context_overflow", None, anthropic.BadRequestError, 400, "invalid_request_error"),
    ("context_overflow", 413, anthropic.APIStatusError, 413, "request_too_large"),
    ("rate_limited", None, anthropic.RateLimitError, 429, "rate_limit_error"),
    ("provider_error", None, anthropic.InternalServerError, 500, "api_error"),
    ("provider_error", 529, anthropic.InternalServerError, 529, "overloaded_error"),
]


@pytest.mark.parametrize(("code", "status", "expected", "found", "family"), ERRORS)
async def test_errors(
    client: Client,
    model: FakeModel,
    code: FailureCode,
    status: int | None,
    expected: type[anthropic.APIStatusError],
    found: int,
    family: str,
) -> None:
    model.will_fail(code, "it broke", status=status)
    with pytest.raises(expected, match="it broke") as caught:
        await client.create()
    assert caught.value.status_code == found
    assert caught.value.body == {"type": "error", "error": {"type": family, "message": "it broke"}}
    assert (caught.value.request_id or "").startswith("req_")
    assert caught.value.response.headers.get("retry-after") == ("1" if code == "rate_limited" else None)


async def test_a_stream_that_fails_in_its_middle_says_so(client: Client, model: FakeModel) -> None:
    model.will_fail("provider_error", "overloaded", after=["Hel", "lo"], status=529)
    with pytest.raises(anthropic.APIStatusError, match="overloaded_error"):
        await client.final()


async def test_a_connection_that_drops(client: Client, model: FakeModel) -> None:
    model.will_fail("network_error").will_respond_with_text("back")
    with pytest.raises(anthropic.APIConnectionError):
        await client.create()
    assert (await client.create()).stop_reason == "end_turn"


async def test_an_unscripted_request_is_refused_once(server: FakeModelServer, model: FakeModel) -> None:
    http = anthropic.DefaultAsyncHttpxClient(verify=False)
    async with anthropic.AsyncAnthropic(base_url=server.url, api_key="k", http_client=http) as client:
        with pytest.raises(anthropic.BadRequestError, match=r"'hi'.*over HTTP"):
            await client.messages.create(**USUAL)
    assert model.request_count == 1


@pytest.mark.parametrize("header", ["x-api-key", "authorization"])
def test_a_key_is_asked_for_if_there_is_one(model: FakeModel, header: str) -> None:
    model.will_respond_with_text("ok")
    with FakeModelServer(model, api_key="sk-secret") as server:
        scheme = "Bearer " if header == "authorization" else ""
        for key, status in (("sk-wrong", 401), ("sk-secret", 200)):
            headers = {header: f"{scheme}{key}"}
            answer = HTTP.post(f"{server.url}/v1/messages", json=USUAL, headers=headers)
            assert answer.status_code == status
            assert "sk-" not in answer.text
        (sent,) = server.requests
        assert (sent.path, sent.body, sent.headers[header]) == ("/v1/messages", USUAL, "***")
        assert "sk-secret" not in repr(sent)


USE: dict[str, Any] = {"type": "tool_use", "id": "t-1", "name": "look", "input": {}}
USES = {"role": "assistant", "content": [USE]}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t-1", "content": "x"}]}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"model": None}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"temperature": 3}, "temperature"),
        ({"messages": [USES]}, "without `tool_result` blocks immediately after: t-1"),
        ({"messages": [USES, {"role": "user", "content": "x"}]}, "without `tool_result`"),
        ({"messages": [RESULT]}, "unexpected `tool_use_id` found in `tool_result` blocks: t-1"),
    ],
)
def test_a_malformed_request_is_refused(
    server: FakeModelServer, model: FakeModel, changed: dict[str, Any], said: str
) -> None:
    refused = HTTP.post(f"{server.url}/v1/messages", json={**USUAL, **changed})
    assert refused.status_code == 400
    assert refused.json()["type"] == "error"
    assert refused.json()["error"]["type"] == "invalid_request_error"
    assert said in refused.json()["error"]["message"]
    assert model.requests == []


def test_a_client_of_anthropic_reads_every_refusal(server: FakeModelServer) -> None:
    headers = {"anthropic-version": "2023-06-01"}
    refused = HTTP.get(f"{server.url}/v1/files", headers=headers)
    assert (refused.status_code, refused.json()["error"]["type"]) == (404, "not_found_error")
