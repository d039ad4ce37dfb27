"""A session's live events: one small machine for each job, and the two faces that compose them.

`connecting`, `backfill` with `coverage`, `following`, `deciding` and `callbacks` are the machines; `machines`
puts them together, `core` is what they share. A machine is handed what it needs and never imports a face; what
an event means is asked of `_events`, what a turn came to of `_turns`.
"""

from .asynchronous import AsyncLiveEventStream
from .blocking import LiveEventStream

__all__ = ["AsyncLiveEventStream", "LiveEventStream"]
