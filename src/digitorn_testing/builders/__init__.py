"""Builders of test data: events, turns, sessions, apps.

`TurnBuilder` and `SessionBuilder` build what the daemon would send, without one. `payloads` has a function
for each event type of the contract, and `event` puts the envelope around its result.

What the daemon does in a turn is written in `_events`, which the embedded daemon uses too. Nothing here
needs a daemon, a socket or an event loop.
"""

from digitorn_testing._apps.builder import AppBuilder
from digitorn_testing._apps.tools import ToolDefinition
from digitorn_testing._events.envelope import Frame, event, frame
from digitorn_testing._events.failures import FailureCode as ErrorCode
from digitorn_testing._generated import builders as payloads

from ._session import SessionBuilder
from ._turn import TurnBuilder

__all__ = [
    "AppBuilder",
    "ErrorCode",
    "Frame",
    "SessionBuilder",
    "ToolDefinition",
    "TurnBuilder",
    "event",
    "frame",
    "payloads",
]
