"""What a wait looks for, until when, and what it raises, without any IO."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from digitorn_testing import CallbackFailed, EventTimeout, StreamClosed, StreamConnection
from digitorn_testing._events.event import AnyEvent
from digitorn_testing._stream._sync.reading import wait
from digitorn_testing._stream.core import StreamCore
from digitorn_testing._stream.waiting import ConnectionWaiter, EventWaiter, TurnEventWaiter, Waiter
from digitorn_testing.events import Token, ToolStart
from support.frames import TURN, message, text_turn, token
from support.stream_parts import Clock, stream_core

Item = TypeVar("Item")
Found = TypeVar("Found")


def wait_by_hand(waiter: Waiter[Any, Found], arrive: Callable[[], object]) -> Found | None:
    """What a waiter finds of what is there, and of what arrives then."""
    items: list[Any] = []
    with waiter.listening(items.append) as found:
        if found is not None:
            return found
        arrive()
        return next((found for item in items if (found := waiter.take(item)) is not None), None)


def nothing() -> None:
    """Nothing arrives."""


def is_second(event: AnyEvent) -> bool:
    return isinstance(event.payload, Token) and event.payload.delta == "second"


def tokens(core: StreamCore, *, seconds: float = 5.0, clock: Clock | None = None) -> EventWaiter:
    return EventWaiter(core, Token, is_second, seconds, check=nothing, clock=clock or Clock())


# --- events


def test_an_event_that_is_there_is_found_without_asking_whether_more_can_come() -> None:
    core = stream_core()
    core.log.feed(token("second", seq=1))

    def refuse() -> None:
        raise StreamClosed("not started")

    waiter = EventWaiter(core, Token, None, 5, check=refuse)
    found = wait_by_hand(waiter, nothing)
    assert found is not None and found.seq == 1
    core = stream_core()
    with pytest.raises(StreamClosed, match="not started"):
        wait_by_hand(EventWaiter(core, Token, None, 5, check=refuse), nothing)


def test_an_event_that_comes_is_found_if_it_satisfies_the_predicate() -> None:
    core = stream_core()

    def arrive() -> None:
        core.log.feed(token("first", seq=1))
        core.log.feed(token("second", seq=2))

    found = wait_by_hand(tokens(core), arrive)
    assert found is not None and found.seq == 2


def test_nothing_is_delivered_behind_the_wait() -> None:
    core, items = stream_core(), list[Any]()
    with tokens(core).listening(items.append):
        core.log.feed(token("first", seq=1))
    core.log.feed(token("second", seq=2))
    assert len(items) == 1


def test_the_end_of_the_stream_is_raised_with_its_reason() -> None:
    core = stream_core()
    with pytest.raises(StreamClosed, match="is closed: it was stopped"):
        wait_by_hand(tokens(core), lambda: core.log.close(StreamClosed("it was stopped")))


def test_the_time_that_is_left_ends_at_the_deadline() -> None:
    clock = Clock()
    waiter = tokens(stream_core(), seconds=5, clock=clock)
    clock.seconds += 2
    assert waiter.left == 3
    clock.seconds += 10
    assert waiter.left == 0


def test_a_timeout_says_what_came_and_how_the_connection_is() -> None:
    core = stream_core(redact=lambda text: text.replace("s-1", "***"))
    core.log.feed(token("first", seq=3))
    core.link.joined()
    core.link.lost("cut")
    with pytest.raises(EventTimeout) as caught:
        tokens(core).at_last()
    said = str(caught.value)
    assert "no Token that satisfies `where` (1 came: #3) within 5 s" in said
    assert "within 5 s: the connection was lost 0.0 s ago: cut; 1 event arrived, of note: #3 token; " in said
    assert "s-1" not in said


def test_a_lost_connection_is_told_with_the_last_attempt() -> None:
    core = stream_core()
    core.link.joined()
    core.link.lost("cut")
    for _ in range(2):
        core.link.failed("connection refused")
    with pytest.raises(EventTimeout) as caught:
        tokens(core).at_last()
    url = re.escape(core.session.daemon_url)
    because = (
        rf"the connection was lost \(2 attempts to reconnect to {url} in 0.0 s failed: connection refused\); "
    )
    assert re.search(because, str(caught.value))


def test_a_type_that_the_contract_does_not_name_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="tokn"):
        EventWaiter(stream_core(), "tokn", None, 5, check=nothing)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - on purpose


# --- events that are held back


def held(*numbers: int) -> StreamCore:
    """A stream whose log holds back texts with these numbers."""
    core = stream_core()
    core.log.hold()
    for seq in numbers:
        core.log.feed(token("second", seq=seq))
    return core


def test_an_event_that_is_held_back_is_found_with_what_came_before_it() -> None:
    core = held(5)

    def read() -> None:
        core.log.feed(token("first", seq=2))
        core.log.release()

    assert wait_by_hand(tokens(core), nothing) is None
    found = wait_by_hand(tokens(core), read)
    assert found is not None and found.seq == 5
    assert [event.seq for event in core.log.events()] == [2, 5]


def test_the_first_event_is_the_one_with_the_lowest_number() -> None:
    core = held(5)

    def read() -> None:
        core.log.feed(token("second", seq=2))
        core.log.release()

    found = wait_by_hand(tokens(core), read)
    assert found is not None and found.seq == 2


def test_an_event_from_before_the_hold_is_found_at_once() -> None:
    core = stream_core()
    core.log.feed(token("second", seq=1))
    core.log.hold()
    core.log.feed(token("second", seq=5))
    found = wait_by_hand(tokens(core), nothing)
    assert found is not None and found.seq == 1


def test_an_event_that_is_held_back_is_found_at_the_deadline() -> None:
    assert wait(EventWaiter(held(7, 5), Token, is_second, 0, check=nothing)).seq == 5
    with pytest.raises(EventTimeout, match="no ToolStart within 0 s"):
        wait(EventWaiter(held(5), ToolStart, None, 0, check=nothing))


def test_an_event_that_is_held_back_is_found_when_the_stream_ends() -> None:
    core = held(5)
    found = wait_by_hand(tokens(core), lambda: core.log.close(StreamClosed("stopped")))
    assert found is not None and found.seq == 5
    found = wait_by_hand(tokens(core), nothing)
    assert found is not None and found.seq == 5


def test_an_event_of_a_turn_that_is_held_back_is_found_at_the_deadline() -> None:
    core = held(6)
    core.log.feed({**token("second", seq=5), "correlation_id": "fp-other"})
    assert wait(TurnEventWaiter(core, TURN, Token, None, 0)).seq == 6


# --- events of a turn


def in_turn(core: StreamCore, type: Any = Token) -> TurnEventWaiter:
    return TurnEventWaiter(core, TURN, type, None, 5)


def test_an_event_of_the_turn_is_found_and_one_of_another_is_not() -> None:
    core = stream_core()
    core.log.feed({**token("other", seq=1), "correlation_id": "fp-other"})
    found = wait_by_hand(in_turn(core), lambda: core.log.feed(token("mine", seq=2)))
    assert found is not None and found.seq == 2


def test_a_turn_that_ended_without_the_event_is_a_timeout_at_once() -> None:
    core = stream_core()
    for one in text_turn("a"):
        core.log.feed(one)
    core.log.end_turn(TURN)
    with pytest.raises(
        EventTimeout, match=r"no approval_request in the turn, which has ended; .*; turn .*, session"
    ) as caught:
        wait_by_hand(in_turn(core, "approval_request"), nothing)
    assert len(caught.value.events) == 6


def test_a_turn_that_cannot_be_read_raises_why() -> None:
    core = stream_core()
    core.log.feed(message("message_started", seq=1, position=1, fast_path=True))
    with pytest.raises(CallbackFailed, match="policy"):
        wait_by_hand(in_turn(core), lambda: core.log.end_turn(TURN, CallbackFailed("policy")))


def test_a_late_event_of_a_turn_names_the_turn() -> None:
    with pytest.raises(EventTimeout, match=f"no Token in the turn within 5 s: .*; turn {TURN}, session"):
        in_turn(stream_core()).at_last()


# --- the connection


def is_joined(connection: StreamConnection) -> bool:
    return connection.state == "joined"


def test_the_connection_is_looked_at_now_and_whenever_it_changes() -> None:
    core = stream_core()
    waiter = ConnectionWaiter(core, is_joined, 5)
    assert wait_by_hand(waiter, core.link.connecting) is None
    assert wait_by_hand(waiter, core.link.joined) == core.connection
    assert wait_by_hand(waiter, nothing) == core.connection


def test_a_connection_that_is_closed_for_good_is_waited_for_no_longer() -> None:
    core = stream_core()
    with pytest.raises(StreamClosed):
        wait_by_hand(ConnectionWaiter(core, is_joined, 5), lambda: core.log.close(StreamClosed("stopped")))
    closed = wait_by_hand(ConnectionWaiter(core, lambda one: one.state == "closed", 5), nothing)
    assert closed is not None


# --- the face


def test_a_face_brings_what_arrives_until_the_deadline() -> None:
    core = stream_core()
    core.log.feed(token("first", seq=1))
    with pytest.raises(EventTimeout, match="no Token that satisfies") as caught:
        wait(EventWaiter(core, Token, is_second, 0.01, check=nothing))
    assert caught.value.__suppress_context__

    def feed() -> None:
        core.log.feed(token("second", seq=2))

    # The check is made behind the subscription, so that what it brings is not missed.
    assert wait(EventWaiter(core, Token, is_second, 0, check=feed)).seq == 2
