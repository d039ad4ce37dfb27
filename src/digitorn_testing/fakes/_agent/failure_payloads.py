"""What events say of a failed turn (contract: events, sections 5.6 and 7)."""

from typing import Any, Final

from digitorn_testing._generated.events import Error
from digitorn_testing._generated.payloads import CredentialFieldSpec
from digitorn_testing.fakes._model.failures import TurnFailed
from digitorn_testing.fakes._store.sessions import Turn

_PROVIDER: Final = "fake"


def error_payload(turn: Turn, failure: TurnFailed) -> Error:
    """The classified error of a turn."""
    return Error(
        error=failure.message,
        code=failure.failure.code,
        category=failure.failure.category,
        retry=failure.failure.retry,
        detail=failure.detail,
        session_id=turn.session.id,
    )


def credential_members(turn: Turn, failure: TurnFailed) -> dict[str, Any]:
    """What is said of a credential that a turn lacks."""
    owner = turn.session.owner
    return {
        "error": failure.message,
        "code": failure.failure.code,
        "category": failure.failure.category,
        "retry": failure.failure.retry,
        "detail": failure.detail,
        "provider": _PROVIDER,
        "provider_type": "api_key",
        "candidates": [],
        "field_spec": CredentialFieldSpec(
            name=_PROVIDER, label=_PROVIDER, type="api_key", fields=[]
        ).to_wire(),
        "app_id": owner.app_id,
        "user_id": owner.user_id,
    }
