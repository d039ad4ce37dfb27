"""Selects event types by payload class or wire name."""

import difflib
from collections.abc import Callable, Iterable
from typing import TypeAlias

from digitorn_testing._generated.events import EVENTS, EventPayload, EventType

from .event import AnyEvent

EventSelector: TypeAlias = type[EventPayload] | EventType
"""A payload class or a wire name."""

Where: TypeAlias = Callable[[AnyEvent], bool]


class Selector:
    """Matches events of any of the given types.

    Args:
        types: Payload classes or wire names; empty for every type.

    Raises:
        ValueError: A name is not an event type of the contract. Checks and waits for it would otherwise
            pass or time out for the wrong reason.
        TypeError: An argument is neither a payload class nor a name.

    Attributes:
        wires: The wire names that can match; None if any can.
        label: The name of the selection in messages.
    """

    __slots__ = ("_classes", "_names", "label", "wires")

    def __init__(self, types: Iterable[type[EventPayload] | str]) -> None:
        chosen = tuple(types)
        for one in chosen:
            _check(one)
        self._names = frozenset(one for one in chosen if isinstance(one, str))
        self._classes = tuple(one for one in chosen if not isinstance(one, str))
        self.label = " or ".join(name_of(one) for one in chosen) or "event"
        wires: set[str] | None = set(self._names)
        for one in self._classes:
            known = EVENTS.types_of(one)
            # Unknown and invalid payloads can have any wire name, and so can types defined by a pattern.
            if wires is None or not known or one is EventPayload or any(wire.endswith("*") for wire in known):
                wires = None
            else:
                wires.update(known)
        self.wires = frozenset(wires) if wires is not None and chosen else None

    def matches(self, event: AnyEvent) -> bool:
        """Whether an event is of one of the types."""
        if not self._names and not self._classes:
            return True
        return event.type in self._names or isinstance(event.payload, self._classes)


def name_of(selector: type[EventPayload] | str) -> str:
    """The name of a type in messages."""
    return selector if isinstance(selector, str) else selector.__name__


def _check(selector: object) -> None:
    if isinstance(selector, str):
        if EVENTS.payload_class(selector, {}) is not None:
            return
        close = difflib.get_close_matches(selector, sorted({spec.wire for spec in EVENTS.specs}), 1)
        hint = (
            f"did you mean {close[0]!r}?" if close else "a type that it does not name has an UnknownPayload"
        )
        raise ValueError(f"{selector!r} is no event type of the contract; {hint}")
    if not (isinstance(selector, type) and issubclass(selector, EventPayload)):
        raise TypeError(f"expected a payload class or a wire name, got {selector!r}")
