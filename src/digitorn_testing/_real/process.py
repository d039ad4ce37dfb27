"""A process that never outlives this one."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from .errors import RealDaemonNotRunning

_GUARD: Final = Path(__file__).with_name("guard.py")
_EXTRA_SECONDS: Final = 5.0
_TAIL_LINES: Final = 20


class GuardedProcess:
    """A running command with its process group. It ends with this process at the latest, also by SIGKILL.

    Args:
        command: Program and arguments.
        environment: All its environment variables.
        folder: Its working directory.
        log: File that its output is appended to.
        grace: Seconds between SIGTERM and SIGKILL.

    Raises:
        RealDaemonNotRunning: It could not be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        log: Path,
        grace: float = 10.0,
    ) -> None:
        self._log = log
        self._grace = grace
        with log.open("ab") as output:
            self._guard = subprocess.Popen(
                # It needs the standard library alone, and starts faster so.
                [sys.executable, "-I", "-S", str(_GUARD), str(grace), *command],
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                # Ctrl-C in a terminal goes to this process alone, which then ends it in order.
                start_new_session=True,
            )
        assert self._guard.stdout is not None
        with self._guard.stdout as first:
            line = first.readline()
        if not line:
            self.stop()
            raise RealDaemonNotRunning(f"{command[0]} could not be started:\n{self.tail()}")
        self.pid = int(line)

    def has_ended(self, within: float = 0.0) -> bool:
        """Whether it has ended.

        Args:
            within: Seconds to wait for that.
        """
        try:
            self._guard.wait(within)
        except subprocess.TimeoutExpired:
            return False
        self._let_go()
        return True

    def tail(self) -> str:
        """The last lines of its log."""
        text = self._log.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-_TAIL_LINES:])

    def stop(self) -> None:
        """Ends it and its group: SIGTERM, and SIGKILL when that takes too long. May be called again."""
        self._let_go()
        if not self.has_ended(within=self._grace + _EXTRA_SECONDS):
            self._kill_group()
            self._guard.kill()
            self._guard.wait()

    def kill(self) -> None:
        """Ends it and its group by SIGKILL, as a crash does."""
        if not self.has_ended():
            self._kill_group()
        self.stop()

    def _let_go(self) -> None:
        """Has the guard end it."""
        if self._guard.stdin is not None:
            self._guard.stdin.close()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
