"""How a session is joined, how its gaps are filled and how its turns end, on every build of the daemon.

The builds differ in all three; what is decided here is decided by what arrives, never by a version.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeAlias

from pydantic import ValidationError

from digitorn_testing._errors import ContractViolation
from digitorn_testing._events.event import AnyEvent
from digitorn_testing._generated.events import (
    DISPATCHER_TOOLS,
    EVENTS,
    QUEUE_EXPIRED_CODES,
    Abort,
    ActiveOpsSnapshot,
    ApprovalsSnapshot,
    AssistantMessage,
    AssistantMessagePartial,
    Connected,
    CredentialAuthRequired,
    CredentialRequired,
    Error,
    EventEnvelope,
    EventPayload,
    Heartbeat,
    LoggedCompactDone,
    LoggedToolCall,
    MemorySnapshot,
    MessageCancelled,
    MessageDone,
    MessageMerged,
    MessageQueued,
    MessageReplaced,
    MessageStarted,
    PreviewSnapshot,
    QueueCleared,
    QueueSnapshot,
    Result,
    SessionSnapshot,
    StateSnapshot,
    StreamCatchup,
    StreamDone,
    Token,
    ToolResult,
    TurnTerminal,
    UserMessage,
)
from digitorn_testing._generated.models import MessageAccepted, QueueEntry
from digitorn_testing._generated.payloads import EventKind

TurnStatus: TypeAlias = Literal["completed", "failed", "cancelled", "timed_out"]
"""How a turn ended. One that a timeout of the test or of the daemon's queue cut short is `timed_out`."""

VISIBLE_SECONDS: Final = 1.0
"""After this time an emitted event is in the durable log for sure; batches take a twentieth of it."""

_SNAPSHOTS: Final = (
    ActiveOpsSnapshot,
    ApprovalsSnapshot,
    MemorySnapshot,
    PreviewSnapshot,
    QueueSnapshot,
    SessionSnapshot,
    StateSnapshot,
    StreamCatchup,
)
"""Made for one socket when it joins; no part of what the session does (contract: events, section 5.11)."""

_SNAPSHOT_WIRES: Final = frozenset(wire for one in _SNAPSHOTS for wire in EVENTS.types_of(one))

_BEFORE_RUNNING: Final = (UserMessage, MessageQueued, MessageMerged, MessageReplaced)

TURN_END_TYPES: Final[tuple[type[EventPayload], ...]] = (
    MessageDone,
    MessageCancelled,
    TurnTerminal,
    CredentialAuthRequired,
    CredentialRequired,
)
"""What ends a turn, or may; `ends_a_turn` tells."""

_LOG_ONLY: Final = (
    AssistantMessage,
    AssistantMessagePartial,
    LoggedCompactDone,
    LoggedToolCall,
    ToolResult,
)
"""Rows of the durable log that are never sent live (contract: events, sections 4.2 and 5)."""

_MESSAGE_ROW: Final[EventKind] = "message"
"""Kind of the rows that hold the messages of a conversation; their types may be those of events."""

OUTCOME_TYPES: Final = (
    CredentialAuthRequired,
    CredentialRequired,
    Error,
    MessageCancelled,
    Result,
    TurnTerminal,
)
"""What says how a turn ended."""

TURN_END_HINTS: Final[tuple[type[EventPayload], ...]] = (
    Abort,
    Error,
    MessageCancelled,
    MessageReplaced,
    QueueCleared,
)
"""What may mean the end of a turn without naming it."""


def is_heartbeat(event: AnyEvent) -> bool:
    """Whether an event says that the daemon is alive, and that another will follow in 5 seconds."""
    return isinstance(event.payload, Heartbeat)


def instance_of(event: AnyEvent) -> str | None:
    """The daemon's process that an event names; None where it names none (contract: events, section 1)."""
    return _control(event).instance_id if isinstance(event.payload, Connected | Heartbeat) else None


def _control(event: AnyEvent) -> EventEnvelope:
    try:
        return EventEnvelope.from_wire(event.raw)
    except ValidationError:
        return EventEnvelope(type=event.type, payload={})


def is_snapshot(event: AnyEvent) -> bool:
    """Whether an event was made for one socket when it joined (contract: events, section 5.11)."""
    return event.type in _SNAPSHOT_WIRES


def is_snapshot_payload(payload: EventPayload) -> bool:
    """Whether a payload is that of a snapshot (contract: events, section 5.11)."""
    return isinstance(payload, _SNAPSHOTS)


def is_logged(event: AnyEvent) -> bool:
    """Whether an event is one of the session's own, as opposed to a snapshot made for one socket."""
    return event.is_numbered and not is_snapshot(event)


def current_seq(event: AnyEvent) -> int | None:
    """The newest number of the session that a heartbeat tells; None for other events."""
    return _control(event).current_seq if isinstance(event.payload, Heartbeat) else None


def is_log_only(event: AnyEvent) -> bool:
    """Whether this is no event, but a row of the durable log that repeats what events have told."""
    return isinstance(event.payload, _LOG_ONLY) or event.kind == _MESSAGE_ROW


def ends_a_turn(event: AnyEvent) -> bool:
    """Whether the turn that this event names does nothing more; a word on how it ended may follow."""
    match event.payload:
        case CredentialRequired() | CredentialAuthRequired():
            return _pauses(event)
        case _:
            return isinstance(event.payload, TURN_END_TYPES)


def ends_turn(event: AnyEvent, correlation_id: str) -> bool:
    """Whether that turn does nothing more after this event."""
    return event.correlation_id == correlation_id and ends_a_turn(event)


def lacks_terminal(turn: Iterable[AnyEvent]) -> bool:
    """Whether a turn that has done everything lacks its last event.

    A build whose `message_started` names a source sends `turn_terminal` behind the done or cancelled event;
    on others that one is the last (contract: events, section 8, trap 4).
    """
    events = list(turn)
    promised = any(isinstance(one.payload, MessageStarted) and one.payload.source for one in events)
    over = any(isinstance(one.payload, TurnTerminal) or _pauses(one) for one in events)
    return promised and not over


def _pauses(event: AnyEvent) -> bool:
    """Whether a turn waits for a credential from here on; nothing follows (contract: events, section 5.6)."""
    asks = isinstance(event.payload, CredentialRequired | CredentialAuthRequired)
    return asks and event.op_state == "waiting_approval"


def begins_turn(event: AnyEvent) -> bool:
    """Whether this event may be the first of a turn."""
    return isinstance(event.payload, UserMessage | MessageQueued | MessageStarted)


def starts_running(event: AnyEvent) -> bool:
    """Whether the turn that this event names runs from here on."""
    return isinstance(event.payload, MessageStarted)


def is_running(event: AnyEvent) -> bool:
    """Whether this event says that the turn that it names runs; the only sign of it behind a late join."""
    return event.op_type == "turn" and event.op_state == "running" and not waits_to_run(event)


def waits_to_run(event: AnyEvent) -> bool:
    """Whether this event is of the time before its turn runs."""
    return event.op_state == "pending" or isinstance(event.payload, _BEFORE_RUNNING)


def only_waits(turn: Iterable[AnyEvent]) -> bool:
    """Whether a turn's events leave it in the queue: it was put there and never ran."""
    states = {event.op_state for event in turn}
    return states == {"pending"}


def streamed_texts(turn: Iterable[AnyEvent]) -> list[list[str]]:
    """The texts that a turn streamed, one for each request to the model, each as its pieces.

    `stream_done` ends each; between two texts the daemon may put newlines that are part of neither
    (contract: events, sections 5.1 and 5.2).
    """
    texts: list[list[str]] = [[]]
    at_break = False
    for event in turn:
        match event.payload:
            case StreamDone():
                texts.append([])
                at_break = True
            case Token(delta=delta) if delta:
                if not (at_break and not delta.strip("\n")):
                    texts[-1].append(delta)
                at_break = False
            case _:
                pass
    return [text for text in texts if text]


def tool_names(name: str, params: Mapping[str, object]) -> tuple[str, ...]:
    """Every name that a tool call goes by.

    It may be dotted, or that of a dispatcher with the real one in its arguments
    (contract: events, section 5.3).

    Args:
        name: Name on the wire.
        params: Arguments of the call.
    """
    inner = params.get("name") if name in DISPATCHER_TOOLS else None
    names = (name, *((inner,) if isinstance(inner, str) else ()))
    return (*names, *(one.rpartition(".")[2] for one in names if "." in one))


def lacks_text(turn: Iterable[AnyEvent]) -> bool:
    """Whether a turn that has ended lacks the end of its streamed answer.

    Tokens are sent in the background and may come behind the event that ends the turn
    (contract: events, section 8, trap 3).
    """
    events = list(turn)
    texts = streamed_texts(events)
    content = next((one.payload.content for one in events if isinstance(one.payload, Result)), "").strip()
    answer = "".join(texts[-1]).strip() if texts else ""
    return bool(answer) and len(answer) < len(content) and content.startswith(answer)


def tells_outcome(turn: Iterable[AnyEvent]) -> bool:
    """Whether a turn's events say how it ended.

    An aborted message of the queue ends as done, with neither result nor error (contract: events, 6.6).
    """
    return any(isinstance(event.payload, OUTCOME_TYPES) for event in turn)


def may_end_turn(event: AnyEvent) -> bool:
    """Whether this event may mean the end of a turn that it does not name.

    A message that is taken out of the queue is named by its queue row, one that is replaced or purged by
    nothing, and a queued message that fails before its turn began ends with an error alone
    (contract: events, sections 5.1 and 6.7).
    """
    match event.payload:
        case MessageCancelled(entry_id=entry_id):
            return entry_id is not None
        case _:
            return isinstance(event.payload, TURN_END_HINTS)


def status_of_entry(entry: QueueEntry) -> TurnStatus | None:
    """How the turn of a queue row ended; None while it has not."""
    if entry.error_code in QUEUE_EXPIRED_CODES:
        return "timed_out"
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
