"""The other commands, and what all commands share: exit status, errors, colours, completion, pipes."""

import contextlib
import io
import json
import signal
import subprocess
import sys
from _thread import interrupt_main
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from digitorn_testing import DevClient
from digitorn_testing._cli.replay import replay
from digitorn_testing._cli.serve import serve
from digitorn_testing.builders import SessionBuilder, TurnBuilder
from digitorn_testing.fakes import FakeDaemon, FakeModel
from support.commands import Run, interrupted, piped

ASKED = TurnBuilder().user("Tidy up.").tool("Bash", {"command": "rm a"}, result="removed").pending_approval()


@pytest.mark.usefixtures("access")
class TestOnADaemon:
    def test_apps(self, run: Run) -> None:
        ran = run("apps")
        assert [line.split()[0] for line in ran.out.splitlines()] == ["APP", "my-app"]
        assert [one["app_id"] for one in run("apps", "--json").document] == ["my-app"]

    def test_pending_approvals_are_decided(self, run: Run, daemon: FakeDaemon, model: FakeModel) -> None:
        assert run("pending").err == "Nothing waits for a decision.\n"
        model.will_respond_with_text("Well.", times=None)
        daemon.add_session(SessionBuilder(app_id="my-app").turn(ASKED))
        (request,) = run("pending", "--json").document
        shown = run("pending", "--app", "my-app").out
        assert request["request_id"] in shown
        assert 'shell.bash {"command": "rm a"}\n    my-app, session s-1, high risk, for ' in shown
        unknown = run("approve", "unknown")
        assert (unknown.status, unknown.out) == (1, "")
        assert "no pending approval begins with 'unknown'" in unknown.err
        assert unknown.err.endswith("To see them: digitorn-testing pending\n")
        unknown = run("approve", "unknown", "--url", daemon.url)
        assert unknown.err.endswith(f"To see them: digitorn-testing pending --url {daemon.url}\n")
        ran = run("approve", request["request_id"][:8])
        assert (ran.status, ran.err) == (0, 'Approved: shell.bash {"command": "rm a"}\n')
        daemon.drain()
        assert "removed" in str(model.requests[-1].messages)

    def test_a_denial_says_why(self, run: Run, daemon: FakeDaemon, access: dict[str, str]) -> None:
        session = daemon.add_session(SessionBuilder(app_id="my-app").turn(ASKED))
        (request,) = run("pending", "--json").document
        with piped("tail", session.session_id, "--url", daemon.url, env=access) as process:
            assert process.stderr is not None
            assert session.session_id in process.stderr.readline()
            short = request["request_id"][:8]
            told = process.stderr.readline()
        url = f"--url {daemon.url}"
        assert told.strip() == (
            f"to decide: digitorn-testing approve {short} {url}; or digitorn-testing deny {short} {url}"
        )
        assert run("deny", request["request_id"], "-m", "not now", "--json").document["approved"] is False
        (again,) = run("pending", "--json").document
        assert again["description"] == "User denied: not now"

    def test_the_events_of_a_session(self, run: Run, daemon: FakeDaemon, model: FakeModel) -> None:
        assert "there is no session yet in these apps: my-app" in run("tail").err
        session = _made(daemon, model)
        ran = run("tail", session, "--until-idle")
        assert (ran.status, session in ran.err) == (0, True)
        types = [line.split()[2] for line in ran.out.splitlines()]
        assert types == [
            *("user_message", "tool_start", "tool_call"),
            *("token", "result", "turn_terminal"),
        ]
        assert "'There is one file.'" in ran.out
        # The one that was used last.
        assert run("tail", "--until-idle").out == ran.out
        every = run("tail", session, "--until-idle", "--all").out
        assert "message_done" in every
        events = run("tail", session, "--until-idle", "--json").documents
        (result,) = [one["seq"] for one in events if one["type"] == "result"]
        later = run("tail", session, "--until-idle", "--json", "--since", str(result)).documents
        kinds = {one["type"] for one in later}
        assert "turn_terminal" in kinds
        assert not {"user_message", "result"} & kinds

    def test_a_running_turn_is_followed_to_its_end(
        self, run: Run, daemon: FakeDaemon, model: FakeModel
    ) -> None:
        # Longer than the command waits for another event before it looks whether a turn runs.
        model.will_call_tool("Bash", {"command": "make"}, result="made", delay=0.8)
        model.will_respond_with_text("Made.")
        with daemon.client() as client:
            turn = client.start_turn(client.new_session("my-app"), "make it")
            out = run("tail", turn.session.session_id, "--until-idle").out
            assert turn.result().ok
        assert out.splitlines()[-1].endswith("turn_terminal       completed")

    def test_an_unknown_session(self, run: Run) -> None:
        ran = run("tail", "nothing", "--until-idle")
        assert ran.status == 1
        assert "no session 'nothing' in these apps: my-app" in ran.err

    def test_a_conversation_is_recorded_shown_and_replayed(
        self, run: Run, model: FakeModel, tmp_path: Path
    ) -> None:
        file = tmp_path / "chat.jsonl"
        model.will_call_tool("Bash", {"command": "ls"}, result="a.txt").will_respond_with_text("One file.")
        ran = run("record", "chat", "my-app", "--to", str(file), "-m", "list the files")
        assert (ran.status, ran.out) == (0, "One file.\n")
        assert f"recorded to {file}" in ran.err
        shown = run("show", str(file))
        assert [shown.out.split()[place] for place in (2, -2)] == ["user_message", "turn_terminal"]
        lines = run("show", str(file), "--json").documents
        assert {"tool_start", "tool_call", "result"} <= {one["type"] for one in lines}

        def use(served: Any) -> None:
            with DevClient.with_user(served["email"], served["password"], daemon_url=served["url"]) as client:
                session = client.open_session("my-app", served["sessions"][0])
                assert client.send(session, "list the files").content == "One file."

        _served(lambda: replay(file, port=0, as_json=True), use)

    def test_a_session_is_recorded_later(
        self, run: Run, daemon: FakeDaemon, model: FakeModel, tmp_path: Path
    ) -> None:
        file = tmp_path / "session.jsonl"
        session = _made(daemon, model)
        ran = run("record", "tail", session, "--to", str(file), "--until-idle")
        assert ran.status == 0
        assert run("show", str(file), "--session", session).out == ran.out
        assert f"recorded to {file}\n" in ran.err
        again = run("record", "tail", session, "--to", str(file), "--until-idle")
        assert f"added to {file} (1 session)\n" in again.err
        other = _made(daemon, model)
        again = run("record", "tail", other, "--to", str(file), "--until-idle")
        assert f"added to {file} (2 sessions)\n" in again.err

    def test_a_recording_that_fails_leaves_no_new_file(
        self, run: Run, daemon: FakeDaemon, model: FakeModel, tmp_path: Path
    ) -> None:
        file = tmp_path / "session.jsonl"
        assert run("record", "tail", "nothing", "--to", str(file), "--until-idle").status == 1
        assert run("record", "chat", "nobody", "--to", str(file), "-m", "hi").status == 1
        assert not file.exists()
        run("record", "tail", _made(daemon, model), "--to", str(file), "--until-idle")
        assert run("record", "chat", "nobody", "--to", str(file), "-m", "hi").status == 1
        assert file.exists()
        model.will_fail("rate_limited", "slow down")
        failed = tmp_path / "failed.jsonl"
        assert run("record", "chat", "my-app", "--to", str(failed), "-m", "hi").status == 1
        assert failed.exists()

    def test_a_page_that_cannot_be_written(
        self, run: Run, daemon: FakeDaemon, model: FakeModel, tmp_path: Path
    ) -> None:
        file = tmp_path / "session.jsonl"
        run("record", "tail", _made(daemon, model), "--to", str(file), "--until-idle")
        page = tmp_path / "nowhere" / "page.html"
        ran = run("report", str(file), "-o", str(page))
        assert (ran.status, ran.err) == (1, f"error: {page}: No such file or directory\n")

    def test_a_lost_connection_is_made_again(
        self, access: dict[str, str], daemon: FakeDaemon, model: FakeModel
    ) -> None:
        session = _made(daemon, model)
        with piped("tail", session, env=access) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert "user_message" in process.stdout.readline()
            assert session in process.stderr.readline()
            daemon.drop_connections()
            assert process.stderr.readline().startswith("connection lost: ")
            assert process.stderr.readline().startswith("connected again")
            model.will_respond_with_text("Here I am.")
            with daemon.client() as client:
                client.send(client.open_session("my-app", session), "Still there?")
            while "'Here I am.'" not in process.stdout.readline():
                assert process.poll() is None
            assert interrupted(process) == 0

    def test_the_shell_completes_apps(self, run: Run, daemon: FakeDaemon) -> None:
        daemon.add_app("your-app")
        asked = {"_DIGITORN_TESTING_COMPLETE": "complete_bash", "COMP_CWORD": "2"}
        ran = run(env={**asked, "COMP_WORDS": "digitorn-testing chat yo"})
        assert ran.out.split() == ["your-app"]
        ran = run(env={**asked, "COMP_WORDS": "digitorn-testing chat yo", "DIGITORN_TOKEN": "expired"})
        assert (ran.out.strip(), ran.err) == ("", "")


def _made(daemon: FakeDaemon, model: FakeModel) -> str:
    """A session with one turn."""
    model.will_call_tool("Bash", {"command": "ls"}, result="a.txt")
    model.will_stream_text(["There is ", "one file."])
    with daemon.client() as client:
        session = client.new_session("my-app")
        client.send(session, "list the files")
    return session.session_id


def test_a_scripted_daemon_is_served_until_ctrl_c(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text("app: greeter\nanswers:\n- will_respond_with_text: Hello.\n", encoding="utf-8")

    def use(served: Any) -> None:
        assert served["apps"] == ["greeter"]
        with DevClient.with_user(served["email"], served["password"], daemon_url=served["url"]) as client:
            assert client.chat("greeter", "hi").content == "Hello."

    _served(lambda: serve(str(script), port=0, as_json=True), use)


def test_a_served_daemon_ends_with_sigterm() -> None:
    def use(served: Any) -> None:
        with DevClient.with_user(served["email"], served["password"], daemon_url=served["url"]) as client:
            assert [one.app_id for one in client.list_apps()] == ["my-app"]

    _served(lambda: serve(port=0, as_json=True), use, signal.SIGTERM)


def _served(
    serve: Callable[[], None], use: Callable[[Any], None], ends: signal.Signals = signal.SIGINT
) -> None:
    """Serves in this thread, which Ctrl-C interrupts, and uses what is served in another one."""
    pool = ThreadPoolExecutor(1)
    used: list[Future[None]] = []

    def use_and_interrupt(said: str) -> None:
        try:
            use(json.loads(said))
        finally:
            interrupt_main(ends)

    class Announced(io.StringIO):
        def write(self, text: str, /) -> int:
            used.append(pool.submit(use_and_interrupt, text))
            return len(text)

    with pool, contextlib.redirect_stdout(Announced()):
        serve()
    (done,) = used
    done.result(0)


def test_a_port_that_is_taken(run: Run, daemon: FakeDaemon) -> None:
    ran = run("serve", "--port", str(daemon.port))
    assert ran.status == 1
    assert "--port 0 takes a free port" in ran.err


def test_errors_are_one_line_and_a_traceback_is_shown_on_request(run: Run) -> None:
    words = ("apps", "--url", "http://127.0.0.1:9")
    token = {"DIGITORN_TOKEN": "a-token-of-mine"}
    ran = run(*words, env=token)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("error: no daemon answered at http://127.0.0.1:9")
    assert "pass --url" in ran.err
    assert ran.err.count("\n") == 1
    for asked in (run("--debug", *words, env=token), run(*words, "--debug", env=token)):
        assert "Traceback (most recent call last)" in asked.err
        assert asked.err.endswith(ran.err)
        assert "a-token-of-mine" not in asked.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("apps", "--unknown"), "No such option"),
        (("apps", "--url", "ftp://daemon"), "must start with http://"),
        (("show", "nowhere.jsonl"), "does not exist"),
        (("serve", "nowhere.yaml"), "error: nowhere.yaml does not exist\n"),
        (("serve", "nowhere.py:make"), "error: nowhere.py does not exist\n"),
        (("login",), "no email on stdin; pass --email"),
        (("diff", __file__, "."), "a folder is compared with a folder"),
        (("diff", ".", __file__), "a folder is compared with a folder"),
    ],
)
def test_wrong_usage_has_a_status_of_its_own(run: Run, words: tuple[str, ...], said: str) -> None:
    ran = run(*words)
    assert (ran.status, ran.out) == (2, "")
    assert said in ran.err


def test_a_file_that_is_no_recording_and_one_that_is_damaged(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "file.jsonl"
    file.write_text("{}\n", encoding="utf-8")
    for words in (("show",), ("report",), ("replay",), ("diff", str(file))):
        ran = run(*words, str(file))
        assert (ran.status, ran.err) == (2, f"error: {file}: this is no recording\n")
    with FakeDaemon(listen=False) as daemon, daemon.client() as client:
        file.unlink()
        client.record(file).stop()
    file.write_bytes(file.read_bytes()[:-5])
    ran = run("show", str(file))
    assert ran.status == 0
    assert "warning: " in ran.err
    assert "it breaks off" in ran.err


def test_a_reader_that_leaves_early_is_no_error(
    run: Run, daemon: FakeDaemon, model: FakeModel, access: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "long.jsonl"
    model.will_stream_text(["word "] * 400)
    run("record", "chat", "my-app", "--to", str(file), "-m", "much")
    with piped("show", str(file), "--json", env={}) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(45) != 0
        told = process.stderr.read()
    assert "error" not in told.lower()
    assert "Traceback" not in told


def test_a_command_loads_what_it_needs(settings: Path) -> None:
    code = (
        "import sys; import digitorn_testing._cli.app;"
        "heavy = {'pydantic', 'httpx', 'aiohttp', 'fastapi', 'yaml'};"
        "print(*heavy & {one.split('.')[0] for one in sys.modules})"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=True)
    assert ran.stdout.strip() == ""
