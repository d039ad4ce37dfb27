"""A chaos run: many sessions at once on a daemon whose network, calls and events are disturbed at random."""

import asyncio
import itertools
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

from chaos.asynchronous.talking import talk as async_talk
from chaos.blocking.talking import talk
from chaos.tally import Figures, Talk
from digitorn_testing import (
    AsyncDevClient,
    AsyncLiveEventStream,
    DaemonUnreachable,
    LiveEventStream,
    RetryPolicy,
    SessionHandle,
)
from digitorn_testing._events.daemon import MEANING
from digitorn_testing._stream.protocol import PAGE
from digitorn_testing.events import MessageStarted
from digitorn_testing.fakes import FakeDaemon, FakeModel
from digitorn_testing.fakes._faults.faults import Fault
from support.chances import by_chance, shuffled
from support.faces import async_sent_log
from support.tcp_proxy import TcpProxy

APP: Final = "chaos"
_WAIT_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.02
_PATIENT: Final = RetryPolicy(
    attempts=50, first_pause=0.02, longest_pause=0.2, attempt_timeout=10.0, longest_search=1.0
)


@dataclass(frozen=True)
class Plan:
    """How much there is to be.

    Attributes:
        seed: Of the random numbers; when they are drawn depends on the machine too.
        events: At least so many events in all.
        drops: At least so many connections that drop.
        sessions: At once; one half on each face of the client.
        turns: Turns of a session between two restarts of the daemon.
        tokens: Pieces of a turn's text.
        delay: Seconds between two of them.
        gusts: Seconds between two drops of one connection, from and to.
        squalls: Seconds between two disturbances of the whole network, from and to.
    """

    seed: int
    events: int
    drops: int
    sessions: int = 20
    turns: int = 5
    tokens: int = 250
    delay: float = 0.002
    gusts: tuple[float, float] = (0.05, 0.35)
    squalls: tuple[float, float] = (10.0, 30.0)


def run(plan: Plan, tell: Callable[[str], object] = lambda line: None) -> Figures:
    """Runs until there were as many events and drops as planned, and compares what came with what was.

    Args:
        plan: How much there is to be.
        tell: Is told how far it is, now and then.
    """
    began = time.perf_counter()
    pieces = [f"{number} " for number in range(plan.tokens)]
    model = FakeModel().will_stream_text(pieces, delay=plan.delay, times=None)
    figures = Figures(seed=plan.seed, sessions=plan.sessions)
    with (
        FakeDaemon(model=model, keep_exchanges=0) as daemon,
        TcpProxy(daemon.port) as proxy,
    ):
        daemon.add_app(APP)
        asyncio.run(_Storm(plan, daemon, proxy, "".join(pieces), figures, tell).blow())
    figures.seconds = time.perf_counter() - began
    return figures


def run_telling(plan: Plan) -> Figures:
    """Runs in a process of its own, and prints how far it is.

    Args:
        plan: How much there is to be.
    """
    # Of what is broken on purpose the log would tell thousands of times.
    logging.getLogger("digitorn").addHandler(logging.NullHandler())
    return run(plan, partial(print, flush=True))


class _Storm:
    def __init__(
        self,
        plan: Plan,
        daemon: FakeDaemon,
        proxy: TcpProxy,
        text: str,
        figures: Figures,
        tell: Callable[[str], object],
    ) -> None:
        self._plan = plan
        self._daemon = daemon
        self._proxy = proxy
        self._text = text
        self._figures = figures
        self._tell = tell
        self._calm = threading.Lock()
        self._weather: Counter[str] = Counter()
        self._gusts: list[Fault] = []

    async def blow(self) -> None:
        """The whole run."""
        daemon, url = self._daemon, self._proxy.url
        with ExitStack() as blocking:
            client = blocking.enter_context(
                daemon.client(daemon_url=url, retries=_PATIENT, timeout=_WAIT_SECONDS)
            )
            threads = blocking.enter_context(ThreadPoolExecutor(self._plan.sessions))
            async with (
                daemon.async_client(daemon_url=url, retries=_PATIENT, timeout=_WAIT_SECONDS) as other,
                daemon.async_client(retries=_PATIENT, timeout=_WAIT_SECONDS) as beside,
            ):
                half = self._plan.sessions // 2
                # A session exists from its first message on.
                begun = await asyncio.gather(*(beside.chat(APP, "go") for _ in range(self._plan.sessions)))
                sessions = [result.session for result in begun]
                mine = [client.open_event_stream(session) for session in sessions[:half]]
                theirs = [await other.open_event_stream(session) for session in sessions[half:]]
                streams: list[LiveEventStream | AsyncLiveEventStream] = [*mine, *theirs]
                told = [Talk(sent=1) for _ in streams]
                chances = [random.Random(f"{self._plan.seed}:{number}") for number in range(len(streams))]
                loop = asyncio.get_running_loop()

                async def in_thread(stream: LiveEventStream, told: Talk, chance: random.Random) -> None:
                    await loop.run_in_executor(
                        threads,
                        lambda: talk(
                            client,
                            stream,
                            told,
                            chance,
                            turns=self._plan.turns,
                            is_right=lambda result: result.text == self._text,
                            timeout=_WAIT_SECONDS,
                        ),
                    )

                async def on_loop(stream: AsyncLiveEventStream, told: Talk, chance: random.Random) -> None:
                    await async_talk(
                        other,
                        stream,
                        told,
                        chance,
                        turns=self._plan.turns,
                        is_right=lambda result: result.text == self._text,
                        timeout=_WAIT_SECONDS,
                    )

                with self._faults() as faults, self._stormy(streams):
                    while not self._is_enough(streams):
                        if self._figures.rounds:
                            await self._restart(beside, streams)
                            self._tell(
                                f"round {self._figures.rounds}:"
                                f" {_logged_events(streams):,} events, {self._drops():,} drops so far"
                            )
                        self._figures.rounds += 1
                        await asyncio.gather(
                            *map(in_thread, mine, told[:half], chances[:half]),
                            *map(on_loop, theirs, told[half:], chances[half:]),
                        )
                for what, hits in faults:
                    self._figures.faults[what] += hits.hits
                self._figures.faults += self._weather
                self._figures.drops = self._drops()
                await asyncio.gather(*(_filled(stream.fill_gaps) for stream in theirs))
                for stream in mine:
                    await _filled(partial(asyncio.to_thread, stream.fill_gaps))
                for each, one in zip(streams, told, strict=True):
                    self._figures.add(one)
                    self._figures.reconnects += each.connection.reconnects
                    kept = await async_sent_log(beside, each.app_id, each.session_id)
                    self._figures.compare(each.log, kept)
                    executed = Counter(event.correlation_id for event in kept.events_of(MessageStarted))
                    # An unconfirmed message may be executed or not.
                    expected = range(one.sent, one.sent + one.unconfirmed + 1)
                    self._figures.twice += len(executed) not in expected
                    self._figures.twice += sum(count - 1 for count in executed.values())
                await asyncio.gather(*(stream.stop() for stream in theirs))
                for stream in mine:
                    await asyncio.to_thread(stream.stop)

    def _is_enough(self, streams: "list[LiveEventStream | AsyncLiveEventStream]") -> bool:
        return _logged_events(streams) >= self._plan.events and self._drops() >= self._plan.drops

    def _drops(self) -> int:
        """How many connections of streams were dropped one by one; those that all dropped come on top."""
        return sum(gust.hits for gust in self._gusts)

    @contextmanager
    def _faults(self) -> "Generator[list[tuple[str, Fault]]]":
        """What goes wrong with single events and calls."""
        faults = self._daemon.faults
        random_hits = random.Random(f"{self._plan.seed}:faults")
        messages = faults.calls(path="*/messages")
        chances = [
            ("events duplicated", 0.005, faults.events().duplicate()),
            ("events delayed", 0.003, faults.events().delay(0.02)),
            ("events lost", 0.004, faults.events().lose()),
            ("connections refused", 0.1, faults.refuse_connections()),
            ("messages whose answer was cut off", 0.1, messages.cut_off("answer")),
            ("messages cut off", 0.1, messages.cut_off("request")),
            ("messages answered 503", 0.05, messages.respond_with(503)),
            ("messages answered 429", 0.05, messages.respond_with(429, retry_after=0)),
            *(
                (f"reads of {path} {what}", 0.05, fault)
                for path in ("*/events", "*/state")
                for what, fault in (
                    ("cut off", faults.calls(path=path).cut_off("body")),
                    ("answered 500", faults.calls(path=path).respond_with(500)),
                )
            ),
        ]
        yield [
            *((what, by_chance(fault, probability, random_hits)) for what, probability, fault in chances),
            *(("events reordered", fault) for fault in shuffled(faults.events(), 0.01, random_hits)),
        ]
        faults.clear()

    @contextmanager
    def _stormy(self, streams: "Sequence[LiveEventStream | AsyncLiveEventStream]") -> Generator[None]:
        """What goes wrong with connections: one is dropped now and then, and seldom all of them."""
        over = threading.Event()

        def gusts() -> None:
            chance = random.Random(f"{self._plan.seed}:gusts")
            latest: dict[str, Fault] = {}
            while not over.wait(chance.uniform(*self._plan.gusts)):
                # The next event that goes there drops it. While there is no connection none goes.
                up = [
                    stream.session_id
                    for stream in streams
                    if stream.connection.state == "joined"
                    and ((last := latest.get(stream.session_id)) is None or last.hits)
                ]
                if up:
                    how: Literal["reset", "close", "disconnect"] = chance.choice(
                        ["reset", "close", "disconnect"]
                    )
                    session = chance.choice(up)
                    latest[session] = self._daemon.faults.events(session=session, times=1).drop_connection(
                        how
                    )
                    self._gusts.append(latest[session])
                    self._weather[f"drops of one connection by {how}"] += 1

        def squalls() -> None:
            chance = random.Random(f"{self._plan.seed}:squalls")
            while not over.wait(chance.uniform(*self._plan.squalls)):
                with self._calm:
                    what = chance.choice(["cuts", "resets", "stalls", "drops of all connections"])
                    self._weather[f"network {what}"] += 1
                    match what:
                        case "cuts":
                            self._proxy.cut()
                        case "resets":
                            self._proxy.reset()
                        case "stalls":
                            with self._proxy.stalled():
                                over.wait(chance.uniform(0.05, 0.3))
                        case _:
                            self._daemon.drop_connections()

        with ThreadPoolExecutor(2, thread_name_prefix="weather") as threads:
            weather = [threads.submit(gusts), threads.submit(squalls)]
            try:
                yield
            finally:
                over.set()
            for one in weather:
                one.result()

    async def _restart(
        self, beside: AsyncDevClient, streams: "list[LiveEventStream | AsyncLiveEventStream]"
    ) -> None:
        """Replaces the daemon's process once its logs have everything: what they have not is lost by it."""
        for stream in streams:
            last = max((event.seq for event in stream.events() if MEANING.is_logged(event)), default=1)
            await _logged(beside, stream.session, last)
        with self._calm:
            await asyncio.to_thread(self._daemon.restart)
        self._figures.restarts += 1


def _logged_events(streams: "list[LiveEventStream | AsyncLiveEventStream]") -> int:
    """How many events the streams have of those that the daemon keeps."""
    return sum(MEANING.is_logged(event) for stream in streams for event in stream.log)


async def _filled(fill: Callable[[], Awaitable[object]]) -> None:
    """Fills gaps; asked by hand, a stream does so once, and its connection may be one that was cut."""
    for attempt in range(5):
        try:
            await fill()
        except DaemonUnreachable:
            if attempt == 4:
                raise
        else:
            return


async def _logged(client: AsyncDevClient, session: SessionHandle, number: int) -> None:
    """Waits until an event is in the daemon's log; nothing tells of that, so that it is asked."""
    async with asyncio.timeout(_WAIT_SECONDS):
        for _ in itertools.count():
            if await _page(client, session, number - 1):
                return
            await asyncio.sleep(_POLL_SECONDS)


async def _page(client: AsyncDevClient, session: SessionHandle, since: int) -> list[object]:
    page = await client.api.sessions.list_session_events(
        session.app_id, session.session_id, since_seq=since, limit=PAGE
    )
    return [row if isinstance(row, dict) else row.to_wire() for row in page.events]
