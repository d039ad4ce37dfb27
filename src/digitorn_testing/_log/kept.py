"""The events that a log keeps: in order, and by what they are asked for."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Hashable, Iterable
from typing import TypeVar

from digitorn_testing._events.event import AnyEvent
from digitorn_testing._events.meaning import Meaning
from digitorn_testing._events.selector import Selector

_Key = TypeVar("_Key", bound=Hashable)


class Kept:
    """Events in order, with indexes. The owner does the locking.

    Events are ordered by `seq`; an event without a number comes after the events that arrived before it.

    Args:
        meaning: What the events mean.

    Attributes:
        events: Every event, in order.
        by_correlation: The events that name a turn, by its correlation id, as they arrived.
        nameless: The events of the session that name no turn, as they arrived.
        last_seq: The highest number.
    """

    __slots__ = (
        "_by_type",
        "_heartbeats",
        "_meaning",
        "_places",
        "by_correlation",
        "events",
        "last_seq",
        "nameless",
    )

    def __init__(self, meaning: Meaning) -> None:
        self.events: list[AnyEvent] = []
        self.by_correlation: dict[str, list[AnyEvent]] = defaultdict(list)
        self.nameless: list[AnyEvent] = []
        self.last_seq = 0
        self._meaning = meaning
        self._places: dict[int, int] = {}
        """The numbers after which events without a number came, by the identity of the event."""
        self._by_type: dict[str, list[AnyEvent]] = defaultdict(list)
        self._heartbeats: list[AnyEvent] = []

    def add(self, event: AnyEvent) -> None:
        """Adds an event."""
        if not event.is_numbered:
            self._places[id(event)] = self.last_seq
            self.events.append(event)
            if self._meaning.is_heartbeat(event):
                self._heartbeats.append(event)
        elif event.seq >= self.last_seq:
            self.events.append(event)
            self.last_seq = event.seq
        else:
            # Usually late by only a few places, so little has to move.
            self.events.insert(bisect_right(self.events, event.seq, key=self._place), event)
        self._by_type[event.type].append(event)
        if event.correlation_id is not None:
            self.by_correlation[event.correlation_id].append(event)
        elif self._meaning.is_logged(event):
            self.nameless.append(event)

    def of(self, selector: Selector) -> list[AnyEvent]:
        """The events that a selector matches, in order."""
        if selector.wires is None:
            return [event for event in self.events if selector.matches(event)]
        lists = [found for wire in selector.wires if (found := self._by_type.get(wire))]
        return in_order(event for events in lists for event in events if selector.matches(event))

    def before(self, seq: int) -> list[AnyEvent]:
        """The events before a number, in order."""
        return self.events[: bisect_left(self.events, seq, key=self._place)]

    def drop_oldest(self) -> tuple[AnyEvent, int | None]:
        """Drops the oldest event, or an old heartbeat, of which the last one is enough.

        Returns:
            The event, and its place if it was the oldest.
        """
        at = self._oldest_heartbeat() or 0
        event = self.events.pop(at)
        place = self._place(event)
        self._places.pop(id(event), None)
        take_out(self._by_type, event.type, event)
        take_out(self.by_correlation, event.correlation_id, event)
        if event.correlation_id is None:
            _remove(self.nameless, event)
        _remove(self._heartbeats, event)
        return event, place if at == 0 else None

    def _place(self, event: AnyEvent) -> int:
        return event.seq if event.is_numbered else self._places[id(event)]

    def _oldest_heartbeat(self) -> int | None:
        """Position of the oldest of several heartbeats."""
        if len(self._heartbeats) < 2:
            return None
        return next(at for at, event in enumerate(self.events) if event is self._heartbeats[0])


def in_order(events: Iterable[AnyEvent]) -> list[AnyEvent]:
    """Events by their numbers."""
    return sorted(events, key=lambda event: event.seq)


def take_out(index: dict[_Key, list[AnyEvent]], key: _Key | None, event: AnyEvent) -> None:
    """Removes an event from an index, and its key with its last event."""
    if key is None or (events := index.get(key)) is None:
        return
    _remove(events, event)
    if not events:
        del index[key]


def _remove(events: list[AnyEvent], event: AnyEvent) -> None:
    # By identity: events are mappings, and equal events may be distinct. The oldest is near the front.
    for place, one in enumerate(events):
        if one is event:
            del events[place]
            return
