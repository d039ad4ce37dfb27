"""When to send a call again, and how long to wait first; without any IO."""

import math
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from digitorn_testing._concurrency.backoff import CHANCE, Backoff, Pauses, check_ranges
from digitorn_testing._errors import (
    ApiError,
    DaemonUnreachable,
    DigitornError,
    RateLimited,
    ServerError,
    UntrustedCertificate,
)
from digitorn_testing._generated._runtime import Call
from digitorn_testing._generated.operations import CREATE_SESSION, SEND_MESSAGE

T = TypeVar("T")

# Idempotent by RFC 9110 §9.2.2.
_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
# These bring a message, whose id from the client stands in the session's log if the daemon took it.
_IDENTIFIED: Final = frozenset({SEND_MESSAGE.id, CREATE_SESSION.id})
# What the daemon says with 503 while it starts and stops; it has not executed the call then.
_NOT_READY: Final = ("warming up", "Server is shutting down", "may still be starting")
_NOT_READY_SECONDS: Final = 1.0
_NOT_IMPLEMENTED: Final = (501, 505)
_GONE: Final = (200, 404)
"""Statuses of the answer when something is deleted again: a refusal in the envelope, or not found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy(Backoff):
    """When to send a REST call again: retries with exponential backoff and jitter.

    An idempotent call (GET, HEAD, PUT, DELETE) is retried if no daemon answers, on 429 and on 5xx. A message
    to a session is retried only if the daemon certainly did not take it. If it may have, the client looks for
    its `client_message_id` in the session's log, and raises `UnconfirmedMessage` if it is not there. Every
    call waits while the daemon starts or stops. The client's timeout covers all attempts and pauses together.

    Attributes:
        attempts: Maximum number of attempts, including the first.
        first_pause: Seconds before the second attempt.
        growth: Factor by which each further pause is longer.
        longest_pause: Maximum pause in seconds.
        jitter: Fraction of a pause that is random, 0 to 1, so that many clients do not retry at once.
        longest_retry_after: Maximum pause in seconds that a daemon may ask for with `Retry-After`. If it asks
            for more, the call fails at once.
        attempt_timeout: Seconds for one attempt. Without it a first attempt that hangs takes the whole
            timeout.
        longest_search: Seconds for which a daemon that answers is asked for a message that it may have taken.

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
    longest_search: float = 5.0

    def __post_init__(self) -> None:
        Backoff.__post_init__(self)
        check_ranges(
            ("attempts", self.attempts, 1, math.inf),
            ("longest_retry_after", self.longest_retry_after, 0, math.inf),
            ("attempt_timeout", self.attempt_timeout, 0.001, math.inf),
            ("longest_search", self.longest_search, 0, math.inf),
        )


class Attempts:
    """The attempts of one call.

    Args:
        policy: When to retry; None for never.
        call: The call.
        chance: Returns random numbers, 0 to 1.
    """

    def __init__(
        self,
        policy: RetryPolicy | None,
        call: Call[Any],
        chance: Callable[[], float] = CHANCE.random,
    ) -> None:
        self._waits = policy is not None
        self._policy = policy if policy is not None and may_be_sent_again(call) else None
        self._deletes = call.operation.method == "DELETE"
        self._pauses = None if self._policy is None else Pauses(self._policy, chance)
        self._unanswered = False
        self.sent = 0
        """How many times the call was sent, including repetitions with a new token."""

    @property
    def timeout(self) -> float:
        """Seconds for the next attempt."""
        limit = None if self._policy is None else self._policy.attempt_timeout
        return math.inf if limit is None else limit

    def pause(self, error: DigitornError, left: float) -> float | None:
        """Seconds to wait before the next attempt; None if there must not be one.

        Args:
            error: The failure of the last attempt.
            left: Seconds until the deadline of the call.
        """
        if self._waits and isinstance(error, ServerError) and is_not_ready(error):
            # However long a start takes, the call's deadline bounds it.
            wait = _NOT_READY_SECONDS if error.retry_after is None else error.retry_after
            return wait if wait < left else None
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


def may_be_sent_again(call: Call[Any]) -> bool:
    """Whether a call may be sent again: it is idempotent, or the client can find out whether it was taken."""
    return call.operation.method in _IDEMPOTENT or is_identified(call)


def is_identified(call: Call[Any]) -> bool:
    """Whether a call brings a message with an id, which the daemon notes in the session's log."""
    return call.operation.id in _IDENTIFIED and bool(call.body and call.body.get("client_message_id"))


def identified(call: Call[T]) -> Call[T]:
    """The call with an id of its message, if it takes one and the caller gave none."""
    if call.operation.id not in _IDENTIFIED or call.body is None or is_identified(call):
        return call
    return replace(call, body={**call.body, "client_message_id": new_message_id()})


def may_be_taken(call: Call[Any], error: DigitornError) -> bool:
    """Whether the daemon may have taken the message that a failed call brought.

    Args:
        call: The call.
        error: Its failure.
    """
    if isinstance(error, DaemonUnreachable):
        return error.may_be_done
    if not isinstance(error, ServerError) or error.status in _NOT_IMPLEMENTED:
        return False
    if error.status == 503 and isinstance(error.data, Mapping):
        # The daemon itself answers 503 only before it takes a message; a proxy would not answer in JSON.
        return False
    # With `wait` the daemon answers 500 for a turn that failed, so that the message was taken for certain.
    return call.body is None or call.body.get("queue_mode") != "wait"


def is_not_ready(error: ServerError) -> bool:
    """Whether the daemon refused a call unexecuted because it is starting or stopping."""
    return error.status == 503 and any(words in error.reason for words in _NOT_READY)


def new_message_id() -> str:
    """A new id for a message."""
    return f"cm-{uuid.uuid4().hex}"


def _may_pass(error: DigitornError) -> bool:
    """Whether the next attempt may succeed."""
    if isinstance(error, ServerError):
        return error.status not in _NOT_IMPLEMENTED
    return isinstance(error, DaemonUnreachable | RateLimited) and not isinstance(error, UntrustedCertificate)
