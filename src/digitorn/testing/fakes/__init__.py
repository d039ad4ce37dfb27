"""The embedded daemon and its scripted model: a small working daemon for tests, on a free loopback port.

Needs the extra `digitorn-testing[daemon]`.
"""

from ._daemon import DEFAULT_USER, FakeDaemon
from ._model import FakeModel, ModelMessage, ModelRequest, ModelToolCall, ToolDefinition, Usage
from ._server import DaemonNotStarted
from ._users import NameTaken, User

__all__ = [
    "DEFAULT_USER",
    "DaemonNotStarted",
    "FakeDaemon",
    "FakeModel",
    "ModelMessage",
    "ModelRequest",
    "ModelToolCall",
    "NameTaken",
    "ToolDefinition",
    "Usage",
    "User",
]
