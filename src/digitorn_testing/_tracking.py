"""Tells who wants to know which clients and streams are made; costs nothing when nobody does."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeAlias

Tracker: TypeAlias = Callable[[Any], object]

# Replaced as a whole, so that other threads may read it at any time.
_trackers: tuple[Tracker, ...] = ()


def track(made: object) -> None:
    """Tells of a client or stream that was made."""
    for tracker in _trackers:
        tracker(made)


@contextmanager
def tracking(tracker: Tracker) -> Generator[None]:
    """Has everything that is made meanwhile told of, whatever thread makes it.

    Args:
        tracker: Takes clients (`AsyncDevClient`, `DevClient`), streams (`AsyncLiveEventStream`, of which
            `LiveEventStream` is a face) and embedded daemons.
    """
    global _trackers
    _trackers = (*_trackers, tracker)
    try:
        yield
    finally:
        _trackers = tuple(one for one in _trackers if one is not tracker)
