"""Formats generated Python with ruff, by fixed rules: the output must not depend on anybody's settings."""

import ast
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import ruff  # pyright: ignore[reportMissingTypeStubs] - the package has none

from ._errors import OutputError

_RULES = ["--isolated", "--quiet", "--no-cache", "--target-version", "py311", "--line-length", "110"]


def format_sources(sources: Mapping[Path, str]) -> dict[Path, str]:
    """Formatted sources with sorted, used imports.

    Args:
        sources: The text of each file, by the path that it will have.

    Raises:
        OutputError: ruff cannot read one, which means that a name of the contract was not made safe.
    """
    with tempfile.TemporaryDirectory() as folder:
        # In folders of their own: several may have one name.
        written = {Path(folder, str(number), path.name): path for number, path in enumerate(sources)}
        for file, path in written.items():
            file.parent.mkdir()
            file.write_text(sources[path], encoding="utf-8", newline="\n")
        for arguments in (["check", "--select", "I,F401,UP,RUF022", "--fix-only"], ["format"]):
            command = [str(ruff.find_ruff_bin()), *arguments, *_RULES, folder]
            ran = subprocess.run(command, capture_output=True, text=True, check=False)
            if ran.returncode != 0:
                for path, source in sources.items():
                    verify(path.name, source)
                said = ran.stderr.strip() or ran.stdout.strip()
                raise OutputError(f"ruff {arguments[0]} failed: {said}")
        return {path: file.read_text(encoding="utf-8") for file, path in written.items()}


def verify(name: str, source: str) -> None:
    """Refuses source that Python does not read, or in which a definition silently replaces another.

    Raises:
        OutputError: With the place, and the line that stands there.
    """
    try:
        tree = ast.parse(source, name)
        compile(tree, name, "exec")
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 0
        lines = source.splitlines()
        shown = lines[line - 1].strip() if 0 < line <= len(lines) else ""
        raise OutputError(f"{name}:{line}: {error}: {shown[:120]}") from error
    bodies = [tree.body, *(node.body for node in tree.body if isinstance(node, ast.ClassDef))]
    for body in bodies:
        seen: set[str] = set()
        overloaded: set[str] = set()
        for node in body:
            found = _bound(node)
            if found in seen - overloaded and not _is_decorated(node):
                raise OutputError(f"{name}:{node.lineno}: {found!r} is defined twice")
            seen.add(found)
            # After its overloads a function appears again, without a decorator.
            (overloaded.add if _is_overload(node) else overloaded.discard)(found)


def _bound(node: ast.stmt) -> str:
    """The name that a statement defines, or something that no other has."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return node.name
    return f"line {node.lineno}.{node.col_offset}"


def _is_decorated(node: ast.stmt) -> bool:
    """Whether a function may be one of several on purpose: an overload, or the setter of a property."""
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and bool(node.decorator_list)


def _is_overload(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and any(
        isinstance(one, ast.Name) and one.id == "overload" for one in node.decorator_list
    )
