"""The pytest plugin: its hooks, and reports that show what the agent did.

Pytest loads it automatically if the package is installed; `-p no:digitorn_testing.pytest_plugin` disables it.
The fixtures of an embedded daemon need the extra `digitorn-testing[daemon]`.

PYTEST_DONT_REWRITE: it is imported before pytest could rewrite it, and contains no assertions.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ._extras import needing

with needing("pytest", "digitorn_testing.pytest_plugin"):
    import pytest

from ._plugin import fixtures, options, real, recordings, repeats, scenarios, target
from ._plugin.checks import show_details
from ._plugin.troubles import Troubles, printable_values
from ._plugin.watch import Used, Watch

if TYPE_CHECKING:
    # Loaded where it is used: most runs in an environment with this plugin use none of it.
    from ._plugin.artifacts import ArtifactsFolder
    from ._plugin.evidence import Section

_FINE: Final = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)

_WATCH: Final = pytest.StashKey[Watch]()
_SCENARIOS: Final = pytest.StashKey[frozenset[Path]]()
_USED: Final = pytest.StashKey[Used]()
_TROUBLES: Final = pytest.StashKey[Troubles]()
_FOLDER: Final[pytest.StashKey[ArtifactsFolder]] = pytest.StashKey()


# --- options


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options."""
    options.add(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Registers the markers, finds the scenario files, and starts to watch what tests make."""
    for marker in (
        "digitorn_live(repeats=1, at_least=None): the test needs a daemon that is given, and is skipped "
        "without; of its repeats so many must pass, otherwise all",
        "live: the same on tests that use fixtures of digitorn, and nothing on others",
        "digitorn_replay(path=None): the test runs against its recording, or against this one",
        "digitorn_assert_exhausted(wanted=True): the test fails if it leaves answers of `fake_model` unused",
    ):
        config.addinivalue_line("markers", marker)
    options.check(config)
    config.pluginmanager.register(repeats.Repeating(_watched), repeats.__name__)
    _find_scenarios(config)
    if scenarios.has_asyncio(config):
        _register_asyncio_clients(config)
    watch = config.stash[_WATCH] = Watch(options.token(config))
    stack = ExitStack()
    stack.enter_context(watch.running())
    config.add_cleanup(stack.close)


def _register_asyncio_clients(config: pytest.Config) -> None:
    try:
        # Imported only here, because pytest-asyncio may be missing.
        from ._plugin import asyncio_clients
    except (ImportError, TypeError):
        # This version of pytest-asyncio is too old: its fixtures have no loop scope. The fixture says so.
        return
    config.pluginmanager.register(asyncio_clients, fixtures.ASYNCIO_CLIENTS)


def _find_scenarios(config: pytest.Config) -> None:
    here = config.invocation_params.dir
    patterns = options.listed(config, "--digitorn-scenarios")
    asked_for = scenarios.find(patterns, here)
    if patterns and not asked_for:
        raise pytest.UsageError(f"no Python file matches --digitorn-scenarios {' '.join(patterns)}")
    known: list[str] = config.getini("digitorn_scenarios")
    config.stash[_SCENARIOS] = asked_for | scenarios.find(known, config.rootpath)
    if asked_for:
        visited = [(here / one.partition("::")[0]).resolve() for one in config.args]
        config.args.extend(
            str(file) for file in sorted(asked_for) if not any(file.is_relative_to(one) for one in visited)
        )


def pytest_report_header(config: pytest.Config) -> str | None:
    """Names the daemon, if one is given, and where recordings go or come from."""
    if options.text(config, options.REPLAY):
        return f"digitorn: replaying the recordings in {options.recordings_folder(config)}"
    folder = options.record_folder(config)
    records = f", recorded in {folder}" if folder is not None else ""
    if real.is_wanted(config):
        return f"digitorn: a real daemon, started for this run{records}"
    daemon = target.given(config)
    return f"digitorn: daemon at {daemon.url}{records}" if daemon is not None else None


# --- the run


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Starts the real daemon, before pytest-xdist starts its workers, and makes the fixtures."""
    is_worker = hasattr(session.config, "workerinput")
    if not is_worker and not session.config.getoption("collectonly"):
        options.make_folders(session.config)
        real.start(session.config)
    fixtures.register(session.config)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tells a worker of pytest-xdist about the real daemon."""
    real.share(node.config, node.workerinput)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stops the real daemon; its log is kept when a test has failed."""
    real.stop(session.config, keep=session.exitstatus not in _FINE)


# --- collecting


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(
    file_path: Path, parent: pytest.Collector
) -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Collects scenario files, whatever their names."""
    found = yield
    files = parent.config.stash[_SCENARIOS]
    if files and file_path.resolve() in files:
        return [scenarios.file_at(file_path, parent)]
    return found


def pytest_itemcollected(item: pytest.Item) -> None:
    """Makes scenarios pass or fail by their return values."""
    scenarios.judge(item)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Checks the repeats, and skips tests that need a given daemon if there is none."""
    for item in items:
        repeats.of(item)
    if target.given(config) is not None:
        return
    for item in items:
        is_live = item.get_closest_marker(repeats.MARKER) is not None
        if not is_live and item.get_closest_marker(fixtures.LIVE) is None:
            continue
        is_ours = scenarios.is_one(item) or fixtures.uses_ours(item)
        if (is_live or is_ours) and not (is_ours and recordings.replays(item)):
            item.add_marker(pytest.mark.skip(reason=target.NO_DAEMON))


# --- tests and their reports


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Collects what a test uses, from the setup of its fixtures to their teardown."""
    if repeats.of(item) is not None:
        # Each repeat is watched by itself.
        return (yield)
    with _watched(item):
        return (yield)


@contextmanager
def _watched(item: pytest.Item) -> Generator[None]:
    """Collects what a test uses during the block."""
    troubles = item.stash[_TROUBLES] = Troubles(item)
    # A repeat of the test is one of its own.
    item.stash[options.FAILED] = item.stash[options.PASSED] = False
    item.stash[scenarios.ARTIFACTS] = None
    if _FOLDER in item.stash:
        del item.stash[_FOLDER]
    with item.config.stash[_WATCH].of_test(troubles.attempt) as used:
        item.stash[_USED] = used
        try:
            yield
        finally:
            del item.stash[_USED]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds what the test used to the report of its failure, and writes it to the artifacts folder."""
    used, troubles = item.stash.get(_USED, None), item.stash.get(_TROUBLES, None)
    if used is None or troubles is None:
        # Another plugin makes a report of its own, outside of the test's run.
        return (yield)
    caught = call.excinfo
    if caught is not None and not caught.errisinstance((pytest.skip.Exception, SystemExit)):
        with troubles.attempt("show the detail of a check"):
            show_details(caught, is_short=_is_short(item))
        with troubles.attempt("hide the frames of the library"):
            from ._plugin.tracebacks import hide_frames

            # Also where nothing was made, as by a constructor that refuses its arguments.
            hide_frames(caught.value)
        if used:
            with troubles.attempt("show why the test failed"):
                _explain(caught, used)
    report = yield
    if report.failed:
        item.stash[options.FAILED] = True
        if caught is not None and used:
            from ._plugin.tracebacks import shorten

            with troubles.attempt("shorten the report"):
                shorten(report, item, caught)
    elif report.when == "call" and report.passed:
        item.stash[options.PASSED] = True
    with troubles.attempt("report what the test used"):
        _add(report, item, used, troubles)
    return report


def _explain(caught: pytest.ExceptionInfo[BaseException], used: Used) -> None:
    """Makes an exception say what went wrong in the test's turn."""
    if type(caught.value) is AssertionError:
        said = str(caught.value)
        if new := [one for one in used.evidence.causes() if one not in said]:
            caught.value.args = ("\n".join([*new, said]),)


def _is_short(item: pytest.Item) -> bool:
    """Whether reports leave out details, as those of pytest do unless `-vv` is given."""
    return item.config.get_verbosity() < 2


def _add(report: pytest.TestReport, item: pytest.Item, used: Used, troubles: Troubles) -> None:
    folder = _folder(item, troubles)
    given = item.stash.get(scenarios.ARTIFACTS, None) if report.when == "call" and folder else None
    if not report.failed and given is None:
        return
    if used or folder:
        redactor = used.evidence.redactor()
        troubles.hide = redactor.text
        if folder is not None:
            folder.write_given(given, redactor)
    if report.failed:
        sections: list[Section] = []
        if used:
            model = item.stash.get(fixtures.MODEL, None)
            script = "" if model is None or report.when != "call" else model.script_mismatch()
            sections = used.evidence.sections(
                report.longreprtext, script=script or "", is_short=_is_short(item)
            )
        report.sections.extend(sections)
        if folder is not None:
            title = f"{item.nodeid} ({report.when})"
            folder.write_report(title, report.longreprtext, sections, used.evidence)
            if any(folder.path.glob("*.jsonl")):
                report.sections.append(("digitorn: artifacts", str(folder.path)))
            if folder.page is not None:
                report.sections.append(("digitorn: page", str(folder.page)))


def _folder(item: pytest.Item, troubles: Troubles) -> ArtifactsFolder | None:
    root = options.artifacts_folder(item.config)
    if root is None:
        return None
    if _FOLDER not in item.stash:
        from ._plugin.artifacts import ArtifactsFolder

        # Set by pytest-xdist in its worker processes.
        worker: dict[str, str] = getattr(item.config, "workerinput", {})
        name = item.nodeid + repeats.label(item)
        item.stash[_FOLDER] = ArtifactsFolder(root, name, worker.get("workerid"), troubles.attempt)
    return item.stash[_FOLDER]


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable(
    config: pytest.Config,
) -> Generator[None, dict[str, object] | None, dict[str, object] | None]:
    """Makes reports fit to be sent by pytest-xdist, which half of a surrogate pair from a daemon ends."""
    data = yield
    if data is None or not hasattr(config, "workerinput"):
        return data
    return {name: printable_values(value) for name, value in data.items()}
