"""What tests of the released daemon share: one that they may stop, a proxy that loses calls, a summary."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from digitorn_testing import DevClient
from digitorn_testing._real.daemon import RealDaemon
from support.call_proxy import CallProxy, call_proxy


@pytest.fixture(scope="module")
def own_daemon(pytestconfig: pytest.Config) -> Iterator[RealDaemon]:
    """A daemon that the tests of one file may restart and kill."""
    root = pytestconfig.invocation_params.dir / str(pytestconfig.getoption("--digitorn-real-dir"))
    with RealDaemon(Path(root)) as daemon:
        yield daemon


@pytest.fixture
def proxy(dev_client: DevClient) -> Iterator[CallProxy]:
    """A proxy before the run's daemon, which loses calls and answers."""
    port = urlsplit(dev_client.daemon_url).port
    assert port is not None
    with call_proxy(port) as opened:
        yield opened


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Shows the summary that a test left, whichever process ran it."""
    reports = [one for some in terminalreporter.stats.values() for one in some]
    for report in reports:
        for name, text in getattr(report, "user_properties", ()):
            if name == "comparison" and getattr(report, "when", "") == "call":
                terminalreporter.section("the embedded daemon compared with the released one")
                terminalreporter.write_line(text)
