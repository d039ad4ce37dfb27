"""Live envelopes, which are decoded without the general validator, are decoded as it would."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from digitorn_testing import LiveEvent
from digitorn_testing._events.event import _decode_any, decode
from digitorn_testing._generated.events import LIVE, live_members
from support.frames import approval_request, frame, message, token, tool_call, tool_start

CAPTURED = Path(__file__).parents[1] / "data" / "frames-1.0.3.jsonl"
FRAMES = (
    token("a", seq=1),
    tool_start("Bash", call_id="c-1", seq=2),
    tool_call("Bash", seq=3),
    approval_request("r-1", seq=4),
    message("message_done", seq=5),
    frame("from_the_future", {"op_id": "x", "correlation_id": "y", "event_kind": "session"}, seq=6),
)
SIMPLE = st.none() | st.booleans() | st.integers() | st.sampled_from(("", "turn", "running", "session", "x"))
VALUES = SIMPLE | st.lists(SIMPLE, max_size=2) | st.dictionaries(st.sampled_from((*LIVE, "delta")), SIMPLE)
CHANGES = st.dictionaries(st.sampled_from((*LIVE, "control", "latest_seq", "brand_new")), VALUES, max_size=3)


def shown(event: LiveEvent) -> dict[str, str]:
    """Every field of an event but its envelope, with its type."""
    return {one.name: repr(getattr(event, one.name)) for one in fields(event) if one.name != "raw"}


@given(st.sampled_from(FRAMES), CHANGES, st.sets(st.sampled_from(LIVE), max_size=1))
@example(FRAMES[0], {"kind": []}, set())
@example(FRAMES[0], {"op_id": ""}, set())
@example(FRAMES[0], {"seq": True}, set())
def test_a_changed_envelope_is_decoded_as_the_general_way_does(
    base: dict[str, Any], changes: dict[str, Any], without: set[str]
) -> None:
    raw = {name: value for name, value in {**base, **changes}.items() if name not in without}
    event = decode(raw)
    assert shown(event) == shown(_decode_any(raw))
    assert event.raw == raw


def test_captured_events_of_sessions_are_live_envelopes() -> None:
    lines = map(json.loads, CAPTURED.read_text(encoding="utf-8").splitlines())
    # Copies and control frames lack some of the members, and have others.
    live: list[dict[str, Any]] = [one["event"] for one in lines if "event_id" in (one.get("event") or {})]
    assert len(live) > 1000
    for raw in live:
        assert live_members(raw) is not None
        assert shown(decode(raw)) == shown(_decode_any(raw))
