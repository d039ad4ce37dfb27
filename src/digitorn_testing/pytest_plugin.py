"""The pytest plugin: fixtures, options, and reports that show what the agent did.

Pytest loads it automatically if the package is installed; `-p no:digitorn_testing.pytest_plugin` disables it.
The fixtures of an embedded daemon need the extra `digitorn-testing[daemon]`.

PYTEST_DONT_REWRITE: it is imported before pytest could rewrite it, and contains no assertions.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from ._plugin import real, scenarios, target
from ._plugin.checks import show_details
from ._plugin.watch import Used, Watch

if TYPE_CHECKING:
    # Loaded where they are used: most runs in an environment with this plugin use none of it.
    from ._approvals.policies import ApprovalPolicy
    from ._approvals.recording import RecordingApprovals
    from ._client._async.client import AsyncDevClient
    from ._client._sync.client import DevClient
    from ._handles import AppHandle, SessionHandle
    from ._plugin.artifacts import ArtifactsFolder
    from ._stream import LiveEventStream
    from .builders import AppBuilder, SessionBuilder, TurnBuilder
    from .fakes import FakeDaemon, FakeModel, FakeModelServer

_EMBEDDED_APP: Final = "my-app"
_FAKES: Final = frozenset({"fake_daemon", "fake_model"})

_FINE: Final = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)

_WATCH: Final = pytest.StashKey[Watch]()
_SCENARIOS: Final = pytest.StashKey[frozenset[Path]]()
_USED: Final = pytest.StashKey[Used]()
_FOLDER: Final[pytest.StashKey[ArtifactsFolder]] = pytest.StashKey()
_FAILED: Final = pytest.StashKey[bool]()


# --- options


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options."""
    group = parser.getgroup("digitorn", "live tests against a Digitorn daemon")
    group.addoption(
        "--digitorn-url",
        metavar="URL",
        help="daemon that tests talk to, else $DIGITORN_DAEMON_URL, else an embedded one",
    )
    group.addoption(
        real.OPTION,
        action="store_true",
        help="install and start the released daemon once for this run, and let tests talk to it",
    )
    group.addoption(
        real.FOLDER_OPTION,
        default=".real",
        metavar="DIR",
        help="folder that it is installed in (default: %(default)s)",
    )
    group.addoption("--digitorn-token", metavar="TOKEN", help="its access token, else $DIGITORN_TOKEN")
    group.addoption("--digitorn-app", metavar="APP", help="app on it for `session`, else $DIGITORN_APP")
    group.addoption(
        "--digitorn-artifacts", metavar="DIR", help="write events, exchanges and report of each failure there"
    )
    group.addoption(
        "--digitorn-scenarios",
        action="append",
        default=[],
        metavar="GLOB",
        help="collect functions that return (ok, detail) or (ok, detail, artifacts) from these files",
    )
    parser.addini(
        "digitorn_scenarios", "files that hold scenarios, wherever pytest comes upon them", "args", default=[]
    )
    parser.addini(
        "digitorn_scenario_functions", "names of their functions", "args", default=list(scenarios.FUNCTIONS)
    )


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker, finds the scenario files, and starts to watch what tests make."""
    config.addinivalue_line("markers", "live: the test needs a daemon that is given, and is skipped without")
    here = config.invocation_params.dir
    if real.is_wanted(config) and target.option(config, "--digitorn-url"):
        raise pytest.UsageError(f"--digitorn-url and {real.OPTION} name two daemons")
    if folder := target.option(config, "--digitorn-artifacts"):
        # Worker processes may have another working directory.
        config.option.digitorn_artifacts = str((here / folder).resolve())
    _find_scenarios(config, here)
    if config.pluginmanager.hasplugin("asyncio"):
        # Imported only here, because pytest-asyncio may be missing.
        config.pluginmanager.import_plugin("digitorn_testing._plugin.asyncio_clients")
    watch = config.stash[_WATCH] = Watch(target.token(config))
    stack = ExitStack()
    stack.enter_context(watch.running())
    config.add_cleanup(stack.close)


def _find_scenarios(config: pytest.Config, here: Path) -> None:
    patterns = target.listed(config, "--digitorn-scenarios")
    asked_for = scenarios.find(patterns, here)
    if patterns and not asked_for:
        raise pytest.UsageError(f"no Python file matches --digitorn-scenarios {' '.join(patterns)}")
    known: list[str] = config.getini("digitorn_scenarios")
    config.stash[_SCENARIOS] = asked_for | scenarios.find(known, config.rootpath)
    visited = [(here / one.partition("::")[0]).resolve() for one in config.args]
    config.args.extend(
        str(file) for file in sorted(asked_for) if not any(file.is_relative_to(one) for one in visited)
    )


def pytest_report_header(config: pytest.Config) -> str | None:
    """Names the daemon, if one is given."""
    if real.is_wanted(config):
        return "digitorn: a real daemon, started for this run"
    daemon = target.given(config)
    return f"digitorn: daemon at {daemon.url}" if daemon is not None else None


# --- the real daemon


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Starts the real daemon, before pytest-xdist starts its workers."""
    real.start(session.config)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tells a worker of pytest-xdist about the real daemon."""
    real.share(node.config, node.workerinput)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stops the real daemon; its log is kept when a test has failed."""
    real.stop(session.config, keep=session.exitstatus not in _FINE)


# --- scenarios


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(
    file_path: Path, parent: pytest.Collector
) -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Collects scenario files, whatever their names."""
    found = yield
    if file_path.resolve() in parent.config.stash[_SCENARIOS]:
        return [scenarios.file_at(file_path, parent)]
    return found


def pytest_itemcollected(item: pytest.Item) -> None:
    """Makes scenarios pass or fail by their return values."""
    scenarios.judge(item)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skips tests that need a given daemon if there is none."""
    if target.given(config) is None:
        for item in items:
            if item.get_closest_marker("live") is not None:
                item.add_marker(pytest.mark.skip(reason=target.NO_DAEMON))


# --- runs and reports


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Collects what a test uses, from the setup of its fixtures to their teardown."""
    with item.config.stash[_WATCH].of_test() as used:
        item.stash[_USED] = used
        try:
            return (yield)
        finally:
            del item.stash[_USED]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds what the test used to the report of its failure, and writes it to the artifacts folder."""
    if call.excinfo is not None:
        show_details(call.excinfo)
    report = yield
    used = item.stash.get(_USED, None)
    if used is None:
        return report
    folder = _folder(item)
    if folder is not None and call.when == "call":
        folder.write_given(item.stash.get(scenarios.ARTIFACTS, None), used.evidence.redactor())
    if report.failed:
        item.stash[_FAILED] = True
        sections = used.evidence.sections() if used else []
        report.sections.extend(sections)
        if folder is not None:
            folder.write_report(
                f"{item.nodeid} ({report.when})", report.longreprtext, sections, used.evidence
            )
    return report


def _folder(item: pytest.Item) -> ArtifactsFolder | None:
    root = target.option(item.config, "--digitorn-artifacts")
    if not root:
        return None
    if _FOLDER not in item.stash:
        from ._plugin.artifacts import ArtifactsFolder

        # Set by pytest-xdist in its worker processes.
        worker: dict[str, str] = getattr(item.config, "workerinput", {})
        item.stash[_FOLDER] = ArtifactsFolder(Path(root), item.nodeid, worker.get("workerid"))
    return item.stash[_FOLDER]


# --- fixtures


@pytest.fixture
def fake_model() -> Iterator[FakeModel]:
    """The scripted model of the test's app. The test fails if the script does not answer a request."""
    _needs_daemon_extra()
    from .fakes import FakeModel

    with FakeModel() as model:
        yield model


@pytest.fixture
def fake_model_server(fake_model: FakeModel) -> Iterator[FakeModelServer]:
    """`fake_model` as a provider over HTTP, for apps on a daemon that is not embedded."""
    from .fakes import FakeModelServer

    with FakeModelServer(fake_model) as server:
        yield server


@pytest.fixture
def fake_daemon(fake_model: FakeModel) -> Iterator[FakeDaemon]:
    """An embedded daemon for this test alone; its apps use `fake_model`."""
    from .fakes import FakeDaemon

    with FakeDaemon(model=fake_model) as daemon:
        yield daemon


def _needs_daemon_extra() -> None:
    try:
        import fastapi  # noqa: F401 # pyright: ignore[reportUnusedImport] - only to see whether it is installed
    except ImportError:
        pytest.fail(
            "an embedded daemon needs the extra digitorn-testing[daemon]; "
            "to use another one, pass --digitorn-url or set $DIGITORN_DAEMON_URL",
            pytrace=False,
        )


@pytest.fixture
def _digitorn_target(request: pytest.FixtureRequest) -> target.Target:
    """The daemon of this test: the given one, unless there is none or the test uses an embedded one."""
    daemon = target.given(request.config)
    if daemon is not None:
        # A model that is scripted answers on a real daemon as well.
        embedded_only = {"fake_daemon"} if daemon.is_real else _FAKES
        if embedded_only.isdisjoint(request.fixturenames):
            return daemon
    embedded: FakeDaemon = request.getfixturevalue("fake_daemon")
    return target.Target(embedded.url, embedded.token(), embedded)


@pytest.fixture
def approvals() -> RecordingApprovals:
    """Decides and records the approvals of the test's clients; at first it approves every tool call."""
    from ._approvals.recording import RecordingApprovals

    return RecordingApprovals()


@pytest.fixture
def dev_client(_digitorn_target: target.Target, approvals: ApprovalPolicy) -> Iterator[DevClient]:
    """A client of the given daemon, or of `fake_daemon` if there is none or the test uses it."""
    with _digitorn_target.client(approvals) as client:
        yield client


@pytest.fixture
def async_dev_client(request: pytest.FixtureRequest) -> AsyncDevClient:
    """The asynchronous `dev_client`, for tests run by pytest-asyncio (in either mode) or anyio."""
    found: AsyncDevClient = request.getfixturevalue(_async_fixture(request))
    return found


def _async_fixture(request: pytest.FixtureRequest) -> str:
    """The name of the fixture that runs in the test's event loop."""
    if "anyio_backend" in request.fixturenames:
        return "_digitorn_client_under_anyio"
    if not request.config.pluginmanager.hasplugin("asyncio"):
        pytest.fail("async_dev_client needs pytest-asyncio, or a test that anyio runs", pytrace=False)
    from ._plugin.asyncio_clients import name_in

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


@pytest.fixture
async def _digitorn_client_under_anyio(
    _digitorn_target: target.Target, approvals: ApprovalPolicy
) -> AsyncIterator[AsyncDevClient]:
    async with _digitorn_target.async_client(approvals) as client:
        yield client


@pytest.fixture
def digitorn_app(request: pytest.FixtureRequest, _digitorn_target: target.Target) -> Iterator[AppHandle]:
    """The app of `session`: the test's own on a daemon of the plugin, otherwise that of --digitorn-app.

    Override the fixture to deploy your own app.
    """
    if _digitorn_target.embedded is not None:
        yield _digitorn_target.embedded.add_app(_EMBEDDED_APP)
    elif _digitorn_target.is_real:
        server: FakeModelServer = request.getfixturevalue("fake_model_server")
        client: DevClient = request.getfixturevalue("dev_client")
        from ._errors import NotFound

        # The daemon says that an app which replaces another one is deployed while it is not.
        app = real.app_of(f"{_EMBEDDED_APP}-{uuid.uuid4().hex[:8]}", server)
        yield client.deploy_app(app, secrets={real.KEY_SECRET: server.api_key})
        with suppress(NotFound):
            # An app that is deployed from a definition belongs to the system, not to a user.
            client.api.apps.delete_app(app.app_id, scope="system")
    else:
        yield _given_app(request.config, _digitorn_target)


def _given_app(config: pytest.Config, daemon: target.Target) -> AppHandle:
    app_id = target.app_id(config)
    if app_id is None:
        pytest.fail(
            "`session` needs an app of the daemon: pass --digitorn-app, set $DIGITORN_APP, "
            "or override the fixture `digitorn_app`",
            pytrace=False,
        )
    from ._handles import AppHandle

    return AppHandle(app_id=app_id, daemon_url=daemon.url)


@pytest.fixture
def session(
    request: pytest.FixtureRequest,
    _digitorn_target: target.Target,
    dev_client: DevClient,
    digitorn_app: AppHandle,
) -> Iterator[SessionHandle]:
    """A new session of `digitorn_app`. On a given daemon it is deleted afterwards, unless the test failed."""
    made = dev_client.new_session(digitorn_app.app_id)
    yield made
    if _digitorn_target.embedded is None and not request.node.stash.get(_FAILED, False):
        from ._errors import NotFound

        try:
            dev_client.delete(made)
        except NotFound:
            # The test deleted it.
            return


@pytest.fixture
def live_stream(dev_client: DevClient, session: SessionHandle) -> Iterator[LiveEventStream]:
    """The open stream of `session`."""
    with dev_client.open_event_stream(session) as stream:
        yield stream


# --- builders


@pytest.fixture
def app_builder() -> AppBuilder:
    """An app definition to start from, with the id of the app of `session` on an embedded daemon."""
    from .builders import AppBuilder

    return AppBuilder(_EMBEDDED_APP)


@pytest.fixture
def turn_builder() -> TurnBuilder:
    """An empty turn to add events to."""
    from .builders import TurnBuilder

    return TurnBuilder(app_id=_EMBEDDED_APP)


@pytest.fixture
def session_builder() -> SessionBuilder:
    """An empty session to add turns and approvals to."""
    from .builders import SessionBuilder

    return SessionBuilder(app_id=_EMBEDDED_APP)
