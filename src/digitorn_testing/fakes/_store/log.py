"""The durable log of a session, and the ring buffer of a user."""

import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from digitorn_testing._generated.events import TERMINAL_STATES, EventEnvelope
from digitorn_testing._generated.models import ActiveOp

_RING_SIZE = 2000
_IN_FLIGHT_SECONDS: Final = 600.0
"""How long after its last event an operation counts as in flight (contract: events, section 3.1)."""

_HINTS: Final = ("name", "tool_name", "specialist", "description")


@dataclass(frozen=True, slots=True)
class _Row:
    event: EventEnvelope
    written_at: float
    visible_at: float


@dataclass(slots=True)
class _LoggedOp:
    first: _Row
    last: _Row
    hints: dict[str, str]


class _LoggedOps:
    """What the first rows of a log tell of operations, in the order of their starts.

    Rows are looked at once: a log is asked with every join, and may be long.
    """

    def __init__(self) -> None:
        self.found: dict[str, _LoggedOp] = {}
        self._taken = 0

    def take(self, rows: list[_Row], upto: int) -> None:
        """Goes on with the rows up to a place."""
        for row in rows[self._taken : upto]:
            op_id, payload = row.event.op_id, row.event.payload
            if op_id is None:
                # A row that was never sent reports on nothing.
                continue
            one = self.found.setdefault(op_id, _LoggedOp(row, row, {}))
            one.last = row
            for name in _HINTS:
                if isinstance(said := payload.get(name), str):
                    one.hints.setdefault(name, said)
        self._taken = max(self._taken, upto)


class SessionLog:
    """The events of one session in order of their numbers, and the counter that these come from.

    Args:
        delay: Seconds until an event can be read back; a real daemon writes in batches
            (contract: events, section 3.3).
        clock: Monotonic seconds.
    """

    def __init__(self, *, delay: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._delay = delay
        self._clock = clock
        self._rows: list[_Row] = []
        self._last_seq = 0
        self._read, self._written = _LoggedOps(), _LoggedOps()

    def next_seq(self) -> int:
        """Spends a number; every producer of the session and every snapshot takes one."""
        self._last_seq += 1
        return self._last_seq

    @property
    def last_seq(self) -> int:
        """The number spent last; 0 before the first."""
        return self._last_seq

    def skip_to(self, seq: int) -> None:
        """Spends every number up to this one."""
        self._last_seq = max(self._last_seq, seq)

    def append(self, event: EventEnvelope) -> None:
        """Appends an event; it can be read after the delay."""
        now = self._clock()
        self._rows.append(_Row(event, now, now + self._delay))

    def restore(self, events: Iterable[EventEnvelope]) -> None:
        """Appends events of the past, which can be read at once."""
        now = self._clock()
        for event in events:
            self._rows.append(_Row(event, now, now))
            self.skip_to(event.seq or 0)

    def has(self, event_id: str) -> bool:
        """Whether it holds an event of an id, which need not be readable yet."""
        return any(row.event.event_id == event_id for row in self._rows)

    def crash(self) -> None:
        """Loses what cannot be read yet.

        Numbers continue after the last row (contract: events, section 4.2).
        """
        del self._rows[self.readable :]
        self._last_seq = max((row.event.seq or 0 for row in self._rows), default=0)
        self._written = _LoggedOps()

    def events(self, since: int = 0) -> list[EventEnvelope]:
        """The readable events with a greater number."""
        begin = bisect_right(self._rows, since, key=_number)
        return [row.event for row in self._rows[begin : self.readable]]

    @property
    def readable(self) -> int:
        """How many events can be read."""
        return bisect_right(self._rows, self._clock(), key=_visible_at)

    def active_ops(self) -> list[ActiveOp]:
        """The operations that have not ended, oldest first."""
        self._read.take(self._rows, self.readable)
        return [
            _active_op(one)
            for one in self._read.found.values()
            if one.last.event.op_state not in TERMINAL_STATES
        ]

    def in_flight(self) -> list[EventEnvelope]:
        """The last event of each operation that has begun and not ended, in the order of their starts."""
        self._written.take(self._rows, len(self._rows))
        since = self._clock() - _IN_FLIGHT_SECONDS
        return [
            one.last.event
            for one in self._written.found.values()
            if one.last.event.op_state not in (*TERMINAL_STATES, "pending") and one.last.written_at >= since
        ]


def _number(row: _Row) -> int:
    return row.event.seq or 0


def _visible_at(row: _Row) -> float:
    return row.visible_at


def _active_op(found: _LoggedOp) -> ActiveOp:
    first, last = found.first.event, found.last.event
    return ActiveOp.from_wire(
        {
            "op_id": last.op_id,
            "op_type": last.op_type,
            "op_state": last.op_state,
            "op_parent_id": last.op_parent_id,
            "first_seq": first.seq,
            "started_at": first.ts,
            "last_seq": last.seq,
            "last_ts": last.ts,
            "last_type": last.type,
            "correlation_id": last.correlation_id,
            **found.hints,
        }
    )


@dataclass(slots=True)
class RingBuffer:
    """The last events of one user, in memory (contract: events, section 3.2)."""

    _events: deque[EventEnvelope] = field(default_factory=lambda: deque[EventEnvelope](maxlen=_RING_SIZE))
    _gone: dict[str, int] = field(default_factory=dict[str, int])

    def append(self, event: EventEnvelope) -> None:
        """Keeps an event; the oldest one gives way."""
        if len(self._events) == _RING_SIZE:
            oldest = self._events[0]
            self._gone[oldest.session_id or ""] = oldest.seq or 0
        self._events.append(event)

    def bridges(self, session_id: str, since: int) -> bool:
        """Whether every event of a session after a number is still here."""
        return self._gone.get(session_id, 0) <= since

    def events(
        self, since: int = 0, *, app_id: str | None = None, session_id: str | None = None
    ) -> list[EventEnvelope]:
        """The events with a greater number, of an app or a session if one is given."""
        return [
            event
            for event in self._events
            if (event.seq or 0) > since
            and (app_id is None or event.app_id == app_id)
            and (session_id is None or event.session_id == session_id)
        ]
