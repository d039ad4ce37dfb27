"""A session's live events: one small machine for each job, and the two faces that compose them.

`connecting`, `backfill` with `coverage`, `following`, `deciding` and `callbacks` are the machines; `machines`
puts them together, `core` is what they share. A machine is handed what it needs and never imports a face.
What an event means is a question for `_events`, what a turn came to one for `_turns`.
"""

from typing import TYPE_CHECKING

from digitorn_testing._generated._lazy import lazily

if TYPE_CHECKING:
    from .asynchronous import AsyncLiveEventStream
    from .blocking import LiveEventStream

__all__ = ["AsyncLiveEventStream", "LiveEventStream"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(
        __name__, {".asynchronous": ("AsyncLiveEventStream",), ".blocking": ("LiveEventStream",)}
    )
