"""What turns have taken: calls, tokens, money and time."""

from collections.abc import Iterable
from dataclasses import dataclass

from .results import TurnResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a run has taken in all.

    Attributes:
        turns: Its turns.
        tool_calls: Its tool calls.
        tokens: Tokens in and out of the model; None if the daemon did not report them.
        cost_usd: Cost, US dollars; None if the daemon did not report it.
        seconds: Seconds that its turns took.
    """

    turns: int
    tool_calls: int
    tokens: int | None
    cost_usd: float | None
    seconds: float

    @staticmethod
    def of(results: Iterable[TurnResult]) -> "Spent":
        """What some turns have taken together.

        Args:
            results: The results of the turns. The turns of one session are in order, because a daemon
                reports the cost of a session so far.
        """
        listed = list(results)
        tokens = [one for result in listed if (one := tokens_of(result)) is not None]
        costs: dict[str, float] = {}
        for result in listed:
            if (cost := cost_so_far(result)) is not None:
                costs[result.session.session_id] = cost
        return Spent(
            turns=len(listed),
            tool_calls=sum(len(result.tool_calls) for result in listed),
            tokens=sum(tokens) if tokens else None,
            cost_usd=sum(costs.values()) if costs else None,
            seconds=sum(result.duration for result in listed),
        )


def tokens_of(result: TurnResult) -> int | None:
    """Tokens in and out of the model in a turn; None if the daemon did not report them."""
    return None if result.usage is None else result.usage.input_tokens + result.usage.output_tokens


def cost_so_far(result: TurnResult) -> float | None:
    """What the session has cost up to the end of a turn, US dollars; None if the daemon did not report it."""
    return None if result.usage is None else result.usage.cost_usd
