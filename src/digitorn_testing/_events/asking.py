"""Asking a collection of events for those of a type."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar, overload

from digitorn_testing._generated.events import EventPayload, EventType

from .event import AnyEvent, LiveEvent
from .selector import Selector

P = TypeVar("P", bound=EventPayload)


class _HasEvents(Protocol):
    @property
    def events(self) -> Sequence[AnyEvent]: ...


class Asking:
    """Base of what has `events`, in order."""

    __slots__ = ()

    @overload
    def events_of(self: _HasEvents, *types: type[P]) -> Sequence[LiveEvent[P]]: ...
    @overload
    def events_of(self: _HasEvents, *types: type[EventPayload] | EventType) -> Sequence[AnyEvent]: ...
    def events_of(self: _HasEvents, *types: type[EventPayload] | EventType) -> Sequence[Any]:
        """The events of these types, in order.

        Args:
            types: Payload classes or wire names.
        """
        selector = Selector(types)
        return [one for one in self.events if selector.matches(one)]

    def has_event_of(self: _HasEvents, *types: type[EventPayload] | EventType) -> bool:
        """Whether there is an event of any of these types.

        Args:
            types: Payload classes or wire names.
        """
        selector = Selector(types)
        return any(map(selector.matches, self.events))
