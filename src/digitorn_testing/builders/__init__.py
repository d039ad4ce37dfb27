"""Builders of what tests are about: events, turns, sessions, apps.

`TurnBuilder` and `SessionBuilder` build what the daemon would send, without one. `payloads` has a function
for each event type of the contract, and `event` puts the envelope around its result.
"""

from digitorn_testing._apps.builder import AppBuilder
from digitorn_testing._apps.tools import ToolDefinition
from digitorn_testing._events.envelope import Frame, event, frame
from digitorn_testing._generated import builders as payloads

from ._errors import ErrorCode
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
