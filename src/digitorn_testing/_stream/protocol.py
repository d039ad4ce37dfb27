"""How a stream joins a session and reads its log: numbers and times of the wire."""

from typing import Final

from digitorn_testing._errors import ContractViolation
from digitorn_testing._generated.models import MessageAccepted

FROM_NOW: Final = 2**31 - 1
"""A `since` above every real number: a join with it replays nothing."""

REPLAY_MARGIN: Final = 64
"""How far behind the newest event a rejoin or a gap fill starts; background emits take their numbers late
and log rows are written in batches (contract: events, sections 6.0 and 8, trap 12)."""

SETTLE_SECONDS: Final = (0.1, 0.5)
"""When after a join the log is read again: a row becomes visible a batch after its event was emitted."""

VISIBLE_SECONDS: Final = 1.0
"""After this time an emitted event is in the durable log for sure; batches take a twentieth of it."""

SETTLED_SECONDS: Final = (0.1, 1.1)
"""When behind a join the log is read again: what was sent just before it may have missed both the room and
the replay, and is visible later (contract: events, section 8, trap 12)."""

PAGE: Final = 5000
"""Most rows that one read of the durable log brings (contract: rest, list_session_events)."""

_REFUSED_FOR_NOW: Final = ("internal error",)
"""What the refusal of a join says that may be otherwise a moment later (contract: events, section 3)."""


def is_refused_for_now(reason: str) -> bool:
    """Whether a join that was refused may succeed a moment later."""
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
