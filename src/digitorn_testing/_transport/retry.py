"""When a call is sent again, and how long to wait before; without any IO."""

import math
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from digitorn_testing._concurrency.backoff import Backoff, Pauses, check_ranges
from digitorn_testing._errors import (
    ApiError,
    DaemonUnreachable,
    DigitornError,
    RateLimited,
    ServerError,
    UntrustedCertificate,
)
from digitorn_testing._generated._runtime import Call
from digitorn_testing._generated.models import SessionMessageRequest
from digitorn_testing._generated.operations import SEND_MESSAGE

T = TypeVar("T")

# Sending these again comes to the same (RFC 9110, section 9.2.2).
_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
# The daemon recognises these by an id that the client gives (contract: rest, SessionMessageRequest).
_IDENTIFIED: Final = frozenset({SEND_MESSAGE.id})
_NOT_IMPLEMENTED: Final = (501, 505)
_GONE: Final = (200, 404)
"""Statuses of the answer to a deletion that was done before: the envelope's refusal, and not found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy(Backoff):
    """When a REST call is sent again.

    That is when no daemon answers, on 429 and on 5xx, and only if a second sending does no more than the
    first: GET, HEAD, PUT, DELETE, and a message to a session, which the daemon recognises by its
    `client_message_id`. The client's timeout bounds all attempts and pauses together.

    Attributes:
        attempts: How many times a call is sent at most.
        first_pause: Seconds before the second attempt.
        growth: How much longer each further pause is.
        longest_pause: Seconds of the longest pause.
        jitter: Part of a pause that is left to chance, 0 to 1, so that many clients do not come at once.
        longest_retry_after: Longest pause in seconds that a daemon may ask for with `Retry-After`. It is kept
            to; when it asks for more, the call fails at once.
        attempt_timeout: Seconds for one attempt; without it the first that hangs takes the whole timeout.

    Raises:
        ValueError: A number is out of its range.
    """

    attempts: int = 3
    first_pause: float = 0.1
    growth: float = 2.0
    longest_pause: float = 2.0
    jitter: float = 0.5
    longest_retry_after: float = 10.0
    attempt_timeout: float | None = None

    def __post_init__(self) -> None:
        Backoff.__post_init__(self)
        check_ranges(
            ("attempts", self.attempts, 1, math.inf),
            ("longest_retry_after", self.longest_retry_after, 0, math.inf),
            ("attempt_timeout", self.attempt_timeout, 0.001, math.inf),
        )


class Attempts:
    """The attempts of one call.

    Args:
        policy: When to try again; None for never.
        call: The call.
        chance: Gives random numbers, 0 to 1.
    """

    def __init__(
        self,
        policy: RetryPolicy | None,
        call: Call[Any],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._policy = policy if policy is not None and is_repeatable(call) else None
        self._deletes = call.operation.method == "DELETE"
        self._pauses = None if self._policy is None else Pauses(self._policy, chance)
        self._unanswered = False
        self.sent = 0
        """How many times the call went out, also with a new token."""

    @property
    def timeout(self) -> float:
        """Seconds for the next attempt."""
        limit = None if self._policy is None else self._policy.attempt_timeout
        return math.inf if limit is None else limit

    def pause(self, error: DigitornError, left: float) -> float | None:
        """Seconds to wait before the next attempt; None when there is none.

        Args:
            error: What came of the last one.
            left: Seconds until the deadline of the call.
        """
        if isinstance(error, ApiError) and self._unanswered and self._deletes and error.status in _GONE:
            error.may_be_done = True
            error.add_note("An earlier attempt got no answer, and may have deleted it.")
        if self._policy is None or self._pauses is None or not _may_pass(error):
            return None
        pause = self._pauses.next()
        if self._pauses.made >= self._policy.attempts:
            return None
        self._unanswered = self._unanswered or not isinstance(error, RateLimited)
        if isinstance(error, RateLimited | ServerError) and error.retry_after is not None:
            if error.retry_after > self._policy.longest_retry_after:
                return None
            pause = max(pause, error.retry_after)
        return pause if pause < left else None


def is_repeatable(call: Call[Any]) -> bool:
    """Whether sending a call twice does no more than sending it once."""
    return call.operation.method in _IDEMPOTENT or call.operation.id in _IDENTIFIED


def identified(call: Call[T]) -> Call[T]:
    """The call with an id by which the daemon recognises it, where it takes one and the caller gave none."""
    if call.operation.id not in _IDENTIFIED or call.body is None:
        return call
    made = SessionMessageRequest(message="", client_message_id=new_message_id()).to_wire()
    missing = {name: value for name, value in made.items() if value and not call.body.get(name)}
    return replace(call, body={**call.body, **missing})


def new_message_id() -> str:
    """An identity for a message."""
    return f"cm-{uuid.uuid4().hex}"


def _may_pass(error: DigitornError) -> bool:
    """Whether the next attempt may fare better."""
    if isinstance(error, ServerError):
        return error.status not in _NOT_IMPLEMENTED
    return isinstance(error, DaemonUnreachable | RateLimited) and not isinstance(error, UntrustedCertificate)
