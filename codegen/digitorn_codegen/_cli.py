"""The `digitorn-codegen` command. Each part of it imports what it alone needs: most runs are `check`."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ._errors import ContractError, OutputError, SettingsError, StrictError
from ._generate import check, generate
from ._settings import Settings, from_pyproject, read_project

if TYPE_CHECKING:
    from ._sides import Side

_SETTINGS = ("openapi", "events", "commands", "asyncapi", "asyncapi_describes", "package", "out", "strict")
_WHICH = "which contract, if the project has several: its package, or the last part of that"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0 when all is well; 1 when `check` found stale code, `diff` a breaking change or `pull` a
        disagreement, or when there were warnings and `--strict`; 2 when a contract or the settings are wrong.
    """
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return run(arguments)
    except StrictError as error:
        _complain(str(error))
        return 1
    except (ContractError, SettingsError, OutputError) as error:
        print(f"digitorn-codegen: {error}", file=sys.stderr)
        return 2


def _settings(arguments: argparse.Namespace) -> tuple[Settings, ...]:
    given = {
        name.replace("_", "-"): getattr(arguments, name)
        for name in _SETTINGS
        if getattr(arguments, name, None) is not None
    }
    return read_project(given, from_pyproject(Path.cwd()), arguments.contract)


def _contract(arguments: argparse.Namespace) -> Settings:
    """The settings of the one contract that a command is about."""
    settings, *others = _settings(arguments)
    if others:
        listed = ", ".join(one.package for one in (settings, *others))
        raise SettingsError(f"there are several contracts; say with --contract which one: {listed}")
    return settings


def _side(settings: Settings) -> "Side":
    from ._sides import read_parts

    return read_parts(settings.openapi, settings.events, settings.commands)


def _compared(path: Path, contract: str | None) -> "Side":
    """What `diff` compares: a contract, or with `--contract` that of the project in a folder."""
    from ._sides import read_side

    if contract is None:
        return read_side(path)
    if not (path / "pyproject.toml").is_file():
        raise SettingsError(f"--contract needs folders that hold a pyproject.toml, which {path} does not")
    (settings,) = read_project({}, from_pyproject(path), contract)
    return _side(settings)


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
    settings = _settings(arguments)
    # Without --strict, `generate` has said them.
    is_strict = any(one.strict for one in settings)
    diff = check(settings, _warn) if is_strict else check(settings)
    if diff:
        print(diff, end="")
        _complain("the generated code is stale; run `digitorn-codegen generate`")
        return 1
    print(f"the generated code is current, {time.perf_counter() - started:.1f} s")
    return 0


def _export_asyncapi(arguments: argparse.Namespace) -> int:
    from ._asyncapi_export import export

    settings = _contract(arguments)
    target: Path | None = arguments.output
    text = export(settings, target.parent if target is not None else settings.openapi.parent)
    if target is None:
        sys.stdout.write(text)
    else:
        target.write_text(text, encoding="utf-8", newline="\n")
        print(f"wrote {_shown(target)}")
    return 0


def _diff(arguments: argparse.Namespace) -> int:
    from ._diff import as_json, compare
    from ._pull import fetched

    with fetched(arguments.old) as old, fetched(arguments.new) as new:
        changes = compare(_compared(old, arguments.contract), _compared(new, arguments.contract))
    breaking = sum(change.breaking for change in changes)
    if arguments.json:
        print(as_json(changes))
    else:
        for change in sorted(changes, key=lambda one: not one.breaking):
            print(change)
        print(f"{len(changes)} changes, {breaking} of them breaking")
    return 1 if breaking else 0


def _pull(arguments: argparse.Namespace) -> int:
    from ._pull import disagreements, fetched
    from ._sides import read_side

    with fetched(arguments.source) as server:
        lines = disagreements(_side(_contract(arguments)), read_side(server))
    for line in lines:
        print(line)
    print(f"{len(lines)} disagreements with {arguments.source}; nothing was written")
    return 1 if lines else 0


def _learn(arguments: argparse.Namespace) -> int:
    from ._learn import NO_CONTRACT, learn, write_drafts

    drafts: Path | None = arguments.drafts
    events, contract = drafts, NO_CONTRACT
    if drafts is None or from_pyproject(Path.cwd()):
        settings = _contract(arguments)
        events, contract = drafts or settings.events, _side(settings)
    folder = contract.openapi.path.parent if drafts is None else drafts / "openapi"
    openapi = folder / "openapi.draft.json"
    learned = learn(contract, arguments.recordings, enums=arguments.enums)
    if events is None and learned.drafts:
        raise SettingsError("--drafts is missing; pass the folder that drafts go to")
    for line in learned.lines():
        print(line)
    written = write_drafts(learned, events, openapi)
    for path in written:
        print(f"drafted {_shown(path)}")
    if learned.openapi is not None and openapi not in written:
        _warn(f"{_shown(openapi)} exists and was left as it is; move it away to get a new draft")
    for line in learned.skipped:
        _warn(line)
    read = ", ".join(f"{count} {what}" for what, count in learned.counts.items()) or "nothing"
    lacks = f"{len(learned.drafts)} types of events and {learned.operations} operations"
    print(f"{read} read, {lacks} that the contract lacks")
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
        added.add_argument("--contract", metavar="NAME", help=_WHICH)
        return added

    for name, run, text in (
        ("generate", _generate, "write the generated code"),
        ("check", _check, "exit 1 with a diff when the committed code is not what the contract produces"),
    ):
        added = command(name, run, text)
        added.add_argument("--openapi", type=Path, help="OpenAPI document, YAML or JSON")
        added.add_argument("--events", type=Path, help="folder of event payload schemas")
        added.add_argument("--commands", type=Path, help="folder of socket command schemas")
        added.add_argument(
            "--asyncapi", type=Path, help="AsyncAPI document that declares events and commands"
        )
        added.add_argument(
            "--asyncapi-describes",
            choices=("server", "client"),
            help="whose document that is; what a server sends are events, what a client sends are commands",
        )
        added.add_argument("--package", help="dotted name of the generated package")
        added.add_argument("--out", type=Path, help="folder of the generated package")
        added.add_argument(
            "--strict", action="store_true", default=None, help="make warnings errors: exit 1, write nothing"
        )
    added = command(
        "export-asyncapi",
        _export_asyncapi,
        "write the events and commands of the contract as an AsyncAPI 3.0 document",
    )
    added.add_argument(
        "--output",
        type=Path,
        help="file to write; standard output when left out, as for a file beside the OpenAPI document",
    )
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
        "compare recorded traffic with the contract; draft the events and operations that it lacks",
    )
    added.add_argument(
        "--drafts", type=Path, help="folder that drafts go to; the contract's own when left out"
    )
    added.add_argument(
        "--enums", action="store_true", help="draft texts of which few were seen as the list of these"
    )
    added.add_argument(
        "recordings",
        nargs="+",
        type=Path,
        help="JSON lines: event envelopes, frames, or recordings of a client",
    )
    return parser
