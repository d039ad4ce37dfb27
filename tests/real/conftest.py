"""A real daemon of one's own, for tests that stop it, and the summary of the comparison of both daemons."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from digitorn_testing._real.daemon import RealDaemon


@pytest.fixture(scope="module")
def own_daemon(pytestconfig: pytest.Config) -> Iterator[RealDaemon]:
    """A daemon that the tests of one file may restart and kill."""
    root = pytestconfig.invocation_params.dir / str(pytestconfig.getoption("--digitorn-real-dir"))
    with RealDaemon(Path(root)) as daemon:
        yield daemon


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Shows the summary that a test left, whichever process ran it."""
    reports = [one for some in terminalreporter.stats.values() for one in some]
    for report in reports:
        for name, text in getattr(report, "user_properties", ()):
            if name == "comparison" and getattr(report, "when", "") == "call":
                terminalreporter.section("the embedded daemon compared with the released one")
                terminalreporter.write_line(text)
