"""`digitorn-testing migrate`: rewrites code that was written for the daemon's own library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Final

import typer

from digitorn_testing._extras import needing

from ._failing import FAILED, USAGE, CommandFailed

_PYTHON: Final = (".py", ".pyi")


def migrate(
    paths: Annotated[list[Path], typer.Argument(help="Files, or folders of Python files.", exists=True)],
    diff: Annotated[bool, typer.Option("--diff", help="Show the changes and write nothing.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 if a file would change.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Rewrite tests of the library that the daemon carries up to 1.0.3.

    Writes what can be rewritten with certainty, and lists what you must do yourself. Running it again changes
    nothing. Needs the extra `digitorn-testing[migrate]`.
    """
    if wrong := [one for one in paths if one.is_file() and one.suffix not in _PYTHON]:
        raise CommandFailed(f"{wrong[0]} is no Python file", USAGE)
    with needing("migrate", "digitorn-testing migrate"):
        from digitorn_testing._migrate.files import changes
    found = list(changes(paths))
    changed = [one for one in found if one.is_changed]
    for one in changed:
        if not (diff or check):
            one.write()
    if as_json:
        files = [
            {
                "path": str(one.path),
                "changed": one.is_changed,
                "problem": one.problem or None,
                "notes": [{"line": note.line, "reason": note.reason} for note in one.notes],
            }
            for one in found
            if one.is_changed or one.notes or one.problem
        ]
        typer.echo(json.dumps({"files": files}, ensure_ascii=False, indent=2))
    else:
        for one in found:
            if diff and one.is_changed:
                typer.echo(one.diff(), nl=False)
            elif one.is_changed:
                typer.echo(f"{'would change' if check else 'changed'} {one.path}")
        for one in found:
            if one.problem:
                typer.echo(f"{one.path}: not read: {one.problem}", err=True)
            for note in one.notes:
                typer.echo(f"{one.path}:{note.line}: {note.reason}")
        count = sum(len(one.notes) for one in found)
        verb = "would change" if diff or check else "changed"
        unread = sum(bool(one.problem) for one in found)
        read = len(found) - unread
        said = [
            f"{read} file{'' if read == 1 else 's'} read",
            f"{len(changed)} {verb}",
            f"{count} left to you",
        ]
        if unread:
            said.insert(1, f"{unread} not read")
        typer.echo(", ".join(said), err=diff)
    if any(one.problem for one in found) or (check and changed):
        raise typer.Exit(FAILED)
