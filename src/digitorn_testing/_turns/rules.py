"""Rules over the events of one turn."""

from collections.abc import Iterable

from digitorn_testing._events.daemon import MEANING
from digitorn_testing._events.event import AnyEvent
from digitorn_testing._events.meaning import Meaning, TurnStatus
from digitorn_testing._generated.events import QUEUE_EXPIRED_CODES
from digitorn_testing._generated.models import QueueEntry


def ends_turn(event: AnyEvent, correlation_id: str, meaning: Meaning = MEANING) -> bool:
    """Whether that turn does nothing more after this event."""
    return event.correlation_id == correlation_id and meaning.ends_turn(event)


def has_ended(turn: Iterable[AnyEvent], correlation_id: str, meaning: Meaning = MEANING) -> bool:
    """Whether one of a turn's events ends it."""
    return any(ends_turn(event, correlation_id, meaning) for event in turn)


def lacks_terminal(turn: Iterable[AnyEvent], meaning: Meaning = MEANING) -> bool:
    """Whether a turn that has done everything lacks its last event.

    Some daemons send one behind the event that ends the turn, and say so at its start; on others the event
    that ends the turn is the last one (contract: events, section 8.5).
    """
    events = list(turn)
    return any(map(meaning.promises_terminal, events)) and not any(map(meaning.is_terminal, events))


def only_waits(turn: Iterable[AnyEvent]) -> bool:
    """Whether a turn's events leave it in the queue: it was put there and never ran."""
    return {event.op_state for event in turn} == {"pending"}


def streamed_texts(turn: Iterable[AnyEvent], meaning: Meaning = MEANING) -> list[list[str]]:
    """The texts that a turn streamed, one for each request to the model, each as its pieces.

    Between two texts the daemon may put newlines that are part of neither (contract: events, sections 5.1
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
    """Whether a turn that has ended lacks the end of its streamed answer.

    Tokens are sent in the background and may come behind the event that ends the turn
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


def status_of_entry(entry: QueueEntry) -> TurnStatus | None:
    """How the turn of a queue row ended; None while it has not."""
    if entry.error_code in QUEUE_EXPIRED_CODES:
        return "timed_out"
    match entry.status:
        case "completed" | "failed" | "cancelled":
            return entry.status
        case _:
            return None
