"""A payload class for each event type, and what carries it."""

from typing import TYPE_CHECKING

from ._events.event import InvalidPayload as InvalidPayload
from ._events.event import LiveEvent as LiveEvent
from ._events.event import UnknownPayload as UnknownPayload
from ._generated import events as _events
from ._generated._lazy import lazily
from ._generated.events import *  # noqa: F403 - the generated module says what it exports

if TYPE_CHECKING:
    from ._log.log import EventLog as EventLog
    from ._stream import AsyncLiveEventStream as AsyncLiveEventStream
    from ._stream import LiveEventStream as LiveEventStream

__all__ = [
    "AsyncLiveEventStream",
    "EventLog",
    "InvalidPayload",
    "LiveEvent",
    "LiveEventStream",
    "UnknownPayload",
]
__all__ += _events.__all__

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(
        __name__,
        {"._log.log": ("EventLog",), "._stream": ("AsyncLiveEventStream", "LiveEventStream")},
    )
