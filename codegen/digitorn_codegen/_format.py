"""Formats generated Python with ruff, by fixed rules: the output must not depend on anybody's settings."""

import ast
import subprocess
import sys

from ._errors import OutputError

_RULES = ["--isolated", "--quiet", "--target-version", "py311", "--line-length", "110"]


def format_source(name: str, source: str) -> str:
    """Formatted source with sorted, used imports.

    Raises:
        OutputError: ruff cannot read it, which means that a name of the contract was not made safe.
    """
    fixes = ["check", *_RULES, "--select", "I,F401,UP,RUF022", "--fix-only", "--stdin-filename", name, "-"]
    for arguments in (fixes, ["format", *_RULES, "--stdin-filename", name, "-"]):
        ran = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments],
            input=source,
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode != 0:
            verify(name, source)
            raise OutputError(
                f"{name}: ruff {arguments[0]} failed: {ran.stderr.strip() or ran.stdout.strip()}"
            )
        source = ran.stdout
    return source


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
            # Behind its overloads a function comes once more, without a decorator.
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
