"""The embedded daemon and its scripted model: a small working daemon for tests, on a free loopback port.

The model also comes as a server of its own, for daemons that ask their provider over HTTP. Nothing that a
client needs to talk to a daemon may live here.

Needs the extra `digitorn-testing[daemon]`.
"""

from digitorn_testing._apps.language import ModelSettings
from digitorn_testing._apps.tools import ToolDefinition
from digitorn_testing._events.failures import FailureCode
from digitorn_testing._extras import needing

with needing("daemon", "digitorn.testing.fakes"):
    from ._daemon import DEFAULT_USER, FakeDaemon
    from ._faults.faults import CallFaults, EventFaults, Fault, Faults
    from ._model.model import FakeModel, ModelRequestTimeout, ScriptMismatch
    from ._model.requests import ModelAttachment, ModelMessage, ModelRequest, ModelToolCall
    from ._model.rules import ModelRule
    from ._model.script import Failure, Reply, ScriptedToolCall, Silence, Usage
    from ._provider.server import FakeModelServer, ModelServerNotStarted, ProviderRequest
    from ._rest.fallback import ExampleAnswer
    from ._store.sessions import Session, SessionRepository
    from ._store.users import NameTaken, User
    from ._wire.server import DaemonNotStarted

__all__ = [
    "DEFAULT_USER",
    "CallFaults",
    "DaemonNotStarted",
    "EventFaults",
    "ExampleAnswer",
    "Failure",
    "FailureCode",
    "FakeDaemon",
    "FakeModel",
    "FakeModelServer",
    "Fault",
    "Faults",
    "ModelAttachment",
    "ModelMessage",
    "ModelRequest",
    "ModelRequestTimeout",
    "ModelRule",
    "ModelServerNotStarted",
    "ModelSettings",
    "ModelToolCall",
    "NameTaken",
    "ProviderRequest",
    "Reply",
    "Session",
    "SessionRepository",
    "ScriptMismatch",
    "ScriptedToolCall",
    "Silence",
    "ToolDefinition",
    "Usage",
    "User",
]
