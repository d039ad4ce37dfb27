"""Turns on the released daemon: whether each result is right, and how much time the client adds.

    python -m benchmarks.real_turns [--turns 200] [--at-once 10] [--dir .real]

Runs turns in a row on one session, then as many on sessions of their own, some at once. Every result is
compared with the scripted answer. Prints how many turns failed by a fault that the daemon itself reports, and
the time that the client adds to a turn: what `send` took, less the time from the daemon's first event
of the turn to its last one.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from digitorn_testing import AsyncDevClient, SessionHandle, TurnResult
from digitorn_testing._plugin.real import KEY_SECRET, app_of
from digitorn_testing._real.daemon import RealDaemon
from digitorn_testing.fakes import FakeModel, FakeModelServer

from .report import Goal, Section, at_most

APP: Final = "endurance"
TURN_SECONDS: Final = 120.0
AT_ONCE: Final = 10


@dataclass(slots=True)
class Figures:
    """What became of the turns of one kind.

    Attributes:
        right: Number of turns with the scripted answer.
        failed: How often the daemon reported which failure.
        wrong: Turns that are neither, in words.
        added: Seconds that the client added to each right turn.
    """

    right: int = 0
    failed: Counter[str] = field(default_factory=Counter[str])
    wrong: list[str] = field(default_factory=list[str])
    added: list[float] = field(default_factory=list[float])

    def note(self, number: int, result: TurnResult, seconds: float) -> None:
        """Notes one turn."""
        if result.status == "completed" and result.content == answer_to(number):
            self.right += 1
            self.added.append(seconds - _emitted(result))
        elif result.status == "failed" and result.error:
            self.failed[result.error[:100]] += 1
        else:
            self.wrong.append(f"turn {number}: {result.status}, {result.content!r}, {result.error!r}")

    def adds(self) -> tuple[float, float]:
        """Milliseconds that the client adds to a turn: p50 and p95 of at least two."""
        cuts = statistics.quantiles(self.added, n=20, method="inclusive")
        return cuts[9] * 1000, cuts[18] * 1000

    def __str__(self) -> str:
        lines = [f"{self.right} right, {self.failed.total()} failed on the daemon, {len(self.wrong)} wrong"]
        if len(self.added) > 1:
            middle, most = self.adds()
            lines.append(f"the client adds {middle:.1f} ms (p50), {most:.1f} ms (p95)")
        lines += [f"{count} x {error}" for error, count in self.failed.most_common()]
        return "\n  ".join([*lines, *self.wrong])


def message_of(number: int) -> str:
    """The message of a turn. No number is part of another one."""
    return f"question <{number}>"


def answer_to(number: int) -> str:
    """What the model answers to it."""
    return f"This is the answer to question number {number}."


def _emitted(result: TurnResult) -> float:
    """Seconds from the daemon's first event of a turn to its last one."""
    times = [datetime.fromisoformat(event.ts) for event in result.events if event.ts]
    return (max(times) - min(times)).total_seconds()


async def one_turn(client: AsyncDevClient, session: SessionHandle, number: int, figures: Figures) -> None:
    """Runs a turn and notes what became of it."""
    begun = time.perf_counter()
    result = await client.send(session, message_of(number), timeout=TURN_SECONDS)
    figures.note(number, result, time.perf_counter() - begun)


async def in_a_row(client: AsyncDevClient, turns: int) -> Figures:
    """Turns of one session."""
    figures, session = Figures(), await client.new_session(APP)
    for number in range(turns):
        await one_turn(client, session, number, figures)
    return figures


async def on_sessions(client: AsyncDevClient, turns: int, at_once: int) -> Figures:
    """Turns on sessions of their own."""
    figures, free = Figures(), asyncio.Semaphore(at_once)

    async def run(number: int) -> None:
        async with free:
            await one_turn(client, await client.new_session(APP), number, figures)

    await asyncio.gather(*(run(number) for number in range(turns)))
    return figures


async def timed(name: str, running: Awaitable[Figures]) -> bool:
    """Prints the figures of one kind of turns; returns whether none of them was wrong."""
    begun = time.perf_counter()
    figures = await running
    print(f"{name}, {time.perf_counter() - begun:.0f} s:\n  {figures}", flush=True)
    return not figures.wrong


@contextmanager
def _daemon(turns: int, folder: Path) -> Generator[tuple[RealDaemon, FakeModelServer]]:
    """The released daemon, and the model that its turns ask."""
    model = FakeModel()
    for number in range(turns):
        model.when(contains=message_of(number)).will_respond_with_text(answer_to(number), times=None)
    model.will_respond_with_text("A title.", times=None)
    with FakeModelServer(model) as server, RealDaemon(folder) as daemon:
        yield daemon, server


@asynccontextmanager
async def _client(daemon: RealDaemon, server: FakeModelServer) -> AsyncGenerator[AsyncDevClient]:
    """A client of it, with the app deployed."""
    async with AsyncDevClient.with_token(
        daemon.token("alice", is_admin=True), daemon_url=daemon.url
    ) as client:
        await client.deploy_app(app_of(APP, server), secrets={KEY_SECRET: "none"})
        await client.wait_for_app(APP)
        yield client


def measure(rounds: int, *, turns: int, folder: Path) -> Section:
    """Measures turns on one session, one after another on new sessions, and some at once on new sessions.

    Args:
        rounds: Counts for nothing here.
        turns: How many turns of each kind; 0 leaves the measurement out.
        folder: The daemon's environment.

    Raises:
        RuntimeError: A turn had another result than the scripted one.
    """
    title, what = "Turns on the released daemon", "a turn on the real daemon: what the client adds, "
    held, apart = "in a row on one session", "each on a new session"
    many = f"{AT_ONCE} at once, {apart}"
    head = ("turns", "right", "failed on the daemon", "p50, wall ms", "p95, wall ms")
    if turns < 2:
        note = "Not measured; `make bench REAL_TURNS=40` does it where the released daemon is installed."
        return Section(title, note, head, (), (Goal(what + held, "not measured", "≤ 50 ms"),))

    async def both(daemon: RealDaemon, server: FakeModelServer) -> dict[str, Figures]:
        async with _client(daemon, server) as client:
            return {
                held: await in_a_row(client, turns),
                apart: await on_sessions(client, turns, 1),
                many: await on_sessions(client, turns, AT_ONCE),
            }

    with _daemon(turns, folder) as (daemon, server):
        found = asyncio.run(both(daemon, server))
    rows: list[tuple[str, ...]] = []
    goals: list[Goal] = []
    for name, figures in found.items():
        if figures.wrong or len(figures.added) < 2:
            raise RuntimeError(f"turns on the released daemon, {name}: {figures}")
        middle, most = figures.adds()
        failed = f"{figures.failed.total()}"
        rows.append((name, f"{figures.right}", failed, f"{middle:.1f}", f"{most:.1f}"))
        goals.append(at_most(what + name, middle, 50, " ms", 1))
    note = (
        f"{turns} turns of each kind. What `send` took, less the time from the daemon's first event of the "
        "turn to its last one."
    )
    return Section(title, note, head, rows, goals)


async def run(daemon: RealDaemon, server: FakeModelServer, turns: int, at_once: int) -> bool:
    """Runs both kinds of turns; returns whether none of them was wrong."""
    async with _client(daemon, server) as client:
        held = await timed(f"{turns} turns on one session", in_a_row(client, turns))
        sessions = on_sessions(client, turns, at_once)
        return held & await timed(f"{turns} turns on {turns} sessions, {at_once} at once", sessions)


def main() -> int:
    """Starts the daemon, runs the turns, and prints the figures."""
    options = argparse.ArgumentParser(prog="real_turns", description=__doc__)
    options.add_argument("--turns", type=int, default=200, help="of each kind")
    options.add_argument("--at-once", type=int, default=AT_ONCE, help="turns of different sessions at a time")
    options.add_argument("--dir", type=Path, default=Path(".real"), help="the daemon's environment")
    asked = options.parse_args()
    with _daemon(asked.turns, asked.dir) as (daemon, server):
        return 0 if asyncio.run(run(daemon, server, asked.turns, asked.at_once)) else 1


if __name__ == "__main__":
    sys.exit(main())
