"""A client of the daemon that the tests share."""

from collections.abc import AsyncIterator

import pytest

from digitorn_testing import AsyncDevClient
from digitorn_testing.fakes import FakeDaemon
from support.faces import ASYNC_LISTENS


@pytest.fixture
def listens() -> bool:
    """Whether the daemons of this face's tests listen on loopback."""
    return ASYNC_LISTENS


@pytest.fixture
async def client(daemon: FakeDaemon) -> AsyncIterator[AsyncDevClient]:
    """A client with a good token, which approves what asks."""
    async with daemon.async_client() as connected:
        yield connected
