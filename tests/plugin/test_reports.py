"""What the report of a failure shows, and what the artifacts folder holds."""

import json
from functools import partial
from pathlib import Path

import pytest

from digitorn_testing import EventLog, Exchange, Recording
from digitorn_testing.fakes import FakeDaemon
from plugin.conftest import Run
from support.pages import read_page
from support.secrets_scan import scan

EVENTS = "*- digitorn: events -*"
APPROVALS = "*- digitorn: pending approvals -*"
EXCHANGES = "*- digitorn: last exchanges -*"

FAILING = """
    import pytest
    from digitorn.testing import LeaveOpen, NotFound
    from digitorn.testing.events import ApprovalRequest

    def test_fails(dev_client, fake_model, session):
        fake_model.will_call_tool("Bash", {"command": "rm x"}, requires_approval=True)
        turn = dev_client.start_turn(session, "tidy up", approvals=LeaveOpen())
        turn.wait_for(ApprovalRequest, timeout=10)
        with pytest.raises(NotFound):
            dev_client.list_sessions("nope")
        assert 1 == 2, "that is how it is"
"""


def folders(root: Path) -> dict[str, Path]:
    """The folders of tests, by the names of the tests."""
    return {
        report.parent.name.split("__")[-1].rpartition("-")[0]: report.parent
        for report in root.rglob("report.txt")
    }


def calls(folder: Path, name: str = "recording.jsonl") -> list[Exchange]:
    """The exchanges in a recording of an artifacts folder; none if there is no recording."""
    if not (folder / name).exists():
        return []
    recording = Recording.load(folder / name, damaged="raise")
    assert recording.is_complete
    return list(recording.exchanges)


def text_of(file: Path) -> str:
    """A file's text; of a page also what is compressed in it."""
    return read_page(file).everything if file.suffix == ".html" else file.read_text(encoding="utf-8")


def test_a_failure_shows_what_happened(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(FAILING)
    result = run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E*that is how it is",
            EVENTS,
            "*: * events",
            "*user_message *'tidy up'",
            '*approval_request *shell.bash {"command": "rm x"}',
            APPROVALS,
            '*: * shell.bash {"command": "rm x"}*',
            EXCHANGES,
            "DevClient 1, *: * exchanges, 1 of them shown",
            "* GET /api/apps/nope/sessions[?]* (list_sessions) 404 in * ms",
            "*<- {*nope*",
        ]
    )


def test_what_holds_and_what_uses_nothing_shows_nothing(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        def test_holds(dev_client, session): pass
        def test_fails(): assert False
        """
    )
    result = run("-rA", "--digitorn-artifacts", "out")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.no_fnmatch_line("*digitorn: *")
    assert set(folders(pytester.path / "out")) == {"test_fails"}


def test_the_exchanges_of_each_client_say_whose_they_are(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        from digitorn.testing import AsyncDevClient
        import asyncio

        def test_fails(dev_client, fake_daemon):
            async def other():
                async with fake_daemon.async_client() as client:
                    await client.api.auth.get_me()
            dev_client.api.auth.get_me()
            asyncio.run(other())
            with fake_daemon.client() as third:
                third.api.auth.get_me()
            assert False
        """
    )
    run("-vv").stdout.fnmatch_lines(
        [
            "DevClient 1, http://127.0.0.1:*: 1 exchange",
            "AsyncDevClient 2, http://127.0.0.1:*: 1 exchange",
            "DevClient 3, http://127.0.0.1:*: 1 exchange",
        ]
    )


@pytest.mark.parametrize("scope", ["function", "module"])
def test_tokens_that_a_daemon_makes_are_hidden(scope: str, pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        f"""
        import pytest
        from digitorn.testing.fakes import FakeDaemon

        @pytest.fixture(scope="{scope}")
        def daemon():
            with FakeDaemon() as made:
                yield made

        def test_before(daemon): pass

        def test_fails(daemon, dev_client, fake_model, session):
            token = daemon.token()
            with open("token", "w") as file:
                file.write(token)
            fake_model.will_respond_with_text("so be it")
            dev_client.send(session, f"my token is {{token}}", timeout=10)
            assert False
        """
    )
    # Captured logs are pytest's own; the packets in them are hidden by what the daemon that logs them knows.
    result = run("--digitorn-artifacts", "out", "--log-level=ERROR")
    result.assert_outcomes(passed=1, failed=1)
    token = (pytester.path / "token").read_text(encoding="utf-8")
    result.stdout.fnmatch_lines(["*user_message *my token is [*][*][*]*"])
    result.stdout.no_fnmatch_line(f"*my token is {token[:20]}*")
    written = [file for file in (pytester.path / "out").rglob("*") if file.is_file()]
    assert len(written) > 2
    assert not [file.name for file in written if token in text_of(file)]


def test_failures_of_setup_and_of_teardown(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def broken(dev_client, session):
            raise RuntimeError("in setup")

        @pytest.fixture
        def broken_later(dev_client, session):
            yield
            raise RuntimeError("in teardown")

        def test_setup(broken): pass
        def test_teardown(broken_later): assert False, "in the call"
        """
    )
    result = run("--digitorn-artifacts", "out")
    result.assert_outcomes(errors=2, failed=1)
    assert result.stdout.str().count("digitorn: last exchanges") == 0
    found = folders(pytester.path / "out")
    assert set(found) == {"test_setup", "test_teardown"}
    report = (found["test_teardown"] / "report.txt").read_text(encoding="utf-8")
    assert report.index("in the call") < report.index("in teardown")
    assert "in setup" in (found["test_setup"] / "report.txt").read_text(encoding="utf-8")


def test_a_client_that_tests_share_is_reported_by_what_each_did(
    pytester: pytest.Pytester, run: Run, given: FakeDaemon
) -> None:
    pytester.makepyfile(
        f"""
        import pytest
        from digitorn.testing import AsyncDevClient, DevClient

        @pytest.fixture(scope="module")
        def client():
            with DevClient.with_token({given.token()!r}, daemon_url={given.url!r}) as made:
                yield made

        @pytest.fixture(scope="module")
        def stream(client):
            session = client.new_session("their-app")
            with client.open_event_stream(session) as opened:
                yield opened

        def test_first(client, stream):
            client.search("their-app", "first")

        def test_uses_it(client, stream):
            client.search("their-app", "second")
            assert False

        def test_leaves_it_alone(client):
            assert False

        def test_made_elsewhere():
            def helper():
                with DevClient.with_token({given.token()!r}, daemon_url={given.url!r}) as made:
                    made.search("their-app", "third")
            helper()
            assert False
        """
    )
    result = run("--digitorn-artifacts", "out")
    result.assert_outcomes(passed=1, failed=3)
    found = folders(pytester.path / "out")
    asked = {
        name: [
            dict(one.query)["q"]
            for one in calls(folder)
            # The stream reads the log on its own.
            if one.operation == "search_sessions"
        ]
        for name, folder in found.items()
    }
    assert asked.pop("test_leaves_it_alone", []) == []
    assert asked == {"test_uses_it": ["second"], "test_made_elsewhere": ["third"]}
    # Nor is a stream shown that has brought nothing new.
    result.stdout.no_fnmatch_line(EVENTS)


def test_the_artifacts_of_a_failure(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(FAILING)
    run("--digitorn-artifacts", "out").assert_outcomes(failed=1)
    (folder,) = folders(pytester.path / "out").values()
    names = sorted(one.name for one in folder.iterdir())
    (events,) = [name for name in names if name.startswith("events-")]
    assert names == ["daemon-recording.jsonl", events, "recording.jsonl", "report.html", "report.txt"]
    lines = [json.loads(line) for line in (folder / events).read_text(encoding="utf-8").splitlines()]
    assert {"user_message", "approval_request"} <= {line["type"] for line in lines}
    log = EventLog.load(folder / "recording.jsonl")
    assert log.events_of("user_message")
    assert [one.tool_name for one in log.pending_approvals()] == ["shell.bash"]
    # The turn that is left open reads now and then how things stand; what else there is, the test has done.
    for file in ("recording.jsonl", "daemon-recording.jsonl"):
        operations = [one.operation for one in calls(folder, file)]
        reads = ("list_session_events", "get_session_state", "list_session_queue")
        assert [one for one in operations if one not in reads] == ["send_message", "list_sessions"], file
    report = (folder / "report.txt").read_text(encoding="utf-8")
    for said in ("::test_fails (call)", "that is how it is", "digitorn: events", "approval_request", "404"):
        assert said in report
    page = read_page(folder / "report.html")
    assert "AssertionError: that is how it is" in page.source and "::test_fails (call)" in page.source
    assert [kind for kind, _, _ in page.notes] == ["waits"]
    assert {"user_message", "approval_request", "send_message", "list_sessions"} <= set(page.column("type"))
    # A run of its own writes it anew.
    stale = folder / "stale.jsonl"
    stale.write_text("", encoding="utf-8")
    run("--digitorn-artifacts", str(pytester.path / "out")).assert_outcomes(failed=1)
    assert not stale.exists()
    assert (folder / "report.txt").read_text(encoding="utf-8").count("(call)") == 1


def test_no_secret_gets_out(pytester: pytest.Pytester, run: Run, given: FakeDaemon) -> None:
    token, password = given.token(), "correct horse battery"
    given.add_user("me@example.com", password)
    pytester.makepyfile(
        f"""
        import pytest
        from digitorn.testing import DevClient
        from digitorn.testing.fakes import FakeModel

        def test_it(dev_client, session):
            token = dev_client._get_auth_token()
            dev_client.send(session, "my token is " + token, timeout=10)
            dev_client.send(session, "my password is {password}", timeout=10)
            with DevClient.with_user("me@example.com", "{password}", daemon_url={given.url!r}) as other:
                other.search("their-app", other._get_auth_token())
                with open("tokens.txt", "w") as file:
                    file.write(other._get_auth_token())
            raise AssertionError("with " + token)
        """
    )
    options = ("--digitorn-url", given.url, "--digitorn-app", "their-app", "--digitorn-artifacts", "out")
    result = run(*options, "--digitorn-token", token)
    result.assert_outcomes(failed=1)
    # The test itself says it; what this package adds does not.
    _, _, added = result.stdout.str().partition("digitorn: events")
    others = (pytester.path / "tokens.txt").read_text(encoding="utf-8")
    files = {file.name: text_of(file) for file in (pytester.path / "out").rglob("*.*") if file.is_file()}
    (events,) = [name for name in files if name.startswith("events-")]
    assert sorted(files) == [events, "recording.jsonl", "report.html", "report.txt"]
    assert "my token is ***" in "".join(files.values())
    shown = added.partition("short test summary")[0]
    for text in (shown, *files.values()):
        for secret in (token, others, password):
            assert secret not in text


def test_no_token_gets_out_with_everything_shown(
    pytester: pytest.Pytester, run: Run, given: FakeDaemon
) -> None:
    token = given.token()
    pytester.makepyfile(
        """
        import logging
        import pytest

        @pytest.fixture(autouse=True)
        def loud():
            names = (None, "httpx", "httpcore2", "engineio.client", "socketio.client", "digitorn.testing")
            before = {one: logging.getLogger(one).level for one in names}
            for one in names:
                logging.getLogger(one).setLevel(1)
            yield
            for one, level in before.items():
                logging.getLogger(one).setLevel(level)

        def test_refused(dev_client):
            dev_client.list_sessions("nope")

        def test_stream(dev_client, session, live_stream):
            dev_client.send(session, "hi", timeout=10)
            live_stream.wait_for("no:such", timeout=0.01)
        """
    )
    options = ("--digitorn-url", given.url, "--digitorn-app", "their-app", "--digitorn-artifacts", "out")
    shown = (
        "--showlocals",
        "--log-level=1",
        "--log-file=all.log",
        "--log-file-level=1",
        "--junitxml=junit.xml",
    )
    result = run(*options, *shown, "-vv", "-o", "junit_logging=all", "--digitorn-token", token)
    result.assert_outcomes(failed=2)
    files = {
        str(file.relative_to(pytester.path)): text_of(file)
        for file in pytester.path.rglob("*")
        if file.suffix in (".log", ".xml", ".txt", ".jsonl", ".html")
    }
    assert {"all.log", "junit.xml"} < set(files)
    places = {**files, "the output": result.stdout.str() + result.stderr.str()}
    assert "Sending packet" in places["all.log"]
    scan([token], {name: partial(str, text) for name, text in places.items()})


def shown(result: pytest.RunResult, test: str) -> list[str]:
    """The report of one test."""
    _, _, rest = result.stdout.str().partition(f" {test} ___")
    return rest.partition("\n____")[0].partition("\n====")[0].splitlines()


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for more than the names of tests in the summary."""
    monkeypatch.setenv("COLUMNS", "250")


@pytest.mark.usefixtures("wide")
def test_only_frames_of_the_test_are_shown(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        import asyncio, json
        import pytest
        from digitorn.testing import DevClient
        from digitorn.testing.events import ToolCall

        def test_blocking(dev_client, session):
            dev_client.get_app("nope")

        def test_threads(dev_client, fake_model, session):
            fake_model.will_never_answer()
            dev_client.send(session, "hi", timeout=0.3)

        async def asked(daemon):
            async with daemon.async_client() as client:
                await client.get_app("nope")

        def test_async(fake_daemon):
            asyncio.run(asked(fake_daemon))

        def broken(event):
            return json.loads("{")

        def test_callback(dev_client, session, live_stream):
            dev_client.send(session, "hi", timeout=10)
            live_stream.wait_for("result", where=broken, timeout=5)

        def test_hangs(fake_daemon, dev_client, session):
            fake_daemon.faults.calls(path="*/messages").hang()
            dev_client.send(session, "hi", timeout=0.3)

        def test_nothing_was_made():
            DevClient("127.0.0.1:8000")
        """
    )
    result = run()
    result.assert_outcomes(failed=6)
    text = result.stdout.str()
    for hidden in (
        "digitorn_testing/",
        "digitorn_testing._",
        "asyncio/",
        "httpx",
        "direct cause",
        "are hidden",
    ):
        assert hidden not in text.partition("short test summary")[0], hidden
    # What the test itself does below a call of the library stays, and so does what it calls.
    assert any("in broken" in line or "def broken" in line for line in shown(result, "test_callback"))
    assert any("json" in line and "JSONDecodeError" in line for line in shown(result, "test_callback"))
    assert any('get_app("nope")' in line for line in shown(result, "test_async"))
    result.stdout.fnmatch_lines(
        [
            "FAILED *::test_blocking - NotFound: App 'nope' *",
            "FAILED *::test_threads - EventTimeout: *",
            "FAILED *::test_hangs - EventTimeout: *",
        ]
    )
    assert any(
        "digitorn.testing.EventTimeout: the turn did not end within 0.3 s: no answer to POST " in line
        for line in shown(result, "test_hangs")
    )
    hung = "\n".join(shown(result, "test_hangs"))
    assert "session's log could not be read either" in hung
    # The call that hung is in the table beside the one that had no time left.
    assert hung.index("(send_message) no answer in ") < hung.index("(list_session_events) no answer in ")
    assert hung.rstrip().endswith("the time was used up before") or "the time was used up before\n" in hung
    everything = run("--full-trace", "-k", "test_blocking").stdout.str()
    assert "digitorn_testing/_transport/" in everything


@pytest.mark.usefixtures("wide")
def test_an_assertion_says_first_what_went_wrong_in_the_turn(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        from digitorn.testing import DenyAll

        def test_provider(dev_client, fake_model, session):
            fake_model.will_fail("rate_limited", "slow down")
            assert dev_client.send(session, "go", timeout=10).content == "Hello."

        def test_denied(dev_client, fake_model, session):
            fake_model.will_call_tool("Bash", {"command": "ls"}, requires_approval=True)
            fake_model.will_respond_with_text("Then not.")
            result = dev_client.send(session, "go", timeout=10, approvals=DenyAll("not today"))
            assert result.tool_calls[0].success

        def test_script(dev_client, fake_model, session):
            fake_model.when(contains="weather").will_respond_with_text("Sunny.")
            assert dev_client.send(session, "time?", timeout=10).content == "Noon."

        def test_fine(dev_client, fake_model, session):
            fake_model.will_fail("rate_limited", "slow down").will_respond_with_text("Hi.")
            dev_client.send(session, "go", timeout=10)
            assert dev_client.send(session, "again", timeout=10).content == "Hello."

        def test_unnoticed(dev_client, fake_model, session):
            dev_client.send(session, "time?", timeout=10)
        """
    )
    result = run()
    # The script is not complained about a second time where the test has failed.
    result.assert_outcomes(passed=1, failed=4, errors=1)
    first = {
        test: next(line for line in shown(result, test) if line.startswith("E "))
        for test in ("test_provider", "test_denied", "test_script", "test_fine")
    }
    assert first["test_provider"].endswith("(rate_limited: slow down)")
    assert first["test_denied"].endswith(": shell.bash was denied: not today")
    assert (
        "the turn failed: no scripted answer matches user 'time?': when(contains='weather') did not match, "
        "and nothing is queued" in first["test_script"]
    )
    # It failed in an earlier turn, which this assertion is not about.
    assert first["test_fine"].endswith("assert 'Hi.' == 'Hello.'")
    assert any("tried when(contains='weather')" in line for line in shown(result, "test_script"))
    result.stdout.fnmatch_lines(
        ["ERROR *::test_unnoticed - ScriptMismatch: no scripted answer matches user *"]
    )


def test_a_refused_argument_shows_only_the_call(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        from digitorn.testing import DevClient

        def test_it():
            DevClient.with_token("t", daemon_url="127.0.0.1:8000")
        """
    )
    result = run()
    result.stdout.fnmatch_lines(["E *must start with http:// or https://"])
    result.stdout.no_fnmatch_line("*resolve_daemon_url*")


def test_a_broken_event_is_said_in_the_error(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        from digitorn.testing.events import ToolCall

        def test_it(fake_daemon, session, live_stream):
            fake_daemon.publish(session, ToolCall.model_construct(id="c-1", name=5))
            live_stream.wait_for(ToolCall, timeout=0.5)
        """
    )
    result = run("-W", "ignore")
    result.stdout.fnmatch_lines(
        ["E *EventTimeout: no ToolCall within 0.5 s: 1 tool_call * (#1): name is 5, must be a string; *"]
    )


LONG = "word " * 200


@pytest.mark.parametrize(
    "assertion",
    [
        "assert assertions.contains_text([], LONG)",
        "assert assertions.contains_text([], LONG), 'words of ones own'",
        "check = assertions.contains_text([], LONG); assert check",
        "helper(assertions.contains_text([], LONG))",
        "assert assertions.no_errors([]) and assertions.contains_text([], LONG)",
    ],
)
def test_the_whole_detail_of_a_check_is_shown(pytester: pytest.Pytester, run: Run, assertion: str) -> None:
    pytester.makepyfile(
        f"""
        from digitorn.testing import assertions
        from digitorn.testing.assertions import Check

        LONG = {LONG!r}

        def helper(check: Check) -> None:
            assert check

        def test_it():
            unused = Check(False, "another one")
            {assertion}
        """
    )
    result = run()
    result.assert_outcomes(failed=1)
    detail = f"expected text with {LONG!r}, saw ''"
    assert detail in result.stdout.str()
    assert result.stdout.str().count("another one") == 1
    # Once is enough, and pytest's own words are still there.
    run("-vv").stdout.fnmatch_lines(["E*assert*Check(ok=False*"])
    if "own" in assertion:
        result.stdout.fnmatch_lines(["E *words of ones own"])


def test_other_failures_are_left_as_they_are(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        from digitorn.testing.assertions import Check

        def test_it():
            check = Check(False, "not asked for")
            assert check.ok is None or 1 == 2

        def test_that_says_it_already():
            check = Check(False, "said once")
            assert check, check.detail
        """
    )
    result = run("--tb=short", "--show-capture=no", "-q")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["E*said once"])
    errors = [line for line in result.stdout.lines if line.startswith("E  ")]
    assert not [line for line in errors if line.split("E", 1)[1].strip() == "not asked for"]
    assert len([line for line in errors if line.endswith("said once")]) == 1


@pytest.mark.timeout(300)  # processes take their time on a busy machine
def test_under_xdist_no_artifacts_clash(pytester: pytest.Pytester, run: Run, xdist: tuple[str, ...]) -> None:
    body = """
        import pytest

        @pytest.mark.parametrize("number", [1, "a/b", "a:b"])
        def test_it(dev_client, session, number):
            dev_client.search("my-app", f"{number}")
            assert False, number
        """
    pytester.makepyfile(test_one=body, test_two=body)
    # Each process runs every test. Processes that share them are in the tests of scenarios.
    result = run(*xdist, "--tx", "2*popen", "--dist", "each", "--digitorn-artifacts", "out")
    result.assert_outcomes(failed=12)
    result.stdout.fnmatch_lines(["*- digitorn: artifacts -*", "*test_*-????????"])
    out = pytester.path / "out"
    written = list(out.rglob("report.txt"))
    assert len(written) == 12
    assert {one.parent.parent.name for one in written} == {"gw0", "gw1"}
    for report in written:
        # Nothing of another test got in.
        assert [one.operation for one in calls(report.parent)] == ["search_sessions"]
    asked = [str(calls(one.parent)[0].query) for one in written]
    assert sorted(map(asked.count, set(asked))) == [4] * 3
