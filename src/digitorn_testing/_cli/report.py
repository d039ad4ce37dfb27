"""`digitorn-testing report`: a recording as a page for the browser."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import typer


def report(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", exists=True, dir_okay=False, help="The recording.", show_default=False
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The page. Default: the recording as .html."),
    ] = None,
    title: Annotated[
        str, typer.Option(metavar="TEXT", help="The page's title. Default: the name of the recording.")
    ] = "",
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Write a recording as one HTML page: timeline, payloads and calls. The page needs no network."""
    from digitorn_testing._errors import RecordingDamaged
    from digitorn_testing._page.page import write_page
    from digitorn_testing._recordings.recording import Recording

    with warnings.catch_warnings():
        # The page says it, and so does the line below.
        warnings.simplefilter("ignore", RecordingDamaged)
        recording = Recording.load(file)
    if recording.damage is not None:
        typer.echo(f"{recording.damage}", err=True)
    page = write_page(recording, output or file.with_suffix(".html"), title=title)
    typer.echo(str(page))
    if show:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
