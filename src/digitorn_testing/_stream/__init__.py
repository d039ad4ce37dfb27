"""A session's live events, in both faces."""

from .asynchronous import AsyncLiveEventStream
from .blocking import LiveEventStream

__all__ = ["AsyncLiveEventStream", "LiveEventStream"]
