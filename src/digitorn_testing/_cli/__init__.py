"""The command line: `digitorn-testing`."""

import sys
from io import TextIOWrapper

from digitorn_testing._extras import MissingExtra, needing


def main() -> None:
    """Runs the command that `sys.argv` names."""
    try:
        with needing("cli", "digitorn-testing"):
            from .app import app
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                # A model may say what the terminal's encoding lacks.
                stream.reconfigure(errors="replace")
        app()
    except MissingExtra as error:
        sys.exit(str(error))
