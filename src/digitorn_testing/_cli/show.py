"""`digitorn-testing show`: a recording as a timeline."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from ._connection import Json
from ._terminal import Terminal
from .tail import Everything

RecordingFile: TypeAlias = Annotated[
    Path,
    typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="The recording.", show_default=False),
]


def show(
    file: RecordingFile,
    session: Annotated[
        str | None, typer.Option(metavar="ID", help="Only this session. Default: all of them.")
    ] = None,
    everything: Everything = False,
    as_json: Json = False,
) -> None:
    """Show the events of a recording. With --json, every event is a line of JSON."""
    from digitorn_testing._recordings.recording import Recording

    from ._timeline import Timeline

    terminal = Terminal()
    with damage_noted(terminal), terminal.busy(f"reading {file}"):
        recording = Recording.load(file)
        ids = [one.session_id for one in recording.sessions] if session is None else [session]
        logs = [recording.log(one) for one in ids]
    if not logs:
        terminal.note(f"{file} holds no events; it has {len(recording.exchanges)} REST calls.", "")
    for log in logs:
        terminal.note(f"session {log.session.session_id} of {log.session.app_id}, {len(log)} events")
        lines = Timeline(terminal, everything=everything, meaning=log.meaning)
        for event in log.events():
            if as_json:
                terminal.json(dict(event.raw))
            else:
                lines.take(event)
        lines.flush()


@contextmanager
def damage_noted(terminal: Terminal) -> Generator[None]:
    """Turns the warning about a damaged recording into a line on stderr.

    Args:
        terminal: Where to write it.
    """
    from digitorn_testing import RecordingDamaged

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RecordingDamaged)
        yield
    for one in caught:
        terminal.note(f"warning: {one.message}", "yellow")
