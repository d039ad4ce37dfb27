"""The tests on the pages about pytest run, each alone, as pytest runs them."""

from pathlib import Path

import pytest

from digitorn_testing.fakes import FakeDaemon
from plugin.conftest import Run
from support.documents import examples

DOCS = Path(__file__).parents[2] / "docs"


def test_the_tests_of_the_pages(pytester: pytest.Pytester, run: Run, given: FakeDaemon) -> None:
    tests = [*examples(DOCS / "pytest.md"), examples(DOCS / "quickstart.md")[-1]]
    for number, example in enumerate(tests):
        (pytester.path / f"block_{number}.py").write_text(example.source, encoding="utf-8")
    given_one = (
        "--digitorn-url",
        given.url,
        "--digitorn-token",
        given.token(),
        "--digitorn-app",
        "their-app",
    )
    scenarios = ("--digitorn-scenarios", "*.py", "--digitorn-artifacts", "out")
    result = run(*scenarios, *given_one, "-v")
    # One test runs twice.
    result.assert_outcomes(passed=len(tests) + 1)
    result.stdout.fnmatch_lines(
        ["*::test_a_denied_tool PASSED*", "*::scenario_no_errors PASSED*", "*::test_lists_the_files PASSED*"]
    )
    assert [one.name for one in (pytester.path / "out").rglob("answer.txt")] == ["answer.txt"]
    run("--digitorn-scenarios", "block_4.py").assert_outcomes(skipped=1)
