"""Generating a package from the OpenAPI document, beside openapi-python-client."""

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from .measuring import ROOT, Cost, alternate, child
from .report import Section, at_most

_BIN: Final = Path(sys.executable).parent
_SCHEMA: Final = ROOT / "schema"
_MOST_ROUNDS: Final = 2
_REST: Final = "this library: the REST part (models, both clients), formatted and verified"
_ALL: Final = "this library: all of it (also events, commands, builders)"
_PEER: Final = "openapi-python-client: models and both clients, without its hooks that format"


def _ours(*options: str | Path) -> Cost:
    with tempfile.TemporaryDirectory() as folder:
        common = ("--openapi", _SCHEMA / "openapi.yaml", "--package", "made", "--out", Path(folder) / "made")
        return child([_BIN / "digitorn-codegen", "generate", *common, *options], cwd=Path(folder))


def _peer() -> Cost:
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "config.yaml"
        settings.write_text("post_hooks: []\n", encoding="utf-8")
        options = ("--output-path", Path(folder) / "made", "--meta", "none", "--config", settings)
        command = (_BIN / "openapi-python-client", "generate", "--path", _SCHEMA / "openapi.yaml", *options)
        return child(command, cwd=Path(folder))


def measure(rounds: int) -> Section:
    """Measures generation.

    Args:
        rounds: How many rounds; at most two are made, since one is long.
    """
    works: dict[str, Callable[[], Cost]] = {
        _REST: _ours,
        _ALL: partial(_ours, "--events", _SCHEMA / "events", "--commands", _SCHEMA / "commands"),
        _PEER: _peer,
    }
    found = alternate(works, min(rounds, _MOST_ROUNDS))
    peer = found[_PEER].cpu
    what = "generating {} ÷ openapi-python-client's REST part (same document, without hooks)"
    return Section(
        "Generating a package",
        "The whole process, with its children, from the same document (`schema/openapi.yaml`) into an empty "
        "folder.",
        ("run", "CPU s", "wall s", "÷ openapi-python-client without hooks"),
        [
            (name, f"{cost.cpu:.1f}", f"{cost.wall:.1f}", f"{cost.cpu / peer:.2f}")
            for name, cost in found.items()
        ],
        (
            at_most(what.format("the REST part"), found[_REST].cpu / peer, 1.0),
            at_most(what.format("all of the package"), found[_ALL].cpu / peer, 1.0),
        ),
    )
