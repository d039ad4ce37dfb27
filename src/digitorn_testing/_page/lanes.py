"""Where an event stands on the page: its lane, and with which neighbours it is folded into one line."""

from asyncio import CancelledError
from enum import IntEnum
from typing import Final

from digitorn_testing._events.daemon import MEANING
from digitorn_testing._events.event import AnyEvent, InvalidPayload, UnknownPayload
from digitorn_testing._exchanges import Exchange
from digitorn_testing._generated.events import (
    EVENTS,
    Abort,
    EventPayload,
    Heartbeat,
    Hook,
    InToken,
    MessageDone,
    MessageQueued,
    OutToken,
    QueueCleared,
    Status,
    StreamDone,
    Thinking,
    ThinkingDelta,
    ThinkingStarted,
    ToolCallStreaming,
    TurnHeartbeat,
)


class Lane(IntEnum):
    """The lanes of the timeline, from top to bottom."""

    TURNS = 0
    USER = 1
    MODEL = 2
    TOOLS = 3
    APPROVALS = 4
    ERRORS = 5
    REST = 6
    OTHER = 7


LANES: Final = ("Turns", "User", "Model text", "Tools", "Approvals", "Errors", "REST", "Other")
"""Their names."""


class Fold(IntEnum):
    """What an event is folded with. Events that are folded join a run of either text if they are quiet."""

    ALONE = 0
    TEXT = 1
    THINKING = 2
    QUIET = 3


def _wires(*payloads: type[EventPayload]) -> frozenset[str]:
    return frozenset(wire for payload in payloads for wire in EVENTS.types_of(payload))


_THINKING: Final = _wires(Thinking, ThinkingDelta, ThinkingStarted)
_COUNTS: Final = _wires(InToken, OutToken)
_TURNS: Final = _wires(Abort, MessageDone, MessageQueued, QueueCleared)
_TOOLS: Final = _wires(ToolCallStreaming)
_QUIET: Final = _COUNTS | _wires(Heartbeat, Hook, Status, StreamDone, ToolCallStreaming, TurnHeartbeat)
_BY_OPERATION: Final = {"tool": Lane.TOOLS, "agent": Lane.TOOLS, "approval": Lane.APPROVALS}


def lane_of(event: AnyEvent) -> Lane:
    """The lane of an event.

    Args:
        event: The event.
    """
    if isinstance(event.payload, InvalidPayload | UnknownPayload) or MEANING.reports_error(event):
        return Lane.ERRORS
    if event.type in _THINKING or event.type in _COUNTS:
        return Lane.MODEL
    if MEANING.text_delta(event) is not None or MEANING.ends_text(event):
        return Lane.MODEL
    if MEANING.said_by_user(event) is not None:
        return Lane.USER
    if event.type in _TURNS or MEANING.starts_running(event) or MEANING.ends_turn(event):
        return Lane.TURNS
    if MEANING.answer(event) is not None:
        return Lane.MODEL
    if event.type in _TOOLS:
        return Lane.TOOLS
    if MEANING.is_snapshot(event):
        return Lane.APPROVALS if MEANING.pending(event) else Lane.OTHER
    return _BY_OPERATION.get(event.op_type or "", Lane.OTHER)


def fold_of(event: AnyEvent, lane: Lane) -> Fold:
    """What an event is folded with.

    Args:
        event: The event.
        lane: Its lane.
    """
    if lane in (Lane.ERRORS, Lane.APPROVALS):
        return Fold.ALONE
    if event.type in _QUIET or MEANING.is_snapshot(event) or MEANING.is_heartbeat(event):
        return Fold.QUIET
    if MEANING.text_delta(event) is not None:
        return Fold.TEXT
    return Fold.THINKING if event.type in _THINKING else Fold.ALONE


def is_problem(event: AnyEvent, lane: Lane) -> bool:
    """Whether an event reports that something went wrong.

    Args:
        event: The event.
        lane: Its lane.
    """
    ended = MEANING.tool_ended(event)
    return lane is Lane.ERRORS or (ended is not None and not ended.success) or event.op_state == "failed"


def is_refused(exchange: Exchange) -> bool:
    """Whether a call failed or was not answered. One that the client itself cut off has not failed.

    Args:
        exchange: The call.
    """
    if exchange.status is None:
        return exchange.error != CancelledError.__name__
    return exchange.status >= 400
