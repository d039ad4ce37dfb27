"""The entry point of `digitorn-codegen`, which also runs where the generator's dependencies are missing."""

import sys
from collections.abc import Sequence

from ._extra import MissingExtra, require


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; see `_cli.main`."""
    try:
        require()
    except MissingExtra as error:
        print(error, file=sys.stderr)
        return 2
    from ._cli import main as run

    return run(argv)
