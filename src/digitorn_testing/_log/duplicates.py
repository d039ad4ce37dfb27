"""Recognises copies of events."""

import heapq

from digitorn_testing._events.event import AnyEvent
from digitorn_testing._events.meaning import Meaning

_FEWEST = 1024
"""How many numbers and ids are remembered at least. Copies and late events lag by only a few places."""


class _Session:
    """What has arrived of one session.

    Args:
        keep: How many ids and numbers are remembered; None for all of them. Older numbers count as arrived.
        meaning: What the events mean.
    """

    __slots__ = ("_below", "_events", "_highest", "_ids", "_keep", "_lowest", "_meaning", "_snapshots")

    def __init__(self, keep: int | None, meaning: Meaning) -> None:
        self._keep = keep
        self._meaning = meaning
        self._ids: dict[str, None] = {}
        self._events: dict[int, str | None] = {}
        self._snapshots: set[int] = set()
        self._lowest: list[int] = []
        self._below = 0
        self._highest = 0

    def recognise(self, event: AnyEvent) -> bool:
        """Whether an event is a copy of one that has arrived."""
        is_copy = False
        if (event_id := event.event_id) is not None:
            is_copy = event_id in self._ids
            self._ids[event_id] = None
            if self._keep is not None and len(self._ids) > self._keep:
                del self._ids[next(iter(self._ids))]
        if event.is_numbered:
            if event.seq > self._highest:
                # Nearly every event has a new number.
                self._highest = event.seq
                self._note(event)
            else:
                is_copy = self._has_number(event) or is_copy
        return is_copy

    def _has_number(self, event: AnyEvent) -> bool:
        """Whether an event with this number has arrived and may be the same event.

        A restarted daemon reuses the numbers of snapshots and of events that it had not logged
        (contract: events, section 4.2).
        """
        number = event.seq
        if number <= self._below:
            return True
        if self._meaning.is_snapshot(event):
            is_here = number in self._snapshots
        elif is_here := number in self._events:
            before = self._events[number]
            return event.event_id is None or before is None or before == event.event_id
        self._note(event)
        return is_here

    def _note(self, event: AnyEvent) -> None:
        number = event.seq
        if self._keep is not None and number not in self._events and number not in self._snapshots:
            heapq.heappush(self._lowest, number)
        if self._meaning.is_snapshot(event):
            self._snapshots.add(number)
        else:
            self._events[number] = event.event_id
        if self._keep is not None and len(self._lowest) > self._keep:
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
        """How many numbers and ids of a session are remembered; None for all of them."""
        self._sessions: dict[str | None, _Session] = {}

    def recognise(self, event: AnyEvent) -> bool:
        """Whether an event is a copy."""
        session = self._sessions.get(event.session_id)
        if session is None:
            session = self._sessions[event.session_id] = _Session(self.keep, self._meaning)
        return session.recognise(event)
