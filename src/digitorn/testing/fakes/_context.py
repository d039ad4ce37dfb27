"""How full a model's context is, in estimated tokens."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from digitorn.testing._generated.models import ContextSnapshot, TokenTriple
from digitorn.testing._tools import ToolDefinition

from ._model import ModelMessage

MODEL_NAME: Final = "fake-model"
"""Name of the model that every app of the embedded daemon uses."""

_MAX_TOKENS: Final = 128_000
_OUTPUT_RESERVED: Final = 8_000


@dataclass(slots=True)
class TokenCounts:
    """Tokens that a model read and wrote."""

    prompt: int = 0
    completion: int = 0

    def triple(self) -> TokenTriple:
        """They as the contract shows them."""
        return TokenTriple(
            prompt=self.prompt, completion=self.completion, total=self.prompt + self.completion
        )


def estimate(text: str) -> int:
    """Number of tokens of a text, at four characters each."""
    return math.ceil(len(text) / 4)


def estimate_messages(messages: Iterable[ModelMessage]) -> int:
    """Number of tokens of a conversation."""
    return sum(
        estimate(one.content) + sum(estimate(json.dumps(dict(call.params))) for call in one.tool_calls)
        for one in messages
    )


def context_snapshot(
    system_prompt: str, tools: Sequence[ToolDefinition], messages: Iterable[ModelMessage]
) -> ContextSnapshot:
    """How much of the context a request takes up."""
    effective = _MAX_TOKENS - _OUTPUT_RESERVED
    prompt = estimate(system_prompt)
    schemas = sum(estimate(one.name + one.description + json.dumps(dict(one.parameters))) for one in tools)
    history = estimate_messages(messages)
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
        compactions=0,
        system_prompt_pct=_percent(prompt, effective),
        tools_schema_pct=_percent(schemas, effective),
        message_history_pct=_percent(history, effective),
        pressure=total / effective,
    )


def _percent(part: int, whole: int) -> float:
    return min(100.0, 100.0 * part / whole)
