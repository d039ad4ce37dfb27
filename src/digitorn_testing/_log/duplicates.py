"""Recognises copies of events."""

import heapq

from digitorn_testing._events.event import AnyEvent
from digitorn_testing._events.meaning import Meaning

_FEWEST = 1024
"""How many numbers and ids are remembered at least. Copies and late events lag by only a few places."""


class _Numbers:
    """The numbers of one session that have arrived.

    Args:
        keep: How many are remembered; None for all of them. Older numbers count as arrived.
        meaning: What the events mean.
    """

    __slots__ = ("_below", "_events", "_keep", "_lowest", "_meaning", "_snapshots")

    def __init__(self, keep: int | None, meaning: Meaning) -> None:
        self._keep = keep
        self._meaning = meaning
        self._events: dict[int, str | None] = {}
        self._snapshots: set[int] = set()
        self._lowest: list[int] = []
        self._below = 0

    def recognise(self, event: AnyEvent) -> bool:
        """Whether an event with this number has arrived and may be the same event.

        A restarted daemon reuses the numbers of snapshots and of events that it had not logged
        (contract: events, section 4.2).
        """
        number = event.seq
        if number <= self._below:
            return True
        is_new = number not in self._events and number not in self._snapshots
        if self._meaning.is_snapshot(event):
            is_here = number in self._snapshots
            self._snapshots.add(number)
        elif number in self._events:
            before = self._events[number]
            is_here = event.event_id is None or before is None or before == event.event_id
        else:
            is_here = False
            self._events[number] = event.event_id
        if is_new and self._keep is not None:
            self._forget_lowest(number, self._keep)
        return is_here

    def _forget_lowest(self, number: int, keep: int) -> None:
        heapq.heappush(self._lowest, number)
        if len(self._lowest) > keep:
            self._below = heapq.heappop(self._lowest)
            self._events.pop(self._below, None)
            self._snapshots.discard(self._below)


class Copies:
    """Tells new events from copies of earlier ones.

    A copy may share only the id or only the number (contract: events, section 8.3).

    Args:
        bound: How many events the log keeps; None for all of them. Some dropped events are still remembered;
            anything older than those counts as a copy.
        meaning: What the events mean.
    """

    def __init__(self, bound: int | None, meaning: Meaning) -> None:
        self._meaning = meaning
        self.keep = None if bound is None else max(4 * bound, _FEWEST)
        """How many numbers and ids are remembered; None for all of them."""
        self._ids: dict[tuple[str | None, str], None] = {}
        self._numbers: dict[str | None, _Numbers] = {}

    def recognise(self, event: AnyEvent) -> bool:
        """Whether an event is a copy."""
        is_copy = False
        if event.event_id is not None:
            key = (event.session_id, event.event_id)
            is_copy = key in self._ids
            self._ids[key] = None
            if self.keep is not None and len(self._ids) > self.keep:
                del self._ids[next(iter(self._ids))]
        if event.is_numbered:
            numbers = self._numbers.get(event.session_id)
            if numbers is None:
                numbers = self._numbers[event.session_id] = _Numbers(self.keep, self._meaning)
            is_copy = numbers.recognise(event) or is_copy
        return is_copy
