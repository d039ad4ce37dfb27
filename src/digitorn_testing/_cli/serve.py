"""`digitorn-testing serve`: the embedded daemon as a process of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ._connection import Json
from ._serving import PASSWORD, Port, needs_daemon, serve_until_interrupted
from ._terminal import Terminal

if TYPE_CHECKING:
    from digitorn_testing.fakes import FakeDaemon


def serve(
    script: Annotated[
        str | None,
        typer.Argument(
            metavar="[SCRIPT]",
            help="YAML or JSON file with the answers of the model, or a Python file or module, such as "
            "model.py:make. Default: a model that repeats what it is told.",
        ),
    ] = None,
    app: Annotated[
        str | None,
        typer.Option("--app", metavar="APP", help="Id of the app. Default: the script's, or my-app."),
    ] = None,
    port: Port = 8000,
    as_json: Json = False,
) -> None:
    """Serve the embedded daemon with an app whose model is scripted.

    Needs the extra `daemon`. Runs until Ctrl-C, which ends it with exit status 0.
    """
    needs_daemon()
    from digitorn_testing.fakes import FakeDaemon

    from ._scripts import load

    scripted = load(script, app)

    def prepare(daemon: FakeDaemon) -> Mapping[str, Sequence[str]]:
        return {"apps": [daemon.deploy(scripted.app, model=scripted.model).app_id]}

    serve_until_interrupted(
        FakeDaemon(model=scripted.model, port=port, password=PASSWORD), Terminal(), prepare, as_json=as_json
    )
