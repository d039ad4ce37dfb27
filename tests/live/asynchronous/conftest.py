"""A client of the daemon that the tests share."""

from collections.abc import AsyncIterator

import pytest

from digitorn_testing import AsyncDevClient
from digitorn_testing.fakes import FakeDaemon
from support.faces import ASYNC_DAEMONS, DaemonKind


@pytest.fixture(params=ASYNC_DAEMONS, ids=str)
def kind(request: pytest.FixtureRequest) -> DaemonKind:
    """What sort of daemon a test of this face runs against."""
    found: DaemonKind = request.param
    return found


@pytest.fixture
async def client(daemon: FakeDaemon) -> AsyncIterator[AsyncDevClient]:
    """A client with a good token, which approves what asks."""
    async with daemon.async_client() as connected:
        yield connected
