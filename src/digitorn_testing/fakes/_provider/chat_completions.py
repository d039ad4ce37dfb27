"""OpenAI's chat completions."""

import itertools
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Literal

from pydantic import Field, JsonValue, field_validator

from digitorn_testing.fakes._model.requests import ModelMessage, ModelRequest
from digitorn_testing.fakes._model.script import Reply

from .core import (
    Answer,
    Asked,
    Block,
    Event,
    JsonObject,
    Part,
    Question,
    Refused,
    Shape,
    as_parts,
    call_of,
    invalid,
    missing,
    model_request,
    said,
    text_of,
    validated,
)

# --- requests


class _FunctionCall(Shape):
    name: str
    arguments: str


class _ToolCall(Shape):
    id: str
    function: _FunctionCall
    type: Literal["function"] = "function"


class _Message(Shape):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: list[Part] | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None

    _as_parts = field_validator("content", mode="before")(as_parts)


class _Function(Shape):
    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Tool(Shape):
    type: Literal["function"]
    function: _Function


class _StreamOptions(Shape):
    include_usage: bool | None = None


class _Request(Question):
    messages: list[_Message] = Field(min_length=1)
    tools: list[_Tool] | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    n: int | None = Field(default=None, ge=1, le=1)


class ChatCompletions:
    """Reads requests of chat completions, and writes their answers."""

    def read(self, body: JsonValue) -> Asked:
        """Reads a request, checked as OpenAI checks it.

        Raises:
            Refused: It is malformed.
        """
        request = validated(_Request, body)
        if request.stream_options is not None and not request.stream:
            raise invalid(
                "The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options"
            )
        _check_messages(request.messages)
        functions = [one.function for one in request.tools or ()]
        asked = model_request(
            request,
            (text_of(one.content) for one in request.messages if one.role in ("system", "developer")),
            _messages(request.messages),
            ((one.name, one.description, one.parameters) for one in functions),
            request.max_completion_tokens or request.max_tokens,
        )
        return Asked(asked, bool(request.stream), partial(_Completion, request, asked))

    def error(self, refusal: Refused) -> JsonObject:
        """The body of a failed request."""
        return openai_error(refusal)


def openai_error(refusal: Refused) -> JsonObject:
    """The body of a request to OpenAI that failed."""
    return {
        "error": {
            "message": refusal.message,
            "type": refusal.type,
            "param": refusal.param,
            "code": refusal.code,
        }
    }


def _messages(messages: list[_Message]) -> Iterator[ModelMessage]:
    for place, message in enumerate(messages):
        parts = message.content or ()
        match message.role:
            case "tool":
                yield said("tool", parts, call_id=message.tool_call_id)
            case "user":
                told = itertools.takewhile(lambda one: one.role == "system", messages[place + 1 :])
                yield said("user", parts, directives=tuple(text_of(one.content) for one in told))
            case "assistant":
                calls = tuple(
                    call_of(
                        one.id,
                        one.function.name,
                        one.function.arguments,
                        f"messages[{place}].tool_calls[{at}].function.arguments",
                    )
                    for at, one in enumerate(message.tool_calls or ())
                )
                yield said("assistant", parts, calls)
            case _:
                continue


def _check_messages(messages: list[_Message]) -> None:
    """Refuses what is missing, calls without a result right behind them, and results without a call."""
    waiting: dict[str, None] = {}
    for place, message in enumerate(messages):
        if message.role == "tool":
            _check_result(place, message, waiting)
            continue
        _check_answered(waiting)
        if message.content is None and not message.tool_calls:
            raise missing(f"messages[{place}].content")
        if message.role == "assistant":
            waiting = dict.fromkeys(call.id for call in message.tool_calls or ())
    _check_answered(waiting)


def _check_result(place: int, message: _Message, waiting: dict[str, None]) -> None:
    if message.content is None:
        raise missing(f"messages[{place}].content")
    if message.tool_call_id is None:
        raise missing(f"messages[{place}].tool_call_id")
    if message.tool_call_id not in waiting:
        raise invalid(
            "Invalid parameter: messages with role 'tool' must be a response to a preceding message with "
            "'tool_calls'.",
            f"messages[{place}].role",
        )
    del waiting[message.tool_call_id]


def _check_answered(waiting: Mapping[str, None]) -> None:
    if waiting:
        raise invalid(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            "'tool_call_id'. The following tool_call_ids did not have response messages: "
            + ", ".join(waiting),
            "messages",
        )


# --- answers


class _Completion(Answer):
    """An answer. Reasoning is not OpenAI's own: `reasoning_content` is what compatible servers call it."""

    ends_with_done = True

    def __init__(self, request: _Request, asked: ModelRequest, reply: Reply) -> None:
        super().__init__(asked, reply)
        self._request = request
        options = request.stream_options
        self._tells_usage = options is not None and options.include_usage is True
        self._calls = 0

    def message(self, blocks: list[Block]) -> JsonObject:
        message: JsonObject = {"role": "assistant", "content": None}
        calls: list[JsonValue] = []
        for block in blocks:
            if block.kind == "call":
                calls.append(_call(block, block.text))
            else:
                name = "content" if block.kind == "text" else "reasoning_content"
                message[name] = f"{message.get(name) or ''}{block.text}"
        if calls:
            message["tool_calls"] = calls
        answer = self._object("chat.completion", {"message": message}, self._finish_reason)
        return {**answer, "usage": self._usage()}

    def begin(self) -> Iterator[Event]:
        yield self._chunk({"role": "assistant", "content": ""})

    def opened(self, block: Block) -> Iterator[Event]:
        if block.kind == "call":
            self._calls += 1
            yield self._chunk({"tool_calls": [{"index": self._calls - 1, **_call(block, "")}]})

    def added(self, block: Block, piece: str) -> Event:
        match block.kind:
            case "thinking":
                return self._chunk({"reasoning_content": piece})
            case "text":
                return self._chunk({"content": piece})
            case "call":
                arguments: JsonObject = {"index": self._calls - 1, "function": {"arguments": piece}}
                return self._chunk({"tool_calls": [arguments]})

    def closed(self, block: Block) -> tuple[Event, ...]:
        return ()

    def end(self, blocks: list[Block]) -> Iterator[Event]:
        yield self._chunk({}, self._finish_reason)
        if self._tells_usage:
            yield Event("", {**self._chunk({}).data, "choices": [], "usage": self._usage()})

    def failed(self, refusal: Refused) -> Event:
        return Event("", openai_error(refusal))

    @property
    def _finish_reason(self) -> str:
        return "tool_calls" if self.reply.calls else "stop"

    def _chunk(self, delta: JsonObject, finish_reason: str | None = None) -> Event:
        chunk = self._object("chat.completion.chunk", {"delta": delta}, finish_reason)
        return Event("", chunk | {"usage": None} if self._tells_usage else chunk)

    def _object(self, kind: str, choice: JsonObject, finish_reason: str | None) -> JsonObject:
        return {
            "id": f"chatcmpl-{self.key}",
            "object": kind,
            "created": self.created,
            "model": self._request.model,
            "choices": [{"index": 0, **choice, "finish_reason": finish_reason, "logprobs": None}],
        }

    def _usage(self) -> JsonObject:
        read, written = self.usage.input_tokens, self.usage.output_tokens
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _call(block: Block, arguments: str) -> JsonObject:
    return {
        "id": f"call_{block.key}",
        "type": "function",
        "function": {"name": block.name, "arguments": arguments},
    }
