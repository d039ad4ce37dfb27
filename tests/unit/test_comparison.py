"""The comparison of the two daemons: what it finds, and what it leaves alone."""

import copy
from pathlib import Path
from typing import Any

import pytest

from real.comparison.allowed import Allowed, judge, read_allowed
from real.comparison.compare import ABSENT, NOTHING, compare
from real.comparison.record import Line


def event(kind: str, state: str = "running", turn: str | None = "fp-1", **payload: object) -> Line:
    """An event of a turn."""
    envelope = {
        "type": kind,
        "seq": 1,
        "op_type": "turn",
        "op_state": state,
        "op_id": turn,
        "correlation_id": turn,
        "payload": payload,
    }
    return Line(what="event", label="main", data=envelope)


def answer(data: object, status: int = 200) -> Line:
    """An answer over HTTP."""
    return Line(what="http", label="GET /it", status=status, data=data)


TURN = [
    event("message_started"),
    event("token", delta="Hello"),
    event("result", "completed", content="Hello", took=1),
    event("message_done", "completed"),
]


def found(real: list[Line], embedded: list[Line]) -> list[tuple[str, str, str]]:
    """The differences, without the scenario's name."""
    return [(one.where, one.real, one.embedded) for one in compare("it", real, embedded)]


def with_payload(line: Line, **payload: Any) -> Line:
    """The same event with other members in its payload."""
    changed = copy.deepcopy(line)
    changed["data"]["payload"].update(payload)
    return changed


@pytest.mark.parametrize(
    "embedded",
    [
        pytest.param(TURN, id="equal"),
        pytest.param([*TURN[:1], *TURN[1:2] * 3, *TURN[2:]], id="more tokens"),
        pytest.param([*TURN[:2], TURN[3], TURN[2]], id="a background event at another place"),
        pytest.param([*TURN, event("turn:heartbeat", active=True)], id="a heartbeat"),
        pytest.param([TURN[0], TURN[1], with_payload(TURN[2], took=7.5), TURN[3]], id="another number"),
    ],
)
def test_nothing_differs(embedded: list[Line]) -> None:
    assert found(TURN, embedded) == []


def test_other_ids_of_the_same_form_are_equal() -> None:
    other = copy.deepcopy(TURN)
    for line in other:
        line["data"]["correlation_id"] = line["data"]["op_id"] = "fp-2"
    assert found(TURN, other) == []


def test_an_event_that_is_missing() -> None:
    differences = found(TURN, TURN[:-1])
    assert differences == [
        (
            "order of main, after message_started (turn/running, turn 1) turn 1",
            "message_done (turn/completed, turn 1) turn 1",
            NOTHING,
        )
    ]


def test_events_in_another_order() -> None:
    assert found(TURN, [TURN[3], *TURN[:3]]) != []


def test_another_state_of_the_operation() -> None:
    (first, *_) = found(TURN, [*TURN[:-1], event("message_done", "failed")])
    assert first[1:] == (
        "message_done (turn/completed, turn 1) turn 1",
        "message_done (turn/failed, turn 1) turn 1",
    )


def test_an_event_without_its_turn() -> None:
    lost = copy.deepcopy(TURN[-1])
    lost["data"]["correlation_id"] = None
    assert ("event message_done: correlation_id", "'fp-0'", "null") in found(TURN, [*TURN[:-1], lost])


def test_a_background_event_that_comes_twice() -> None:
    twice = [*TURN, TURN[2]]
    assert found(TURN, twice) == [
        ("background of main: result (turn/completed, turn 1)", "1 times", "2 times")
    ]


def test_no_tokens_at_all() -> None:
    assert found(TURN, [TURN[0], *TURN[2:]]) == [
        ("background of main: token (turn/running, turn 1)", "1 times", "0 times")
    ]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"content": "Goodbye"}, ("event result: payload.content", "'Hello'", "'Goodbye'")),
        ({"took": "long"}, ("event result: payload.took", "number", "string")),
        ({"took": None}, ("event result: payload.took", "number", "null")),
        ({"more": {"deep": {"er": 1}}}, ("event result: payload.more", ABSENT, "object")),
    ],
)
def test_another_payload(changed: dict[str, object], expected: tuple[str, str, str]) -> None:
    embedded = [*TURN[:2], with_payload(TURN[2], **changed), TURN[3]]
    assert found(TURN, embedded) == [expected]


@pytest.mark.parametrize(
    ("real", "embedded", "expected"),
    [
        (answer({}), answer({}, status=404), ("GET /it: status", "'200'", "'404'")),
        (answer([{"a": 1}]), answer([{"a": 1}, {}]), ("GET /it: body[].a", "number", "absent | number")),
        (
            answer({"ts": "2026-01-01T00:00:00Z"}),
            answer({"ts": "2026-01-01T00:00:00+00:00"}),
            ("GET /it: body.ts", "0000-00-00T00:00:00Z", "0000-00-00T00:00:00+00:00"),
        ),
        (answer({"a": []}), answer({"a": {}}), ("GET /it: body.a", "list", "object")),
    ],
)
def test_another_answer(real: Line, embedded: Line, expected: tuple[str, str, str]) -> None:
    assert found([real], [embedded]) == [expected]


def test_an_answer_whose_rows_have_another_order() -> None:
    rows: list[dict[str, Any]] = [
        {"type": kind, "seq": 1, "op_id": "fp-1", "op_type": "turn", "payload": {}} for kind in "ab"
    ]
    assert found([answer({"rows": rows})], [answer({"rows": rows[::-1]})]) != []


def test_messages_in_another_order() -> None:
    said = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    assert found([answer({"said": said})], [answer({"said": said[::-1]})]) != []


def test_a_call_that_was_made_on_one_daemon_only() -> None:
    assert found([answer({})], []) == [("GET /it", "something", NOTHING)]


# --- what is allowed

MISSING = compare("it", TURN, TURN[:-1])


@pytest.mark.parametrize(
    "entry",
    [
        Allowed("order of main, *", "because"),
        Allowed("*", "because", real="message_done *", embedded=NOTHING, scenarios=("other", "i*")),
    ],
)
def test_an_allowed_difference(entry: Allowed) -> None:
    verdict = judge(MISSING, [entry])
    assert (verdict.forbidden, verdict.stale) == ([], [])


@pytest.mark.parametrize(
    "entry",
    [
        Allowed("order of main", "because"),
        Allowed("*", "because", real=NOTHING),
        Allowed("*", "because", embedded="something"),
        Allowed("*", "because", scenarios=("other",)),
    ],
)
def test_an_entry_that_allows_something_else_is_stale(entry: Allowed) -> None:
    verdict = judge(MISSING, [entry])
    assert (verdict.forbidden, verdict.stale) == (MISSING, [entry])


def test_an_entry_that_need_not_occur_is_never_stale() -> None:
    assert judge([], [Allowed("*", "because", always=False)]).stale == []


def test_an_entry_without_a_reason_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "allowed.toml"
    file.write_text('[[allowed]]\nwhere = "here"\n')
    with pytest.raises(TypeError, match="reason"):
        read_allowed(file)


def test_the_file_of_allowed_differences_is_sound() -> None:
    for entry in read_allowed():
        assert entry.reason.strip()
