"""Runs a command, and ends it with its whole process group when the standard input of this process closes.

    python guard.py GRACE_SECONDS COMMAND...

Whoever starts it holds the other end of that pipe. The system closes it when the holder ends, even by
SIGKILL, so the command never outlives its holder. The first line on standard output is the command's process
id, which is also its group's; the command's own output goes to standard error.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from types import FrameType


def main() -> int:
    """The command's exit status."""
    grace, command = float(sys.argv[1]), sys.argv[2:]
    # Whoever wants to end the command closes the pipe; a guard that ended first would leave it alone.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _do_nothing)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True)
    os.write(sys.stdout.fileno(), f"{child.pid}\n".encode())

    def end() -> None:
        # Not through a buffer: the interpreter could not end while another thread reads from that.
        while os.read(sys.stdin.fileno(), 1024):
            pass
        child.terminate()
        try:
            child.wait(grace)
        except subprocess.TimeoutExpired:
            _kill_group(child.pid)

    threading.Thread(target=end, daemon=True).start()
    status = child.wait()
    # What the command started may still run.
    _kill_group(child.pid)
    return status


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Handles a signal. One that is ignored instead would be ignored by the command as well."""


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
