"""A publisher that keeps every event it is given."""

import itertools
import threading

from digitorn_testing._events.asking import Asking
from digitorn_testing._events.envelope import event
from digitorn_testing._events.event import AnyEvent, decode
from digitorn_testing._generated.events import EventPayload
from digitorn_testing._turns.operations import Operations

from .log import EventLog


class EventCapture(Asking):
    """An event publisher that sends nothing and keeps every event, to test code that publishes events.

    Copies (the same event with the same `event_id`) are kept once. A different event whose number or
    `event_id` is already taken in its session gets the next free one. Thread-safe.

    Attributes:
        log: The published events, in order of their numbers.
        publish_count: How many times `publish` was called.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: int = 0
        self.reset()

    def publish(self, published: EventPayload | AnyEvent) -> AnyEvent:
        """Keeps an event.

        Args:
            published: The event, or just its payload. Bare payloads become events of a separate session,
                numbered in the order of publishing.

        Returns:
            The event as it was kept.
        """
        with self._lock:
            self.publish_count += 1
            if isinstance(published, EventPayload):
                published = event(published, seq=self._last + 1)
            copied = self._by_id.get((published.session_id, published.event_id))
            if copied is not None and _are_same(copied, published):
                return copied
            kept = self._placed(published)
            self._events.append(kept)
            self._last = max(self._last, kept.seq)
            if kept.is_numbered:
                self._numbers.add((kept.session_id, kept.seq))
            if kept.event_id is not None:
                self._by_id[kept.session_id, kept.event_id] = kept
            self.log.feed(dict(kept.raw))
            return kept

    def _placed(self, published: AnyEvent) -> AnyEvent:
        """The event, renumbered or given a new id if another event of its session already has them."""
        session_id = published.session_id
        changed = dict(published.raw)
        if published.is_numbered and (session_id, published.seq) in self._numbers:
            changed["seq"] = self._last + 1
        if (session_id, published.event_id) in self._by_id:
            ids = (f"ev-{number:012x}" for number in itertools.count(self._last + 1))
            changed["event_id"] = next(one for one in ids if (session_id, one) not in self._by_id)
        return decode(changed)

    @property
    def events(self) -> list[AnyEvent]:
        """Every published event, in the order of publishing."""
        with self._lock:
            return list(self._events)

    def operations(self) -> Operations:
        """The operations that the published events report on."""
        return Operations.of(self.events)

    def reset(self) -> None:
        """Forgets everything."""
        with self._lock:
            self.log = EventLog()
            self.publish_count = 0
            self._events: list[AnyEvent] = []
            self._numbers: set[tuple[str | None, int]] = set()
            self._by_id: dict[tuple[str | None, str | None], AnyEvent] = {}
            self._last = 0


def _are_same(one: AnyEvent, other: AnyEvent) -> bool:
    """Whether two events with the same id are copies; a copy may have a different number
    (contract: events, section 8.3)."""
    return (one.type, one.op_id, one.raw.get("payload")) == (
        other.type,
        other.op_id,
        other.raw.get("payload"),
    )
