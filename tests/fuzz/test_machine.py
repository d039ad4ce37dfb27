"""A session, a connection that loses and doubles what it carries, and the log at its end, against a model."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from digitorn_testing import EventLog
from digitorn_testing._events.event import AnyEvent
from digitorn_testing._stream.protocol import READ_MARGIN
from support.frames import SESSION, frame

EXAMPLES, STEPS = 500, 30


class Session(RuleBasedStateMachine):
    """What the daemon has, what is under way, and what must have arrived."""

    def __init__(self) -> None:
        super().__init__()
        self.seq = 0
        self.rows: list[dict[str, Any]] = []
        self.under_way: list[dict[str, Any]] = []
        self.connected = True
        # What the model says of the log.
        self.arrived: dict[int, str] = {}
        self.copies = 0
        self.held = False
        self.given = 0
        self.late: set[int] = set()
        self.in_order: list[AnyEvent] = []

    def feed(self, sent: dict[str, Any]) -> None:
        """Feeds the log, and the model by rules of its own."""
        event = self.log.feed(sent)
        seq, name = int(sent["seq"]), sent.get("event_id") or sent["payload"].get("event_id")
        is_new = seq not in self.arrived
        assert (event is not None) == is_new
        if is_new:
            if (not self.held and seq < max(self.arrived, default=0)) or (self.held and seq < self.given):
                self.late.add(seq)
            self.arrived[seq] = str(name)
        else:
            self.copies += 1

    @initialize(since=st.integers(0, 3))
    def begin(self, since: int) -> None:
        self.seq = since
        self.log = EventLog(session_id=SESSION, since=since)
        self.log.subscribe_in_order(lambda event, _turn: self.in_order.append(event))

    # --- the daemon

    @rule(count=st.integers(1, 5))
    def emit(self, count: int) -> None:
        for _ in range(count):
            self.seq += 1
            sent = frame("token", {"delta": str(self.seq)}, seq=self.seq)
            self.rows.append(sent)
            if self.connected:
                self.under_way.append(sent)

    @rule()
    def spend_a_number(self) -> None:
        self.seq += 1

    # --- the connection

    @precondition(lambda self: self.under_way)
    @rule(count=st.integers(1, 6))
    def deliver(self, count: int) -> None:
        for sent in self.under_way[:count]:
            self.feed(sent)
        del self.under_way[:count]

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def overtake(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.under_way) - 1))
        self.feed(self.under_way.pop(place))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def double(self, data: st.DataObject) -> None:
        self.feed(data.draw(st.sampled_from(self.under_way)))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))

    @precondition(lambda self: self.connected)
    @rule()
    def drop(self) -> None:
        self.connected = False
        self.under_way.clear()

    @precondition(lambda self: not self.connected)
    @rule(batch=st.integers(0, 3))
    def rejoin(self, batch: int) -> None:
        """What is in flight comes as it was first sent; then what was missed is read from the log."""
        self.connected = True
        self.hold()
        since = max(self.arrived, default=0) - READ_MARGIN
        in_flight = self.rows[len(self.rows) - batch :] if batch else []
        for row in in_flight:
            self.feed(row)
        for row in self.rows:
            if row["seq"] > since:
                self.feed(gap_filled(row))
        self.release()

    @rule()
    def fill(self) -> None:
        """The log is read over HTTP."""
        for row in self.rows:
            self.feed(gap_filled(row))

    @rule()
    def hold(self) -> None:
        if not self.held:
            self.given = max(self.arrived, default=0)
        self.held = True
        self.log.hold()

    @rule()
    def release(self) -> None:
        self.held = False
        self.log.release()

    # --- what holds at any time

    @invariant()
    def nothing_is_lost_nothing_is_twice(self) -> None:
        events = self.log.events()
        assert [event.seq for event in events] == sorted(self.arrived)
        assert {event.seq: event.payload.to_wire().get("event_id") or event.event_id for event in events} == (
            self.arrived
        )
        assert self.log.duplicates == self.copies
        assert self.log.last_seq == max(self.arrived, default=0)

    @invariant()
    def in_order_each_comes_once(self) -> None:
        seqs = [event.seq for event in self.in_order]
        assert len(seqs) == len(set(seqs))
        assert set(seqs) <= self.arrived.keys()
        if not self.held:
            assert set(seqs) == self.arrived.keys()

    @invariant()
    def who_is_not_late_comes_in_order(self) -> None:
        seqs = [event.seq for event in self.in_order if event.seq not in self.late]
        assert seqs == sorted(seqs)

    def teardown(self) -> None:
        self.fill()
        assert {row["seq"]: row["event_id"] for row in self.rows} == self.arrived
        self.nothing_is_lost_nothing_is_twice()
        self.release()
        self.in_order_each_comes_once()


def gap_filled(row: dict[str, Any]) -> dict[str, Any]:
    """A row as HTTP brings it: its identity within the payload alone."""
    inside = {key: row[key] for key in ("event_id", "op_id", "op_type", "op_state")}
    copy = {**row, "payload": {**row["payload"], **inside, "event_kind": row["kind"]}}
    outer = ("seq", "type", "app_id", "session_id", "user_id", "correlation_id", "payload", "ts")
    return {key: copy[key] for key in outer} | {"kind": "event"}


TestSession = Session.TestCase
TestSession.settings = settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None)
