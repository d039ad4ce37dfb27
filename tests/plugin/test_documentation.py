"""The tests on the page about pytest run, as pytest runs them."""

import re
from pathlib import Path

import pytest

from digitorn_testing.fakes import FakeDaemon
from plugin.conftest import Run

PAGE = Path(__file__).parents[2] / "docs" / "pytest.md"


def test_the_tests_of_the_page(pytester: pytest.Pytester, run: Run, given: FakeDaemon) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    earlier = ""
    for number, block in enumerate(blocks):
        (pytester.path / f"block_{number}.py").write_text(earlier + block, encoding="utf-8")
        # Later blocks go on with what is imported, and not with the fixtures.
        earlier += "".join(
            f"{line}\n" for line in block.splitlines() if line.startswith(("from ", "import "))
        )
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
    # One block is not a test, and one test runs twice.
    result.assert_outcomes(passed=len(blocks))
    result.stdout.fnmatch_lines(["*::test_a_denied_tool PASSED*", "*::scenario_no_errors PASSED*"])
    assert [one.name for one in (pytester.path / "out").rglob("answer.txt")] == ["answer.txt"]
    run("--digitorn-scenarios", "block_4.py").assert_outcomes(skipped=1)
