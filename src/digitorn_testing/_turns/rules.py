"""Rules about the events of one turn."""

from collections.abc import Iterable

from digitorn_testing._events.daemon import MEANING
from digitorn_testing._events.event import AnyEvent
from digitorn_testing._events.meaning import Meaning, TurnEnding
from digitorn_testing._generated.events import QUEUE_EXPIRED_CODES, RESTART_CODES
from digitorn_testing._generated.models import QueueEntry

from .texts import first_of_answer, streamed_texts


def ends_turn(event: AnyEvent, correlation_id: str, meaning: Meaning = MEANING) -> bool:
    """Whether the turn ends with this event."""
    return event.correlation_id == correlation_id and meaning.ends_turn(event)


def has_ended(turn: Iterable[AnyEvent], correlation_id: str, meaning: Meaning = MEANING) -> bool:
    """Whether one of a turn's events ends it."""
    return any(ends_turn(event, correlation_id, meaning) for event in turn)


def lacks_terminal(turn: Iterable[AnyEvent], meaning: Meaning = MEANING) -> bool:
    """Whether a turn has finished its work but its last event is missing.

    Some daemons send another event after the one that ends the turn, and announce that at its start. For
    others the event that ends the turn is the last one (contract: events, section 8.5).
    """
    events = list(turn)
    return any(map(meaning.promises_terminal, events)) and not any(map(meaning.is_terminal, events))


def only_waits(turn: Iterable[AnyEvent]) -> bool:
    """Whether a turn is still in the queue: it was queued and never ran."""
    return {event.op_state for event in turn} == {"pending"}


def is_whole(turn: Iterable[AnyEvent], meaning: Meaning = MEANING) -> bool:
    """Whether nothing seems to be missing of a turn that has ended: it has its last event and its answer, its
    tool calls have ended, and its text adds up to the answer.

    A turn that was cut off never seems whole; the daemon may have dropped what it was sending then.
    """
    events = list(turn)
    answer = next((one for event in reversed(events) if (one := meaning.answer(event)) is not None), None)
    if answer is None or lacks_terminal(events, meaning):
        return False
    begun = {began.call_id for event in events if (began := meaning.tool_began(event)) is not None}
    ended = {end.call_id for event in events if (end := meaning.tool_ended(event)) is not None}
    if not begun <= ended:
        return False
    return bool(answer.error) or first_of_answer(streamed_texts(events, meaning), answer.content) is not None


def tells_outcome(turn: Iterable[AnyEvent], meaning: Meaning = MEANING) -> bool:
    """Whether a turn's events say how it ended."""
    return any(map(meaning.tells_outcome, turn))


def ending_of_entry(entry: QueueEntry) -> TurnEnding | None:
    """How the turn of a queue row ended; None if it has not ended."""
    if entry.error_code in QUEUE_EXPIRED_CODES:
        return "timed_out"
    if entry.error_code in RESTART_CODES:
        return "lost"
    match entry.status:
        case "completed" | "failed" | "cancelled":
            return entry.status
        case _:
            return None
