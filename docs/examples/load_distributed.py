"""Runs `locustfile.py` on a Locust master and several workers, against the embedded daemon in this process.

Everything runs on loopback and ends by itself. The statistics are on stdout. The exit code is the master's.
"""

import argparse
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from digitorn.testing.fakes import FakeDaemon, FakeModel

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
APP = "load"
SECONDS_TO_STOP = 60.0


def scripted_model() -> FakeModel:
    """An answer for each task of the locustfile."""
    model = FakeModel()
    model.when(contains="How are you?").will_stream_text(
        ["I am well, ", "thank you, ", "and how are you ", "on this fine day?"], delay=0.05
    )
    model.when(contains="Read a.txt").will_call_tool(
        "Read", {"path": "a.txt"}, result={"text": "hello"}, requires_approval=True, text="Let me look. "
    )
    model.when(tool_result_of="Read").will_stream_text(
        ["It says ", "hello, ", "and nothing else."], delay=0.05
    )
    model.when(contains="Think hard").will_fail("rate_limited")
    return model


def free_port() -> int:
    """A port on loopback for the master."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def main() -> int:
    """Runs it; the exit code of the master."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()

    with FakeDaemon(model=scripted_model()) as daemon, ExitStack() as workers:
        daemon.add_app(APP)
        port = free_port()
        locust = [sys.executable, "-m", "locust", "--locustfile", str(LOCUSTFILE), "--loglevel", "WARNING"]
        settings = {**os.environ, "DIGITORN_APP": APP, "DIGITORN_TOKEN": daemon.token()}
        for _ in range(options.workers):
            worker = subprocess.Popen([*locust, "--worker", "--master-port", str(port)], env=settings)
            workers.callback(worker.wait, SECONDS_TO_STOP)
        master = subprocess.run(
            [
                *(*locust, "--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", str(port)),
                *("--headless", "--only-summary", "--host", daemon.url),
                *("--expect-workers", str(options.workers), "--expect-workers-max-wait", "60"),
                *("--users", str(options.users), "--spawn-rate", "10"),
                *("--run-time", str(options.seconds), "--stop-timeout", "10"),
                # Failures of turns are what is measured here, and no reason to fail.
                *("--exit-code-on-error", "0"),
            ],
            env=settings,
            timeout=options.seconds + 2 * SECONDS_TO_STOP,
            check=False,
        )
        return master.returncode


if __name__ == "__main__":
    sys.exit(main())
