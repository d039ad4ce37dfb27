"""`digitorn_testing.load` in Locust, as processes of their own: Locust patches the standard library.

`make load-distributed` runs these; Locust is not installed for the other tests.
"""

import csv
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from digitorn_testing.fakes import FakeDaemon, FakeModel

pytestmark = pytest.mark.timeout(180)

APP = "load"
SECONDS = 120.0

USER = """
import itertools, time
import gevent, psutil
from locust import constant, events, task
from digitorn.testing import DenyAll
from digitorn.testing.load import DigitornUser

@events.quit.add_listener
def say_what_is_left(**_):
    print("open connections:", len(psutil.Process().net_connections("tcp")))

ENDED = itertools.count(1)
BEGUN = time.monotonic()

@events.init.add_listener
def stop_in_time(environment, **_):
    @events.request.add_listener
    def count(request_type, name, **_):
        if request_type == "turn" and not name.endswith("first token") and next(ENDED) == {turns}:
            print("seconds:", time.monotonic() - BEGUN)
            gevent.spawn(environment.runner.quit)

class Talker(DigitornUser):
    wait_time = constant(0)

    @task(1)
    def talk(self):
        {body}
"""


class Load:
    """Runs Locust against a daemon."""

    def __init__(self, folder: Path, daemon: FakeDaemon) -> None:
        self.folder = folder
        self.daemon = daemon

    def command(self, body: str, *options: str, turns: int = 0) -> list[str]:
        locustfile = self.folder / "locustfile.py"
        locustfile.write_text(USER.format(body=body, turns=turns), encoding="utf-8")
        return [
            *(sys.executable, "-W", "error::ResourceWarning", "-m", "locust", "-f", str(locustfile)),
            *("--headless", "--only-summary", "--host", self.daemon.url, "--csv", str(self.folder / "out")),
            *("--reset-stats", "--exit-code-on-error", "0", *options),
        ]

    @property
    def settings(self) -> dict[str, str]:
        return {**os.environ, "DIGITORN_APP": APP, "DIGITORN_TOKEN": self.daemon.token()}

    def run(self, body: str, *options: str, turns: int) -> str:
        """Runs it until so many turns have ended; what it printed."""
        ran = subprocess.run(
            self.command(body, *options, turns=turns),
            env=self.settings,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        said = ran.stdout + ran.stderr
        assert ran.returncode == 0, said
        assert "Traceback" not in said
        return said

    def rows(self, which: str = "stats") -> list[dict[str, str]]:
        """A table of statistics."""
        text = (self.folder / f"out_{which}.csv").read_text(encoding="utf-8")
        return list(csv.DictReader(text.splitlines()))

    def row(self, kind: str, name: str) -> dict[str, str]:
        """One row of the statistics."""
        return next(one for one in self.rows() if (one["Type"], one["Name"]) == (kind, name))


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def load(tmp_path: Path, model: FakeModel) -> Iterator[Load]:
    with FakeDaemon(model=model) as daemon:
        daemon.add_app(APP)
        yield Load(tmp_path, daemon)


def test_fifty_users_do_not_block_each_other(load: Load, model: FakeModel) -> None:
    # Each turn takes a second of pure waiting; one after another, a hundred would take a hundred seconds.
    model.will_stream_text(["It takes ", "a second ", "until this ", "is all said."], delay=0.33, times=None)
    said = load.run('self.turn("hi", name="chat")', "--users", "50", "--spawn-rate", "10", turns=100)
    seconds = re.search(r"seconds: ([\d.]+)", said)
    assert seconds is not None
    assert float(seconds[1]) < 50
    turns, first = load.row("turn", "chat"), load.row("turn", "chat: first token")
    assert int(turns["Failure Count"]) == 0
    assert float(first["Median Response Time"]) < float(turns["Median Response Time"]) - 600


def test_statistics_of_approvals_and_failures(load: Load, model: FakeModel) -> None:
    model.when(contains="rm").will_call_tool("Bash", {"command": "rm"}, requires_approval=True)
    model.when(tool_result_of="Bash").will_respond_with_text("As you wish.")
    model.when(contains="think").will_fail("rate_limited")
    model.when(contains="wait").will_never_answer()
    body = """
        assert self.turn("rm", approvals=DenyAll("no")).ok
        assert not self.turn("think", name="thinking").ok
        self.turn_timeout = 0.5
        self.session = self.client.new_session(self.app_id)
        self.turn("wait", name="waiting")
        raise AssertionError("the task goes on after an error")
    """.strip()
    # Statistics are reset when the second user has started; until then the first has up to six turns.
    load.run(body, "--users", "2", turns=15)
    approval = load.row("approval", APP)
    assert int(approval["Request Count"]) == int(load.row("turn", APP)["Request Count"]) > 0
    assert int(approval["Failure Count"]) == 0
    failures = {
        (one["Name"], re.sub(r"\d\.\d+ s|[\d.]+ seconds", "N s", one["Error"]))
        for one in load.rows("failures")
    }
    assert {name for name, _ in failures} == {"thinking", "waiting"}
    assert len(failures) == 2, failures
    by_name = dict(failures)
    assert by_name["thinking"].startswith("failed: Rate limited")
    assert by_name["waiting"].startswith("EventTimeout: ")


@pytest.mark.parametrize("stop", ["run time", "Ctrl-C"])
def test_stopping_ends_turns_and_closes_clients(load: Load, model: FakeModel, stop: str) -> None:
    model.will_stream_forever(["and so on "], delay=0.2, times=None)
    body = 'self.turn("hi", name="chat", session=self.client.new_session(self.app_id))'
    options = ("--users", "5", "--spawn-rate", "5", *(("--run-time", "15s") if stop == "run time" else ()))
    with subprocess.Popen(
        load.command(body, *options),
        env=load.settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as ran:
        model.wait_for_requests(5, timeout=SECONDS)
        if stop == "Ctrl-C":
            ran.send_signal(signal.SIGINT)
        said, _ = ran.communicate(timeout=SECONDS)
    assert ran.returncode == 0, said
    assert "Traceback" not in said
    assert "ResourceWarning" not in said
    assert "open connections: 0" in said
    load.daemon.drain(timeout=10)
    assert [one for one in load.daemon.sessions if one.turn is not None] == []


def test_the_fixture_session_is_ours_beside_that_of_locust(tmp_path: Path) -> None:
    test = tmp_path / "test_it.py"
    test.write_text(
        "def test_it(session): assert type(session).__name__ == 'SessionHandle'", encoding="utf-8"
    )
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert "1 passed" in ran.stdout, ran.stdout + ran.stderr
