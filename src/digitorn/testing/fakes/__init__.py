"""The embedded daemon and its scripted model: a small working daemon for tests, on a free loopback port.

Needs the extra `digitorn-testing[daemon]`.
"""

from digitorn.testing._app_language import ModelSettings
from digitorn.testing._tools import ToolDefinition

from ._daemon import DEFAULT_USER, FakeDaemon
from ._model import FakeModel, ModelMessage, ModelRequest, ModelToolCall, Usage
from ._server import DaemonNotStarted
from ._sessions import Session, SessionRepository
from ._users import NameTaken, User

__all__ = [
    "DEFAULT_USER",
    "DaemonNotStarted",
    "FakeDaemon",
    "FakeModel",
    "ModelMessage",
    "ModelRequest",
    "ModelSettings",
    "ModelToolCall",
    "NameTaken",
    "Session",
    "SessionRepository",
    "ToolDefinition",
    "Usage",
    "User",
]
