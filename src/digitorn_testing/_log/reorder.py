"""Puts items that arrive out of order back into numerical order, without waiting forever."""

import heapq
from bisect import bisect_right
from typing import Generic, TypeVar

T = TypeVar("T")


class ReorderBuffer(Generic[T]):
    """Releases items in the order of their numbers, and holds back those that follow a missing number.

    A number may never arrive (contract: events, section 4.2), so the caller has to give up on it: `give_up`
    releases the items held back by it. If an item arrives after its number was given up, it is released
    immediately.

    Args:
        since: The numbering starts after this number.
    """

    __slots__ = ("_count", "_gaps", "_held", "frontier")

    def __init__(self, since: int = 0) -> None:
        self.frontier = since
        """Every number up to this one has arrived or was given up."""
        self._held: list[tuple[int, int, T | None]] = []
        self._gaps: list[tuple[int, int]] = []
        self._count = 0

    @property
    def highest(self) -> int:
        """The highest number that has arrived or was given up."""
        # The last item of a heap is not its largest.
        return max((number for number, _, _ in self._held), default=self.frontier)

    @property
    def is_holding(self) -> bool:
        """Whether items are held back by a missing number."""
        return bool(self._held)

    def has_gap(self, since: int) -> bool:
        """Whether a number between `since` and the highest has not arrived, even if it was given up."""
        return self.is_holding or any(last > since for _, last in self._gaps)

    def complete_upto(self, since: int) -> int:
        """The number before the first one above `since` that has not arrived, even if it was given up."""
        for first, last in self._gaps:
            if last > since:
                return max(since, first - 1)
        return max(since, self.frontier)

    def arrive(self, number: int, item: T | None) -> list[T]:
        """Takes the item of a number, and returns the items that can be released.

        Args:
            number: The number.
            item: Its item; None if the number arrived without one, such as that of a copy.
        """
        if number <= self.frontier:
            self._fill(number)
            return [] if item is None else [item]
        if number == self.frontier + 1 and not self._held:
            self.frontier = number
            return [] if item is None else [item]
        self._count += 1
        heapq.heappush(self._held, (number, self._count, item))
        return self._release(self.frontier)

    def give_up(self, number: int) -> list[T]:
        """Stops waiting for missing numbers up to this one, and returns the items that they held back."""
        return self._release(number)

    def forget(self, number: int) -> list[T]:
        """Forgets the gaps up to a number, and returns the items that they held back."""
        released = self._release(number) if number > self.frontier else []
        while self._gaps and self._gaps[0][1] <= number:
            del self._gaps[0]
        return released

    def begin_at(self, number: int) -> list[T]:
        """Starts over after this number: no number below it is a gap. Returns the items below it."""
        released = self._release(number)
        self.frontier = number
        self._gaps.clear()
        return released + self._release(self.frontier)

    def rewind(self, number: int) -> None:
        """Waits again for every number after this one. Items that are held back stay held back."""
        self.frontier = min(self.frontier, number)
        while self._gaps and self._gaps[-1][1] > self.frontier:
            first, _ = self._gaps.pop()
            self.frontier = min(self.frontier, first - 1)

    def _release(self, upto: int) -> list[T]:
        released: list[T] = []
        while self._held and self._held[0][0] <= max(upto, self.frontier + 1):
            number, _, item = heapq.heappop(self._held)
            if number > self.frontier + 1:
                self._gaps.append((self.frontier + 1, number - 1))
            self.frontier = max(self.frontier, number)
            if item is not None:
                released.append(item)
        return released

    def _fill(self, number: int) -> None:
        place = bisect_right(self._gaps, (number, number)) - 1
        # A gap that starts at the number itself sorts after it, unless it is that number alone.
        for at in (place, place + 1):
            if 0 <= at < len(self._gaps) and self._gaps[at][0] <= number <= self._gaps[at][1]:
                first, last = self._gaps[at]
                rest = [(first, number - 1), (number + 1, last)]
                self._gaps[at : at + 1] = [gap for gap in rest if gap[0] <= gap[1]]
                return
