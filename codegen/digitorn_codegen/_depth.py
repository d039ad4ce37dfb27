"""Room for contracts in which one schema leads to the next many times."""

import sys
from collections.abc import Generator
from contextlib import contextmanager

_DEEPEST = 20_000


@contextmanager
def room() -> Generator[None]:
    """Lets functions call each other deeper than usual while the context is open."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, _DEEPEST))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
