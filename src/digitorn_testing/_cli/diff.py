"""`digitorn-testing diff`: compares two recordings, or two folders of recordings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._failing import USAGE, CommandFailed

if TYPE_CHECKING:
    from digitorn_testing._recordings.compare import ChangeKind, Comparison


def diff(
    before: Annotated[
        Path,
        typer.Argument(
            metavar="BEFORE",
            exists=True,
            help="Recording of the first run, or a folder of them.",
            show_default=False,
        ),
    ],
    after: Annotated[
        Path,
        typer.Argument(
            metavar="AFTER",
            exists=True,
            help="Recording of the second run, or a folder of them.",
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

    Two folders are compared file by file, by the names of their recordings (*.jsonl). Exits with 1 if they
    differ, and with 2 if they cannot be compared.
    """
    from digitorn_testing._recordings.compare import KINDS

    unwanted = set(ignore or ())
    if unknown := sorted(unwanted.difference(KINDS)):
        raise typer.BadParameter(
            f"there is no kind {', '.join(unknown)}; the kinds are {', '.join(KINDS)}", param_hint="--ignore"
        )
    ignored: list[ChangeKind] = [kind for kind in KINDS if kind in unwanted]
    if before.is_dir() != after.is_dir():
        raise CommandFailed("a folder is compared with a folder, and a file with a file", USAGE)
    if before.is_dir():
        differs = _folders(before, after, ignored, as_json=as_json)
    else:
        found = _compared(before, after, ignored)
        differs = bool(found)
        if as_json:
            typer.echo(json.dumps(found.to_wire(), indent=2))
        else:
            _show(found)
    raise typer.Exit(1 if differs else 0)


def _compared(before: Path, after: Path, ignored: list[ChangeKind]) -> Comparison:
    from digitorn_testing._recordings.compare import compare

    try:
        return compare(before, after).without(*ignored)
    except OSError as error:
        raise CommandFailed(f"{error.filename}: {error.strerror}", USAGE) from error


def _folders(before: Path, after: Path, ignored: list[ChangeKind], *, as_json: bool) -> bool:
    """Compares the recordings of two folders. Returns whether any differ."""
    first, second = ({one.relative_to(top): one for one in top.rglob("*.jsonl")} for top in (before, after))
    if not first and not second:
        raise CommandFailed(f"there are no recordings (*.jsonl) in {before} and {after}", USAGE)
    differs = False
    for name in sorted({*first, *second}):
        if name in first and name in second:
            found = _compared(first[name], second[name], ignored)
            differs |= bool(found)
            said, wire = found.summary(), found.to_wire()
        else:
            differs = True
            said = f"only in {before if name in first else after}"
            wire = {"only_in": "before" if name in first else "after"}
        typer.echo(json.dumps({"file": name.as_posix(), **wire}) if as_json else f"{name}: {said}")
    return differs


def _show(found: Comparison) -> None:
    """Shows a comparison: in colour and as wide as the terminal, or whole where nobody watches."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from digitorn_testing._recordings.compare import HEADINGS

    console = Console(highlight=False)
    if not console.is_terminal:
        typer.echo(str(found))
        return
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
