"""OpenAI's Responses."""

from collections.abc import Iterator
from functools import partial
from typing import Any, Final, Literal

from pydantic import Field, JsonValue, field_validator

from digitorn_testing.fakes._model.requests import ModelMessage, ModelRequest, ModelToolCall
from digitorn_testing.fakes._model.script import Reply, Usage

from .chat_completions import openai_error
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

_MOST_KEPT: Final = 1000
"""How many responses `previous_response_id` may name."""

_NEEDED: Final = {
    "message": ("role", "content"),
    "function_call": ("call_id", "name", "arguments"),
    "function_call_output": ("call_id", "output"),
    "reasoning": (),
}
"""The kinds of items that are known here, and what each needs."""

_ELSEWHERE: Final = ("background", "conversation", "prompt")
"""Parameters by which a request would mean something that does not exist here."""

_ECHOED: Final[JsonObject] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
}
"""What a response repeats of its request, and what it says if the request has none."""


# --- requests


class _Item(Shape):
    type: str = "message"
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: list[Part] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: list[Part] | None = None

    _as_parts = field_validator("content", "output", mode="before")(as_parts)


class _Tool(Shape):
    type: str
    name: str = ""
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Request(Question):
    input: list[_Item] = Field(min_length=1)
    instructions: str | None = None
    previous_response_id: str | None = None
    tools: list[_Tool] | None = None
    store: bool | None = None
    max_output_tokens: int | None = Field(default=None, ge=1)

    @field_validator("input", mode="before")
    @classmethod
    def _as_items(cls, value: object) -> object:
        return [{"role": "user", "content": value}] if isinstance(value, str) else value


class Responses:
    """Reads requests, writes responses, and keeps them for `previous_response_id`."""

    def __init__(self) -> None:
        self._kept: dict[str, list[_Item]] = {}

    def read(self, body: JsonValue) -> Asked:
        """Reads a request, checked as OpenAI checks it.

        Raises:
            Refused: It is malformed, or names a response that is not kept.
        """
        request = validated(_Request, body)
        for name in _ELSEWHERE:
            if (request.model_extra or {}).get(name):
                raise invalid(f"This server does not support the parameter '{name}'.", name)
        for place, item in enumerate(request.input):
            _check_item(f"input[{place}]", item)
        items = [*self._earlier(request.previous_response_id), *request.input]
        _check_calls(items)
        instructions = (text_of(one.content) for one in items if one.role in ("system", "developer"))
        functions = [one for one in request.tools or () if one.type == "function"]
        asked = model_request(
            request,
            (request.instructions or "", *instructions),
            _messages(items),
            ((one.name, one.description, one.parameters) for one in functions),
            request.max_output_tokens,
        )
        return Asked(asked, bool(request.stream), partial(_Response, request, items, self._kept, asked))

    def error(self, refusal: Refused) -> JsonObject:
        """The body of a failed request."""
        return openai_error(refusal)

    def _earlier(self, id: str | None) -> list[_Item]:
        if id is None:
            return []
        found = self._kept.get(id)
        if found is None:
            raise invalid(
                f"Previous response with id '{id}' not found.",
                "previous_response_id",
                "previous_response_not_found",
            )
        return found


def _check_item(place: str, item: _Item) -> None:
    if item.type not in _NEEDED:
        raise invalid(
            f"This server knows no item of type '{item.type}'; it knows {', '.join(_NEEDED)}.",
            f"{place}.type",
            "invalid_value",
        )
    for name in _NEEDED[item.type]:
        if getattr(item, name) is None:
            raise missing(f"{place}.{name}")


def _check_calls(items: list[_Item]) -> None:
    called = {one.call_id for one in items if one.type == "function_call"}
    answered = {one.call_id for one in items if one.type == "function_call_output"}
    for id in answered - called:
        raise invalid(f"No tool call found for function call output with call_id {id}.", "input")
    for id in called - answered:
        raise invalid(f"No tool output found for function call {id}.", "input")


def _messages(items: list[_Item]) -> Iterator[ModelMessage]:
    """The conversation: what the assistant says and the calls behind it are one message."""
    spoken: list[Part] = []
    calls: list[ModelToolCall] = []
    for place, item in enumerate(items):
        if item.type == "function_call":
            param = f"input[{place}].arguments"
            calls.append(call_of(item.call_id or "", item.name or "", item.arguments or "", param))
        elif item.role == "assistant":
            spoken += item.content or ()
        elif item.type != "reasoning":
            yield from _assistant(spoken, calls)
            if item.type == "function_call_output":
                yield said("tool", item.output or (), call_id=item.call_id)
            elif item.role == "user":
                yield said("user", item.content or ())
    yield from _assistant(spoken, calls)


def _assistant(spoken: list[Part], calls: list[ModelToolCall]) -> Iterator[ModelMessage]:
    if spoken or calls:
        yield said("assistant", spoken, tuple(calls))
    spoken.clear()
    calls.clear()


# --- answers


class _Response(Answer):
    def __init__(
        self,
        request: _Request,
        items: list[_Item],
        kept: dict[str, list[_Item]],
        asked: ModelRequest,
        reply: Reply,
    ) -> None:
        super().__init__(asked, reply)
        self._request = request
        self._items = items
        self._kept = kept
        self._count = 0

    def message(self, blocks: list[Block]) -> JsonObject:
        output = [_item(block, "completed") for block in blocks]
        if self._request.store is not False:
            self._kept[f"resp_{self.key}"] = [*self._items, *map(_Item.model_validate, output)]
            while len(self._kept) > _MOST_KEPT:
                del self._kept[next(iter(self._kept))]
        return self._response("completed", output, usage=_usage(self.usage))

    def begin(self) -> Iterator[Event]:
        yield self._event("response.created", response=self._response("in_progress"))
        yield self._event("response.in_progress", response=self._response("in_progress"))

    def opened(self, block: Block) -> Iterator[Event]:
        yield self._event(
            "response.output_item.added", output_index=block.index, item=_item(block, "in_progress")
        )
        if block.kind != "call":
            yield self._of(block, f"{_PART[block.kind]}.added", part=_part(block))

    def added(self, block: Block, piece: str) -> Event:
        more: JsonObject = {"logprobs": []} if block.kind == "text" else {}
        return self._of(block, f"{_TEXT[block.kind]}.delta", delta=piece, **more)

    def closed(self, block: Block) -> Iterator[Event]:
        match block.kind:
            case "call":
                yield self._of(block, f"{_TEXT['call']}.done", name=block.name, arguments=block.text)
            case "text":
                yield self._of(block, f"{_TEXT['text']}.done", text=block.text, logprobs=[])
            case "thinking":
                yield self._of(block, f"{_TEXT['thinking']}.done", text=block.text)
        if block.kind != "call":
            yield self._of(block, f"{_PART[block.kind]}.done", part=_part(block))
        yield self._event(
            "response.output_item.done", output_index=block.index, item=_item(block, "completed")
        )

    def end(self, blocks: list[Block]) -> Iterator[Event]:
        yield self._event("response.completed", response=self.message(blocks))

    def failed(self, refusal: Refused) -> Event:
        error: JsonObject = {"code": refusal.code or refusal.type, "message": refusal.message}
        return self._event("response.failed", response=self._response("failed", error=error))

    def _event(self, name: str, /, **data: JsonValue) -> Event:
        self._count += 1
        return Event(name, {"type": name, "sequence_number": self._count - 1, **data})

    def _of(self, block: Block, name: str, /, **data: JsonValue) -> Event:
        """An event of a block."""
        if block.kind != "call":
            data["summary_index" if block.kind == "thinking" else "content_index"] = 0
        return self._event(f"response.{name}", item_id=_item_id(block), output_index=block.index, **data)

    def _response(self, status: str, output: list[JsonObject] | None = None, **more: JsonValue) -> JsonObject:
        sent = self._request.model_dump(mode="json", exclude_unset=True)
        return {
            "id": f"resp_{self.key}",
            "object": "response",
            "created_at": self.created,
            "model": self._request.model,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "output": [*(output or ())],
            "usage": None,
            **{name: value if sent.get(name) is None else sent[name] for name, value in _ECHOED.items()},
            **more,
        }


_PART: Final = {"thinking": "reasoning_summary_part", "text": "content_part"}
_TEXT: Final = {
    "thinking": "reasoning_summary_text",
    "text": "output_text",
    "call": "function_call_arguments",
}
"""What the events of each kind of block are called."""

_ITEM_PREFIX: Final = {"thinking": "rs", "text": "msg", "call": "fc"}


def _item_id(block: Block) -> str:
    return f"{_ITEM_PREFIX[block.kind]}_{block.key}"


def _part(block: Block) -> JsonObject:
    if block.kind == "thinking":
        return {"type": "summary_text", "text": block.text}
    return {"type": "output_text", "text": block.text, "annotations": [], "logprobs": []}


def _item(block: Block, status: str) -> JsonObject:
    """An item of the output as it is now: an empty one holds no part yet."""
    parts: list[JsonValue] = [_part(block)] if status == "completed" else []
    match block.kind:
        case "thinking":
            more: JsonObject = {"type": "reasoning", "summary": parts}
        case "text":
            more = {"type": "message", "role": "assistant", "content": parts, "status": status}
        case _:
            more = {
                "type": "function_call",
                "call_id": f"call_{block.key}",
                "name": block.name,
                "arguments": block.text,
                "status": status,
            }
    return {"id": _item_id(block), **more}


def _usage(usage: Usage) -> JsonObject:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
