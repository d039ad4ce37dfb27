"""What importing the library takes, beside the packages that a user would import otherwise."""

from functools import partial
from typing import Final

from .measuring import Cost, alternate, reported
from .report import Section, at_most

_OURS: Final = "`import digitorn.testing`"
_PEERS: Final = "`import pydantic, httpx, socketio`"
_STATEMENTS: Final = {
    _OURS: "import digitorn.testing",
    _PEERS: "import pydantic, httpx, socketio",
    "`from digitorn.testing import DevClient`": "from digitorn.testing import DevClient",
    "`from digitorn.testing import *`": "from digitorn.testing import *",
}
_SOURCE: Final = """
import json, time
cpu, wall = time.process_time(), time.perf_counter()
{statement}
cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
print(json.dumps({{"cpu": cpu, "wall": wall}}))
"""


def _importing(statement: str) -> Cost:
    return reported("-c", _SOURCE.format(statement=statement))


def measure(rounds: int) -> Section:
    """Measures imports.

    Args:
        rounds: How many rounds; twice as many and one are made, since one is short.
    """
    for statement in _STATEMENTS.values():
        # Compiles what is not compiled yet.
        _importing(statement)
    found = alternate(
        {name: partial(_importing, statement) for name, statement in _STATEMENTS.items()}, 2 * rounds + 1
    )
    peers = found[_PEERS]
    return Section(
        "Imports",
        "In fresh processes, with compiled bytecode, without the start of Python.",
        ("statement", "CPU ms", "wall ms", "÷ the packages"),
        [
            (name, f"{cost.cpu * 1000:.0f}", f"{cost.wall * 1000:.0f}", f"{cost.cpu / peers.cpu:.2f}")
            for name, cost in found.items()
        ],
        (
            at_most(
                "`import digitorn.testing` ÷ importing pydantic + httpx + python-socketio",
                found[_OURS].cpu / peers.cpu,
                1.25,
            ),
        ),
    )
