"""Decoding of frames: whatever comes, an event is made of it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitorn_testing import InvalidPayload, UnknownPayload
from digitorn_testing._events.event import decode
from digitorn_testing.events import (
    Error,
    ModuleError,
    ModuleResult,
    PreviewCustom,
    PreviewStateChanged,
    ToolCall,
    TurnHeartbeat,
)
from support.frames import TURN, frame, tool_call


def test_a_live_event_has_typed_attributes_and_is_a_mapping_over_the_envelope() -> None:
    raw = tool_call("Bash", seq=7, params={"command": "ls"})
    event = decode(raw)
    assert isinstance(event.payload, ToolCall)
    assert (event.seq, event.type, event.correlation_id, event.op_id) == (7, "tool_call", TURN, "call-7")
    assert event.op_state == "completed"
    assert event["type"] == "tool_call"
    assert event.get("payload", {})["name"] == "Bash"
    assert event.get("nothing", 5) == 5
    assert dict(event) == raw
    assert event == decode(raw)
    assert hash(event) == hash(decode(raw))
    assert len({event, decode(raw)}) == 1


def test_a_payload_is_frozen_and_keeps_unknown_members() -> None:
    raw = tool_call("Bash", seq=1)
    raw["payload"]["brand_new"] = [1]
    payload = decode(raw).payload
    assert isinstance(payload, ToolCall)
    assert payload.model_extra == {"brand_new": [1]}
    with pytest.raises(ValueError, match="frozen"):
        payload.name = "other"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue] - the point


def test_an_unknown_type_keeps_its_members() -> None:
    event = decode(frame("from_the_future", {"a": {"b": 1}}, seq=1))
    assert isinstance(event.payload, UnknownPayload)
    assert event.payload.to_wire() == {"a": {"b": 1}}
    assert event["payload"] == {"a": {"b": 1}}


def test_a_payload_that_breaks_the_contract_keeps_raw_and_errors() -> None:
    raw = tool_call("Bash", seq=1)
    raw["payload"]["success"] = "yes"
    del raw["payload"]["name"]
    event = decode(raw)
    assert isinstance(event.payload, InvalidPayload)
    assert event.payload.raw == raw["payload"]
    assert [error.partition(":")[0] for error in event.payload.errors] == ["name", "success"]
    assert event.type == "tool_call"
    assert event.op_id == "call-1"


def test_an_envelope_that_breaks_the_contract_keeps_what_is_readable() -> None:
    raw = frame("token", {"delta": "x"}, seq=4, op_state="exploded", user_id=3)
    event = decode(raw)
    assert isinstance(event.payload, InvalidPayload)
    assert {error.partition(":")[0].partition(".")[0] for error in event.payload.errors} == {
        "op_state",
        "user_id",
    }
    assert (event.seq, event.type, event.op_state, event.user_id) == (4, "token", None, None)
    assert event.raw == raw


@pytest.mark.parametrize("junk", [None, 3, "text", [1], {}, {"type": 5}, {"type": "token"}])
def test_junk_becomes_an_invalid_event(junk: Any) -> None:
    event = decode(junk)
    assert isinstance(event.payload, InvalidPayload)
    assert event.payload.errors
    assert event.seq == 0


def test_variants_of_one_wire_name_are_told_apart() -> None:
    assert isinstance(decode(frame("error", {"error": "x"}, seq=1)).payload, Error)
    module = frame("error", {"topic": "fs.changed", "error": "x"}, seq=1)
    assert isinstance(decode(module).payload, ModuleError)
    assert isinstance(decode(frame("result", {"topic": "t"}, seq=1)).payload, ModuleResult)


def test_names_of_a_pattern_have_its_class_unless_they_have_their_own() -> None:
    assert isinstance(decode(frame("preview:anything", {"x": 1}, seq=1)).payload, PreviewCustom)
    changed = frame("preview:state_changed", {"key": "k", "value": None}, seq=1)
    assert isinstance(decode(changed).payload, PreviewStateChanged)


def test_a_copy_takes_what_stands_in_its_payload_alone() -> None:
    live = tool_call("Bash", seq=9)
    payload = {
        **live["payload"],
        "event_id": live["event_id"],
        "op_id": "call-9",
        "op_type": "tool",
        "op_state": "completed",
        "event_kind": "session",
    }
    copy = {
        **{
            key: live[key]
            for key in ("seq", "type", "app_id", "session_id", "user_id", "correlation_id", "ts")
        },
        "kind": "event",
        "payload": payload,
    }
    event = decode(copy)
    # Nothing flags a copy.
    assert not event.replayed
    assert (event.event_id, event.op_id, event.op_type, event.op_state, event.kind) == (
        live["event_id"],
        "call-9",
        "tool",
        "completed",
        "session",
    )


def test_a_ring_buffer_copy_finds_its_turn() -> None:
    raw = {"type": "message_done", "seq": 3, "kind": "session", "app_id": "a", "session_id": "s", "ts": None}
    event = decode({**raw, "payload": {"correlation_id": TURN, "session_id": "s"}})
    assert event.correlation_id == TURN


def test_control_frames_and_the_handshake_have_no_place_in_the_order() -> None:
    assert not decode(
        {"type": "connected", "kind": "system", "seq": 5, "session_id": None, "payload": {}}
    ).is_numbered
    assert not decode(
        {"type": "info", "kind": "session", "seq": 0, "session_id": "s", "payload": {}}
    ).is_numbered
    assert not decode(
        {"type": "info", "kind": "session", "seq": -1, "session_id": "s", "payload": {}}
    ).is_numbered
    assert decode(frame("stream_done", seq=1)).is_numbered


def test_a_shared_shape_is_typed_inside_a_payload() -> None:
    turn = {
        "correlation_id": TURN,
        "started_at": 1.0,
        "last_activity_at": 2,
        "phase": "generating",
        "tool_calls_count": 0,
        "tokens_out": 1,
        "tokens_in": 2,
        "interrupted": False,
        "duration_ms": 5,
        "idle_ms": 1,
    }
    payload = decode(frame("turn:heartbeat", {"turn": turn}, seq=1)).payload
    assert isinstance(payload, TurnHeartbeat)
    assert payload.turn.duration_ms == 5


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_no_frame_raises(raw: Any) -> None:
    event = decode(raw)
    assert event.raw == raw if isinstance(raw, dict) else event.raw == {"payload": raw}


@given(st.sampled_from(["token", "tool_call", "error", "approval_request", "queue:snapshot"]), json_values)
def test_no_payload_raises(type: str, payload: Any) -> None:
    event = decode({"type": type, "payload": payload, "seq": 1, "session_id": "s"})
    assert event.type == type
    assert event.raw["payload"] == payload


def test_a_row_that_is_only_in_the_log_has_no_operation() -> None:
    event = decode(
        frame("assistant_message", {"role": "assistant", "content": "x"}, seq=3, op_type="", op_state="")
    )
    assert (event.op_type, event.op_state) == (None, None)


def test_an_empty_id_of_a_log_row_names_nothing() -> None:
    raw = tool_call("Bash", seq=1)
    event = decode({**raw, "event_id": "", "correlation_id": "", "op_id": "", "op_parent_id": ""})
    assert (event.event_id, event.correlation_id, event.op_id, event.op_parent_id) == (None, None, None, None)
    assert event.raw["correlation_id"] == ""
