"""What live tests run against: an embedded daemon, or with `--digitorn-real` the released one."""

import random
import secrets
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Unpack

import pytest

from digitorn_testing import AsyncDevClient, ClientOptions, DevClient, SessionHandle
from digitorn_testing._plugin import real
from digitorn_testing.fakes import FakeDaemon, FakeModel, FakeModelServer


@dataclass(frozen=True)
class Place:
    """A daemon with the test's app.

    Attributes:
        url: Base URL of the daemon.
        token: Access token for it.
        app_id: The app, whose model is `model`.
    """

    url: str
    token: str = field(repr=False)
    app_id: str

    def client(self, **options: Unpack[ClientOptions]) -> DevClient:
        """A client of the daemon, with the token.

        Args:
            options: Further arguments of `DevClient`.
        """
        return DevClient(**self._signed_in(options))

    def async_client(self, **options: Unpack[ClientOptions]) -> AsyncDevClient:
        """The asynchronous equal of `client`.

        Args:
            options: Further arguments of `AsyncDevClient`.
        """
        return AsyncDevClient(**self._signed_in(options))

    def _signed_in(self, options: ClientOptions) -> ClientOptions:
        return {"daemon_url": self.url, "token": self.token, **options}


@pytest.fixture
def model() -> FakeModel:
    """The script of the test's app."""
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
def place(request: pytest.FixtureRequest, model: FakeModel) -> Iterator[Place]:
    """The released daemon with an app of this test whose tools ask, or `daemon` with the app `my-app`."""
    access = real.access(request.config)
    if access is None:
        daemon: FakeDaemon = request.getfixturevalue("daemon")
        yield Place(daemon.url, daemon.token(), "my-app")
        return
    with (
        FakeModelServer(model) as server,
        DevClient.with_token(access["token"], daemon_url=access["url"]) as admin,
    ):
        app_id = f"live-{secrets.token_hex(4)}"
        # A script says which calls ask; here the app says it of all.
        app = real.app_of(app_id, server).with_default_policy("approve")
        admin.deploy_app(app, secrets={real.KEY_SECRET: server.api_key})
        yield Place(access["url"], access["token"], app_id)
        admin.api.apps.delete_app(app_id, scope="system")


@pytest.fixture
def session(place: Place) -> SessionHandle:
    """A session that the daemon does not know yet."""
    return SessionHandle(session_id=f"test-{uuid.uuid4().hex[:8]}", app_id=place.app_id, daemon_url=place.url)


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Random numbers that are the same for each run of a test."""
    return random.Random(request.node.name)
