"""The client's short calls: each is one call of a REST stub, or little more."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from digitorn_testing._apps.builder import AppBuilder
from digitorn_testing._client.waiting import POLLS, in_time
from digitorn_testing._concurrency.backoff import Pauses
from digitorn_testing._concurrency.deadlines import asleep
from digitorn_testing._concurrency.latest import Latest
from digitorn_testing._errors import EventTimeout, Forbidden, NotFound, RateLimited
from digitorn_testing._formerly import once_took
from digitorn_testing._generated import models
from digitorn_testing._generated._runtime import NOT_GIVEN
from digitorn_testing._generated.rest_async import AsyncApi
from digitorn_testing._handles import AppHandle, SessionHandle
from digitorn_testing._stream import AsyncLiveEventStream
from digitorn_testing._texts import check_sendable, in_seconds

from .shared_streams import AsyncSharedStreams

if TYPE_CHECKING:
    from digitorn_testing.legacy import AsyncOldCalls
else:
    from digitorn_testing._formerly import AsyncOldCalls

_APP_ID: Final = re.compile(rb"""["']?app_id["']?\s*:\s*["']?([A-Za-z0-9][\w.-]*)""")
"""The app's id in a definition; a definition that hides it is deployed as well."""

_UNDEPLOY_SECONDS: Final = 5.0


class Deployment(NamedTuple):
    """The latest deployments of an app, in seconds since the Unix epoch.

    Attributes:
        deployed_at: When the one that runs was deployed; None if none runs.
        failed_at: When one failed last; None if none did since one succeeded.
    """

    deployed_at: float | None = None
    failed_at: float | None = None


class AsyncCalls(AsyncOldCalls):
    """Short names for operations of the contract that tests need often.

    Attributes:
        api: The typed REST stubs.
        daemon_url: The daemon.
    """

    api: AsyncApi
    daemon_url: str
    _shared: AsyncSharedStreams[AsyncLiveEventStream]
    # What was there when the client deployed an app last; the daemon goes on reporting it for a while.
    _replaced: Latest[str, Deployment]

    # --- apps

    def app(self, app_id: str) -> AppHandle:
        """The handle of an app of this daemon."""
        return AppHandle(app_id=app_id, daemon_url=self.daemon_url)

    @once_took
    async def deploy(
        self, path: str | Path, *, force: bool = False, secrets: Mapping[str, str] | None = None
    ) -> models.UploadDeployAccepted:
        """Deploys the app in a local YAML file; `wait_for_app` waits until it can be used.

        Args:
            path: The file.
            force: Replace the app if it is deployed already.
            secrets: The app's secrets, by name.

        Raises:
            ApiError: The definition does not compile, or the app is deployed already.
            OSError: The file cannot be read.
        """
        file = Path(path)
        content = file.read_bytes()  # noqa: ASYNC240 - a small local file
        return await self.deploy_text(content, name=file.name, force=force, secrets=secrets)

    async def deploy_text(
        self,
        definition: str | bytes,
        *,
        name: str = "app.yaml",
        force: bool = False,
        secrets: Mapping[str, str] | None = None,
    ) -> models.UploadDeployAccepted:
        """Deploys the app in a YAML text; `wait_for_app` waits until it can be used.

        Args:
            definition: The text.
            name: File name that is sent with it.
            force: Replace the app if it is deployed already.
            secrets: The app's secrets, by name.

        Raises:
            ApiError: The definition does not compile, or the app is deployed already.
            ValueError: The text holds half of a surrogate pair.
        """
        content = definition
        if isinstance(content, str):
            check_sendable(content, "definition")
            content = content.encode()
        for key, secret in (secrets or {}).items():
            check_sendable(key, "a name in secrets")
            check_sendable(secret, f"secrets.{key}")
        named = _APP_ID.search(content)
        app_id = named[1].decode() if named else None
        before = Deployment() if app_id is None else await self._deployment(app_id)
        accepted = await self.api.apps.deploy_app_upload(
            file=(name, content),
            force=force,
            secrets=json.dumps(dict(secrets)) if secrets else NOT_GIVEN,
        )
        self._replaced[accepted.app_id] = before if accepted.app_id == app_id else Deployment()
        return accepted

    async def deploy_app(
        self,
        app: AppBuilder,
        *,
        force: bool = False,
        secrets: Mapping[str, str] | None = None,
        timeout: float = 30.0,
    ) -> AppHandle:
        """Deploys the app that a builder defines, and waits until it can be used.

        Args:
            app: The app. If its tools are Python functions, use `FakeDaemon.deploy` instead.
            force: Replace the app if it is deployed already.
            secrets: The app's secrets, by name.
            timeout: Seconds until it must be deployed.

        Raises:
            AppNotPortable: The definition cannot be written as YAML; the error says which part.
            ApiError: The definition does not compile, or the app is deployed already.
            EventTimeout: It was not deployed in time, or the deployment failed.
        """
        await self.deploy_text(app.to_yaml(), name=f"{app.app_id}.yaml", force=force, secrets=secrets)
        return await self.wait_for_app(app.app_id, timeout)

    async def wait_for_app(self, app_id: str, timeout: float = 30.0) -> AppHandle:
        """Waits until an app can be used; after a deployment by this client, until the new one can.

        Args:
            app_id: The app.
            timeout: Seconds to wait.

        Raises:
            EventTimeout: It is not deployed in time, or its deployment failed; the message says why.
        """
        before = self._replaced.get(app_id, Deployment())
        deadline = time.monotonic() + timeout
        pauses = Pauses(POLLS)
        said = f"the daemon did not tell whether app {app_id!r} is deployed"
        with in_time(timeout, lambda: said):
            while True:
                status = await self.api.apps.get_deploy_status(app_id)
                now = await self._deployment(app_id)
                # The status is ahead of the app itself, and after a forced deployment that of the old one.
                if now.deployed_at not in (None, before.deployed_at):
                    self._replaced.pop(app_id, None)
                    return self.app(app_id)
                if status.error and (now.failed_at is None or now.failed_at != before.failed_at):
                    raise EventTimeout(f"app {app_id!r} is not deployed: {status.error}")
                said = f"app {app_id!r} is not deployed: no end"
                pause = pauses.next()
                if time.monotonic() + pause > deadline:
                    raise EventTimeout(f"{said} within {in_seconds(timeout)}")
                await asleep(pause)

    async def _deployment(self, app_id: str) -> Deployment:
        try:
            deployed_at = (await self.api.apps.get_app(app_id)).deployed_at
        except (NotFound, RateLimited):
            # After many answers 404 the daemon refuses the path for a while.
            deployed_at = None
        return Deployment(deployed_at, (await self.api.apps.get_deploy_status(app_id)).failed_at)

    async def undeploy(self, app_id: str) -> models.AppDeletion:
        """Stops an app but keeps it installed. The daemon drops its sessions.

        It is back when it is deployed again, and when the daemon restarts.

        Args:
            app_id: The app.

        Raises:
            NotFound: The app is not deployed.
            Forbidden: The app belongs to all users, and this user is no administrator.
        """
        try:
            stopped = await self.api.apps.disable_app(app_id, scope="system")
        except (NotFound, Forbidden) as refused:
            return await self._undeploy_own(app_id, refused)
        # While it is marked as disabled, a deployment would last only until the daemon restarts.
        enabled = await self.api.apps.enable_app(app_id, scope="system")
        if enabled.redeployed:
            # One that was installed from a package starts again by that.
            stopped = await self.api.apps.disable_app(app_id, scope="system")
        return models.AppDeletion(
            app_id=app_id, deleted=False, undeployed=True, scope=stopped.scope, message=stopped.message
        )

    async def _undeploy_own(self, app_id: str, refused: NotFound | Forbidden) -> models.AppDeletion:
        """Undeploys the user's own installation."""
        undeployed = await self.api.apps.delete_app(app_id, undeploy_only=True)
        deadline = time.monotonic() + _UNDEPLOY_SECONDS
        pauses = Pauses(POLLS)
        # The daemon answers first, and says the same when the app is not the user's and goes on.
        while (await self.api.apps.get_deploy_status(app_id)).deployed:
            pause = pauses.next()
            if time.monotonic() + pause > deadline:
                raise refused
            await asleep(pause)
        return undeployed

    async def delete_app(self, app_id: str, *, delete_history: bool = True) -> models.AppDeletion:
        """Deletes an app: that of all users if there is one, otherwise the user's own installation.

        Args:
            app_id: The app.
            delete_history: Also delete its sessions.

        Raises:
            NotFound: There is no such app.
            Forbidden: The app belongs to all users, and this user is no administrator.
        """
        try:
            return await self.api.apps.delete_app(app_id, scope="system", delete_history=delete_history)
        except (NotFound, Forbidden) as refused:
            # Without a scope the daemon reports a deletion even if it only found secrets of the app.
            deleted = await self.api.apps.delete_app(app_id, delete_history=delete_history)
            if (await self.api.apps.get_deploy_status(app_id)).deployed:
                raise refused
            return deleted

    async def list_apps(
        self, *, include_disabled: bool = False, include_installed: bool = False, include_hidden: bool = False
    ) -> list[models.AppSummary]:
        """The apps that the user can see.

        Args:
            include_disabled: Also list disabled apps.
            include_installed: Also list apps that are installed but not deployed.
            include_hidden: Also list hidden apps.
        """
        return await self.api.apps.list_apps(
            include_disabled=include_disabled or NOT_GIVEN,
            include_installed=include_installed or NOT_GIVEN,
            include_hidden=include_hidden or NOT_GIVEN,
        )

    async def get_app(self, app_id: str) -> models.AppDetail:
        """What the daemon tells about a deployed app: its agents, its tools, when it was deployed.

        Args:
            app_id: The app.

        Raises:
            NotFound: The app is not deployed.
        """
        return await self.api.apps.get_app(app_id)

    # --- the daemon and the user

    async def get_health(self) -> models.Health:
        """The health and the version of the daemon. Needs no token."""
        return await self.api.health.get_health()

    async def get_me(self) -> models.UserResponse:
        """The user of the client's token, as the auth service knows them.

        Raises:
            Unauthorized: The token is missing, wrong or expired.
        """
        return await self.api.auth.get_me()

    # --- secrets and credentials

    async def list_secrets(self, app_id: str) -> models.SecretKeys:
        """The names of an app's secrets.

        Args:
            app_id: The app.
        """
        return await self.api.secrets.list_secrets(app_id)

    async def set_secret(self, app_id: str, key: str, value: str) -> models.SecretStored:
        """Stores a secret of an app. The daemon then reloads the app.

        Args:
            app_id: The app.
            key: Name of the secret.
            value: The secret.
        """
        return await self.api.secrets.set_secret(app_id, key, value=value)

    async def delete_secret(self, app_id: str, key: str) -> models.SecretDeleted:
        """Deletes a secret of an app.

        Args:
            app_id: The app.
            key: Name of the secret.
        """
        return await self.api.secrets.delete_secret(app_id, key)

    async def list_credentials(self) -> models.CredentialList:
        """The user's credentials, without their secret values."""
        return await self.api.credentials.list_user_credentials()

    async def set_credential(
        self, app_id: str, provider: str, fields: Mapping[str, object]
    ) -> models.Credential:
        """Stores a credential of the user.

        Args:
            app_id: The app that may use it; `_global` for all apps.
            provider: Name of the provider.
            fields: The fields that the provider needs, by name.
        """
        return await self.api.credentials.upsert_user_credential(app_id, provider, fields=dict(fields))

    async def delete_credential(self, app_id: str, provider: str) -> models.CredentialDeletion:
        """Deletes a credential of the user.

        Args:
            app_id: The app that may use it; `_global` for all apps.
            provider: Name of the provider.
        """
        return await self.api.credentials.delete_user_credential(app_id, provider)

    # --- triggers and background sessions

    async def list_triggers(self, app_id: str) -> models.TriggerOverview:
        """Whatever can start an app without a user: triggers, channels, jobs and watchers.

        Args:
            app_id: The app.
        """
        return await self.api.background.get_triggers(app_id)

    async def fire_trigger(self, app_id: str, trigger_id: str) -> models.TriggerFired:
        """Fires a trigger now.

        Args:
            app_id: The app.
            trigger_id: The trigger.
        """
        return await self.api.background.fire_trigger(app_id, trigger_id)

    async def create_background_session(
        self, app_id: str, *, name: str = "", params: Mapping[str, object] | None = None, workspace: str = ""
    ) -> models.BackgroundSession:
        """Creates a session in which triggers run.

        Args:
            app_id: The app.
            name: Its name.
            params: Parameters of the session.
            workspace: Working folder on the daemon's machine.
        """
        return await self.api.background.create_background_session(
            app_id, name=name, params=dict(params or {}), workspace=workspace
        )

    async def list_background_sessions(self, app_id: str) -> models.BackgroundSessionPage:
        """The background sessions of an app.

        Args:
            app_id: The app.
        """
        return await self.api.background.list_background_sessions(app_id)

    # --- sessions

    async def search(self, app_id: str, text: str, *, limit: int = 20) -> models.SessionSearchPage:
        """Searches the sessions of an app.

        The daemon saves the messages of a turn shortly after its end. Until then they are not found.

        Args:
            app_id: The app.
            text: The text to search for.
            limit: Maximum number of sessions to return.
        """
        return await self.api.sessions.search_sessions(app_id, q=text, limit=limit)

    @once_took
    async def get_history(
        self, session: SessionHandle, *, include_system: bool = False
    ) -> models.SessionHistory:
        """A session's messages and events.

        The daemon saves the messages of a turn shortly after its end, and nothing announces it. Until then
        `messages` lacks them; `events` does not lag behind, and neither does the result of `send`.

        Args:
            session: The session.
            include_system: Return the model's whole context, including system messages.
        """
        return await self.api.sessions.get_session_history(
            session.app_id, session.session_id, include_system=include_system
        )

    async def list_events(
        self, session: SessionHandle, *, since: int = 0, limit: int | None = None
    ) -> models.SessionEventPage:
        """The events of a session that the daemon has logged, without text deltas and the like.

        Args:
            session: The session.
            since: Only events with a higher `seq`.
            limit: Maximum number of events to return; the daemon's own limit if left out.

        Raises:
            NotFound: There is no such session.
        """
        return await self.api.sessions.list_session_events(
            session.app_id,
            session.session_id,
            since_seq=since or NOT_GIVEN,
            limit=NOT_GIVEN if limit is None else limit,
        )

    async def list_sessions(self, app_id: str, *, limit: int = 50, offset: int = 0) -> models.SessionPage:
        """The user's sessions of an app, most recently used first.

        Args:
            app_id: The app.
            limit: Maximum number of sessions to return, up to 200; 0 for all.
            offset: How many sessions to skip.

        Raises:
            NotFound: The app is not deployed.
        """
        return await self.api.sessions.list_sessions(app_id, limit=limit, offset=offset)

    async def get_session(self, session: SessionHandle) -> models.SessionDetail:
        """A session's title, counts, tokens and state.

        The daemon saves the messages of a turn shortly after its end. Until then they are not counted.

        Args:
            session: The session.

        Raises:
            NotFound: There is no such session.
        """
        return await self.api.sessions.get_session(session.app_id, session.session_id)

    async def fork(self, session: SessionHandle) -> SessionHandle:
        """Copies a session into a new one; both continue independently.

        Args:
            session: The session.

        Raises:
            NotFound: There is no such session.
        """
        forked = await self.api.sessions.fork_session(session.app_id, session.session_id)
        return replace(session, session_id=forked.new_session_id, first_turn=None, is_new=False)

    async def resume(self, session: SessionHandle) -> models.ResumeResult:
        """Runs the interrupted turn of a session again. `resumed` says whether there was one.

        Args:
            session: The session.

        Raises:
            NotFound: There is no such session.
        """
        return await self.api.sessions.resume_session(session.app_id, session.session_id)

    async def compact(self, session: SessionHandle) -> models.CompactedSession:
        """Compacts a session's messages now. The result counts messages, not tokens.

        Args:
            session: The session.

        Raises:
            NotFound: There is no such session.
        """
        return await self.api.sessions.compact_session(session.app_id, session.session_id)

    async def undo(self, session: SessionHandle) -> models.UndoResult:
        """Undoes the last change to a file of a session's workspace.

        Args:
            session: The session.

        Raises:
            ApiError: There is nothing to undo.
        """
        await self._check_not_deleted(session)
        return await self.api.sessions.undo_session(session.app_id, session.session_id)

    async def _check_not_deleted(self, session: SessionHandle) -> None:
        """Raises `NotFound` for a deleted session, which some calls would recreate or silently accept."""
        if self._shared.is_deleted(session):
            await self.get_session(session)

    async def abort(self, session: SessionHandle, *, purge_queue: bool = False) -> models.AbortResult:
        """Aborts the running turn; `turn.abort()` aborts a certain one.

        Args:
            session: The session.
            purge_queue: Also drop the messages that wait in the queue, except the first one, which runs next.

        Returns:
            What was stopped. `task_cancelled` says whether a turn was cut off; `aborted` is true even if none
            was running.
        """
        return await self.api.sessions.abort_session(
            session.app_id, session.session_id, purge_queue=purge_queue
        )

    async def export(self, session: SessionHandle, *, format: str = "markdown") -> models.SessionExport:
        """Exports a session as a document.

        The daemon saves the messages of a turn shortly after its end. Until then the document lacks them.

        Args:
            session: The session.
            format: Format of the document.
        """
        return await self.api.sessions.export_session(session.app_id, session.session_id, format=format)

    async def get_memory(self, session: SessionHandle) -> models.SessionMemory:
        """A session's goal, to-dos and facts.

        Args:
            session: The session.
        """
        return await self.api.sessions.get_session_memory(session.app_id, session.session_id)

    async def list_tasks(self, session: SessionHandle) -> models.ShellTaskList:
        """The shell commands that a session runs in the background.

        Args:
            session: The session.
        """
        await self._check_not_deleted(session)
        return await self.api.sessions.list_session_tasks(session.app_id, session.session_id)

    # --- queues

    @once_took
    async def get_queue(self, session: SessionHandle, *, include_finished: bool = False) -> models.QueueView:
        """A session's queue of messages.

        Args:
            session: The session.
            include_finished: Include finished entries.
        """
        return await self.api.queue.list_session_queue(
            session.app_id, session.session_id, include_finished=include_finished
        )

    async def cancel_queued(self, session: SessionHandle, entry_id: str) -> models.CancelledQueueEntry:
        """Removes a message from a session's queue.

        Args:
            session: The session.
            entry_id: Id of the queue entry.
        """
        await self._check_not_deleted(session)
        return await self.api.queue.cancel_queued_message(session.app_id, session.session_id, entry_id)

    async def clear_queue(self, session: SessionHandle) -> models.ClearedQueue:
        """Empties a session's queue; the running turn continues.

        Args:
            session: The session.
        """
        await self._check_not_deleted(session)
        return await self.api.queue.clear_session_queue(session.app_id, session.session_id)

    # --- workspaces

    async def get_workspace(self, session: SessionHandle) -> models.WorkspaceView:
        """A session's workspace.

        Args:
            session: The session.
        """
        return await self.api.workspace.get_workspace(session.app_id, session.session_id)

    async def read_file(self, session: SessionHandle, path: str) -> models.WorkspaceFile:
        """A file of a session's workspace.

        Args:
            session: The session.
            path: Path relative to the workspace.
        """
        return await self.api.workspace.get_file(session.app_id, session.session_id, path)

    async def write_file(
        self, session: SessionHandle, path: str, content: str, *, auto_approve: bool = False
    ) -> models.FileWriteResult:
        """Writes a file of a session's workspace.

        Args:
            session: The session.
            path: Path relative to the workspace.
            content: The whole content.
            auto_approve: Mark the change as approved.
        """
        return await self.api.workspace.write_file(
            session.app_id, session.session_id, path, content=content, auto_approve=auto_approve
        )

    # --- approvals

    async def list_pending_approvals(self, app_id: str) -> list[models.PendingApproval]:
        """The pending approvals of an app, in all its sessions.

        Args:
            app_id: The app.

        Raises:
            NotFound: The app is not deployed.
        """
        return (await self.api.approvals.list_app_approvals(app_id)).pending

    async def resolve_approval(
        self, app_id: str, request_id: str, approved: bool = True, message: str = ""
    ) -> models.ApprovalResolution:
        """Approves or denies a pending approval, or answers a question.

        Args:
            app_id: The app.
            request_id: The approval.
            approved: Whether the tool may run.
            message: Reason or answer that the model is given.

        Raises:
            ApiError: The approval is unknown, is resolved already, or belongs to another user.
        """
        return await self.api.approvals.resolve_approval(
            app_id, request_id=request_id, approved=approved, message=message
        )
