"""What a long-lived client remembers, and that it holds nothing that is gone."""

import gc
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from digitorn_testing import EventLog, Recorder, SessionHandle
from digitorn_testing._client.beginnings import Beginnings
from digitorn_testing._concurrency.latest import Latest
from digitorn_testing._exchanges import Exchanges
from digitorn_testing._generated.operations import SEND_MESSAGE
from digitorn_testing._recordings.recorder import Recorded
from digitorn_testing._turns.endings import TurnEndings


def session(number: int) -> SessionHandle:
    return SessionHandle(session_id=f"s-{number}", app_id="app", daemon_url="http://x")


def test_the_oldest_entries_are_forgotten() -> None:
    latest: Latest[int, str] = Latest(2)
    for number in range(4):
        latest[number] = str(number)
    latest[2] = "again"
    latest.setdefault(9, "nine")
    assert dict(latest) == {3: "3", 9: "nine"}


def test_a_stream_that_is_gone_waits_for_no_session() -> None:
    class Stream:
        begun = 0

        def begin(self) -> None:
            self.begun += 1

    beginnings, kept = Beginnings(), Stream()
    for number in range(100):
        beginnings.wait(session(number), Stream().begin)
    beginnings.wait(session(100), kept.begin)
    gc.collect()
    beginnings.wait(session(101), kept.begin)
    assert len(beginnings._waiting) == 2
    path = {"app_id": "app", "session_id": "s-100"}
    for _ in range(2):
        beginnings.sent(SEND_MESSAGE.call(path=path, body={"message": "hi"}))
    assert kept.begun == 1


def test_a_recording_holds_no_log_of_a_stream_that_is_gone(tmp_path: Path) -> None:
    with Recorder(tmp_path / "r.jsonl", exchanges=Exchanges(0), daemon_url="http://x") as recorder:
        logs: list[weakref.ref[EventLog]] = []
        for number in range(3):
            log = EventLog()
            logs.append(weakref.ref(log))
            made = SimpleNamespace(session=session(number), log=log, endings=TurnEndings())
            recorder.add(cast("Recorded", made))
            log.feed({"type": "token", "payload": {"delta": "a", "count": 1}})
            del log, made
        gc.collect()
        assert [one() for one in logs] == [None] * 3
    assert [one.session_id for one in EventLog.load(tmp_path / "r.jsonl", session="s-2")] == ["s-2"]
