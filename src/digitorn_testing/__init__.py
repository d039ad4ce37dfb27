"""A typed client for live integration tests against a Digitorn daemon.

The client and its streams are here, with the errors they raise. Payload classes are in
`digitorn.testing.events`, REST shapes in `digitorn.testing.models`, the embedded daemon in
`digitorn.testing.fakes`.
"""

from typing import TYPE_CHECKING

from ._generated._lazy import lazily

if TYPE_CHECKING:
    from . import assertions as assertions
    from ._approvals.policies import (
        AnswerWith,
        ApprovalPolicy,
        ApproveAll,
        ApproveWhen,
        Decision,
        DenyAll,
        LeaveOpen,
        Verdict,
        is_for_tool,
        is_question,
    )
    from ._approvals.recording import RecordingApprovals
    from ._apps.builder import AppBuilder
    from ._apps.tools import ToolContext, ToolDefinition, ToolDenied, ToolFailed
    from ._client._async.client import AsyncDevClient as AsyncDevClient
    from ._client._sync.client import DevClient
    from ._client.options import ClientOptions
    from ._errors import (
        AbortFailed,
        ApiError,
        AppNotPortable,
        CallbackFailed,
        ClientClosed,
        Conflict,
        ContractViolation,
        DaemonUnreachable,
        DigitornError,
        EventTimeout,
        Forbidden,
        InsecureConnection,
        InvalidRequest,
        JoinRefused,
        NotFound,
        RateLimited,
        RecordingDamaged,
        RecordingError,
        ServerError,
        StreamClosed,
        TooLarge,
        Unauthorized,
        UnconfirmedMessage,
        UnexpectedApproval,
        UntrustedCertificate,
        WrongEventLoop,
    )
    from ._events.event import InvalidPayload, LiveEvent, UnknownPayload
    from ._events.selector import EventSelector
    from ._exchanges import Exchange, Exchanges
    from ._generated import CONTRACT_VERSION
    from ._generated._runtime import NOT_GIVEN, NotGiven
    from ._generated.events import EventPayload, EventType
    from ._handles import AppHandle, SessionHandle
    from ._log.capture import EventCapture
    from ._log.log import EventLog
    from ._marks import digitorn_live
    from ._page.page import write_page
    from ._recordings.compare import Change, ChangesFound, Comparison, compare
    from ._recordings.recorder import Recorder
    from ._recordings.recording import RecordedLog, Recording
    from ._stream import AsyncLiveEventStream, LiveEventStream
    from ._stream._async.turn import AsyncTurn
    from ._stream._sync.turn import Turn
    from ._stream.link import ConnectionState, ReconnectPolicy, StreamConnection
    from ._transport.any_route import Response
    from ._transport.options import ConnectionOptions
    from ._transport.retry import RetryPolicy
    from ._turns.operations import ForbiddenTransition, Operation, Operations
    from ._turns.results import (
        ApprovalRecord,
        ToolCallRecord,
        TurnError,
        TurnFailed,
        TurnMessage,
        TurnResult,
    )
    from ._turns.spent import Spent
    from ._version import __version__
    from .assertions import Check

__all__ = [
    # the client
    "AppBuilder",
    "AppHandle",
    "AsyncDevClient",
    "DevClient",
    "ClientOptions",
    "SessionHandle",
    "ToolContext",
    "ToolDefinition",
    "ToolDenied",
    "ToolFailed",
    # connections
    "ConnectionOptions",
    "RetryPolicy",
    # traffic
    "Exchange",
    "Exchanges",
    "Response",
    # turns
    "ApprovalRecord",
    "AsyncTurn",
    "Spent",
    "ToolCallRecord",
    "Turn",
    "TurnError",
    "TurnFailed",
    "TurnMessage",
    "TurnResult",
    # approvals
    "AbortFailed",
    "AnswerWith",
    "ApprovalPolicy",
    "ApproveAll",
    "ApproveWhen",
    "Decision",
    "DenyAll",
    "LeaveOpen",
    "RecordingApprovals",
    "Verdict",
    "is_for_tool",
    "is_question",
    # events
    "AsyncLiveEventStream",
    "ConnectionState",
    "EventCapture",
    "EventLog",
    "EventPayload",
    "EventSelector",
    "EventType",
    "InvalidPayload",
    "LiveEvent",
    "LiveEventStream",
    "ReconnectPolicy",
    "StreamConnection",
    "UnknownPayload",
    # recordings
    "Change",
    "ChangesFound",
    "Comparison",
    "RecordedLog",
    "Recorder",
    "Recording",
    "compare",
    "write_page",
    # operations
    "ForbiddenTransition",
    "Operation",
    "Operations",
    # tests
    "digitorn_live",
    # assertions
    "Check",
    "assertions",
    # errors
    "ApiError",
    "AppNotPortable",
    "CallbackFailed",
    "ClientClosed",
    "Conflict",
    "ContractViolation",
    "DaemonUnreachable",
    "DigitornError",
    "EventTimeout",
    "Forbidden",
    "InsecureConnection",
    "InvalidRequest",
    "JoinRefused",
    "NotFound",
    "RateLimited",
    "RecordingDamaged",
    "RecordingError",
    "ServerError",
    "StreamClosed",
    "TooLarge",
    "Unauthorized",
    "UnconfirmedMessage",
    "UnexpectedApproval",
    "UntrustedCertificate",
    "WrongEventLoop",
    # the rest
    "CONTRACT_VERSION",
    "NOT_GIVEN",
    "NotGiven",
    "__version__",
]

if not TYPE_CHECKING:
    # Each name is imported when it is first used: most programs use few of them.
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "._approvals.policies": (
                "AnswerWith",
                "ApprovalPolicy",
                "ApproveAll",
                "ApproveWhen",
                "Decision",
                "DenyAll",
                "LeaveOpen",
                "Verdict",
                "is_for_tool",
                "is_question",
            ),
            "._approvals.recording": ("RecordingApprovals",),
            "._apps.builder": ("AppBuilder",),
            "._apps.tools": ("ToolContext", "ToolDefinition", "ToolDenied", "ToolFailed"),
            "._client._async.client": ("AsyncDevClient",),
            "._client._sync.client": ("DevClient",),
            "._client.options": ("ClientOptions",),
            "._errors": (
                "AbortFailed",
                "ApiError",
                "AppNotPortable",
                "CallbackFailed",
                "ClientClosed",
                "Conflict",
                "ContractViolation",
                "DaemonUnreachable",
                "DigitornError",
                "EventTimeout",
                "Forbidden",
                "InsecureConnection",
                "InvalidRequest",
                "JoinRefused",
                "NotFound",
                "RateLimited",
                "RecordingDamaged",
                "RecordingError",
                "ServerError",
                "StreamClosed",
                "TooLarge",
                "Unauthorized",
                "UnconfirmedMessage",
                "UnexpectedApproval",
                "UntrustedCertificate",
                "WrongEventLoop",
            ),
            "._events.event": ("InvalidPayload", "LiveEvent", "UnknownPayload"),
            "._events.selector": ("EventSelector",),
            "._exchanges": ("Exchange", "Exchanges"),
            "._generated": ("CONTRACT_VERSION",),
            "._generated._runtime": ("NOT_GIVEN", "NotGiven"),
            "._generated.events": ("EventPayload", "EventType"),
            "._handles": ("AppHandle", "SessionHandle"),
            "._log.capture": ("EventCapture",),
            "._log.log": ("EventLog",),
            "._marks": ("digitorn_live",),
            "._recordings.compare": ("Change", "ChangesFound", "Comparison", "compare"),
            "._recordings.recorder": ("Recorder",),
            "._page.page": ("write_page",),
            "._recordings.recording": ("RecordedLog", "Recording"),
            "._stream": ("AsyncLiveEventStream", "LiveEventStream"),
            "._stream._async.turn": ("AsyncTurn",),
            "._stream._sync.turn": ("Turn",),
            "._stream.link": ("ConnectionState", "ReconnectPolicy", "StreamConnection"),
            "._transport.any_route": ("Response",),
            "._transport.options": ("ConnectionOptions",),
            "._transport.retry": ("RetryPolicy",),
            "._turns.operations": ("ForbiddenTransition", "Operation", "Operations"),
            "._turns.results": (
                "ApprovalRecord",
                "ToolCallRecord",
                "TurnError",
                "TurnFailed",
                "TurnMessage",
                "TurnResult",
            ),
            "._turns.spent": ("Spent",),
            "._version": ("__version__",),
            ".assertions": ("Check", "assertions"),
        },
    )
