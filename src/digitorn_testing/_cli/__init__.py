"""The command line: `digitorn-testing`."""

import sys
from io import TextIOWrapper

_NEEDS = ("typer", "rich")


def main() -> None:
    """Runs the command that `sys.argv` names."""
    try:
        from .app import app
    except ModuleNotFoundError as error:
        if error.name not in _NEEDS:
            raise
        sys.exit('digitorn-testing needs an extra: pip install "digitorn-testing[cli]"')
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A model may say what the terminal's encoding lacks.
            stream.reconfigure(errors="replace")
    app()
