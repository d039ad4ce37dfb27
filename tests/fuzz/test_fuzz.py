"""A short run of every fuzzer, and JSON of any kind into what they fuzz."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitorn_testing import EventLog
from digitorn_testing._events.event import decode
from digitorn_testing._generated.commands import JOIN_SESSION
from fuzz.targets import (
    ROUND,
    SESSION,
    TARGETS,
    Target,
    check_ack,
    check_answer,
    check_log,
    frames,
    operations,
)

ROUNDS = 40

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
MEMBERS = ("type", "kind", "seq", "session_id", "event_id", "correlation_id", "op_id", "op_state", "payload")


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_what_nearly_keeps_to_the_contract(target: Target) -> None:
    assert (
        sum(target.run(random.Random(f"short:{number}")) for number in range(ROUNDS)) >= ROUNDS * ROUND // 6
    )


def test_every_event_type_is_fuzzed() -> None:
    log = EventLog(session_id=SESSION, strict=True)
    for number, frame in enumerate(frames(), start=1):
        log.feed({**frame, "seq": number, "event_id": f"ev-{number:012x}"})
    assert len(log) + len(log.log_only) == len(frames()) > 100


@given(st.lists(JSON | st.dictionaries(st.sampled_from(MEMBERS), JSON), max_size=8))
def test_any_json_as_frames(fed: list[Any]) -> None:
    check_log(fed, EventLog(session_id=SESSION))


@given(st.sampled_from(operations()), st.integers(100, 599), st.binary(max_size=60))
def test_any_bytes_as_an_answer(operation: Any, status: int, body: bytes) -> None:
    check_answer(operation, status, body)


@given(JSON)
def test_any_json_as_an_acknowledgement(said: Any) -> None:
    check_ack(JOIN_SESSION, said)


@pytest.mark.parametrize("depth", [200, 900])
def test_a_frame_that_is_nested_too_deeply_is_kept(depth: int) -> None:
    deep: Any = 1
    for _ in range(depth):
        deep = {"a": deep}
    for frame in (deep, {"type": "token", "seq": 1, "payload": {"delta": deep, "op_id": "op"}}):
        event = decode(frame)
        assert event.raw is frame
        assert repr(event).startswith("LiveEvent(")
