"""Chat completions: requests of OpenAI's form become model requests, scripted answers take OpenAI's form."""

import asyncio
import itertools
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from digitorn_testing._apps.language import ModelSettings
from digitorn_testing._apps.tools import ToolDefinition
from digitorn_testing._events.failures import FAILURES, FailureCode
from digitorn_testing.fakes._model.requests import ModelMessage, ModelRequest, ModelToolCall
from digitorn_testing.fakes._model.script import Failure, Reply
from digitorn_testing.fakes._store.context import usage_of

from .openai_wire import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    ChatMessage,
    ErrorBody,
    FinishReason,
    MessageToolCall,
    WireMessage,
    WireToolCall,
    WireUsage,
    error_body,
)

_INVALID: Final = "invalid_request_error"
_ARGUMENT_PIECE: Final = 16
"""Characters of the arguments of a call in one chunk."""


class Refused(Exception):
    """A request is answered with an error.

    Attributes:
        status: HTTP status.
        body: The error.
        headers: Further headers.
    """

    def __init__(self, status: int, body: ErrorBody, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(body["error"]["message"])
        self.status = status
        self.body = body
        self.headers = headers or {}


def invalid(message: str, param: str | None = None, code: str | None = None, status: int = 400) -> Refused:
    """The refusal of a request that is wrong in itself."""
    return Refused(status, error_body(message, _INVALID, param=param, code=code))


# --- failures


@dataclass(frozen=True, slots=True)
class _HttpFailure:
    status: int
    type: str
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None


_SERVER_ERROR: Final = _HttpFailure(500, "server_error")

# Digitorn 1.0.3 classifies a failure by words in the text of the exception, which has the status and the body
# (contract: events, section 7). These come out as the code that the script names, but for the credentials',
# which only the daemon itself can miss: they come out as `auth_error`.
_FAILURES: Final[Mapping[FailureCode, _HttpFailure]] = {
    "auth_error": _HttpFailure(401, _INVALID, "invalid_api_key"),
    "credential_auth_required": _HttpFailure(401, _INVALID, "invalid_api_key"),
    "credential_required": _HttpFailure(401, _INVALID),
    # OpenAI says 429, which the daemon takes for a rate limit and retries for minutes.
    "insufficient_balance": _HttpFailure(402, "insufficient_quota", "insufficient_quota"),
    "rate_limited": _HttpFailure(429, "requests", "rate_limit_exceeded", retry_after=1.0),
    "context_overflow": _HttpFailure(400, _INVALID, "context_length_exceeded", "messages"),
    "model_not_provided_by_digitorn": _HttpFailure(404, _INVALID, "model_not_provided_by_digitorn"),
    # A 403 would be an `auth_error`.
    "permission_denied": _HttpFailure(400, _INVALID, "permission_denied"),
    "session_busy": _HttpFailure(400, _INVALID, "session lock"),
    "agent_loop_killed": _HttpFailure(400, _INVALID, "loop_guard_hard_kill"),
    "internal_error": _HttpFailure(400, _INVALID),
}


def status_of(failure: Failure) -> int | None:
    """The HTTP status of a failure; None if it breaks the connection instead."""
    if failure.code == "network_error":
        return failure.status
    return failure.status or _FAILURES.get(failure.code, _SERVER_ERROR).status


def refused_by(failure: Failure) -> Refused:
    """A scripted failure as a provider reports it."""
    known = _FAILURES.get(failure.code, _SERVER_ERROR)
    body = error_body(
        failure.message or FAILURES[failure.code].message, known.type, param=known.param, code=known.code
    )
    retry_after = known.retry_after if failure.retry_after is None else failure.retry_after
    headers = {} if retry_after is None else {"retry-after": f"{retry_after:g}"}
    return Refused(status_of(failure) or known.status, body, headers)


# --- requests

_TITLE_TOKENS: Final = 32
_TITLE_PROMPT: Final = "You are a title generator"


def asks_for_title(request: ChatCompletionRequest, asked: ModelRequest) -> bool:
    """Whether a request is the daemon's own: after a session's first answer it asks for a title.

    Args:
        request: The request as it came.
        asked: What the model is asked.
    """
    return (
        not request.stream
        and not asked.tools
        and asked.model_settings.max_tokens == _TITLE_TOKENS
        and asked.system_prompt.startswith(_TITLE_PROMPT)
    )


def read_request(body: bytes) -> ChatCompletionRequest:
    """A request, checked as OpenAI checks it.

    Args:
        body: Body of the request.

    Raises:
        Refused: It is malformed.
    """
    try:
        request = ChatCompletionRequest.model_validate_json(body)
    except ValidationError as error:
        raise _malformed(error.errors(include_url=False)[0]) from error
    if request.stream_options is not None and not request.stream:
        raise invalid(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options"
        )
    _check_messages(request.messages)
    return request


def model_request(request: ChatCompletionRequest) -> ModelRequest:
    """What the model is asked by a request.

    Args:
        request: The request.

    Raises:
        Refused: The arguments of a call are no JSON object.
    """
    instructions = [one.text for one in request.messages if one.role in ("system", "developer")]
    return ModelRequest(
        system_prompt="\n\n".join(instructions),
        messages=tuple(_messages(request.messages)),
        tools=tuple(
            ToolDefinition(one.function.name, one.function.description or "", one.function.parameters or {})
            for one in request.tools or ()
        ),
        app_id="",
        session_id="",
        model_settings=ModelSettings(
            model=request.model,
            temperature=request.temperature,
            max_tokens=request.max_completion_tokens or request.max_tokens,
        ),
    )


def _messages(messages: list[ChatMessage]) -> Iterator[ModelMessage]:
    for place, message in enumerate(messages):
        match message.role:
            case "system" | "developer":
                continue
            case "tool":
                yield ModelMessage("tool", message.text, tool_call_id=message.tool_call_id)
            case "user":
                told = itertools.takewhile(lambda one: one.role == "system", messages[place + 1 :])
                yield ModelMessage("user", message.text, directives=tuple(one.text for one in told))
            case "assistant":
                calls = tuple(
                    _call(one, f"messages[{place}].tool_calls[{at}]")
                    for at, one in enumerate(message.tool_calls or ())
                )
                yield ModelMessage("assistant", message.text, calls)


def _call(call: MessageToolCall, place: str) -> ModelToolCall:
    param = f"{place}.function.arguments"
    try:
        params: object = json.loads(call.function.arguments or "{}")
    except json.JSONDecodeError as error:
        raise invalid(f"Invalid '{param}': not JSON: {error}", param, "invalid_value") from error
    if not isinstance(params, dict):
        raise invalid(f"Invalid '{param}': expected a JSON object.", param, "invalid_value")
    return ModelToolCall(call.id, call.function.name, cast("dict[str, Any]", params))


def _check_messages(messages: list[ChatMessage]) -> None:
    """Refuses what is missing, calls without a result right behind them, and results without a call."""
    waiting: dict[str, None] = {}
    for place, message in enumerate(messages):
        if message.role == "tool":
            _check_result(place, message, waiting)
            continue
        _check_answered(waiting)
        if message.content is None and not message.tool_calls:
            raise _missing(f"messages[{place}].content")
        if message.role == "assistant":
            waiting = dict.fromkeys(call.id for call in message.tool_calls or ())
    _check_answered(waiting)


def _check_result(place: int, message: ChatMessage, waiting: dict[str, None]) -> None:
    if message.content is None:
        raise _missing(f"messages[{place}].content")
    if message.tool_call_id is None:
        raise _missing(f"messages[{place}].tool_call_id")
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


def _malformed(fault: ErrorDetails) -> Refused:
    kind, said, param = fault["type"], fault["msg"], _place(fault["loc"])
    if kind == "json_invalid":
        return invalid(f"We could not parse the JSON body of your request: {said}.")
    if kind == "missing":
        return _missing(param)
    if kind == "too_short":
        return invalid(f"Invalid '{param}': empty array. {said}.", param, "empty_array")
    code = "invalid_type" if kind.endswith("_type") else "invalid_value"
    what = f"Invalid type for '{param}'" if code == "invalid_type" else f"Invalid '{param}'"
    return invalid(f"{what}: {said}.", param or None, code)


def _missing(param: str) -> Refused:
    return invalid(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


def _place(location: tuple[int | str, ...]) -> str:
    """A place in a request, such as `messages[0].role`."""
    return "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in location).lstrip(".")


# --- answers


@dataclass(frozen=True, slots=True)
class Completion:
    """A reply to one request, in OpenAI's form.

    Attributes:
        request: The request as it came.
        asked: What the model was asked.
        reply: The reply.
    """

    request: ChatCompletionRequest
    asked: ModelRequest
    reply: Reply
    _id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex[:24]}")
    _created: int = field(default_factory=lambda: int(time.time()))

    @property
    def streaming_time(self) -> float:
        """Seconds that the reply takes."""
        return self.reply.delay * max(0, len(self.reply.chunks) - 1)

    def whole(self) -> ChatCompletion:
        """The answer in one piece."""
        reply = self.reply
        message: WireMessage = {"role": "assistant", "content": reply.text if reply.chunks else None}
        if reply.thinking:
            message["reasoning_content"] = reply.thinking
        if reply.calls:
            message["tool_calls"] = self._calls()
        return {
            "id": self._id,
            "object": "chat.completion",
            "created": self._created,
            "model": self.request.model,
            "choices": [
                {"index": 0, "message": message, "finish_reason": self._finish_reason, "logprobs": None}
            ],
            "usage": self._usage(),
        }

    async def chunks(self) -> AsyncIterator[ChatCompletionChunk]:
        """The answer in pieces, with its pauses."""
        async for chunk in self.text_chunks():
            yield chunk
        for place, call in enumerate(self._calls()):
            for piece in _call_pieces(place, call):
                yield self._chunk({"tool_calls": [piece]})
        yield self._chunk({}, self._finish_reason)
        if self._tells_usage:
            last = self._chunk({})
            yield {**last, "choices": [], "usage": self._usage()}

    async def text_chunks(self) -> AsyncIterator[ChatCompletionChunk]:
        """The beginning of the answer: reasoning and text."""
        yield self._chunk({"role": "assistant", "content": ""})
        for line in (self.reply.thinking or "").splitlines(keepends=True):
            yield self._chunk({"reasoning_content": line})
        for place, piece in enumerate(self.reply.pieces):
            if place and self.reply.delay:
                await asyncio.sleep(self.reply.delay)
            yield self._chunk({"content": piece})

    @property
    def _tells_usage(self) -> bool:
        options = self.request.stream_options
        return options is not None and options.include_usage is True

    @property
    def _finish_reason(self) -> FinishReason:
        return "tool_calls" if self.reply.calls else "stop"

    def _chunk(self, delta: WireMessage, finish_reason: FinishReason | None = None) -> ChatCompletionChunk:
        chunk: ChatCompletionChunk = {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self.request.model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}],
        }
        if self._tells_usage:
            chunk["usage"] = None
        return chunk

    def _usage(self) -> WireUsage:
        usage = usage_of(self.asked, self.reply)
        return {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
        }

    def _calls(self) -> list[WireToolCall]:
        return [
            {
                "id": f"call_{uuid.uuid4().hex[:24]}",
                "type": "function",
                "function": {"name": one.name, "arguments": json.dumps(dict(one.params))},
            }
            for one in self.reply.calls
        ]


def _call_pieces(place: int, call: WireToolCall) -> Iterator[WireToolCall]:
    """A call as it is streamed: what it is first, then its arguments piece by piece."""
    arguments = call["function"]["arguments"]
    yield {**call, "index": place, "function": {**call["function"], "arguments": ""}}
    for start in range(0, len(arguments), _ARGUMENT_PIECE):
        yield {"index": place, "function": {"arguments": arguments[start : start + _ARGUMENT_PIECE]}}
