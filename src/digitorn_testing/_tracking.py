"""Reports every client, stream and daemon that is made to whoever asks; costs nothing if nobody does."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeAlias

Tracker: TypeAlias = Callable[[Any], object]

# Never changed in place, so other threads may read it at any time.
_trackers: tuple[Tracker, ...] = ()


def track(made: object) -> None:
    """Reports a client, stream or daemon that was made."""
    for tracker in _trackers:
        tracker(made)


@contextmanager
def tracking(tracker: Tracker) -> Generator[None]:
    """Reports everything that is made during the block, on any thread.

    Args:
        tracker: Called with clients (`AsyncDevClient`, `DevClient`), streams (`AsyncLiveEventStream`, which
            `LiveEventStream` wraps) and embedded daemons.
    """
    global _trackers
    _trackers = (*_trackers, tracker)
    try:
        yield
    finally:
        _trackers = tuple(one for one in _trackers if one is not tracker)
