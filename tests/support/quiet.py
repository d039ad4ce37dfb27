"""Fails a run in which a library underneath complains: on stderr, in a log, or in a process of a test.

Three places are looked at: what pytest captures of each test, which includes processes that inherit stderr;
the stderr of processes whose output a test reads; and the stderr of this process and of pytest-xdist's
workers outside of tests, up to the end of the workers.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Generator
from typing import IO, Final

import pytest

NOISE: Final = re.compile(
    r"event loop is closed|packet queue is empty|task was destroyed|exception was never retrieved"
    r"|traceback \(most recent call last\)|unclosed |resourcewarning|exception ignored in|exception in thread"
    r"|fatal python error|never awaited",
    re.IGNORECASE,
)
"""What libraries and Python itself write when something was left behind."""

MARKER: Final = "noisy(pattern): lines that are found by the pattern are what the test is about"

_RECORD: Final = re.compile(r"[A-Z]+ +(\S+?):\S+:\d+ ")


def noise_in(text: str) -> list[str]:
    """The lines of a text that are noise.

    Args:
        text: What was written to stderr.
    """
    return [line for line in text.splitlines() if NOISE.search(line)]


def logged_by_libraries(text: str) -> str:
    """What of a captured log is not logged by this library, which does log tracebacks of callbacks.

    Args:
        text: The log, as pytest shows it.
    """
    kept: list[str] = []
    is_ours = False
    for line in text.splitlines():
        if record := _RECORD.match(line):
            is_ours = record[1].startswith("digitorn")
        if not is_ours:
            kept.append(line)
    return "\n".join(kept)


class Quiet:
    """The check of one process, as a plugin."""

    def __init__(self) -> None:
        self._of_processes: list[str] = []
        self._outside: list[str] = []
        self._stderr: IO[bytes] | None = None
        self._kept = -1

    # --- each test

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Fails a test in which something complained."""
        report = yield
        sections = dict(report.sections)
        texts = [
            sections.get(f"Captured stderr {call.when}", ""),
            logged_by_libraries(sections.get(f"Captured log {call.when}", "")),
            *self._of_processes,
        ]
        self._of_processes.clear()
        allowed: list[str] = [str(mark.args[0]) for mark in item.iter_markers("noisy")]
        found = [
            line for line in noise_in("\n".join(texts)) if not any(re.search(one, line) for one in allowed)
        ]
        if found and report.passed:
            report.outcome = "failed"
            report.longrepr = "\n".join(["noise on stderr or in a log:", *found])
        return report

    def ended(self, stderr: object) -> None:
        """Notes what a process has written to stderr.

        Args:
            stderr: Text or bytes; None if nobody reads it.
        """
        if isinstance(stderr, bytes):
            stderr = stderr.decode("utf-8", "replace")
        if isinstance(stderr, str) and stderr:
            self._of_processes.append(stderr)

    # --- outside of tests

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Sends stderr to a file, which the workers that start next inherit."""
        if hasattr(session.config, "workerinput") or session.config.getoption("capture") == "no":
            return
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the end of the run
        self._kept = os.dup(2)
        os.dup2(self._stderr.fileno(), 2)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fails the run if something was written; the workers have ended."""
        if self._stderr is None:
            return
        os.dup2(self._kept, 2)
        os.close(self._kept)
        self._stderr.seek(0)
        self._outside = self._stderr.read().decode("utf-8", "replace").splitlines()
        self._stderr.close()
        if self._outside and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Shows what was written."""
        if self._outside:
            terminalreporter.section("stderr outside of tests, which should be empty", red=True)
            for line in self._outside:
                terminalreporter.write_line(line)


def watch(config: pytest.Config) -> None:
    """Begins to look, in this process.

    Args:
        config: The run.
    """
    config.addinivalue_line("markers", MARKER)
    quiet = Quiet()
    config.pluginmanager.register(quiet, "quiet")
    original = subprocess.Popen[bytes].communicate

    def communicate(
        process: "subprocess.Popen[bytes]", input: bytes | None = None, timeout: float | None = None
    ) -> tuple[bytes, bytes]:
        output = original(process, input, timeout)
        quiet.ended(output[1])
        return output

    # Every way to run a process to its end comes to this method.
    setattr(subprocess.Popen, original.__name__, communicate)
    config.add_cleanup(lambda: setattr(subprocess.Popen, original.__name__, original))
