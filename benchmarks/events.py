"""Events received, beside the ways that a user would have otherwise."""

from collections.abc import Callable
from functools import partial

from .measuring import Cost, alternate, reported
from .report import Section, at_least
from .sender import sender

_EVENTS = 40_000
_OURS = "this library, typed and kept"
_UNREAD = "the same, payloads not read"
_PREDECESSOR = "the predecessor's way: python-socketio, dicts appended under a condition"
_RAW = "raw WebSocket and orjson, no Socket.IO: dicts in a list (the limit)"
_BARE = "python-socketio, a handler that only counts"
_NAIVE = "python-socketio and one pydantic union"


def measure(rounds: int) -> Section:
    """Measures receipt.

    Args:
        rounds: How many rounds.
    """
    with sender() as url:
        found = alternate(_works(url), rounds)
    ours = found[_OURS]
    rows = [_row(name, cost, ours) for name, cost in found.items()]
    against = f"events per second ({_EVENTS:,}, 84 % tokens, payloads read) ÷ "
    return Section(
        "Events received",
        f"{_EVENTS:,} events of about 360 bytes, 84 % of them `token`, from a sender in a separate "
        "process that sends prepared bytes as fast as they are received. Each way runs in a fresh process, "
        "whose time is shown, and reads every payload unless the row says otherwise.",
        ("way", "CPU µs an event", "wall µs an event", "events per CPU second", "our rate ÷ its"),
        rows,
        (
            at_least(
                f"{against}the predecessor's untyped append-and-notify",
                _ratio(found[_PREDECESSOR], ours),
                2.0,
            ),
            at_least(f"{against}raw WebSocket + orjson (the limit)", _ratio(found[_RAW], ours), 0.3),
        ),
    )


def _works(url: str) -> dict[str, Callable[[], Cost]]:
    def receiving(way: str, *options: str) -> Callable[[], Cost]:
        return partial(reported, "-m", "benchmarks.receivers", way, url, str(_EVENTS), *options)

    return {
        _OURS: receiving("ours", "--read"),
        _UNREAD: receiving("ours"),
        _PREDECESSOR: receiving("predecessor", "--read"),
        _NAIVE: receiving("naive", "--read"),
        _BARE: receiving("bare"),
        _RAW: receiving("raw", "--read"),
    }


def _ratio(peer: Cost, ours: Cost) -> float:
    return peer.cpu / ours.cpu


def _row(name: str, cost: Cost, ours: Cost) -> tuple[str, ...]:
    each = cost.over(_EVENTS)
    return (
        name,
        f"{each.cpu * 1e6:.1f}",
        f"{each.wall * 1e6:.1f}",
        f"{1 / each.cpu:,.0f}",
        f"{_ratio(cost, ours):.2f}",
    )
