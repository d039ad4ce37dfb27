"""Turns on the released daemon, whose known fault is not that of a test."""

from collections.abc import Callable

from digitorn_testing import DevClient, SessionHandle, TurnResult
from digitorn_testing.models import SessionHistory
from support.faces import eventually

TURN_SECONDS = 40.0
LONG_COMMAND = 'python3 -c "import time; time.sleep(60)"'
"""Runs for a minute. The daemon refuses commands that only wait."""

WRONG_LOOP = "is bound to a different event loop"
"""A fault of the daemon, which about one turn in 25 meets."""


def send(client: DevClient, session: SessionHandle, message: str) -> TurnResult:
    """The result of a turn; one that failed by the daemon's known fault is run again, once."""
    result = client.send(session, message, timeout=TURN_SECONDS)
    if WRONG_LOOP in str(result.error):
        return client.send(session, message, timeout=TURN_SECONDS)
    return result


def saved(
    client: DevClient, session: SessionHandle, is_it: Callable[[SessionHistory], bool]
) -> SessionHistory:
    """The history of a session once it is the expected one: the daemon saves a turn shortly after its end."""
    return eventually(lambda: client.get_history(session), is_it)


def said_by_user(history: SessionHistory) -> list[str]:
    """The texts of the user's messages."""
    return [str(one.content) for one in history.messages if one.role == "user"]
