"""Recordings as files: what is written, what can be read of a damaged one, and what is said of the damage."""

import json
import os
import threading
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitorn_testing import (
    EventLog,
    InvalidPayload,
    RecordedLog,
    Recorder,
    Recording,
    RecordingDamaged,
    RecordingError,
    SessionHandle,
    StreamClosed,
    assertions,
)
from digitorn_testing._exchanges import Exchanges, Sending
from digitorn_testing._generated import operations
from digitorn_testing._log.recorded import BEGINNING, line_of
from digitorn_testing._recordings.recorder import Recorded
from digitorn_testing._turns.endings import TurnEndings
from digitorn_testing.events import MessageDone, MessageStarted, Token
from support.frames import SESSION, TURN, frame, text_turn, token

URL = "http://127.0.0.1:1"


def stream(session_id: str = SESSION) -> Recorded:
    """What is recorded of a stream."""
    session = SessionHandle(session_id=session_id, app_id="app", daemon_url=URL)
    made = SimpleNamespace(session=session, log=EventLog(session_id=session_id), endings=TurnEndings())
    return cast("Recorded", made)


def recorder(path: Path, exchanges: Exchanges | None = None) -> Recorder:
    """A recorder of a client that has done nothing yet."""
    return Recorder(path, exchanges=Exchanges(0) if exchanges is None else exchanges, daemon_url=URL)


def recorded(path: Path) -> EventLog:
    """A recording of a whole turn, and the log that it is of."""
    source = stream()
    with recorder(path) as running:
        running.add(source)
        for one in text_turn("Hel", "lo"):
            source.log.feed(one)
            source.log.feed(one)
    return source.log


def whole(path: Path) -> list[bytes]:
    """The lines of a recording, with their ends."""
    return path.read_bytes().splitlines(keepends=True)


def test_a_recording_gives_the_same_log(tmp_path: Path) -> None:
    live = recorded(tmp_path / "r.jsonl")
    log = RecordedLog.load(tmp_path / "r.jsonl")
    assert [event.raw for event in log] == [event.raw for event in live]
    assert (log.duplicates, log.foreign, log.last_seq) == (live.duplicates, [], live.last_seq)
    assert [event.payload.delta for event in log.events_of(Token)] == ["Hel", "lo"]
    assert assertions.event_order(log.events(), [MessageStarted, Token, MessageDone])
    assert log.turns == [TURN]
    result = log.turn_result()
    assert EventLog.load(tmp_path / "r.jsonl").turn_result() == result
    assert (result.content, result.status, result.session) == ("Hello", "completed", log.session)
    assert (log.damage, log.exchanges) == (None, ())
    assert isinstance(log.closed, StreamClosed)


def test_what_is_there_already_comes_first(tmp_path: Path) -> None:
    source = stream()
    source.log.feed(token("a", seq=1))
    with recorder(tmp_path / "r.jsonl") as running:
        running.add(source)
        source.log.feed(token("b", seq=2))
    source.log.feed(token("c", seq=3))
    assert [event.payload.delta for event in RecordedLog.load(tmp_path / "r.jsonl").events_of(Token)] == [
        "a",
        "b",
    ]


def test_what_does_not_fit_is_recorded_as_it_came(tmp_path: Path) -> None:
    source = stream()
    odd: list[object] = [
        "text",
        {"type": "token", "payload": 3},
        {"type": "new:one", "payload": {"\ud800": "\u2028"}},
    ]
    nested: dict[str, Any] = {}
    for _ in range(100_000):
        nested = {"deeper": nested}
    with recorder(tmp_path / "r.jsonl") as running:
        running.add(source)
        for one in odd:
            source.log.feed(one)
        running.event(f"{running._part}.1", nested)
        running.event(f"{running._part}.1", {"bytes": b"\xff"})
    log = RecordedLog.load(tmp_path / "r.jsonl")
    assert [event.raw for event in log.events()[:3]] == [event.raw for event in source.log]
    assert [event.payload.errors for event in log.events_of(InvalidPayload)][-2:] == [
        ("expected an envelope, got str 'not recorded: RecursionError'",),
        ("expected an envelope, got str 'not recorded: TypeError'",),
    ]


def test_endings_that_no_event_tells_are_recorded(tmp_path: Path) -> None:
    source = stream()
    source.log.feed(frame("user_message", {"role": "user", "content": "x"}, seq=1, op_state="pending"))
    with recorder(tmp_path / "r.jsonl") as running:
        running.add(source)
        source.endings.note(TURN, "timed_out")
    assert RecordedLog.load(tmp_path / "r.jsonl").turn_result(TURN).status == "timed_out"


# --- several sessions


def test_one_of_several_sessions_is_chosen(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with recorder(path) as running:
        for name in ("s-1", "s-2", "s-2"):
            source = stream(name)
            running.add(source)
            source.log.feed(token(name, seq=1, session_id=name))
    recording = Recording.load(path)
    assert [one.session_id for one in recording.sessions] == ["s-1", "s-2"]
    for session in recording.sessions:
        log = RecordedLog.load(path, session=session)
        assert [event.payload.delta for event in log.events_of(Token)] == [session.session_id]
    assert RecordedLog.load(path, session="s-2").duplicates == 1
    with pytest.raises(RecordingError, match=r"which session\? pass session=; its sessions: s-1, s-2"):
        RecordedLog.load(path)
    with pytest.raises(RecordingError, match="no session 's-3' in it; its sessions: s-1, s-2"):
        RecordedLog.load(path, session="s-3")


def test_a_recording_without_sessions_says_so(tmp_path: Path) -> None:
    recorder(tmp_path / "r.jsonl").stop()
    with pytest.raises(RecordingError, match="its sessions: none"):
        RecordedLog.load(tmp_path / "r.jsonl")


# --- damage


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The lines of a good recording."""
    path = tmp_path_factory.mktemp("good") / "r.jsonl"
    recorded(path)
    return whole(path)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where damaged recordings are put."""
    return tmp_path_factory.mktemp("damaged") / "r.jsonl"


def loaded(path: Path) -> tuple[int, RecordingDamaged | None]:
    """How many frames can be read of a recording, and where it is damaged."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        recording = Recording.load(path)
    assert [one.message for one in caught] == ([recording.damage] if recording.damage else [])
    return sum(len(one.frames) for one in recording._streams.values()), recording.damage


@given(st.data())
def test_cut_at_any_byte_the_whole_lines_before_are_there(
    lines: list[bytes], damaged: Path, data: st.DataObject
) -> None:
    content = b"".join(lines)
    cut = data.draw(st.integers(0, len(content)))
    damaged.write_bytes(content[:cut])
    frames, damage = loaded(damaged)
    # A line is whole without its end of line: nothing of what it says is missing.
    ends = [sum(map(len, lines[: place + 1])) for place in range(len(lines))]
    there = [line for line, end in zip(lines, ends, strict=True) if end - 1 <= cut]
    assert frames == sum(b'"record":"event"' in line for line in there)
    offset = sum(map(len, there))
    if 0 < cut <= offset:
        assert damage is None
    else:
        assert damage is not None
        assert (damage.line, damage.offset, damage.lost) == (len(there) + 1, offset, cut - offset)


@given(st.data())
def test_any_byte_that_changes_is_found(lines: list[bytes], damaged: Path, data: st.DataObject) -> None:
    content = bytearray(b"".join(lines))
    place = data.draw(st.integers(0, len(content) - 2))
    content[place] ^= data.draw(st.integers(1, 255))
    damaged.write_bytes(content)
    if place < len(BEGINNING):
        with pytest.raises(RecordingError, match="no recording"):
            loaded(damaged)
        return
    frames, damage = loaded(damaged)
    assert damage is not None
    offset = 0
    for number, line in enumerate(lines, 1):
        if place < offset + len(line):
            assert (damage.line, damage.offset) == (number, offset)
            assert frames == sum(b'"record":"event"' in one for one in lines[: number - 1])
            return
        offset += len(line)


def test_damage_is_warned_of_or_raised(lines: list[bytes], tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"".join(lines)[:-40])
    with pytest.warns(
        RecordingDamaged, match=rf"r\.jsonl: damaged at line {len(lines)}, byte \d+: it breaks off"
    ):
        log = RecordedLog.load(path)
    assert isinstance(log.damage, RecordingDamaged)
    assert len(log) == len(text_turn("Hel", "lo"))
    with pytest.raises(RecordingDamaged):
        RecordedLog.load(path, damaged="raise")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{]\n", "it is no JSON"),
        (b"[]\n", "it is no JSON object"),
        (b'{"record":"surprise"}\n', "it is no line of a recording"),
        (b'{"record":"end","part":"p","more":1}\n', "it is no line of a recording"),
        (line_of({"record": "event", "stream": "nobody's", "at": "", "frame": {}}), "KeyError"),
        (line_of({"record": "exchange", "part": "", "exchange": {}}), "it holds no exchange (operation: "),
        (line_of({"record": "exchange", "part": "", "exchange": [1]}), "it holds no exchange ("),
        (
            line_of({"record": "stream", "stream": "s", "app_id": "a", "session_id": "s", "since": "1"}),
            "TypeError: since is '1'",
        ),
        (line_of({"record": "end", "part": 3}), "TypeError: part is 3"),
        (b"\xff\xfe\n", "it is no JSON"),
        (b"[" * 200_000 + b"\n", "it is no JSON"),
    ],
)
def test_the_damage_says_what_is_wrong(lines: list[bytes], tmp_path: Path, line: bytes, reason: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"".join([*lines[:4], line, *lines[4:]]))
    frames, damage = loaded(path)
    assert frames == 2
    assert damage is not None
    assert (damage.line, damage.offset, damage.lost) == (
        5,
        sum(map(len, lines[:4])),
        len(line) + sum(map(len, lines[4:])),
    )
    assert reason in damage.reason


def test_lines_may_be_edited_by_hand(lines: list[bytes], tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    record = json.loads(lines[4])
    record.pop("crc")
    record["frame"]["payload"]["delta"] = "edited"
    path.write_bytes(b"".join([*lines[:4], json.dumps(record).encode() + b"\n", *lines[5:]]))
    assert loaded(path)[1] is None


def test_other_files_are_no_recordings(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"type": "token"}\n')
    with pytest.raises(RecordingError, match="no recording"):
        RecordedLog.load(path)
    with pytest.raises(RecordingError, match="no recording"):
        recorder(path)
    assert path.read_text() == '{"type": "token"}\n'
    with pytest.raises(FileNotFoundError):
        RecordedLog.load(tmp_path / "none")


def test_a_later_version_is_refused(lines: list[bytes], tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    header = json.loads(lines[0])
    del header["crc"]
    path.write_bytes(line_of({**header, "version": 2}))
    with pytest.raises(RecordingError, match="version 2; this library reads up to version 1"):
        RecordedLog.load(path)


# --- writing


def test_a_recording_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    recorded(path)
    source = stream()
    with recorder(path) as running:
        running.add(source)
        source.log.feed(token("!", seq=90))
    recording = Recording.load(path)
    assert recording.is_complete
    assert [event.payload.delta for event in recording.log().events_of(Token)] == ["Hel", "lo", "!"]


@pytest.mark.parametrize("left", [1, 30, 60])
def test_what_a_killed_writer_left_unfinished_is_taken_off(
    tmp_path: Path, left: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "r.jsonl"
    recorded(path)
    lines = whole(path)
    path.write_bytes(b"".join(lines[:4]) + lines[4][:left])
    source = stream()
    with recorder(path) as running:
        running.add(source)
        source.log.feed(token("!", seq=90))
    recording = Recording.load(path, damaged="raise")
    assert [event.seq for event in recording.log()] == [1, 90]
    assert not recording.is_complete
    assert json.loads(whole(path)[4])["cut"] == {"offset": sum(map(len, lines[:4])), "bytes": left}
    assert "it breaks off; it is taken off" in caplog.text


def test_a_last_line_without_its_end_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    recorded(path)
    path.write_bytes(path.read_bytes()[:-1])
    recorder(path).stop()
    assert Recording.load(path, damaged="raise").is_complete


def test_behind_damage_nothing_is_appended(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    recorded(path)
    lines = whole(path)
    content = b"".join([*lines[:3], b"oops\n", *lines[3:]])
    path.write_bytes(content)
    with pytest.raises(RecordingDamaged, match="line 4"):
        recorder(path)
    assert path.read_bytes() == content


def test_an_empty_file_becomes_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.touch()
    recorded(path)
    assert len(RecordedLog.load(path)) == len(text_turn("Hel", "lo"))


def test_many_writers_never_mix_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    running = [recorder(path), recorder(path)]
    sources = [stream(f"s-{number}") for number in range(8)]
    for number, source in enumerate(sources):
        running[number % 2].add(source)
    text = "x" * 5000

    def feed(source: Recorded) -> None:
        for seq in range(1, 51):
            source.log.feed(token(text, seq=seq, session_id=source.session.session_id))

    threads = [threading.Thread(target=feed, args=(source,)) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in running:
        one.stop()
    recording = Recording.load(path, damaged="raise")
    assert recording.is_complete
    assert [[event.seq for event in recording.log(one)] for one in recording.sessions] == [
        list(range(1, 51))
    ] * 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_processes_append_to_one_recording(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    children: list[int] = []
    for number in range(4):
        child = os.fork()
        if child:
            children.append(child)
            continue
        failed = 1
        try:
            source = stream(f"s-{number}")
            with recorder(path) as running:
                running.add(source)
                for seq in range(1, 101):
                    source.log.feed(token("x" * 3000, seq=seq, session_id=source.session.session_id))
            failed = 0
        finally:
            os._exit(failed)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    recording = Recording.load(path, damaged="raise")
    assert recording.is_complete
    assert [len(recording.log(one)) for one in recording.sessions] == [100] * 4


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_a_failure_to_write_is_told_and_does_not_reach_the_stream(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    running = recorder(tmp_path / "r.jsonl")
    source = stream()
    running.add(source)
    with open("/dev/full", "ab", buffering=0) as full:
        file, running._file = running._file, full
        assert source.log.feed(token("a", seq=1)) is not None
        assert source.log.feed(token("b", seq=2)) is not None
        assert running.error is not None
        with pytest.raises(RecordingError, match=r"it cannot be written any further: .*No space left"):
            running.stop()
        running.stop()
    assert caplog.text.count("cannot be written") == 1
    assert file is not None
    file.close()


def test_a_recorder_is_stopped_by_leaving_it(tmp_path: Path) -> None:
    with recorder(tmp_path / "r.jsonl") as running:
        assert not running.is_stopped
        assert "recording" in repr(running)
    assert running.is_stopped
    running.stop()
    running.add(stream())
    assert len(whole(tmp_path / "r.jsonl")) == 2


def test_without_a_stop_the_recording_is_not_complete(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    recorded(path)
    path.write_bytes(b"".join(whole(path)[:-1]))
    recording = Recording.load(path, damaged="raise")
    assert not recording.is_complete
    assert "not ended" in repr(recording)


# --- secrets


def test_secrets_are_hidden(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    exchanges = Exchanges(0)
    exchanges.redactor.learn("the-access-token")
    source = stream()
    with Recorder(
        path, exchanges=exchanges, daemon_url="http://user:hunter2hunter2@127.0.0.1:1/x"
    ) as running:
        running.add(source)
        source.log.feed(token("it is the-access-token", seq=1))
        source.log.feed(
            frame("new", {"password": "hunter2hunter2", "deep": [{"api_key": "k-123456"}]}, seq=2)
        )
        sending = Sending(exchanges, operations.LOGIN, "POST", "/auth/login")
        sending.sends(b'{"username": "dev", "password": "hunter2hunter2"}')
        sending.answered(200, b'{"access_token": "new-access-token", "expires_in": 3600}')
        source.log.feed(token("now new-access-token", seq=3))
    content = path.read_text()
    for secret in ("the-access-token", "hunter2", "k-123456", "new-access-token"):
        assert secret not in content
    log = RecordedLog.load(path)
    assert [event.payload.delta for event in log.events_of(Token)] == ["it is ***", "now ***"]
    [exchange] = log.exchanges
    assert exchange.request == {"username": "dev", "password": "***"}
    assert log.session.daemon_url == "http://127.0.0.1:1/x"


def test_recorded_exchanges_have_larger_bodies_than_kept_ones(tmp_path: Path) -> None:
    exchanges = Exchanges(1)
    with recorder(tmp_path / "r.jsonl", exchanges):
        sending = Sending(exchanges, operations.LIST_APPS, "GET", "/api/apps", query=[("a", "1")])
        sending.answered(200, b'"' + b"x" * 20_000 + b'"')
    [exchange] = Recording.load(tmp_path / "r.jsonl").exchanges
    assert exchange.response == "x" * 20_000
    assert (exchange.status, exchange.query, exchange.operation) == (200, (("a", "1"),), "list_apps")
    assert exchanges[0].response is None
    assert exchanges[0].started == exchange.started
