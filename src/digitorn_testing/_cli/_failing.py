"""How a command fails: with one clear line and an exit status; with a traceback only when asked for one."""

from __future__ import annotations

import traceback
from typing import Any, Final

import typer
from typer.core import TyperGroup

from ._terminal import Terminal

FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130

_DEBUG: Final = "--debug"


class CommandFailed(Exception):
    """A command cannot do what it was asked.

    Args:
        message: What is wrong, and what to do about it.
        status: Exit status.
    """

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status


class Commands(TyperGroup):
    """All commands. They fail clearly, and take `--debug` wherever it stands."""

    # The context's type belongs to the package that typer is built on, which differs between its versions.
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reads the command line.

        Args:
            ctx: The context of the command line.
            args: The words of the command line.
        """
        end = args.index("--") if "--" in args else len(args)
        options = [one for one in args[:end] if one != _DEBUG]
        debug = [_DEBUG] if len(options) < end else []
        return super().parse_args(ctx, [*debug, *options, *args[end:]])

    def invoke(self, ctx: Any) -> object:
        """Runs a command.

        Args:
            ctx: The context of the command line.

        Raises:
            typer.Exit: It failed in a way that people are to read about.
        """
        from digitorn_testing._errors import DigitornError, RecordingError

        try:
            return super().invoke(ctx)
        except typer.Abort:
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # Typer ends it quietly.
            raise
        except (CommandFailed, DigitornError, OSError) as error:
            if ctx.params.get("debug"):
                Terminal().note(traceback.format_exc().rstrip())
            Terminal().error(_told(error))
            if isinstance(error, CommandFailed):
                raise typer.Exit(error.status) from None
            raise typer.Exit(USAGE if isinstance(error, RecordingError) else FAILED) from None


def _told(error: Exception) -> str:
    """The error in one line, with advice for a command line where the library's is for Python code."""
    from digitorn_testing._errors import DaemonUnreachable

    said = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, DaemonUnreachable):
        return said.replace("pass daemon_url=", "pass --url")
    return said
