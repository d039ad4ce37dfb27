"""The rules by which faults hit: what fits them, how often they hit, what they hold back."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeAlias, TypeVar

from digitorn_testing.fakes._wire.envelopes import Frame
from digitorn_testing.fakes._wire.socketio import Cut, Scope

T = TypeVar("T")

CutAt: TypeAlias = Literal["request", "answer", "body"]
"""Where a call over REST is cut off: before it is executed, after that, or in the middle of its answer."""


@dataclass(frozen=True, slots=True)
class RespondWith:
    """Instead of being executed, a call is answered with a status and a reason."""

    status: int
    reason: str
    retry_after: float | None


@dataclass(frozen=True, slots=True)
class SlowBody:
    """The body of an answer takes some seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hang:
    """A call waits while the fault is there."""


@dataclass(frozen=True, slots=True)
class CutOff:
    """The connection of a call is cut."""

    at: CutAt


CallEffect: TypeAlias = RespondWith | SlowBody | Hang | CutOff
"""What may happen to a call over REST."""


@dataclass(frozen=True, slots=True)
class Lose:
    """An event is not sent; its number is spent and its row stays."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """An event is sent more than once."""

    copies: int


@dataclass(frozen=True, slots=True)
class Delay:
    """An event is sent later, so that others overtake it."""

    seconds: float


@dataclass(frozen=True, slots=True)
class DropConnection:
    """The connections that an event went to are cut after it."""

    how: Cut


EventEffect: TypeAlias = Lose | Duplicate | Delay | DropConnection
"""What may happen to an event on its way."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """A connection for events is refused."""


KnownFault: TypeAlias = Literal["wrong_event_loop", "empty_forks", "deleted_sessions_return", "no_active_ops"]
"""A fault of the released daemon (docs/real-daemon-traps.md)."""


@dataclass(frozen=True, slots=True)
class Known:
    """A fault of the released daemon happens."""

    name: KnownFault


Effect: TypeAlias = CallEffect | EventEffect | Refuse | Known


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How often a fault hits what fits it.

    Attributes:
        times: How often; None for no limit.
        after: How many are let pass first.
        every: After those, which one of how many it hits.

    Raises:
        ValueError: It could never hit.
    """

    times: int | None = None
    after: int = 0
    every: int = 1

    def __post_init__(self) -> None:
        if (self.times is not None and self.times < 1) or self.after < 0 or self.every < 1:
            raise ValueError(
                f"times={self.times}, after={self.after}, every={self.every}: a fault hits once at least, "
                "lets none or more pass first, and hits every first or later one"
            )


@dataclass(slots=True, eq=False)
class Rule(Generic[T]):
    """One fault: its target, its effect, and how often it hits. Its registry does the locking.

    Attributes:
        effect: What happens.
        count: How often.
        fits: Whether it may happen to something.
        hits: How often it has happened.
        is_removed: Whether it has been taken away.
    """

    effect: Effect
    count: Count
    fits: Callable[[T], bool]
    hits: int = 0
    is_removed: bool = False
    _seen: int = 0
    _held: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = field(
        default_factory=list[tuple[asyncio.AbstractEventLoop, asyncio.Event]]
    )

    @property
    def is_active(self) -> bool:
        """Whether it may still hit."""
        return not self.is_removed and (self.count.times is None or self.hits < self.count.times)

    def takes(self, what: T) -> bool:
        """Whether it hits this; if so, that counts."""
        if not (self.is_active and self.fits(what)):
            return False
        self._seen += 1
        behind = self._seen - self.count.after
        if behind <= 0 or behind % self.count.every:
            return False
        self.hits += 1
        return True

    def hold(self, loop: asyncio.AbstractEventLoop) -> asyncio.Event:
        """The event that is set once nothing is held any more."""
        released = asyncio.Event()
        self._held.append((loop, released))
        return released

    def release(self) -> None:
        """Lets go of what is held."""
        held, self._held = self._held, []
        for loop, released in held:
            if not loop.is_closed():
                loop.call_soon_threadsafe(released.set)


class Rules:
    """The rules of one daemon. They are changed on any thread, and asked on the daemon's event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: list[Rule[Scope]] = []
        self._events: list[Rule[Frame]] = []
        self._connections: list[Rule[None]] = []
        self._known: list[Rule[KnownFault]] = []

    def add_call_rule(self, rule: Rule[Scope]) -> None:
        """Adds one for calls over REST."""
        with self._lock:
            self._calls = [*self._calls, rule]

    def add_event_rule(self, rule: Rule[Frame]) -> None:
        """Adds one for events on their way."""
        with self._lock:
            self._events = [*self._events, rule]

    def add_connection_rule(self, rule: Rule[None]) -> None:
        """Adds one for connections for events."""
        with self._lock:
            self._connections = [*self._connections, rule]

    def add_known_rule(self, rule: Rule[KnownFault]) -> None:
        """Adds one for a fault of the released daemon."""
        with self._lock:
            self._known = [*self._known, rule]

    def remove(self, rule: Rule[T]) -> None:
        """Takes a rule away; what it held goes on."""
        with self._lock:
            rule.is_removed = True
            self._calls = [one for one in self._calls if one is not rule]
            self._events = [one for one in self._events if one is not rule]
            self._connections = [one for one in self._connections if one is not rule]
            self._known = [one for one in self._known if one is not rule]
            rule.release()

    # --- asked by the daemon

    def of_call(self, scope: Scope) -> Rule[Scope] | None:
        """The rule that hits a call, or None."""
        if not self._calls:
            return None
        with self._lock:
            return next(self._hits(self._calls, scope), None)

    def of_event(self, frame: Frame) -> list[Rule[Frame]]:
        """The rules that hit an event, up to the first one that stops the event."""
        hit: list[Rule[Frame]] = []
        with self._lock:
            for rule in self._hits(self._events, frame):
                hit.append(rule)
                if isinstance(rule.effect, Lose):
                    break
            if not all(rule.is_active for rule in hit):
                # Those that are used up would be asked of every event for nothing.
                self._events = [rule for rule in self._events if rule.is_active]
            return hit

    @property
    def has_event_rules(self) -> bool:
        """Whether anything may hit an event."""
        return bool(self._events)

    def refuses_connection(self) -> bool:
        """Whether a connection is refused."""
        with self._lock:
            return next(self._hits(self._connections, None), None) is not None

    def strikes(self, name: KnownFault) -> bool:
        """Whether a fault of the released daemon happens now."""
        with self._lock:
            return next(self._hits(self._known, name), None) is not None

    def _hits(self, rules: list[Rule[T]], what: T) -> Iterator[Rule[T]]:
        return (rule for rule in rules if rule.takes(what))

    def released(self, rule: Rule[T]) -> asyncio.Event:
        """An event that is set once a rule is removed, or everything is let go."""
        with self._lock:
            released = rule.hold(asyncio.get_running_loop())
            if rule.is_removed:
                rule.release()
        return released

    def let_go(self) -> None:
        """Holds nothing any longer; the rules stay."""
        with self._lock:
            for rule in self._calls:
                rule.release()
