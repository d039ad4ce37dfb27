"""The changes of state that the contract knows, for each type of operation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from digitorn_testing._generated.events import (
    BgTaskUpdate,
    EventPayload,
    InToken,
    Notification,
    OutToken,
    Result,
    Status,
    StreamDone,
    ThinkingDelta,
    ThinkingStarted,
    Token,
    ToolCallStreaming,
    TurnHeartbeat,
    TurnTerminal,
)
from digitorn_testing._generated.payloads import OpState, OpType

from .event import AnyEvent, InvalidPayload, UnknownPayload

_Payloads: TypeAlias = tuple[type[EventPayload], ...]

_LATE: Final[_Payloads] = (
    InToken,
    OutToken,
    Result,
    Status,
    StreamDone,
    ThinkingDelta,
    ThinkingStarted,
    Token,
    ToolCallStreaming,
    TurnHeartbeat,
    # What cannot be read may be one of these.
    InvalidPayload,
    UnknownPayload,
)
"""Payloads that are sent in the background, so that they may come behind the end of their turn (contract:
events, section 6.0)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A change of state that the contract knows.

    Attributes:
        type: Type of the operation.
        before: State that it leaves.
        after: States that may follow.
        section: Where the contract's events part says so.
        by: Payload classes that alone may cause it; empty for any.
        keeps: Whether the operation keeps its state: the event comes late, or repeats less than was said.
    """

    type: OpType
    before: OpState
    after: tuple[OpState, ...]
    section: str
    by: _Payloads = ()
    keeps: bool = False

    def allows(self, event: AnyEvent) -> bool:
        """Whether the event may cause it."""
        return not self.by or isinstance(event.payload, self.by)


TRANSITIONS: Final = (
    # A queued message starts, is taken out of the queue, or fails before its turn begins.
    Transition(type="turn", before="pending", after=("running",), section="6.4"),
    Transition(type="turn", before="pending", after=("cancelled",), section="5.1, message_cancelled"),
    Transition(type="turn", before="pending", after=("failed",), section="6.7"),
    Transition(type="turn", before="pending", after=("waiting_approval",), section="5.6"),
    Transition(type="turn", before="running", after=("completed", "failed", "cancelled"), section="6"),
    Transition(type="turn", before="running", after=("waiting_approval",), section="5.6"),
    Transition(
        type="turn",
        before="waiting_approval",
        after=("running", "completed", "failed", "cancelled"),
        section="5.6",
    ),
    # The end of a failed turn is told as completed, and a stale one may still be cut off.
    Transition(type="turn", before="failed", after=("completed", "cancelled"), section="6.7", keeps=True),
    # Tokens and counters are sent in the background, and come late.
    Transition(type="turn", before="completed", after=("running",), section="8.6", by=_LATE, keeps=True),
    Transition(type="turn", before="failed", after=("running",), section="8.6", by=_LATE, keeps=True),
    Transition(type="turn", before="cancelled", after=("running",), section="8.6", by=_LATE, keeps=True),
    # The last event of a turn has the last word.
    Transition(
        type="turn",
        before="completed",
        after=("failed", "cancelled"),
        section="5.1, turn_terminal",
        by=(TurnTerminal,),
    ),
    Transition(
        type="turn",
        before="cancelled",
        after=("completed",),
        section="5.1, turn_terminal",
        by=(TurnTerminal,),
        keeps=True,
    ),
    Transition(type="tool", before="running", after=("completed", "failed"), section="5.3, tool_call"),
    Transition(
        type="tool", before="running", after=("cancelled",), section="5.3, bg_task_update", by=(BgTaskUpdate,)
    ),
    # The result of a background task is taken up after it has ended, under the task's id.
    Transition(
        type="tool", before="completed", after=("running",), section="5.8", by=(Notification,), keeps=True
    ),
    Transition(
        type="tool", before="failed", after=("running",), section="5.8", by=(Notification,), keeps=True
    ),
    Transition(
        type="tool", before="cancelled", after=("running",), section="5.8", by=(Notification,), keeps=True
    ),
    Transition(
        type="agent",
        before="running",
        after=("completed", "failed", "timeout", "cancelled"),
        section="5.4",
    ),
    # An abort reports a cancellation and then a result.
    Transition(
        type="agent", before="cancelled", after=("completed", "failed", "timeout"), section="5.4", keeps=True
    ),
    # An agent's life is told in the background, what is derived from its tool call is not.
    Transition(type="agent", before="completed", after=("running",), section="6.0", keeps=True),
    Transition(type="agent", before="failed", after=("running",), section="6.0", keeps=True),
    Transition(type="agent", before="timeout", after=("running",), section="6.0", keeps=True),
    Transition(type="agent", before="cancelled", after=("running",), section="6.0", keeps=True),
    Transition(
        type="approval",
        before="waiting_approval",
        after=("completed", "cancelled", "timeout"),
        section="5.5",
    ),
    Transition(type="compact", before="running", after=("completed",), section="5.7"),
    Transition(
        type="system", before="running", after=("completed", "failed", "cancelled"), section="5.7, hook"
    ),
)
"""Every change of state that the contract knows. The same state again is none; what is missing is forbidden:
above all a way back to `pending`, and a way out of a terminal state."""


class Transitions:
    """The changes of state of one contract, found by what changes.

    Args:
        known: The transitions; where two fit, the first one counts.
    """

    def __init__(self, known: Sequence[Transition]) -> None:
        self._known = {(one.type, one.before, after): one for one in reversed(known) for after in one.after}
        self._states: dict[OpType, set[OpState]] = {}
        for one in known:
            self._states.setdefault(one.type, set()).update((one.before, *one.after))

    def find(self, type: OpType, before: OpState, after: OpState) -> Transition | None:
        """The transition from a state to another one; None where the contract forbids it."""
        return self._known.get((type, before, after))

    def are_known(self, type: OpType, state: OpState) -> bool:
        """Whether operations of a type may have a state. Of a type without transitions nothing is known."""
        return type not in self._states or state in self._states[type]
