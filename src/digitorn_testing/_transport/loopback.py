"""The addresses of this machine."""

import socket
from typing import Final

LOCALHOST: Final = "localhost"
LOOPBACKS: Final = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
"""Some systems know `localhost` in one family alone, and daemons listen in the other."""
