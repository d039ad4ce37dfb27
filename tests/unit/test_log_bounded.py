"""A log that keeps a number of events: what it drops, what it still knows of that, and how large it gets."""

import random
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitorn_testing import EventLog
from digitorn_testing._events.daemon import MEANING
from digitorn_testing._events.event import AnyEvent
from digitorn_testing.events import Heartbeat, Token
from support.frames import SESSION, approval_request, frame, message, text_turn, token


def bounded(keep: int, **options: Any) -> EventLog:
    """A log of the usual session that keeps some events."""
    return EventLog(session_id=SESSION, max_events=keep, **options)


def indexed(log: EventLog) -> list[int]:
    """How many events each index of a log holds."""
    kept = log._kept
    indexes: list[dict[str, list[AnyEvent]]] = [kept._by_type, kept.by_correlation, log._by_turn]
    return [sum(map(len, index.values())) for index in indexes]


def test_the_oldest_are_dropped_and_counted() -> None:
    log = bounded(3)
    for seq in range(1, 8):
        log.feed(token(str(seq), seq=seq))
    assert [event.seq for event in log] == [5, 6, 7]
    assert [event.payload.delta for event in log.events_of(Token)] == ["5", "6", "7"]
    assert (len(log), log.dropped, log.duplicates, log.last_seq) == (3, 4, 0, 7)
    assert [event.seq for event in log.turn(log.events()[0].correlation_id or "")] == [5, 6, 7]
    assert indexed(log) == [3, 3, 3]
    assert (EventLog().dropped, EventLog().max_events) == (0, None)


@pytest.mark.parametrize("keep", [0, -1])
def test_less_than_one_event_cannot_be_kept(keep: int) -> None:
    with pytest.raises(ValueError, match=f"max_events must be 1 or more events, not {keep}"):
        EventLog(max_events=keep)


def test_a_copy_of_what_was_dropped_is_a_copy() -> None:
    log = bounded(2)
    frames = [token("x", seq=seq) for seq in range(1, 3000)]
    for one in frames:
        log.feed(one)
    replayed = [{**one, "event_id": None} for one in frames]
    assert [log.feed(one) for one in [*frames, *replayed]] == [None] * 5998
    assert (len(log), log.dropped, log.duplicates) == (2, 2997, 5998)


def test_a_copy_under_another_number_is_a_copy_of_what_was_dropped() -> None:
    log = bounded(1)
    log.feed(approval_request("r", seq=1))
    log.feed(token("x", seq=2))
    assert log.feed({**approval_request("r", seq=1), "seq": 3}) is None
    assert (log.dropped, log.duplicates) == (1, 1)


def test_a_late_event_is_new_though_later_ones_were_dropped() -> None:
    log = bounded(2)
    heard: list[int] = []
    log.subscribe(lambda event: heard.append(event.seq if event else 0))
    for seq in (1, 2, 4, 5, 6):
        log.feed(token("x", seq=seq))
    event = log.feed(token("late", seq=3))
    assert event is not None and event.seq == 3
    assert heard == [1, 2, 4, 5, 6, 3]
    assert ([one.seq for one in log], log.dropped, log.duplicates) == ([5, 6], 4, 0)


def test_what_is_held_back_is_given_before_it_is_dropped() -> None:
    log = bounded(3)
    released: list[int] = []
    log.subscribe_in_order(lambda event, _: released.append(event.seq))
    log.hold()
    for seq in (1, 3, 4, 5, 6):
        log.feed(token("x", seq=seq))
    assert released == [1, 3]
    log.release()
    assert released == [1, 3, 4, 5, 6]
    assert indexed(log) == [3, 3, 3]


def test_events_without_a_number_are_dropped_in_their_turn() -> None:
    log = bounded(2)
    for seq in (0, 1, 0, 0):
        log.feed(frame("connected", seq=seq, event_id=None, kind="system" if seq == 0 else "session"))
    assert ([event.seq for event in log], log.dropped) == ([0, 0], 2)


def test_a_session_that_rests_keeps_its_events_and_the_last_heartbeat() -> None:
    log = bounded(3)
    for seq in (1, 2, 3):
        log.feed(token("x", seq=seq))
    for number in range(10):
        log.feed(frame("heartbeat", seq=0, event_id=None, kind="system", current_seq=number))
    assert [event.type for event in log] == ["token", "token", "heartbeat"]
    assert [MEANING.current_seq(event) for event in log.events_of(Heartbeat)] == [9]
    assert log.dropped == 10


def test_events_of_other_sessions_are_bounded_too() -> None:
    log = bounded(2)
    for seq in range(1, 6):
        log.feed(token("x", seq=seq, session_id="another"))
    assert ([event.seq for event in log.foreign], log.dropped) == ([4, 5], 3)


def test_turns_that_ended_long_ago_are_forgotten() -> None:
    log = bounded(2)
    for number in range(3000):
        turn = f"fp-{number}"
        log.feed(message("message_started", seq=2 * number + 1) | {"correlation_id": turn})
        log.feed(message("message_done", seq=2 * number + 2) | {"correlation_id": turn})
        log.end_turn(turn)
    assert log.turn_ended("fp-2999") and not log.turn_ended("fp-0")
    assert [len(log._turn_ends), len(log._by_turn), len(log._tracker._over)] == [1024, 1, 1024]


@given(st.data())
def test_it_is_the_end_of_a_log_that_keeps_everything(data: st.DataObject) -> None:
    """Whatever the order and the copies, as long as nothing is later than what is remembered."""
    numbers = data.draw(st.lists(st.integers(1, 60), max_size=120))
    keep = data.draw(st.integers(1, 70))
    whole, log = EventLog(session_id=SESSION), bounded(keep)
    for seq in numbers:
        one = frame(
            "hook" if seq % 3 else "token", {"delta": "x"}, seq=seq, correlation_id=None if seq % 5 else "t"
        )
        assert (whole.feed(one) is None) == (log.feed(one) is None)
    assert [event.seq for event in log] == [event.seq for event in whole][-keep:]
    assert log.duplicates == whole.duplicates
    assert log.dropped == len(whole) - len(log)
    assert [event.seq for event in log.events_of(Token)] == [
        event.seq for event in whole.events_of(Token) if event.seq in {one.seq for one in log}
    ]
    assert indexed(log)[0] == len(log)
    assert len(log._turn_of) <= len(log)


def test_its_memory_does_not_grow() -> None:
    log = bounded(100)
    chance = random.Random(1)

    def feed(first: int, last: int) -> None:
        for seq in range(first, last):
            # Numbers are missing, and turns come and go.
            if chance.random() < 0.9:
                log.feed(token("x" * 100, seq=seq, correlation_id=f"fp-{seq // 50}"))
                if chance.random() < 0.2:
                    log.feed(token("x" * 100, seq=seq, correlation_id=f"fp-{seq // 50}", event_id=None))

    tracemalloc.start()
    try:
        # As much as it remembers of what it has dropped.
        feed(1, 1500)
        before = tracemalloc.get_traced_memory()[0]
        feed(1500, 3000)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    # Keeping all of them takes more than ten times that.
    assert grown < 100_000


def test_a_turn_is_read_to_its_end_though_it_does_not_fit() -> None:
    log = bounded(2)
    read: list[str] = []
    log.subscribe_turn(lambda event: read.append(event.type if event else "end"), "fp-000000000001")
    frames = text_turn("a", "b", "c")
    for one in frames:
        log.feed(one)
    assert read == [one["type"] for one in frames]
