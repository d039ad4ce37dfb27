"""Optional dependencies: what each extra installs, and the line that says which one is missing."""

from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Final, Literal, TypeAlias

Extra: TypeAlias = Literal["cli", "daemon", "load", "migrate", "otel", "pytest"]

MODULES: Final[dict[Extra, tuple[str, ...]]] = {
    "cli": ("typer", "rich"),
    "daemon": ("fastapi", "uvicorn", "websockets", "jwt", "python_multipart", "yaml"),
    "load": ("locust",),
    "migrate": ("libcst", "typer", "rich"),
    "otel": ("opentelemetry.trace",),
    "pytest": ("pytest",),
}
"""The modules that each extra brings."""


class MissingExtra(ImportError):
    """Something needs an extra that is not installed."""


def missing(extra: Extra) -> str | None:
    """The first module of an extra that is not installed; None if it is whole."""
    return next((name for name in MODULES[extra] if not _is_installed(name)), None)


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        # The package that it is in.
        return False


def install(what: str, extra: Extra) -> str:
    """The line that says which extra is missing.

    Args:
        what: What needs it.
        extra: The extra.
    """
    return f'{what} needs the extra "{extra}": pip install "digitorn-testing[{extra}]"'


@contextmanager
def needing(extra: Extra, what: str) -> Generator[None]:
    """Surrounds the imports of what needs an extra.

    Args:
        extra: The extra.
        what: What needs it.

    Raises:
        MissingExtra: It is not installed. The message is one line that says how to install it.
    """
    if (name := missing(extra)) is not None:
        raise MissingExtra(install(what, extra), name=name)
    yield
