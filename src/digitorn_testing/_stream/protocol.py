"""How a stream deals with the daemon: its timings and limits, and what it tries again."""

from __future__ import annotations

from typing import Final

from digitorn_testing._concurrency.backoff import Backoff
from digitorn_testing._errors import ContractViolation, DaemonUnreachable, RateLimited, ServerError
from digitorn_testing._generated import models

READ_MARGIN: Final = 64
"""How far behind the newest event a read of the log starts, in case a few arrived out of order."""

RESTART_MARGIN: Final = 500
"""How far behind the newest event the log is read after a restart. The daemon writes rows to disk in batches
of this size at the most; what a killed one had not written is lost, and its numbers are given out again."""

STALL_SECONDS: Final = 7.0
"""After a silence of this time the log is read: a daemon that works sends a heartbeat every 5 seconds, and
one that was blocked for so long gave up what it was sending (contract: events, sections 1 and 5.12)."""

QUIET_SECONDS: Final = 4.5
"""After this time without an event of the session the daemon is asked for a turn whose end has not come. A
turn that runs sends a heartbeat every 3 seconds (contract: events, section 5.1)."""

LAST_WORD_SECONDS: Final = 2.0
"""How long the last event of a turn may take after the one that ends it, before the log is read for it."""

KNOWN_SECONDS: Final = 1.0
"""How long a turn that was just accepted may be missing in the state of its session."""

ROWS_SECONDS: Final = 1.0
"""How long the last rows of a turn may take after its row in the queue has the final status."""

ROWS_AGAIN_SECONDS: Final = 0.1
"""How often the log is read for them."""

PATIENCE_SECONDS: Final = 4.0
"""How long the log is asked for again when it is refused and somebody waits: for the end of a turn that has
ended, or for events that are held back until earlier ones are here."""

ANSWER_SECONDS: Final = 3.0
"""How long one answer of the log may take before it is asked for again."""

CUT_OFF_SECONDS: Final = 1.0
"""How long the open turns of a deleted session get to be reported as cut off."""

PAGE: Final = 1000
"""Most rows that one read of the log brings (contract: events, section 3.2)."""

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


def correlation_id_of(turn: models.MessageAccepted | str) -> str:
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
