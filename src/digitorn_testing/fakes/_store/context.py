"""How full a model's context is, in estimated tokens."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from digitorn_testing._events.conventions import estimate, token_triple
from digitorn_testing._generated.models import ContextSnapshot, TokenTriple
from digitorn_testing.fakes._model.requests import ModelMessage, ModelRequest
from digitorn_testing.fakes._model.script import Reply, Usage

from .apps import AppDefinition
from .conversation import Conversation

_MAX_TOKENS: Final = 128_000
_OUTPUT_RESERVED: Final = 8_000


@dataclass(slots=True)
class TokenCounts:
    """Tokens that a model read and wrote."""

    prompt: int = 0
    completion: int = 0

    def triple(self) -> TokenTriple:
        """They as the contract shows them."""
        return token_triple(self.prompt, self.completion)


def estimate_messages(messages: Iterable[ModelMessage]) -> int:
    """Number of tokens of a conversation."""
    return sum(
        estimate(one.content) + sum(estimate(json.dumps(dict(call.params))) for call in one.tool_calls)
        for one in messages
    )


def usage_of(request: ModelRequest, reply: Reply) -> Usage:
    """What a reply costs: what the script says, else an estimate."""
    read = estimate(request.system_prompt) + estimate_messages(request.messages)
    estimated = Usage(input_tokens=max(1, read), output_tokens=max(1, estimate(reply.written)))
    return reply.usage or estimated


def context_snapshot(definition: AppDefinition, conversation: Conversation) -> ContextSnapshot:
    """How much of the context the next request takes up."""
    effective = _MAX_TOKENS - _OUTPUT_RESERVED
    prompt = estimate(definition.system_prompt)
    schemas = sum(
        estimate(one.name + one.description + json.dumps(dict(one.parameters))) for one in definition.tools
    )
    history = estimate_messages(conversation.for_model())
    total = prompt + schemas + history
    return ContextSnapshot(
        max_tokens=_MAX_TOKENS,
        output_reserved=_OUTPUT_RESERVED,
        effective_max=effective,
        system_prompt_tokens=prompt,
        tools_schema_tokens=schemas,
        message_history_tokens=history,
        total_estimated_tokens=total,
        available_tokens=max(0, effective - total),
        compactions=conversation.compactions,
        system_prompt_pct=_percent(prompt, effective),
        tools_schema_pct=_percent(schemas, effective),
        message_history_pct=_percent(history, effective),
        pressure=total / effective,
    )


def _percent(part: int, whole: int) -> float:
    return min(100.0, 100.0 * part / whole)
