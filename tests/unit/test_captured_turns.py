"""Turns as the released daemon sent them fold to the right result."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from digitorn_testing import EventLog, SessionHandle, TurnResult
from digitorn_testing._events.daemon import MEANING
from digitorn_testing._turns.collect import collect
from digitorn_testing._turns.rules import is_whole
from digitorn_testing._turns.texts import StreamedTexts
from digitorn_testing.events import MessageStarted, ToolCall

FRAMES: Final = Path(__file__).parents[1] / "data" / "frames-1.0.3.jsonl"


@cache
def sessions() -> Mapping[tuple[str, str], EventLog]:
    """The log of each captured session, by scenario and session."""
    found: dict[tuple[str, str], EventLog] = {}
    for line in FRAMES.read_text(encoding="utf-8").splitlines():
        frame = json.loads(line)
        if frame["what"] != "event" or not frame["event"].get("session_id"):
            continue
        session_id = str(frame["event"]["session_id"])
        log = found.setdefault((str(frame["label"]), session_id), EventLog(session_id=session_id))
        log.feed(frame["event"])
    return found


LABELS: Final = tuple(dict.fromkeys(json.loads(line)["label"] for line in FRAMES.read_text().splitlines()))


def turns(label: str) -> list[TurnResult]:
    """The turns of a scenario that end in it, in order."""
    results: list[TurnResult] = []
    for (scenario, session_id), log in sessions().items():
        if scenario == label:
            handle = SessionHandle(session_id=session_id, app_id="app", daemon_url="http://127.0.0.1:1")
            ends = [event for event in log if log.meaning.ends_turn(event)]
            for turn in dict.fromkeys(event.correlation_id for event in ends):
                assert turn is not None
                results.append(collect(log.turn(turn), session=handle, correlation_id=turn))
    return results


@pytest.mark.parametrize(
    "label", ["fail-auth", "fail-402", "fail-403", "fail-404", "fail-context", "fail-429", "fail-503"]
)
def test_a_turn_whose_provider_failed_is_failed_with_its_error(label: str) -> None:
    first = turns(label)[0]
    assert first.status == "failed"
    assert first.error
    assert first.errors[-1].code is not None


@pytest.mark.parametrize("label", ["abort", "socket-abort"])
def test_an_aborted_turn_is_cancelled_without_an_error(label: str) -> None:
    first = turns(label)[0]
    assert (first.status, first.error) == ("cancelled", None)


@pytest.mark.parametrize("label", ["queue", "abort"])
def test_the_running_turn_is_the_one_that_works(label: str) -> None:
    """A second message is started while the first one is running."""
    (frames,) = (list(log) for (scenario, _), log in sessions().items() if scenario == label)
    log = EventLog(session_id=frames[-1].session_id)
    waited = 0
    for event in frames:
        log.feed(event.raw)
        if event.type == "token":
            assert log.running_turn == event.correlation_id
        if isinstance(event.payload, MessageStarted) and not event.payload.fast_path:
            assert log.running_turn not in (None, event.correlation_id)
            waited += 1
    assert waited
    assert log.running_turn is None


def test_an_abort_cancels_the_turn_that_was_running_and_not_the_one_that_waited() -> None:
    found = [(one.status, one.content.strip("x ")) for one in turns("abort")]
    assert found == [("cancelled", ""), ("completed", "two")] * 2


def test_a_turn_that_answered_is_completed_though_the_daemon_calls_it_interrupted() -> None:
    """Seen: the abort of a turn made the daemon end the next one, which had answered, in the same way."""
    (log,) = (log for (scenario, _), log in sessions().items() if scenario == "queue")
    changed = EventLog(session_id=log.session_id)
    for event in log:
        wire = {**event.raw, "payload": {**event.raw["payload"]}}
        if event.type == "message_done":
            wire |= {"type": "message_cancelled", "op_state": "cancelled"}
        if event.type == "turn_terminal":
            wire["payload"]["status"] = "interrupted"
        changed.feed(wire)
    handle = SessionHandle(session_id=str(log.session_id), app_id="app", daemon_url="http://127.0.0.1:1")
    for turn in {event.correlation_id for event in changed.events_of("result")}:
        assert turn is not None
        assert collect(changed.turn(turn), session=handle, correlation_id=turn).status == "completed"


def test_the_answer_of_a_turn_is_whole_though_its_deltas_are_not() -> None:
    for result in turns("short-answers"):
        assert result.status == "completed"
        assert result.content
        assert result.content.startswith(result.text)


def pieces(result: TurnResult) -> list[str]:
    """What `text_deltas` gives of a turn."""
    streamed = StreamedTexts()
    return [text for event in result.events if (text := streamed.take(event))]


def test_the_text_of_short_answers_adds_up() -> None:
    found = turns("short-answers")
    assert {"Yes.", "abcdefghij"} <= {result.content for result in found}
    for result in found:
        assert (result.status, result.deltas_complete) == ("completed", True)
        assert result.content == result.text == "".join(pieces(result))


def test_the_text_of_every_answered_turn_ends_with_its_answer() -> None:
    with_commentary = 0
    results = [result for label in LABELS for result in turns(label)]
    # Who joined in the middle of a turn has read the rest.
    whole = [one for one in results if one.ok and any(map(MEANING.begins_turn, one.events))]
    assert len(whole) > 30
    for result in whole:
        text = "".join(pieces(result))
        with_commentary += bool(result.commentary)
        assert result.deltas_complete
        assert text.endswith(result.content)
        assert result.commentary or text == result.content
        assert is_whole(result.events) or result.correlation_id.startswith("slash-")
    assert with_commentary == 3


def test_the_text_before_a_tool_is_no_part_of_the_answer() -> None:
    (result,) = turns("approval-approved")
    assert (result.content, result.commentary) == ("done with bash", ("Let me look.",))
    assert pieces(result) == ["Let me look.", "\n\n", "done with bas", "h"]


def test_a_turn_that_was_aborted_in_its_text_has_not_all_pieces() -> None:
    assert not turns("abort")[0].deltas_complete


def rows() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every row of a session's log among the captured answers, with the session."""
    for line in FRAMES.read_text(encoding="utf-8").splitlines():
        one: dict[str, Any] = json.loads(line)
        answer: dict[str, Any] | str | None = one["answer"] if one["what"] == "http" else None
        data: dict[str, Any] | None = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, dict):
            continue
        found: list[dict[str, Any] | str] = [*(data.get("events") or ()), *(data.get("gap_events") or ())]
        for row in (one for one in found if isinstance(one, dict)):
            if {"payload", "seq", "session_id"} <= row.keys():
                yield row["session_id"], row


def test_every_row_of_the_log_is_an_event_that_was_sent_or_one_that_never_is() -> None:
    logs: dict[str, EventLog] = {}
    for session_id, row in rows():
        log = logs.setdefault(session_id, EventLog(session_id=session_id, strict=True))
        log.feed(row)
    assert sum(map(len, logs.values())) > 100
    for log in logs.values():
        for event in log:
            assert event.kind not in ("event", "message")
            assert "" not in (event.event_id, event.op_id, event.correlation_id, event.op_state)
        calls = [event.payload.id for event in log.events_of(ToolCall)]
        assert len(calls) == len(set(calls))
    assert sum(row.type == "tool_call" for log in logs.values() for row in log.log_only) > 3


def test_rows_of_the_log_change_nothing_of_what_was_sent() -> None:
    compared = 0
    for session_id, log in {session_id: log for (_, session_id), log in sessions().items()}.items():
        theirs = [row for one, row in rows() if one == session_id]
        sent = {event.seq for event in log}
        copies = [row for row in theirs if row["seq"] in sent]
        before = log.events()
        assert [log.feed(row) for row in copies] == [None] * len(copies)
        assert log.events() == before
        compared += len(copies)
    assert compared > 20


def test_a_tool_call_that_was_approved() -> None:
    (result,) = turns("approval-approved")
    assert [(call.name, call.success) for call in result.tool_calls] == [("Bash", True)]
    assert [one.resolution for one in result.approvals] == ["approved"]
    assert result.content == "done with bash"


def test_a_denied_call_that_is_asked_for_twice_is_one_approval() -> None:
    (log,) = (log for (scenario, _), log in sessions().items() if scenario == "approval-denied")
    handle = SessionHandle(session_id=str(log.session_id), app_id="app", daemon_url="http://127.0.0.1:1")
    asked = log.events_of("approval_request")
    assert len(asked) == 2
    tool = next(iter(log.events_of("tool_start")))
    assert tool.correlation_id is not None
    # The join came after the beginning of the turn.
    result = collect(log.events(), session=handle, correlation_id=tool.correlation_id)
    assert [(one.resolution, one.message) for one in result.approvals] == [("denied", "Never.")]


def test_no_captured_turn_forbids_a_change_of_state() -> None:
    found = {key: log.operations().violations for key, log in sessions().items()}
    assert {key: [str(one) for one in some] for key, some in found.items() if some} == {}
