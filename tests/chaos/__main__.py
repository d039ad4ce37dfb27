"""A chaos run: `python -m chaos --seed 1`."""

import argparse
import random
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from chaos import released
from chaos.storm import Plan, run_telling

SHORT: Final[dict[str, Any]] = {
    "events": 250,
    "drops": 8,
    "sessions": 4,
    "turns": 1,
    "tokens": 50,
    "gusts": (0.02, 0.3),
    "squalls": (0.5, 2.0),
}


def main() -> int:
    """Runs, and prints the figures."""
    options = argparse.ArgumentParser(prog="chaos", description=__doc__)
    options.add_argument("--events", type=int, default=100_000, help="at least")
    options.add_argument("--drops", type=int, default=1_000, help="of connections, likewise")
    options.add_argument("--short", action="store_true", help="some seconds of it, with figures of its own")
    options.add_argument("--real", type=float, metavar="MINUTES", help="on the released daemon, for so long")
    options.add_argument("--real-dir", type=Path, default=Path(".real"), help="its environment")
    options.add_argument("--seed", type=int, default=None, help="of the random numbers")
    asked = options.parse_args()
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(2**32)
    if asked.real is not None:
        plan = released.Plan(seed=seed, seconds=60 * asked.real, folder=asked.real_dir)
        figures = released.run(plan, partial(print, flush=True))
    else:
        storm = Plan(seed=seed, events=asked.events, drops=asked.drops)
        figures = run_telling(replace(storm, **SHORT) if asked.short else storm)
    print(figures, flush=True)
    held = figures.holds
    print("nothing lost, nothing twice, nothing out of order, nothing hung" if held else "it does NOT hold")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
