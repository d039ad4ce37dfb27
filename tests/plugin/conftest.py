"""Runs of pytest with the plugin, beside the one that these tests are in."""

import os
from collections.abc import Iterator
from typing import Protocol

import pytest

import digitorn.testing.pytest_plugin as plugin
from digitorn.testing.fakes import FakeDaemon, FakeModel

OPTIONS = ("-p", plugin.__name__, "-p", "no:randomly", "-p", "no:schemathesis", "-p", "no:cacheprovider")


class Run(Protocol):
    """Runs pytest in its folder."""

    def __call__(self, *args: str) -> pytest.RunResult: ...


@pytest.fixture(autouse=True)
def _no_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever daemon this run is told of is none of those runs'."""
    for name in ("DEV_DAEMON_URL", "DAEMON_URL", "TOKEN", "APP"):
        monkeypatch.delenv(f"DIGITORN_{name}", raising=False)


@pytest.fixture
def run(pytester: pytest.Pytester) -> Run:
    """Runs pytest with the plugin, with warnings as errors."""
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n")

    def run(*args: str) -> pytest.RunResult:
        return pytester.runpytest(*OPTIONS, *args)

    return run


@pytest.fixture
def xdist(monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """The options of runs in several processes, which load no plugin that they do not need."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return ("-p", "xdist.plugin", "-c", os.devnull, "--rootdir=.", "-W", "error")


@pytest.fixture
def given() -> Iterator[FakeDaemon]:
    """A daemon that is not the plugin's own, with the app `their-app`."""
    model = FakeModel().will_respond_with_text("theirs", times=None)
    with FakeDaemon(model=model) as daemon:
        daemon.add_app("their-app")
        yield daemon
