"""What live tests of the client run against."""

from pathlib import Path

import pytest

from digitorn_testing._plugin import options
from support.fixtures import background, chance, daemon, listens, model, place, session

__all__ = ["background", "chance", "daemon", "listens", "model", "place", "session"]

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what needs the embedded daemon when the run is about the released one."""
    if not config.getoption(options.REAL, default=False):
        return
    left_out = [
        item
        for item in items
        if item.path.is_relative_to(_HERE) and item.get_closest_marker("both_daemons") is None
    ]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
