"""Runs of pytest with the plugin, beside the one that these tests are in."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Protocol

import pytest

import digitorn_testing.pytest_plugin as plugin
from digitorn_testing.fakes import FakeDaemon, FakeModel

# Locust's plugin, where it is installed, replaces threads and sockets of the process by those of gevent.
OPTIONS = (
    *("-p", plugin.__name__),
    *("-p", "no:randomly", "-p", "no:schemathesis", "-p", "no:cacheprovider", "-p", "no:locust"),
)


class Run(Protocol):
    """Runs pytest in its folder."""

    def __call__(self, *args: str) -> pytest.RunResult: ...


@pytest.fixture(autouse=True)
def _no_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever daemon this run is told of is none of those runs'."""
    for name in ("DEV_DAEMON_URL", "DAEMON_URL", "TOKEN", "APP"):
        monkeypatch.delenv(f"DIGITORN_{name}", raising=False)


class Imported:
    """What runs have imported, as a plugin of them.

    A run in this process takes back what it imported, and `pytester` does at its end. Libraries that came
    with it must not be imported a second time: others hold on to their classes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._libraries: dict[str, ModuleType] = {}

    def pytest_unconfigure(self) -> None:
        """Notes it before it is taken back."""
        for name, module in list(sys.modules.items()):
            if not Path(getattr(module, "__file__", None) or self._folder).is_relative_to(self._folder):
                self._libraries[name] = module

    def keep(self) -> None:
        """Puts the libraries back."""
        for name, module in self._libraries.items():
            sys.modules.setdefault(name, module)


@pytest.fixture(autouse=True)
def imported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Imported]:
    """What the runs of a test import. Before `pytester` begins, so that it ends after it."""
    noted = Imported(tmp_path_factory.getbasetemp())
    yield noted
    noted.keep()


@pytest.fixture
def run(pytester: pytest.Pytester, imported: Imported) -> Run:
    """Runs pytest with the plugin, with warnings as errors."""
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n")

    def run(*args: str) -> pytest.RunResult:
        result = pytester.runpytest(*OPTIONS, *args, plugins=[imported])
        imported.keep()
        return result

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
