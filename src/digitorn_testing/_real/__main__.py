"""`python -m digitorn_testing._real` prints the Python for the released daemon, or what is missing."""

import sys

from .errors import RealDaemonUnavailable
from .python import find_python


def main() -> int:
    """0 when there is such a Python."""
    try:
        print(find_python())  # noqa: T201 - what it is for
    except RealDaemonUnavailable as error:
        print(error)  # noqa: T201 - the same
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
