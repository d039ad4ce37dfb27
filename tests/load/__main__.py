"""Loads one client until a lost connection would show: `python -m load --cancels 10000 --seed 1`."""

import argparse
import asyncio
import random
import sys
from collections.abc import Iterator

from load.calls import Outcome, calls_of_threads, cancelled_calls, slow_calls
from load.server import serving


def main() -> int:
    """Prints the figures of each run, and tells by its status whether anything was lost."""
    options = argparse.ArgumentParser(prog="load", description=__doc__)
    options.add_argument("--cancels", type=int, default=10_000, help="how many calls are cancelled")
    options.add_argument("--slow", type=int, default=300, help="how many slow calls there are at once")
    options.add_argument("--times", type=int, default=3, help="how often those are made")
    options.add_argument("--threads", type=int, default=260, help="how many threads share a client")
    options.add_argument("--seed", type=int, default=None, help="of the moments at which calls are cancelled")
    asked = options.parse_args()
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(2**32)

    def runs() -> Iterator[Outcome]:
        with serving() as server:
            yield asyncio.run(cancelled_calls(server, asked.cancels, seed))
            yield asyncio.run(slow_calls(server, asked.slow, asked.times))
            yield calls_of_threads(server, asked.slow, asked.times, 0.5)
            yield calls_of_threads(server, asked.threads, 20, 0.0)

    print(f"seed {seed}")
    lost = 0
    for outcome in runs():
        print(outcome, flush=True)
        lost += not outcome.is_good
    print("nothing was lost" if not lost else f"{lost} runs lost something")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
