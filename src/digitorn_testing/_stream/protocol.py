"""How a stream deals with the daemon: its timings and limits, and what it tries again."""

from typing import Final

from digitorn_testing._concurrency.backoff import Backoff
from digitorn_testing._errors import ContractViolation, DaemonUnreachable, RateLimited, ServerError
from digitorn_testing._generated.models import MessageAccepted

REPLAY_MARGIN: Final = 64
"""How far behind the newest event a rejoin or a gap fill starts; background emits take their numbers late
and log rows are written in batches (contract: events, sections 3.3 and 6.0)."""

SOON_VISIBLE_SECONDS: Final = 0.1
"""After this time an event that was sent is usually in the durable log, which is written in batches."""

VISIBLE_SECONDS: Final = 1.0
"""After this time an event that was sent is certainly in the durable log; a batch takes a twentieth of it."""

GAP_READ_SECONDS: Final = (SOON_VISIBLE_SECONDS, 0.5)
"""When the log is read for a missing number, in seconds after the gap was noticed."""

JOIN_READ_SECONDS: Final = (SOON_VISIBLE_SECONDS, VISIBLE_SECONDS + 0.1)
"""When the log is read again after a join, in seconds after it. An event that was sent just before the join
may have missed both the room and the replay, and become visible in the log only later (contract: events,
section 3.3)."""

PAGE: Final = 5000
"""Most rows that one read of the durable log brings (contract: rest, section 4.6)."""

PASSING: Final = (DaemonUnreachable, ServerError, RateLimited)
"""Errors that may be gone a moment later: the daemon is starting, is busy, or cannot be reached."""

TRY_AGAIN: Final = Backoff(first_pause=0.05, growth=2.0, longest_pause=2.0, jitter=0.0)
"""The pauses between attempts of a stream's calls over HTTP that failed with one of `PASSING`."""

ABORTS: Final = Backoff(first_pause=0.05, growth=2.0, longest_pause=0.5, jitter=0.0)
"""The pauses between attempts to cut off a turn that has been started and does not work yet."""

ABORT_SECONDS: Final = 10.0
"""How long that is tried."""

BEGINNING: Final = Backoff(first_pause=0.05, growth=2.0, longest_pause=1.0, jitter=0.0)
"""The pauses between attempts to join a session that its first message has yet to create."""

_REFUSED_FOR_NOW: Final = ("internal error",)
"""Reasons for refusing a join that may not hold a moment later (contract: events, section 3)."""


def is_refused_for_now(reason: str) -> bool:
    """Whether a join that was refused may succeed a moment later.

    Args:
        reason: What the daemon said.
    """
    return reason in _REFUSED_FOR_NOW


def correlation_id_of(turn: MessageAccepted | str) -> str:
    """The correlation id of a turn.

    Args:
        turn: What posting its message answered, or the id itself.

    Raises:
        ContractViolation: The answer names none.
        ValueError: The id is empty.
    """
    if isinstance(turn, str):
        if not turn:
            raise ValueError("the correlation id of a turn is empty")
        return turn
    if turn.correlation_id is None:
        raise ContractViolation("the answer to send_message", ("data.correlation_id: missing",))
    return turn.correlation_id
