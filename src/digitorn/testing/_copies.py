"""Recognises copies of events."""

import heapq

from ._event import AnyEvent

_FEWEST = 1024
"""How many numbers and ids are remembered at least; copies and late events are a few places late."""


class _Numbers:
    """The numbers of one session that have come."""

    __slots__ = ("_lowest", "_seen", "below")

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._lowest: list[int] = []
        self.below = 0
        """Numbers up to this one count as come."""

    def add(self, number: int, keep: int | None) -> bool:
        """Whether a number is new."""
        if number <= self.below or number in self._seen:
            return False
        self._seen.add(number)
        if keep is not None:
            heapq.heappush(self._lowest, number)
            if len(self._seen) > keep:
                self.below = heapq.heappop(self._lowest)
                self._seen.discard(self.below)
        return True


class Copies:
    """Tells new events from copies of those that came before.

    A copy may share only the id or only the number (contract: events, section 8, trap 1).

    Args:
        bound: How many events the log keeps; None for all of them. Of the events it has dropped it remembers
            some more, and what is older than those counts as a copy.
    """

    def __init__(self, bound: int | None) -> None:
        self.keep = None if bound is None else max(4 * bound, _FEWEST)
        """How many numbers and ids are remembered; None for all of them."""
        self._ids: dict[tuple[str | None, str], None] = {}
        self._numbers: dict[str | None, _Numbers] = {}

    def recognise(self, event: AnyEvent) -> tuple[bool, bool]:
        """Whether an event is a copy, and whether its number is new."""
        is_copy, brings_number = False, False
        if event.event_id is not None:
            key = (event.session_id, event.event_id)
            is_copy = key in self._ids
            self._ids[key] = None
            if self.keep is not None and len(self._ids) > self.keep:
                del self._ids[next(iter(self._ids))]
        if event.is_numbered:
            numbers = self._numbers.get(event.session_id)
            if numbers is None:
                numbers = self._numbers[event.session_id] = _Numbers()
            brings_number = numbers.add(event.seq, self.keep)
            is_copy = is_copy or not brings_number
        return is_copy, brings_number
