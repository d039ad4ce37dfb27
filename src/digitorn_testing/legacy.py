"""Names of the client library that the daemon's own distribution carried up to 1.0.3.

A test that was written for it meets these names on our classes: a deprecated form works and warns, and
everything else is an error that names the new way. Nothing here is loaded until one of the names is used.
`docs/migrating.md` lists them, and `digitorn-testing migrate` rewrites them.
"""

from __future__ import annotations

import inspect
import queue
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MethodType, ModuleType
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

from typing_extensions import deprecated

from ._concurrency.deadlines import slices
from ._events.event import AnyEvent, decode
from ._generated.events import EventPayload
from ._handles import AppHandle, SessionHandle

if TYPE_CHECKING:
    from ._events.selector import Where
    from ._generated import models
    from ._generated.events import EventType

__all__ = ["OldArguments", "OldAssertions", "OldCalls", "OldStream"]

_BY_ARGUMENTS: Final = 3
"""How far above an old form its caller is: `call` calls it for a decorated function."""


# --- what the forms use of our classes


class _Client(Protocol):
    daemon_url: str

    def abort(self, session: SessionHandle, *, purge_queue: bool = ...) -> models.AbortResult: ...
    def cancel_queued(self, session: SessionHandle, entry_id: str) -> models.CancelledQueueEntry: ...
    def compact(self, session: SessionHandle) -> models.CompactedSession: ...
    def delete(self, session: SessionHandle) -> models.SessionDeleted: ...
    def deploy_text(self, definition: str | bytes, *, force: bool = ...) -> models.UploadDeployAccepted: ...
    def export(self, session: SessionHandle) -> models.SessionExport: ...
    def fork(self, session: SessionHandle) -> SessionHandle: ...
    def get_history(self, session: SessionHandle) -> models.SessionHistory: ...
    def list_events(
        self, session: SessionHandle, *, since: int = ..., limit: int | None = ...
    ) -> models.SessionEventPage: ...
    def list_pending_approvals(self, app_id: str) -> list[models.PendingApproval]: ...
    def list_secrets(self, app_id: str) -> models.SecretKeys: ...
    def list_tasks(self, session: SessionHandle) -> models.ShellTaskList: ...
    def read_file(self, session: SessionHandle, path: str) -> models.WorkspaceFile: ...
    def resolve_approval(
        self, app_id: str, request_id: str, approved: bool = ..., message: str = ...
    ) -> models.ApprovalResolution: ...
    def search(self, app_id: str, text: str, *, limit: int = ...) -> models.SessionSearchPage: ...
    def undo(self, session: SessionHandle) -> models.UndoResult: ...
    def wait_for_app(self, app_id: str, timeout: float = ...) -> AppHandle: ...


class _Subscription(Protocol):
    def cancel(self) -> None: ...


class _Log(Protocol):
    @property
    def last_seq(self) -> int: ...
    def subscribe(self, sink: Callable[[AnyEvent | None], None]) -> _Subscription: ...


class _Stream(Protocol):
    @property
    def log(self) -> _Log: ...
    def events_of(self, *types: EventType) -> Sequence[AnyEvent]: ...
    def fill_gaps(self, *, since: int | None = ...) -> int: ...
    def poll_for(
        self, type: type[EventPayload], *, where: Where | None = ..., timeout: float = ...
    ) -> AnyEvent | None: ...


# --- names that work


class OldCalls:
    """Old methods of `DevClient`. Each answers what the new method does, or the list in it."""

    @deprecated("get_persistent_events is deprecated: use list_events(session, since=…, limit=…).events")
    def get_persistent_events(
        self: _Client, session: SessionHandle, since_seq: int = 0, limit: int = 5000
    ) -> list[AnyEvent]:
        """The logged events of a session, as events that can be read like dicts."""
        page = self.list_events(session, since=since_seq, limit=limit)
        return [decode(row if isinstance(row, dict) else row.to_wire()) for row in page.events]

    @deprecated("get_events is deprecated: use get_history(session).events")
    def get_events(self: _Client, session: SessionHandle) -> list[models.HistoryEvent]:
        """The events in a session's history."""
        return self.get_history(session).events

    @deprecated(
        "create_session is deprecated: use new_session(app_id, workspace=…), or SessionHandle(…) with an id"
    )
    def create_session(
        self: _Client, app_id: str, workspace: str = "", session_id: str | None = None
    ) -> SessionHandle:
        """A handle of a session, which its first message creates. Default workspace: the current folder."""
        return SessionHandle(
            session_id=session_id or f"test-{uuid.uuid4().hex[:8]}",
            app_id=app_id,
            daemon_url=self.daemon_url,
            workspace=workspace or str(Path.cwd()),
            is_new=session_id is None,
        )

    @deprecated(
        "abort_session is deprecated: use abort(session, purge_queue=…), which returns an AbortResult"
    )
    def abort_session(self: _Client, session: SessionHandle, purge_queue: bool = False) -> models.AbortResult:
        """Aborts the running turn."""
        return self.abort(session, purge_queue=purge_queue)

    @deprecated(
        "delete_session is deprecated: use delete(session), which raises NotFound for an unknown session"
    )
    def delete_session(self: _Client, session: SessionHandle) -> models.SessionDeleted:
        """Deletes a session."""
        return self.delete(session)

    @deprecated("compact_session is deprecated: use compact(session), which returns a CompactedSession")
    def compact_session(self: _Client, session: SessionHandle) -> models.CompactedSession:
        """Compacts a session's messages."""
        return self.compact(session)

    @deprecated("fork_session is deprecated: use fork(session), which returns the SessionHandle of the copy")
    def fork_session(self: _Client, session: SessionHandle) -> SessionHandle:
        """Copies a session."""
        return self.fork(session)

    @deprecated("export_session is deprecated: use export(session), which returns a SessionExport")
    def export_session(self: _Client, session: SessionHandle) -> models.SessionExport:
        """Exports a session."""
        return self.export(session)

    @deprecated("search_sessions is deprecated: use search(app_id, text, limit=…).sessions")
    def search_sessions(
        self: _Client, app_id: str, query: str, limit: int = 20
    ) -> list[models.SessionSearchHit]:
        """Searches the sessions of an app."""
        return self.search(app_id, query, limit=limit).sessions

    @deprecated("undo_session is deprecated: use undo(session)")
    def undo_session(self: _Client, session: SessionHandle) -> models.UndoResult:
        """Undoes the last change to a file."""
        return self.undo(session)

    @deprecated("get_tasks is deprecated: use list_tasks(session).tasks")
    def get_tasks(self: _Client, session: SessionHandle) -> list[models.ShellTask]:
        """The shell commands that a session runs in the background."""
        return self.list_tasks(session).tasks

    @deprecated("get_workspace_file is deprecated: use read_file(session, path)")
    def get_workspace_file(self: _Client, session: SessionHandle, file_path: str) -> models.WorkspaceFile:
        """A file of a session's workspace."""
        return self.read_file(session, file_path)

    @deprecated("get_secrets is deprecated: use list_secrets(app_id)")
    def get_secrets(self: _Client, app_id: str) -> models.SecretKeys:
        """The names of an app's secrets."""
        return self.list_secrets(app_id)

    @deprecated("get_pending is deprecated: use list_pending_approvals(app_id)")
    def get_pending(self: _Client, app_id: str) -> list[models.PendingApproval]:
        """The pending approvals of an app."""
        return self.list_pending_approvals(app_id)

    @deprecated(
        "approve is deprecated: use resolve_approval(app_id, request_id, message=…), "
        "or approvals=ApproveAll()"
    )
    def approve(self: _Client, app_id: str, request_id: str, response: str = "") -> models.ApprovalResolution:
        """Approves a pending approval."""
        return self.resolve_approval(app_id, request_id, True, response)

    @deprecated(
        "deny is deprecated: use resolve_approval(app_id, request_id, approved=False, message=…), "
        "or approvals=DenyAll(…)"
    )
    def deny(self: _Client, app_id: str, request_id: str, reason: str = "") -> models.ApprovalResolution:
        """Denies a pending approval."""
        return self.resolve_approval(app_id, request_id, False, reason)

    @deprecated(
        "respond_to_ask is deprecated: use resolve_approval(app_id, request_id, message=answer), "
        "or approvals=AnswerWith(…)"
    )
    def respond_to_ask(self: _Client, app_id: str, request_id: str, answer: str) -> models.ApprovalResolution:
        """Answers a question of the agent."""
        return self.resolve_approval(app_id, request_id, True, answer)

    @deprecated("cancel_queue_entry is deprecated: use cancel_queued(session, entry_id)")
    def cancel_queue_entry(
        self: _Client, session: SessionHandle, entry_id: str
    ) -> models.CancelledQueueEntry:
        """Removes a message from a session's queue."""
        return self.cancel_queued(session, entry_id)

    @deprecated(
        "deploy_yaml_content is deprecated: use deploy_text(text, force=True), then wait_for_app(app_id)"
    )
    def deploy_yaml_content(self: _Client, yaml_content: str, force: bool = True) -> AppHandle:
        """Deploys the app in a text, and waits until it can be used."""
        return self.wait_for_app(self.deploy_text(yaml_content, force=force).app_id)


class OldStream:
    """Old methods of `LiveEventStream`."""

    @deprecated(
        "events_by_type is deprecated: use events_of(Type), with a class such as Token for a typed payload"
    )
    def events_by_type(self: _Stream, event_type: EventType) -> list[AnyEvent]:
        """The events of a type so far."""
        return list(self.events_of(event_type))

    @deprecated(
        "wait_for_any is deprecated: use wait_for(EventPayload, where=lambda e: e.type in {…}), which raises "
        "EventTimeout, or poll_for, which returns None"
    )
    def wait_for_any(self: _Stream, types: Iterable[EventType], timeout: float = 30.0) -> AnyEvent | None:
        """The first event of any of these types; None if none came in time."""
        wanted = frozenset[str](types)
        return self.poll_for(EventPayload, where=lambda event: event.type in wanted, timeout=timeout)

    @deprecated(
        "wait_until_idle is deprecated: use wait_for_turn(accepted), which waits for the end of a turn, "
        "or drain(timeout=…)"
    )
    def wait_until_idle(self: _Stream, quiet_seconds: float = 2.0, total_timeout: float = 180.0) -> bool:
        """Waits until no event has arrived for some seconds. False if some kept arriving."""
        arrived: queue.SimpleQueue[AnyEvent | None] = queue.SimpleQueue()
        deadline = time.monotonic() + total_timeout
        subscription = self.log.subscribe(arrived.put)
        try:
            while (left := deadline - time.monotonic()) > 0:
                if _next(arrived, min(quiet_seconds, left)) is None:
                    return left > quiet_seconds
            return False
        finally:
            subscription.cancel()

    @deprecated("last_seq is deprecated: use stream.log.last_seq")
    def last_seq(self: _Stream) -> int:
        """The highest number so far."""
        return self.log.last_seq

    @deprecated("request_replay is deprecated: use fill_gaps(since=…)")
    def request_replay(self: _Stream, since: int) -> int:
        """Brings the events that are missing here."""
        return self.fill_gaps(since=since)


class AsyncOldCalls:
    """The predecessor had no asynchronous client: there, each of these names is an error."""


class AsyncOldStream:
    """The predecessor had no asynchronous stream: there, each of these names is an error."""


class OldAssertions:
    """Old functions of `assertions`, which is their first argument."""

    @deprecated("seq_is_monotonic is deprecated: use seq_unique(events)")
    def seq_is_monotonic(self: Any, events: Iterable[Mapping[str, Any]]) -> tuple[bool, str]:
        """Whether no two events share a number."""
        return self.seq_unique(events)  # type: ignore[no-any-return] # the module is not known down here

    @deprecated(
        "correlation_id_thread is deprecated: use correlation_thread(events, correlation_id), and "
        "event_order(events, types) for the types"
    )
    def correlation_id_thread(
        self: Any, events: Iterable[Mapping[str, Any]], correlation_id: str, expected_types: Sequence[str]
    ) -> tuple[bool, str]:
        """Whether a turn has events of these types."""
        thread = [event for event in events if _correlation_id(event) == correlation_id]
        missing = [one for one in expected_types if one not in {event.get("type") for event in thread}]
        return self.Check(  # type: ignore[no-any-return] # as above
            not missing,
            f"turn {correlation_id} has {len(thread)} events"
            + (f", but no {', '.join(missing)}" if missing else ""),
        )

    @deprecated(
        "ephemeral_types_absent_from_persistent is deprecated: use no_event(events, Token, ThinkingDelta, …)"
    )
    def ephemeral_types_absent_from_persistent(
        self: Any, persistent_events: Iterable[Mapping[str, Any]]
    ) -> tuple[bool, str]:
        """Whether the log has none of the events that are only sent."""
        return self.no_event(persistent_events, *EPHEMERAL)  # type: ignore[no-any-return] # as above


EPHEMERAL: Final = ("token", "thinking_delta", "thinking_started", "thinking")


def _correlation_id(event: Mapping[str, Any]) -> object:
    payload: Mapping[str, object] = event.get("payload") or {}
    return payload.get("correlation_id")


def report_of_checks(checks: Iterable[tuple[str, tuple[bool, str]]]) -> tuple[bool, str]:
    """What `assertions.report` made of named checks: whether all hold, and a line for each."""
    warnings.warn(
        "assertions.report renders events now; keep named checks in a dict, and use all(checks.values()): "
        "a Check is true when it holds",
        DeprecationWarning,
        stacklevel=3,
    )
    listed = list(checks)
    lines = [f"  [{'PASS' if ok else 'FAIL'}] {name}: {detail}" for name, (ok, detail) in listed]
    return all(ok for _, (ok, _) in listed), "\n".join(lines)


def warn_of_partial_text() -> None:
    """Says that the text of a result is not its answer, which it was in the predecessor."""
    warnings.warn(
        "result.text is only what was streamed of the answer; the whole answer is result.content, and the "
        "pieces are the deltas of result.messages",
        DeprecationWarning,
        stacklevel=3,
    )


# --- arguments that work


class OldArguments:
    """Old forms of functions that kept their name. Each gets the new function first."""

    @staticmethod
    @deprecated(
        "this form of wait_for is deprecated: use wait_for(Type, where=…, timeout=…), which raises "
        "EventTimeout, or poll_for, which returns None",
        stacklevel=_BY_ARGUMENTS,
    )
    def wait_for(
        new: Callable[..., Any],
        stream: Any,
        event_type: str,
        timeout: float = 30.0,
        predicate: Callable[[Any], bool] | None = None,
    ) -> Any:
        """The first event that fits; None if none came in time."""
        return stream.poll_for(event_type, where=predicate, timeout=timeout)

    @staticmethod
    @deprecated("start(timeout=…) is deprecated: use start(), which ends in time", stacklevel=_BY_ARGUMENTS)
    def start(new: Callable[..., Any], stream: Any, timeout: float = 10.0) -> Any:
        """Starts a stream."""
        return new(stream)

    @staticmethod
    @deprecated(
        "this form of LiveEventStream(…) is deprecated: use keywords, since= for since_seq= and "
        "@stream.on(Type) for on_event=; the rooms of apps and users cannot be joined",
        stacklevel=_BY_ARGUMENTS,
    )
    def LiveEventStream(
        new: Callable[..., Any],
        stream: Any,
        daemon_url: str,
        token: str,
        app_id: str,
        session_id: str,
        on_event: Callable[[Any], None] | None = None,
        since_seq: int = 0,
        also_join_app: bool = False,
        also_join_user: bool = False,
    ) -> None:
        """Makes a stream."""
        if also_join_app or also_join_user:
            raise TypeError("also_join_app= and also_join_user= are gone: a stream joins its session alone")
        new(
            stream,
            daemon_url=daemon_url,
            token=token,
            app_id=app_id,
            session_id=session_id,
            since=since_seq,
        )
        if on_event is not None:
            stream.on(EventPayload)(on_event)

    @staticmethod
    @deprecated(
        "wait_for_session= and start= of open_event_stream are deprecated: call wait_for_session(session) "
        "first, if it must exist; the stream of a session of new_session joins when the session begins",
        stacklevel=_BY_ARGUMENTS,
    )
    def open_event_stream(
        new: Callable[..., Any],
        client: Any,
        session: SessionHandle,
        start: bool = True,
        wait_for_session: bool = True,
    ) -> Any:
        """Opens a session's stream."""
        if not start:
            raise TypeError(
                "open_event_stream(start=False) is gone: make a LiveEventStream(…) and start() it"
            )
        if wait_for_session and not session.is_new:
            client.wait_for_session(session, timeout=5.0)
        return new(client, session)

    @staticmethod
    @deprecated(
        "this form of send_live is deprecated: use send_live(session, text, total_timeout=…); for more, "
        "start_turn(session, text, queue_mode=…, client_message_id=…), or on a stream that is open "
        "stream.wait_for_turn(client.post_message_raw(session, text))",
        stacklevel=_BY_ARGUMENTS,
    )
    def send_live(
        new: Callable[..., Any],
        client: Any,
        session: SessionHandle,
        message: str,
        total_timeout: float = 180.0,
        *,
        queue_mode: str | None = None,
        client_message_id: str | None = None,
        idle_seconds: float = 3.0,
        stream: Any = None,
    ) -> Any:
        """Sends a message, and returns the stream when its turn has ended."""
        if stream is None and queue_mode is None and client_message_id is None:
            return new(client, session, message, total_timeout)
        accepted = client.post_message_raw(
            session, message, queue_mode=queue_mode, client_message_id=client_message_id
        )
        used = client.open_event_stream(session) if stream is None else stream
        try:
            used.wait_for_turn(accepted, timeout=total_timeout)
        except BaseException:
            if stream is None:
                used.stop()
            raise
        return used

    @staticmethod
    @deprecated(
        "deploy(wait=…) is deprecated: use deploy(path, force=True), then wait_for_app(app_id, timeout=…)",
        stacklevel=_BY_ARGUMENTS,
    )
    def deploy(
        new: Callable[..., Any], client: Any, yaml_path: str | Path, force: bool = True, wait: float = 10.0
    ) -> Any:
        """Deploys an app, and waits until it can be used."""
        return client.wait_for_app(new(client, yaml_path, force=force).app_id, timeout=wait)

    @staticmethod
    @deprecated(
        "include_system by position is deprecated: use get_history(session, include_system=…).messages; "
        "the default is False now",
        stacklevel=_BY_ARGUMENTS,
    )
    def get_history(
        new: Callable[..., Any], client: Any, session: SessionHandle, include_system: bool = True
    ) -> Any:
        """A session's history."""
        return new(client, session, include_system=include_system)

    @staticmethod
    @deprecated(
        "include_finished by position is deprecated: use get_queue(session, include_finished=…).entries",
        stacklevel=_BY_ARGUMENTS,
    )
    def get_queue(
        new: Callable[..., Any], client: Any, session: SessionHandle, include_finished: bool = False
    ) -> Any:
        """A session's queue."""
        return new(client, session, include_finished=include_finished)

    @staticmethod
    @deprecated(
        "this form of post_message_raw is deprecated: use keywords; files= is gone",
        stacklevel=_BY_ARGUMENTS,
    )
    def post_message_raw(
        new: Callable[..., Any],
        client: Any,
        session: SessionHandle,
        message: str,
        queue_mode: str | None = None,
        client_message_id: str | None = None,
        images: Sequence[Any] | None = None,
        files: Sequence[Any] | None = None,
    ) -> Any:
        """Posts a message."""
        if files:
            raise TypeError(
                "post_message_raw(files=…) is gone: use client.api.messages.send_message(…), which takes them"
            )
        return new(
            client,
            session,
            message,
            queue_mode=queue_mode,
            client_message_id=client_message_id,
            images=images or (),
        )

    @staticmethod
    @deprecated(
        "this form of send is deprecated: use send(session, text, timeout=…); for on_event=, iterate over "
        "start_turn(session, text)",
        stacklevel=_BY_ARGUMENTS,
    )
    def send(
        new: Callable[..., Any],
        client: Any,
        session: SessionHandle,
        message: str,
        timeout: float | None = None,
        on_event: Callable[[Any], None] | None = None,
    ) -> Any:
        """Sends a message and returns the result of its turn."""
        if on_event is not None:
            raise TypeError("send(on_event=…) is gone: iterate over client.start_turn(session, text)")
        return new(client, session, message, timeout=timeout)

    @staticmethod
    @deprecated("this form of chat is deprecated", stacklevel=_BY_ARGUMENTS)
    def chat(
        new: Callable[..., Any],
        client: Any,
        app_id: str,
        message: str,
        workspace: str = "",
        session_id: str | None = None,
        timeout: float | None = None,
    ) -> NoReturn:
        """Raises: it returned the session, and now returns the result of the turn."""
        raise TypeError(
            "chat takes keywords and returns the TurnResult, not the session: use "
            "chat(app_id, text, workspace=…, session=…)"
        )

    @staticmethod
    @deprecated(
        "minimum and maximum of event_count are deprecated: use event_count(events, Type, at_least=…, "
        "at_most=…); the third argument is the exact number now",
        stacklevel=_BY_ARGUMENTS,
    )
    def event_count(
        new: Callable[..., Any],
        events: Iterable[Mapping[str, Any]],
        event_type: str,
        minimum: int = 1,
        maximum: int | None = None,
    ) -> Any:
        """Whether the number of events of a type is in a range."""
        return new(events, event_type, at_least=minimum, at_most=maximum)

    @staticmethod
    @deprecated(
        "exclude_types of seq_unique is deprecated: control frames, which have no number, never count",
        stacklevel=_BY_ARGUMENTS,
    )
    def seq_unique(
        new: Callable[..., Any],
        events: Iterable[Mapping[str, Any]],
        exclude_types: Iterable[str] | None = None,
    ) -> Any:
        """Whether no two events share a number."""
        left_out = frozenset(exclude_types or ())
        return new([event for event in events if event.get("type") not in left_out])


# --- names that are errors

OPERATIONS: Final[Mapping[str, Mapping[str, str]]] = {
    # by tag: the old name, and the operation that it called
    "apps": {
        "validate_yaml": "validate_app",
        "run_oneshot": "run_app",
        "get_app_diagnostics": "get_app_diagnostics",
        "get_app_errors": "list_app_errors",
        "list_active_notifications": "get_notifications_active",
        "get_channels_health": "get_channels_health",
        "get_app_asset": "get_app_asset",
        "get_app_icon": "get_app_icon",
        "get_app_status": "get_app_status",
        "list_app_files": "list_app_files",
        "run_pipeline": "run_pipeline",
    },
    "background": {
        "get_background_session": "get_background_session",
        "test_trigger": "test_trigger",
        "list_watchers": "list_watchers",
        "get_activations": "list_activations",
        "create_background_task": "launch_background_task",
        "list_background_tasks": "list_background_tasks",
        "get_background_task": "get_background_task",
        "cancel_background_task": "cancel_background_task",
        "wait_background_task": "wait_background_task",
        "bg_session_get_payload": "get_background_payload",
        "bg_session_set_payload": "set_background_payload",
        "bg_session_delete_payload": "clear_background_payload",
        "bg_session_pause": "pause_background_session",
        "bg_session_resume": "resume_background_session",
        "bg_session_delete": "delete_background_session",
        "get_payload_schema": "get_payload_schema",
        "create_watcher": "create_watcher",
        "get_watcher": "get_watcher",
        "get_activation": "get_activation",
        "get_activations_stats": "get_activation_stats",
        "download_artifact": "download_artifact",
    },
    "builder": {
        "list_drafts": "list_drafts",
        "create_draft": "create_draft",
        "get_draft": "get_draft",
        "update_draft": "patch_draft",
        "delete_draft": "delete_draft",
        "deploy_draft": "deploy_draft",
    },
    "config": {
        "get_daemon_config": "get_config",
        "patch_daemon_config": "patch_config",
        "browse_config": "browse_directories",
    },
    "credentials": {
        "create_user_credential": "create_credential",
        "delete_user_credential": "delete_credential",
    },
    "discovery": {
        "list_modules": "list_discovery_modules",
        "discovery_modules": "list_discovery_modules",
        "discovery_module": "get_discovery_module",
        "discovery_triggers": "list_trigger_types",
        "discovery_templates": "list_templates",
        "discovery_template": "get_template",
        "compile_yaml": "compile_yaml",
        "prompt_preview": "preview_prompt",
        "generate_package_manifest": "generate_package_manifest",
    },
    "health": {
        "get_metrics": "get_metrics",
    },
    "mcp": {
        "list_mcp_servers": "list_mcp_servers",
        "mcp_catalog": "list_mcp_catalog",
        "mcp_get_server_spec": "get_mcp_catalog_entry",
        "mcp_search": "search_mcp",
        "mcp_list_servers": "list_mcp_servers",
        "mcp_get_server": "get_mcp_server",
        "mcp_install_server": "install_mcp_server",
        "mcp_delete_server": "remove_mcp_server",
        "mcp_test_server": "test_mcp_server",
        "mcp_update_server_config": "update_mcp_config",
        "mcp_pool": "get_mcp_pool",
        "mcp_pool_health": "get_mcp_pool_health",
        "mcp_pool_connect": "connect_mcp_server",
        "mcp_pool_disconnect": "disconnect_mcp_server",
    },
    "modules": {
        "list_runtime_modules": "list_modules",
        "get_runtime_module": "get_module",
        "execute_module_action": "execute_module_action",
        "module_health": "get_module_health",
    },
    "requires": {
        "list_requires": "list_requirements",
        "install_require": "install_requirement",
        "install_all_requires": "install_missing_requirements",
    },
    "secrets": {
        "get_required_secrets": "list_required_secrets",
    },
    "security": {
        "get_security_profile": "get_security_profile",
        "create_security_profile": "create_security_profile",
        "update_security_profile": "update_security_profile",
        "delete_security_profile": "delete_security_profile",
        "list_grants": "list_module_grants",
        "update_grant": "upsert_module_grant",
        "delete_grant": "delete_module_grant",
    },
    "sessions": {
        "get_preview": "get_session_preview",
        "get_context_breakdown": "get_context_breakdown",
        "get_session_image": "get_session_image",
        "cancel_task": "cancel_session_task",
    },
    "tools": {
        "get_tool_categories": "list_tool_categories",
        "search_tools": "search_tools",
        "get_tool": "get_tool",
    },
    "transcribe": {
        "transcribe_audio": "transcribe_audio",
    },
    "user": {
        "get_inbox": "list_inbox",
        "get_inbox_unread_count": "count_unread_inbox",
        "mark_inbox_read": "read_inbox_item",
        "mark_all_inbox_read": "read_all_inbox",
        "delete_inbox_item": "archive_inbox_item",
        "list_user_sessions": "list_my_sessions",
        "list_user_approvals": "list_my_approvals",
        "list_devices": "list_devices",
        "register_device": "register_device",
        "delete_device": "unregister_device",
    },
    "workspace": {
        "get_preview_snapshot": "get_preview_snapshot",
        "get_code_snapshot": "get_code_snapshot",
        "approve_workspace_file": "approve_file",
        "reject_workspace_file": "reject_file",
        "export_workspace": "export_workspace",
        "import_workspace": "import_workspace",
        "fork_workspace": "fork_workspace",
        "workspace_git_status": "refresh_git_status",
    },
}

GONE: Final[Mapping[str, Mapping[str, str]]] = {
    "OldCalls": {
        **{
            name: f"call client.api.{tag}.{operation}(…), whose answer is typed"
            for tag, names in OPERATIONS.items()
            for name, operation in names.items()
        },
        **{
            f"_{method.lower()}": f'call client.request("{method}", path, params=…, json=…), which raises '
            "ApiError if the daemon refuses, or the typed client.api.<tag>.<operation>(…)"
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        },
        "close_session": "sessions need no closing; client.delete(session) deletes one",
        "encode_image": "pass images=[ImageInput(data=…, mime=…, name=…)] of digitorn.testing.models",
        "on_event": "iterate over client.start_turn(session, text), or use @stream.on(Type)",
        "open_multi_stream": "a stream joins its session alone: client.open_event_stream(session, since=…)",
        "refresh_auth": "the client renews its token by itself",
        "send_notification": "call client.api.apps.check_notifications(…)",
        "token": "a client does not show its token; it is for streams alone, as _get_auth_token()",
        "list_packages": "packages are apps: client.list_apps(include_installed=True)",
        "get_package": "packages are apps: client.get_app(app_id)",
        "check_package_update": "packages are apps: client.api.apps.check_app_update(app_id)",
        "install_package": "packages are apps: client.api.apps.install_app(…)",
        "upgrade_package": "packages are apps: client.api.apps.upgrade_app(app_id, …)",
        "uninstall_package": "packages are apps: client.api.apps.uninstall_app(app_id, …)",
        "get_package_asset": "packages are apps: client.api.apps.get_app_asset(app_id, path)",
    },
    "OldStream": {
        "clear": "a stream keeps its events; remember stream.log.last_seq, and wait with "
        "where=lambda event: event.seq > mark",
        "send_message": "post it with client.post_message_raw(session, text) or start_turn(session, text)",
        "token": "a stream does not show its token",
    },
    "OldAssertions": {},
    "OldResult": {
        "all_text": "there is one result for each turn: its answer is result.content",
        "bash_commands": '[call.params["command"] for call in result.tool_calls if call.name == "Bash"]',
        "behavior_violations": "read client.get_history(session, include_system=True).messages",
        "duration_seconds": "read result.duration",
        "files_edited": "read call.params of the calls in result.tool_calls",
        "files_read": "read call.params of the calls in result.tool_calls",
        "files_written": "read call.params of the calls in result.tool_calls",
        "has_behavior_violations": "read client.get_history(session, include_system=True).messages",
        "last": "client.chat returns the result itself, not the session",
        "live_events": "read result.events",
        "raw_messages": "read result.messages, or client.get_history(session).messages",
        "success": "read result.ok, or result.status for how it ended",
        "tools_used": "[call.name for call in result.tool_calls]",
        "turn_number": "a turn is known by result.correlation_id",
        "turns": "client.chat returns the result itself, not the session",
        "used_bash_for_files": "read call.params of the calls in result.tool_calls",
        "used_glob": 'any(call.name == "Glob" for call in result.tool_calls)',
        "used_grep": 'any(call.name == "Grep" for call in result.tool_calls)',
    },
    "OldSession": {
        **dict.fromkeys(
            ("turns", "turn_count", "last", "all_text", "all_tools_used"),
            "a handle only names a session: keep the results that client.send returns",
        ),
    },
    "OldApp": {
        **dict.fromkeys(
            ("mode", "agents", "total_tools"), "a handle only names an app: read it of client.get_app(app_id)"
        ),
        **dict.fromkeys(
            ("status", "is_deployed"),
            "a handle only names an app: client.wait_for_app(app_id) returns when it is deployed, and "
            "client.api.apps.get_app_status(app_id) says more",
        ),
    },
}

_WORKING: Final[Mapping[str, type]] = {
    "OldCalls": OldCalls,
    "OldStream": OldStream,
    "OldAssertions": OldAssertions,
}


def look_up(owner: object, name: str, table: str, *, works: bool) -> object:
    """An old name of an object: its deprecated form.

    Args:
        owner: The object, or module.
        name: The name, which the object lacks.
        table: Which names these are.
        works: Whether its deprecated forms can be used.

    Raises:
        AttributeError: There is no such form. If the predecessor had the name, the error names the new way.
    """
    said = f"{owner.__name__}" if isinstance(owner, ModuleType) else type(owner).__name__
    form = vars(_WORKING[table]).get(name) if table in _WORKING and not name.startswith("_") else None
    if form is not None and works:
        return MethodType(form, owner)
    hint = GONE[table].get(name) if form is None else str(form.__deprecated__)
    text = f"{said!r} has no attribute {name!r}" + ("" if hint is None else f": {hint}")
    raise AttributeError(text, name=name, obj=owner)


def call(new: Callable[..., Any], /, *args: Any, **named: Any) -> Any:
    """Calls a function with arguments that it lacks, if its predecessor had them.

    Args:
        new: The function.
        args: Positional arguments.
        named: Keyword arguments.

    Raises:
        TypeError: It never had these arguments, or is asynchronous; the predecessor had nothing like that.
    """
    name = new.__qualname__.rpartition(".")[0] if new.__name__ == "__init__" else new.__name__
    form = getattr(OldArguments, name.removeprefix("Async"), None)
    if form is None or not _fits(form, (new, *args), named):
        return new(*args, **named)
    if inspect.iscoroutinefunction(new) or name.startswith("Async"):
        raise TypeError(f"{name}: {form.__deprecated__}")
    return form(new, *args, **named)


def _fits(form: Callable[..., object], args: tuple[object, ...], named: Mapping[str, object]) -> bool:
    try:
        inspect.signature(form).bind(*args, **named)
    except TypeError:
        return False
    return True


def _next(arrived: queue.SimpleQueue[AnyEvent | None], seconds: float) -> AnyEvent | None:
    """The next event; None if none came in time, and at the end of the stream."""
    for part in slices(seconds):
        with suppress(queue.Empty):
            return arrived.get(timeout=part)
    return None
