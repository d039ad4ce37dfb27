"""The `digitorn-codegen` command."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ._errors import ContractError, OutputError, SettingsError
from ._generate import check, generate
from ._settings import build, from_pyproject, merge


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0 when all is well, 1 when `check` found stale code, 2 when the contract or the settings are wrong.
    """
    arguments = _parser().parse_args(argv)
    started = time.perf_counter()
    try:
        given = {
            key: value for key, value in vars(arguments).items() if key != "command" and value is not None
        }
        settings = build(merge(given, from_pyproject(Path.cwd())))
        if arguments.command == "generate":
            changed = generate(settings, _warn)
            for path in changed:
                print(f"{'wrote' if path.exists() else 'removed'} {_shown(path)}")
            took = time.perf_counter() - started
            print(
                f"{len(changed)} files changed, {took:.1f} s"
                if changed
                else f"nothing to change, {took:.1f} s"
            )
            return 0
        diff = check(settings)
    except (ContractError, SettingsError, OutputError) as error:
        print(f"digitorn-codegen: {error}", file=sys.stderr)
        return 2
    if diff:
        print(diff, end="")
        print(
            "digitorn-codegen: the generated code is stale; run `digitorn-codegen generate`", file=sys.stderr
        )
        return 1
    print(f"the generated code is current, {time.perf_counter() - started:.1f} s")
    return 0


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="digitorn-codegen",
        description="Generates a typed client package from an OpenAPI document and event JSON Schemas.",
        epilog="Options override the keys of [tool.digitorn-codegen] in pyproject.toml; with a --package "
        "that is not the table's they stand alone.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("generate", "write the generated code"),
        ("check", "exit 1 with a diff when the committed code is not what the contract produces"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--openapi", type=Path, help="OpenAPI document, YAML or JSON")
        command.add_argument("--events", type=Path, help="folder of event payload schemas")
        command.add_argument("--commands", type=Path, help="folder of socket command schemas")
        command.add_argument("--package", help="dotted name of the generated package")
        command.add_argument("--out", type=Path, help="folder of the generated package")
    return parser
