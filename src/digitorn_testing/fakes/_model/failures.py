"""How a failed turn is classified (contract: events, section 7)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

FailureCode: TypeAlias = Literal[
    "credential_auth_required",
    "credential_required",
    "model_not_provided_by_digitorn",
    "insufficient_balance",
    "auth_error",
    "rate_limited",
    "context_overflow",
    "network_error",
    "provider_error",
    "permission_denied",
    "session_busy",
    "agent_loop_killed",
    "internal_error",
]
"""How a failed turn is classified: what clients switch on."""

INTERNAL_ERROR: Final = "internal_error"

_LONGEST_DETAIL = 500


@dataclass(frozen=True, slots=True)
class FailureClass:
    """One row of the classification.

    Attributes:
        code: What clients switch on.
        category: Family of the code.
        retry: Whether sending again may help.
        message: A text that a real daemon classifies under this code.
    """

    code: FailureCode
    category: str
    retry: bool
    message: str


_CLASSES: Final[tuple[FailureClass, ...]] = (
    FailureClass("credential_auth_required", "auth", False, "credential_auth_required"),
    FailureClass("credential_required", "credential", False, "a credential is required"),
    FailureClass("model_not_provided_by_digitorn", "configuration", False, "the model is not provided"),
    FailureClass("insufficient_balance", "billing", False, "insufficient balance"),
    FailureClass("auth_error", "auth", False, "401 unauthorized"),
    FailureClass("rate_limited", "rate_limit", True, "429 too many requests"),
    FailureClass("context_overflow", "provider", False, "the context length is exceeded"),
    FailureClass("network_error", "network", True, "connection reset by peer"),
    FailureClass("provider_error", "provider", True, "server error at the provider"),
    FailureClass("permission_denied", "security", False, "permission denied"),
    FailureClass("session_busy", "internal", True, "session lock timeout"),
    FailureClass("agent_loop_killed", "internal", True, "the loop guard stopped the agent"),
    FailureClass(INTERNAL_ERROR, "internal", True, "something went wrong inside the daemon"),
)

FAILURES: Final[Mapping[FailureCode, FailureClass]] = {one.code: one for one in _CLASSES}
"""Every classification by its code."""

CREDENTIAL_CODES: Final[frozenset[FailureCode]] = frozenset(
    {"credential_auth_required", "credential_required"}
)
"""Codes that end a turn with an event of their own (contract: events, section 5.6)."""

BEFORE_THE_LOOP: Final[frozenset[FailureCode]] = frozenset({"session_busy"})
"""Codes of failures before the agent ran, which have no result (contract: events, section 6.7)."""


class TurnFailed(Exception):
    """A turn cannot go on; the model gave no answer, for example.

    Attributes:
        failure: How the daemon classifies it.
        message: Text for people.
        detail: Text for the record, at most 500 characters.
    """

    def __init__(self, code: FailureCode, message: str | None = None) -> None:
        self.failure = FAILURES[code]
        self.message = message or self.failure.message
        # Only the default row of the classification prefixes the detail with a type.
        prefix = f"{type(self).__name__}: " if code == INTERNAL_ERROR else ""
        self.detail = (prefix + self.message)[:_LONGEST_DETAIL]
        super().__init__(self.message)
