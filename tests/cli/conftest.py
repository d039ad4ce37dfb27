"""What tests of the command line share: a command in this process, and a daemon that it talks to."""

from pathlib import Path

import pytest

from digitorn_testing.fakes import FakeDaemon
from support.commands import run, settings
from support.fixtures import daemon, listens, model

__all__ = ["daemon", "listens", "model", "run", "settings"]


@pytest.fixture
def access(daemon: FakeDaemon, settings: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The variables that name the daemon and a token for it; they are set."""
    names = {"DIGITORN_DAEMON_URL": daemon.url, "DIGITORN_TOKEN": daemon.token()}
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    return names
