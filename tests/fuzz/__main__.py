"""Fuzzes for as many inputs as one likes: `python -m fuzz --inputs 1000000 --seed 1`."""

import argparse
import random
import sys
import time
from collections import Counter

from fuzz.targets import TARGETS


def main() -> int:
    """Runs until the inputs are used up; what does not hold ends it, and its seed is printed."""
    options = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    options.add_argument("--inputs", type=int, default=1_000_000, help="how many, over all targets")
    options.add_argument("--seed", type=int, default=None, help="the same seed gives the same inputs")
    options.add_argument("--target", choices=TARGETS, help="one alone")
    asked = options.parse_args()
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(2**32)
    names = [asked.target] if asked.target else list(TARGETS)
    counts: Counter[str] = Counter()
    began, number = time.perf_counter(), 0
    while counts.total() < asked.inputs:
        # The inputs of a round depend on nothing but its own number, so that one can be run again alone.
        name = names[number % len(names)]
        try:
            counts[name] += TARGETS[name].run(random.Random(f"{seed}:{name}:{number}"))
        except Exception:
            print(f"seed {seed}, target {name}, round {number}:", file=sys.stderr)
            raise
        number += 1
    shown = ", ".join(f"{counts[name]:,} {name}" for name in names)
    print(
        f"seed {seed}: {counts.total():,} inputs ({shown}) in {time.perf_counter() - began:.0f} s, 0 faults"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
