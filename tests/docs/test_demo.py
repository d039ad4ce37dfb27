"""The demo runs as `make demo` runs it."""

import os
import subprocess
import sys
from pathlib import Path

from digitorn_testing.fakes import FakeDaemon, FakeModel

ROOT = Path(__file__).parents[2]


def demo(**environment: str) -> subprocess.CompletedProcess[str]:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("DIGITORN_")}
    return subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "docs" / "examples" / "demo.py")],
        env={**outside, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_against_the_embedded_daemon() -> None:
    ran = demo()
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "approval_request" in ran.stdout
    assert "answer: There are three: README.md, schema and src." in ran.stdout
    assert ran.stdout.count("PASS") == 4
    assert "FAIL" not in ran.stdout + ran.stderr


def test_against_a_daemon_of_ones_own() -> None:
    model = FakeModel().will_call_tool("Bash", {"command": "ls"}, result={}, requires_approval=True)
    with FakeDaemon(model=model.will_respond_with_text("Three.")) as daemon:
        url = daemon.url
        ran = demo(DIGITORN_DAEMON_URL=url, DIGITORN_TOKEN=daemon.token())
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"daemon: {url}" in ran.stdout
    assert "answer: Three." in ran.stdout


def test_what_does_not_hold_fails() -> None:
    with FakeDaemon(model=FakeModel().will_respond_with_text("No tool.")) as daemon:
        ran = demo(DIGITORN_DAEMON_URL=daemon.url, DIGITORN_TOKEN=daemon.token())
        assert ran.returncode == 1
        assert "FAIL  order" in ran.stdout
        ran = demo(DIGITORN_DAEMON_URL=daemon.url)
        assert ran.returncode == 1
        assert "answered 401" in ran.stderr
