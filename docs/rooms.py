"""Draws the rooms of the package in docs/architecture.md from the code: `python docs/rooms.py [--write]`.

The order comes from the layers that import-linter checks, the words from the docstrings of the rooms.
"""

import ast
import sys
import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "docs" / "architecture.md"
BEGIN: Final = "<!-- rooms: written by docs/rooms.py -->\n"
END: Final = "<!-- end of rooms -->\n"


def layers(container: str) -> list[list[str]]:
    """The rooms of a package from top to bottom; rooms of one level do not import each other."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for contract in settings["tool"]["importlinter"]["contracts"]:
        if contract["type"] == "layers" and container in contract["containers"]:
            return [[one.strip() for one in level.split("|")] for level in contract["layers"]]
    raise LookupError(f"pyproject.toml has no layers of {container}")


def says(module: str) -> str:
    """The first sentence of a module's docstring."""
    path = ROOT / "src" / Path(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    said = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(said.partition("\n\n")[0].split())


def picture() -> str:
    """The rooms, one line each, the highest first."""
    lines: list[str] = []
    for container in ("digitorn_testing", "digitorn_testing.fakes"):
        rooms = [(level, room) for level, names in enumerate(layers(container)) for room in names]
        width = max(len(room) for _, room in rooms)
        lines.append(f"{container}")
        before = -1
        for level, room in rooms:
            mark = "↓" if level != before else " "
            lines.append(f"  {mark} {room:<{width}}  {says(f'{container}.{room}')}".rstrip())
            before = level
        lines.append("")
    return "\n".join(lines).rstrip()


def rendered(page: str) -> str:
    """The page with the picture of today."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise LookupError(f"{PAGE} has no place for the rooms")
    return f"{before}{begin}\n```text\n{picture()}\n```\n\n{end}{after}"


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(picture())
