"""What came of a turn: everything that its events add up to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from digitorn_testing._events.event import AnyEvent
from digitorn_testing._events.meaning import TurnStatus
from digitorn_testing._generated.events import ToolCall, ToolStart
from digitorn_testing._generated.models import PendingApproval
from digitorn_testing._generated.payloads import ResultUsage
from digitorn_testing._handles import SessionHandle

Resolution: TypeAlias = Literal["approved", "denied", "timed_out", "open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnMessage:
    """A text of the assistant in a turn.

    Attributes:
        text: The text.
        kind: Whether it is the answer, or commentary that came before a tool call.
        deltas: The pieces in which it was streamed; none for an answer that was not.
    """

    text: str
    kind: Literal["commentary", "answer"]
    deltas: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallRecord:
    """A tool call, from its start and its end.

    Attributes:
        id: Id of the call, and of its operation.
        name: Name of the tool.
        names: Every name that the call goes by: as on the wire, without dots, and that behind a dispatcher.
        params: Arguments, as the model gave them.
        success: Whether it succeeded; None when it never ended, as under an abort.
        error: Why it failed; empty when it did not.
        result: What it gave back.
        duration: Seconds from start to end on the daemon's clock, None when one of the two is missing.
        parent: The enclosing operation, such as a sub-agent; None for a call of the turn itself.
        started: The event of its start; None for one that was only reported.
        ended: The event of its end.
    """

    id: str
    name: str
    names: tuple[str, ...]
    params: Mapping[str, Any]
    success: bool | None
    error: str
    result: Mapping[str, Any] | None
    duration: float | None
    parent: str | None
    started: ToolStart | None = field(repr=False)
    ended: ToolCall | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRecord:
    """An approval that a turn asked for, and what became of it.

    Attributes:
        request: What was asked.
        resolution: How it ended; `open` when it was not resolved.
        message: Reason or answer that went with it.
        duration: Seconds until it was resolved, None while it is open.
    """

    request: PendingApproval
    resolution: Resolution
    message: str
    duration: float | None

    @property
    def approved(self) -> bool:
        """Whether it was approved."""
        return self.resolution == "approved"


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnError:
    """Something that went wrong in a turn.

    Attributes:
        message: What, for people.
        code: What, for programs (contract: events, section 7); None when the daemon gave none.
        category: Family of the code.
        retry: Whether sending the message again may help.
    """

    message: str
    code: str | None = None
    category: str | None = None
    retry: bool | None = None

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnResult:
    """What came of a turn.

    Attributes:
        session: Where it ran.
        correlation_id: Its identity on the wire.
        status: How it ended. A turn whose provider failed is `failed`, though the daemon closes it as done.
        content: The final answer.
        messages: Texts of the assistant in order: commentary before tool calls, and the answer.
        tool_calls: Tool calls in order of their start.
        approvals: Approvals that were asked for, and how each was resolved.
        usage: Tokens and cost, if the daemon reported them.
        errors: What went wrong, in order.
        duration: Seconds from its first event to its last, on the daemon's clock.
        events: The turn's events, in order.
    """

    session: SessionHandle
    correlation_id: str
    status: TurnStatus
    content: str
    messages: tuple[TurnMessage, ...]
    tool_calls: tuple[ToolCallRecord, ...]
    approvals: tuple[ApprovalRecord, ...]
    usage: ResultUsage | None
    errors: tuple[TurnError, ...]
    duration: float
    events: tuple[AnyEvent, ...] = field(repr=False)

    @property
    def ok(self) -> bool:
        """Whether the turn completed without an error."""
        return self.status == "completed"

    @property
    def error(self) -> str | None:
        """What went wrong; the last when it was more than one thing, None when it was nothing."""
        return self.errors[-1].message if self.errors else None

    @property
    def text(self) -> str:
        """The answer as it was streamed, its pieces joined; empty when it was not streamed."""
        return "".join(delta for one in self.messages if one.kind == "answer" for delta in one.deltas)

    @property
    def commentary(self) -> tuple[str, ...]:
        """What the assistant said before tool calls."""
        return tuple(one.text for one in self.messages if one.kind == "commentary")
