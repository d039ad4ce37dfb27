"""The commands, one module each."""

from typing import Annotated

import typer

from . import approvals, apps, chat, diff, doctor, login, migrate, record, replay, report, serve, show, tail
from ._failing import Commands
from ._terminal import Terminal

app = typer.Typer(
    name="digitorn-testing",
    help="Look at a Digitorn daemon, talk to its apps, and work with recordings.",
    epilog="Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted by Ctrl-C.",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(wanted: bool) -> None:
    if wanted:
        from digitorn_testing import CONTRACT_VERSION, __version__

        Terminal().data(f"digitorn-testing {__version__}, contract {CONTRACT_VERSION}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error. May stand behind a command too.")
    ] = False,
) -> None:
    pass


app.command("doctor")(doctor.doctor)
app.command("login")(login.login)
app.command("logout")(login.logout)
app.command("apps")(apps.apps)
app.command("chat")(chat.chat)
app.command("tail")(tail.tail)
app.add_typer(record.app, name="record")
app.command("diff")(diff.diff)
app.command("report")(report.report)
app.command("show")(show.show)
app.command("replay")(replay.replay)
app.command("serve")(serve.serve)
app.command("pending")(approvals.pending)
app.command("approve")(approvals.approve)
app.command("deny")(approvals.deny)
app.command("migrate")(migrate.migrate)
