"""What tests of the command line share: a command in this process, and a daemon that it talks to."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from typer.testing import CliRunner

from digitorn_testing._cli.app import app
from digitorn_testing.fakes import FakeDaemon
from support.fixtures import daemon, listens, model

__all__ = ["daemon", "listens", "model"]


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command did.

    Attributes:
        status: Its exit status.
        out: What it wrote to stdout.
        err: What it wrote to stderr.
    """

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """stdout as one JSON document."""
        return json.loads(self.out)

    @property
    def documents(self) -> list[Any]:
        """stdout as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


Run: TypeAlias = Callable[..., Ran]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's settings, empty, with no variable that names a daemon or a token."""
    for name in ("DEV_DAEMON_URL", "DAEMON_URL", "TOKEN", "APP"):
        monkeypatch.delenv(f"DIGITORN_{name}", raising=False)
    folder = tmp_path / "settings"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    monkeypatch.setenv("NO_COLOR", "1")
    return folder


@pytest.fixture
def run(settings: Path) -> Run:
    """Runs a command in this process."""

    def run(*words: str, stdin: str = "", env: dict[str, str] | None = None) -> Ran:
        result = CliRunner().invoke(app, words, input=stdin, env=env, prog_name="digitorn-testing")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def access(daemon: FakeDaemon, settings: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The variables that name the daemon and a token for it; they are set."""
    names = {"DIGITORN_DAEMON_URL": daemon.url, "DIGITORN_TOKEN": daemon.token()}
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    return names
