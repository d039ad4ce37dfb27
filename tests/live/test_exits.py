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

_KEEP = "kept = daemon, client, streams, turn, waiting"
_ASYNCHRONOUS = f"""
import asyncio, gc, sys, time
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
    {_KEEP}
    print(time.time(), flush=True)


asyncio.run(main())
gc.collect()
raise SystemExit(7)
"""


_LEFT = _ASYNCHRONOUS.replace(_KEEP, "")
"""All of it is collected when the coroutine has ended, while its event loop ends."""

_SCRIPTS = {"blocking": _BLOCKING, "asynchronous": _ASYNCHRONOUS, "asynchronous, collected": _LEFT}


@pytest.mark.parametrize("script", _SCRIPTS.values(), ids=_SCRIPTS)
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


def test_ctrl_c_at_any_moment_leaves_a_client_that_works() -> None:
    script = """
import os, random, signal, threading, time
from digitorn.testing.fakes import FakeDaemon, FakeModel

model = FakeModel()
model.when(lambda request: True).will_respond_with_text("hello")
daemon = FakeDaemon().start()
daemon.add_app("my-app", model=model)
client = daemon.client(timeout=20)
session = client.chat("my-app", "hi").session
is_armed = threading.Event()


def interrupt():
    while True:
        is_armed.wait()
        time.sleep(random.random() * 0.02)
        if is_armed.is_set():
            is_armed.clear()
            os.kill(os.getpid(), signal.SIGINT)


def stream():
    with client.open_event_stream(session) as opened:
        opened.wait_for("user_message", timeout=20)


threading.Thread(target=interrupt, daemon=True).start()
for call in [client.api.apps.list_apps, lambda: client.send(session, "more"), stream] * 4:
    try:
        is_armed.set()
        while is_armed.is_set():
            call()
        time.sleep(1)
    except KeyboardInterrupt:
        assert client.send(session, "again", timeout=20).content == "hello"
        assert [app.app_id for app in client.api.apps.list_apps()] == ["my-app"]
client.close()
daemon.stop()
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
