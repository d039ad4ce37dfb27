"""Turns on the released daemon, whose known fault is not that of a test."""

from digitorn_testing import DevClient, SessionHandle, TurnResult

TURN_SECONDS = 40.0
LONG_COMMAND = 'python3 -c "import time; time.sleep(60)"'
"""Runs for a minute. The daemon refuses commands that only wait."""

# A fault of the daemon, which about one turn in 25 meets.
_WRONG_LOOP = "is bound to a different event loop"


def send(client: DevClient, session: SessionHandle, message: str) -> TurnResult:
    """The result of a turn; one that failed by the daemon's known fault is run again, once."""
    result = client.send(session, message, timeout=TURN_SECONDS)
    if _WRONG_LOOP in str(result.error):
        return client.send(session, message, timeout=TURN_SECONDS)
    return result
