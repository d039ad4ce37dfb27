"""The daemon's own virtual environment."""

import errno
import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from digitorn_testing._concurrency.deadlines import sleep

from .errors import RealDaemonUnavailable
from .python import VARIABLE, find_python

REQUIREMENTS: Final = Path(__file__).with_name("requirements.txt")
"""The pinned distributions."""

_STAMP: Final = ".installed"
_LOCK_POLL_SECONDS: Final = 0.2
_OUTPUT_LINES: Final = 15


def ignore(message: str) -> None:
    """Reports progress to nobody."""


class Environment:
    """A virtual environment with the released daemon, in a folder that may be shared between processes.

    Args:
        folder: Where it is, or is to be.
        requirements: What is installed, without dependencies.
    """

    def __init__(self, folder: Path, requirements: Path = REQUIREMENTS) -> None:
        self.folder = folder.absolute()
        self._venv = self.folder / "venv"
        self._requirements = requirements

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.program("python")

    def program(self, name: str) -> Path:
        """A program in it.

        Args:
            name: What it is called.
        """
        return self._venv / "bin" / name

    def prepare(self, timeout: float = 900.0, say: Callable[[str], None] = ignore) -> None:
        """Installs it, unless that was done before.

        An interrupted or outdated installation is replaced. When several processes prepare the same folder,
        one installs and the others wait.

        Args:
            timeout: Seconds for everything.
            say: Takes messages about the progress.

        Raises:
            RealDaemonUnavailable: There is no suitable Python, or the installation failed or took too long.
        """
        if self.is_complete():
            return
        deadline = time.monotonic() + timeout
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.locked(deadline):
            if not self.is_complete():
                self._install(deadline, say)

    def is_complete(self) -> bool:
        """Whether everything is installed."""
        # The interpreter is a link, which leads nowhere when the Python that it came from was removed.
        if not self.python.exists():
            return False
        try:
            return (self._venv / _STAMP).read_text(encoding="utf-8") == self._mark()
        except FileNotFoundError:
            return False

    def _mark(self) -> str:
        # The scripts in it name its path, so that a folder that was moved has to be installed again.
        content = self._requirements.read_bytes() + os.fsencode(self._venv)
        return hashlib.sha256(content).hexdigest()

    @contextmanager
    def locked(self, deadline: float) -> Generator[None]:
        """Keeps other processes from installing.

        Args:
            deadline: Moment on the monotonic clock until which to wait for another one.

        Raises:
            RealDaemonUnavailable: Another one still installs then.
        """
        with (self.folder / "lock").open("wb") as file:
            while True:
                try:
                    # The system releases it when the process ends, however that ends.
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError as error:
                    if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN):
                        raise
                if time.monotonic() >= deadline:
                    raise RealDaemonUnavailable(f"another process is still installing in {self.folder}")
                sleep(_LOCK_POLL_SECONDS)
            yield

    def _install(self, deadline: float, say: Callable[[str], None]) -> None:
        base = find_python()
        say(f"installing the released daemon in {self.folder} with {base}")
        began = time.monotonic()
        shutil.rmtree(self._venv, ignore_errors=True)
        self._run(deadline, base, "-I", "-m", "venv", str(self._venv))
        pip = ("-I", "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
        self._run(deadline, self.python, *pip, "--no-deps", "-r", str(self._requirements))
        (self._venv / _STAMP).write_text(self._mark(), encoding="utf-8")
        say(f"installed in {time.monotonic() - began:.0f} s")

    def _run(self, deadline: float, program: Path, *arguments: str) -> None:
        # Constraints are for another environment: that of whoever runs the tests.
        environment = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
        try:
            ran = subprocess.run(
                [str(program), *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=max(0.0, deadline - time.monotonic()),
            )
        except subprocess.TimeoutExpired as error:
            raise RealDaemonUnavailable(f"installing in {self.folder} took too long") from error
        if ran.returncode:
            said = "\n".join(ran.stdout.strip().splitlines()[-_OUTPUT_LINES:])
            raise RealDaemonUnavailable(
                f"installing in {self.folder} failed. If there is no wheel for this Python, "
                f"set ${VARIABLE} to a CPython 3.12.\n{said}"
            )
