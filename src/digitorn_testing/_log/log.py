"""The event log: ordering, deduplication, typing and waiting, without any IO."""

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar, overload

from digitorn_testing._concurrency.forks import in_forks
from digitorn_testing._errors import ContractViolation, EventTimeout, StreamClosed
from digitorn_testing._events.daemon import MEANING
from digitorn_testing._events.event import AnyEvent, InvalidPayload, LiveEvent, UnknownPayload
from digitorn_testing._events.meaning import Meaning, TurnEnding
from digitorn_testing._events.selector import Selector
from digitorn_testing._events.timeline import number
from digitorn_testing._events.tool_names import is_named
from digitorn_testing._generated.events import (
    EventPayload,
    EventType,
)
from digitorn_testing._generated.models import PendingApproval
from digitorn_testing._handles import SessionHandle
from digitorn_testing._texts import in_seconds, json_text
from digitorn_testing._turns.collect import collect
from digitorn_testing._turns.operations import Operations
from digitorn_testing._turns.results import TurnResult
from digitorn_testing._turns.tracker import TurnTracker

from .duplicates import Copies
from .kept import Kept, in_order, take_out
from .recorded import FilePath, OnDamage, RecordedFile, RecordedStream

P = TypeVar("P", bound=EventPayload)
Sink: TypeAlias = Callable[[AnyEvent | None], object]
Tap: TypeAlias = Callable[[object], object]
InOrder: TypeAlias = Callable[[AnyEvent, str | None], object]


@dataclass(slots=True)
class Subscription:
    """A place in the log from which events are delivered.

    Attributes:
        existing: The events that had already arrived; later ones go to the sink.
    """

    existing: list[AnyEvent]
    _cancel: Callable[[], None]

    def cancel(self) -> None:
        """Stops the delivery. Idempotent."""
        self._cancel()


_Delivery: TypeAlias = tuple[AnyEvent, str | None, tuple[Sink, ...]]

_EVENTS_SHOWN = 8
_EVERY = ""
"""Key of the sinks that want every type; a wire name is never empty."""


class _Sinks:
    """The sinks by key. The owner does the locking."""

    def __init__(self) -> None:
        self._by_key: dict[str, tuple[Sink, ...]] = {}

    def add(self, keys: Iterable[str], sink: Sink) -> None:
        for key in keys:
            self._by_key[key] = (*self._by_key.get(key, ()), sink)

    def remove(self, keys: Iterable[str], sink: Sink) -> None:
        for key in keys:
            left = tuple(one for one in self._by_key.get(key, ()) if one is not sink)
            if left:
                self._by_key[key] = left
            else:
                self._by_key.pop(key, None)

    def of(self, key: str) -> tuple[Sink, ...]:
        return self._by_key.get(key, ())

    def of_type(self, wire: str) -> tuple[Sink, ...]:
        if not self._by_key:
            return ()
        return (*self._by_key.get(wire, ()), *self._by_key.get(_EVERY, ()))

    def all(self) -> list[Sink]:
        # A sink may be registered under several keys.
        return list({id(sink): sink for some in self._by_key.values() for sink in some}.values())


class EventLog:
    """The events of a session: typed, deduplicated and in order.

    Feed it frames from anywhere: a live stream, a recording, a test. Other threads may read it.

    Events are ordered by `seq`; an event without a number comes after the events that arrived before it.
    Copies are recognised by `event_id` and by `seq`, both within a session (contract: events, section 8.3).

    Missing numbers are normal, and nobody waits for one. An event is given to every reader as it arrives.
    Only between `hold` and `release` are events held back from those who read in order, such as a turn's
    readers and a stream's `wait_for`.

    Args:
        session_id: Keep only events of this session and events without a session; others go to `foreign`.
        strict: Raise on an event that the contract does not name or that breaks it.
        since: Only the session's events after this number are expected.
        max_events: How many events to keep; beyond that the oldest are dropped. Default: keep all.
        meaning: What the events mean. Default: as in the daemon's contract.

    Raises:
        ValueError: `max_events` is less than one.

    Attributes:
        since: As given.
        max_events: As given.
        meaning: As given.
    """

    def __init__(
        self,
        *,
        session_id: str | None = None,
        strict: bool = False,
        since: int = 0,
        max_events: int | None = None,
        meaning: Meaning = MEANING,
    ) -> None:
        if max_events is not None and max_events < 1:
            raise ValueError(f"max_events must be 1 or more events, not {max_events}")
        self.session_id = session_id
        self.strict = strict
        self.since = since
        self.max_events = max_events
        self.meaning = meaning
        self._lock = threading.Lock()
        self._taps: tuple[Tap, ...] = ()
        self._held: list[AnyEvent] | None = None
        self._highest = 0
        self._by_turn: dict[str, list[AnyEvent]] = defaultdict(list)
        self._turn_sinks = _Sinks()
        self._turn_ends: dict[str, BaseException | None] = {}
        self._turn_starts = Selector(meaning.turn_starts)
        self._end_events = Selector(meaning.turn_ends)
        self._tracker = TurnTracker(self._turn_at, meaning)
        self._in_order: InOrder | None = None
        self._in_order_wires: frozenset[str] | None = None
        self._kept = Kept(meaning)
        self._copies = Copies(max_events, meaning)
        self._foreign: deque[AnyEvent] = deque(maxlen=max_events)
        self._log_only: deque[AnyEvent] = deque(maxlen=max_events)
        self._duplicates = 0
        self._dropped = 0
        # The turn that each event was assigned to; kept only if events can be dropped.
        self._turn_of: dict[int, str] = {}
        self._sinks, self._ordered_sinks = _Sinks(), _Sinks()
        self._closed: BaseException | None = None
        self._recorded: SessionHandle | None = None
        self._endings: dict[str, TurnEnding] = {}
        in_forks(self)

    def after_fork(self) -> None:
        """Makes the log usable in a forked child."""
        self._lock = threading.Lock()

    # --- from elsewhere

    @staticmethod
    def of(events: Iterable[Mapping[str, Any]]) -> "EventLog":
        """The log of some events, such as those that a `TurnBuilder` builds.

        Args:
            events: Events, or raw envelopes.
        """
        log = EventLog()
        for one in events:
            log.feed(dict(one))
        return log

    @staticmethod
    def load(
        path: FilePath,
        *,
        session: SessionHandle | str | None = None,
        strict: bool = False,
        damaged: OnDamage = "warn",
    ) -> "EventLog":
        """Loads the log of a session from a recording. It is closed: no more events will arrive.

        Args:
            path: The recording.
            session: Which session, if it holds several.
            strict: As for the constructor.
            damaged: What to do about a recording that is cut off or damaged: `warn` with `RecordingDamaged`
                and load everything before the damage, or `raise` it.

        Raises:
            RecordingError: The file is not a recording, it holds several sessions and `session` is missing,
                or it does not hold that session.
            RecordingDamaged: The file is damaged, and `damaged` is `raise` or warnings are errors.
            ContractViolation: `strict` is set and an event is unknown or invalid.
            OSError: The file cannot be read.
        """
        streams = RecordedFile.load(path, damaged=damaged).streams(session)
        log = EventLog(
            session_id=streams[0].session.session_id, strict=strict, since=min(one.since for one in streams)
        )
        log._take_recorded(streams)
        return log

    def _take_recorded(self, streams: Sequence[RecordedStream]) -> None:
        self._recorded = streams[0].session
        for stream in streams:
            self._endings |= stream.endings
            for frame in stream.frames:
                self.feed(frame)
        self.close(StreamClosed("it is a recording"))

    # --- feeding

    def feed(self, raw: object) -> AnyEvent | None:
        """Takes one frame.

        Args:
            raw: The frame as JSON values, normally an envelope.

        Returns:
            The event, or None if it is a copy of an earlier one, belongs to another session, or is a row of
            the daemon's log that is never sent.

        Raises:
            ContractViolation: `strict` is set and the event is unknown or invalid. The event is kept anyway.
        """
        event = self.meaning.decode(raw)
        if event.session_id is None and self.session_id is not None and event.kind != "system":
            # Rows of the durable log may not have it (contract: events, section 4.3).
            event = replace(event, session_id=self.session_id)
        with self._lock:
            for tap in self._taps:
                tap(raw)
            if event.session_id != self.session_id and self._is_foreign(event):
                self._dropped += len(self._foreign) == self.max_events
                self._foreign.append(event)
                return None
            if event.is_numbered and event.seq > self._highest:
                self._highest = event.seq
            if self._copies.recognise(event):
                self._duplicates += 1
                return None
            if self.meaning.is_log_only(event):
                self._dropped += len(self._log_only) == self.max_events
                self._log_only.append(event)
                return None
            self._kept.add(event)
            sinks = self._sinks.of_type(event.type)
            delivery = None if self._holds(event) else self._delivery(event)
            dropped = () if self.max_events is None else self._drop_oldest(self.max_events)
        for sink in sinks:
            sink(event)
        if delivery is not None:
            self._deliver(delivery)
        for one in dropped:
            self._deliver(one)
        if self.strict:
            _refuse(event)
        return event

    def _is_foreign(self, event: AnyEvent) -> bool:
        return self.session_id is not None and event.session_id not in (None, self.session_id)

    def _drop_oldest(self, most: int) -> "list[_Delivery]":
        """Drops the oldest events beyond a number; returns the deliveries that they held back."""
        deliveries: list[_Delivery] = []
        while len(self._kept.events) > most:
            event, place = self._kept.drop_oldest()
            if place is not None:
                # Its reader gets it before it is gone.
                deliveries += map(self._delivery, self._released(place))
            self._dropped += 1
            take_out(self._by_turn, self._turn_of.pop(id(event), None), event)
        return deliveries

    # --- recording

    def tap(self, tap: Tap) -> None:
        """Passes every raw frame to a tap: first those of the events already here, then each new one.

        Args:
            tap: Takes a frame, including copies and events of other sessions. It must be quick, must not
                raise, and must not use the log.
        """
        with self._lock:
            for event in (*self._kept.events, *self._log_only, *self._foreign):
                tap(event.raw)
            self._taps = (*self._taps, tap)

    def untap(self, tap: Tap) -> None:
        """Removes a tap. Idempotent."""
        with self._lock:
            self._taps = tuple(one for one in self._taps if one != tap)

    # --- reading

    def events(self) -> list[AnyEvent]:
        """Every event so far, in order."""
        with self._lock:
            return self._kept.events.copy()

    def has_event_of(self, *types: type[EventPayload] | EventType) -> bool:
        """Whether an event of any of these types has arrived.

        Args:
            types: Payload classes or wire names.
        """
        return bool(self.events_of(*types))

    @overload
    def events_of(self, *types: type[P]) -> Sequence[LiveEvent[P]]: ...
    @overload
    def events_of(self, *types: type[EventPayload] | EventType) -> Sequence[AnyEvent]: ...
    def events_of(self, *types: type[EventPayload] | str) -> Sequence[Any]:
        """The events of these types so far, in order.

        Args:
            types: Payload classes or wire names.
        """
        return self._existing(Selector(types))

    def turn(self, correlation_id: str) -> list[AnyEvent]:
        """The events of one turn so far, in order.

        Approvals, sub-agents and other events that do not name a turn belong to the turn that is running when
        they arrive. A session runs one turn at a time (contract: events, sections 4.1 and 6.4).
        """
        with self._lock:
            named = in_order(self._kept.by_correlation.get(correlation_id, ()))
            running = [event for event in named if not self.meaning.waits_to_run(event)]
            if not running:
                return named
            first, last = self._start_of(correlation_id, running), self._end_of(correlation_id, running)
            nameless = [event for event in self._kept.nameless if first < event.seq < last]
        return in_order([*named, *nameless])

    def _start_of(self, correlation_id: str, running: list[AnyEvent]) -> float:
        """The number after which events that do not name a turn belong to this one."""
        # It may have been started while another turn was running.
        works = next((event.seq for event in running if self._works(event)), None)
        if works is None and self._waits_behind_running(running[0]):
            return float("inf")
        ends = (
            event.seq
            for event in self._kept.of(self._end_events)
            if self.meaning.ends_turn(event)
            and event.correlation_id != correlation_id
            and (works is None or event.seq < works)
        )
        return max(running[0].seq, max(ends, default=0))

    def _end_of(self, correlation_id: str, running: list[AnyEvent]) -> float:
        """The number before which events that do not name a turn belong to this one."""
        ends = [event.seq for event in running if self.meaning.ends_turn(event)]
        if ends:
            return ends[0]
        # A turn that was cut off without an end event ends where the next one begins to work.
        later = (
            works
            for event in self._kept.of(self._turn_starts)
            if event.seq > running[0].seq and event.correlation_id != correlation_id
            if (works := self._works_from(event.correlation_id)) is not None
        )
        return min(later, default=float("inf"))

    def _waits_behind_running(self, started: AnyEvent) -> bool:
        """Whether the running turn was started before another one, whose first event is given."""
        turn = self._tracker.running
        if turn is None or turn == started.correlation_id:
            return False
        return any(event.seq < started.seq for event in self._kept.by_correlation.get(turn, ()))

    def _works_from(self, correlation_id: str | None) -> int | None:
        """The number of the first event that shows a turn at work; None if there is none."""
        events = self._kept.by_correlation.get(correlation_id or "", ())
        return next((event.seq for event in events if self._works(event)), None)

    def _works(self, event: AnyEvent) -> bool:
        """Whether the event shows that its turn is running, and does not still wait for another one."""
        if self.meaning.starts_running(event):
            return self.meaning.runs_at_once(event)
        return not self.meaning.waits_to_run(event)

    @property
    def turns(self) -> list[str]:
        """The correlation ids of the turns so far, in order of first appearance."""
        return list(dict.fromkeys(one.correlation_id for one in self.events() if one.correlation_id))

    def turn_result(self, correlation_id: str | None = None) -> TurnResult:
        """The result of a turn, from its events so far.

        Args:
            correlation_id: The turn; the last one if left out.

        Raises:
            ValueError: There is no such turn.
        """
        turns = self.turns
        turn = turns[-1] if correlation_id is None and turns else correlation_id
        events = [] if turn is None else self.turn(turn)
        if turn is None or not events:
            raise ValueError(f"no turn {turn!r} in this log; its turns: {', '.join(turns) or 'none'}")
        session = self._recorded or SessionHandle(
            session_id=next((one.session_id for one in events if one.session_id), None) or "",
            app_id=next((one.app_id for one in events if one.app_id), None) or "",
            daemon_url="",
        )
        ending = self._endings.get(turn)
        return collect(events, session=session, correlation_id=turn, ending=ending, meaning=self.meaning)

    def operation(self, op_id: str) -> list[AnyEvent]:
        """The events of one operation so far, in order."""
        with self._lock:
            return in_order(event for event in self._kept.events if event.op_id == op_id)

    def operations(self) -> Operations:
        """The operations so far (turns, tool calls, approvals and so on), in order of their start."""
        return Operations.of(self.events(), meaning=self.meaning)

    def pending_approvals(self) -> list[PendingApproval]:
        """Approvals that were requested and have not been resolved yet, oldest first."""
        pending: dict[str, PendingApproval] = {}
        for event in self._existing(Selector(self.meaning.approval_events)):
            pending.update({one.request_id: one for one in self.meaning.pending(event)})
            if (asked := self.meaning.asked(event)) is not None:
                pending[asked.request_id] = asked
            if (resolved := self.meaning.resolved(event)) is not None:
                pending.pop(resolved.request_id, None)
        return list(pending.values())

    @property
    def last_seq(self) -> int:
        """The highest `seq` of the session so far."""
        return self._kept.last_seq

    @property
    def highest_number(self) -> int:
        """The highest number that has arrived, 0 before the first.

        It may belong to a copy, or to a row that is never sent.
        """
        return self._highest

    @property
    def duplicates(self) -> int:
        """How many copies were dropped."""
        return self._duplicates

    @property
    def dropped(self) -> int:
        """How many events were dropped because of `max_events`."""
        return self._dropped

    @property
    def foreign(self) -> list[AnyEvent]:
        """Events of other sessions that arrived here; they are not part of this log."""
        with self._lock:
            return list(self._foreign)

    @property
    def log_only(self) -> list[AnyEvent]:
        """Rows of the daemon's durable log that it never sends, in order. They repeat information from events
        and are not included in `events()` (contract: events, section 4.2)."""
        with self._lock:
            return sorted(self._log_only, key=lambda event: event.seq)

    def __len__(self) -> int:
        return len(self._kept.events)

    def __iter__(self) -> Iterator[AnyEvent]:
        return iter(self.events())

    # --- waiting

    def subscribe(
        self, sink: Sink, types: Iterable[type[EventPayload] | str] = (), *, in_order: bool = False
    ) -> Subscription:
        """Delivers every later event of these types to a sink, without a gap after the existing ones.

        The sink is called on the thread that calls `feed`, and with None when the log is closed. It must be
        quick.

        Args:
            sink: Takes the event.
            types: Payload classes or wire names; empty for every type. A sink may get events of other
                classes with the same wire name.
            in_order: Leave out events that are held back until they are released.
        """
        selector = Selector(types)
        keys = (_EVERY,) if selector.wires is None else tuple(selector.wires)
        sinks = self._ordered_sinks if in_order else self._sinks
        with self._lock:
            sinks.add(keys, sink)
            existing = self._kept.of(selector)
            if in_order and self._held:
                held = set(map(id, self._held))
                existing = [event for event in existing if id(event) not in held]
            closed = self._closed is not None
        if closed:
            sink(None)
        return Subscription(existing, lambda: self._unsubscribe(sinks, keys, sink))

    def _unsubscribe(self, sinks: _Sinks, keys: Iterable[str], sink: Sink) -> None:
        with self._lock:
            sinks.remove(keys, sink)

    def close(self, reason: BaseException) -> None:
        """Closes the log and wakes every waiter. The first reason is kept.

        Args:
            reason: What a waiter raises.
        """
        with self._lock:
            if self._closed is not None:
                return
            self._closed = reason
            # Nothing more will complete what is held back.
            deliveries = self._release()
            sinks = [*self._sinks.all(), *self._ordered_sinks.all(), *self._turn_sinks.all()]
        for delivery in deliveries:
            self._deliver(delivery)
        for sink in sinks:
            sink(None)

    def leave(self, reason: BaseException) -> None:
        """Closes the log in a forked child. All waiters are in the parent, so nobody is woken.

        Args:
            reason: What a waiter raises.
        """
        self.after_fork()
        self._sinks, self._ordered_sinks, self._turn_sinks = _Sinks(), _Sinks(), _Sinks()
        self._in_order, self._taps = None, ()
        self.close(reason)

    @property
    def closed(self) -> BaseException | None:
        """Why the log was closed; None while it is open."""
        return self._closed

    # --- reading in order

    def subscribe_turn(self, sink: Sink, correlation_id: str) -> Subscription:
        """Delivers every later event of one turn to a sink in order, without a gap after the existing ones.

        The sink is called on the thread that calls `feed`, and with None at the end of the turn and when the
        log is closed. It must be quick.

        Args:
            sink: Takes the event.
            correlation_id: The turn.
        """
        with self._lock:
            self._turn_sinks.add((correlation_id,), sink)
            existing = in_order(self._by_turn.get(correlation_id, ()))
            ended = self._closed is not None or correlation_id in self._turn_ends
        if ended:
            sink(None)
        return Subscription(existing, lambda: self._unsubscribe(self._turn_sinks, (correlation_id,), sink))

    def subscribe_in_order(self, sink: InOrder, types: Iterable[type[EventPayload] | str] = ()) -> None:
        """Delivers every later event of these types in order, each with the turn that it belongs to.

        Args:
            sink: Takes the event and the turn's correlation id, or None if the event belongs to no turn. It
                must be quick. A log has one such sink, and it may get events of other classes with the same
                wire name.
            types: Payload classes or wire names; empty for every type.
        """
        self._in_order, self._in_order_wires = sink, Selector(types).wires

    def end_turn(self, correlation_id: str, error: BaseException | None = None) -> None:
        """Ends a turn for its readers: all of its events have arrived.

        Args:
            correlation_id: The turn.
            error: Why the turn cannot be read to its end, if it cannot.
        """
        with self._lock:
            self._turn_ends[correlation_id] = error
            if error is None:
                self._tracker.end(correlation_id)
            if self._copies.keep is not None and len(self._turn_ends) > self._copies.keep:
                del self._turn_ends[next(iter(self._turn_ends))]
            sinks = self._turn_sinks.of(correlation_id)
        for sink in sinks:
            sink(None)

    def turn_ended(self, correlation_id: str) -> bool:
        """Whether a turn has arrived up to its end."""
        with self._lock:
            return correlation_id in self._turn_ends and self._turn_ends[correlation_id] is None

    def turn_error(self, correlation_id: str) -> BaseException | None:
        """Why a turn cannot be read to its end; None if no reason is known."""
        with self._lock:
            return self._turn_ends.get(correlation_id)

    @property
    def running_turn(self) -> str | None:
        """The turn that is running for ordered readers; None if no running turn is known."""
        return self._tracker.running

    def hold(self) -> None:
        """Holds back what arrives from now on from those who read in order. Idempotent."""
        with self._lock:
            if self._held is None:
                self._held = []

    def release(self) -> None:
        """Gives what was held back to those who read in order, by number, and holds back nothing more."""
        with self._lock:
            deliveries = self._release()
        for delivery in deliveries:
            self._deliver(delivery)

    def held_back(self) -> list[AnyEvent]:
        """The events that are held back now, by number."""
        with self._lock:
            return in_order(self._held or ())

    def _release(self) -> "list[_Delivery]":
        deliveries = [self._delivery(event) for event in self._released(None)]
        self._held = None
        return deliveries

    def _released(self, upto: int | None) -> list[AnyEvent]:
        """The events that were held back up to a number, or all of them, by number."""
        if not self._held:
            return []
        released = [event for event in self._held if upto is None or event.seq <= upto]
        self._held = [] if upto is None else [event for event in self._held if event.seq > upto]
        return in_order(released)

    def _holds(self, event: AnyEvent) -> bool:
        """Whether an event is held back from those who read in order, and keeps it for them then."""
        # An event without a number has no place in the order, and events without a session share no order.
        if self._held is None or not event.is_numbered or self.session_id is None:
            return False
        self._held.append(event)
        return True

    def _delivery(self, event: AnyEvent) -> "_Delivery":
        sinks = self._ordered_sinks.of_type(event.type)
        turn = self._tracker.turn_of(event)
        if turn is None:
            return event, None, sinks
        self._by_turn[turn].append(event)
        if self.max_events is not None:
            self._turn_of[id(event)] = turn
        return event, turn, (*self._turn_sinks.of(turn), *sinks)

    def _deliver(self, delivery: "_Delivery") -> None:
        event, turn, sinks = delivery
        for sink in sinks:
            sink(event)
        if self._in_order is not None and (
            self._in_order_wires is None or event.type in self._in_order_wires
        ):
            self._in_order(event, turn)

    def _turn_at(self, seq: int) -> str | None:
        """The turn that was running at an earlier number."""
        over: set[str | None] = set()
        oldest: str | None = None
        for event in reversed(self._kept.before(seq)):
            if self.meaning.ends_turn(event):
                # It may be the last event of a turn other than the running one.
                over.add(event.correlation_id)
            elif self.meaning.starts_running(event):
                if event.correlation_id in over:
                    # Turns end in the order of their starts, so all before it have ended.
                    return oldest
                oldest = event.correlation_id
                if self.meaning.runs_at_once(event):
                    return oldest
        return oldest

    def timeout(
        self,
        what: str,
        seconds: float,
        because: str = "",
        *,
        known: Iterable[str] = (),
        turn: str | None = None,
    ) -> EventTimeout:
        """The error for something that did not arrive in time. It says why, then what did arrive.

        Args:
            what: What was waited for.
            seconds: How long.
            because: Why it did not arrive, if that is known.
            known: What else is to be said.
            turn: The turn that it was to be of, if any.
        """
        events, pending = self.events(), self.pending_approvals()
        causes = [because] if because else []
        if pending:
            causes.append(self._waits_for_approval(pending))
        said = f"{what} within {in_seconds(seconds)}"
        parts = [": ".join([said, "; ".join(causes)]) if causes else said, *known]
        # What the agent did says more than the snapshots and counters behind it.
        bookkeeping, ends = self.meaning.is_bookkeeping, self.meaning.ends_turn
        telling = [event for event in events if not bookkeeping(event) or ends(event)]
        arrived = f"{_counted(events)} arrived" if events else "no event arrived"
        if telling:
            shown = (f"{number(event)} {event.type}" for event in telling[-_EVENTS_SHOWN:])
            arrived += f", of note: {', '.join(shown)}"
        parts.append(arrived)
        # The summary of a run has room for the beginning, where names help nobody.
        ids = [f"request {one.request_id}" for one in pending]
        if turn is not None:
            ids.append(f"turn {turn}")
        if self.session_id:
            ids.append(f"session {self.session_id!r}")
        return EventTimeout("; ".join([*parts, *([", ".join(ids)] if ids else [])]), events, pending)

    def _waits_for_approval(self, pending: Sequence[PendingApproval]) -> str:
        """What somebody has to decide before the agent goes on, with the names that the model called."""
        begun = [call for call in map(self.meaning.tool_began, self.events()) if call is not None]
        asked: list[str] = []
        for one in pending:
            called = (call.name for call in reversed(begun) if is_named(one.tool_name, (call.name,)))
            asked.append(f"{next(called, one.tool_name)} {json_text(dict(one.tool_params))}")
        return f"the agent waits for approval of {', '.join(asked)}: answer it, or pass approvals="

    def _existing(self, selector: Selector) -> list[AnyEvent]:
        with self._lock:
            return self._kept.of(selector)


def _counted(events: Sequence[AnyEvent]) -> str:
    return "1 event" if len(events) == 1 else f"{len(events)} events"


def _refuse(event: AnyEvent) -> None:
    match event.payload:
        case InvalidPayload(errors=errors):
            raise ContractViolation(f"event {number(event)} {event.type}", errors)
        case UnknownPayload():
            raise ContractViolation(f"event {number(event)} {event.type}", ("the contract has no such type",))
        case _:
            pass
