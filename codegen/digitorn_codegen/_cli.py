"""The `digitorn-codegen` command. Each part of it imports what it alone needs: most runs are `check`."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ._errors import ContractError, OutputError, SettingsError
from ._generate import check, generate
from ._settings import Settings, build, from_pyproject, merge

_SETTINGS = ("openapi", "events", "commands", "package", "out")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0 when all is well; 1 when `check` found stale code, `diff` a breaking change or `pull` a
        disagreement; 2 when a contract or the settings are wrong.
    """
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return run(arguments)
    except (ContractError, SettingsError, OutputError) as error:
        print(f"digitorn-codegen: {error}", file=sys.stderr)
        return 2


def _settings(arguments: argparse.Namespace) -> Settings:
    given = {
        name: getattr(arguments, name) for name in _SETTINGS if getattr(arguments, name, None) is not None
    }
    return build(merge(given, from_pyproject(Path.cwd())))


def _generate(arguments: argparse.Namespace) -> int:
    started = time.perf_counter()
    changed = generate(_settings(arguments), _warn)
    for path in changed:
        print(f"{'wrote' if path.exists() else 'removed'} {_shown(path)}")
    what = f"{len(changed)} files changed" if changed else "nothing to change"
    print(f"{what}, {time.perf_counter() - started:.1f} s")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    started = time.perf_counter()
    diff = check(_settings(arguments))
    if diff:
        print(diff, end="")
        _complain("the generated code is stale; run `digitorn-codegen generate`")
        return 1
    print(f"the generated code is current, {time.perf_counter() - started:.1f} s")
    return 0


def _diff(arguments: argparse.Namespace) -> int:
    from ._diff import as_json, as_lines, compare
    from ._pull import fetched
    from ._sides import read_side

    with fetched(arguments.old) as old, fetched(arguments.new) as new:
        changes = compare(read_side(old), read_side(new))
    print(as_json(changes) if arguments.json else "\n".join(as_lines(changes)))
    return 1 if any(change.breaking for change in changes) else 0


def _pull(arguments: argparse.Namespace) -> int:
    from ._pull import disagreements, fetched
    from ._sides import read_side

    with fetched(arguments.source) as server:
        lines = disagreements(read_side(_settings(arguments).openapi), read_side(server))
    for line in lines:
        print(line)
    print(f"{len(lines)} disagreements with {arguments.source}; nothing was written")
    return 1 if lines else 0


def _learn(arguments: argparse.Namespace) -> int:
    from ._learn import learn, write_drafts
    from ._sides import read_side

    settings = _settings(arguments)
    learned = learn(read_side(settings.openapi.parent), arguments.recordings)
    folder: Path | None = arguments.drafts or settings.events
    if folder is None:
        raise SettingsError("--drafts is missing; pass the folder that drafts go to")
    for line in learned.lines():
        print(line)
    for path in write_drafts(learned, folder):
        print(f"drafted {_shown(path)}")
    for line in learned.skipped:
        _warn(line)
    read = ", ".join(f"{count} {what}" for what, count in learned.counts.items()) or "nothing"
    print(f"{read} read, {len(learned.drafts)} types of events that the contract lacks")
    return 0


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


def _complain(text: str) -> None:
    print(f"digitorn-codegen: {text}", file=sys.stderr)


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="digitorn-codegen",
        description="Generates a typed client package from an OpenAPI document and event JSON Schemas.",
        epilog="Options override the keys of [tool.digitorn-codegen] in pyproject.toml; with a --package "
        "that is not the table's they stand alone.",
    )
    commands = parser.add_subparsers(required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        return added

    for name, run, text in (
        ("generate", _generate, "write the generated code"),
        ("check", _check, "exit 1 with a diff when the committed code is not what the contract produces"),
    ):
        added = command(name, run, text)
        added.add_argument("--openapi", type=Path, help="OpenAPI document, YAML or JSON")
        added.add_argument("--events", type=Path, help="folder of event payload schemas")
        added.add_argument("--commands", type=Path, help="folder of socket command schemas")
        added.add_argument("--package", help="dotted name of the generated package")
        added.add_argument("--out", type=Path, help="folder of the generated package")
    added = command(
        "diff", _diff, "list what changed between two contracts; exit 1 when a change is breaking"
    )
    added.add_argument("--json", action="store_true", help="print the changes as JSON")
    added.add_argument("old", help="folder, OpenAPI document, or URL of a server")
    added.add_argument("new", help="folder, OpenAPI document, or URL of a server")
    added = command(
        "pull", _pull, "report how a server's document and the contract disagree; nothing is written"
    )
    added.add_argument("source", help="URL of a running server or of its document, or a file that holds it")
    added = command(
        "learn",
        _learn,
        "compare recorded traffic with the contract; draft schemas of events that it lacks",
    )
    added.add_argument(
        "--drafts", type=Path, help="folder that drafts go to; the contract's own when left out"
    )
    added.add_argument(
        "recordings",
        nargs="+",
        type=Path,
        help="JSON lines: event envelopes, frames, or recordings of a client",
    )
    return parser
