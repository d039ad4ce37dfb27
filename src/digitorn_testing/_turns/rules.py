"""Rules about the events of one turn."""

from collections.abc import Iterable

from digitorn_testing._events.daemon import MEANING
from digitorn_testing._events.event import AnyEvent
from digitorn_testing._events.meaning import Meaning, TurnEnding
from digitorn_testing._generated.events import QUEUE_EXPIRED_CODES, RESTART_CODES
from digitorn_testing._generated.models import QueueEntry


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


def streamed_texts(turn: Iterable[AnyEvent], meaning: Meaning = MEANING) -> list[list[str]]:
    """The texts that a turn streamed, one per request to the model, each as a list of pieces.

    The daemon may insert newlines between two texts; they belong to neither (contract: events, sections 5.1
    and 5.2).
    """
    texts: list[list[str]] = [[]]
    at_break = False
    for event in turn:
        if meaning.ends_text(event):
            texts.append([])
            at_break = True
        elif delta := meaning.text_delta(event):
            if not (at_break and not delta.strip("\n")):
                texts[-1].append(delta)
            at_break = False
    return [text for text in texts if text]


def lacks_text(turn: Iterable[AnyEvent], meaning: Meaning = MEANING) -> bool:
    """Whether a turn has ended but the end of its streamed answer is missing.

    Tokens are sent in the background and may arrive after the event that ends the turn
    (contract: events, section 8.6).
    """
    events = list(turn)
    texts = streamed_texts(events, meaning)
    content = next((one.content for event in events if (one := meaning.answer(event))), "").strip()
    answer = "".join(texts[-1]).strip() if texts else ""
    return bool(answer) and len(answer) < len(content) and content.startswith(answer)


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
