"""The shapes of OpenAI's chat-completions interface, as far as `FakeModelServer` speaks it.

They are another interface than the daemon's, so that `schema/` has no part in them. Requests are pydantic
models, because they are checked; answers are typed dicts, because we write them.
"""

from typing import Any, ClassVar, Literal, NotRequired, TypeAlias, TypedDict

from pydantic import BaseModel, ConfigDict, Field, field_validator

Role: TypeAlias = Literal["system", "developer", "user", "assistant", "tool"]
FinishReason: TypeAlias = Literal["stop", "tool_calls"]


# --- requests


class _Wire(BaseModel):
    # What is not named here is kept: clients send more than we look at.
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow", strict=True, frozen=True)


class ContentPart(_Wire):
    """A part of a message.

    Attributes:
        type: What it is: `text`, `image_url` and others.
        text: Its text, of a text.
    """

    type: str
    text: str | None = None


class FunctionCall(_Wire):
    """What a call calls.

    Attributes:
        name: Name of the function.
        arguments: Arguments as JSON.
    """

    name: str
    arguments: str


class MessageToolCall(_Wire):
    """A call that the model asked for.

    Attributes:
        id: Id of the call.
        type: Kind of tool.
        function: What it calls.
    """

    id: str
    function: FunctionCall
    type: Literal["function"] = "function"


class ChatMessage(_Wire):
    """A message of the conversation.

    Attributes:
        role: Who speaks.
        content: What is said; one that came as a text is a single part here.
        tool_calls: Calls that the assistant asked for.
        tool_call_id: Call that a tool answers.
    """

    role: Role
    content: list[ContentPart] | None = None
    tool_calls: list[MessageToolCall] | None = None
    tool_call_id: str | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _as_parts(cls, value: object) -> object:
        return [{"type": "text", "text": value}] if isinstance(value, str) else value

    @property
    def text(self) -> str:
        """Its text; a part that is none is named in brackets."""
        parts = self.content or []
        return "\n".join(one.text if one.text is not None else f"[{one.type}]" for one in parts)


class FunctionDefinition(_Wire):
    """A function that the model may call.

    Attributes:
        name: Name of the function.
        description: What it does.
        parameters: JSON Schema of its arguments.
    """

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    parameters: dict[str, Any] | None = None


class FunctionTool(_Wire):
    """A tool that the model may use.

    Attributes:
        type: Kind of tool.
        function: The function.
    """

    type: Literal["function"]
    function: FunctionDefinition


class StreamOptions(_Wire):
    """How an answer is streamed.

    Attributes:
        include_usage: Whether a chunk with the usage comes last.
    """

    include_usage: bool | None = None


class ChatCompletionRequest(_Wire):
    """A request as it came over HTTP. Fields that are not named here are in `model_extra`.

    Attributes:
        model: Name of the model.
        messages: The conversation, oldest first.
        tools: What the model may call.
        stream: Whether the answer is streamed.
        stream_options: How it is streamed.
        temperature: Sampling temperature.
        max_tokens: Most tokens of the answer, in the older form.
        max_completion_tokens: Most tokens of the answer.
        n: Number of answers; more than one is refused.
    """

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    tools: list[FunctionTool] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    n: int | None = Field(default=None, ge=1, le=1)


# --- answers


class WireUsage(TypedDict):
    """What an answer cost, in tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class WireFunctionCall(TypedDict):
    """What a call calls; of a delta, the next piece of it."""

    name: NotRequired[str]
    arguments: str


class WireToolCall(TypedDict):
    """A call; a delta has an index, and id and type in its first piece alone."""

    index: NotRequired[int]
    id: NotRequired[str]
    type: NotRequired[Literal["function"]]
    function: WireFunctionCall


class WireMessage(TypedDict):
    """The message of an answer, or the next piece of it.

    Reasoning is not OpenAI's own: `reasoning_content` is what compatible servers call it.
    """

    role: NotRequired[Literal["assistant"]]
    content: NotRequired[str | None]
    reasoning_content: NotRequired[str]
    tool_calls: NotRequired[list[WireToolCall]]


class WireChoice(TypedDict):
    """An answer; there is always one."""

    index: Literal[0]
    message: WireMessage
    finish_reason: FinishReason
    logprobs: None


class WireChunkChoice(TypedDict):
    """A piece of an answer."""

    index: Literal[0]
    delta: WireMessage
    finish_reason: FinishReason | None
    logprobs: None


class ChatCompletion(TypedDict):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[WireChoice]
    usage: WireUsage


class ChatCompletionChunk(TypedDict):
    """A chunk of a streamed answer."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[WireChunkChoice]
    usage: NotRequired[WireUsage | None]


class ModelCard(TypedDict):
    """A model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(TypedDict):
    """All models."""

    object: Literal["list"]
    data: list[ModelCard]


class ErrorDetail(TypedDict):
    """Why a request failed."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(TypedDict):
    """The body of every failed request."""

    error: ErrorDetail


WireAnswer: TypeAlias = ChatCompletion | ChatCompletionChunk | ModelCard | ModelList | ErrorBody


def error_body(message: str, type: str, *, param: str | None = None, code: str | None = None) -> ErrorBody:
    """The body of a failed request.

    Args:
        message: Text for people.
        type: Family of the error.
        param: Place in the request that it is about.
        code: What clients switch on.
    """
    return {"error": {"message": message, "type": type, "param": param, "code": code}}
