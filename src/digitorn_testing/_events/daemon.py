"""What the events of the daemon's contract mean: what the client knows of their names stands here.

An event is told by what arrives, never by a version of the daemon.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import ValidationError

from digitorn_testing._generated.events import (
    DISPATCHER_TOOLS,
    EVENTS,
    QUESTION_TOOLS,
    SNAPSHOT_TYPES,
    STALE_TURN_CODES,
    Abort,
    AgentEvent,
    ApprovalRequest,
    ApprovalResolved,
    ApprovalsSnapshot,
    AssistantMessage,
    AssistantMessagePartial,
    BgTaskUpdate,
    Connected,
    CredentialAuthRequired,
    CredentialRequired,
    Error,
    EventEnvelope,
    EventPayload,
    Heartbeat,
    Hook,
    InToken,
    LoggedCompactDone,
    LoggedToolCall,
    MemoryUpdate,
    MessageCancelled,
    MessageDone,
    MessageMerged,
    MessageQueued,
    MessageReplaced,
    MessageStarted,
    ModuleError,
    Notification,
    OutToken,
    QueueCleared,
    QueueSnapshot,
    Result,
    StreamCatchup,
    StreamDone,
    ThinkingDelta,
    ThinkingStarted,
    Token,
    ToolCall,
    ToolCallStreaming,
    ToolResult,
    ToolStart,
    TurnHeartbeat,
    TurnTerminal,
    UserMessage,
)
from digitorn_testing._generated.models import PendingApproval
from digitorn_testing._generated.payloads import EventKind, OpState, OpType

from .event import AnyEvent, decode
from .meaning import Answer, Failed, Meaning, Resolved, ToolBegun, ToolEnded, TurnStatus
from .transitions import TRANSITIONS, Transitions

_BEFORE_RUNNING: Final = (UserMessage, MessageQueued, MessageMerged, MessageReplaced)

_ENDS: Final[tuple[type[EventPayload], ...]] = (
    MessageDone,
    MessageCancelled,
    TurnTerminal,
    CredentialAuthRequired,
    CredentialRequired,
)
"""What ends a turn, or may; `ends_turn` tells."""

_HINTS: Final[tuple[type[EventPayload], ...]] = (
    Abort,
    Error,
    MessageCancelled,
    MessageReplaced,
    QueueCleared,
)
"""What may mean the end of a turn without naming it."""

_LOG_ONLY: Final = (
    AssistantMessage,
    AssistantMessagePartial,
    LoggedCompactDone,
    LoggedToolCall,
    ToolResult,
)
"""Rows of the durable log that are never sent live (contract: events, sections 4.2 and 4.3)."""

_ROWS: Final[frozenset[EventKind]] = frozenset(("event", "message"))
"""Kinds of rows that were never sent; their types may be those of events (contract: events, section 4.3)."""

_BOOKKEEPING: Final = (
    Connected,
    Heartbeat,
    Hook,
    InToken,
    MessageDone,
    MessageStarted,
    OutToken,
    StreamCatchup,
    StreamDone,
    ThinkingStarted,
    ToolCallStreaming,
    TurnHeartbeat,
    TurnTerminal,
)
"""What says nothing about what the agent did."""

_OUTCOMES: Final = (CredentialAuthRequired, CredentialRequired, Error, MessageCancelled, Result, TurnTerminal)
"""What says how a turn ended."""

_DENIED: Final = "User denied"
"""How the description of a request begins that comes after a denial of the same call: "User denied: …" with
the reason, "User denied approval." without one (contract: events, section 5.5)."""

_ENDS_OF_BEGUN: Final = (ApprovalResolved, MessageCancelled, MessageDone, TurnTerminal)
"""Ends of what has a beginning of its own; a tool call may come alone (contract: events, section 5.3)."""


def _wires(*payloads: type[EventPayload]) -> frozenset[str]:
    return frozenset(wire for payload in payloads for wire in EVENTS.types_of(payload))


# Every event is asked about these, and the look at its wire name answers nearly all of them.
_SNAPSHOT_WIRES: Final = frozenset(SNAPSHOT_TYPES)
_LOG_ONLY_WIRES: Final = _wires(*_LOG_ONLY)
_END_WIRES: Final = _wires(*_ENDS)
_QUEUE_WIRES: Final = _wires(QueueSnapshot)
_HEARTBEAT_WIRES: Final = _wires(Heartbeat)


class DaemonMeaning(Meaning):
    """The meaning of the events in `schema/events`."""

    def decode(self, raw: object) -> AnyEvent:
        return decode(raw)

    # --- where an event belongs

    def is_snapshot(self, event: AnyEvent) -> bool:
        return event.type in _SNAPSHOT_WIRES

    def is_logged(self, event: AnyEvent) -> bool:
        return event.is_numbered and event.type not in _SNAPSHOT_WIRES

    def is_log_only(self, event: AnyEvent) -> bool:
        if event.kind in _ROWS:
            return True
        return event.type in _LOG_ONLY_WIRES and isinstance(event.payload, _LOG_ONLY)

    # --- the connection

    def is_bookkeeping(self, event: AnyEvent) -> bool:
        return event.op_state != "failed" and (
            self.is_snapshot(event) or isinstance(event.payload, _BOOKKEEPING)
        )

    def is_heartbeat(self, event: AnyEvent) -> bool:
        return event.type in _HEARTBEAT_WIRES and isinstance(event.payload, Heartbeat)

    def instance_id(self, event: AnyEvent) -> str | None:
        return _control(event).instance_id if isinstance(event.payload, Connected | Heartbeat) else None

    def current_seq(self, event: AnyEvent) -> int | None:
        return _control(event).current_seq if self.is_heartbeat(event) else None

    # --- turns

    turn_ends: tuple[type[EventPayload], ...] = (*_ENDS, *_HINTS)
    turn_starts: tuple[type[EventPayload], ...] = (MessageStarted,)

    def begins_turn(self, event: AnyEvent) -> bool:
        return isinstance(event.payload, UserMessage | MessageQueued | MessageStarted)

    def starts_running(self, event: AnyEvent) -> bool:
        return isinstance(event.payload, MessageStarted)

    def runs_at_once(self, event: AnyEvent) -> bool:
        # A message that waits is started while another turn is running (contract: events, section 6.4).
        return isinstance(event.payload, MessageStarted) and event.payload.fast_path is True

    def is_running(self, event: AnyEvent) -> bool:
        return event.op_type == "turn" and event.op_state == "running" and not self.waits_to_run(event)

    def waits_to_run(self, event: AnyEvent) -> bool:
        return event.op_state == "pending" or isinstance(event.payload, _BEFORE_RUNNING)

    def only_marks_turn(self, event: AnyEvent) -> bool:
        return isinstance(event.payload, MessageStarted | MessageDone | MessageCancelled)

    def running_turn(self, event: AnyEvent) -> str | None:
        if event.type in _QUEUE_WIRES and isinstance(event.payload, QueueSnapshot):
            return event.payload.running_correlation_id
        return None

    def queued_turns(self, event: AnyEvent) -> Mapping[str, str]:
        match event.payload:
            case QueueSnapshot(entries=entries):
                return {entry.id: entry.correlation_id for entry in entries}
            case _:
                return {}

    def dequeued_row(self, event: AnyEvent) -> str | None:
        match event.payload:
            case MessageCancelled(entry_id=entry_id):
                # The row of the queue, and not the turn (contract: events, section 5.1).
                return entry_id
            case _:
                return None

    def ends_turn(self, event: AnyEvent) -> bool:
        if event.type not in _END_WIRES:
            return False
        match event.payload:
            case CredentialRequired() | CredentialAuthRequired():
                return _pauses(event)
            case _:
                return isinstance(event.payload, _ENDS)

    def may_end_turn(self, event: AnyEvent) -> bool:
        # A message that is taken out of the queue is named by its queue row; one that is replaced or purged
        # is not named at all. A queued message that fails before its turn begins ends with an error alone
        # (contract: events, sections 5.1 and 6.7).
        match event.payload:
            case MessageCancelled(entry_id=entry_id):
                return entry_id is not None
            case _:
                return isinstance(event.payload, _HINTS)

    def is_terminal(self, event: AnyEvent) -> bool:
        return isinstance(event.payload, TurnTerminal) or _pauses(event)

    def promises_terminal(self, event: AnyEvent) -> bool:
        # Where `message_started` names a source, `turn_terminal` follows the done or cancelled event
        # (contract: events, section 8.5).
        return isinstance(event.payload, MessageStarted) and bool(event.payload.source)

    def tells_outcome(self, event: AnyEvent) -> bool:
        # An aborted message of the queue ends as done, without result or error (contract:
        # events, section 6.6).
        return isinstance(event.payload, _OUTCOMES)

    def ending(self, event: AnyEvent) -> TurnStatus | None:
        match event.payload:
            case MessageCancelled() | TurnTerminal(status="cancelled" | "interrupted"):
                return "cancelled"
            case TurnTerminal(status="failed"):
                return "failed"
            case Error(code=code) if code in STALE_TURN_CODES:
                return "timed_out"
            case _:
                return None

    # --- text

    def said_by_user(self, event: AnyEvent) -> str | None:
        return event.payload.content if isinstance(event.payload, UserMessage) else None

    def text_delta(self, event: AnyEvent) -> str | None:
        return event.payload.delta if isinstance(event.payload, Token) else None

    def thought(self, event: AnyEvent) -> str | None:
        return event.payload.delta if isinstance(event.payload, ThinkingDelta) else None

    def ends_text(self, event: AnyEvent) -> bool:
        return isinstance(event.payload, StreamDone)

    def answer(self, event: AnyEvent) -> Answer | None:
        match event.payload:
            case Result(content=content, error=error, usage=usage, model=model):
                return Answer(content, error, usage, model)
            case _:
                return None

    # --- tools

    def tool_began(self, event: AnyEvent) -> ToolBegun | None:
        match event.payload:
            case ToolStart() as call:
                return ToolBegun(call.id, call.name, call.params, call)
            case _:
                return None

    def tool_ended(self, event: AnyEvent) -> ToolEnded | None:
        match event.payload:
            case ToolCall() as call:
                return ToolEnded(call.id, call.name, call.params, call.success, call.error, call.result, call)
            case _:
                return None

    def tool_names(self, name: str, params: Mapping[str, object]) -> tuple[str, ...]:
        # It may be dotted, or that of a dispatcher with the real one in its arguments
        # (contract: events, section 5.3).
        inner = params.get("name") if name in DISPATCHER_TOOLS else None
        names = (name, *((inner,) if isinstance(inner, str) else ()))
        return (*names, *(one.rpartition(".")[2] for one in names if "." in one))

    # --- approvals

    approval_events: tuple[type[EventPayload], ...] = (ApprovalRequest, ApprovalResolved, ApprovalsSnapshot)

    def asked(self, event: AnyEvent) -> PendingApproval | None:
        match event.payload:
            case ApprovalRequest() as request:
                return PendingApproval.from_wire(request.to_wire())
            case _:
                return None

    def pending(self, event: AnyEvent) -> Sequence[PendingApproval]:
        return event.payload.pending if isinstance(event.payload, ApprovalsSnapshot) else ()

    def resolved(self, event: AnyEvent) -> Resolved | None:
        match event.payload:
            case ApprovalResolved(request_id=request_id, approved=approved, reason=reason):
                return Resolved(request_id, approved, reason, timed_out=event.op_state == "timeout")
            case _:
                return None

    def denied_before(self, request: PendingApproval) -> str | None:
        # The description of a question is its text (contract: events, section 5.5).
        if request.tool_name in QUESTION_TOOLS or not request.description.startswith(_DENIED):
            return None
        return request.description.partition(": ")[2]

    # --- failures

    def failed(self, event: AnyEvent) -> Failed | None:
        match event.payload:
            case Result(error=error) if error:
                # Its own event comes first, with a code.
                return Failed(error)
            case (Error() | CredentialRequired() | CredentialAuthRequired()) as said:
                message = said.error or said.detail or said.code or event.type
                return Failed(message, said.code, said.category, said.retry, said.detail or "")
            case _:
                return None

    def reports_error(self, event: AnyEvent) -> bool:
        return isinstance(event.payload, ModuleError) or self.failed(event) is not None

    # --- operations

    transitions = Transitions(TRANSITIONS)

    def state_told(self, event: AnyEvent, type: OpType) -> OpState:
        told = event.op_state or "running"
        if type != "turn":
            return told
        match event.payload:
            case TurnTerminal(status="interrupted"):
                return "cancelled"
            case TurnTerminal(status="completed" | "failed" | "cancelled" as status):
                return status
            case Result(error=error) if error:
                return "failed"
            case _:
                # What else says completed is not the end (contract: events, section 8.5).
                return "running" if told == "completed" and not self.ends_turn(event) else told

    def op_names(self, event: AnyEvent) -> tuple[str, ...]:
        match event.payload:
            case ToolStart(name=name, params=params) | ToolCall(name=name, params=params):
                return self.tool_names(name, params)
            case (ApprovalRequest() | ApprovalResolved()) as approval:
                return self.tool_names(approval.tool_name, approval.tool_params)
            case AgentEvent(specialist=specialist, agent_id=agent_id):
                return tuple(one for one in (specialist, agent_id) if one)
            case BgTaskUpdate(tool_name=name) | Notification(tool_name=name):
                return () if name is None else (name,)
            case MemoryUpdate(action=action):
                return (action,)
            case Hook(hook_id=hook_id):
                return (hook_id,)
            case _:
                return ()

    def ends_what_began(self, event: AnyEvent) -> bool:
        return isinstance(event.payload, _ENDS_OF_BEGUN)

    def never_closes(self, event: AnyEvent) -> bool:
        # Previews, widgets and the like are reported once, as running (contract: events, section 8.9).
        match event.payload:
            case AgentEvent(agent_id=agent_id):
                return agent_id is None
            case Notification():
                return True
            case _:
                return event.op_type == "system" and event.op_state == "running"

    def error_of(self, event: AnyEvent) -> str:
        match event.payload:
            case ToolCall(error=str(error)) | Error(error=str(error)):
                return error
            case Result(error=str(error)) | AgentEvent(error=str(error)):
                return error
            case _:
                return ""


def _control(event: AnyEvent) -> EventEnvelope:
    try:
        return EventEnvelope.from_wire(event.raw)
    except ValidationError:
        return EventEnvelope(type=event.type, payload={})


def _pauses(event: AnyEvent) -> bool:
    """Whether a turn waits for a credential from here on; nothing follows (contract: events, section 5.6)."""
    asks = isinstance(event.payload, CredentialRequired | CredentialAuthRequired)
    return asks and event.op_state == "waiting_approval"


MEANING: Final[Meaning] = DaemonMeaning()
"""What the library asks unless it is told otherwise."""
