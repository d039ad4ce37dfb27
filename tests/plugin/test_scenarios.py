"""Files of scenarios: functions that say whether they hold."""

import json
from pathlib import Path

import pytest

from digitorn_testing.fakes import FakeDaemon
from plugin.conftest import Run

SCENARIOS = """
    from digitorn.testing import assertions

    def scenario_answers(client, fake_model, session):
        fake_model.will_respond_with_text("hello")
        result = client.send(session, "hi", timeout=10)
        return result.content == "hello", "answered " + result.content

    def scenario_calls_a_tool(client, fake_model, session):
        fake_model.will_respond_with_text("no tool at all")
        with client.send_live(session, "go", 10) as stream:
            check = assertions.tool_called(stream.events(), "Bash")
            return check.ok, check.detail, {"answer": stream.turn_result().content, "events": stream.events()}

    def run(client):
        return assertions.no_errors([])

    def test_as_pytest_has_it(client):
        assert client.daemon_url

    def helper(value):
        return value
"""


def collected(result: pytest.RunResult) -> list[str]:
    """The names of what was run."""
    return [
        line.partition("::")[2].partition(" ")[0]
        for line in result.stdout.lines
        if "::" in line and "%]" in line
    ]


def test_a_file_of_scenarios(pytester: pytest.Pytester, run: Run) -> None:
    pytester.mkdir("scenarios")
    pytester.makepyfile(**{"scenarios/first": SCENARIOS})
    pytester.makepyfile(test_other="def test_it(): pass")
    result = run("--digitorn-scenarios", "scenarios/*.py", "-v")
    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(["expected a call of Bash, saw 0; tool calls: no tool call"])
    result.stdout.fnmatch_lines(["*digitorn: events*", "*token *'no tool at all'"])
    # The file has no traceback of the plugin's to show.
    result.stdout.no_fnmatch_line("*_judge*")
    assert collected(result) == [
        "scenario_answers",
        "scenario_calls_a_tool",
        "run",
        "test_as_pytest_has_it",
        "test_it",
    ]
    # Without the option it is a file like any other.
    run().assert_outcomes(passed=1)


def test_files_that_pytest_would_not_visit(pytester: pytest.Pytester, run: Run) -> None:
    pytester.mkdir("elsewhere")
    pytester.mkdir("tests")
    pytester.makepyfile(**{"elsewhere/first": SCENARIOS, "tests/test_other": "def test_it(): pass"})
    options = ("--digitorn-scenarios", "elsewhere/*.py")
    run(*options, "tests").assert_outcomes(passed=4, failed=1)
    # However it is named, each runs once.
    run(*options, "elsewhere/first.py").assert_outcomes(passed=3, failed=1)
    run(*options, "elsewhere/first.py::run").assert_outcomes(passed=1)
    result = run("--digitorn-scenarios", "nowhere/*.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*no Python file matches --digitorn-scenarios nowhere/[*].py*"])


@pytest.mark.timeout(300)  # processes take their time on a busy machine
def test_scenarios_in_several_processes(pytester: pytest.Pytester, run: Run, xdist: tuple[str, ...]) -> None:
    pytester.mkdir("elsewhere")
    pytester.mkdir("tests")
    pytester.makepyfile(**{"elsewhere/first": SCENARIOS, "tests/test_other": "def test_it(): pass"})
    folder = ("--digitorn-artifacts", "out")
    result = run(*xdist, "-n", "2", *folder, "--digitorn-scenarios", "elsewhere/*.py", "tests")
    result.assert_outcomes(passed=4, failed=1)
    (report,) = (pytester.path / "out").rglob("report.txt")
    assert report.parent.parent.name in ("gw0", "gw1")


def test_scenario_files_by_the_configuration(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(first="def checks(client): return False, 'seen'", test_other="def test_it(): pass")
    settings = ("-o", "digitorn_scenarios=*irst.py", "-o", "digitorn_scenario_functions=check*")
    result = run(*settings)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["seen"])
    run(*settings, "test_other.py").assert_outcomes(passed=1)


def test_scenarios_that_are_coroutine_functions(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        first="""
        async def scenario_holds(client, fake_model, session):
            fake_model.will_respond_with_text("hello")
            result = await client.send(session, "hi", timeout=10)
            return result.content == "hello", result.content

        async def scenario_does_not(client):
            return False, "said why", {"note": "kept"}
        """
    )
    for options in (
        ["-o", "asyncio_mode=strict"],
        ["-o", "asyncio_mode=auto"],
        ["-p", "no:asyncio", "-c", "/dev/null"],
    ):
        result = run(
            "--digitorn-scenarios", "first.py", "--rootdir=.", "--digitorn-artifacts", "out", *options
        )
        result.assert_outcomes(passed=1, failed=1)
        result.stdout.fnmatch_lines(["said why"])
    assert {one.read_text(encoding="utf-8") for one in (pytester.path / "out").rglob("note.txt")} == {"kept"}


@pytest.mark.parametrize(
    "returned",
    ["None", "True", "'text'", "(True,)", "('no', 'detail')", "(True, 'a', 'b', 'c')", "[True, '']"],
)
def test_what_is_no_outcome_fails(pytester: pytest.Pytester, run: Run, returned: str) -> None:
    pytester.makepyfile(first=f"def scenario_it(): return {returned}")
    result = run("--digitorn-scenarios", "first.py")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["scenario scenario_it must return (ok, detail) or (ok, detail, artifacts)*it returned *"]
    )


def test_a_scenario_that_does_not_say_why(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(first="def scenario_it(): return False, ''")
    run("--digitorn-scenarios", "first.py").stdout.fnmatch_lines(["scenario scenario_it does not hold*"])


def artifacts(root: Path) -> dict[str, str]:
    """What scenarios gave back, by file name."""
    return {file.name: file.read_text(encoding="utf-8") for file in root.rglob("artifacts/*")}


def test_artifacts_of_scenarios(pytester: pytest.Pytester, run: Run, given: FakeDaemon) -> None:
    token = given.token()
    pytester.makepyfile(
        first="""
        import dataclasses, pathlib

        @dataclasses.dataclass
        class Figures:
            count: int

        def scenario_of_all_kinds(client, session):
            token = client._get_auth_token()
            with client.send_live(session, token, 10) as stream:
                path = pathlib.Path("written.log")
                path.write_text("file " + token)
                return True, "", {
                    "text": "text " + token,
                    "page.html": "<p>",
                    "bytes": ("bytes " + token).encode(),
                    "events": stream.events(),
                    "stream": stream,
                    "json": {"token": token, "figures": Figures(1), "accepted": client.get_session(session)},
                    "path": path,
                    "gone": pathlib.Path("gone.log"),
                    "../up": "stays below",
                }

        def scenario_files(client):
            pathlib.Path("one.log").write_text("one")
            return True, "", ["one.log"]

        def scenario_number():
            return False, "", 7
        """
    )
    options = ("--digitorn-url", given.url, "--digitorn-token", token, "--digitorn-app", "their-app")
    run("--digitorn-scenarios", "first.py", "--digitorn-artifacts", "out", *options).assert_outcomes(
        passed=2, failed=1
    )
    found = artifacts(pytester.path / "out")
    assert found.keys() == {
        "text.txt",
        "page.html",
        "bytes.bin",
        "events.jsonl",
        "stream.jsonl",
        "json.json",
        "path.log",
        "gone.txt",
        "_up.txt",
        "one.log",
        "artifacts.json",
    }
    assert found["text.txt"] == "text ***"
    assert found["bytes.bin"] == "bytes ***"
    assert found["path.log"] == "file ***"
    assert found["one.log"] == "one"
    assert found["artifacts.json"] == "7\n"
    assert found["events.jsonl"] == found["stream.jsonl"]
    assert "message_done" in found["events.jsonl"]
    written = json.loads(found["json.json"])
    assert (written["token"], written["figures"]) == ("***", {"count": 1})
    assert written["accepted"]["app_id"] == "their-app"
    for file in (pytester.path / "out").rglob("*"):
        assert not file.is_file() or token not in file.read_text(encoding="utf-8")
    assert not list(pytester.path.glob("*up*"))
    # Without a folder nothing is written.
    before = set(pytester.path.iterdir())
    run("--digitorn-scenarios", "first.py", *options).assert_outcomes(passed=2, failed=1)
    assert set(pytester.path.iterdir()) == before
