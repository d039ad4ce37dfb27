"""Runs commands of `digitorn-testing`: in this process, as processes with pipes, or on a terminal."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
from typer.testing import CliRunner

from digitorn_testing._cli.app import app

_MAIN: Final = "from digitorn_testing._cli import main; main()"
# A terminal interrupts what it belongs to.
_ON_TERMINAL: Final = f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); {_MAIN}"
_SECONDS: Final = 45.0
_ESCAPE: Final = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


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


@contextmanager
def piped(*words: str, env: Mapping[str, str]) -> Generator["subprocess.Popen[str]"]:
    """A command whose stdout and stderr are pipes.

    Args:
        words: The command and its arguments.
        env: Further environment variables.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", _MAIN, *words],
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def interrupted(process: "subprocess.Popen[str]") -> int:
    """Interrupts a command as Ctrl-C does, and gives its exit status.

    Args:
        process: The command.
    """
    process.send_signal(signal.SIGINT)
    return process.wait(_SECONDS)


class OnTerminal:
    """A command on a terminal.

    Args:
        words: The command and its arguments.
        env: Further environment variables.

    Attributes:
        seen: What it wrote so far, with escape sequences.
    """

    def __init__(self, *words: str, env: Mapping[str, str]) -> None:
        # Windows has no such terminals.
        import pty

        self.seen = b""
        self._end, terminal = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _ON_TERMINAL, *words],
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", **env},
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
        os.close(terminal)

    @property
    def text(self) -> str:
        """What it wrote so far, without escape sequences."""
        return _ESCAPE.sub(b"", self.seen).decode("utf-8", "replace").replace("\r", "")

    def expect(self, text: str) -> None:
        """Waits until it has written a text, and takes everything up to there as read.

        Args:
            text: The text.
        """
        deadline = time.monotonic() + _SECONDS
        while text not in self.text:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} did not come; the terminal shows:\n{self.text}"
            self._read(left)

    def type(self, keys: str) -> None:
        """Presses keys.

        Args:
            keys: The keys; `\\x03` is Ctrl-C, and `\\x04` Ctrl-D.
        """
        self.seen = b""
        os.write(self._end, keys.encode())

    def status(self) -> int:
        """Waits for its end, and gives its exit status."""
        deadline = time.monotonic() + _SECONDS
        while self._process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end; the terminal shows:\n{self.text}"
            # It blocks when nobody reads what it writes.
            self._read(0.1)
        return self._process.returncode

    def _read(self, seconds: float) -> None:
        ready, _, _ = select.select([self._end], [], [], seconds)
        if ready:
            try:
                self.seen += os.read(self._end, 65536)
            except OSError:
                # That is how Linux says that nobody has the other end any more.
                self._process.wait(_SECONDS)

    def __enter__(self) -> "OnTerminal":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._end)
