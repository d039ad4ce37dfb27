"""The command line: `digitorn-testing`."""

import sys

from digitorn_testing._extras import MissingExtra, needing


def main() -> None:
    """Runs the command that `sys.argv` names."""
    try:
        with needing("cli", "digitorn-testing"):
            from .app import app
        app()
    except MissingExtra as error:
        sys.exit(str(error))
