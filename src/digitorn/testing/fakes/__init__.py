"""The embedded daemon and its scripted model: a small working daemon for tests, on a free loopback port.

Needs the extra `digitorn-testing[daemon]`.
"""

from digitorn.testing._app_language import ModelSettings
from digitorn.testing._tools import ToolDefinition

from ._daemon import DEFAULT_USER, FakeDaemon
from ._failures import FailureCode
from ._model import FakeModel, ModelMessage, ModelRequest, ModelRule, ModelToolCall, ScriptMismatch
from ._script import ScriptedToolCall, Usage
from ._server import DaemonNotStarted
from ._users import NameTaken, User

__all__ = [
    "DEFAULT_USER",
    "DaemonNotStarted",
    "FailureCode",
    "FakeDaemon",
    "FakeModel",
    "ModelMessage",
    "ModelRequest",
    "ModelRule",
    "ModelSettings",
    "ModelToolCall",
    "NameTaken",
    "ScriptMismatch",
    "ScriptedToolCall",
    "ToolDefinition",
    "Usage",
    "User",
]
