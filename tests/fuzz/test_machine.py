"""A session, a connection that loses and doubles what it carries, and the log at its end, against a model."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from digitorn_testing import EventLog
from digitorn_testing._events.event import AnyEvent
from digitorn_testing._stream.protocol import REPLAY_MARGIN
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
        self.given_up = 0
        self.late: set[int] = set()
        self.ids: set[str] = set()
        self.numbers: set[int] = set()
        self.in_order: list[AnyEvent] = []

    def feed(self, sent: dict[str, Any]) -> None:
        """Feeds the log, and the model by rules of its own."""
        event = self.log.feed(sent)
        seq, name = int(sent["seq"]), sent.get("event_id") or sent["payload"].get("event_id")
        is_new = seq not in self.numbers and name not in self.ids
        assert (event is not None) == is_new
        if is_new:
            self.arrived[seq] = str(name)
            if seq <= self.given_up:
                self.late.add(seq)
        else:
            self.copies += 1
        self.numbers.add(seq)
        self.ids.add(str(name))

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

    @precondition(lambda self: self.connected)
    @rule()
    def ask(self) -> None:
        """Build A sends a request twice, with two numbers; the second is in no log."""
        self.seq += 2
        name = f"ev-{self.seq - 1:012x}"
        first = frame("status", {"phase": "waiting"}, seq=self.seq - 1, event_id=name)
        self.rows.append(first)
        self.under_way += [first, {**first, "seq": self.seq}]

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
        """Build A replays what its log shows, each row in two shapes; the newest are not visible yet."""
        self.connected = True
        since = max(self.arrived, default=0) - REPLAY_MARGIN
        visible = self.rows[: len(self.rows) - batch]
        missed = [row for row in visible if row["seq"] > since]
        for row in missed:
            self.feed(replayed(row))
        for row in missed:
            self.feed(gap_filled(row))
        # What was written meanwhile comes live.
        self.under_way += self.rows[len(self.rows) - batch :]

    @rule()
    def fill(self) -> None:
        """Build B has its log over HTTP."""
        for row in self.rows:
            self.feed(gap_filled(row))

    @rule()
    def give_up(self) -> None:
        self.given_up = max(self.numbers, default=0)
        self.log.give_up(self.given_up)
        assert not self.log.is_holding

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
        if not self.log.is_holding:
            assert set(seqs) == self.arrived.keys()

    @invariant()
    def who_was_not_given_up_comes_in_order(self) -> None:
        seqs = [event.seq for event in self.in_order if event.seq not in self.late]
        assert seqs == sorted(seqs)

    def teardown(self) -> None:
        self.fill()
        # The copy of a request may have been first; it has the same identity, and another number.
        assert {row["event_id"] for row in self.rows} == set(self.arrived.values())
        self.nothing_is_lost_nothing_is_twice()
        self.give_up()
        self.in_order_each_comes_once()


def replayed(row: dict[str, Any]) -> dict[str, Any]:
    """A row as a join of build A brings it: its identity within the payload as well."""
    inside = {key: row[key] for key in ("event_id", "op_id", "op_type", "op_state")}
    return {**row, "payload": {**row["payload"], **inside}, "ts": None}


def gap_filled(row: dict[str, Any]) -> dict[str, Any]:
    """A row as the second pass and HTTP bring it: its identity within the payload alone."""
    copy = replayed(row)
    outer = ("seq", "type", "app_id", "session_id", "user_id", "correlation_id", "payload", "ts")
    return {key: copy[key] for key in outer} | {"kind": "event", "replayed": True}


TestSession = Session.TestCase
TestSession.settings = settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None)
