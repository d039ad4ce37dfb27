"""Measures everything and writes `RESULTS.md`.

    python -m benchmarks [--only NAME ...] [--rounds 3] [--real-turns 0] [--real-dir .real]

With `--only` the tables are printed and not written.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from . import answers, events, generating, imports, kept, plugin, real_turns, turns
from .report import Section, document

_RESULTS: Final = Path(__file__).with_name("RESULTS.md")
_MEASURES: Final[dict[str, Callable[[int], Section]]] = {
    "events": events.measure,
    "imports": imports.measure,
    "answers": answers.measure,
    "plugin": plugin.measure,
    "generating": generating.measure,
    "kept": kept.measure,
    "turns": turns.measure,
}
_REAL: Final = "real"


def main() -> int:
    """Measures, prints and writes."""
    options = argparse.ArgumentParser(
        prog="benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--only", nargs="+", choices=(*_MEASURES, _REAL), help="what to measure")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--real-turns", type=int, default=0, help="turns on the released daemon; 0 for none")
    options.add_argument("--real-dir", type=Path, default=Path(".real"), help="the released daemon's folder")
    asked = options.parse_args()
    measures: dict[str, Callable[[int], Section]] = {
        **_MEASURES,
        _REAL: partial(real_turns.measure, turns=asked.real_turns, folder=asked.real_dir),
    }
    begun = time.perf_counter()
    sections: list[Section] = []
    for name in asked.only or measures:
        since = time.perf_counter()
        sections.append(measures[name](asked.rounds))
        print(f"{name}: {time.perf_counter() - since:.0f} s", file=sys.stderr, flush=True)
    text = document(sections, asked.rounds, time.perf_counter() - begun)
    print(text)
    if not asked.only:
        _RESULTS.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
