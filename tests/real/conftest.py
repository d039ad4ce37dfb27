"""A real daemon of one's own, for tests that stop it. All other tests share that of the run."""

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
