r"""Halves of surrogate pairs, such as `\ud83d`: text for Python and JSON, and none for UTF-8 and pydantic."""

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from digitorn_testing import Decision, EventLog, SessionHandle, builders
from digitorn_testing._approvals.policies import ask
from digitorn_testing._errors import ApiError
from digitorn_testing._events.timeline import render
from digitorn_testing._exchanges import Exchange, Exchanges, Sending
from digitorn_testing._generated import models, operations
from digitorn_testing._generated._runtime import Undecodable
from digitorn_testing._generated._surrogates import parsed
from digitorn_testing._log.recorded import line_of
from digitorn_testing._recordings.recorder import Recorder
from digitorn_testing._recordings.recording import Recording
from digitorn_testing._texts import json_text, printable
from digitorn_testing.events import Token, ToolCall, UnknownPayload
from support.frames import frame, text_turn, token, tool_call

HALF: Final = "half \ud83d"
TURN_RESULT: Final = {"session_id": "s", "status": "accepted", "correlation_id": "fp-1"}


def envelope(**members: object) -> bytes:
    """An answer of the daemon as it would write it, in ASCII."""
    return json.dumps({"success": True, "data": {**TURN_RESULT, **members}, "error": None}).encode()


# --- reading


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"half \ud83d"', HALF),
        (r'"\uDE00 half"', "\ude00 half"),
        (r'"\ud83d\ude00"', "\U0001f600"),
        (r'"\ud83d\ud83d\ude00"', "\ud83d\U0001f600"),
        (r'"\\ud83d"', r"\ud83d"),
        (r'"\\\ud83d"', "\\\ud83d"),
        (r'{"\ud83d": [1, null, "\u00e9"]}', {"\ud83d": [1, None, "é"]}),
    ],
)
def test_a_half_in_json_is_that_half(text: str, value: object) -> None:
    assert parsed(text) == value
    assert parsed(text.encode()) == value


@pytest.mark.parametrize(
    "broken", [b'"\\ud83d', b"", b'"\\ud83"', b'["\\ud83d",]', b'"\xff"', b'"\xed\xa0\xbd"', b'"\\ud83d\x01"']
)
def test_broken_json_stays_broken(broken: bytes) -> None:
    with pytest.raises(ValueError, match=r"column|decode|EOF"):
        parsed(broken)


def test_a_half_does_not_lift_the_limit_of_levels() -> None:
    deep = "[" * 5000 + r'"\ud83d"' + "]" * 5000
    with pytest.raises(ValueError, match="recursion"):
        parsed(deep)


def test_an_answer_keeps_halves_in_texts_and_in_names() -> None:
    accepted = operations.SEND_MESSAGE.read(envelope(correlation_id=HALF, further={HALF: [HALF]}))
    assert accepted.correlation_id == HALF
    assert (accepted.model_extra or {})["further"] == {HALF: [HALF]}
    named = operations.SEND_MESSAGE.read(envelope(**{HALF: HALF, "other": HALF}))
    assert named.model_extra == {HALF: HALF, "other": HALF}
    assert named.model_fields_set == {*TURN_RESULT, HALF, "other"}
    assert pickle.loads(pickle.dumps(named)) == named


def test_an_answer_with_halves_that_breaks_the_contract_says_how() -> None:
    with pytest.raises(Undecodable, match=r"^data.correlation_id: Input should be a valid string$"):
        operations.SEND_MESSAGE.read(envelope(correlation_id=5, a=HALF))


def test_what_stands_in_for_halves_is_never_taken_for_one() -> None:
    with pytest.raises(Undecodable):
        operations.SEND_MESSAGE.read(envelope(**{HALF: "\U0010f03d"}))
    plain = operations.SEND_MESSAGE.read(envelope(name="\U0010f03d", other=HALF))
    assert plain.model_extra == {"name": "\U0010f03d", "other": HALF}


@pytest.mark.parametrize("wire", ["token", "no_such_type"])
def test_an_event_keeps_halves_in_texts_and_in_names(wire: str) -> None:
    frames = [frame(wire, {"delta": HALF, "count": 1, HALF: {HALF: HALF}}, seq=1)]
    (event,) = EventLog.of(frames)
    assert isinstance(event.payload, Token | UnknownPayload)
    assert event.payload.model_extra is not None
    assert event.payload.model_extra[HALF] == {HALF: HALF}
    assert event["payload"] == frames[0]["payload"]
    assert pickle.loads(pickle.dumps(event)).payload == event.payload


# --- keeping


def test_a_recording_gives_back_what_it_took(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    events = [*text_turn("a \ud83d ", "\ude00 b"), frame("no_such_type", {HALF: HALF}, seq=90)]
    log = EventLog.of(events)
    session = SessionHandle(session_id="s-1", app_id="app", daemon_url="http://x")
    exchanges = Exchanges(1)
    with Recorder(path, exchanges=exchanges, daemon_url="http://x") as recorder:
        recorder.add(_Stream(log, session))
        sending = Sending(exchanges, operations.SEND_MESSAGE, "POST", "/p")
        sending.sends(b"{}")
        sending.answered(200, envelope(**{HALF: HALF}))
    path.read_text(encoding="utf-8")
    assert EventLog.load(path).events_of(Token) == log.events_of(Token)
    assert [one.raw for one in EventLog.load(path)] == [one.raw for one in log]
    assert EventLog.load(path).turn_result().content == log.turn_result().content
    (exchange,) = Recording.load(path).exchanges
    assert exchange.to_wire() == exchanges[0].to_wire()
    assert json.loads(exchange.to_json())["response"]["data"][HALF] == HALF


class _Stream:
    """What a recording asks of a stream."""

    def __init__(self, log: EventLog, session: SessionHandle) -> None:
        self.log = log
        self.session = session
        self.endings: Any = _Endings()


class _Endings:
    def listen(self, _: object) -> None: ...
    def unlisten(self, _: object) -> None: ...


def test_a_line_of_a_recording_is_utf_8_and_keeps_other_texts_readable() -> None:
    line = line_of({"record": "end", "part": "é \ud83d \U0001f600"})
    assert line.startswith(b'{"record":"end","part":"\xc3\xa9 \\ud83d \xf0\x9f\x98\x80"')


def test_a_timeline_can_be_printed_anywhere_that_its_other_texts_can() -> None:
    frames: list[object] = [
        token(HALF, seq=1),
        tool_call(HALF, seq=2),
        frame("no_such_type", {HALF: HALF}, seq=3),
        frame(f"type {HALF}", {}, seq=4),
    ]
    log = EventLog()
    for one in frames:
        log.feed(one)
    shown = render(log.events())
    assert shown.count(r"half \ud83d") == 5
    for encoding in ("utf-8", "cp1252", "ascii"):
        shown.encode(encoding)
    assert log.has_event_of(ToolCall)


def test_an_error_can_be_printed_and_keeps_the_daemons_words() -> None:
    exchange = Exchange(operation="", method="GET", path="/", status=500)
    error = ApiError(exchange, HALF, {HALF: HALF})
    str(error).encode()
    assert r"half \ud83d" in str(error)
    assert (error.reason, error.data) == (HALF, {HALF: HALF})
    same = pickle.loads(pickle.dumps(error))
    assert (str(same), same.reason, same.data) == (str(error), HALF, {HALF: HALF})


def test_json_and_printable_texts() -> None:
    assert json_text({HALF: ["é", HALF]}) == '{"half \\ud83d": ["é", "half \\ud83d"]}'
    assert json.loads(json_text({HALF: ["é", HALF]})) == {HALF: ["é", HALF]}
    assert printable("plain é \U0001f600") == "plain é \U0001f600"


def test_halves_that_meet_in_a_turn_are_one_character() -> None:
    frames = text_turn("a \ud83d", "\ude00 b")
    # Over any wire the answer, which has both halves in one text, comes with the character.
    result = EventLog.of([parsed(json.dumps(one)) for one in frames]).turn_result()
    assert result.content == result.text == "a \U0001f600 b"
    assert result.deltas_complete
    assert result.messages[0].deltas == ("a \ud83d", "\ude00 b")


# --- sending


SENT: Final[list[tuple[str, dict[str, Any]]]] = [
    ("app_id holds half of a surrogate pair (U+D83D) at position 5", {"path": {"app_id": HALF}}),
    ("q.0 holds half", {"query": {"q": [HALF]}}),
    ("X-Name holds half", {"headers": {"X-Name": HALF}}),
    ("c holds half", {"cookies": {"c": HALF}}),
    ("images.0.data holds half", {"body": {"images": [models.ImageInput(data=HALF)]}}),
    ("a name in fields.a.1 holds half", {"body": {"fields": {"a": [1, {HALF: 1}]}}}),
    ("file.0 holds half", {"files": {"file": (HALF, b"")}}),
    ("body holds half", {"content": HALF}),
]


@pytest.mark.parametrize(("said", "arguments"), SENT, ids=[said.split()[0] for said, _ in SENT])
def test_a_call_with_a_half_names_the_argument_and_the_place(said: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        operations.SEND_MESSAGE.call(**arguments)
    assert str(caught.value).startswith(f"send_message: {said}")
    str(caught.value).encode()


@pytest.mark.parametrize("name", ["session_id", "app_id", "workspace"])
def test_a_handle_with_a_half_is_not_made(name: str) -> None:
    handle = SessionHandle(session_id="s", app_id="a", daemon_url="http://x")
    changed: dict[str, Any] = {name: HALF}
    with pytest.raises(ValueError, match=f"^{name} holds half of a surrogate pair .* at position 5"):
        replace(handle, **changed)


async def test_a_decision_with_a_half_is_the_policys_fault() -> None:
    request = EventLog.of(
        builders.TurnBuilder().user("hi").tool("Bash").pending_approval().build()
    ).pending_approvals()[0]
    with pytest.raises(ValueError, match="the message of a Decision holds half"):
        await ask(lambda _: Decision(False, HALF), request, on_thread=False)
