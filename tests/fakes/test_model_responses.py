"""Responses of the model server, asked by OpenAI's own client in both its forms."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Protocol, cast

import httpx
import openai
import pytest
from openai.types.responses import (
    Response,
    ResponseFailedEvent,
    ResponseFunctionToolCall,
    ResponseReasoningItem,
    ResponseStreamEvent,
)

from digitorn_testing.fakes import FakeModel, FakeModelServer, ModelMessage, ScriptedToolCall, Usage

SECONDS = 15.0
TOOL: dict[str, Any] = {
    "type": "function",
    "name": "look",
    "description": "Looks.",
    "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
}


class Client(Protocol):
    """What both forms of the client are asked for here."""

    async def create(self, **options: Any) -> Response: ...
    async def events(self, **options: Any) -> list[ResponseStreamEvent]: ...
    async def final(self, **options: Any) -> Response: ...


def request(options: Mapping[str, Any]) -> dict[str, Any]:
    return {"model": "gpt-x", "input": "hi", **options}


class Blocking:
    """The client that blocks, on a thread."""

    def __init__(self, **settings: Any) -> None:
        self.client = openai.OpenAI(http_client=openai.DefaultHttpxClient(verify=False), **settings)
        # Typed options cannot be passed on.
        self._responses: Any = self.client.responses

    async def create(self, **options: Any) -> Response:
        return cast("Response", await asyncio.to_thread(self._responses.create, **request(options)))

    async def events(self, **options: Any) -> list[ResponseStreamEvent]:
        return await asyncio.to_thread(lambda: list(self._responses.create(stream=True, **request(options))))

    async def final(self, **options: Any) -> Response:
        def run() -> Response:
            with self._responses.stream(**request(options)) as stream:
                return cast("Response", stream.get_final_response())

        return await asyncio.to_thread(run)

    async def close(self) -> None:
        self.client.close()


class Asynchronous:
    """The asynchronous client."""

    def __init__(self, **settings: Any) -> None:
        self.client = openai.AsyncOpenAI(http_client=openai.DefaultAsyncHttpxClient(verify=False), **settings)
        self._responses: Any = self.client.responses

    async def create(self, **options: Any) -> Response:
        return cast("Response", await self._responses.create(**request(options)))

    async def events(self, **options: Any) -> list[ResponseStreamEvent]:
        stream = await self._responses.create(stream=True, **request(options))
        return [one async for one in stream]

    async def final(self, **options: Any) -> Response:
        async with self._responses.stream(**request(options)) as stream:
            return cast("Response", await stream.get_final_response())

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
    one = kind(base_url=server.base_url, api_key=server.api_key, max_retries=0, timeout=SECONDS)
    yield one
    await one.close()


# --- answers


async def test_text(client: Client, model: FakeModel) -> None:
    model.will_respond_with_text("Hello.", usage=Usage(7, 3))
    answer = await client.create(instructions="Be brief.", temperature=0.5, metadata={"a": "b"})
    assert (answer.output_text, answer.status, answer.model, answer.object) == (
        "Hello.",
        "completed",
        "gpt-x",
        "response",
    )
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (7, 3, 10)
    assert (answer.instructions, answer.temperature, answer.metadata) == ("Be brief.", 0.5, {"a": "b"})
    assert model.requests[0].system_prompt == "Be brief."


async def test_a_stream_has_the_events_of_openai(client: Client, model: FakeModel) -> None:
    model.will_stream_text(["Hel", "lo"], thinking="Hm.\nWell.", usage=Usage(7, 3))
    found = await client.events()
    assert [one.type for one in found] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [one.sequence_number for one in found] == list(range(len(found)))
    assert [one.delta for one in found if one.type == "response.output_text.delta"] == ["Hel", "lo"]
    (last,) = [one.response for one in found if one.type == "response.completed"]
    assert last.output_text == "Hello"
    assert last.usage is not None
    assert last.usage.total_tokens == 10


@pytest.mark.parametrize("way", ["create", "final"])
async def test_reasoning_text_and_calls(client: Client, model: FakeModel, way: str) -> None:
    calls = [ScriptedToolCall("look", {"at": "x" * 50}), ScriptedToolCall("look")]
    model.will_call_tools(calls, text="Looking.", thinking="Where?")
    answer: Response = await getattr(client, way)(tools=[TOOL])
    thought, said, first, second = answer.output
    assert isinstance(thought, ResponseReasoningItem)
    assert [one.text for one in thought.summary] == ["Where?"]
    assert (said.type, answer.output_text) == ("message", "Looking.")
    assert isinstance(first, ResponseFunctionToolCall)
    assert isinstance(second, ResponseFunctionToolCall)
    assert (first.name, first.arguments, first.status) == ("look", f'{{"at": "{"x" * 50}"}}', "completed")
    assert second.arguments == "{}"
    assert first.call_id.startswith("call_")
    assert first.call_id != second.call_id


async def test_a_stream_arrives_as_it_is_written(server: FakeModelServer, model: FakeModel) -> None:
    model.will_stream_text(["one", "two"], delay=30.0)
    http = openai.DefaultAsyncHttpxClient(verify=False)
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key="k", http_client=http) as client:
        async with asyncio.timeout(SECONDS), client.responses.stream(model="m", input="hi") as stream:
            async for event in stream:
                if event.type == "response.output_text.delta":
                    assert event.delta == "one"
                    break


# --- requests


async def test_items_become_the_conversation(client: Client, model: FakeModel) -> None:
    model.will_respond_with_text("ok")
    await client.create(
        input=[
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "content": [{"type": "input_text", "text": "what"}]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"role": "assistant", "content": "Wait."},
            {"type": "function_call", "call_id": "c-1", "name": "look", "arguments": '{"at": "a"}'},
            {"type": "function_call", "call_id": "c-2", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c-1", "output": "nothing"},
            {
                "type": "function_call_output",
                "call_id": "c-2",
                "output": [{"type": "input_text", "text": "no"}],
            },
        ],
        instructions="Be brief.",
        tools=[TOOL, {"type": "web_search"}],
        max_output_tokens=100,
    )
    asked = model.requests[0]
    assert asked.system_prompt == "Be brief.\n\nBe kind."
    assert [(one.role, one.content, len(one.tool_calls), one.tool_call_id) for one in asked.messages] == [
        ("user", "what", 0, None),
        ("assistant", "Wait.", 2, None),
        ("tool", "nothing", 0, "c-1"),
        ("tool", "no", 0, "c-2"),
    ]
    assert [(one.name, one.description) for one in asked.tools] == [("look", "Looks.")]
    assert asked.model_settings.max_tokens == 100


@pytest.mark.parametrize("way", ["create", "final"])
async def test_a_response_continues_an_earlier_one(client: Client, model: FakeModel, way: str) -> None:
    model.will_call_tool("look", {"at": "a"}, text="Looking.").will_respond_with_text("Rain.")
    first: Response = await getattr(client, way)(input="weather?", instructions="Only now.", tools=[TOOL])
    (call,) = [one for one in first.output if isinstance(one, ResponseFunctionToolCall)]
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "wet"}
    second = await client.create(input=[output], previous_response_id=first.id)
    assert second.previous_response_id == first.id
    asked = model.requests[1]
    assert [one.role for one in asked.messages] == ["user", "assistant", "tool"]
    assert asked.messages[1].content == "Looking."
    assert asked.tool_results_of("look") == ("wet",)
    # Instructions are those of the request alone.
    assert asked.system_prompt == ""
    model.will_respond_with_text("Still.")
    await client.create(input="And now?", previous_response_id=second.id)
    assert [one.content for one in model.requests[2].messages][-2:] == ["Rain.", "And now?"]


async def test_a_response_that_is_not_kept_cannot_be_continued(client: Client, model: FakeModel) -> None:
    model.will_respond_with_text("ok")
    first = await client.create(store=False)
    with pytest.raises(openai.BadRequestError, match="not found") as caught:
        await client.create(previous_response_id=first.id)
    assert (caught.value.code, caught.value.param) == ("previous_response_not_found", "previous_response_id")


# --- failures


async def test_errors(client: Client, model: FakeModel) -> None:
    model.will_fail("rate_limited", "slow down", retry_after=2).will_fail("provider_error", status=503)
    with pytest.raises(openai.RateLimitError, match="slow down") as caught:
        await client.create()
    assert caught.value.response.headers["retry-after"] == "2"
    with pytest.raises(openai.InternalServerError):
        await client.events()
    with pytest.raises(openai.BadRequestError, match="over HTTP") as unscripted:
        await client.create()
    assert unscripted.value.code == "unscripted_request"


async def test_a_stream_that_fails_in_its_middle_says_so(client: Client, model: FakeModel) -> None:
    model.will_fail("provider_error", "overloaded", after=["Hel", "lo"])
    found = await client.events()
    assert "".join(one.delta for one in found if one.type == "response.output_text.delta") == "Hello"
    last = found[-1]
    assert isinstance(last, ResponseFailedEvent)
    assert (last.response.status, last.response.error and last.response.error.message) == (
        "failed",
        "overloaded",
    )


async def test_a_connection_that_drops(client: Client, model: FakeModel) -> None:
    model.will_fail("network_error", after=["Hel"]).will_respond_with_text("back")
    with pytest.raises(openai.APIConnectionError):
        await client.events()
    assert (await client.create()).output_text == "back"


CALL = {"type": "function_call", "call_id": "c-1", "name": "look", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "c-1", "output": "x"}


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({"input": "hi"}, "model", "Missing required"),
        ({"model": "m"}, "input", "Missing required"),
        ({"model": "m", "input": []}, "input", "empty array"),
        ({"model": "m", "input": [{"role": "user"}]}, "input[0].content", "Missing required"),
        ({"model": "m", "input": [{"content": "x"}]}, "input[0].role", "Missing required"),
        ({"model": "m", "input": [{"type": "web_search_call"}]}, "input[0].type", "knows no item"),
        ({"model": "m", "input": [{**CALL, "name": None}]}, "input[0].name", "Missing required"),
        ({"model": "m", "input": [CALL]}, "input", "No tool output found for function call c-1"),
        ({"model": "m", "input": [RESULT]}, "input", "No tool call found"),
        ({"model": "m", "input": [{**CALL, "arguments": "{"}, RESULT]}, "input[0].arguments", "not JSON"),
        ({"model": "m", "input": "hi", "background": True}, "background", "does not support"),
        ({"model": "m", "input": "hi", "conversation": "c"}, "conversation", "does not support"),
        (
            {
                "model": "m",
                "input": [
                    {
                        "role": "user",
                        "content": [{"type": "input_image", "image_url": "data:image/png;base64,?"}],
                    }
                ],
            },
            None,
            "Invalid base64",
        ),
    ],
)
async def test_a_malformed_request_is_refused(
    server: FakeModelServer, model: FakeModel, body: object, param: str | None, said: str
) -> None:
    async with httpx.AsyncClient(timeout=SECONDS) as client:
        refused = await client.post(f"{server.base_url}/responses", json=body)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == param
    assert said in refused.json()["error"]["message"]
    assert (model.requests, server.requests) == ([], [])


async def test_what_a_daemon_sends_back_of_the_assistant_is_read(
    server: FakeModelServer, model: FakeModel
) -> None:
    """Digitorn 1.0.3 sends what the assistant said as `input_text`."""
    model.will_respond_with_text("ok")
    items = [
        {"role": role, "content": [{"type": "input_text", "text": role}]} for role in ("user", "assistant")
    ]
    async with httpx.AsyncClient(timeout=SECONDS) as client:
        body = {"model": "m", "input": [*items, items[0]]}
        (await client.post(f"{server.base_url}/responses", json=body)).raise_for_status()
    assert model.requests[0].messages == (
        ModelMessage("user", "user"),
        ModelMessage("assistant", "assistant"),
        ModelMessage("user", "user"),
    )
