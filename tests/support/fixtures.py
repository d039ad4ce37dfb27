"""What live tests run against: an embedded daemon, or with `--digitorn-real` the released one."""

import random
import secrets
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Unpack

import pytest

from digitorn_testing import AppBuilder, AsyncDevClient, ClientOptions, DevClient, SessionHandle
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
    with _deployed(access, model, lambda app: app.with_default_policy("approve")) as app_id:
        # A script says which calls ask; here the app says it of all.
        yield Place(access["url"], access["token"], app_id)


_TRIGGERS = """
runtime:
  mode: background
  session_mode: multi
  max_sessions_per_user: 2
  triggers:
    - {id: nightly, type: cron, schedule: "0 0 1 1 *", message: "Report."}
    - {id: silent, type: cron, schedule: "0 0 1 1 *"}
"""


@pytest.fixture
def background(request: pytest.FixtureRequest, model: FakeModel) -> Iterator[Place]:
    """As `place`, with an app that has the triggers `nightly` and `silent`, and the tool `Write`."""

    def triggered(app: AppBuilder) -> AppBuilder:
        written = app.with_tools("Write").with_default_policy("auto").to_yaml()
        return AppBuilder.from_yaml(written + _TRIGGERS)

    access = real.access(request.config)
    if access is None:
        daemon: FakeDaemon = request.getfixturevalue("daemon")
        daemon.deploy(triggered(AppBuilder("my-background")), model=model)
        yield Place(daemon.url, daemon.token(), "my-background")
        return
    with _deployed(access, model, triggered) as app_id:
        yield Place(access["url"], access["token"], app_id)


@contextmanager
def _deployed(
    access: real.Access, model: FakeModel, change: Callable[[AppBuilder], AppBuilder]
) -> Generator[str]:
    """Deploys an app of its own on the released daemon."""
    with (
        FakeModelServer(model) as server,
        DevClient.with_token(access["token"], daemon_url=access["url"]) as admin,
    ):
        app_id = f"live-{secrets.token_hex(4)}"
        app = change(real.app_of(app_id, server))
        admin.deploy_app(app, secrets={real.KEY_SECRET: server.api_key})
        yield app_id
        admin.api.apps.delete_app(app_id, scope="system")


@pytest.fixture
def session(place: Place) -> SessionHandle:
    """A session that the daemon does not know yet."""
    return SessionHandle(session_id=f"test-{uuid.uuid4().hex[:8]}", app_id=place.app_id, daemon_url=place.url)


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Random numbers that are the same for each run of a test."""
    return random.Random(request.node.name)
