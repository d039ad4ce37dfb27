"""The result of a turn."""

from typing import Any, Final

from digitorn_testing._events import choreography
from digitorn_testing._generated.events import Result
from digitorn_testing.fakes._model.failures import TurnFailed
from digitorn_testing.fakes._store.context import context_snapshot
from digitorn_testing.fakes._store.sessions import Turn

_PROVIDER: Final = "fake"


def turn_result(turn: Turn, content: str, error: str | None = None) -> Result:
    """The `result` event of a turn.

    Args:
        turn: The turn.
        content: Text of the answer.
        error: Why the turn failed; None if it did not.
    """
    session = turn.session
    return choreography.result(
        session.id,
        content,
        error,
        tool_calls=turn.tool_calls,
        model_calls=turn.model_calls,
        turn_number=session.turns,
        usage=choreography.usage(turn.tokens_in, turn.tokens_out, session.tokens.triple()),
        model=turn.app.definition.model_name,
        context=context_snapshot(turn.app.definition, session.conversation),
    )


def credential_members(turn: Turn, failure: TurnFailed) -> dict[str, Any]:
    """What is said of a credential that a turn lacks."""
    owner = turn.session.owner
    return choreography.credential_members(
        failure.told,
        provider=turn.app.definition.model_settings.provider or _PROVIDER,
        app_id=owner.app_id,
        user_id=owner.user_id,
    )
