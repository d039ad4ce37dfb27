"""Builders of what tests are about: events, turns, sessions, apps.

`TurnBuilder` and `SessionBuilder` build what the daemon would send, without one. `payloads` has a function
for each event type of the contract, and `event` puts the envelope around its result.
"""

from .._app_builder import AppBuilder
from .._envelope import Frame, event, frame
from .._generated import builders as payloads
from .._tools import ToolDefinition
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
