"""The optional dependencies of the generator, and the line that says when they are missing."""

from importlib.util import find_spec
from typing import Final

MODULES: Final = ("jinja2", "jsonschema_rs", "yaml", "ruff")
_LINE: Final = 'digitorn-codegen needs the extra "codegen": pip install "digitorn-testing[codegen]"'


class MissingExtra(ImportError):
    """The generator's dependencies are not installed."""


def require() -> None:
    """Checks that they are installed.

    Raises:
        MissingExtra: One of them is not.
    """
    for name in MODULES:
        try:
            found = find_spec(name)
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise MissingExtra(_LINE, name=name)
