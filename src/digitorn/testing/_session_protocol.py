"""How a session is joined, how its gaps are filled and how its turns end, on every build of the daemon.

The builds differ in all three; what is decided here is decided by what arrives, never by a version.
"""

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

from ._errors import ContractViolation
from ._generated.events import (
    CredentialAuthRequired,
    CredentialRequired,
    Error,
    EventPayload,
    MessageCancelled,
    MessageDone,
    MessageQueued,
    MessageStarted,
    Result,
    TurnTerminal,
    UserMessage,
)
from ._generated.models import MessageAccepted, QueueEntry
from ._log import AnyEvent, is_snapshot

TurnStatus: TypeAlias = Literal["completed", "failed", "cancelled"]

FROM_NOW: Final = 2**31 - 1
"""A `since` above every real number: a join with it replays nothing."""

REPLAY_MARGIN: Final = 64
"""How far behind the newest event a rejoin or a gap fill starts; background emits take their numbers late
and log rows are written in batches (contract: events, sections 6.0 and 8, trap 12)."""

SETTLE_SECONDS: Final = (0.1, 0.5)
"""When after a join the log is read again: a row becomes visible a batch after its event was emitted."""

VISIBLE_SECONDS: Final = 1.0
"""After this time an emitted event is in the durable log for sure; batches take a twentieth of it."""

PAGE: Final = 5000
"""Most rows that one read of the durable log brings (contract: rest, list_session_events)."""

TURN_END_TYPES: Final[tuple[type[EventPayload], ...]] = (MessageDone, MessageCancelled, TurnTerminal)

OUTCOME_TYPES: Final = (
    CredentialAuthRequired,
    CredentialRequired,
    Error,
    MessageCancelled,
    Result,
    TurnTerminal,
)
"""What says how a turn ended."""

TURN_END_HINTS: Final[tuple[type[EventPayload], ...]] = (MessageCancelled, Error)
"""What may mean the end of a turn without naming it."""


def is_logged(event: AnyEvent) -> bool:
    """Whether an event is one of the session's own, as opposed to a snapshot made for one socket."""
    return event.is_numbered and not is_snapshot(event)


def belongs_to(event: AnyEvent, correlation_id: str) -> bool:
    """Whether an event is of the turn with that correlation id."""
    return event.correlation_id == correlation_id


def ends_turn(event: AnyEvent, correlation_id: str) -> bool:
    """Whether this event is the end of that turn.

    A build without `turn_terminal` ends with the done or cancelled event; one with it sends it behind
    those, so that the first of them is enough (contract: events, section 8, trap 4).
    """
    return belongs_to(event, correlation_id) and isinstance(event.payload, TURN_END_TYPES)


def begins_turn(event: AnyEvent) -> bool:
    """Whether this event may be the first of a turn."""
    return isinstance(event.payload, UserMessage | MessageQueued | MessageStarted)


def tells_outcome(turn: Iterable[AnyEvent]) -> bool:
    """Whether a turn's events say how it ended.

    An aborted message of the queue ends as done, with neither result nor error (contract: events, 6.6).
    """
    return any(isinstance(event.payload, OUTCOME_TYPES) for event in turn)


def may_end_turn(event: AnyEvent) -> bool:
    """Whether this event may mean the end of a turn that it does not name.

    A message that is taken out of the queue is named by its queue row, and a queued message that fails
    before its turn began ends with an error alone (contract: events, sections 5.1 and 6.7).
    """
    match event.payload:
        case MessageCancelled(entry_id=entry_id):
            return entry_id is not None
        case Error():
            return True
        case _:
            return False


def status_of_entry(entry: QueueEntry) -> TurnStatus | None:
    """How the turn of a queue row ended; None while it has not."""
    match entry.status:
        case "completed" | "failed" | "cancelled":
            return entry.status
        case _:
            return None


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
