"""`digitorn-testing replay`: a recording, served as by the daemon that it was made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ._connection import Json
from ._serving import PASSWORD, Port, needs_daemon, serve_until_interrupted
from ._terminal import Terminal
from .show import RecordingFile, damage_noted

if TYPE_CHECKING:
    from digitorn_testing.fakes import FakeDaemon


def replay(file: RecordingFile, port: Port = 8000, as_json: Json = False) -> None:
    """Serve a recording: the same calls and messages get the answers that were recorded.

    Other calls are answered from the recorded events, or refused with 409. Needs the extra `daemon`. Runs
    until Ctrl-C, which ends it with exit status 0.
    """
    needs_daemon()
    from digitorn_testing._recordings.recording import Recording
    from digitorn_testing.fakes import FakeDaemon

    terminal = Terminal()
    with damage_noted(terminal), terminal.busy(f"reading {file}"):
        sessions = Recording.load(file).sessions
    said = {
        "apps": list(dict.fromkeys(one.app_id for one in sessions)),
        "sessions": [one.session_id for one in sessions],
    }

    def prepare(_: FakeDaemon) -> Mapping[str, Sequence[str]]:
        return said

    with damage_noted(terminal):
        daemon = FakeDaemon.replay(file, port=port, password=PASSWORD)
    serve_until_interrupted(daemon, terminal, prepare, as_json=as_json)
