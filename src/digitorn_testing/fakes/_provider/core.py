"""What the wires have in common: how a request is read, the blocks of an answer, and why a request fails.

A wire is one provider's interface. It reads its requests into a `ModelRequest`, and writes a `Reply` as a
whole or as the events of a stream. It decides neither what is answered nor when.
"""

import asyncio
import base64
import json
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal, NamedTuple, Protocol, TypeAlias, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from pydantic_core import ErrorDetails

from digitorn_testing._apps.language import ModelSettings
from digitorn_testing._apps.tools import ToolDefinition
from digitorn_testing._events.failures import FAILURES, FailureCode
from digitorn_testing.fakes._model.requests import ModelAttachment, ModelMessage, ModelRequest, ModelToolCall
from digitorn_testing.fakes._model.script import Failure, Reply, Usage
from digitorn_testing.fakes._store.context import usage_of

JsonObject: TypeAlias = dict[str, JsonValue]

_ARGUMENT_PIECE: Final = 16
"""Characters of the arguments of a call in one piece of a stream."""


# --- refusals


class Refused(Exception):
    """A request is answered with an error, which each wire words in its own form.

    Attributes:
        status: HTTP status.
        message: Text for people.
        type: Family of the error, as OpenAI names it; Anthropic's follows from the status.
        param: Place in the request that it is about.
        code: What clients of OpenAI switch on.
        headers: Further headers.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.param = param
        self.code = code
        self.headers = headers or {}


def invalid(message: str, param: str | None = None, code: str | None = None) -> Refused:
    """The refusal of a request that is wrong in itself."""
    return Refused(400, message, param=param, code=code)


@dataclass(frozen=True, slots=True)
class _HttpFailure:
    status: int
    type: str = "invalid_request_error"
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None


_SERVER_ERROR: Final = _HttpFailure(500, "server_error")

# Digitorn 1.0.3 classifies a failure by words in the text of the exception, which has the status and the body
# (contract: events, section 7). These come out as the code that the script names, but for the credentials',
# which only the daemon itself can miss: they come out as `auth_error`.
_FAILURES: Final[Mapping[FailureCode, _HttpFailure]] = {
    "auth_error": _HttpFailure(401, code="invalid_api_key"),
    "credential_auth_required": _HttpFailure(401, code="invalid_api_key"),
    "credential_required": _HttpFailure(401),
    # OpenAI says 429, which the daemon takes for a rate limit and retries for minutes.
    "insufficient_balance": _HttpFailure(402, "insufficient_quota", "insufficient_quota"),
    "rate_limited": _HttpFailure(429, "requests", "rate_limit_exceeded", retry_after=1.0),
    "context_overflow": _HttpFailure(400, code="context_length_exceeded", param="messages"),
    "model_not_provided_by_digitorn": _HttpFailure(404, code="model_not_provided_by_digitorn"),
    # A 403 would be an `auth_error`.
    "permission_denied": _HttpFailure(400, code="permission_denied"),
    "session_busy": _HttpFailure(400, code="session lock"),
    "agent_loop_killed": _HttpFailure(400, code="loop_guard_hard_kill"),
    "internal_error": _HttpFailure(400),
}


def status_of(failure: Failure) -> int | None:
    """The HTTP status of a failure; None if it breaks the connection instead."""
    if failure.code == "network_error":
        return failure.status
    return failure.status or _FAILURES.get(failure.code, _SERVER_ERROR).status


def refused_by(failure: Failure) -> Refused:
    """A scripted failure as a provider reports it."""
    known = _FAILURES.get(failure.code, _SERVER_ERROR)
    retry_after = known.retry_after if failure.retry_after is None else failure.retry_after
    return Refused(
        status_of(failure) or known.status,
        failure.message or FAILURES[failure.code].message,
        type=known.type,
        param=known.param,
        code=known.code,
        headers={} if retry_after is None else {"retry-after": f"{retry_after:g}"},
    )


# --- requests


class Shape(BaseModel):
    """A part of a request. What is not named is kept: clients send more than we look at."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow", strict=True, frozen=True)


class Part(Shape):
    """A part of what a message says.

    Attributes:
        type: What it is: a text, an image and others.
        text: Its text, of a text.
    """

    type: str
    text: str | None = None

    @property
    def more(self) -> JsonObject:
        """Its further members."""
        return self.model_extra or {}


class Question(Shape):
    """What every request has.

    Attributes:
        model: Name of the model.
        stream: Whether the answer is streamed.
        temperature: Sampling temperature.
    """

    model: str
    stream: bool | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)


class Wire(Protocol):
    """One provider's interface."""

    def read(self, body: JsonValue) -> "Asked":
        """Reads a request.

        Raises:
            Refused: It is malformed.
        """
        ...

    def error(self, refusal: Refused) -> JsonObject:
        """The body of a failed request."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was read.

    Attributes:
        request: What the model is asked.
        is_streamed: Whether the answer is streamed.
        answer: Writes a reply in the form of the wire.
    """

    request: ModelRequest
    is_streamed: bool
    answer: "Callable[[Reply], Answer]"


S = TypeVar("S", bound=Shape)


def model_request(
    request: "Question",
    system: Iterable[str],
    messages: Iterable[ModelMessage],
    tools: Iterable[tuple[str, str | None, dict[str, Any] | None]],
    max_tokens: int | None,
) -> ModelRequest:
    """What the model is asked.

    Args:
        request: The request.
        system: The parts of the system prompt.
        messages: The conversation.
        tools: Name, description and schema of each tool.
        max_tokens: Most tokens of the answer.
    """
    settings = ModelSettings(model=request.model, temperature=request.temperature, max_tokens=max_tokens)
    found = (ToolDefinition(name, told or "", schema or {}) for name, told, schema in tools)
    prompt = "\n\n".join(one for one in system if one)
    return ModelRequest(prompt, tuple(messages), tuple(found), "", "", model_settings=settings)


def json_of(body: bytes) -> JsonValue:
    """The JSON value of a body.

    Raises:
        Refused: It is not JSON.
    """
    try:
        return cast("JsonValue", json.loads(body))
    except (ValueError, RecursionError) as error:
        raise invalid(f"We could not parse the JSON body of your request: {error}.") from error


def validated(shape: type[S], body: JsonValue) -> S:
    """A request, checked as OpenAI checks it.

    Raises:
        Refused: It is malformed.
    """
    try:
        return shape.model_validate(body)
    except ValidationError as error:
        raise _malformed(error.errors(include_url=False)[0]) from error


def missing(param: str) -> Refused:
    """The refusal of a request that lacks something."""
    return invalid(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


def _malformed(fault: ErrorDetails) -> Refused:
    kind, said = fault["type"], fault["msg"]
    # A place in a request, such as `messages[0].role`.
    param = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in fault["loc"]).lstrip(".")
    if kind == "missing":
        return missing(param)
    if kind == "too_short":
        return invalid(f"Invalid '{param}': empty array. {said}.", param, "empty_array")
    code = "invalid_type" if kind.endswith("_type") else "invalid_value"
    what = f"Invalid type for '{param}'" if code == "invalid_type" else f"Invalid '{param}'"
    return invalid(f"{what}: {said}.", param or None, code)


def as_parts(value: object, kind: str = "text") -> object:
    """What a message says, as parts: a plain text is a single one."""
    return [{"type": kind, "text": value}] if isinstance(value, str) else value


def said(
    role: Literal["user", "assistant", "tool"],
    parts: Iterable[Part],
    calls: tuple[ModelToolCall, ...] = (),
    call_id: str | None = None,
    directives: tuple[str, ...] = (),
) -> ModelMessage:
    """A message as the model sees it."""
    found = list(parts)
    images = tuple(image for one in found if (image := _image(one)) is not None)
    return ModelMessage(role, text_of(found), calls, call_id, images, directives=directives)


def text_of(parts: Iterable[Part] | None) -> str:
    """The text of parts; one that is neither a text nor an image is named in brackets."""
    shown = [one for one in parts or () if one.text is not None or _image(one) is None]
    return "\n".join(one.text if one.text is not None else f"[{one.type}]" for one in shown)


def _image(part: Part) -> ModelAttachment | None:
    """The image of a part, in the form of whichever wire; None if it is none."""
    found = part.more.get("image_url", part.more.get("source"))
    match part.type, found:
        case "image_url", {"url": str(url)}:
            return _image_at(url)
        case "input_image", str(url):
            return _image_at(url)
        case "image", {"type": "base64", "media_type": str(kind), "data": str(data)}:
            return _image_at(f"data:{kind};base64,{data}")
        case "image", {"type": "url", "url": str(url)}:
            return _image_at(url)
        case _:
            return None


def _image_at(url: str) -> ModelAttachment:
    if not url.startswith("data:"):
        return ModelAttachment("", "", "", b"", url)
    kind, _, data = url.removeprefix("data:").partition(",")
    try:
        return ModelAttachment("", "", kind.partition(";")[0], base64.b64decode(data, validate=True))
    except ValueError as error:
        raise invalid(f"Invalid base64 data of an image: {error}.", code="invalid_base64") from error


def call_of(id: str, name: str, arguments: str, param: str) -> ModelToolCall:
    """A call whose arguments are JSON.

    Args:
        id: Its id.
        name: Name of the tool.
        arguments: The arguments.
        param: Where they stand in the request.

    Raises:
        Refused: They are not a JSON object.
    """
    try:
        params: object = json.loads(arguments or "{}")
    except ValueError as error:
        raise invalid(f"Invalid '{param}': not JSON: {error}", param, "invalid_value") from error
    if not isinstance(params, dict):
        raise invalid(f"Invalid '{param}': expected a JSON object.", param, "invalid_value")
    return ModelToolCall(id, name, cast("dict[str, Any]", params))


# --- answers


@dataclass(slots=True)
class Block:
    """One part of an answer: reasoning, text or a call.

    Attributes:
        kind: What it is.
        index: Its place in the answer.
        pieces: What it is streamed in: reasoning, text, or the arguments of the call as JSON.
        name: Name of the tool, of a call.
        params: Arguments, of a call.
        text: What was written of it so far.
        key: Makes its ids.
    """

    kind: Literal["thinking", "text", "call"]
    index: int
    pieces: Iterable[str]
    name: str = ""
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    text: str = ""
    key: str = field(default_factory=lambda: uuid.uuid4().hex[:24])


class Event(NamedTuple):
    """An event of a stream: its name, if the wire names events, and its data."""

    name: str
    data: JsonObject


class Answer(ABC):
    """A reply to one request, in the form of one wire.

    Args:
        asked: What the model was asked.
        reply: The reply.
    """

    ends_with_done: ClassVar[bool] = False
    """Whether a complete stream says `[DONE]`."""

    def __init__(self, asked: ModelRequest, reply: Reply) -> None:
        self.reply = reply
        self.usage: Usage = usage_of(asked, reply)
        self.key = uuid.uuid4().hex[:24]
        self.created = int(time.time())

    @property
    def streaming_time(self) -> float:
        """Seconds that the reply takes."""
        return self.reply.delay * max(0, len(self.reply.chunks) - 1)

    def whole(self) -> JsonObject:
        """The answer in one piece."""
        blocks = _blocks(self.reply)
        for block in blocks:
            block.text = "".join(block.pieces)
        return self.message(blocks)

    async def events(self, *, is_cut: bool = False) -> AsyncIterator[Event]:
        """The answer in pieces, with its pauses.

        Args:
            is_cut: Whether it stops in the middle.
        """
        blocks = _blocks(self.reply)
        for event in self.begin():
            yield event
        for block in blocks:
            for event in self.opened(block):
                yield event
            for place, piece in enumerate(block.pieces):
                if place and block.kind == "text" and self.reply.delay:
                    await asyncio.sleep(self.reply.delay)
                block.text += piece
                yield self.added(block, piece)
            for event in () if is_cut else self.closed(block):
                yield event
        for event in () if is_cut else self.end(blocks):
            yield event

    @abstractmethod
    def message(self, blocks: list[Block]) -> JsonObject:
        """The whole answer of complete blocks."""

    @abstractmethod
    def begin(self) -> Iterable[Event]:
        """Begins a stream."""

    @abstractmethod
    def opened(self, block: Block) -> Iterable[Event]:
        """Begins a block."""

    @abstractmethod
    def added(self, block: Block, piece: str) -> Event:
        """The next piece of a block."""

    @abstractmethod
    def closed(self, block: Block) -> Iterable[Event]:
        """Ends a block."""

    @abstractmethod
    def end(self, blocks: list[Block]) -> Iterable[Event]:
        """Ends a stream that is complete."""

    @abstractmethod
    def failed(self, refusal: Refused) -> Event:
        """Ends a stream that has failed."""


def _blocks(reply: Reply) -> list[Block]:
    blocks: list[Block] = []
    if reply.thinking:
        blocks.append(Block("thinking", 0, reply.thinking.splitlines(keepends=True)))
    for part in reply.parts:
        if not isinstance(part, str):
            arguments = json.dumps(dict(part.params))
            starts = range(0, len(arguments), _ARGUMENT_PIECE)
            pieces = [arguments[at : at + _ARGUMENT_PIECE] for at in starts]
            blocks.append(Block("call", len(blocks), pieces, part.name, part.params))
        elif blocks and blocks[-1].kind == "text":
            blocks[-1].pieces = [*blocks[-1].pieces, part]
        else:
            blocks.append(Block("text", len(blocks), [part]))
    if reply.is_endless:
        blocks[-1].pieces = reply.pieces
    return blocks
