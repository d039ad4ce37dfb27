"""How failed turns are classified (contract: events, section 7)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from digitorn_testing._generated.events import FAILURE_CATEGORIES, RETRYABLE_FAILURES, FailureCategoriesKey

FailureCode: TypeAlias = FailureCategoriesKey
"""How a failed turn is classified; clients branch on this code."""

INTERNAL_ERROR: Final = "internal_error"
"""The code of every failure that has no other code."""

_LONGEST_DETAIL: Final = 500

_MESSAGES: Final[Mapping[FailureCode, str]] = {
    "credential_auth_required": "credential_auth_required",
    "credential_required": "a credential is required",
    "model_not_provided_by_digitorn": "the model is not provided",
    "insufficient_balance": "insufficient balance",
    "auth_error": "401 unauthorized",
    "rate_limited": "429 too many requests",
    "context_overflow": "the context length is exceeded",
    "network_error": "connection reset by peer",
    "provider_error": "server error at the provider",
    "permission_denied": "permission denied",
    "session_busy": "the session lock was not released",
    "agent_loop_killed": "turn aborted to prevent runaway",
    "internal_error": "something went wrong inside the daemon",
}


# What users are told instead of the provider's own words.
_TOLD: Final[Mapping[FailureCode, str]] = {
    "auth_error": "Authentication failed. Check your API key or token.",
    "context_overflow": "Message too long for the model's context window.",
    "insufficient_balance": "Insufficient balance or quota exceeded. Please check your API billing.",
    "network_error": "Network error connecting to the AI provider.",
    "provider_error": "The AI provider returned a server error. Try again.",
    "rate_limited": "Rate limited by the provider. Please wait a moment.",
}


@dataclass(frozen=True, slots=True)
class FailureClass:
    """One row of the classification.

    Attributes:
        code: The code that clients branch on.
        category: Family of the code.
        retry: Whether sending the message again may help.
        message: An error text that a real daemon classifies under this code.
    """

    code: FailureCode
    category: str
    retry: bool
    message: str


FAILURES: Final[Mapping[FailureCode, FailureClass]] = {
    code: FailureClass(code, category, code in RETRYABLE_FAILURES, _MESSAGES[code])
    for code, category in FAILURE_CATEGORIES.items()
}
"""Every classification by its code."""


@dataclass(frozen=True, slots=True)
class FailedTurn:
    """A failed turn as events describe it.

    Attributes:
        kind: How the failure is classified.
        message: Text for people.
        detail: Text for logs.
    """

    kind: FailureClass
    message: str
    detail: str


def failed_turn(code: FailureCode, message: str) -> FailedTurn:
    """Describes a failed turn as events do.

    Args:
        code: How the failure is classified.
        message: What the provider said.
    """
    # Only the default row of the classification prefixes the detail with the type of the exception.
    prefix = "[RuntimeError] " if code == INTERNAL_ERROR else ""
    return FailedTurn(FAILURES[code], _TOLD.get(code, message), (prefix + message)[:_LONGEST_DETAIL])
