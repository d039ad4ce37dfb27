"""A short run of each load: calls that are cancelled or slow leave room for as many as before."""

from load.calls import calls_of_threads, cancelled_calls, slow_calls
from load.server import serving


async def test_cancelled_calls_give_back_their_connections() -> None:
    with serving() as server:
        outcome = await cancelled_calls(server, 400, seed=7)
    assert outcome.is_good, outcome
    # A cancelled call does not wait for the daemon.
    assert outcome.slowest_cancel < 2


async def test_more_slow_calls_than_connections_are_all_answered() -> None:
    with serving() as server:
        outcome = await slow_calls(server, 150, times=1)
    assert outcome.is_good, outcome
    assert outcome.counts["done"] == 150


def test_threads_share_one_client() -> None:
    with serving() as server:
        outcome = calls_of_threads(server, 130, 3, 0.05)
    assert outcome.is_good, outcome
    assert outcome.counts["done"] == 390
