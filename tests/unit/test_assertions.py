"""Assertions: what they accept, and what they say when they do not."""

import re
from dataclasses import replace
from typing import Any

import pytest

from digitorn_testing import EventLog, TurnResult, assertions
from digitorn_testing._generated.payloads import ResultUsage
from digitorn_testing.builders import TurnBuilder
from digitorn_testing.events import (
    Error,
    MessageDone,
    MessageStarted,
    StreamDone,
    Token,
    ToolCall,
    ToolStart,
    UserMessage,
)
from support.frames import TURN, frame, message, result, text_turn, token, tool_call, user_message


def turn(*frames: dict[str, Any]) -> list[Any]:
    log = EventLog()
    for one in frames or text_turn("Hel", "lo"):
        log.feed(one)
    return log.events()


def test_a_check_unpacks_and_has_its_own_truth() -> None:
    ok, detail = assertions.Check(False, "why")
    assert (ok, detail) == (False, "why")
    assert not assertions.Check(False, "why")
    assert assertions.Check(True, "fine")


def test_order_takes_classes_and_names_alike() -> None:
    events = turn()
    assert assertions.event_order(events, [UserMessage, MessageStarted, MessageDone])
    assert assertions.event_order(events, ["user_message", Token, "message_done"])
    assert assertions.event_order(events, [Token, Token])
    assert assertions.event_order(events, [])


def test_order_tells_where_it_parts() -> None:
    check = assertions.event_order(turn(), [UserMessage, MessageDone, Token])
    assert not check
    assert "expected UserMessage → MessageDone → Token; no Token after MessageDone at seq 7" in check.detail
    assert "one came before, at seq 3" in check.detail
    assert "saw user_message, message_started, token ×2, stream_done, result, message_done" in check.detail
    assert "no ToolCall" in assertions.event_order(turn(), [ToolCall]).detail
    assert not assertions.event_order([], [ToolCall])


def test_order_without_a_gap() -> None:
    events = turn()
    assert assertions.event_order(events, [Token, Token, StreamDone], strict_contiguous=True)
    check = assertions.event_order(events, [MessageStarted, Token, StreamDone], strict_contiguous=True)
    assert not check
    assert "from seq 2 on 2 fit, then came token at seq 4" in check.detail
    assert not assertions.event_order(events[:3], [MessageStarted, Token, Token], strict_contiguous=True)
    assert assertions.event_order(events, [], strict_contiguous=True)


def test_what_is_no_event_type_is_refused_at_once() -> None:
    """Otherwise an assertion that something is absent would hold for the wrong reason."""
    name: Any = "tool_cal"
    number: Any = int
    with pytest.raises(ValueError, match="did you mean 'tool_call'"):
        assertions.event_order(turn(), [name])
    with pytest.raises(ValueError, match="no event type of the contract"):
        assertions.no_event(turn(), name)
    with pytest.raises(ValueError, match="no event type of the contract"):
        assertions.event_count(turn(), name, 0)
    with pytest.raises(TypeError, match="expected a payload class or a wire name"):
        assertions.no_event(turn(), number)
    text: Any = "user_message"
    with pytest.raises(TypeError, match="takes a list of types"):
        assertions.event_order(turn(), text)


def test_count() -> None:
    events = turn()
    assert assertions.event_count(events, Token, 2)
    assert assertions.event_count(events, "token", at_least=1, at_most=2)
    assert assertions.event_count(events, ToolCall, 0)
    check = assertions.event_count(events, Token, 3)
    assert not check
    assert "expected exactly 3 Token, saw 2" in check.detail
    assert not assertions.event_count(events, Token, at_least=3)
    assert not assertions.event_count(events, Token, at_most=1)
    with pytest.raises(ValueError, match="expected, at_least or at_most"):
        assertions.event_count(events, Token)


def test_no_event() -> None:
    assert assertions.no_event(turn(), Error, "tool_call")
    check = assertions.no_event(turn(), Token)
    assert not check
    assert "expected no Token, saw 2: seq 3: token 'Hel'; seq 4: token 'lo'" in check.detail
    with pytest.raises(ValueError, match="at least one type"):
        assertions.no_event(turn())


def test_text_is_that_of_the_tokens_joined() -> None:
    events = turn()
    assert assertions.contains_text(events, "Hello")
    assert assertions.contains_text(events, "ell", correlation_id=TURN)
    assert not assertions.contains_text(events, "ell", correlation_id="other")
    check = assertions.contains_text(events, "Bye")
    assert not check
    assert "saw 'Hello'" in check.detail


def test_tool_called() -> None:
    events = turn(
        tool_call("shell.bash", seq=1, params={"command": "ls", "cwd": "/"}),
        tool_call("Read", seq=2, success=False),
        tool_call("execute_tool", seq=3, params={"name": "web.fetch"}),
    )
    assert assertions.tool_called(events, "shell.bash")
    assert assertions.tool_called(events, "bash", params={"command": "ls"}, success=True, times=1)
    assert assertions.tool_called(events, "web.fetch")
    assert assertions.tool_called(events, "fetch")
    assert assertions.tool_called(events, "Read", success=False)
    assert assertions.tool_called(events, "Write", times=0)
    check = assertions.tool_called(events, "Read", success=True)
    assert not check
    assert "expected a call of Read, successful, saw 0; tool calls: Read failed: it broke" in check.detail
    assert not assertions.tool_called(events, "bash", params={"command": "rm"})
    assert "no tool call" in assertions.tool_called(turn(), "bash").detail


def test_errors_are_error_events_and_results_with_an_error() -> None:
    assert assertions.no_errors(turn())
    check = assertions.no_errors(
        turn(result("", seq=1, error="provider down"), frame("error", {"error": "x"}, seq=2))
    )
    assert not check
    assert "seq 1: result provider down" in check.detail
    assert "seq 2: error x" in check.detail
    assert not assertions.no_errors(turn(frame("error", {"topic": "t"}, seq=1)))


def test_seq_unique() -> None:
    first, second = token("a", seq=1), token("b", seq=1, event_id="ev-other")
    assert assertions.seq_unique(turn())
    assert "seq 1: token and token" in assertions.seq_unique([first, second]).detail
    assert assertions.seq_unique([first, {**second, "session_id": "other"}])


def test_correlation_thread() -> None:
    events = turn()
    assert assertions.correlation_thread(events)
    assert assertions.correlation_thread(events, TURN)
    assert "expected turn fp-x" in assertions.correlation_thread(events, "fp-x").detail
    assert "has no end" in assertions.correlation_thread(events[:-1]).detail
    assert "begins with token" in assertions.correlation_thread(events[2:], TURN).detail
    assert "expected one turn, saw 0" in assertions.correlation_thread([]).detail


def test_raw_envelopes_are_accepted_too() -> None:
    raw = text_turn("Hi")
    assert assertions.event_order(raw, [UserMessage, Token, MessageDone])
    assert [event.seq for event in assertions.sort_by_seq(reversed(raw))] == [1, 2, 3, 4, 5, 6]


def test_sorting_keeps_an_unnumbered_event_behind_what_it_followed() -> None:
    beat: dict[str, Any] = {"type": "heartbeat", "kind": "system", "payload": {}}
    ordered = assertions.sort_by_seq([token("b", seq=2), beat, token("a", seq=1)])
    assert [event.type for event in ordered] == ["token", "token", "heartbeat"]


def test_the_published_example() -> None:
    events = assertions.sort_by_seq(
        turn(
            user_message("go", seq=1),
            message("message_started", seq=2, position=1),
            frame(
                "tool_start",
                {**tool_call("Bash", seq=3)["payload"], "call_id": "call-3"},
                seq=3,
            ),
            tool_call("Bash", seq=4),
            message("message_done", seq=5),
        )
    )
    ok, detail = assertions.event_order(
        events, ["user_message", "message_started", "tool_start", "tool_call", "message_done"]
    )
    assert ok, detail
    assert isinstance(events[2].payload, ToolStart)


def test_the_report_is_a_line_an_event() -> None:
    lines = assertions.report(turn()).splitlines()
    assert len(lines) == 7
    assert lines[0] == "#1    +0.000  user_message     'hi'"
    assert lines[2] == "#3    +0.000  token            'Hel'"
    assert assertions.report([]) == "no events"


# --- what is asserted of a model that is not scripted


CALLS = (
    TurnBuilder()
    .user("tidy up")
    .tool("Bash", {"command": "ls"}, result="a")
    .tool("Write", {"path": "a"})
    .denied("never")
    .text("There were 42 files.")
)


def costing(tokens: int, cost_usd: float | None = None, *, session: str = "s-1") -> TurnResult:
    usage = {"input_tokens": tokens, "output_tokens": 1} | (
        {} if cost_usd is None else {"cost_usd": cost_usd}
    )
    one = EventLog.of(CALLS.build()).turn_result()
    handle = replace(one.session, session_id=session)
    return replace(one, usage=ResultUsage.from_wire(usage), duration=2.5, session=handle)


def test_tools_that_must_not_be_called() -> None:
    events = CALLS.build()
    assert assertions.tools_not_called(events, "Read", "WebFetch") == (
        True,
        "no call of Read or WebFetch, as expected",
    )
    assert assertions.tools_not_called(TurnBuilder().user("a").text("b").build()) == (
        True,
        "no tool call, as expected",
    )
    ok, detail = assertions.tools_not_called(events, "Read", "shell.bash")
    assert not ok
    assert detail == 'expected no call of Read or shell.bash, saw 1: seq 8: Bash {"command": "ls"}'
    # Neither a denied call nor one that never ended is forgotten.
    assert not assertions.tools_not_called(events, "Write")
    assert not assertions.tools_not_called(TurnBuilder().user("a").tool("Bash").unfinished().build(), "Bash")
    assert assertions.tools_not_called(events)[1].startswith("expected no tool call, saw 2: ")


def test_a_text_is_matched_by_a_pattern_or_a_predicate() -> None:
    events = CALLS.build()

    def is_short(text: str) -> bool:
        return len(text) < 10

    assert assertions.text_matches(events, re.compile(r"\b\d+ files"))
    assert assertions.text_matches(events, lambda text: text.endswith("."))
    assert assertions.text_matches(
        events, re.compile(r"42 files\.$"), correlation_id=events[0].correlation_id
    )
    assert assertions.text_matches(events, is_short) == (
        False,
        "expected text that is_short takes, saw 'There were 42 files.'",
    )
    assert assertions.text_matches(events, re.compile("none"))[1].startswith(
        "expected text that matches 'none', saw "
    )
    assert assertions.text_matches(events, is_short, correlation_id="else")[1].endswith("saw no answer")


def test_limits() -> None:
    one = costing(4_999, 0.02)
    assert assertions.within(one, tokens=5_000, cost_usd=0.02, seconds=3, tool_calls=2) == (
        True,
        "5,000 of 5,000 tokens; 0.02 of 0.02 US dollars; 2.5 of 3 seconds; 2 of 2 tool calls",
    )
    assert assertions.within(one, tokens=4_000, cost_usd=0.001, seconds=2.4, tool_calls=1) == (
        False,
        "expected at most 4,000 tokens, saw 5,000; at most 0.001 US dollars, saw 0.02; "
        "at most 2.4 seconds, saw 2.5; at most 1 tool calls, saw 2",
    )
    # Of several turns the sums count; the cost is that of each session so far.
    several = [one, costing(9, 0.03), costing(9, 0.05, session="s-2")]
    assert assertions.within(several, tokens=5_020, cost_usd=0.08, seconds=7.5, tool_calls=6)
    assert not assertions.within(several, cost_usd=0.079)
    assert assertions.within(costing(1), cost_usd=9) == (
        False,
        "expected at most 9 US dollars, saw none reported",
    )
    assert not assertions.within(replace(one, usage=None), tokens=9)
    with pytest.raises(ValueError, match="within needs tokens, cost_usd, seconds or tool_calls"):
        assertions.within(one)
