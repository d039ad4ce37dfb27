"""Whether an event costs more the more events are kept, or while others wait."""

from collections.abc import Callable
from functools import partial
from typing import Final

from digitorn_testing.events import ApprovalRequest, EventLog

from . import frames
from .measuring import Cost, alternate, median, now, reported
from .report import Goal, Section
from .sender import sender

_MARKS: Final = (1_000, 10_000, 100_000)
_BLOCK: Final = 1_000
_RECEIVED: Final = (1_000, 10_000, 100_000)
_WAITERS: Final = 10
_WAITED: Final = 20_000
_MOST_ROUNDS: Final = 2


def _fed(rounds: int) -> list[tuple[str, Cost]]:
    """What an event takes the log alone, in the thousand events that end at a mark."""
    prepared = list(frames.envelopes(_MARKS[-1]))
    found: dict[int, list[Cost]] = {mark: [] for mark in _MARKS}
    for _ in range(rounds):
        log = EventLog(session_id=frames.SESSION, since=frames.FIRST - 1)
        for start in range(0, len(prepared), _BLOCK):
            begun = now()
            for event in prepared[start : start + _BLOCK]:
                log.feed(event)
            if (end := start + _BLOCK) in found:
                found[end].append((now() - begun).over(_BLOCK))
    return [(f"`EventLog.feed`, up to {mark:,} kept", median(costs)) for mark, costs in found.items()]


def _fed_with(waiters: int) -> Cost:
    """What an event takes the log while some wait for a type that does not come."""
    log = EventLog(session_id=frames.SESSION, since=frames.FIRST - 1)
    for _ in range(waiters):
        log.subscribe(lambda event: event, [ApprovalRequest])
    prepared = list(frames.envelopes(_WAITED))
    begun = now()
    for event in prepared:
        log.feed(event)
    return (now() - begun).over(_WAITED)


def measure(rounds: int) -> Section:
    """Measures long logs and waiters.

    Args:
        rounds: How many rounds; at most two are made of what is long.
    """
    few = min(rounds, _MOST_ROUNDS)
    rows = _fed(few)
    alone, waited = "`EventLog.feed`, nobody waits", f"`EventLog.feed`, {_WAITERS} wait"
    fed = alternate({alone: partial(_fed_with, 0), waited: partial(_fed_with, _WAITERS)}, rounds)
    rows += fed.items()
    with sender() as url:

        def receiving(events: int, waiters: int) -> Callable[[], Cost]:
            options = ("ours", url, str(events), "--read", "--waiters", str(waiters))
            return lambda: reported("-m", "benchmarks.receivers", *options).over(events)

        lengths = {f"a stream that receives {events:,}": receiving(events, 0) for events in _RECEIVED}
        names = "a stream, nobody waits", f"a stream, {_WAITERS} wait"
        received = alternate(lengths, few)
        streamed = alternate(
            dict(zip(names, (receiving(_WAITED, 0), receiving(_WAITED, _WAITERS)), strict=True)), few
        )
    rows += [*received.items(), *streamed.items()]
    growths = [_growth(rows[: len(_MARKS)]), _growth(list(received.items()))]
    ratios = [fed[waited].cpu / fed[alone].cpu, streamed[names[1]].cpu / streamed[names[0]].cpu]
    shown = "{:.2f} (log), {:.2f} (stream)"
    return Section(
        "Many kept events, and waiters",
        f"The cost of one event. Waiters wait for a type that never arrives while {_WAITED:,} events do.",
        ("what", "CPU µs an event", "wall µs an event"),
        [(name, f"{cost.cpu * 1e6:.1f}", f"{cost.wall * 1e6:.1f}") for name, cost in rows],
        (
            Goal("cost per event, 100k kept events ÷ 1k", shown.format(*growths), "flat"),
            Goal("ten waiters ÷ none", shown.format(*ratios), "1.0"),
        ),
    )


def _growth(rows: list[tuple[str, Cost]]) -> float:
    return rows[-1][1].cpu / rows[0][1].cpu
