"""What `serve` and `replay` share: an embedded daemon that runs until Ctrl-C."""

from __future__ import annotations

import importlib
import signal
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from ._failing import CommandFailed
from ._terminal import Terminal

if TYPE_CHECKING:
    from digitorn_testing.fakes import FakeDaemon

Prepare: TypeAlias = "Callable[[FakeDaemon], Mapping[str, Sequence[str]]]"

EMAIL: Final = "dev@example.com"
PASSWORD: Final = "embedded-daemon"
"""It protects nothing: the daemon listens on this machine and holds no data but the script."""

_LOOK_SECONDS: Final = 0.5

Port: TypeAlias = Annotated[
    int, typer.Option("--port", min=0, max=65535, help="Port on 127.0.0.1 to listen on; 0 for a free one.")
]


def needs_daemon() -> None:
    """Checks that the extra of the embedded daemon is installed.

    Raises:
        CommandFailed: It is not.
    """
    try:
        importlib.import_module("digitorn_testing.fakes")
    except ImportError as error:
        raise CommandFailed('this command needs an extra: pip install "digitorn-testing[daemon]"') from error


def serve_until_interrupted(
    daemon: FakeDaemon, terminal: Terminal, prepare: Prepare, *, as_json: bool
) -> None:
    """Starts a daemon, says how to reach it, and stops it on Ctrl-C or SIGTERM.

    Args:
        daemon: The daemon.
        terminal: Where to say it.
        prepare: Fills the daemon once it runs; gives what to say about it.
        as_json: Whether to say it in JSON.

    Raises:
        CommandFailed: It cannot start.
    """
    try:
        daemon.start()
    except OSError as error:
        raise CommandFailed(f"nothing can listen there: {error}. --port 0 takes a free port") from error
    # Whatever manages processes ends them with it.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with warnings.catch_warnings(), suppress(KeyboardInterrupt):
            # They come from the daemon's thread, such as that an answer is made up.
            warnings.showwarning = partial(_note_warning, terminal)
            _announce(daemon, terminal, prepare(daemon), as_json=as_json)
            never = threading.Event()
            # Windows notices Ctrl-C only between two waits.
            while not never.wait(_LOOK_SECONDS):
                pass
    finally:
        signal.signal(signal.SIGTERM, before)
        daemon.stop()


def _announce(
    daemon: FakeDaemon, terminal: Terminal, said: Mapping[str, Sequence[str]], *, as_json: bool
) -> None:
    if as_json:
        terminal.json({"url": daemon.url, "email": EMAIL, "password": PASSWORD, **said})
        return
    terminal.data(daemon.url, "bold")
    for name, values in said.items():
        terminal.note(f"{name}: {', '.join(values) or 'none'}", "")
    terminal.note(f"log in: digitorn-testing login --url {daemon.url} --email {EMAIL}", "")
    terminal.note(f"password: {PASSWORD}", "")
    terminal.note("Ctrl-C stops it.")


def _note_warning(terminal: Terminal, message: Warning | str, *_: object) -> None:
    terminal.note(f"warning: {message}", "yellow")
