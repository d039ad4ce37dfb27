"""The result of a turn, with everything that its events contain."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from digitorn_testing._base_error import PUBLISHED, DigitornError
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

    def raise_for_error(self) -> Self:
        """Returns the result itself, unless the turn failed, was cancelled or timed out.

        result = client.send(session, "list the files").raise_for_error()

        Raises:
            TurnFailed: It did not complete; the error says why, and has the result.
        """
        if self.ok:
            return self
        raise TurnFailed(self)

    def problems(self) -> list[str]:
        """What went wrong, one text each: how the turn ended unless it completed, then denials and tools."""
        found: list[str] = []
        if not self.ok:
            word = {"failed": "failed", "cancelled": "was cancelled", "timed_out": "did not end in time"}
            said = f"the turn {word.get(self.status, self.status)}"
            if self.errors:
                said += f": {_described(self.errors[-1])}"
            found.append(said)
        denied = {one.message: one.request.tool_name for one in self.approvals if one.resolution == "denied"}
        found += [f"{tool} was denied" + (f": {why}" if why else "") for why, tool in denied.items()]
        found += [
            f"a call of {one.name} failed: {one.error}"
            for one in self.tool_calls
            # The error of a call that was denied quotes the reason.
            if one.success is False and not any(why in one.error for why in denied)
        ]
        return found

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


class TurnFailed(DigitornError):
    """A turn did not complete: it failed, was cancelled or timed out. `TurnResult.raise_for_error` raises it.

    Attributes:
        result: The result of the turn.
        code: How the daemon classifies the failure; None if it does not say.
    """

    __module__ = PUBLISHED

    def __init__(self, result: TurnResult) -> None:
        super().__init__("; ".join(result.problems()))
        self.result = result
        self.code = result.errors[-1].code if result.errors else None


def _described(error: TurnError) -> str:
    # Where the daemon has no text of its own for people, the detail repeats the message.
    detail = "" if error.message in error.detail else error.detail
    facts = ": ".join(one for one in (error.code, detail) if one)
    return error.message + (f" ({facts})" if facts else "")
