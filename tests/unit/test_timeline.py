"""Timelines as people read them: folded in reports, with times from the start of the turn."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from digitorn_testing import EventLog, TurnFailed
from digitorn_testing._events.timeline import listed_types, render
from digitorn_testing.builders import SessionBuilder, TurnBuilder, payloads

START = datetime(2026, 1, 1, tzinfo=UTC)


def log_of(*frames: tuple[str, Mapping[str, object]], turn: str = "fp-1") -> EventLog:
    """A log of these events, a second apart."""
    log = EventLog(session_id="s-1")
    for seq, (type, payload) in enumerate(frames, 1):
        log.feed(
            {
                "type": type,
                "payload": payload,
                "seq": seq,
                "ts": (START + timedelta(seconds=seq)).isoformat(),
                "session_id": "s-1",
                "correlation_id": turn,
                "kind": "session",
            }
        )
    return log


def user(content: str, turn: str = "fp-1") -> tuple[str, dict[str, object]]:
    return "user_message", dict(payloads.user_message(content=content, correlation_id=turn).to_wire())


def column(text: str, number: int) -> list[str]:
    return [line.split(maxsplit=number)[number].strip() for line in text.splitlines()]


def test_runs_of_text_and_of_bookkeeping_are_a_line_each() -> None:
    log = log_of(
        user("count"),
        ("message_started", payloads.message_started(correlation_id="fp-1").to_wire()),
        ("in_token", {"count": 3}),
        ("thinking_delta", {"delta": "one "}),
        ("thinking_delta", {"delta": "by one"}),
        *(("token", {"delta": f"{number} "}) for number in range(500)),
        ("out_token", {"count": 9}),
        *(("token", {"delta": f"{number} "}) for number in range(500)),
        ("stream_done", {}),
        ("out_token", {"count": 9}),
        ("out_token", {"count": 10}),
        ("queue:snapshot", {"entries": [], "depth": 0, "is_active": False, "running_correlation_id": None}),
    )
    lines = render(log.events(), folded=True).splitlines()
    assert [line.split(maxsplit=2)[0] for line in lines] == ["#1", "#2-3", "#4-5", "#6-1006", "#1007-1010"]
    assert "thinking_delta  'one by one' (2 pieces)" in lines[2]
    assert "token " in lines[3]
    assert "'0 1 2 " in lines[3]
    assert lines[3].endswith(" 497 498 499' (3,780 characters in 1,000 pieces)")
    assert lines[4].endswith("stream_done, out_token ×2, queue:snapshot")
    # The whole timeline is still there for those who ask for it.
    assert len(render(log.events()).splitlines()) == len(log)


def test_what_the_agent_did_is_kept_whatever_its_number() -> None:
    turn = TurnBuilder().user("go")
    for number in range(100):
        turn = turn.tool("Read", {"path": f"{number}.txt"})
    events = SessionBuilder().turn(turn.error("provider_error", "gone")).events()
    lines = render(events, folded=True).splitlines()
    for type in ("user_message", "tool_start", "tool_call", "error"):
        shown = sum(f" {type} " in line for line in lines)
        assert shown == sum(one.type == type for one in events), type


def test_what_nobody_expected_is_kept() -> None:
    log = log_of(
        user("hi"),
        ("made:up", {"a": 1}),
        ("token", {"delta": 5}),
        ("hook", {"hook_id": "h", "action_type": "a", "phase": "p", "details": {}}),
    )
    assert column(render(log.events(), folded=True), 2) == [
        "user_message  'hi'",
        'made:up       {"a": 1}',
        "token         INVALID: delta is 5, must be a string",
        "hook",
    ]


def test_times_are_those_since_the_turn_began() -> None:
    first = log_of(user("one"), ("stream_done", {}), turn="fp-1").events()
    _, _, *second = log_of(
        ("stream_done", {}), ("stream_done", {}), user("two", "fp-2"), ("stream_done", {}), turn="fp-2"
    ).events()
    assert [line.split()[1] for line in render([*first, *second]).splitlines()] == ["+0.000", "+1.000"] * 2


def test_a_report_marks_where_the_clock_starts_anew() -> None:
    first = log_of(user("one"), ("stream_done", {}), turn="fp-1").events()
    _, _, *second = log_of(
        ("stream_done", {}), ("stream_done", {}), user("two", "fp-2"), ("stream_done", {}), turn="fp-2"
    ).events()
    lines = render([*first, *second], folded=True).splitlines()
    assert [line.split()[0] for line in lines] == ["#1", "#2", "--", "#3", "#4"]
    assert lines[2] == "-- turn 2"


def test_a_run_of_two_names_both_if_others_came_between() -> None:
    log = log_of(user("hi"), ("token", {"delta": "a"}), ("in_token", {"count": 3}), ("token", {"delta": "b"}))
    assert render(log.events(), folded=True).splitlines()[-1].startswith("#2, #4 ")


def test_a_failure_is_told_once() -> None:
    turn = TurnBuilder().user("go").error("internal_error", "gone")
    events = SessionBuilder().turn(turn).events()
    number = next(one.seq for one in events if one.type == "error")
    text = render(events, folded=True)
    assert text.count("gone") == 1
    assert f"error: as #{number}" in text


def test_equal_types_that_follow_each_other_are_counted() -> None:
    log = log_of(("stream_done", {}), ("stream_done", {}), ("made:up", {}), ("stream_done", {}))
    assert listed_types(log.events()) == "stream_done ×2, made:up, stream_done"


def test_raise_for_error_says_what_went_wrong() -> None:
    good = EventLog.of(SessionBuilder().turn(TurnBuilder().user("hi").text("Hello.")).events()).turn_result()
    assert good.raise_for_error() is good
    assert good.problems() == []
    turn = TurnBuilder().user("hi").tool("Bash", {"command": "ls"}).denied("not today")
    failed = EventLog.of(
        SessionBuilder().turn(turn.error("rate_limited", "slow down")).events()
    ).turn_result()
    with pytest.raises(
        TurnFailed,
        match=r"^the turn failed: .*\(rate_limited: slow down\); .*shell.bash was denied: not today$",
    ) as caught:
        failed.raise_for_error()
    assert (caught.value.result, caught.value.code) == (failed, "rate_limited")
