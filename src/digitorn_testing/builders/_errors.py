"""How failed turns are classified (contract: events, section 7)."""

from typing import Final, Literal, NamedTuple, TypeAlias

ErrorCode: TypeAlias = Literal[
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


class ErrorClass(NamedTuple):
    """What goes with a code."""

    category: str
    retry: bool


ERROR_CLASSES: Final[dict[ErrorCode, ErrorClass]] = {
    "credential_auth_required": ErrorClass("auth", False),
    "credential_required": ErrorClass("credential", False),
    "model_not_provided_by_digitorn": ErrorClass("configuration", False),
    "insufficient_balance": ErrorClass("billing", False),
    "auth_error": ErrorClass("auth", False),
    "rate_limited": ErrorClass("rate_limit", True),
    "context_overflow": ErrorClass("provider", False),
    "network_error": ErrorClass("network", True),
    "provider_error": ErrorClass("provider", True),
    "permission_denied": ErrorClass("security", False),
    "session_busy": ErrorClass("internal", True),
    "agent_loop_killed": ErrorClass("internal", True),
    "internal_error": ErrorClass("internal", True),
}

CREDENTIAL_CODES: Final = frozenset({"credential_auth_required", "credential_required"})
"""Codes that end a turn with an event of their own (contract: events, section 5.6)."""
