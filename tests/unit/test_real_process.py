"""A guarded process ends, with all that it started, whatever becomes of its holder."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from digitorn_testing._real.errors import RealDaemonNotRunning
from digitorn_testing._real.process import GuardedProcess

SECONDS = 20.0

# Says who it is when it and a child of its own are ready, and ends by a signal only.
PARENT = """
import os, signal, sys, time
def say(text):
    with open(sys.argv[1], "a") as file:
        file.write(text + "\\n")
if os.fork() == 0:
    say(f"child {os.getpid()}")
else:
    say(f"parent {os.getpid()}")
    if "stubborn" in sys.argv:
        signal.signal(signal.SIGTERM, lambda *_: say("asked to end"))
    else:
        signal.signal(signal.SIGTERM, lambda *_: (say("ended"), sys.exit(0)))
    say("ready")
while True:
    time.sleep(60)
"""

HOLDER = """
import os, sys
from pathlib import Path
from digitorn_testing._real.process import GuardedProcess
folder = Path(sys.argv[1])
process = GuardedProcess(
    [sys.executable, "-c", sys.argv[2], str(folder / "said")],
    environment=dict(os.environ), folder=folder, log=folder / "log",
)
print("started", flush=True)
sys.stdin.readline()
{end}
"""


def started(folder: Path, *options: str, grace: float = SECONDS) -> GuardedProcess:
    """The parent, when it is ready."""
    process = GuardedProcess(
        [sys.executable, "-c", PARENT, str(folder / "said"), *options],
        environment=dict(os.environ),
        folder=folder,
        log=folder / "log",
        grace=grace,
    )
    said_all(folder)
    return process


def said_all(folder: Path) -> dict[str, int]:
    """Process ids of the parent and its child, when both are ready."""
    deadline = time.monotonic() + SECONDS
    while True:
        lines = said(folder)
        named = {name: int(pid) for name, _, pid in map(_parts, lines) if pid.isdecimal()}
        if "ready" in lines and len(named) == 2:
            return named
        assert time.monotonic() < deadline, lines
        time.sleep(0.01)


def _parts(line: str) -> tuple[str, str, str]:
    return line.partition(" ")


def said(folder: Path) -> list[str]:
    """What the parent and its child have said."""
    path = folder / "said"
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def all_end(folder: Path) -> bool:
    """Whether the parent and its child end."""
    deadline = time.monotonic() + SECONDS
    while any(is_running(pid) for pid in said_all(folder).values()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def is_running(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    for line in said(tmp_path):
        pid = line.rpartition(" ")[2]
        if pid.isdecimal() and is_running(int(pid)):
            os.kill(int(pid), signal.SIGKILL)


def test_it_is_asked_to_end_and_its_children_are_killed(tmp_path: Path) -> None:
    process = started(tmp_path)
    assert not process.has_ended()
    assert process.pid == said_all(tmp_path)["parent"]
    process.stop()
    assert "ended" in said(tmp_path)
    assert all_end(tmp_path)
    process.stop()


def test_one_that_does_not_end_is_killed(tmp_path: Path) -> None:
    process = started(tmp_path, "stubborn", grace=0.2)
    process.stop()
    assert "asked to end" in said(tmp_path)
    assert all_end(tmp_path)


def test_a_crash_gives_it_no_time(tmp_path: Path) -> None:
    process = started(tmp_path)
    process.kill()
    assert process.has_ended()
    assert "ended" not in said(tmp_path)
    assert all_end(tmp_path)
    process.kill()


def test_one_that_ends_by_itself_leaves_nothing(tmp_path: Path) -> None:
    process = started(tmp_path)
    os.kill(process.pid, signal.SIGKILL)
    assert process.has_ended(within=SECONDS)
    assert all_end(tmp_path)


@pytest.mark.noisy("Traceback")
@pytest.mark.parametrize(
    "end",
    [
        "os.kill(os.getpid(), 9)",
        "os._exit(0)",
        "os.kill(os.getpid(), 15)",
        "sys.exit()",
        "raise ValueError",
        "Ctrl-C",
    ],
)
def test_it_ends_with_its_holder(tmp_path: Path, end: str) -> None:
    holding = HOLDER.format(end="" if end == "Ctrl-C" else end)
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", holding, str(tmp_path), PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"started\n"
        said_all(tmp_path)
        if end == "Ctrl-C":
            holder.send_signal(signal.SIGINT)
        holder.communicate(b"\n", timeout=SECONDS)
    assert all_end(tmp_path)


def test_one_that_cannot_be_started(tmp_path: Path) -> None:
    with pytest.raises(RealDaemonNotRunning, match="absent could not be started"):
        GuardedProcess(
            [str(tmp_path / "absent")],
            environment=dict(os.environ),
            folder=tmp_path,
            log=tmp_path / "log",
        )
    assert "FileNotFoundError" in (tmp_path / "log").read_text(encoding="utf-8")
