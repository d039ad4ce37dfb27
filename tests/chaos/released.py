"""A chaos run on the released daemon: connections are cut, and the daemon is killed while turns run."""

import asyncio
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from chaos.asynchronous.talking import talk as async_talk
from chaos.blocking.talking import talk
from chaos.tally import Figures, Talk
from digitorn_testing import (
    AsyncDevClient,
    AsyncLiveEventStream,
    DevClient,
    EventLog,
    LiveEventStream,
    RetryPolicy,
    TurnResult,
)
from digitorn_testing._plugin.real import KEY_SECRET, app_of
from digitorn_testing._real.daemon import RealDaemon
from digitorn_testing.events import UserMessage
from digitorn_testing.fakes import FakeModel, FakeModelServer
from support.faces import async_sent_log
from support.tcp_proxy import TcpProxy

APP: Final = "chaos"
PIECES: Final = [f"Sentence number {number}. " for number in range(30)]
TEXT: Final = "".join(PIECES)
_WAIT_SECONDS: Final = 120.0
# A restart takes about ten seconds on an idle machine.
_PATIENT: Final = RetryPolicy(attempts=500, longest_pause=0.5, attempt_timeout=10.0, longest_search=4.0)
_CUT_OFF: Final = "daemon_restart"


@dataclass(frozen=True)
class Plan:
    """How long it is to be.

    Attributes:
        seed: Of the random numbers; when they are drawn depends on the machine too.
        seconds: After that no turn begins.
        folder: The daemon's environment.
        sessions: At once; one half on each face of the client.
        squalls: Seconds between two disturbances of the network, from and to.
        crashes: Seconds from one start of the daemon to its next end by SIGKILL, from and to.
    """

    seed: int
    seconds: float
    folder: Path
    sessions: int = 6
    squalls: tuple[float, float] = (0.5, 4.0)
    crashes: tuple[float, float] = (30.0, 90.0)


def run(plan: Plan, tell: Callable[[str], None]) -> Figures:
    """Runs for the planned time, and compares what the streams have with the daemon's log.

    Args:
        plan: How long it is to be.
        tell: Is told how far it is, now and then.
    """
    began = time.perf_counter()
    model = FakeModel().will_stream_text(PIECES, delay=0.02, times=None)
    figures = Figures(seed=plan.seed, sessions=plan.sessions)
    with FakeModelServer(model) as server, RealDaemon(plan.folder, say=tell) as daemon:
        token = daemon.token("alice", is_admin=True)
        with DevClient.with_token(token, daemon_url=daemon.url) as client:
            client.deploy_app(app_of(APP, server), secrets={KEY_SECRET: server.api_key})
        port = urlsplit(daemon.url).port
        assert port is not None
        with TcpProxy(port) as proxy:
            asyncio.run(_Run(plan, daemon, proxy, token, figures, tell).run())
    figures.seconds = time.perf_counter() - began
    return figures


class _Run:
    def __init__(
        self,
        plan: Plan,
        daemon: RealDaemon,
        proxy: TcpProxy,
        token: str,
        figures: Figures,
        tell: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._daemon = daemon
        self._proxy = proxy
        self._token = token
        self._figures = figures
        self._tell = tell

    async def run(self) -> None:
        """The whole run."""
        plan, url = self._plan, self._proxy.url
        half = plan.sessions // 2
        with (
            DevClient(url, token=self._token, retries=_PATIENT, timeout=_WAIT_SECONDS) as client,
            ThreadPoolExecutor(plan.sessions) as threads,
        ):
            async with (
                AsyncDevClient(url, token=self._token, retries=_PATIENT, timeout=_WAIT_SECONDS) as other,
                AsyncDevClient(self._daemon.url, token=self._token, timeout=_WAIT_SECONDS) as beside,
            ):
                begun = [await beside.chat(APP, "begin", timeout=_WAIT_SECONDS) for _ in range(plan.sessions)]
                mine = [client.open_event_stream(one.session) for one in begun[:half]]
                theirs = [await other.open_event_stream(one.session) for one in begun[half:]]
                told = [Talk() for _ in begun]
                chances = [random.Random(f"{plan.seed}:{number}") for number in range(plan.sessions)]
                until = time.monotonic() + plan.seconds
                loop = asyncio.get_running_loop()

                async def in_thread(stream: LiveEventStream, told: Talk, chance: random.Random) -> None:
                    await loop.run_in_executor(
                        threads,
                        lambda: talk(
                            client,
                            stream,
                            told,
                            chance,
                            turns=1_000_000,
                            is_right=is_right,
                            timeout=_WAIT_SECONDS,
                            until=until,
                            has_result=False,
                        ),
                    )

                async def on_loop(stream: AsyncLiveEventStream, told: Talk, chance: random.Random) -> None:
                    await async_talk(
                        other,
                        stream,
                        told,
                        chance,
                        turns=1_000_000,
                        is_right=is_right,
                        timeout=_WAIT_SECONDS,
                        until=until,
                        has_result=False,
                    )

                with self._stormy():
                    await asyncio.gather(
                        *map(in_thread, mine, told[:half], chances[:half]),
                        *map(on_loop, theirs, told[half:], chances[half:]),
                    )
                for each in mine:
                    await asyncio.to_thread(each.fill_gaps)
                for one in theirs:
                    await one.fill_gaps()
                await self._compare(beside, [*mine, *theirs], told)
                for each in mine:
                    await asyncio.to_thread(each.stop)
                for one in theirs:
                    await one.stop()

    async def _compare(
        self,
        beside: AsyncDevClient,
        streams: Sequence[LiveEventStream | AsyncLiveEventStream],
        told: Sequence[Talk],
    ) -> None:
        for stream, one in zip(streams, told, strict=True):
            self._figures.add(one)
            self._figures.reconnects += stream.connection.reconnects
            kept = await async_sent_log(beside, stream.app_id, stream.session_id)
            # The stream joined behind the first turn.
            first = min(event.seq for event in stream.log if event.is_numbered)
            expected = EventLog(session_id=stream.session_id)
            for event in kept:
                if event.seq >= first:
                    expected.feed(event.raw)
            self._figures.compare(stream.log, expected)
            executed = Counter(event.payload.content for event in kept.events_of(UserMessage))
            self._figures.twice += sum(count - 1 for count in executed.values())

    @contextmanager
    def _stormy(self) -> Generator[None]:
        """What goes wrong: connections are cut, reset and stalled, and the daemon is killed."""
        over = threading.Event()

        def squalls() -> None:
            chance = random.Random(f"{self._plan.seed}:squalls")
            while not over.wait(chance.uniform(*self._plan.squalls)):
                what = chance.choice(["cuts", "resets", "stalls"])
                self._figures.faults[f"network {what}"] += 1
                self._figures.drops += what != "stalls"
                match what:
                    case "cuts":
                        self._proxy.cut()
                    case "resets":
                        self._proxy.reset()
                    case _:
                        with self._proxy.stalled():
                            over.wait(chance.uniform(0.05, 1.0))

        def crashes() -> None:
            chance = random.Random(f"{self._plan.seed}:crashes")
            for number in itertools.count(1):
                if over.wait(chance.uniform(*self._plan.crashes)):
                    return
                self._daemon.kill()
                over.wait(chance.uniform(0, 2))
                self._daemon.restart()
                self._figures.restarts += 1
                self._tell(f"crash {number}, {self._figures.drops} times all connections were cut")

        with ThreadPoolExecutor(2, thread_name_prefix="weather") as threads:
            weather: list[Future[None]] = [threads.submit(squalls), threads.submit(crashes)]
            try:
                yield
            finally:
                over.set()
            for one in weather:
                one.result()


def is_right(result: TurnResult) -> bool:
    """Whether a turn ended with its text, or as one that a crash of the daemon cut off."""
    if result.status == "completed":
        return result.content == TEXT.strip() or result.content == TEXT
    return any(one.code == _CUT_OFF for one in result.errors)
