"""What happens in a turn, step by step."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pydantic import JsonValue

from digitorn_testing._apps.language import tool_name
from digitorn_testing._events.choreography import denial
from digitorn_testing._events.failures import FailureCode
from digitorn_testing._generated.events import EventPayload
from digitorn_testing._generated.payloads import OpState, OpType

Ending: TypeAlias = Literal["completed", "failed", "aborted", "unfinished"]


@dataclass(frozen=True, slots=True)
class Thinking:
    """The model reasons."""

    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """The model says something.

    Attributes:
        chunks: The pieces that it is streamed in.
        is_commentary: Whether the model goes on after it.
    """

    chunks: tuple[str, ...]
    is_commentary: bool

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.chunks)


@dataclass(frozen=True, slots=True)
class ToolApproval:
    """A call had to be approved.

    Attributes:
        decision: How it was decided.
        message: What the user said to it.
        risk_level: Risk of the call; None for that of the tool.
        description: What the call would do.
    """

    decision: Literal["approved", "denied", "open"]
    message: str
    risk_level: str | None
    description: str


@dataclass(frozen=True, slots=True)
class Tool:
    """The model calls a tool.

    Attributes:
        name: The tool.
        params: Arguments of the call.
        result: What it gives back.
        error: Why it fails; empty when it does not.
        call_id: Id of the call; None for one of its own.
        approval: How it was approved, if it had to be.
    """

    name: str
    params: Mapping[str, JsonValue]
    result: Mapping[str, JsonValue] | None
    error: str
    call_id: str | None
    approval: ToolApproval | None = None

    @property
    def is_denied(self) -> bool:
        """Whether the user refused the call."""
        return self.approval is not None and self.approval.decision == "denied"

    @property
    def failure(self) -> str:
        """The final error; empty if it does not fail."""
        if self.approval is not None and self.is_denied:
            return denial(tool_name(self.name), self.approval.message)
        return self.error


@dataclass(frozen=True, slots=True)
class Other:
    """Something else happens. Fields that are None default to the contract's values for the payload."""

    payload: EventPayload
    op_id: str | None
    op_type: OpType | None
    op_state: OpState | None
    op_parent_id: str | None


Step: TypeAlias = Thinking | Text | Tool | Other


@dataclass(frozen=True, slots=True)
class TurnFailure:
    """Why a turn fails."""

    code: FailureCode
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnScript:
    """A turn from its message to its end.

    Attributes:
        given: What the user says; None if that was not given.
        position: Ticket number of a message that had to wait; None if it did not wait.
        steps: What happens.
        usage: Tokens read and written, instead of an estimate.
        ending: How it ends.
        failure: Why it fails.
    """

    given: str | None = None
    position: int | None = None
    steps: tuple[Step, ...] = ()
    usage: tuple[int, int] | None = None
    ending: Ending = "completed"
    failure: TurnFailure | None = None

    @property
    def message(self) -> str:
        """What the user says."""
        return self.given or ""

    @property
    def open_call(self) -> Tool | None:
        """The tool call that has not ended when nothing more happens."""
        last = self.steps[-1] if self.steps else None
        return last if isinstance(last, Tool) and self.ending in ("aborted", "unfinished") else None

    @property
    def answer(self) -> str:
        """The text that the turn ends with; may be empty."""
        if self.ending != "completed":
            return ""
        found = ""
        for step in self.steps:
            match step:
                case Text(is_commentary=False):
                    found += step.text
                case Text() | Tool():
                    found = ""
                case _:
                    pass
        return found
