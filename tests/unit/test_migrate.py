"""`digitorn-testing migrate`: what it rewrites, what it leaves alone, and what it tells a person."""

import json
import sys
import textwrap
from pathlib import Path
from typing import Final

import pytest
from typer.testing import CliRunner

from digitorn_testing._cli.app import app
from digitorn_testing._migrate.rewriting import rewrite

TESTS: Final = Path(__file__).parents[1]
OLD: Final = TESTS / "data" / "old_scenario.py.txt"
MIGRATED: Final = TESTS / "typing" / "accepted" / "migrated_scenario.py"
"""What the command makes of it. `tests/typing` checks its types, and `tests/live` runs it."""

HEAD: Final = "from digitorn.testing import DevClient, LiveEventStream, SessionHandle, assertions\n"
MARK: Final = "\n\ndef old(client: DevClient) -> None:\n    client.get_persistent_events(session)\n"
"""Something that only the predecessor has, so that the module counts as written for it."""


def body(code: str) -> str:
    """A module with a function of the code, which has a client, a session and a stream."""
    names = "client: DevClient, session: SessionHandle, stream: LiveEventStream"
    return f"{HEAD}\n\ndef run({names}) -> None:\n{textwrap.indent(code, '    ')}\n"


def rewritten(code: str, *, is_old: bool = False) -> str:
    """The code of the function after the rewriting, without the imports."""
    found = rewrite(body(code) + (MARK if is_old else "")).text
    return textwrap.dedent(found.partition("-> None:\n")[2].partition("\n\n\ndef old(")[0]).strip("\n")


def test_the_scenario_is_rewritten_in_full() -> None:
    found = rewrite(OLD.read_text(encoding="utf-8"))
    assert found.text == MIGRATED.read_text(encoding="utf-8")
    assert [note.reason for note in found.notes] == [
        "client.request raises ApiError if the daemon refuses; was _get"
    ]


def test_a_second_run_changes_nothing() -> None:
    once = MIGRATED.read_text(encoding="utf-8")
    assert rewrite(once).text == once
    assert rewrite(once).notes == ()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("client.approve('a', 'r', response='yes')", "client.resolve_approval('a', 'r', message='yes')"),
        ("client.deny('a', 'r', 'no')", "client.resolve_approval('a', 'r', message='no', approved=False)"),
        ("client.respond_to_ask('a', 'r', 'x')", "client.resolve_approval('a', 'r', message='x')"),
        ("client.search_sessions('a', 'x', limit=3)", "client.search('a', 'x', limit=3).sessions"),
        (
            "client.create_session('a', '/w', 'id')",
            "SessionHandle(app_id='a', workspace='/w', session_id='id', daemon_url=client.daemon_url)",
        ),
        ("stream.start(timeout=3)", "stream.start()"),
        ("stream.wait_for('token', 5, None)", "stream.wait_for(Token, timeout=5)"),
        (
            "LiveEventStream(token='t', app_id='a', session_id='s', since_seq=4)",
            "LiveEventStream(token='t', app_id='a', session_id='s', since=4)",
        ),
        (
            "e = stream.wait_for('token')\nprint(e['payload']['delta'])",
            "e = stream.wait_for(Token)\nprint(e['payload']['delta'])",
        ),
        ("client.send_live(session, 'x', idle_seconds=2)", "client.send_live(session, 'x')"),
        (
            "for e in stream.events():\n    if e['type'] not in ('token', 'result'):\n        pass",
            "for e in stream.events():\n    if e.type not in ('token', 'result'):\n        pass",
        ),
        (
            "late = sorted(stream.events(), key=lambda e: e['seq'])",
            "late = sorted(stream.events(), key=lambda e: e.seq)",
        ),
        (
            "if not stream.wait_for('token', timeout=1, predicate=lambda e: e['seq'] > 3):\n    pass",
            "if not stream.poll_for(Token, timeout=1, where=lambda e: e.seq > 3):\n    pass",
        ),
        (
            "with DevClient(token='t') as mine:\n    mine.delete_session(session)",
            "with DevClient(token='t') as mine:\n    mine.delete(session)",
        ),
        (
            "with client.open_event_stream(session, True, False) as live:\n    live.events_by_type('token')",
            "with client.open_event_stream(session) as live:\n    live.events_of(Token)",
        ),
    ],
)
def test_what_is_certain_is_rewritten(before: str, after: str) -> None:
    assert rewritten(before) == after
    assert rewritten(after) == after


@pytest.mark.parametrize(
    "code",
    [
        # Nothing says what these are.
        "def inner(client, e, rows):\n    client.fork_session(e)\n    assert e['type'], rows[0]['seq']",
        "client = make()\nclient.delete_session(session)",
        "e = {'type': 'token'}\nassert e['type'] == 'token'",
        "for stream in streams():\n    stream.last_seq()",
        "keys = [lambda e: e['seq'], lambda e: e['type'] == 'token']",
        # These are as they should be.
        "history = client.get_history(session)\nprint(history.messages)",
        "print(client.get_queue(session).entries)",
        "client.deploy('app.yaml')",
        "client.list_sessions('a')",
        "result = client.send(session, 'x')\nprint(result.text)",
        "assert assertions.event_count(stream.events(), Token, 1)",
        # These could be either.
        "assert assertions.event_count(stream.events(), 'token', 1)",
        # The name is taken, or no type of the contract.
        "def MessageDone() -> None: ...\nstream.wait_for('message_done')",
        "stream.wait_for('no_such_type')",
    ],
)
def test_what_is_not_certain_stays(code: str) -> None:
    assert rewritten(code) == code


def test_what_could_be_either_is_rewritten_in_a_module_of_the_predecessor() -> None:
    code = "result = client.send(session, 'x')\nassert assertions.event_count(result.live_events, 'token', 1)"
    assert rewritten(code, is_old=True) == (
        "result = client.send(session, 'x')\nassert assertions.event_count(result.events, Token, at_least=1)"
    )


def test_comments_and_layout_stay() -> None:
    code = "client.abort_session(  # now\n    session,\n    # and the queue\n    purge_queue = True,\n)"
    assert rewritten(code) == code.replace("abort_session", "abort")


def test_an_alias_and_another_module_are_followed() -> None:
    source = (
        "from digitorn.testing.client import DevClient as Client, DevClientError\n"
        "from elsewhere import assertions\n"
        "client = Client(token='t')\n"
        "try:\n    client.compact_session(s)\nexcept DevClientError:\n    assertions.seq_is_monotonic([])\n"
    )
    assert rewrite(source).text == (
        "from digitorn.testing import DevClient as Client, DigitornError\n"
        "from elsewhere import assertions\n"
        "client = Client(token='t')\n"
        "try:\n    client.compact(s)\nexcept DigitornError:\n    assertions.seq_is_monotonic([])\n"
    )


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("stream.wait_until_idle(2)", "wait_for_turn"),
        ("client.mcp_catalog()", "client.api.mcp.list_mcp_catalog"),
        ("stream.clear()", "a stream keeps its events"),
        ("client.open_multi_stream(session)", "a stream joins its session alone"),
        ("x = client.send_live(session, 'x', stream=stream)", "send_live takes no stream"),
        ("client.send_live(session, 'x', queue_mode='async')", "start_turn"),
        ("assertions.report([('one', (True, ''))])", "all(checks.values())"),
        ("assertions.event_count(stream.events(), 'token', 1)", "at_least="),
        ("r = client.post_message_raw(session, 'x')\nassert r['status_code'] == 202", "RateLimited"),
        ("def inner(c):\n    c.get_persistent_events(session)", "not certain what this is called on"),
        ("client.abort_session(*session)", "by * or **"),
        ("for a in client.list_apps():\n    a['nonsense']", "no member 'nonsense'"),
        ("DevClient()", "reads no token from disk"),
        ("LiveEventStream(app_id='a', session_id='s', on_event=print)", "@stream.on(Type)"),
    ],
)
def test_the_rest_is_listed_with_its_line_and_reason(code: str, says: str) -> None:
    found = rewrite(body(code))
    (note,) = (one for one in found.notes if says in one.reason)
    assert note.line in range(5, 8)
    assert rewrite(found.text).notes == found.notes or "status_code" in code


def test_other_modules_are_left_alone() -> None:
    source = "import httpx\nclient = DevClient()\nclient.get_persistent_events(1)\n"
    assert rewrite(source).text == source
    assert rewrite(source).notes == ()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "old.py").write_bytes(body("client.delete_session(session)").replace("\n", "\r\n").encode())
    (tmp_path / "new.py").write_text(body("client.delete(session)"), encoding="utf-8")
    hidden = tmp_path / ".venv"
    hidden.mkdir()
    (hidden / "old.py").write_text(body("client.delete_session(session)"), encoding="utf-8")
    return tmp_path


def run(*arguments: str) -> tuple[int, str]:
    found = CliRunner().invoke(app, ["migrate", *arguments])
    return found.exit_code, found.output


def test_the_command_writes_what_it_rewrites(folder: Path) -> None:
    code, said = run(str(folder))
    assert (code, said.splitlines()) == (
        0,
        [f"changed {folder / 'old.py'}", "2 files read, 1 changed, 0 left to you"],
    )
    assert (folder / "old.py").read_bytes() == body("client.delete(session)").replace("\n", "\r\n").encode()
    assert "delete_session" in (folder / ".venv" / "old.py").read_text(encoding="utf-8")
    assert run(str(folder), "--check")[0] == 0


@pytest.mark.parametrize(("option", "code"), [("--diff", 0), ("--check", 1)])
def test_the_command_can_write_nothing(folder: Path, option: str, code: int) -> None:
    before = (folder / "old.py").read_bytes()
    found, said = run(str(folder), option)
    assert found == code
    assert ("+    client.delete(session)" in said) is (option == "--diff")
    assert (folder / "old.py").read_bytes() == before


def test_the_command_says_which_file_it_cannot_read(folder: Path) -> None:
    (folder / "broken.py").write_text("from digitorn.testing import (\n", encoding="utf-8")
    (folder / "latin.py").write_bytes(b"# digitorn.testing \xe9\n")
    code, said = run(str(folder), "--json")
    files = json.loads(said)["files"]
    assert code == 1
    assert [Path(one["path"]).name for one in files] == ["broken.py", "latin.py", "old.py"]
    assert "error at 2:0" in files[0]["problem"]
    assert files[1]["problem"] == "it is not UTF-8"
    broken = run(str(folder / "broken.py"), str(folder / "new.py"), "--check")
    assert (broken[0], broken[1].splitlines()[-1]) == (
        1,
        "1 file read, 1 not read, 0 would change, 0 left to you",
    )
    assert files[2] == {"path": str(folder / "old.py"), "changed": True, "problem": None, "notes": []}


def test_the_command_refuses_what_is_no_python_file(folder: Path) -> None:
    (folder / "notes.txt").write_text("client.delete_session(session)", encoding="utf-8")
    code, said = run(str(folder / "notes.txt"))
    assert (code, said) == (2, f"error: {folder / 'notes.txt'} is no Python file\n")
    assert run(str(folder))[0] == 0


def test_a_missing_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("digitorn_testing._migrate", "libcst"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "libcst", None)
    found = CliRunner().invoke(app, ["migrate", str(folder)])
    assert 'pip install "digitorn-testing[migrate]"' in str(found.exception)
