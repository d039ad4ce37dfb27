"""What the plugin adds to a run of pytest that does not use it."""

import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Final

from .measuring import alternate, child
from .report import Section, at_most

_NAME: Final = "digitorn_testing.pytest_plugin"
_TEST: Final = "def test_nothing() -> None:\n    assert True\n"
# The plugin of schemathesis is slower than all others together, and would hide what ours adds.
_COMMAND: Final = (sys.executable, "-m", "pytest", "-q", "-p", "no:schemathesis", "-p", "no:cacheprovider")
_WITH: Final = "with the plugin, which nothing uses"
_WITHOUT: Final = "without it"
_ALONE: Final = "no other plugin, with it"
_BARE: Final = "no other plugin, without it"


def measure(rounds: int) -> Section:
    """Measures runs of pytest.

    Args:
        rounds: How many rounds; twice as many and one are made, since one is short.
    """
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "test_nothing.py").write_text(_TEST, encoding="utf-8")
        alone = ("--disable-plugin-autoload",)
        runs = {
            _WITHOUT: (*_COMMAND, "-p", f"no:{_NAME}"),
            _WITH: _COMMAND,
            _BARE: (*_COMMAND, *alone),
            _ALONE: (*_COMMAND, *alone, "-p", _NAME),
        }
        for command in runs.values():
            child(command, cwd=folder)
        works = {name: partial(child, command, cwd=folder) for name, command in runs.items()}
        found = alternate(works, 2 * rounds + 1)
    added = {_WITH: found[_WITH] - found[_WITHOUT], _ALONE: found[_ALONE] - found[_BARE]}
    return Section(
        "The pytest plugin in a run that does not use it",
        "One trivial test; the whole process, with the other plugins that are installed (except "
        "schemathesis), and with none.",
        ("run", "CPU ms", "wall ms", "added CPU ms"),
        [
            (
                name,
                f"{cost.cpu * 1000:.0f}",
                f"{cost.wall * 1000:.0f}",
                f"{added[name].cpu * 1000:.0f}" if name in added else "",
            )
            for name, cost in found.items()
        ],
        (
            at_most(
                "what the plugin adds to a pytest run that does not use it (CPU)",
                added[_WITH].cpu * 1000,
                50,
                " ms",
                0,
            ),
        ),
    )
