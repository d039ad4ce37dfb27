"""The questions that this library asks about an event, in words that no wire name appears in.

`Meaning` is the one seam between the library and the event names of a contract. The log, turns, results,
operations, assertions, timelines and streams ask it and match no payload class themselves. The answers for
the daemon's contract are in `_events/daemon.py`. A daemon with other event names comes as a second contract,
with a second object of this shape.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from digitorn_testing._generated.events import EventPayload, ToolCall, ToolStart
from digitorn_testing._generated.models import PendingApproval
from digitorn_testing._generated.payloads import OpState, OpType, ResultUsage

from .event import AnyEvent
from .transitions import Transitions

TurnStatus: TypeAlias = Literal["completed", "failed", "cancelled", "timed_out"]
"""How a turn ended. A turn that a timeout of the test or of the daemon's queue cut short is `timed_out`."""

TurnEnding: TypeAlias = Literal[TurnStatus, "lost"]
"""How a turn ended of which no event says so. A turn is `lost` if it ran or waited in a process of the daemon
that has ended; its status is `failed`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The final answer of a turn.

    Attributes:
        content: The text.
        error: Why there is none; empty or None when nothing failed.
        usage: Tokens and cost.
        model: The model that gave it, if the daemon reported it.
    """

    content: str
    error: str | None
    usage: ResultUsage
    model: str | None


@dataclass(frozen=True, slots=True)
class ToolBegun:
    """A tool call that begins.

    Attributes:
        call_id: Id of the call.
        name: Name on the wire.
        params: Arguments, as the model gave them.
        payload: The payload, where the event is one of the daemon's contract.
    """

    call_id: str
    name: str
    params: Mapping[str, Any]
    payload: ToolStart | None = None


@dataclass(frozen=True, slots=True)
class ToolEnded:
    """A tool call that has ended.

    Attributes:
        call_id: Id of the call.
        name: Name on the wire.
        params: Arguments, as the model gave them.
        success: Whether it succeeded.
        error: Why it failed; empty when it did not.
        result: What it gave back.
        payload: The payload, where the event is one of the daemon's contract.
    """

    call_id: str
    name: str
    params: Mapping[str, Any]
    success: bool
    error: str
    result: Mapping[str, Any] | None
    payload: ToolCall | None = None


@dataclass(frozen=True, slots=True)
class Resolved:
    """An approval that was resolved.

    Attributes:
        request_id: The approval.
        approved: Whether the tool may run, or the question was answered.
        reason: Reason or answer that went with it.
        timed_out: Whether nobody answered in time.
    """

    request_id: str
    approved: bool
    reason: str
    timed_out: bool


@dataclass(frozen=True, slots=True)
class Failed:
    """A failure that an event reports.

    Attributes:
        message: What failed, for people.
        code: What failed, for programs; None when the daemon gave no code.
        category: Family of the code.
        retry: Whether sending the message again may help.
        detail: What the provider said; empty when the daemon does not pass it on.
    """

    message: str
    code: str | None = None
    category: str | None = None
    retry: bool | None = None
    detail: str = ""


class Meaning(Protocol):
    """What the events of one contract mean. Every question is about one event, and none does any IO."""

    def decode(self, raw: object) -> AnyEvent:
        """The event in a frame. Never raises: what breaks the contract becomes an `InvalidPayload`.

        Args:
            raw: The frame as JSON values, normally an envelope.
        """
        ...

    # --- where an event belongs

    def is_snapshot(self, event: AnyEvent) -> bool:
        """Whether the event was made for one socket when it joined, and is not part of the session."""
        ...

    def is_logged(self, event: AnyEvent) -> bool:
        """Whether the event is one of the session's own and has a place in its order."""
        ...

    def is_log_only(self, event: AnyEvent) -> bool:
        """Whether this is a row of the durable log that is never sent live and repeats earlier events."""
        ...

    # --- the connection

    def is_bookkeeping(self, event: AnyEvent) -> bool:
        """Whether the event says nothing about what the agent did: snapshots, counters, marks of progress."""
        ...

    def is_heartbeat(self, event: AnyEvent) -> bool:
        """Whether the event says that the daemon is alive, and that another one follows in a few seconds."""
        ...

    def instance_id(self, event: AnyEvent) -> str | None:
        """The daemon's process that the event names; None where it names none."""
        ...

    def current_seq(self, event: AnyEvent) -> int | None:
        """The newest number of the session that the event tells; None where it tells none."""
        ...

    # --- turns

    turn_ends: tuple[type[EventPayload], ...]
    """Payload classes of every event that ends a turn or may hint at its end: what to subscribe to."""

    turn_starts: tuple[type[EventPayload], ...]
    """Payload classes of the events from which on a turn runs."""

    def begins_turn(self, event: AnyEvent) -> bool:
        """Whether the event may be the first one of a turn."""
        ...

    def starts_running(self, event: AnyEvent) -> bool:
        """Whether the turn that the event names runs from here on, or from the end of the running one on."""
        ...

    def runs_at_once(self, event: AnyEvent) -> bool:
        """Whether the turn that the event starts did not have to wait, so that no other turn is running."""
        ...

    def is_running(self, event: AnyEvent) -> bool:
        """Whether the event says that the turn it names runs: the only sign of it after a late join."""
        ...

    def waits_to_run(self, event: AnyEvent) -> bool:
        """Whether the event belongs to the time before its turn runs."""
        ...

    def only_marks_turn(self, event: AnyEvent) -> bool:
        """Whether the event marks the start or end of a turn, and its payload adds nothing for a reader."""
        ...

    def running_turn(self, event: AnyEvent) -> str | None:
        """The turn that runs, according to a report on the whole session; None where there is none."""
        ...

    def queued_turns(self, event: AnyEvent) -> Mapping[str, str]:
        """The turns of the session's queue, by the ids of their rows; empty where the event lists none."""
        ...

    def dequeued_row(self, event: AnyEvent) -> str | None:
        """The row that was taken out of the queue; such an event names the row, and no turn."""
        ...

    def ends_turn(self, event: AnyEvent) -> bool:
        """Whether the turn that the event names does nothing more; a word on how it ended may follow."""
        ...

    def may_end_turn(self, event: AnyEvent) -> bool:
        """Whether the event may mean the end of a turn that it does not name."""
        ...

    def is_terminal(self, event: AnyEvent) -> bool:
        """Whether the event is the very last one of a turn."""
        ...

    def promises_terminal(self, event: AnyEvent) -> bool:
        """Whether the turn of this event will have a last event behind the one that ends it."""
        ...

    def tells_outcome(self, event: AnyEvent) -> bool:
        """Whether the event says how its turn ended."""
        ...

    def ending(self, event: AnyEvent) -> TurnStatus | None:
        """How the turn ended according to this event; None where it does not say."""
        ...

    # --- text

    def said_by_user(self, event: AnyEvent) -> str | None:
        """The user's message in the event; None where there is none."""
        ...

    def text_delta(self, event: AnyEvent) -> str | None:
        """The piece of streamed text in the event; None where there is none."""
        ...

    def thought(self, event: AnyEvent) -> str | None:
        """The piece of streamed reasoning in the event; None where there is none."""
        ...

    def ends_text(self, event: AnyEvent) -> bool:
        """Whether a streamed text is complete here: one request to the model was answered."""
        ...

    def answer(self, event: AnyEvent) -> Answer | None:
        """The final answer in the event; None where there is none."""
        ...

    # --- tools

    def tool_began(self, event: AnyEvent) -> ToolBegun | None:
        """The tool call that begins with the event; None where none does."""
        ...

    def tool_ended(self, event: AnyEvent) -> ToolEnded | None:
        """The tool call that ends with the event; None where none does."""
        ...

    def tool_names(self, name: str, params: Mapping[str, object]) -> tuple[str, ...]:
        """Every name that a tool call goes by: as on the wire, without dots, and that behind a dispatcher.

        Args:
            name: Name on the wire.
            params: Arguments of the call.
        """
        ...

    # --- approvals

    approval_events: tuple[type[EventPayload], ...]
    """Payload classes of the events that approvals are asked for, listed and resolved with."""

    def asked(self, event: AnyEvent) -> PendingApproval | None:
        """The approval that the event asks for; None where it asks for none."""
        ...

    def pending(self, event: AnyEvent) -> Sequence[PendingApproval]:
        """The open approvals that the event lists; empty where it lists none."""
        ...

    def resolved(self, event: AnyEvent) -> Resolved | None:
        """The approval that the event resolves; None where it resolves none."""
        ...

    def denied_before(self, request: PendingApproval) -> str | None:
        """The reason of the denial after which the daemon asks for the same call once more.

        None for a call that it asks for the first time.

        Args:
            request: The request.
        """
        ...

    # --- failures

    def failed(self, event: AnyEvent) -> Failed | None:
        """The failure of its turn that the event reports; None where it reports none."""
        ...

    def reports_error(self, event: AnyEvent) -> bool:
        """Whether the event reports that something went wrong, in a turn or outside of one."""
        ...

    # --- operations

    transitions: Transitions
    """The changes of state that the contract knows."""

    def state_told(self, event: AnyEvent, type: OpType) -> OpState:
        """The state that the event tells of its operation, which is not always the one it carries.

        Args:
            event: The event.
            type: Type of the operation.
        """
        ...

    def op_names(self, event: AnyEvent) -> tuple[str, ...]:
        """The names that the event gives its operation, the one on the wire first."""
        ...

    def ends_what_began(self, event: AnyEvent) -> bool:
        """Whether the event ends something that has a beginning of its own on the wire."""
        ...

    def never_closes(self, event: AnyEvent) -> bool:
        """Whether no event ever closes what this one reports."""
        ...

    def error_of(self, event: AnyEvent) -> str:
        """Why an operation failed, in the daemon's words; empty where the event does not say."""
        ...
