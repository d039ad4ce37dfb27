"""A publisher that keeps what it is given."""

from collections.abc import Sequence
from typing import Any, TypeVar, overload

from ._envelope import event
from ._event import AnyEvent, LiveEvent
from ._generated.events import EventPayload, EventType
from ._log import EventLog
from ._operations import Operations

P = TypeVar("P", bound=EventPayload)


class EventCapture:
    """An event publisher that sends nothing and keeps everything, for code that publishes events.

    It keeps them as an `EventLog` does: a copy of an event that is here counts as published and is kept once.

    Attributes:
        log: What was published.
        publish_count: How often something was published.
    """

    def __init__(self) -> None:
        self.log = EventLog()
        self.publish_count = 0

    def publish(self, published: EventPayload | AnyEvent) -> AnyEvent:
        """Takes an event.

        Args:
            published: The event, or its payload; that becomes an event of a session of its own, numbered in
                the order of publishing.

        Returns:
            The event as it was kept.
        """
        self.publish_count += 1
        made = (
            event(published, seq=self.log.last_seq + 1) if isinstance(published, EventPayload) else published
        )
        self.log.feed(dict(made.raw))
        return made

    def has_event_of(self, *types: type[EventPayload] | EventType) -> bool:
        """Whether an event of any of some types was published.

        Args:
            types: Payload classes or wire names.
        """
        return bool(self.events_of(*types))

    @overload
    def events_of(self, *types: type[P]) -> Sequence[LiveEvent[P]]: ...
    @overload
    def events_of(self, *types: type[EventPayload] | EventType) -> Sequence[AnyEvent]: ...
    def events_of(self, *types: type[EventPayload] | EventType) -> Sequence[Any]:
        """The published events of some types, in order.

        Args:
            types: Payload classes or wire names.
        """
        return self.log.events_of(*types)

    @property
    def events(self) -> list[AnyEvent]:
        """Every published event, in order."""
        return self.log.events()

    def operations(self) -> Operations:
        """What the published events add up to."""
        return self.log.operations()

    def reset(self) -> None:
        """Forgets everything."""
        self.log = EventLog()
        self.publish_count = 0
