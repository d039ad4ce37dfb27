"""The result of a turn, with everything that its events contain."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from digitorn_testing._events.asking import Asking
from digitorn_testing._events.event import AnyEvent
from digitorn_testing._events.meaning import TurnStatus
from digitorn_testing._formerly import formerly
from digitorn_testing._generated.events import ToolCall, ToolStart
from digitorn_testing._generated.models import PendingApproval
from digitorn_testing._generated.payloads import ResultUsage
from digitorn_testing._handles import SessionHandle
from digitorn_testing._texts import joined

Resolution: TypeAlias = Literal["approved", "denied", "timed_out", "open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnMessage:
    """A text that the assistant wrote in a turn.

    Attributes:
        text: The text.
        kind: Whether it is the answer, or commentary that came before a tool call.
        deltas: The pieces in which it was streamed. What was not streamed of an answer is the last one.
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
        names: All its names: as on the wire, without dots, and that of the tool called through a dispatcher.
        params: Arguments, as the model gave them.
        success: Whether it succeeded; None if it never ended, for example because of an abort.
        error: Why it failed; empty if it did not.
        result: What it returned.
        duration: Seconds from start to end on the daemon's clock; None if either event is missing.
        parent: The enclosing operation, such as a sub-agent; None for a call of the turn itself.
        started: Its start event; None if only its end was reported.
        ended: Its end event.
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
    """An approval that a turn requested, and how it was resolved.

    Attributes:
        request: The request.
        resolution: How it was resolved; `open` if it was not.
        message: The reason or answer given with the resolution.
        duration: Seconds until it was resolved; None while it is open.
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
        message: Text for people.
        code: Code for programs (contract: events, section 7); None if the daemon gave no code.
        category: Family of the code.
        retry: Whether sending the message again may help.
        detail: What the provider said, at most 500 characters; empty when the daemon does not pass it on.
    """

    message: str
    code: str | None = None
    category: str | None = None
    retry: bool | None = None
    detail: str = ""

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnResult(Asking):
    """The result of a turn.

    Attributes:
        session: The session it ran in.
        correlation_id: Its identity on the wire.
        status: How it ended. A turn whose provider failed is `failed`, although the daemon marks it as done.
        content: The final answer.
        deltas_complete: Whether the pieces of the answer add up to it. False if pieces are missing before its
            end, and if a turn that was cut off had begun to speak.
        messages: Texts of the assistant in order: commentary before tool calls, and the answer.
        tool_calls: Tool calls in order of their start.
        approvals: Approvals that were requested, and how each was resolved.
        usage: Tokens and cost, if the daemon reported them.
        errors: What went wrong, in order.
        duration: Seconds from its first event to its last, on the daemon's clock.
        events: The turn's events, in order.
        incomplete_because: Why events of the turn may be missing, such as the call by which they were to be
            read and how the daemon refused it; None if nothing is known to be missing.
    """

    session: SessionHandle
    correlation_id: str
    status: TurnStatus
    content: str
    deltas_complete: bool
    messages: tuple[TurnMessage, ...]
    tool_calls: tuple[ToolCallRecord, ...]
    approvals: tuple[ApprovalRecord, ...]
    usage: ResultUsage | None
    errors: tuple[TurnError, ...]
    duration: float
    events: tuple[AnyEvent, ...] = field(repr=False)
    incomplete_because: str | None = None

    if not TYPE_CHECKING:
        __getattr__ = formerly("OldResult")

    @property
    def ok(self) -> bool:
        """Whether the turn completed without an error."""
        return self.status == "completed"

    @property
    def error(self) -> str | None:
        """The message of the last error; None if nothing went wrong."""
        return self.errors[-1].message if self.errors else None

    @property
    def text(self) -> str:
        """The pieces of the answer, joined: `content`, or with a warning only a part of it."""
        streamed = joined(delta for one in self.messages if one.kind == "answer" for delta in one.deltas)
        if streamed != self.content:
            from digitorn_testing.legacy import warn_of_partial_text

            warn_of_partial_text()
        return streamed

    @property
    def commentary(self) -> tuple[str, ...]:
        """What the assistant said before tool calls."""
        return tuple(one.text for one in self.messages if one.kind == "commentary")
