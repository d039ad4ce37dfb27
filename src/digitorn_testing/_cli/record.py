"""`digitorn-testing record`: a chat or a tail that is also written to a recording."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from ._connection import AppOption, Json, Url
from ._terminal import Terminal
from .chat import App, ApprovalsOption, Message, Seconds, SessionId, Workspace, converse
from .tail import SessionArgument, UntilIdle, follow

app = typer.Typer(
    help="Record a chat or a session to a file that `show`, `replay`, `report` and `diff` read.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Target: TypeAlias = Annotated[
    Path,
    typer.Option("--to", metavar="FILE", dir_okay=False, help="The recording; an existing one is continued."),
]


@app.command()
def chat(
    app: App,
    to: Target,
    url: Url = None,
    message: Message = None,
    session: SessionId = None,
    workspace: Workspace = "",
    approvals: ApprovalsOption = None,
    timeout: Seconds = 3600.0,
    as_json: Json = False,
) -> None:
    """Talk to an app, as `digitorn-testing chat` does, and record events and REST calls."""
    with _told(to):
        converse(
            app,
            url=url,
            messages=message,
            session_id=session,
            workspace=workspace,
            approvals=approvals,
            timeout=timeout,
            as_json=as_json,
            recording=to,
        )


@app.command()
def tail(
    to: Target,
    session: SessionArgument = None,
    url: Url = None,
    app: AppOption = None,
    until_idle: UntilIdle = False,
    as_json: Json = False,
) -> None:
    """Show and record the events of a session, from its first to when you press Ctrl-C."""
    with _told(to):
        follow(
            session,
            url=url,
            app=app,
            since=0,
            until_idle=until_idle,
            everything=False,
            as_json=as_json,
            recording=to,
        )


@contextmanager
def _told(file: Path) -> Generator[None]:
    """Says what became of a recording, and removes a new one that has no events because the command failed.

    Args:
        file: The recording.
    """
    from digitorn_testing._recordings.recording import Recording

    is_new = not file.exists()
    try:
        yield
    except Exception:
        if is_new and file.exists() and not Recording.load(file).sessions:
            file.unlink()
        raise
    if is_new:
        Terminal().note(f"recorded to {file}")
    else:
        count = len(Recording.load(file).sessions)
        Terminal().note(f"added to {file} ({count} session{'' if count == 1 else 's'})")
