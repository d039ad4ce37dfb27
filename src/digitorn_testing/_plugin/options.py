"""What a run is told by the command line, the configuration and the environment."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final, cast

import pytest

from digitorn_testing import _environment

from . import scenarios

FAILED: Final = pytest.StashKey[bool]()
"""Whether a test has failed so far."""
PASSED: Final = pytest.StashKey[bool]()
"""Whether the function of a test has passed."""

REAL: Final = "--digitorn-real"
REAL_FOLDER: Final = "--digitorn-real-dir"

SOCKETS: Final = "sockets"
IN_PROCESS: Final = "in-process"
RELEASED: Final = "real"

SHORT_NAMES: Final = "digitorn_short_names"
EXHAUSTED: Final = "digitorn_assert_exhausted"
"""The name of the setting, and of the marker."""

_KIND: Final = "--digitorn-daemon"
_URL: Final = "--digitorn-url"
_ARTIFACTS: Final = "--digitorn-artifacts"
RECORD: Final = "--digitorn-record"
REPLAY: Final = "--digitorn-replay"
_RECORDINGS: Final = "digitorn_recordings"


def add(parser: pytest.Parser) -> None:
    """Adds the options and the settings.

    Args:
        parser: Pytest's.
    """
    group = parser.getgroup("digitorn", "live tests against a Digitorn daemon")
    group.addoption(
        _KIND,
        choices=(SOCKETS, IN_PROCESS, RELEASED),
        help=f"daemon of the tests: embedded and listening on loopback ({SOCKETS}, the default), embedded "
        f"without a port ({IN_PROCESS}), or the released one ({RELEASED}); else `digitorn_daemon`",
    )
    group.addoption(
        REAL,
        action="store_true",
        help=f"the same as {_KIND}={RELEASED}: install and start the released daemon once for this run",
    )
    group.addoption(
        REAL_FOLDER,
        default=".real",
        metavar="DIR",
        help="folder that it is installed in (default: %(default)s)",
    )
    group.addoption(
        _URL,
        metavar="URL",
        help="running daemon that tests talk to, else $DIGITORN_DAEMON_URL",
    )
    group.addoption("--digitorn-token", metavar="TOKEN", help="its access token, else $DIGITORN_TOKEN")
    group.addoption(
        "--digitorn-app", metavar="APP", help="app on it for `digitorn_session`, else $DIGITORN_APP"
    )
    group.addoption(
        _ARTIFACTS, metavar="DIR", help="write events, exchanges and report of each failure there"
    )
    group.addoption(
        RECORD, metavar="DIR", help="record each test that uses a client of the given daemon there"
    )
    group.addoption(
        REPLAY, metavar="DIR", help="run the same tests against these recordings, without a daemon"
    )
    group.addoption(
        "--digitorn-assert-exhausted",
        action="store_true",
        help="fail tests that leave answers of `fake_model` unused; else `digitorn_assert_exhausted`",
    )
    group.addoption(
        "--digitorn-scenarios",
        action="append",
        default=[],
        metavar="GLOB",
        help="collect functions that return (ok, detail) or (ok, detail, artifacts) from these files",
    )
    parser.addini("digitorn_daemon", f"daemon of the tests, as {_KIND}", default=SOCKETS)
    parser.addini(
        _RECORDINGS, "folder with the recordings of tests marked digitorn_replay", default="recordings"
    )
    parser.addini(SHORT_NAMES, "whether fixtures have their short names too", "bool", default=True)
    parser.addini(
        EXHAUSTED, "whether tests fail that leave answers of `fake_model` unused", "bool", default=False
    )
    parser.addini(
        "digitorn_scenarios", "files that hold scenarios, wherever pytest comes upon them", "args", default=[]
    )
    parser.addini(
        "digitorn_scenario_functions", "names of their functions", "args", default=list(scenarios.FUNCTIONS)
    )


def check(config: pytest.Config) -> None:
    """Checks the options that depend on each other.

    Args:
        config: The run.

    Raises:
        pytest.UsageError: They contradict each other, or a setting is none of its values.
    """
    setting: str = config.getini("digitorn_daemon")
    if setting not in (SOCKETS, IN_PROCESS, RELEASED):
        raise pytest.UsageError(f"digitorn_daemon is {setting!r}, not {SOCKETS}, {IN_PROCESS} or {RELEASED}")
    chosen = text(config, _KIND)
    if config.getoption(REAL) and chosen not in (None, RELEASED):
        raise pytest.UsageError(f"{_KIND}={chosen} and {REAL} name two daemons")
    if kind(config) == RELEASED and text(config, _URL):
        raise pytest.UsageError(f"{_URL} and {REAL} name two daemons")
    if text(config, REPLAY):
        if text(config, RECORD):
            raise pytest.UsageError(f"{RECORD} and {REPLAY} exclude each other")
        if text(config, _URL) or kind(config) == RELEASED:
            raise pytest.UsageError(f"{REPLAY} needs no daemon: leave out {_URL} and {REAL}")
        if not recordings_folder(config).is_dir():
            raise pytest.UsageError(f"{REPLAY}: there is no folder {recordings_folder(config)}")
    elif text(config, RECORD) and not url(config) and kind(config) != RELEASED:
        raise pytest.UsageError(
            f"{RECORD} needs a daemon: pass {_URL} or {REAL}, or set $DIGITORN_DAEMON_URL"
        )


def kind(config: pytest.Config) -> str:
    """Which daemon tests have that is not a running one: `SOCKETS`, `IN_PROCESS` or `RELEASED`.

    Args:
        config: The run.
    """
    if config.getoption(REAL):
        return RELEASED
    if chosen := text(config, _KIND):
        return chosen
    setting: str = config.getini("digitorn_daemon")
    # The command line wins.
    return SOCKETS if setting == RELEASED and text(config, _URL) else setting


def url(config: pytest.Config) -> str | None:
    """The URL of a running daemon, from the options or the environment."""
    return text(config, _URL) or _environment.daemon_url()


def token(config: pytest.Config) -> str | None:
    """The access token from the options or the environment."""
    return text(config, "--digitorn-token") or _environment.token()


def app_id(config: pytest.Config) -> str | None:
    """The app that tests may use on the daemon, from the options or the environment."""
    return text(config, "--digitorn-app") or _environment.app_id()


def must_be_exhausted(item: pytest.Item) -> bool:
    """Whether a test fails that leaves answers of its script unused.

    Args:
        item: The test. Its marker goes before the option, and that before the setting.
    """
    marker = item.get_closest_marker(EXHAUSTED)
    if marker is not None:
        return bool(marker.args[0]) if marker.args else True
    return bool(item.config.getoption("--digitorn-assert-exhausted") or item.config.getini(EXHAUSTED))


def artifacts_folder(config: pytest.Config) -> Path | None:
    """The folder for artifacts; None if nothing is to be written."""
    return _folder(config, _ARTIFACTS)


def record_folder(config: pytest.Config) -> Path | None:
    """The folder for new recordings; None if nothing is to be recorded."""
    return _folder(config, RECORD)


def recordings_folder(config: pytest.Config) -> Path:
    """The folder with the recordings that tests replay."""
    setting: str = config.getini(_RECORDINGS)
    return _folder(config, REPLAY) or config.rootpath / setting


def _folder(config: pytest.Config, name: str) -> Path | None:
    folder = text(config, name)
    # Worker processes may have another working directory.
    return config.invocation_params.dir / folder if folder else None


def make_folders(config: pytest.Config) -> None:
    """Makes the folders that the run writes to.

    Args:
        config: The run.

    Raises:
        pytest.UsageError: Nothing can be written there.
    """
    for option in (_ARTIFACTS, RECORD):
        folder = _folder(config, option)
        if folder is None:
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except (OSError, ValueError) as error:
            raise pytest.UsageError(f"{option}: nothing can be written to {folder}: {error}") from error


def listed(config: pytest.Config, name: str) -> list[str]:
    """The values of an option that may be repeated."""
    value: object = config.getoption(name)
    return [str(one) for one in cast("list[object]", value)]


def text(config: pytest.Config, name: str) -> str | None:
    """The value of an option."""
    value: object = config.getoption(name)
    return None if value is None else str(value)
