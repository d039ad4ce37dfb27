"""Reading turns in order: each its own events, complete, however they arrive."""

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from digitorn_testing import CallbackFailed, EventLog, LiveEvent, StreamClosed
from digitorn_testing.events import EventPayload
from support.frames import SESSION, approval_request, approval_resolved, frame

Arrived = list[LiveEvent[EventPayload] | None]


def of_turn(turn: str, type: str, *, seq: int, state: str = "running", **told: Any) -> dict[str, Any]:
    payload: dict[str, Any] = {"correlation_id": turn, "session_id": SESSION, **told}
    if type == "token":
        payload = {"delta": "x"}
    return frame(type, payload, seq=seq, correlation_id=turn, op_id=turn, op_state=state)


def two_turns() -> list[dict[str, Any]]:
    """Turn a runs while b waits; each asks for an approval, which names no turn."""
    return [
        of_turn("a", "message_started", seq=1),
        of_turn("a", "token", seq=2),
        of_turn("b", "message_queued", seq=3, state="pending"),
        approval_request("of-a", seq=4),
        approval_resolved("of-a", seq=5),
        of_turn("a", "token", seq=6),
        of_turn("a", "message_done", seq=7, state="completed"),
        approval_request("of nobody", seq=8),
        of_turn("b", "message_started", seq=9),
        approval_request("of-b", seq=10),
        of_turn("b", "token", seq=11),
        of_turn("b", "message_done", seq=12, state="completed"),
    ]


OF_A, OF_B = [1, 2, 4, 5, 6, 7], [3, 9, 10, 11, 12]


def seqs(events: Any) -> list[int]:
    return [event.seq for event in events if event is not None]


def test_each_reader_gets_its_own_turn() -> None:
    log = EventLog(session_id=SESSION)
    a: Arrived = []
    b: Arrived = []
    log.subscribe_turn(a.append, "a")
    log.subscribe_turn(b.append, "b")
    for one in two_turns():
        log.feed(one)
    assert (seqs(a), seqs(b)) == (OF_A, OF_B)
    assert (seqs(log.turn("a")), seqs(log.turn("b"))) == (OF_A, OF_B)


def test_one_who_reads_late_gets_all_of_it() -> None:
    log = EventLog(session_id=SESSION)
    frames = two_turns()
    for one in frames[:6]:
        log.feed(one)
    arrived: Arrived = []
    subscription = log.subscribe_turn(arrived.append, "a")
    for one in frames[6:]:
        log.feed(one)
    subscription.cancel()
    assert (seqs(subscription.existing), seqs(arrived)) == (OF_A[:-1], OF_A[-1:])


def test_an_event_behind_a_missing_number_is_given_at_once() -> None:
    log = EventLog(session_id=SESSION)
    arrived: Arrived = []
    log.subscribe_turn(arrived.append, "a")
    log.feed(of_turn("a", "message_started", seq=1))
    log.feed(of_turn("a", "token", seq=3))
    assert seqs(arrived) == [1, 3]
    log.feed(of_turn("a", "token", seq=2))
    assert seqs(arrived) == [1, 3, 2]
    assert seqs(log.events()) == [1, 2, 3]
    assert seqs(log.subscribe_turn(arrived.append, "a").existing) == [1, 2, 3]


def test_what_is_held_back_is_given_in_order() -> None:
    log = EventLog(session_id=SESSION)
    arrived: Arrived = []
    at_once: Arrived = []
    log.subscribe_turn(arrived.append, "a")
    log.subscribe(at_once.append)
    log.feed(of_turn("a", "message_started", seq=1))
    log.hold()
    log.hold()
    for seq in (5, 3, 4):
        log.feed(of_turn("a", "token", seq=seq))
    assert (seqs(arrived), seqs(at_once), seqs(log.turn("a"))) == ([1], [1, 5, 3, 4], [1, 3, 4, 5])
    log.release()
    assert seqs(arrived) == [1, 3, 4, 5]
    log.feed(of_turn("a", "token", seq=7))
    log.release()
    assert seqs(arrived) == [1, 3, 4, 5, 7]


def test_a_log_that_begins_in_the_middle_of_a_turn_knows_it_by_what_it_does() -> None:
    log = EventLog(session_id=SESSION, since=40)
    log.feed(of_turn("a", "token", seq=41))
    log.feed(approval_request("r", seq=42))
    assert log.running_turn == "a"
    assert seqs(log.subscribe_turn(lambda _: None, "a").existing) == [41, 42]


def test_a_straggler_does_not_make_its_turn_run_again() -> None:
    """Tokens may come behind the event that ends their turn (contract: events, section 8.6)."""
    log = EventLog(session_id=SESSION)
    for one in two_turns()[:7]:
        log.feed(one)
    log.feed(of_turn("a", "token", seq=8))
    log.feed(approval_request("of nobody", seq=9))
    assert log.running_turn is None
    assert seqs(log.subscribe_turn(lambda _: None, "a").existing) == [*OF_A, 8]


def test_a_turn_that_was_cut_off_without_an_end_ends_where_the_next_starts() -> None:
    log = EventLog(session_id=SESSION)
    for one in (
        of_turn("a", "message_started", seq=1),
        approval_request("of-a", seq=2),
        of_turn("b", "message_started", seq=3, fast_path=True),
        approval_request("of-b", seq=4),
    ):
        log.feed(one)
    assert (seqs(log.turn("a")), seqs(log.turn("b"))) == ([1, 2], [3, 4])
    assert seqs(log.subscribe_turn(lambda _: None, "b").existing) == [3, 4]


def overlapping_turns() -> list[dict[str, Any]]:
    """Turn b is started while a is running, as the released daemon does; each asks for an approval."""
    return [
        of_turn("a", "message_started", seq=1, fast_path=True),
        of_turn("a", "token", seq=2),
        of_turn("b", "message_queued", seq=3, state="pending"),
        of_turn("b", "message_started", seq=4, fast_path=False),
        approval_request("of-a", seq=5),
        of_turn("a", "token", seq=6),
        of_turn("a", "message_done", seq=7, state="completed"),
        approval_request("of-b", seq=8),
        of_turn("b", "token", seq=9),
        of_turn("b", "message_done", seq=10, state="completed"),
    ]


def test_the_turn_that_runs_is_the_oldest_that_was_started_and_has_not_ended() -> None:
    log = EventLog(session_id=SESSION)
    running: list[str | None] = []
    for one in overlapping_turns():
        log.feed(one)
        running.append(log.running_turn)
    assert running == ["a"] * 6 + ["b"] * 3 + [None]
    of_a, of_b = [1, 2, 5, 6, 7], [3, 4, 8, 9, 10]
    assert (seqs(log.turn("a")), seqs(log.turn("b"))) == (of_a, of_b)
    for turn, expected in (("a", of_a), ("b", of_b)):
        assert seqs(log.subscribe_turn(lambda _: None, turn).existing) == expected


def test_a_turn_that_has_not_ended_has_what_comes_after_the_start_of_the_next() -> None:
    log = EventLog(session_id=SESSION)
    for one in overlapping_turns()[:6]:
        log.feed(one)
    assert seqs(log.turn("a")) == [1, 2, 5, 6]
    assert seqs(log.turn("b")) == [3, 4]


def test_a_late_event_goes_to_the_turn_that_was_running() -> None:
    log = EventLog(session_id=SESSION)
    frames = overlapping_turns()
    for one in frames:
        if one["seq"] not in (5, 8):
            log.feed(one)
    log.feed(frames[4])
    log.feed(frames[7])
    assert 5 in seqs(log.subscribe_turn(lambda _: None, "a").existing)
    assert 8 in seqs(log.subscribe_turn(lambda _: None, "b").existing)


def test_what_a_turn_does_shows_that_it_runs_after_a_late_join() -> None:
    log = EventLog(session_id=SESSION)
    frames = overlapping_turns()
    # The last event of each operation, as a join brings it: b was started before a's last token.
    log.feed(frames[3])
    log.feed(frames[5])
    assert log.running_turn == "a"


def test_a_turn_that_ended_without_an_event_is_not_running_any_more() -> None:
    log = EventLog(session_id=SESSION)
    for one in overlapping_turns()[:6]:
        log.feed(one)
    log.end_turn("a")
    assert log.running_turn == "b"
    log.feed(of_turn("a", "token", seq=7))
    assert log.running_turn == "b"


def test_a_nameless_event_that_comes_late_goes_to_the_turn_of_its_number() -> None:
    log = EventLog(session_id=SESSION)
    frames = two_turns()
    for one in frames:
        if one["seq"] not in (4, 10):
            log.feed(one)
    log.feed(frames[3])
    log.feed(frames[9])
    assert (seqs(log.subscribe_turn(lambda _: None, "a").existing), seqs(log.turn("b"))) == (OF_A, OF_B)


def test_the_end_of_a_turn_wakes_its_readers_and_says_why() -> None:
    log = EventLog(session_id=SESSION)
    a: Arrived = []
    b: Arrived = []
    log.subscribe_turn(a.append, "a")
    log.subscribe_turn(b.append, "b")
    log.end_turn("a")
    assert (a, b) == ([None], [])
    assert log.turn_ended("a")
    failed = CallbackFailed("no")
    log.end_turn("b", failed)
    assert b == [None]
    assert not log.turn_ended("b")
    assert log.turn_error("b") is failed
    late: Arrived = []
    log.subscribe_turn(late.append, "a")
    assert late == [None]
    assert not log.turn_ended("c")


def test_closing_wakes_the_readers_of_turns_too() -> None:
    log = EventLog(session_id=SESSION)
    arrived: Arrived = []
    log.subscribe_turn(arrived.append, "a")
    log.close(StreamClosed("over"))
    log.subscribe_turn(arrived.append, "b")
    assert arrived == [None, None]
    assert not log.turn_ended("a")


def test_those_who_follow_in_order_are_told_the_turn() -> None:
    log = EventLog(session_id=SESSION)
    told: list[tuple[int, str | None]] = []
    log.subscribe_in_order(lambda event, turn: told.append((event.seq, turn)))
    frames = two_turns()
    log.hold()
    for one in (frames[0], frames[3], *frames[1:3], *frames[4:]):
        log.feed(one)
    log.release()
    assert [seq for seq, _ in told] == list(range(1, 13))
    assert dict(told)[4] == "a"
    assert dict(told)[8] is None
    assert dict(told)[10] == "b"


@given(st.randoms(use_true_random=False), st.integers(1, 6))
def test_whatever_the_arrival_readers_get_what_the_log_has_in_order(
    chance: random.Random, turns: int
) -> None:
    frames: list[dict[str, Any]] = []
    for number in range(turns):
        turn = f"t{number}"
        kinds = ["message_started", *(["token", "approval"] * chance.randint(0, 3)), "message_done"]
        for kind in kinds:
            seq = len(frames) + 1
            if kind == "approval":
                frames.append(approval_request(f"r{seq}", seq=seq))
            else:
                state = "completed" if kind == "message_done" else "running"
                frames.append(of_turn(turn, kind, seq=seq, state=state))
        if chance.random() < 0.5:
            frames.append(approval_request(f"r{len(frames)}", seq=len(frames) + 1))
    log = EventLog(session_id=SESSION)
    readers: dict[str, Arrived] = {f"t{number}": [] for number in range(turns)}
    for turn, arrived in readers.items():
        log.subscribe_turn(arrived.append, turn)
    arrival = [*frames, *chance.choices(frames, k=len(frames) // 2)]
    chance.shuffle(arrival)
    log.hold()
    for one in arrival:
        log.feed(one)
    log.release()
    for turn, arrived in readers.items():
        assert seqs(arrived) == seqs(log.turn(turn))
        assert seqs(log.subscribe_turn(lambda _: None, turn).existing) == seqs(arrived)


def test_a_last_word_on_a_turn_that_has_ended_takes_nothing_from_the_next() -> None:
    """Behind the done event of a turn there may be one more, and the next turn may have begun by then."""
    log = EventLog(session_id=SESSION)
    b: Arrived = []
    log.subscribe_turn(b.append, "b")
    terminal = {"correlation_id": "a", "session_id": SESSION, "status": "completed"}
    for one in (
        of_turn("a", "message_started", seq=1),
        of_turn("a", "message_done", seq=2, state="completed"),
        of_turn("b", "message_started", seq=3),
        frame("turn_terminal", terminal, seq=4, correlation_id="a", op_id="a", op_state="completed"),
        approval_request("early", seq=5),
        of_turn("b", "token", seq=8),
    ):
        log.feed(one)
    log.feed(approval_request("late", seq=7))
    log.feed(of_turn("b", "message_done", seq=9, state="completed"))
    assert seqs(b) == [3, 5, 8, 7, 9]
    assert seqs(log.turn("b")) == [3, 5, 7, 8, 9]
    assert seqs(log.turn("a")) == [1, 2, 4]


def test_rows_that_are_never_sent_have_a_number_and_are_no_events() -> None:
    log = EventLog(session_id=SESSION, strict=True)
    arrived: Arrived = []
    log.subscribe_turn(arrived.append, "a")
    row = of_turn("a", "user_message", seq=2)
    del row["event_id"], row["op_id"]
    assert log.feed(of_turn("a", "message_started", seq=1)) is not None
    assert log.feed(of_turn("a", "token", seq=4)) is not None
    # One that holds a message of the conversation may have the type of an event.
    assert log.feed({**row, "kind": "message"}) is None
    logged = {"tool_call_id": "call-1", "output": "", "error": None}
    assert log.feed({**row, "type": "tool_result", "seq": 3, "payload": logged}) is None
    assert seqs(arrived) == [1, 4]
    assert (seqs(log.events()), seqs(log.log_only)) == ([1, 4], [2, 3])
