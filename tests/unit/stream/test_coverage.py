"""From which number the daemon's log is read, and when, without any IO."""

import pytest

from digitorn_testing._log.log import EventLog
from digitorn_testing._stream.coverage import Coverage
from digitorn_testing._stream.protocol import READ_MARGIN, RESTART_MARGIN, STALL_SECONDS
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
        """A frame arrives; whether it shows that the log has to be read."""
        event = self.log.feed(raw)
        assert event is not None
        return self.coverage.noticed(event)

    def read(self, *missing: int) -> int:
        """Reads the log for what may be missing, which brings some numbers; from where it is read."""
        since = self.coverage.read_since()
        self.receive(*missing)
        self.coverage.was_read(since, max(missing, default=since))
        return since


def test_at_first_everything_is_read_that_is_wanted() -> None:
    assert Session().coverage.read_since() == 0
    assert Session(since=500).coverage.read_since() == 500


def test_numbers_that_never_come_are_not_read_for() -> None:
    session = Session()
    session.read()
    told = [session.feed(token("x", seq=seq)) for seq in (1, 3, 7, 500)]
    assert told == [False] * 4


def test_a_rejoin_reads_from_a_margin_behind_the_newest_event() -> None:
    session = Session()
    session.read()
    session.receive(*range(1, 201))
    session.coverage.joining()
    assert session.read(*range(201, 301)) == 200 - READ_MARGIN
    session.coverage.joining()
    assert session.read() == 300 - READ_MARGIN


def test_what_a_failed_read_did_not_bring_is_read_at_the_next_join() -> None:
    session = Session()
    session.read()
    session.receive(*range(1, 201))
    session.coverage.joining()
    # Nothing is read, and more comes.
    session.receive(*range(400, 601))
    session.coverage.joining()
    assert session.read() == 200 - READ_MARGIN


def test_the_number_of_a_snapshot_is_not_the_newest_of_the_session() -> None:
    session = Session()
    session.receive(*range(1, 101))
    session.feed(frame("active_ops:snapshot", {"active_ops": []}, seq=200))
    assert session.coverage.newest == 100


def test_what_was_read_from_the_start_is_complete() -> None:
    session = Session()
    session.read(*range(1, 101))
    assert session.coverage.complete == 100
    session.receive(*range(150, 201))
    session.coverage.was_read(140, 200)
    assert session.coverage.complete == 100
    session.coverage.was_read(100, 200)
    assert session.coverage.complete == 200


def test_after_a_restart_more_is_read_than_the_last_process_may_have_lost() -> None:
    session = Session()
    session.read(*range(1, 2001))
    session.receive(*range(2001, 3001))
    session.coverage.joining()
    session.coverage.restarted()
    assert session.coverage.complete == 2000 - RESTART_MARGIN
    assert session.read() == 3000 - RESTART_MARGIN
    session.coverage.joining()
    assert session.read() == 3000 - READ_MARGIN


def test_nothing_from_before_the_stream_is_wanted_when_it_begins_now() -> None:
    session = Session()
    session.receive(7, 8, 90)
    session.coverage.begin_here()
    assert session.coverage.read_since() == session.coverage.since == session.coverage.complete == 90


def test_who_wants_what_is_behind_a_number_that_is_not_there_yet_begins_now() -> None:
    session = Session(since=10_000)
    session.receive(7)
    session.coverage.begin_here()
    session.receive(8)
    session.coverage.joining()
    assert session.coverage.read_since() == 7


@pytest.mark.parametrize(("current", "behind"), [(3, False), (4, True)])
def test_two_heartbeats_without_an_event_between_them_tell_of_a_number_that_is_not_here(
    current: int, behind: bool
) -> None:
    session = Session()
    session.receive(1, 2, 3)
    beat = heartbeat(current_seq=current)
    assert session.feed({**beat}) is False, "it may be on its way"
    assert session.feed({**beat}) is behind


def test_a_session_that_goes_on_is_not_behind() -> None:
    session = Session()
    told: list[bool] = []
    for seq in range(1, 6):
        session.receive(seq)
        told.append(session.feed({**heartbeat(current_seq=seq + 1)}))
    assert told == [False] * 5


def test_a_number_that_a_heartbeat_tells_is_asked_for_once() -> None:
    session = Session()
    told = [session.feed({**heartbeat(current_seq=seq)}) for seq in (5, 5, 5, 4, 6)]
    assert told == [False, True, False, False, True]


@pytest.mark.parametrize(("seconds", "stalled"), [(STALL_SECONDS - 0.1, False), (STALL_SECONDS, True)])
def test_an_event_after_a_silence_without_heartbeats_follows_a_stall(seconds: float, stalled: bool) -> None:
    session = Session()
    session.receive(1)
    session.clock.seconds += seconds
    assert session.feed(token("x", seq=2)) is stalled
    assert session.feed(token("x", seq=3)) is False


def test_a_heartbeat_is_not_an_event_of_the_session() -> None:
    session = Session()
    session.receive(1)
    session.clock.seconds += 5
    session.feed(heartbeat(current_seq=1))
    assert session.coverage.quiet_seconds() == 5
    session.clock.seconds += 5
    assert session.feed(token("x", seq=2)) is False
    assert session.coverage.quiet_seconds() == 0
