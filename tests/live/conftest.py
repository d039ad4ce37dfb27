"""A daemon over real HTTP and real Socket.IO on loopback."""

import random
import uuid
from collections.abc import Iterator

import pytest

from digitorn.testing import SessionHandle
from digitorn.testing.fakes import FakeDaemon, FakeModel


@pytest.fixture
def model() -> FakeModel:
    """The script of the app `my-app`."""
    return FakeModel()


@pytest.fixture(params=["sockets", "in process"])
def daemon(model: FakeModel, request: pytest.FixtureRequest) -> Iterator[FakeDaemon]:
    """A daemon with the app `my-app`: one that listens on loopback, and one that is reached in process."""
    with FakeDaemon(listen=request.param == "sockets") as running:
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
