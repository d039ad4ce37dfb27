"""From which number the daemon's log is read, and what is complete, without any IO."""

import pytest

from digitorn_testing._log.log import EventLog
from digitorn_testing._stream.coverage import Coverage
from digitorn_testing._stream.protocol import REPLAY_MARGIN, VISIBLE_SECONDS
from support.frames import SESSION, frame, token
from support.stream_parts import Clock, heartbeat


class Session:
    """A log and its coverage, fed by hand."""

    def __init__(self, since: int = 0) -> None:
        self.clock = Clock()
        self.log = EventLog(session_id=SESSION, since=since)
        self.coverage = Coverage(self.log, since, clock=self.clock)

    def receive(self, *numbers: int) -> None:
        """Events with these numbers arrive."""
        for number in numbers:
            self.feed(token("x", seq=number))

    def feed(self, raw: object) -> bool:
        """A frame arrives; whether it tells that the stream is behind."""
        event = self.log.feed(raw)
        assert event is not None
        self.coverage.noticed(event)
        return self.coverage.is_behind(event)

    def read(self, *missing: int, since: int | None = None) -> int:
        """Reads the log, which brings some numbers; from where it is read."""
        reading = self.coverage.read_began(since)
        self.receive(*missing)
        self.coverage.read_ended(reading)
        return reading.since

    def wait(self, seconds: float = VISIBLE_SECONDS) -> None:
        """Time passes."""
        self.clock.seconds += seconds


def test_at_first_everything_is_read_that_is_wanted() -> None:
    assert Session().coverage.read_since() == 0
    assert Session(since=500).coverage.read_since() == 500
    assert Session(since=500).coverage.rejoin_since() == 500


def test_a_rejoin_begins_a_margin_behind_the_newest_event() -> None:
    session = Session()
    session.receive(*range(1, 201))
    assert session.coverage.rejoin_since() == 200 - REPLAY_MARGIN


def test_the_log_is_read_from_the_first_missing_number() -> None:
    session = Session()
    session.receive(*range(1, 11), *range(12, 301))
    assert session.coverage.has_gap()
    assert session.coverage.read_since() == 10
    session.receive(11)
    assert not session.coverage.has_gap()
    assert session.coverage.read_since() == 300 - REPLAY_MARGIN


def test_the_number_of_a_snapshot_is_not_the_newest_of_the_session() -> None:
    session = Session()
    session.receive(*range(1, 101))
    session.feed(frame("active_ops:snapshot", {"active_ops": []}, seq=200))
    assert session.coverage.newest == 100


def test_a_second_read_a_while_later_proves_what_was_the_newest_at_the_first() -> None:
    session = Session()
    session.coverage.joined()
    session.receive(*range(1, 101))
    session.read()
    assert session.coverage.complete == 0
    session.receive(*range(101, 301))
    session.wait(VISIBLE_SECONDS / 2)
    session.read()
    assert session.coverage.complete == 0, "what was the newest then may not be visible yet"
    session.wait(VISIBLE_SECONDS / 2)
    session.read()
    assert session.coverage.complete == 100
    session.receive(*range(301, 401))
    session.wait()
    session.read()
    assert session.coverage.complete == 300, "what was the newest at the last read"


def test_a_read_on_another_connection_proves_nothing_about_the_time_before() -> None:
    session = Session()
    session.receive(*range(1, 101))
    session.read()
    session.wait()
    session.coverage.joined()
    session.read()
    assert session.coverage.complete == 0


def test_a_read_from_further_back_takes_back_what_counted_as_complete() -> None:
    session = Session()
    session.receive(*range(1, 101))
    session.read()
    session.wait()
    session.read()
    assert session.coverage.complete == 100
    assert session.read(since=7) == 7
    assert session.coverage.complete == 7


def test_after_a_restart_the_log_is_read_behind_the_last_that_is_certain() -> None:
    session = Session()
    session.receive(*range(1, 201))
    session.read()
    session.wait()
    session.read()
    assert session.coverage.complete == 200
    session.receive(*range(201, 401))
    session.coverage.restarted()
    session.coverage.joined()
    # The numbers 201 to 400 may be given to other events.
    assert session.coverage.rejoin_since() == 200 - REPLAY_MARGIN
    assert session.read() == 200 - REPLAY_MARGIN
    session.receive(*range(401, 501))
    assert session.read() == 200 - REPLAY_MARGIN, "what was sent before the join may not be visible yet"
    session.wait()
    assert session.read() == 200 - REPLAY_MARGIN
    assert session.read() > 200 - REPLAY_MARGIN, "the last read saw everything from before the join"


def test_a_read_that_failed_is_made_again_after_a_restart() -> None:
    session = Session()
    session.receive(*range(1, 201))
    session.read()
    session.wait()
    session.read()
    session.coverage.restarted()
    session.receive(*range(201, 401))
    session.wait()
    reading = session.coverage.read_began()
    assert reading.since == 200 - REPLAY_MARGIN
    session.coverage.read_failed(reading)
    assert session.read() == 200 - REPLAY_MARGIN
    assert session.read() == 400 - REPLAY_MARGIN


def test_nothing_from_before_the_stream_is_wanted_when_it_begins_now() -> None:
    session = Session()
    session.receive(7, 8, 90)
    session.coverage.begin_here()
    assert not session.log.is_holding
    assert session.coverage.read_since() == session.coverage.rejoin_since() == 90


@pytest.mark.parametrize(("current", "behind"), [(3, False), (4, True)])
def test_a_heartbeat_tells_of_a_number_that_is_not_here(current: int, behind: bool) -> None:
    session = Session()
    session.receive(1, 2, 3)
    assert session.feed(heartbeat(current_seq=current)) is behind


def test_a_number_that_a_heartbeat_tells_is_asked_for_once() -> None:
    session = Session()
    told = [session.feed({**heartbeat(current_seq=seq)}) for seq in (5, 5, 4, 6)]
    assert told == [True, False, False, True]


def test_a_connection_has_stood_once_what_was_sent_before_is_visible() -> None:
    session = Session()
    session.coverage.joined()
    session.wait(VISIBLE_SECONDS)
    assert not session.coverage.has_stood_since(session.clock())
    session.wait(0.01)
    assert session.coverage.has_stood_since(session.clock())
