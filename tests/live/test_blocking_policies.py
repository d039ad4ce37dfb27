"""A policy that blocks, in a process of its own: nothing hangs at the end of the interpreter."""

import subprocess
import sys

SCRIPT = """
import threading
from digitorn.testing import EventTimeout
from digitorn.testing.fakes import FakeDaemon, FakeModel

model = FakeModel().will_call_tool("Bash", {}, requires_approval=True)
with FakeDaemon(model=model, listen=False) as daemon, daemon.client() as client:
    daemon.add_app("my-app")
    session = client.new_session("my-app")
    turn = client.start_turn(session, "go", approvals=lambda one: threading.Event().wait())
    try:
        turn.result(timeout=0.3)
    except EventTimeout:
        print("timed out")
"""


def test_a_policy_that_never_returns_does_not_keep_the_interpreter_from_exiting() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stdout) == (0, "timed out\n"), ran.stderr
