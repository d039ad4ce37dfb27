"""What a turn has come to."""

from digitorn_testing._generated.events import Result
from digitorn_testing._generated.payloads import ResultUsage
from digitorn_testing.fakes._store.context import context_snapshot
from digitorn_testing.fakes._store.sessions import Turn


def turn_result(turn: Turn, content: str, error: str | None = None) -> Result:
    """The `result` event of a turn.

    Args:
        turn: The turn.
        content: Text of the answer.
        error: Why the turn failed; None if it did not.
    """
    session, definition = turn.session, turn.app.definition
    return Result(
        content=content,
        session_id=session.id,
        tool_calls_count=turn.tool_calls,
        turns_used=turn.model_calls,
        truncated=False,
        error=error,
        usage=ResultUsage(
            input_tokens=turn.tokens_in,
            output_tokens=turn.tokens_out,
            total_input_tokens=session.tokens.prompt,
            total_output_tokens=session.tokens.completion,
            total_tokens=session.tokens.prompt + session.tokens.completion,
            cost_usd=0.0,
        ),
        turn_number=session.turns,
        context=context_snapshot(definition, session.conversation),
    )
