"""Anthropic's Messages."""

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any, Final, Literal, TypeAlias

from pydantic import Field, JsonValue, field_validator

from digitorn_testing.fakes._model.requests import ModelMessage, ModelRequest, ModelToolCall
from digitorn_testing.fakes._model.script import Reply
from digitorn_testing.fakes._store.context import usage_of

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
    invalid,
    missing,
    model_request,
    said,
    text_of,
    validated,
)

_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""What Anthropic calls an error with a status."""

_SIGNATURE: Final = "c2lnbmVkIGJ5IHRoZSBmYWtlIG1vZGVsIHNlcnZlcg=="


# --- requests


class _Block(Part):
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    tool_use_id: str | None = None
    content: list[Part] | None = None

    _as_parts = field_validator("content", mode="before")(as_parts)


class _Message(Shape):
    role: Literal["user", "assistant", "system"]
    content: list[_Block]

    _as_parts = field_validator("content", mode="before")(as_parts)


class _Tool(Shape):
    name: str
    description: str | None = None
    input_schema: dict[str, Any] | None = None


class _Request(Question):
    messages: list[_Message] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    system: list[Part] | None = None
    tools: list[_Tool] | None = None

    _as_parts = field_validator("system", mode="before")(as_parts)


class Messages:
    """Reads requests for messages, and writes their answers."""

    def read(self, body: JsonValue) -> Asked:
        """Reads a request, checked as Anthropic checks it.

        Raises:
            Refused: It is malformed.
        """
        request = validated(_Request, body)
        if request.max_tokens is None:
            raise missing("max_tokens")
        asked = _model_request(request)
        return Asked(asked, bool(request.stream), partial(_Answer, request.model, asked))

    def count(self, body: JsonValue) -> JsonObject:
        """Counts the tokens of a request that is not asked.

        Raises:
            Refused: It is malformed.
        """
        asked = _model_request(validated(_Request, body))
        return {"input_tokens": usage_of(asked, Reply()).input_tokens}

    def error(self, refusal: Refused) -> JsonObject:
        """The body of a failed request."""
        kind = _TYPES.get(refusal.status, "api_error" if refusal.status >= 500 else "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": refusal.message}}


def _model_request(request: _Request) -> ModelRequest:
    system = [text_of([one]) for one in request.system or ()]
    system += [text_of(one.content) for one in request.messages if one.role == "system"]
    turns = list(_turns(request.messages))
    _check_results(turns)
    return model_request(
        request,
        system,
        (message for role, blocks in turns for message in _said(role, blocks)),
        ((one.name, one.description, one.input_schema) for one in request.tools or ()),
        request.max_tokens,
    )


_Turn: TypeAlias = tuple[Literal["user", "assistant"], list[_Block]]


def _turns(messages: list[_Message]) -> Iterator[_Turn]:
    """The conversation, where neighbours of one role are one turn."""
    spoken = [one for one in messages if one.role != "system"]
    for role, neighbours in itertools.groupby(spoken, key=lambda one: one.role):
        blocks = [block for one in neighbours for block in one.content]
        yield ("user" if role == "user" else "assistant"), blocks


def _said(role: Literal["user", "assistant"], blocks: list[_Block]) -> Iterator[ModelMessage]:
    """A turn as the model sees it: the results of tools first, as messages of their own."""
    calls: list[ModelToolCall] = []
    spoken: list[_Block] = []
    for block in blocks:
        if block.type == "tool_result":
            yield said("tool", block.content or (), call_id=block.tool_use_id)
        elif block.type == "tool_use":
            calls.append(ModelToolCall(block.id or "", block.name or "", block.input or {}))
        elif block.type not in ("thinking", "redacted_thinking"):
            spoken.append(block)
    if spoken or calls:
        yield said(role, spoken, tuple(calls))


def _check_results(turns: list[_Turn]) -> None:
    """Refuses calls without a result in the next turn, and results without a call in the one before."""
    waiting: set[str | None] = set()
    for place, (_, blocks) in enumerate([*turns, ("user", [])]):
        results = {one.tool_use_id for one in blocks if one.type == "tool_result"}
        for id in results - waiting:
            raise invalid(
                f"messages.{place}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each "
                "`tool_result` block must have a corresponding `tool_use` block in the previous message."
            )
        for id in waiting - results:
            raise invalid(
                f"messages.{place - 1}: `tool_use` ids were found without `tool_result` blocks immediately "
                f"after: {id}. Each `tool_use` block must have a corresponding `tool_result` block in the "
                "next message."
            )
        waiting = {one.id for one in blocks if one.type == "tool_use"}


# --- answers


class _Answer(Answer):
    def __init__(self, model: str, asked: ModelRequest, reply: Reply) -> None:
        super().__init__(asked, reply)
        self._model = model

    def message(self, blocks: list[Block]) -> JsonObject:
        return self._message([_content(one) for one in blocks], self._stop_reason, self.usage.output_tokens)

    def begin(self) -> Iterator[Event]:
        yield _event("message_start", message=self._message([], None, 1))

    def opened(self, block: Block) -> Iterator[Event]:
        yield _event("content_block_start", index=block.index, content_block=_content(block))

    def added(self, block: Block, piece: str) -> Event:
        match block.kind:
            case "thinking":
                delta: JsonObject = {"type": "thinking_delta", "thinking": piece}
            case "text":
                delta = {"type": "text_delta", "text": piece}
            case _:
                delta = {"type": "input_json_delta", "partial_json": piece}
        return _event("content_block_delta", index=block.index, delta=delta)

    def closed(self, block: Block) -> Iterator[Event]:
        if block.kind == "thinking":
            delta: JsonObject = {"type": "signature_delta", "signature": _SIGNATURE}
            yield _event("content_block_delta", index=block.index, delta=delta)
        yield _event("content_block_stop", index=block.index)

    def end(self, blocks: list[Block]) -> Iterator[Event]:
        delta: JsonObject = {"stop_reason": self._stop_reason, "stop_sequence": None}
        yield _event("message_delta", delta=delta, usage={"output_tokens": self.usage.output_tokens})
        yield _event("message_stop")

    def failed(self, refusal: Refused) -> Event:
        return Event("error", Messages().error(refusal))

    @property
    def _stop_reason(self) -> str:
        return "tool_use" if self.reply.calls else "end_turn"

    def _message(self, content: list[JsonObject], stop_reason: str | None, written: int) -> JsonObject:
        return {
            "id": f"msg_{self.key}",
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [*content],
            "stop_reason": stop_reason,
            "stop_sequence": None,
            "usage": {"input_tokens": self.usage.input_tokens, "output_tokens": written},
        }


def _event(name: str, **data: JsonValue) -> Event:
    return Event(name, {"type": name, **data})


def _content(block: Block) -> JsonObject:
    """A block of content as it is now; what is not written yet is empty."""
    match block.kind:
        case "thinking":
            return {
                "type": "thinking",
                "thinking": block.text,
                "signature": _SIGNATURE if block.text else "",
            }
        case "text":
            return {"type": "text", "text": block.text}
        case "call":
            params = dict(block.params) if block.text else {}
            return {"type": "tool_use", "id": f"toolu_{block.key}", "name": block.name, "input": params}
