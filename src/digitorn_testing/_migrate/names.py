"""What names of the predecessor became. `legacy` has the same for programs that run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from digitorn_testing import legacy
from digitorn_testing._generated import models
from digitorn_testing._generated.events import EVENTS

Kind: TypeAlias = Literal[
    "DevClient class",
    "client",
    "stream",
    "events",
    "event",
    "posted",
    "result",
    "health",
    "memory",
    "aborted",
    "app",
    "apps",
    "message",
    "history",
    "queue",
    "entry",
    "sessions",
    "session summary",
    "pending",
    "pending list",
    "forked",
    "app handle",
]
"""What an expression is, if that is certain."""

CONSTRUCTED: Final[Mapping[str, Kind]] = {"DevClient": "client", "LiveEventStream": "stream"}
"""Classes whose call, and whose annotation, says what a name is."""

ANSWERS: Final[Mapping[tuple[Kind, str], Kind]] = {
    ("DevClient class", "with_token"): "client",
    ("DevClient class", "with_user"): "client",
    ("client", "open_event_stream"): "stream",
    ("client", "send_live"): "stream",
    ("client", "post_message_raw"): "posted",
    ("client", "send"): "result",
    ("client", "get_health"): "health",
    ("client", "get_memory"): "memory",
    ("client", "abort_session"): "aborted",
    ("client", "get_app"): "app",
    ("client", "list_apps"): "apps",
    ("client", "get_history"): "history",
    ("client", "get_queue"): "queue",
    ("client", "list_sessions"): "sessions",
    ("client", "get_pending"): "pending list",
    ("client", "fork_session"): "forked",
    ("client", "deploy"): "app handle",
    ("stream", "events"): "events",
    ("stream", "events_by_type"): "events",
    ("stream", "wait_for"): "event",
    ("stream", "wait_for_any"): "event",
}
"""What a method answers."""

ITEMS: Final[Mapping[Kind, Kind]] = {
    "events": "event",
    "apps": "app",
    "history": "message",
    "queue": "entry",
    "sessions": "session summary",
    "pending list": "pending",
}
"""What the items of a list are."""

SHAPES: Final[Mapping[Kind, str]] = {
    "health": "Health",
    "memory": "SessionMemory",
    "aborted": "AbortResult",
    "app": "AppDetail",
    "message": "HistoryMessage",
    "entry": "QueueEntry",
    "session summary": "SessionListItem",
    "pending": "PendingApproval",
}
"""The class of what used to be a dict."""

LISTS: Final[Mapping[str, str]] = {
    "get_history": "messages",
    "get_queue": "entries",
    "list_sessions": "sessions",
    "clear_queue": "cancelled",
}
"""Methods that answered a list or a number, and the member that it is now."""

ENVELOPE: Final = {"type", "seq", "ts", "kind", "event_id", "app_id", "session_id"}
"""Members of an event that are attributes of the same meaning."""


@dataclass(frozen=True)
class Renamed:
    """How a method is called now.

    Attributes:
        to: Its name.
        parameters: The old parameters, in order.
        keywords: New names of keywords; None for one that is dropped.
        positional: How many arguments may stay positional.
        added: Arguments to add, unless the call has them under their old name.
        then: What follows the call.
    """

    to: str
    parameters: tuple[str, ...] = ("session",)
    keywords: Mapping[str, str | None] = field(default_factory=dict[str, str | None])
    positional: int = 1
    added: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    then: str = ""


_RESOLVE: Final = ("app_id", "request_id")
CALLS: Final[Mapping[tuple[Kind, str], Renamed]] = {
    ("client", "delete_session"): Renamed("delete"),
    ("client", "compact_session"): Renamed("compact"),
    ("client", "fork_session"): Renamed("fork"),
    ("client", "export_session"): Renamed("export"),
    ("client", "undo_session"): Renamed("undo"),
    ("client", "abort_session"): Renamed("abort", ("session", "purge_queue")),
    ("client", "cancel_queue_entry"): Renamed("cancel_queued", ("session", "entry_id"), positional=2),
    ("client", "get_tasks"): Renamed("list_tasks", then=".tasks"),
    ("client", "get_events"): Renamed("get_history", then=".events"),
    ("client", "get_secrets"): Renamed("list_secrets", ("app_id",)),
    ("client", "get_workspace_file"): Renamed(
        "read_file", ("session", "file_path"), {"file_path": "path"}, positional=2
    ),
    ("client", "get_pending"): Renamed("list_pending_approvals", ("app_id",)),
    ("client", "search_sessions"): Renamed(
        "search", ("app_id", "query", "limit"), {"query": "text"}, positional=2, then=".sessions"
    ),
    ("client", "get_persistent_events"): Renamed(
        "list_events",
        ("session", "since_seq", "limit"),
        {"since_seq": "since"},
        added={"limit": ("limit", "5000")},
        then='.to_wire()["events"]',
    ),
    ("client", "approve"): Renamed(
        "resolve_approval", (*_RESOLVE, "response"), {"response": "message"}, positional=2
    ),
    ("client", "respond_to_ask"): Renamed(
        "resolve_approval", (*_RESOLVE, "answer"), {"answer": "message"}, positional=2
    ),
    ("client", "deny"): Renamed(
        "resolve_approval",
        (*_RESOLVE, "reason"),
        {"reason": "message"},
        positional=2,
        added={"approved": ("approved", "False")},
    ),
    ("client", "open_event_stream"): Renamed(
        "open_event_stream",
        ("session", "start", "wait_for_session"),
        {"start": None, "wait_for_session": None},
    ),
    ("stream", "start"): Renamed("start", ("timeout",), {"timeout": None}, positional=0),
    ("stream", "events_by_type"): Renamed("events_of", ("event_type",), positional=1),
    ("stream", "request_replay"): Renamed("fill_gaps", ("since", "timeout"), {"timeout": None}, positional=0),
}
"""Methods that only have another name, or other names of their arguments."""

TURN_RESULT: Final[Mapping[str, str]] = {
    "text": "content",
    "success": "ok",
    "duration_seconds": "duration",
    "live_events": "events",
}
"""Attributes of a turn's result."""

FORMS: Final[Mapping[str, str]] = {
    name: str(form.__deprecated__)
    for table in (legacy.OldCalls, legacy.OldStream)
    for name, form in vars(table).items()
    if "_" in name.strip("_")
}
"""Methods that only the predecessor has, by names that mean nothing else, with what to do."""

GONE: Final[Mapping[str, str]] = {**legacy.GONE["OldCalls"], **legacy.GONE["OldStream"], **FORMS}
"""All methods that are gone, with what to do."""

EPHEMERAL: Final = legacy.EPHEMERAL
"""Event types that are not logged."""

OLD_APP: Final = legacy.GONE["OldApp"]
"""Attributes that an app handle lacks now, with what to do."""

CERTAIN: Final = frozenset({"predicate", "wait_for_session", "since_seq", "also_join_app", "also_join_user"})
"""Keywords that only the predecessor has."""


def event_class(wire: str) -> str | None:
    """The payload class of an event type; None if the contract does not have exactly one."""
    found = {spec.payload.__name__ for spec in EVENTS.specs if spec.wire == wire}
    # A stream does not bring the rows that only the log has.
    found = {name for name in found if not name.startswith("Logged")}
    return found.pop() if len(found) == 1 else None


def has_member(kind: Kind, member: str) -> bool:
    """Whether the class of a kind declares a member."""
    return kind in SHAPES and member in getattr(models, SHAPES[kind]).model_fields
