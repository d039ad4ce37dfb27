"""The page of a failure, without a browser: what it holds, and what must not get into it or out of it."""

import base64
import hashlib
import json
import re
import shlex
import webbrowser
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from typer.testing import CliRunner

from digitorn_testing import (
    DevClient,
    EventLog,
    Exchange,
    Recording,
    RecordingDamaged,
    SessionHandle,
    write_page,
)
from digitorn_testing._cli.app import app
from digitorn_testing._log.recorded import line_of
from digitorn_testing._page.curl import curl
from digitorn_testing._page.page import page
from digitorn_testing._page.story import Calls, Session, Source
from digitorn_testing.builders import SessionBuilder, TurnBuilder
from digitorn_testing.fakes import FakeDaemon, FakeModel
from support.frames import TURN, frame, text_turn, token, tool_call, tool_start
from support.page_samples import PENDING, URL, sample
from support.pages import ShownPage, read_page
from support.secrets_scan import scan

NASTY: Final = "</script><script>alert(1)</script><!-- <b>&amp; \u2028 \0 \ud83d 😀 {{title}} ]]>"


def recording(path: Path, *frames: dict[str, Any], exchanges: tuple[Exchange, ...] = ()) -> Path:
    """A recording of one session's frames and of calls."""
    header = sample(path, 1).read_bytes().splitlines(keepends=True)[:2]
    lines = [line_of({"record": "event", "stream": "p.1", "at": "", "frame": one}) for one in frames]
    lines += [line_of({"record": "exchange", "part": "p", "exchange": one.to_wire()}) for one in exchanges]
    path.write_bytes(b"".join([*header, *lines, line_of({"record": "end", "part": "p"})]))
    return path


def shown(source: Path | Source, tmp_path: Path) -> ShownPage:
    """The page of a recording, or of what a test saw."""
    file = tmp_path / "page.html"
    if isinstance(source, Path):
        assert write_page(source, file) == file
    else:
        file.write_bytes(page(source))
    return read_page(file)


def seen(
    *, sessions: Sequence[Session] = (), calls: Sequence[Calls] = (), until: datetime | None = None
) -> Source:
    """What a test saw."""
    return Source(title="test_it", sessions=sessions, calls=calls, until=until)


def saw(log: EventLog, session_id: str = "s-1") -> Session:
    """What a test saw of a session."""
    return Session(session_id=session_id, app_id="app", log=log)


def call(**members: Any) -> Exchange:
    """A call over REST."""
    usual: dict[str, Any] = {"operation": "get_health", "method": "GET", "path": "/health", "status": 200}
    return Exchange(**(usual | members))


# --- what it holds


def test_every_event_and_call_is_a_row_in_order_of_time(tmp_path: Path) -> None:
    file = sample(tmp_path / "r.jsonl", 700)
    found = shown(file, tmp_path)
    log, calls = Recording.load(file).log(), Recording.load(file).exchanges
    payloads = [json.loads(line) for line in found.payloads]
    assert [one for one in payloads if "event_id" in one] == [event.raw for event in log]
    assert [one["operation"] for one in payloads if "curl" in one] == [
        one.operation for one in sorted(calls, key=lambda one: one.started)
    ]
    rows = len(log) + len(calls)
    for name in ("time", "lane", "type", "session", "turn", "seq", "fold", "flag", "said"):
        assert len(found.index[name]) == rows, name
    assert all(step >= 0 for step in found.index["time"])
    assert sum(found.index["time"]) == found.index["end"]
    assert found.column("turn")[-1] is None
    assert set(found.column("lane")) == {
        "Turns",
        "User",
        "Model text",
        "Tools",
        "Approvals",
        "Errors",
        "REST",
    }


def test_what_lasted_is_a_bar(tmp_path: Path) -> None:
    found = shown(sample(tmp_path / "r.jsonl", 300), tmp_path)
    lanes = found.index["lanes"]
    bars = [(lanes[one["lane"]], one["state"], one["name"]) for one in found.index["bars"]]
    assert ("Tools", "completed", "Read") in bars and ("Tools", "failed", "Write") in bars
    assert ("Approvals", "waiting_approval", "bash") in bars
    assert ("REST", "failed", "list_session_events") in bars
    (asked,) = [one for one in found.index["bars"] if one["state"] == "waiting_approval"]
    assert asked["lasted"] == -1 and found.index["flag"][asked["first"]] == 2
    for one in found.index["bars"]:
        if lanes[one["lane"]] in ("Tools", "Approvals"):
            between = sum(found.index["time"][one["first"] + 1 : one["last"] + 1])
            assert one["lasted"] in (-1, between)


def test_the_head_says_what_it_is_of(tmp_path: Path) -> None:
    found = shown(sample(tmp_path / "r.jsonl", 300), tmp_path)
    facts = dict(re.findall(r"<dt>([^<]*)</dt><dd>([^<]*)</dd>", found.source))
    assert (facts["App"], facts["Session"], facts["Daemon"]) == ("repairs", "s-1", URL)
    assert facts["Version"] == "1.0.3, contract 1.0.3"
    assert facts["Events"] == f"{sum(1 for one in found.payloads if 'event_id' in one):,}"
    assert "<h1>r.jsonl</h1>" in found.source


def test_an_approval_that_waits_comes_first(tmp_path: Path) -> None:
    found = shown(sample(tmp_path / "r.jsonl", 300), tmp_path)
    (note,) = found.notes
    assert note[0] == "waits" and PENDING in note[1]
    assert found.column("type")[note[2]] == "approval_request"


def test_what_broke_the_contract_is_said_with_its_row(tmp_path: Path) -> None:
    broken = frame("tool_start", {"id": 7}, seq=1)
    unknown = frame("never_heard", {}, seq=2)
    found = shown(recording(tmp_path / "r.jsonl", broken, unknown, token("a", seq=3)), tmp_path)
    first, second = found.notes
    assert (
        first[0] == "broken" and first[1].startswith("#1 tool_start breaks the contract: ") and first[2] == 0
    )
    assert second == ("broken", "#2 never_heard: the contract has no event of this type", 1)
    assert found.column("lane") == ["Errors", "Errors", "Model text"]


def test_many_faults_of_a_kind_are_counted(tmp_path: Path) -> None:
    frames = [frame("never_heard", {}, seq=seq) for seq in range(1, 51)]
    found = shown(recording(tmp_path / "r.jsonl", *frames), tmp_path)
    assert len(found.notes) == 21
    assert found.notes[-1] == ("broken", "… and 30 more.", -1)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    file = sample(tmp_path / "r.jsonl", 100)
    whole = file.read_bytes()
    file.write_bytes(whole[: whole.rindex(b'{"record":"end"')])
    assert "killed, or is still writing" in shown(file, tmp_path).notes[-1][1]
    file.write_bytes(whole[:-100])
    with pytest.warns(RecordingDamaged):
        found = shown(file, tmp_path)
    assert (found.notes[-1][0], *re.findall("it breaks off", found.notes[-1][1])) == ("lost", "it breaks off")


def test_events_without_a_time_stand_where_they_arrived(tmp_path: Path) -> None:
    frames = [
        frame("token", {"delta": "a"}, seq=1, ts=None),
        token("b", seq=2),
        frame("token", {"delta": "c"}, seq=3, ts="soon"),
    ]
    found = shown(recording(tmp_path / "r.jsonl", *frames), tmp_path)
    assert found.index["said"] == ["a", "b", "c"]
    assert found.index["time"] == [0, 0, 0]
    assert found.index["start"] > 1_700_000_000_000_000


def test_a_page_of_nothing_is_a_page(tmp_path: Path) -> None:
    found = shown(seen(), tmp_path)
    assert (found.index["lane"], found.payloads) == ([], [])


def test_sessions_are_told_apart(tmp_path: Path) -> None:
    one = SessionBuilder(session_id="s-1").turn(TurnBuilder().user("one").text("first")).log()
    other = SessionBuilder(session_id="s-2").turn(TurnBuilder().user("two").text("second")).log()
    sessions = [
        Session(session_id=f"s-{at}", app_id="app", log=log) for at, log in enumerate((one, other), 1)
    ]
    found = shown(seen(sessions=sessions), tmp_path)
    assert found.index["sessions"] == ["s-1", "s-2"]
    by_session = [json.loads(line)["session_id"] for line in found.payloads]
    assert found.column("session") == by_session and set(by_session) == {"s-1", "s-2"}


@pytest.mark.parametrize(("ahead", "says"), [(-3.0, "3 s behind"), (0.01, None), (90.0, "90 s ahead of")])
def test_calls_are_shifted_to_the_daemons_clock(ahead: float, says: str | None, tmp_path: Path) -> None:
    log = SessionBuilder().turn(TurnBuilder(correlation_id=TURN).user("hi").text("yes")).log()
    announced = next(event.emitted_at for event in log)
    assert announced is not None
    sent = call(operation="send_message", correlation_id=TURN, started=announced - timedelta(seconds=ahead))
    source = seen(sessions=[saw(log)], calls=[Calls(daemon_url=URL, exchanges=[sent])])
    found = shown(source, tmp_path)
    notes = [text for kind, text, _ in found.notes if kind == "info"]
    assert len(notes) == (says is not None) and all(says in text for text in notes if says)
    place = found.column("type").index("send_message")
    # Where the clocks agree it was sent before the message was announced.
    assert place == (1 if says else 0)


def test_what_never_ended_lasts_to_the_end_of_the_test(tmp_path: Path) -> None:
    log = SessionBuilder().turn(TurnBuilder().user("rm").tool("Bash", {}).pending_approval()).log()
    last = log.events()[-1].emitted_at
    assert last is not None
    source = seen(
        sessions=[Session(session_id="s-1", app_id="app", log=log)], until=last + timedelta(seconds=30)
    )
    found = shown(source, tmp_path)
    assert found.index["end"] - sum(found.index["time"]) == 30_000_000


# --- nothing breaks out of it


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    frames = [
        frame("user_message", {"content": NASTY}, seq=1),
        token(NASTY, seq=2),
        frame(NASTY, {NASTY: NASTY}, seq=3),
        tool_start(NASTY, call_id="c", seq=4),
    ]
    hostile = call(
        path=f"/{NASTY}", request={"a": NASTY}, request_size=1, response=NASTY, error=NASTY, status=None
    )
    source = recording(tmp_path / "r.jsonl", *frames, exchanges=(hostile,))
    file = write_page(source, tmp_path / "page.html", title=NASTY, error=f"E   {NASTY}")
    found = read_page(file)
    # The elements of data, and the one that runs.
    assert len(re.findall("<script", found.source)) == 3
    assert len(re.findall("</script>", found.source)) == 3
    assert "<script>alert" not in found.source and "<!--" not in found.source
    assert [json.loads(line) for line in found.payloads if "event_id" in line] == frames
    # Half of a surrogate pair is written as its escape where people read it.
    assert NASTY.replace("\ud83d", "\\ud83d") in found.everything


def test_only_its_own_script_may_run_and_nothing_is_loaded(tmp_path: Path) -> None:
    found = shown(sample(tmp_path / "r.jsonl", 50), tmp_path)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', found.source)
    assert policy.startswith("default-src 'none'; ")
    for element in ("style", "script"):
        (text,) = re.findall(f"<{element}>(.*?)</{element}>", found.source, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in policy
    assert re.findall(r'(?:src|href)="(?!#|data:,)', found.source) == []
    assert "url(" not in found.source and "@import" not in found.source


def test_values_that_are_no_json_do_not_end_the_page(tmp_path: Path) -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    log = SessionBuilder().turn(TurnBuilder().user("hi")).log()
    log.feed(frame("never_heard", {"deep": deep, "number": float("nan")}, seq=99))
    found = shown(seen(sessions=[saw(log)]), tmp_path)
    assert "not_shown" in json.loads(found.payloads[-1])


# --- no secret gets in


def test_no_token_is_in_the_page_of_a_recorded_client(tmp_path: Path) -> None:
    with FakeDaemon(model=FakeModel().will_respond_with_text("Noted.")) as daemon:
        daemon.add_app("my-app")
        password = "correct horse battery staple"
        daemon.add_user("me@example.com", password)
        with (
            DevClient.with_user("me@example.com", password, daemon_url=daemon.url) as client,
            client.record(tmp_path / "r.jsonl"),
        ):
            session = SessionHandle(session_id="s-7", app_id="my-app", daemon_url=daemon.url)
            own = client._get_auth_token()
            assert own is not None
            client.send(session, f"My token is {own}, my password {password}.", timeout=20)
    found = shown(tmp_path / "r.jsonl", tmp_path)
    assert "My token is ***, my password ***." in found.everything and "$DIGITORN_TOKEN" in found.everything
    scan([own, password], {"the page": lambda: found.everything})


# --- calls


def test_a_call_that_the_client_cut_off_is_no_problem(tmp_path: Path) -> None:
    cut, lost = (call(status=None, error=error) for error in ("CancelledError", "ConnectError: refused"))
    found = shown(seen(calls=[Calls(daemon_url=URL, exchanges=[cut, lost, call(status=404)])]), tmp_path)
    assert found.index["flag"] == [0, 1, 1]
    assert found.index["said"][1] == "no answer: ConnectError: refused GET /health"


@pytest.mark.parametrize(
    ("exchange", "words"),
    [
        (call(), [f"{URL}/health"]),
        (
            call(
                operation="list_sessions", path="/api/apps/a/sessions", query=(("q", "a b&c"), ("limit", "2"))
            ),
            [f"{URL}/api/apps/a/sessions?q=a+b%26c&limit=2", "-H", "Authorization: Bearer $DIGITORN_TOKEN"],
        ),
        (
            call(operation="", method="PUT", path="/x", request={"it's": "$HOME \ud83d"}, request_size=9),
            [
                "-X",
                "PUT",
                f"{URL}/x",
                "-H",
                "Authorization: Bearer $DIGITORN_TOKEN",
                "-H",
                "Content-Type: application/json",
                "--data-raw",
                '{"it\'s": "$HOME \\ud83d"}',
            ],
        ),
        (
            call(operation="", method="HEAD", path="/x y'z"),
            ["--head", f"{URL}/x y'z", "-H", "Authorization: Bearer $DIGITORN_TOKEN"],
        ),
        (
            call(operation="", method="POST", path="/x", request="plain", request_size=5),
            [
                f"{URL}/x",
                "-H",
                "Authorization: Bearer $DIGITORN_TOKEN",
                "-H",
                "Content-Type: text/plain",
                "--data-raw",
                "plain",
            ],
        ),
        (
            call(operation="", method="POST", path="/x", request=None, request_size=70_000),
            [f"{URL}/x", "-H", "Authorization: Bearer $DIGITORN_TOKEN", "--data-binary", "@body"],
        ),
        (call(method="POST", path="/x"), ["-X", "POST", f"{URL}/x"]),
    ],
    ids=["get", "query", "put", "head", "text", "unrecorded", "empty post"],
)
def test_a_call_is_a_command_for_the_shell(exchange: Exchange, words: list[str]) -> None:
    assert shlex.split(curl(exchange, URL).replace("\\\n", ""), comments=True) == ["curl", *words]


def test_the_shell_takes_an_unknown_address_from_the_environment() -> None:
    assert curl(call(), "") == 'curl \\\n  "$DIGITORN_DAEMON_URL"/health'


def test_a_form_names_its_files() -> None:
    sent = call(
        operation="deploy_app_upload",
        method="POST",
        path="/x",
        request={"yaml": "app.yaml (7 bytes)"},
        request_size=7,
    )
    assert "-F 'yaml=app.yaml (7 bytes)'" in curl(sent, URL) and "write name=@file" in curl(sent, URL)


# --- the command


def test_the_command_report_writes_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = sample(tmp_path / "run.jsonl", 100)
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    result = CliRunner().invoke(app, ["report", str(file)])
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'run.html'}\n")
    assert read_page(tmp_path / "run.html").notes and not opened
    other = tmp_path / "other.html"
    result = CliRunner().invoke(
        app, ["report", str(file), "--output", str(other), "--title", "Mine", "--open"]
    )
    assert result.exit_code == 0
    assert "<h1>Mine</h1>" in read_page(other).source and opened == [other.as_uri()]


def test_the_command_report_tells_of_damage(tmp_path: Path) -> None:
    file = sample(tmp_path / "run.jsonl", 100)
    file.write_bytes(file.read_bytes()[:-50])
    result = CliRunner().invoke(app, ["report", str(file)])
    assert result.exit_code == 0 and "it breaks off" in result.stderr
    assert read_page(tmp_path / "run.html").notes[-1][0] == "lost"


def test_a_tool_that_failed_is_a_problem(tmp_path: Path) -> None:
    frames = [tool_start("Bash", call_id="c", seq=1), tool_call("Bash", call_id="c", seq=2, success=False)]
    found = shown(recording(tmp_path / "r.jsonl", *frames, *text_turn("a", "b")), tmp_path)
    assert found.index["flag"][:2] == [0, 1]
    assert datetime.fromtimestamp(found.index["start"] / 1e6, UTC).year == 2026
