"""What is known of a stream's connection, and when a lost one is made again, without any IO."""

import pytest

from digitorn_testing import ReconnectPolicy, StreamConnection
from digitorn_testing._stream.link import Link


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def link(policy: ReconnectPolicy, clock: Clock, chance: float = 0.0) -> Link:
    return Link(policy, clock=clock, chance=lambda: chance)


def test_pauses_grow_up_to_the_longest() -> None:
    policy = ReconnectPolicy(first_pause=0.1, growth=2, longest_pause=1.0, jitter=0.5)
    assert [policy.pause(made, 0.0) for made in range(1, 7)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert policy.pause(10_000, 0.0) == 1.0


def test_a_part_of_a_pause_is_left_to_chance() -> None:
    policy = ReconnectPolicy(first_pause=1.0, jitter=0.5)
    assert [policy.pause(1, chance) for chance in (0.0, 0.5, 1.0)] == [1.0, 0.75, 0.5]
    assert ReconnectPolicy(first_pause=1.0, jitter=0).pause(1, 1.0) == 1.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("first_pause", -1.0),
        ("growth", 0.5),
        ("longest_pause", float("nan")),
        ("jitter", 2.0),
        ("give_up_after", -1.0),
        ("silence", 0.0),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be"):
        ReconnectPolicy(**{name: value})


def test_a_loss_is_counted_when_it_is_made_good() -> None:
    clock = Clock()
    known = link(ReconnectPolicy(), clock)
    assert known.now == StreamConnection()
    known.connecting()
    known.joined()
    assert (known.now.state, known.now.reconnects) == ("joined", 0)
    for times in (1, 2):
        known.lost("gone")
        # Once more on the way: it is the same loss.
        clock.seconds += 1
        known.lost("gone again")
        assert (known.now.state, known.now.last_loss) == ("reconnecting", "gone")
        assert known.now.lost_at == clock.seconds - 1
        known.failed("nobody there")
        assert known.now.attempts == 1
        known.joined()
        assert (known.now.state, known.now.reconnects, known.now.attempts) == ("joined", times, 0)
        assert known.now.last_error is None
    assert known.seen(is_closed=True).state == "closed"


def test_it_is_given_up_when_the_time_is_over() -> None:
    clock = Clock()
    known = link(ReconnectPolicy(first_pause=4, longest_pause=4, give_up_after=10), clock)
    assert known.left() is None
    known.lost("gone")
    assert known.failed("no") == 4
    clock.seconds += 8
    assert known.failed("no") == 2
    clock.seconds += 2
    assert known.failed("no") is None
    patient = link(ReconnectPolicy(give_up_after=None), clock)
    patient.lost("gone")
    clock.seconds += 1e6
    assert patient.failed("no") is not None


def test_another_process_is_a_restart() -> None:
    known = link(ReconnectPolicy(), Clock())
    assert not known.runs_in("one")
    assert not known.runs_in("one")
    assert known.runs_in("two")
    assert (known.now.instance_id, known.now.restarts) == ("two", 1)


def test_a_connection_is_told_in_words() -> None:
    assert str(StreamConnection()) == "new"
    lost = StreamConnection(
        state="reconnecting", attempts=1, reconnects=2, restarts=1, last_loss="a", last_error="b"
    )
    said = "reconnecting for 0.0 s, 1 attempt, 2 reconnects, 1 restart of the daemon, lost last: a, "
    assert str(lost) == said + "last error: b"


def test_changes_are_told_until_nobody_wants_to_know() -> None:
    known = link(ReconnectPolicy(), Clock())
    told: list[str] = []
    cancel = known.subscribe(lambda now: told.append(now.state))
    known.connecting()
    known.joined()
    cancel()
    known.lost("gone")
    assert told == ["connecting", "joined"]
