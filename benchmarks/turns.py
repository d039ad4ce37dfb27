"""What a turn takes beside the daemon's own time, and how long a test takes on the embedded daemon."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from digitorn_testing import DevClient, TurnResult, assertions
from digitorn_testing.events import (
    ApprovalRequest,
    ApprovalResolved,
    MessageDone,
    MessageStarted,
    Token,
    ToolCall,
    UserMessage,
)
from digitorn_testing.fakes import FakeDaemon, FakeModel

from .measuring import ROOT, Cost, median, of
from .report import Goal, Section

_APP: Final = "bench"
_ASKS: Final = "asks"
_TURNS: Final = 30
_TOKENS: Final = 2000
_DELAY: Final = 0.1
"""Seconds that a turn waits: long enough for the client to have joined the session by then."""

_DAEMON: Final = f"""
import sys
from digitorn.testing.fakes import FakeDaemon, FakeModel

with FakeDaemon(keep_exchanges=0) as daemon:
    daemon.add_app({_APP!r}, model=FakeModel().will_stream_text(["Done", "."], delay={_DELAY}, times=None))
    asks = FakeModel()
    for _ in range({2 * _TURNS}):
        asks.will_call_tool("Read", {{"path": "a"}}, result="a", delay={_DELAY})
        asks.will_call_tool("Bash", {{"command": "ls"}}, requires_approval=True)
        asks.will_respond_with_text("Done.")
    daemon.add_app({_ASKS!r}, model=asks)
    print(daemon.url, daemon.token(), flush=True)
    sys.stdin.read()
"""


@contextmanager
def _daemon() -> Generator[tuple[str, str]]:
    """An embedded daemon in a process of its own: its URL, and a token for it."""
    with subprocess.Popen(
        [sys.executable, "-c", _DAEMON], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url, _, token = process.stdout.readline().strip().partition(" ")
        # Leaving closes its input, which ends it.
        yield url, token


def _moment(result: TurnResult, kind: type[object]) -> float:
    """When the daemon sent the event of a class."""
    event = next(one for one in result.events if isinstance(one.payload, kind))
    assert event.ts is not None
    return datetime.fromisoformat(event.ts).timestamp()


def _sent_last(result: TurnResult) -> float:
    return max(datetime.fromisoformat(one.ts).timestamp() for one in result.events if one.ts)


def _waits(turns: int) -> tuple[Sequence[float], Sequence[float]]:
    """Seconds from the daemon's last event of a turn until `chat` returns, and from a request for approval
    until the daemon says that it is resolved."""
    returned: list[float] = []
    resolved: list[float] = []
    with _daemon() as (url, token), DevClient.with_token(token, daemon_url=url) as client:
        for number in range(turns + 3):
            result = client.chat(_APP, "go", timeout=30)
            late = time.time() - _sent_last(result)
            asked = client.chat(_ASKS, "go", timeout=30)
            took = _moment(asked, ApprovalResolved) - _moment(asked, ApprovalRequest)
            # The first ones build what is built once.
            if number >= 3:
                returned.append(late)
                resolved.append(took)
    return returned, resolved


def a_test(client: DevClient, model: FakeModel) -> None:
    """What a test of an app does.

    Args:
        client: A client.
        model: The model of its daemon.
    """
    model.will_call_tool("Bash", {"command": "ls"}, result={"stdout": "a"}).will_stream_text(
        ["There is ", "one file."]
    )
    turn = client.start_turn(client.new_session(_APP), "list the files")
    events = list(turn)
    assert assertions.event_order(events, [UserMessage, MessageStarted, ToolCall, Token, MessageDone])
    assert turn.result().content == "There is one file."


def a_long_answer(client: DevClient, model: FakeModel) -> None:
    """Reads a long streamed answer event by event.

    Args:
        client: A client.
        model: The model of its daemon.
    """
    model.will_stream_text(["more words "] * _TOKENS)
    turn = client.start_turn(client.new_session(_APP), "go on")
    assert sum(isinstance(event.payload, Token) for event in turn) == _TOKENS


def _tests(listen: bool, rounds: int) -> dict[str, Cost]:
    """The figures of one way to reach the embedded daemon."""
    found: dict[str, list[Cost]] = {}

    def note(name: str, work: Callable[[], object]) -> None:
        found.setdefault(name, []).append(of(work))

    for _ in range(rounds):
        model = FakeModel()
        daemon = FakeDaemon(model=model, listen=listen)
        note("daemon starts", daemon.start)
        daemon.add_app(_APP)
        with daemon.client() as client:
            note("first test on it", lambda: a_test(client, model))  # noqa: B023 - called at once
            note("second test on it", lambda: a_test(client, model))  # noqa: B023 - as above
            note(f"a turn of {_TOKENS} tokens", lambda: a_long_answer(client, model))  # noqa: B023 - as above
        note("daemon stops", daemon.stop)
    return {name: median(costs) for name, costs in found.items()}


def measure(rounds: int) -> Section:
    """Measures turns.

    Args:
        rounds: How many rounds; three times as many daemons are started, since one is quick.
    """
    returned, resolved = _waits(_TURNS)
    late, took = _shown(returned), _shown(resolved)
    rows = [
        ("`chat` returns after the daemon's last event", "", late),
        ("an approval is resolved after it was asked for", "", took),
    ]
    # The first daemon of a process builds its routes, which the others find built.
    FakeDaemon(listen=False).start().stop()
    for way, listen in (("over sockets", True), ("in process", False)):
        rows += [
            (f"embedded daemon {way}: {name}", f"{cost.cpu * 1000:.1f}", f"{cost.wall * 1000:.1f}")
            for name, cost in _tests(listen, 3 * rounds).items()
        ]
    return Section(
        "Turns and tests",
        f"The first two rows: {_TURNS} turns on an embedded daemon in a separate process, by the times in "
        "its events. The others: daemon and client in one process, and a test that runs a tool and reads a "
        "streamed answer.",
        ("what", "CPU ms", "wall ms"),
        rows,
        (
            Goal("`chat` returns after the daemon is done", f"{late} ms", "stays (1.6 ms)"),
            Goal("approval resolved", f"{took} ms", "stays (7.5 ms)"),
        ),
    )


def _shown(seconds: Sequence[float]) -> str:
    # Other work on the machine delays both processes; the lowest figure is the one without it.
    return f"{statistics.median(seconds) * 1000:.1f} (lowest {min(seconds) * 1000:.1f})"
