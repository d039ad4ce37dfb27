"""A daemon over real HTTP and real Socket.IO on loopback, and a client of it."""

import uuid
from collections.abc import Iterator

import pytest

from digitorn.testing import DevClient, SessionHandle
from digitorn.testing.fakes import FakeDaemon, FakeModel


@pytest.fixture
def model() -> FakeModel:
    """The script of the app `my-app`."""
    return FakeModel()


@pytest.fixture
def daemon(model: FakeModel) -> Iterator[FakeDaemon]:
    """A daemon with the app `my-app`."""
    with FakeDaemon() as running:
        running.add_app("my-app", model=model)
        yield running


@pytest.fixture
def client(daemon: FakeDaemon) -> Iterator[DevClient]:
    """A client with a good token, which approves what asks."""
    with daemon.client() as connected:
        yield connected


@pytest.fixture
def session(daemon: FakeDaemon) -> SessionHandle:
    """A session that the daemon does not know yet."""
    return SessionHandle(session_id=f"test-{uuid.uuid4().hex[:8]}", app_id="my-app", daemon_url=daemon.url)
