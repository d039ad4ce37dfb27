"""The event log: order, duplicates, waiting."""

import random
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitorn_testing import ContractViolation, EventLog, InvalidPayload, LiveEvent, StreamClosed
from digitorn_testing.builders import TurnBuilder
from digitorn_testing.events import EventPayload, MessageDone, Token, ToolCall
from support.frames import (
    SESSION,
    TURN,
    approval_request,
    approval_resolved,
    frame,
    message,
    text_turn,
    token,
    tool_call,
    user_message,
)


def fed(*frames: object) -> EventLog:
    log = EventLog()
    for one in frames:
        log.feed(one)
    return log


def seqs(events: Any) -> list[int]:
    return [event.seq for event in events]


def test_order_is_by_seq_whatever_the_arrival() -> None:
    log = fed(token("b", seq=2), token("d", seq=9), token("a", seq=1), token("c", seq=5))
    assert seqs(log.events()) == [1, 2, 5, 9]
    assert seqs(log.events_of(Token)) == [1, 2, 5, 9]
    assert seqs(log.turn(TURN)) == [1, 2, 5, 9]
    assert log.last_seq == 9


def test_a_log_of_built_events_tells_the_result_of_a_turn() -> None:
    turns = [
        TurnBuilder(correlation_id="fp-1").user("a").tool("Bash").text("one"),
        TurnBuilder(correlation_id="fp-2", start_seq=100).user("b").text("two"),
    ]
    log = EventLog.of(event for turn in turns for event in turn.build())
    assert log.turns == ["fp-1", "fp-2"]
    assert log.turn_result().content == "two"
    first = log.turn_result("fp-1")
    assert (first.content, first.session.app_id, first.session.session_id) == ("one", "app", "s-1")
    assert [call.payload.name for call in first.events_of(ToolCall)] == ["Bash"]
    assert not log.turn_result().has_event_of(ToolCall, "tool_start")
    assert first.has_event_of("message_done")
    call = log.operations().find(name="Bash")[0]
    assert call.has_event_of(ToolCall)
    assert call.events_of(MessageDone) == []
    with pytest.raises(ValueError, match="no turn 'fp-3' in this log; its turns: fp-1, fp-2"):
        log.turn_result("fp-3")
    with pytest.raises(ValueError, match="its turns: none"):
        EventLog().turn_result()
    with pytest.raises(ValueError, match="did you mean 'tool_call'"):
        first.has_event_of("tool_cal")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - on purpose


def test_an_unnumbered_event_stays_behind_what_it_followed() -> None:
    beat: dict[str, Any] = {
        "type": "heartbeat",
        "kind": "system",
        "control": True,
        "session_id": SESSION,
        "payload": {},
    }
    log = fed(token("a", seq=1), token("c", seq=5), beat, token("d", seq=6), token("b", seq=3))
    assert [event.type if event.seq == 0 else event.seq for event in log] == [1, 3, 5, "heartbeat", 6]


def test_a_fan_out_copy_shares_only_the_id() -> None:
    log = fed(approval_request("r", seq=4), approval_request("r", seq=5, event_id=f"ev-{4:012x}"))
    assert seqs(log) == [4]
    assert log.duplicates == 1


def test_a_replayed_copy_shares_only_the_seq() -> None:
    copy = token("a", seq=4)
    del copy["event_id"]
    log = fed(token("a", seq=4), copy)
    assert len(log) == 1
    assert log.duplicates == 1
    assert log.feed(copy) is None


def test_the_number_that_a_fan_out_copy_took_is_spent() -> None:
    log = fed(approval_request("r", seq=4), approval_request("r", seq=5, event_id=f"ev-{4:012x}"))
    replayed = approval_request("r", seq=5)
    del replayed["event_id"]
    assert log.feed(replayed) is None


def test_hydration_ids_repeat_across_sessions() -> None:
    log = fed(
        frame("session:snapshot", seq=3, event_id="ev-hydr-3", session_id="one"),
        frame("session:snapshot", seq=3, event_id="ev-hydr-3", session_id="two"),
    )
    assert len(log) == 2


def test_events_without_a_number_are_never_duplicates_of_each_other() -> None:
    connected: dict[str, Any] = {
        "type": "connected",
        "kind": "system",
        "seq": 7,
        "session_id": None,
        "payload": {},
    }
    info = {"type": "info", "kind": "session", "seq": 0, "session_id": SESSION, "payload": {"topic": "t"}}
    assert len(fed(connected, connected, info, info)) == 4


def test_other_sessions_are_kept_apart_and_not_lost() -> None:
    log = EventLog(session_id=SESSION)
    assert log.feed(token("mine", seq=1)) is not None
    assert log.feed(approval_request("r", seq=1, session_id="other")) is None
    assert log.feed({"type": "connected", "kind": "system", "payload": {}, "session_id": None}) is not None
    assert len(log) == 2
    assert [event.session_id for event in log.foreign] == ["other"]


def test_strict_raises_and_keeps_the_event() -> None:
    log = EventLog(strict=True)
    with pytest.raises(ContractViolation, match="no such type"):
        log.feed(frame("future", seq=1))
    with pytest.raises(ContractViolation, match="delta"):
        log.feed(frame("token", {}, seq=2))
    assert len(log) == 2


def test_indexes_by_type_turn_and_operation() -> None:
    log = fed(token("a", seq=1), tool_call("Bash", seq=2), frame("token", {"delta": 5}, seq=3))
    assert seqs(log.events_of(ToolCall)) == [2]
    assert seqs(log.events_of("token")) == [1, 3]
    assert seqs(log.events_of(Token)) == [1]
    assert seqs(log.events_of(InvalidPayload)) == [3]
    assert seqs(log.events_of(Token, ToolCall)) == [1, 2]
    assert seqs(log.events_of("tool_call", Token)) == [1, 2]
    assert seqs(log.events_of(EventPayload)) == [1, 2, 3]
    assert seqs(log.operation("call-2")) == [2]
    assert log.operation("none") == log.turn("none") == []


def test_pending_approvals_are_those_asked_and_not_resolved() -> None:
    log = fed(approval_request("a", seq=1), approval_request("b", seq=2), approval_resolved("a", seq=3))
    assert [one.request_id for one in log.pending_approvals()] == ["b"]
    assert log.pending_approvals()[0].tool_name == "Bash"


def test_a_subscription_misses_nothing_and_repeats_nothing() -> None:
    log = fed(token("a", seq=1), tool_call("Bash", seq=2))
    arrived: list[LiveEvent[EventPayload] | None] = []
    subscription = log.subscribe(arrived.append, (Token,))
    log.feed(token("b", seq=3))
    log.feed(token("b", seq=3))
    log.feed(message("message_done", seq=4))
    subscription.cancel()
    log.feed(token("c", seq=5))
    assert seqs(subscription.existing) == [1]
    assert seqs(arrived) == [3]
    subscription.cancel()


def test_closing_wakes_every_waiter_once_and_the_first_reason_stays() -> None:
    log = EventLog()
    woken: list[object] = []
    log.subscribe(woken.append)
    log.subscribe(woken.append, (Token, ToolCall))
    first = StreamClosed("first")
    log.close(first)
    log.close(StreamClosed("second"))
    assert woken == [None, None]
    assert log.closed is first
    late: list[object] = []
    log.subscribe(late.append)
    assert late == [None]


def test_a_waiter_is_not_called_for_other_types() -> None:
    """Waiting costs nothing per event of another type, however long the log is."""
    log = EventLog()
    called: list[object] = []
    log.subscribe(called.append, (MessageDone,))
    for seq in range(1, 2000):
        log.feed(token("x", seq=seq))
    assert called == []
    log.feed(message("message_done", seq=3000))
    assert len(called) == 1


def test_reading_while_another_thread_feeds() -> None:
    log = EventLog()
    done = threading.Event()
    count = 3000

    def feed() -> None:
        for seq in range(1, count + 1):
            log.feed(token("x", seq=seq))
        done.set()

    thread = threading.Thread(target=feed)
    thread.start()
    while not done.is_set():
        seen = seqs(log.events())
        assert seen == list(range(1, len(seen) + 1))
    thread.join()
    assert len(log) == count


@given(st.randoms(use_true_random=False), st.integers(1, 40), st.integers(0, 3))
def test_any_arrival_with_any_copies_gives_each_event_once_in_order(
    chance: random.Random, count: int, copies: int
) -> None:
    frames = [token(str(seq), seq=seq) for seq in range(1, count + 1)]
    for original in chance.choices(frames, k=copies * count):
        copy = dict(original)
        if chance.random() < 0.5:
            del copy["event_id"]
        else:
            copy["seq"] = count + len(frames)
        frames.append(copy)
    # A copy with a number of its own comes after its original, as the fan-out does.
    head = frames[:count]
    chance.shuffle(head)
    log = fed(*head, *frames[count:])
    assert seqs(log) == list(range(1, count + 1))
    assert log.duplicates == copies * count


def test_a_whole_turn() -> None:
    log = fed(*text_turn("Hel", "lo"))
    assert [event.type for event in log.turn(TURN)] == [
        "user_message",
        "message_started",
        "token",
        "token",
        "stream_done",
        "result",
        "message_done",
    ]
    assert not log.events_of(InvalidPayload)


def test_a_turn_has_the_events_that_name_no_turn_but_come_while_it_runs() -> None:
    log = fed(
        approval_request("before", seq=1),
        user_message("hi", seq=2),
        approval_request("while queued", seq=3),
        message("message_started", seq=4),
        approval_request("mine", seq=5),
        frame("session:snapshot", seq=6, correlation_id=None),
        approval_resolved("mine", seq=7),
        message("message_done", seq=8),
        approval_request("after", seq=9),
    )
    assert seqs(log.turn(TURN)) == [2, 4, 5, 7, 8]


def test_rows_without_a_session_belong_to_the_log_that_reads_them() -> None:
    row = token("a", seq=4, session_id=None)
    log = EventLog(session_id=SESSION)
    assert log.feed(row) is not None
    assert log.feed({key: value for key, value in row.items() if key != "event_id"}) is None
    assert log.feed(token("a", seq=4)) is None
    assert [event.session_id for event in log] == [SESSION]


def test_a_number_that_was_given_out_again_is_another_event() -> None:
    """A daemon that was restarted goes on behind its log (contract: events, section 4.2)."""
    log = EventLog(session_id="s")
    snapshot: dict[str, object] = {"type": "queue:snapshot", "seq": 2, "session_id": "s", "payload": {}}
    first = {"type": "token", "seq": 1, "session_id": "s", "event_id": "ev-1", "payload": {"delta": "a"}}
    assert log.feed(first) is not None
    assert log.feed(snapshot) is not None
    assert log.feed(snapshot) is None
    assert log.feed({**first, "seq": 2, "event_id": "ev-2"}) is not None
    assert log.feed({**first, "event_id": "ev-3"}) is not None
    # One without an id may be a copy of any.
    assert log.feed({key: value for key, value in first.items() if key != "event_id"}) is None
    assert log.feed({**first, "seq": 2, "event_id": None}) is None
    assert log.duplicates == 3
    assert [one.event_id for one in log.events_of("token")] == ["ev-1", "ev-3", "ev-2"]


def test_the_highest_number_is_that_of_anything_that_arrived() -> None:
    log = EventLog(session_id=SESSION, since=30)
    assert log.highest_number == 0
    log.feed(token("a", seq=5))
    log.feed({**token("a", seq=7, event_id=f"ev-{5:012x}")})
    assert (log.highest_number, log.last_seq) == (7, 5)
    log.feed({**token("a", seq=9), "kind": "event", "event_id": ""})
    assert (log.highest_number, log.last_seq, len(log.log_only)) == (9, 5, 1)
