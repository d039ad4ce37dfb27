"""`digitorn-testing diff`: compares two recordings."""

import json
from pathlib import Path
from typing import Annotated

import typer


def diff(
    before: Annotated[
        Path,
        typer.Argument(
            metavar="BEFORE",
            exists=True,
            dir_okay=False,
            help="Recording of the first run.",
            show_default=False,
        ),
    ],
    after: Annotated[
        Path,
        typer.Argument(
            metavar="AFTER",
            exists=True,
            dir_okay=False,
            help="Recording of the second run.",
            show_default=False,
        ),
    ],
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help="Kind of change that does not count, such as text. Repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the changes as JSON.")] = False,
) -> None:
    """Compare two recordings: tool calls, approvals, texts, tokens, cost and time.

    Exits with 1 if they differ, and with 2 if they cannot be compared.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from digitorn_testing._errors import RecordingError
    from digitorn_testing._recordings.compare import HEADINGS, KINDS, ChangeKind, compare

    unwanted = set(ignore or ())
    if unknown := sorted(unwanted.difference(KINDS)):
        raise typer.BadParameter(
            f"there is no kind {', '.join(unknown)}; the kinds are {', '.join(KINDS)}", param_hint="--ignore"
        )
    try:
        found = compare(before, after)
    except (RecordingError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    ignored: list[ChangeKind] = [kind for kind in KINDS if kind in unwanted]
    found = found.without(*ignored)
    if as_json:
        typer.echo(json.dumps(found.to_wire(), indent=2))
        raise typer.Exit(1 if found else 0)
    console = Console(highlight=False)
    console.print(Text(found.summary()))
    if found:
        changes = Table(*HEADINGS)
        for one in found:
            changes.add_row(*map(Text, one.row()))
        console.print(changes)
    spent = Table("", "before", "after")
    for row in found.spent():
        spent.add_row(*map(Text, row))
    console.print(spent)
    raise typer.Exit(1 if found else 0)
