"""A client of the daemon that the tests of this face run against."""

from collections.abc import AsyncIterator

import pytest

from digitorn_testing import AsyncDevClient
from support.faces import ASYNC_LISTENS
from support.fixtures import Place


@pytest.fixture
def listens() -> bool:
    """Whether the daemons of this face's tests listen on loopback."""
    return ASYNC_LISTENS


@pytest.fixture
async def client(place: Place) -> AsyncIterator[AsyncDevClient]:
    """A client with a good token, which approves what asks."""
    async with place.async_client() as connected:
        yield connected
