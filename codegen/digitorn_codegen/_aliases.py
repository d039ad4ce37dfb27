"""Writes a package under a second name: the same objects, listed by name for type checkers."""

import ast
from collections.abc import Callable, Mapping
from pathlib import Path

from ._errors import SettingsError
from ._settings import Alias

Read = Callable[[Path], str | None]


def render(alias: Alias, read: Read) -> dict[Path, str]:
    """The source of each module of an alias package.

    Args:
        alias: What to produce.
        read: The text of a file; None where there is none.

    Raises:
        SettingsError: A module is missing, or its `__all__` cannot be read without running it.
    """
    return {
        alias.out / f"{name}.py": _module(module, exported(alias, module, read))
        for name, module in alias.modules.items()
    }


def _module(module: str, names: list[str]) -> str:
    imported = "".join(f"        {name},\n" for name in sorted(set(names)))
    listed = "".join(f'    "{name}",\n' for name in names)
    return (
        f'"""The same objects as in `{module}`, each taken from there when it is used."""\n\n'
        "from typing import TYPE_CHECKING\n\n"
        f"import {module} as _module\n\n"
        f"if TYPE_CHECKING:\n    from {module} import (\n{imported}    )\n\n"
        f"__all__ = [\n{listed}]\n\n"
        f"{_ON_USE}"
    )


# The module may be one that loads its own names on use.
_ON_USE = """
if not TYPE_CHECKING:

    def __getattr__(name):
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
        found = globals()[name] = getattr(_module, name)
        return found

    def __dir__():
        return sorted({*globals(), *__all__})
"""


def exported(alias: Alias, module: str, read: Read) -> list[str]:
    """The names in a module's `__all__`, which may be lists and the `__all__` of imported modules.

    Args:
        alias: Says where modules are.
        module: Dotted name.
        read: The text of a file; None where there is none.

    Raises:
        SettingsError: There is no such module, or its `__all__` is something else.
    """
    for path in alias.files_of(module):
        if (text := read(path)) is not None:
            break
    else:
        raise SettingsError(f"there is no module {module} in {alias.source}")
    inside = module if path.name == "__init__.py" else module.rpartition(".")[0]
    tree = ast.parse(text)
    imported = _imported_modules(tree, inside)
    names: list[str] = []
    for node in tree.body:
        value = _extends_all(node)
        match value:
            case None:
                pass
            case ast.List(elts=items) if all(isinstance(one, ast.Constant) for one in items):
                names += [str(ast.literal_eval(one)) for one in items]
            case ast.Attribute(value=ast.Name(id=name), attr="__all__") if name in imported:
                names += exported(alias, imported[name], read)
            case _:
                raise SettingsError(f"{path}:{node.lineno}: only lists and `module.__all__` can be read here")
    if not names:
        raise SettingsError(f"{path} has no __all__; an alias needs one")
    return names


def _extends_all(node: ast.stmt) -> ast.expr | None:
    match node:
        case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
            return value
        case ast.AugAssign(target=ast.Name(id="__all__"), value=value):
            return value
        case _:
            return None


def _imported_modules(tree: ast.Module, package: str) -> Mapping[str, str]:
    """What each name that an import binds would be as a module."""
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - (node.level - 1)] if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            found |= {one.asname or one.name: f"{base}.{one.name}" for one in node.names}
    return found
