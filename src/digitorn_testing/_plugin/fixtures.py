"""The fixtures, under names that start with `digitorn_` and under short ones.

Functions of this module become fixtures when a run begins, because the names depend on the run: a short name
may belong to another plugin's fixture, and of two plugins pytest would prefer the one that is loaded last.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from digitorn_testing._extras import MissingExtra

from . import options, real, recordings, short_names, target
from .troubles import Troubles

if TYPE_CHECKING:
    # Loaded where they are used: most runs in an environment with this plugin use none of it.
    from digitorn_testing._approvals.policies import ApprovalPolicy
    from digitorn_testing._approvals.recording import RecordingApprovals
    from digitorn_testing._client._async.client import AsyncDevClient
    from digitorn_testing._client._sync.client import DevClient
    from digitorn_testing._handles import AppHandle, SessionHandle
    from digitorn_testing._recordings.recording import Recording
    from digitorn_testing._stream import LiveEventStream
    from digitorn_testing.builders import AppBuilder, SessionBuilder, TurnBuilder
    from digitorn_testing.fakes import FakeDaemon, FakeModel, FakeModelServer

MODEL: Final[pytest.StashKey[FakeModel]] = pytest.StashKey()
"""The scripted model of a test."""

LIVE: Final = "live"
ASYNCIO_CLIENTS: Final = "digitorn_testing._plugin.asyncio_clients"
"""The plugin with the clients of tests that pytest-asyncio runs."""

_REPLAYED: Final = pytest.StashKey[bool]()
"""Whether a test runs against a recording."""

_LOCUST: Final = "locust"
"""The plugin of Locust, which comes with the extra `load` and has a fixture `session` of its own."""

_EMBEDDED_APP: Final = "my-app"
_DAEMONS: Final = frozenset({"fake_daemon", "digitorn_daemon"})
_MODELS: Final = frozenset({"fake_model", "digitorn_model"})
_APP_NEEDED: Final = (
    "`digitorn_session` needs an app of the daemon: pass --digitorn-app, set $DIGITORN_APP, "
    "or override the fixture `digitorn_app`"
)


# --- fakes


def digitorn_model(request: pytest.FixtureRequest) -> Iterator[FakeModel]:
    """The scripted model of the test's app. The test fails if the script does not answer a request."""
    try:
        from digitorn_testing.fakes import FakeModel
    except MissingExtra as error:
        other = "to use another daemon, pass --digitorn-url or set $DIGITORN_DAEMON_URL"
        pytest.fail(f"{error}; {other}", pytrace=False)

    item = request.node
    model = item.stash[MODEL] = FakeModel()
    yield model
    if item.stash.get(options.FAILED, False):
        # The report of that failure says what the script does not answer.
        return
    # In a replay nobody asks the model.
    if options.must_be_exhausted(item) and not item.stash.get(_REPLAYED, False):
        model.assert_exhausted()
    else:
        model.__exit__(None, None, None)


def digitorn_model_server(digitorn_model: FakeModel) -> Iterator[FakeModelServer]:
    """`fake_model` as a provider over HTTP, for apps on a daemon that is not embedded."""
    from digitorn_testing.fakes import FakeModelServer

    with FakeModelServer(digitorn_model) as server:
        yield server


def digitorn_daemon(request: pytest.FixtureRequest, digitorn_model: FakeModel) -> Iterator[FakeDaemon]:
    """An embedded daemon for this test alone; its apps use `fake_model`."""
    from digitorn_testing.fakes import FakeDaemon

    listens = options.kind(request.config) != options.IN_PROCESS
    with FakeDaemon(model=digitorn_model, listen=listens) as daemon:
        yield daemon


# --- the daemon under test


def target_of_embedded(
    request: pytest.FixtureRequest, digitorn_daemon: FakeDaemon
) -> Iterator[target.Target]:
    """The daemon of a test in a run without a given one. As an argument, an override may have parameters."""
    yield from target_of(request)


def target_of(request: pytest.FixtureRequest) -> Iterator[target.Target]:
    """The daemon of a test: a recording that it replays, the given daemon, or an embedded one."""
    item = request.node
    if (file := recordings.replayed_file(item, embedded=_DAEMONS, models=_MODELS)) is not None:
        item.stash[_REPLAYED] = True
        yield from _replaying(request.config, file)
    elif (daemon := _given(item)) is not None:
        with recordings.recorded(item) as file:
            yield replace(daemon, recording=file)
    else:
        embedded: FakeDaemon = request.getfixturevalue("digitorn_daemon")
        yield target.Target(embedded.url, embedded.token(), embedded)


def _given(item: pytest.Item) -> target.Target | None:
    """The daemon that was given to the run, unless there is none or the test uses an embedded one."""
    daemon = target.given(item.config)
    if daemon is None:
        if item.get_closest_marker(LIVE) is not None:
            pytest.skip(target.NO_DAEMON)
        return None
    # A model that is scripted answers on a real daemon as well.
    embedded_only = _DAEMONS if daemon.is_real else _DAEMONS | _MODELS
    used: list[str] = getattr(item, "fixturenames", [])
    return daemon if embedded_only.isdisjoint(used) else None


def _replaying(config: pytest.Config, file: Path) -> Iterator[target.Target]:
    try:
        import fastapi  # noqa: F401 # pyright: ignore[reportUnusedImport] - only to see whether it is installed
    except ImportError:
        pytest.fail("a replay needs the extra digitorn-testing[daemon]", pytrace=False)
    from digitorn_testing._recordings.recording import Recording
    from digitorn_testing.fakes import FakeDaemon

    recording = Recording.load(file, damaged="raise")
    with FakeDaemon.replay(file, listen=options.kind(config) != options.IN_PROCESS) as daemon:
        yield target.Target(daemon.url, daemon.token(), replayed=recording)


def digitorn_approvals() -> RecordingApprovals:
    """Decides and records the approvals of the test's clients; at first it approves every tool call."""
    from digitorn_testing._approvals.recording import RecordingApprovals

    return RecordingApprovals()


def digitorn_client(
    _digitorn_target: target.Target, digitorn_approvals: ApprovalPolicy
) -> Iterator[DevClient]:
    """A client of the given daemon, or of `fake_daemon` if there is none or the test uses it."""
    with _digitorn_target.client(digitorn_approvals) as client:
        yield client


def digitorn_async_client(
    request: pytest.FixtureRequest, _digitorn_target: target.Target, digitorn_approvals: ApprovalPolicy
) -> AsyncDevClient:
    """The asynchronous `dev_client`, for tests run by pytest-asyncio (in either mode) or anyio."""
    found: AsyncDevClient = request.getfixturevalue(_async_fixture(request))
    return found


def _async_fixture(request: pytest.FixtureRequest) -> str:
    """The name of the fixture that runs in the test's event loop."""
    if "anyio_backend" in request.fixturenames:
        return "_digitorn_client_under_anyio"
    if not request.config.pluginmanager.hasplugin(ASYNCIO_CLIENTS):
        pytest.fail("async_dev_client needs pytest-asyncio, or a test that anyio runs", pytrace=False)
    from .asyncio_clients import name_in

    marker = request.node.get_closest_marker("asyncio")
    scope: str | None = marker.kwargs.get("loop_scope") if marker is not None else None
    return name_in(scope or _default_loop_scope(request.config))


def _default_loop_scope(config: pytest.Config) -> str:
    try:
        scope: str = config.getini("asyncio_default_test_loop_scope")
    except ValueError:
        # This version of pytest-asyncio has no such option.
        return "function"
    return scope


async def client_under_anyio(
    _digitorn_target: target.Target, digitorn_approvals: ApprovalPolicy
) -> AsyncIterator[AsyncDevClient]:
    """The asynchronous client of a test that anyio runs."""
    async with _digitorn_target.async_client(digitorn_approvals) as client:
        yield client


def digitorn_app(request: pytest.FixtureRequest, _digitorn_target: target.Target) -> Iterator[AppHandle]:
    """The app of `session`: the test's own on a daemon of the plugin, otherwise that of --digitorn-app.

    Override the fixture to deploy your own app.
    """
    if _digitorn_target.replayed is not None:
        yield _recorded_app(_digitorn_target, _digitorn_target.replayed, request.config)
    elif _digitorn_target.embedded is not None:
        # An override of the daemon need not know the model that the test scripts.
        scripts = not _MODELS.isdisjoint(request.node.fixturenames)
        model: FakeModel | None = request.getfixturevalue("digitorn_model") if scripts else None
        yield _digitorn_target.embedded.add_app(_EMBEDDED_APP, model=model)
    elif _digitorn_target.is_real:
        server: FakeModelServer = request.getfixturevalue("digitorn_model_server")
        client: DevClient = request.getfixturevalue("digitorn_client")
        from digitorn_testing._errors import NotFound

        # The daemon says that an app which replaces another one is deployed while it is not.
        app = real.app_of(f"{_EMBEDDED_APP}-{uuid.uuid4().hex[:8]}", server)
        yield client.deploy_app(app, secrets={real.KEY_SECRET: server.api_key})
        with Troubles(request.node).attempt(f"delete the app {app.app_id}"), suppress(NotFound):
            # An app that is deployed from a definition belongs to the system, not to a user.
            client.api.apps.delete_app(app.app_id, scope="system")
    else:
        yield _given_app(request.config, _digitorn_target)


def _recorded_app(daemon: target.Target, recording: Recording, config: pytest.Config) -> AppHandle:
    from digitorn_testing._handles import AppHandle

    app_id = recordings.app_of(recording) or options.app_id(config) or _EMBEDDED_APP
    return AppHandle(app_id=app_id, daemon_url=daemon.url)


def _given_app(config: pytest.Config, daemon: target.Target) -> AppHandle:
    app_id = options.app_id(config)
    if app_id is None:
        pytest.fail(_APP_NEEDED, pytrace=False)
    from digitorn_testing._handles import AppHandle

    return AppHandle(app_id=app_id, daemon_url=daemon.url)


def digitorn_session(
    request: pytest.FixtureRequest,
    _digitorn_target: target.Target,
    digitorn_client: DevClient,
    digitorn_app: AppHandle,
) -> Iterator[SessionHandle]:
    """A new session of `digitorn_app`. On a given daemon it is deleted afterwards, unless the test failed."""
    made = digitorn_client.new_session(digitorn_app.app_id)
    yield made
    if _digitorn_target.embedded is None and not request.node.stash.get(options.FAILED, False):
        from digitorn_testing._errors import NotFound

        # The test may have deleted it.
        with Troubles(request.node).attempt(f"delete the session {made.session_id}"), suppress(NotFound):
            digitorn_client.delete(made)


def digitorn_stream(digitorn_client: DevClient, digitorn_session: SessionHandle) -> Iterator[LiveEventStream]:
    """The open stream of `session`."""
    with digitorn_client.open_event_stream(digitorn_session) as stream:
        yield stream


# --- builders


def digitorn_app_builder() -> AppBuilder:
    """An app definition to start from, with the id of the app of `session` on an embedded daemon."""
    from digitorn_testing.builders import AppBuilder

    return AppBuilder(_EMBEDDED_APP)


def digitorn_turn_builder() -> TurnBuilder:
    """An empty turn to add events to."""
    from digitorn_testing.builders import TurnBuilder

    return TurnBuilder(app_id=_EMBEDDED_APP)


def digitorn_session_builder() -> SessionBuilder:
    """An empty session to add turns and approvals to."""
    from digitorn_testing.builders import SessionBuilder

    return SessionBuilder(app_id=_EMBEDDED_APP)


# --- under which names


class _Pair(NamedTuple):
    """A fixture of two names.

    Attributes:
        short: The short name.
        make: Makes it; its name is the long one.
        same: The fixture that takes it over under the other name: under the long one if others are made of
            it, so that they are made of an override under the short name.
    """

    short: str
    make: Callable[..., object]
    same: Callable[..., object]

    @property
    def is_part(self) -> bool:
        """Whether other fixtures are made of it."""
        return self.same.__name__ == self.make.__name__


_PAIRS: Final = (
    _Pair("fake_model", digitorn_model, short_names.digitorn_model),
    _Pair("fake_model_server", digitorn_model_server, short_names.digitorn_model_server),
    _Pair("fake_daemon", digitorn_daemon, short_names.digitorn_daemon),
    _Pair("approvals", digitorn_approvals, short_names.digitorn_approvals),
    _Pair("dev_client", digitorn_client, short_names.digitorn_client),
    _Pair("async_dev_client", digitorn_async_client, short_names.async_dev_client),
    _Pair("session", digitorn_session, short_names.session),
    _Pair("live_stream", digitorn_stream, short_names.live_stream),
    _Pair("app_builder", digitorn_app_builder, short_names.app_builder),
    _Pair("turn_builder", digitorn_turn_builder, short_names.turn_builder),
    _Pair("session_builder", digitorn_session_builder, short_names.session_builder),
)


def register(config: pytest.Config) -> None:
    """Makes the fixtures of a run, before pytest looks for those of plugins and conftest files.

    Args:
        config: The run.
    """
    made = ModuleType(f"{__name__}.of_this_run", __doc__)

    def put(name: str, function: Callable[..., object]) -> None:
        setattr(made, name, pytest.fixture(name=name)(function))

    has_short_names: bool = config.getini(options.SHORT_NAMES)
    taken = {
        name
        for registered, plugin in config.pluginmanager.list_name_plugin()
        # What a conftest file defines overrides ours, as far as its folder reaches.
        if plugin is not None and not registered.endswith("conftest.py") and registered != _LOCUST
        for name in _names_in(plugin)
    }
    for one in _PAIRS:
        long = one.make.__name__
        if not has_short_names or one.short in taken:
            put(long, one.make)
        elif one.is_part:
            put(one.short, one.make)
            put(short_names.own(one.short), one.make)
            put(long, one.same)
        else:
            put(long, one.make)
            put(one.short, one.same)
    is_embedded = target.given(config) is None and options.text(config, options.REPLAY) is None
    put("_digitorn_target", target_of_embedded if is_embedded else target_of)
    put("_digitorn_client_under_anyio", client_under_anyio)
    put("digitorn_app", digitorn_app)
    config.pluginmanager.register(made, made.__name__)


def _names_in(plugin: object) -> Iterator[str]:
    """The names of the fixtures that a plugin defines."""
    # Pytest has no public way to ask.
    for name, found in list(vars(plugin if isinstance(plugin, ModuleType) else type(plugin)).items()):
        # Of these, versions before 8.4 have the second.
        for marker in ("_fixture_function_marker", "_pytestfixturefunction"):
            if marker in getattr(found, "__dict__", {}):
                given: str | None = getattr(found.__dict__[marker], "name", None)
                yield given or name


def uses_ours(item: pytest.Item) -> bool:
    """Whether a test uses a fixture of this plugin, directly or through others.

    Args:
        item: The test.
    """
    names: list[str] = getattr(item, "fixturenames", [])
    for name in names:
        # Pytest has no public way to ask for the fixture that a name stands for.
        manager = item.session._fixturemanager  # pyright: ignore[reportPrivateUsage] - see above
        found = manager.getfixturedefs(name, item)
        if found and getattr(found[-1].func, "__module__", "").startswith("digitorn_testing."):
            return True
    return False
