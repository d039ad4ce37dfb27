"""The interpreter exits whatever is open, and whoever waits."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from digitorn_testing import Recording

_EXIT_SECONDS = 5.0
_SECONDS = 50.0

_BLOCKING = """
import sys, threading, time
from digitorn.testing.fakes import FakeDaemon, FakeModel

kept = []


def never():
    blocked.release()
    threading.Event().wait()


blocked = threading.Semaphore(0)
daemons = [FakeDaemon(listen=listen).start() for listen in (True, False)]
for daemon in daemons:
    model = FakeModel().will_stream_text(["hello"])
    model.will_call_tool("Bash", {}, requires_approval=True)
    daemon.add_app("my-app", model=model)
    client = daemon.client()
    client.record(sys.argv[1])
    session = client.new_session("my-app")
    client.send(session, "hi", timeout=20)
    # Open streams, a callback that does not return, a policy that does not decide, a wait that goes on.
    streams = [client.open_event_stream(session) for _ in range(3)]
    kept.append((client, streams))
    streams[0].on("user_message")(lambda event: never())
    client.start_turn(session, "again", approvals=lambda request: never())
    threading.Thread(target=streams[1].wait_for, args=("tool_call",), daemon=True).start()
for _ in range(4):
    assert blocked.acquire(timeout=20)
print(time.time(), flush=True)
raise SystemExit(7)
"""

_ASYNCHRONOUS = """
import asyncio, sys, time
from digitorn.testing.fakes import FakeDaemon, FakeModel


async def never(event):
    blocked.set()
    await asyncio.Event().wait()


async def main():
    global kept, blocked
    blocked = asyncio.Event()
    daemon = FakeDaemon().start()
    daemon.add_app("my-app", model=FakeModel().will_stream_text(["hello"]).will_never_answer())
    client = daemon.async_client()
    client.record(sys.argv[1])
    session = await client.new_session("my-app")
    await client.send(session, "hi", timeout=20)
    streams = [await client.open_event_stream(session) for _ in range(3)]
    streams[0].on("user_message")(never)
    turn = await client.start_turn(session, "again")
    waiting = asyncio.create_task(streams[1].wait_for("tool_call"))
    await asyncio.wait_for(blocked.wait(), 20)
    kept = daemon, client, streams, turn, waiting
    print(time.time(), flush=True)


asyncio.run(main())
raise SystemExit(7)
"""


@pytest.mark.parametrize("script", [_BLOCKING, _ASYNCHRONOUS], ids=["blocking", "asynchronous"])
def test_the_interpreter_exits_with_everything_open(script: str, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    ended = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
        # In development mode Python tells what was left open, and here everything was.
        env={**os.environ, "PYTHONDEVMODE": ""},
    )
    now = time.time()
    assert (ended.returncode, ended.stderr) == (7, "")
    assert now - float(ended.stdout) < _EXIT_SECONDS
    # Whatever was written can be read.
    recording = Recording.load(path, damaged="raise")
    assert not recording.is_complete
    assert recording.sessions


def test_a_killed_process_leaves_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    script = """
import os, signal, sys
from digitorn.testing.fakes import FakeDaemon, FakeModel

daemon = FakeDaemon(listen=False).start()
daemon.add_app("my-app", model=FakeModel().will_stream_text(["hello"]))
client = daemon.client()
client.record(sys.argv[1])
client.send(client.new_session("my-app"), "hi", timeout=20)
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", script, str(path)], timeout=_SECONDS, check=False)
    assert ended.returncode == -9
    recording = Recording.load(path, damaged="raise")
    assert not recording.is_complete
    assert recording.log().turn_result().content == "hello"
