"""Settings of all tests."""

import pytest
from hypothesis import settings

from support import quiet

# How long an example takes says more about the machine than about the code.
settings.register_profile("project", deadline=None)
settings.load_profile("project")


def pytest_configure(config: pytest.Config) -> None:
    """Lets no library underneath complain unnoticed."""
    quiet.watch(config)
