"""A daemon over real HTTP and real Socket.IO on loopback."""

import random
import uuid
from collections.abc import Iterator

import pytest

from digitorn_testing import SessionHandle
from digitorn_testing.fakes import FakeDaemon, FakeModel


@pytest.fixture
def model() -> FakeModel:
    """The script of the app `my-app`."""
    return FakeModel()


@pytest.fixture
def listens() -> bool:
    """Whether the daemon listens on loopback."""
    return True


@pytest.fixture
def daemon(model: FakeModel, listens: bool) -> Iterator[FakeDaemon]:
    """A daemon with the app `my-app`."""
    with FakeDaemon(listen=listens) as running:
        running.add_app("my-app", model=model)
        yield running


@pytest.fixture
def session(daemon: FakeDaemon) -> SessionHandle:
    """A session that the daemon does not know yet."""
    return SessionHandle(session_id=f"test-{uuid.uuid4().hex[:8]}", app_id="my-app", daemon_url=daemon.url)


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Random numbers that are the same for each run of a test."""
    return random.Random(request.node.name)
