"""The embedded daemon and its scripted model: a small working daemon for tests, on a free loopback port.

The model also comes as a server of its own, for daemons that ask their provider over HTTP.

Needs the extra `digitorn-testing[daemon]`.
"""

from digitorn.testing._app_language import ModelSettings
from digitorn.testing._tools import ToolDefinition

from ._daemon import DEFAULT_USER, FakeDaemon
from ._failures import FailureCode
from ._faults import CallFaults, EventFaults, Fault, Faults
from ._model import FakeModel, ModelMessage, ModelRequest, ModelRule, ModelToolCall, ScriptMismatch
from ._model_server import FakeModelServer, ModelServerNotStarted
from ._openai_wire import ChatCompletionRequest
from ._script import ScriptedToolCall, Usage
from ._server import DaemonNotStarted
from ._sessions import Session, SessionRepository
from ._users import NameTaken, User

__all__ = [
    "DEFAULT_USER",
    "CallFaults",
    "ChatCompletionRequest",
    "DaemonNotStarted",
    "EventFaults",
    "FailureCode",
    "FakeDaemon",
    "FakeModel",
    "FakeModelServer",
    "Fault",
    "Faults",
    "ModelMessage",
    "ModelRequest",
    "ModelRule",
    "ModelServerNotStarted",
    "ModelSettings",
    "ModelToolCall",
    "NameTaken",
    "Session",
    "SessionRepository",
    "ScriptMismatch",
    "ScriptedToolCall",
    "ToolDefinition",
    "Usage",
    "User",
]
