"""The optional dependencies of the generator, and the line that says when they are missing."""

from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Final

MODULES: Final = ("jinja2", "jsonschema_rs", "yaml", "ruff")
_PACKAGE: Final = __name__.partition(".")[0]


class MissingExtra(ImportError):
    """The generator's dependencies are not installed."""


def require() -> None:
    """Checks that they are installed.

    Raises:
        MissingExtra: One of them is not. The message is one line that says how to install it.
    """
    for name in MODULES:
        try:
            found = find_spec(name)
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise MissingExtra(_line(), name=name)


def _line() -> str:
    # The distribution is the one that has the command.
    command = next(
        (one for one in entry_points(group="console_scripts") if one.module.startswith(f"{_PACKAGE}.")), None
    )
    if command is None or command.dist is None:
        return f'{_PACKAGE} needs the extra "codegen"'
    return f'{command.name} needs the extra "codegen": pip install "{command.dist.name}[codegen]"'
