"""The real daemon of a run: one, started by the process that pytest-xdist's workers belong to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict, cast

import pytest

from . import options

if TYPE_CHECKING:
    from digitorn_testing._real.daemon import RealDaemon
    from digitorn_testing.builders import AppBuilder
    from digitorn_testing.fakes import FakeModelServer

KEY_SECRET: Final = "MODEL_API_KEY"
"""Secret of the test's app that holds the key of its model."""

_SHARED: Final = "digitorn_real"
_APP: Final = """
app:
  app_id: {app_id}
  name: A test's app
  version: "1.0"
runtime:
  mode: conversation
agents:
  - id: main
    role: assistant
    brain: {{}}
    system_prompt: You are a test's agent.
tools:
  modules:
    shell: {{}}
  capabilities:
    default_policy: auto
    # Bash is not offered below that.
    max_risk_level: high
"""


class Access(TypedDict):
    """How tests reach the real daemon.

    Attributes:
        url: Its base URL.
        auth_url: Base URL of its auth service.
        token: Access token of an administrator.
    """

    url: str
    auth_url: str
    token: str


_ACCESS: Final = pytest.StashKey[Access]()
_DAEMON: Final[pytest.StashKey[RealDaemon]] = pytest.StashKey()


def is_wanted(config: pytest.Config) -> bool:
    """Whether the run asks for a real daemon."""
    return options.kind(config) == options.RELEASED


def access(config: pytest.Config) -> Access | None:
    """How to reach the run's real daemon; None when there is none."""
    worker: dict[str, Any] = getattr(config, "workerinput", {})
    return cast("Access | None", worker.get(_SHARED)) or config.stash.get(_ACCESS, None)


def start(config: pytest.Config) -> None:
    """Starts the real daemon when the run asks for it.

    Args:
        config: The run.

    Raises:
        pytest.UsageError: It cannot be started.
    """
    if not is_wanted(config):
        return
    # Where it cannot run, its modules cannot be imported either.
    from digitorn_testing._errors import DigitornError
    from digitorn_testing._real.daemon import RealDaemon

    root = config.invocation_params.dir / Path(str(config.getoption(options.REAL_FOLDER)))
    daemon = RealDaemon(root, say=lambda message: say(config, message))
    # Whatever goes wrong from here on.
    config.add_cleanup(lambda: _stop(config, daemon, keep=True))
    try:
        daemon.start()
        token = daemon.token(is_admin=True)
    except DigitornError as error:
        raise pytest.UsageError(f"{options.REAL}: {error}") from error
    config.stash[_DAEMON] = daemon
    config.stash[_ACCESS] = Access(url=daemon.url, auth_url=daemon.auth_url, token=token)


def share(config: pytest.Config, worker: dict[str, Any]) -> None:
    """Tells a worker of pytest-xdist how to reach it.

    Args:
        config: The run.
        worker: What the worker is given.
    """
    if (found := access(config)) is not None:
        worker[_SHARED] = dict(found)


def stop(config: pytest.Config, *, keep: bool) -> None:
    """Stops the real daemon, if this process has started it.

    Args:
        config: The run.
        keep: Whether to keep its log and its data.
    """
    daemon = config.stash.get(_DAEMON, None)
    if daemon is None:
        return
    _stop(config, daemon, keep=keep)
    if keep:
        say(config, f"the real daemon's log is {daemon.log_path}")


def _stop(config: pytest.Config, daemon: RealDaemon, *, keep: bool) -> None:
    try:
        daemon.stop(keep=keep)
    except Exception as error:  # noqa: BLE001 - whatever it is, the results of the tests are still to be shown
        say(config, f"the real daemon could not be stopped: {type(error).__name__}: {error}")


def say(config: pytest.Config, message: str) -> None:
    """Shows a message to whoever runs the tests.

    Args:
        config: The run.
        message: One line.
    """
    terminal: pytest.TerminalReporter | None = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None:
        terminal.ensure_newline()
        terminal.write_line(f"digitorn: {message}")


def app_of(app_id: str, server: FakeModelServer) -> AppBuilder:
    """An app for one test, which may use every tool of the shell without asking.

    Args:
        app_id: Its id.
        server: Its model.
    """
    from digitorn_testing.builders import AppBuilder

    return AppBuilder.from_yaml(_APP.format(app_id=app_id)).with_model(
        provider="openai",
        model="fake-model",
        backend="openai_compat",
        base_url=server.base_url,
        api_key_secret=KEY_SECRET,
    )
