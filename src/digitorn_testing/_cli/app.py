"""The commands, one module each."""

import typer

from . import diff, migrate, report

app = typer.Typer(
    name="digitorn-testing",
    help="Looks at a Digitorn daemon, talks to its apps, and works with recordings.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _root() -> None:
    """Makes typer expect the name of a command even while there is only one."""


app.command()(diff.diff)
app.command()(migrate.migrate)
app.command()(report.report)
