"""`digitorn-testing apps`: the apps of a daemon."""

from __future__ import annotations

from typing import Annotated

import typer

from ._connection import Json, Url, connected
from ._terminal import Terminal


def apps(
    url: Url = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also apps that are hidden, disabled or not deployed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the apps that you can talk to."""
    terminal = Terminal()
    with connected(url) as client:
        with terminal.busy("asking for the apps"):
            found = client.list_apps(
                include_disabled=everything, include_installed=everything, include_hidden=everything
            )
        if as_json:
            terminal.json([one.to_wire() for one in found], indent=2)
        elif not found:
            terminal.note(f"No app is deployed on {client.daemon_url}.", "")
        else:
            terminal.table(
                ("APP", "VERSION", "MODE", "AGENTS", "DESCRIPTION"),
                [
                    (
                        one.app_id,
                        one.version or "",
                        one.mode or "",
                        ", ".join(one.agents or ()),
                        one.description or one.name or "",
                    )
                    for one in found
                ],
            )
