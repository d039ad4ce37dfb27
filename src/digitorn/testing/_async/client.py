"""The client that tests talk to a daemon with."""

import json
import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from .. import _session_protocol as protocol
from .._clock import asleep, remaining, until
from .._connect import resolve_daemon_url
from .._credentials import Credentials
from .._errors import (
    ApiError,
    DaemonUnreachable,
    DigitornError,
    EventTimeout,
    JoinRefused,
    NotFound,
    Unauthorized,
)
from .._generated._runtime import NOT_GIVEN
from .._generated.events import QUESTION_TOOLS
from .._generated.models import (
    AbortResult,
    AppDeletion,
    ApprovalResolution,
    BackgroundSession,
    BackgroundSessionPage,
    CancelledQueueEntry,
    ClearedQueue,
    Credential,
    CredentialDeletion,
    CredentialList,
    FileWriteResult,
    ImageInput,
    MessageAccepted,
    PendingApproval,
    QueueView,
    SecretDeleted,
    SecretKeys,
    SecretStored,
    SessionExport,
    SessionHistory,
    SessionMemory,
    SessionSearchPage,
    ShellTaskList,
    TokenResponse,
    TriggerFired,
    TriggerOverview,
    UploadDeployAccepted,
    WorkspaceFile,
    WorkspaceView,
)
from .._generated.rest_async import AsyncApi
from .._handles import AppHandle, SessionHandle
from .._log import EventLog
from .._session_protocol import TurnStatus
from .._stream import AsyncLiveEventStream
from .._turn_result import TurnResult, collect
from .session_reads import ended, read_log
from .transport import AsyncTransport

_POLL_FIRST, _POLL_MOST, _POLL_GROWTH = 0.02, 1.0, 1.5
_NEW_SESSION_SECONDS = 10.0
_LAST_LOOK_SECONDS = 1.0
_logger = logging.getLogger("digitorn.testing")


class AsyncDevClient:
    """Talks to a daemon: REST for commands, live streams for events.

    Every operation of the contract is at `api`, grouped by tag; the methods here are what tests reach for.
    The constructor does no IO. Use it as a context manager, or call `aclose`.

    Args:
        daemon_url: Base URL of the daemon; else `$DIGITORN_DEV_DAEMON_URL`, else `$DIGITORN_DAEMON_URL`,
            else `http://127.0.0.1:8000`.
        auto_approve: Approve tool calls that ask while this client waits for a turn. Questions to the user
            are never answered.
        timeout: Seconds for one call, and for `chat`.
        token: Access token; without one, `login` or `register` first.

    Attributes:
        api: The typed REST stubs.
        daemon_url: The daemon.
        auto_approve: As given.
        timeout: As given.
    """

    def __init__(
        self,
        daemon_url: str | None = None,
        auto_approve: bool = True,
        timeout: float = 3600.0,
        token: str | None = None,
    ) -> None:
        self.daemon_url = resolve_daemon_url(daemon_url)
        self.auto_approve = auto_approve
        self.timeout = timeout
        self._credentials = Credentials(token)
        self._transport = AsyncTransport(self.daemon_url, self._credentials, timeout=timeout)
        self.api = AsyncApi(self._transport)

    @classmethod
    def with_token(
        cls,
        token: str,
        *,
        daemon_url: str | None = None,
        auto_approve: bool = True,
        timeout: float = 3600.0,
    ) -> Self:
        """A client with an access token. The arguments are the constructor's."""
        return cls(daemon_url=daemon_url, auto_approve=auto_approve, timeout=timeout, token=token)

    @classmethod
    async def with_user(
        cls,
        email: str,
        password: str,
        register_if_missing: bool = False,
        *,
        daemon_url: str | None = None,
        auto_approve: bool = True,
        timeout: float = 3600.0,
    ) -> Self:
        """A client that is logged in.

        Args:
            email: E-mail address or user name.
            password: The password.
            register_if_missing: Register the user when the login is refused.
            daemon_url: As for the constructor.
            auto_approve: As for the constructor.
            timeout: As for the constructor.

        Raises:
            Unauthorized: The daemon does not accept the login.
        """
        client = cls(daemon_url=daemon_url, auto_approve=auto_approve, timeout=timeout)
        try:
            await client.login(email, password)
        except Unauthorized as refused:
            try:
                if not register_if_missing:
                    raise
                await client._register_missing(email, password, refused)
            except BaseException:
                await client.aclose()
                raise
        except BaseException:
            await client.aclose()
            raise
        return client

    async def _register_missing(self, email: str, password: str, refused: Unauthorized) -> None:
        try:
            await self.register(email.partition("@")[0], password, email=email if "@" in email else None)
        except ApiError as error:
            # The user is there and the password was wrong, or the name cannot be had.
            raise refused from error

    # --- users

    async def login(self, email: str, password: str) -> TokenResponse:
        """Logs in and keeps the tokens.

        Args:
            email: E-mail address or user name.
            password: The password.

        Raises:
            Unauthorized: The daemon does not accept it.
        """
        if "@" in email:
            tokens = await self.api.auth.login(email=email, password=password)
        else:
            tokens = await self.api.auth.login(username=email, password=password)
        self._credentials.store(tokens)
        return tokens

    async def register(
        self, username: str, password: str, *, email: str | None = None, name: str | None = None
    ) -> TokenResponse:
        """Registers a user and keeps the tokens.

        Args:
            username: 3 to 64 characters.
            password: 12 to 128 characters.
            email: E-mail address.
            name: Display name.

        Raises:
            InvalidRequest: The daemon does not accept it; the name may be taken.
        """
        tokens = await self.api.auth.register(username=username, password=password, email=email, name=name)
        self._credentials.store(tokens)
        return tokens

    async def logout(self) -> None:
        """Revokes the refresh token, if there is one, and forgets both."""
        refresh_token = self._credentials.refresh_token
        await self.api.auth.logout(refresh_token=refresh_token if refresh_token else NOT_GIVEN)
        self._credentials.forget()

    def _get_auth_token(self) -> str | None:
        """The access token, for a stream that is made by hand."""
        return self._credentials.access_token

    # --- apps and sessions

    def app(self, app_id: str) -> AppHandle:
        """The handle of an app of this daemon."""
        return AppHandle(app_id=app_id, daemon_url=self.daemon_url)

    async def new_session(self, app_id: str, *, workspace: str = "") -> SessionHandle:
        """Creates a session.

        Args:
            app_id: The app.
            workspace: Working folder on the daemon's machine; empty for the app's default.

        Raises:
            NotFound: The app is not deployed.
        """
        created = await self.api.sessions.create_session(app_id, workspace_path=workspace or NOT_GIVEN)
        return SessionHandle(
            session_id=created.session_id, app_id=app_id, daemon_url=self.daemon_url, workspace=workspace
        )

    async def wait_for_session(self, session: SessionHandle, timeout: float = 20.0) -> None:
        """Waits until the daemon knows a session.

        Args:
            session: The session.
            timeout: Seconds to wait.

        Raises:
            EventTimeout: It does not know it in time.
        """
        deadline = time.monotonic() + timeout
        interval = _POLL_FIRST
        while True:
            try:
                await self.api.sessions.get_session(session.app_id, session.session_id)
            except NotFound as error:
                if time.monotonic() + interval > deadline:
                    raise EventTimeout(
                        f"the daemon does not know session {session.session_id!r} of app {session.app_id!r} "
                        f"after {timeout:g} s; it comes to exist by its first message"
                    ) from error
            else:
                return
            await asleep(interval)
            interval = min(interval * _POLL_GROWTH, _POLL_MOST)

    # --- messages

    async def post_message_raw(
        self,
        session: SessionHandle,
        text: str,
        *,
        images: Sequence[ImageInput] = (),
        client_message_id: str | None = None,
    ) -> MessageAccepted:
        """Posts a message and waits for nothing.

        Args:
            session: Where to; a session that the daemon does not know is created.
            text: The message.
            images: Pictures that go with it; the daemon uses the first ten.
            client_message_id: Identity of the message for the daemon; made up when left out.

        Raises:
            NotFound: The app is not deployed, or the session belongs to another user.
            RateLimited: The session's queue is full.
        """
        return await self.api.messages.send_message(
            session.app_id,
            session.session_id,
            message=text,
            workspace=session.workspace or NOT_GIVEN,
            images=list(images) or NOT_GIVEN,
            client_message_id=client_message_id or f"cm-{uuid.uuid4().hex}",
        )

    async def chat(
        self,
        app_id: str,
        message: str,
        *,
        session: SessionHandle | None = None,
        workspace: str = "",
        timeout: float | None = None,
        auto_approve: bool | None = None,
    ) -> TurnResult:
        """Sends a message and returns the finished turn, by polling REST alone.

        Args:
            app_id: The app.
            message: The message.
            session: Where to send it; a new session when left out.
            workspace: Working folder of a new session.
            timeout: Seconds for the turn; the client's `timeout` when left out.
            auto_approve: Overrides the client's `auto_approve`.

        Raises:
            EventTimeout: The turn did not end in time.
            ApiError: The daemon refused the message.
        """
        limit = self.timeout if timeout is None else timeout
        approving = self.auto_approve if auto_approve is None else auto_approve
        log = EventLog(session_id=session.session_id if session else None)
        correlation_id = "of the message"
        deadline = time.monotonic() + limit
        try:
            with until(deadline):
                session = session or await self.new_session(app_id, workspace=workspace)
                log.session_id = session.session_id
                accepted = await self.post_message_raw(session, message)
                correlation_id = protocol.correlation_id_of(accepted)
                ending = await self._poll_until_end(session, correlation_id, log, approving)
        except (DaemonUnreachable, EventTimeout):
            if session is None or time.monotonic() < deadline:
                raise
            await self._look_once_more(session, log)
            raise log.timeout(f"turn {correlation_id} did not end", limit) from None
        return collect(
            log.turn(correlation_id), session=session, correlation_id=correlation_id, ending=ending
        )

    async def _poll_until_end(
        self, session: SessionHandle, correlation_id: str, log: EventLog, approving: bool
    ) -> TurnStatus | None:
        """How the turn ended, where no event of it says so. Ends with the deadline at the latest."""
        app_id, session_id = session.app_id, session.session_id
        interval = _POLL_FIRST
        while True:
            if approving:
                await self._approve_pending(session)
            detail = await self.api.sessions.get_session(app_id, session_id)
            # A busy session may be busy with a later message: look closer now and then all the same.
            left = remaining(_POLL_MOST)
            if not detail.is_active or interval >= _POLL_MOST:
                over, ending = await ended(
                    self.api, log, app_id, session_id, correlation_id, since=0, take=log.feed
                )
                if over:
                    return ending
            if left <= 0:
                raise EventTimeout(f"turn {correlation_id} did not end")
            await asleep(min(interval, left))
            interval = min(interval * _POLL_GROWTH, _POLL_MOST)

    async def _look_once_more(self, session: SessionHandle, log: EventLog) -> None:
        """Takes in what there is, for the error to tell of; a daemon that hangs is not waited for."""
        try:
            with until(time.monotonic() + _LAST_LOOK_SECONDS):
                await read_log(
                    self.api, session.app_id, session.session_id, since=log.last_seq, take=log.feed
                )
        except DigitornError as error:
            _logger.info("session %s: its log could not be read: %s", session.session_id, error)

    async def send_live(
        self,
        session: SessionHandle,
        message: str,
        total_timeout: float = 120.0,
        *,
        auto_approve: bool | None = None,
        strict: bool = False,
    ) -> AsyncLiveEventStream:
        """Sends a message with a live stream open, and returns the stream when the turn has ended.

        The stream holds every event of the turn, whichever of the message and the connection is first: what
        the join does not bring comes from the daemon's durable log. It stays open; stop it, or use it as a
        context manager.

        Args:
            session: Where to; a session that the daemon does not know is created by the message.
            message: The message.
            total_timeout: Seconds until this message's turn must have ended.
            auto_approve: Overrides the client's `auto_approve`.
            strict: Fail on an event that is unknown or breaks the contract.

        Raises:
            EventTimeout: The turn did not end in time. The error says what did come.
            ApiError: The daemon refused the message.
            DaemonUnreachable: No daemon answered.
        """
        deadline = time.monotonic() + total_timeout
        stream = self._stream(session, auto_approve=auto_approve, strict=strict)
        try:
            with until(deadline):
                await stream.connect()
                joined = await _joined(stream)
                accepted = await self.post_message_raw(session, message)
                if not joined:
                    await self.wait_for_session(session, timeout=remaining(_NEW_SESSION_SECONDS))
                    await stream.join()
                await stream.wait_for_turn(accepted, timeout=remaining(total_timeout))
        except (DaemonUnreachable, EventTimeout):
            await stream.stop()
            if time.monotonic() < deadline:
                raise
            raise stream.log.timeout("the turn did not end", total_timeout) from None
        except BaseException:
            await stream.stop()
            raise
        return stream

    async def open_event_stream(
        self,
        session: SessionHandle,
        *,
        since: int = 0,
        auto_approve: bool | None = None,
        strict: bool = False,
    ) -> AsyncLiveEventStream:
        """Opens a session's stream.

        Args:
            session: A session that the daemon knows.
            since: Bring what has a higher `seq`; 0 brings the whole history.
            auto_approve: Overrides the client's `auto_approve`.
            strict: Fail on an event that is unknown or breaks the contract.

        Raises:
            JoinRefused: The daemon does not let this user into the session.
        """
        stream = self._stream(session, since=since, auto_approve=auto_approve, strict=strict)
        return await stream.start()

    def _stream(
        self, session: SessionHandle, *, since: int = 0, auto_approve: bool | None, strict: bool
    ) -> AsyncLiveEventStream:
        return AsyncLiveEventStream(
            daemon_url=self.daemon_url,
            token=self._credentials,
            app_id=session.app_id,
            session_id=session.session_id,
            since=since,
            auto_approve=self.auto_approve if auto_approve is None else auto_approve,
            strict=strict,
        )

    # --- apps, by short names; each is one call of a stub

    async def deploy(
        self, path: str | Path, *, force: bool = False, secrets: Mapping[str, str] | None = None
    ) -> UploadDeployAccepted:
        """Deploys the app in a YAML file of this machine. The deployment goes on after the answer.

        Args:
            path: The file.
            force: Replace an app that is deployed.
            secrets: The app's secrets, by name.

        Raises:
            ApiError: The definition does not compile, or the app is there already.
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
    ) -> UploadDeployAccepted:
        """Deploys the app in a YAML text. The deployment goes on after the answer.

        Args:
            definition: The text.
            name: File name that goes with it.
            force: Replace an app that is deployed.
            secrets: The app's secrets, by name.

        Raises:
            ApiError: The definition does not compile, or the app is there already.
        """
        content = definition.encode() if isinstance(definition, str) else definition
        return await self.api.apps.deploy_app_upload(
            file=(name, content),
            force=force,
            secrets=json.dumps(dict(secrets)) if secrets else NOT_GIVEN,
        )

    async def wait_for_app(self, app_id: str, timeout: float = 30.0) -> AppHandle:
        """Waits until an app is deployed.

        Args:
            app_id: The app.
            timeout: Seconds to wait.

        Raises:
            EventTimeout: It is not deployed in time, or its deployment failed; the message says why.
        """
        deadline = time.monotonic() + timeout
        interval = _POLL_FIRST
        while True:
            status = await self.api.apps.get_deploy_status(app_id)
            if status.deployed:
                return self.app(app_id)
            if status.error or time.monotonic() + interval > deadline:
                raise EventTimeout(
                    f"app {app_id!r} is not deployed: {status.error or f'no end within {timeout:g} s'}"
                )
            await asleep(interval)
            interval = min(interval * _POLL_GROWTH, _POLL_MOST)

    async def undeploy(self, app_id: str) -> AppDeletion:
        """Stops an app and keeps it installed.

        Args:
            app_id: The app.
        """
        return await self.api.apps.delete_app(app_id, undeploy_only=True)

    async def list_secrets(self, app_id: str) -> SecretKeys:
        """The names of an app's secrets.

        Args:
            app_id: The app.
        """
        return await self.api.secrets.list_secrets(app_id)

    async def set_secret(self, app_id: str, key: str, value: str) -> SecretStored:
        """Stores a secret of an app, which is reloaded.

        Args:
            app_id: The app.
            key: Name of the secret.
            value: The secret.
        """
        return await self.api.secrets.set_secret(app_id, key, value=value)

    async def delete_secret(self, app_id: str, key: str) -> SecretDeleted:
        """Deletes a secret of an app.

        Args:
            app_id: The app.
            key: Name of the secret.
        """
        return await self.api.secrets.delete_secret(app_id, key)

    async def list_credentials(self) -> CredentialList:
        """The user's credentials, without their secret parts."""
        return await self.api.credentials.list_user_credentials()

    async def set_credential(self, app_id: str, provider: str, fields: Mapping[str, object]) -> Credential:
        """Stores a credential of the user.

        Args:
            app_id: The app that it is for; `_global` for all.
            provider: Name of the provider.
            fields: What the provider asks for, by name.
        """
        return await self.api.credentials.upsert_user_credential(app_id, provider, fields=dict(fields))

    async def delete_credential(self, app_id: str, provider: str) -> CredentialDeletion:
        """Deletes a credential of the user.

        Args:
            app_id: The app that it is for; `_global` for all.
            provider: Name of the provider.
        """
        return await self.api.credentials.delete_user_credential(app_id, provider)

    async def list_triggers(self, app_id: str) -> TriggerOverview:
        """What starts an app by itself: triggers, channels, jobs and watchers.

        Args:
            app_id: The app.
        """
        return await self.api.background.get_triggers(app_id)

    async def fire_trigger(self, app_id: str, trigger_id: str) -> TriggerFired:
        """Fires a trigger now.

        Args:
            app_id: The app.
            trigger_id: The trigger.
        """
        return await self.api.background.fire_trigger(app_id, trigger_id)

    async def create_background_session(
        self, app_id: str, *, name: str = "", params: Mapping[str, object] | None = None, workspace: str = ""
    ) -> BackgroundSession:
        """Creates a session that triggers run in.

        Args:
            app_id: The app.
            name: What to call it.
            params: Parameters of the session.
            workspace: Working folder on the daemon's machine.
        """
        return await self.api.background.create_background_session(
            app_id, name=name, params=dict(params or {}), workspace=workspace
        )

    async def list_background_sessions(self, app_id: str) -> BackgroundSessionPage:
        """The background sessions of an app.

        Args:
            app_id: The app.
        """
        return await self.api.background.list_background_sessions(app_id)

    # --- a session's parts, by short names; each is one call of a stub

    async def search(self, app_id: str, text: str, *, limit: int = 20) -> SessionSearchPage:
        """Searches the sessions of an app.

        Args:
            app_id: The app.
            text: What to look for.
            limit: Most sessions to answer.
        """
        return await self.api.sessions.search_sessions(app_id, q=text, limit=limit)

    async def get_history(self, session: SessionHandle, *, include_system: bool = False) -> SessionHistory:
        """A session's messages and events.

        Args:
            session: The session.
            include_system: Bring the model's whole context, system messages too.
        """
        return await self.api.sessions.get_session_history(
            session.app_id, session.session_id, include_system=include_system
        )

    async def abort(self, session: SessionHandle, *, purge_queue: bool = False) -> AbortResult:
        """Aborts the turn that runs.

        Args:
            session: The session.
            purge_queue: Drop what waits behind it too.
        """
        return await self.api.sessions.abort_session(
            session.app_id, session.session_id, purge_queue=purge_queue
        )

    async def export(self, session: SessionHandle, *, format: str = "markdown") -> SessionExport:
        """A session as a document.

        Args:
            session: The session.
            format: Form of the document.
        """
        return await self.api.sessions.export_session(session.app_id, session.session_id, format=format)

    async def get_memory(self, session: SessionHandle) -> SessionMemory:
        """A session's goal, to-dos and facts.

        Args:
            session: The session.
        """
        return await self.api.sessions.get_session_memory(session.app_id, session.session_id)

    async def list_tasks(self, session: SessionHandle) -> ShellTaskList:
        """Shell commands that a session runs in the background.

        Args:
            session: The session.
        """
        return await self.api.sessions.list_session_tasks(session.app_id, session.session_id)

    async def get_queue(self, session: SessionHandle, *, include_finished: bool = False) -> QueueView:
        """A session's queue of messages.

        Args:
            session: The session.
            include_finished: Bring what has ended too.
        """
        return await self.api.queue.list_session_queue(
            session.app_id, session.session_id, include_finished=include_finished
        )

    async def cancel_queued(self, session: SessionHandle, entry_id: str) -> CancelledQueueEntry:
        """Takes a message out of a session's queue.

        Args:
            session: The session.
            entry_id: Id of the queue row.
        """
        return await self.api.queue.cancel_queued_message(session.app_id, session.session_id, entry_id)

    async def clear_queue(self, session: SessionHandle) -> ClearedQueue:
        """Empties a session's queue; the turn that runs goes on.

        Args:
            session: The session.
        """
        return await self.api.queue.clear_session_queue(session.app_id, session.session_id)

    async def get_workspace(self, session: SessionHandle) -> WorkspaceView:
        """A session's workspace.

        Args:
            session: The session.
        """
        return await self.api.workspace.get_workspace(session.app_id, session.session_id)

    async def read_file(self, session: SessionHandle, path: str) -> WorkspaceFile:
        """A file of a session's workspace.

        Args:
            session: The session.
            path: Path in the workspace.
        """
        return await self.api.workspace.get_file(session.app_id, session.session_id, path)

    async def write_file(
        self, session: SessionHandle, path: str, content: str, *, auto_approve: bool = False
    ) -> FileWriteResult:
        """Writes a file of a session's workspace.

        Args:
            session: The session.
            path: Path in the workspace.
            content: The whole content.
            auto_approve: Take it as approved.
        """
        return await self.api.workspace.write_file(
            session.app_id, session.session_id, path, content=content, auto_approve=auto_approve
        )

    # --- approvals

    async def list_pending_approvals(self, app_id: str) -> list[PendingApproval]:
        """The approvals that an app waits for, of all its sessions.

        Args:
            app_id: The app.

        Raises:
            NotFound: The app is not deployed.
        """
        return (await self.api.approvals.list_app_approvals(app_id)).pending

    async def resolve_approval(
        self, app_id: str, request_id: str, approved: bool = True, message: str = ""
    ) -> ApprovalResolution:
        """Approves or denies a pending approval, or answers a question.

        Args:
            app_id: The app.
            request_id: The approval.
            approved: Whether the tool may run.
            message: Reason or answer, given to the model.

        Raises:
            ApiError: It is unknown, was resolved before, or belongs to another user.
        """
        return await self.api.approvals.resolve_approval(
            app_id, request_id=request_id, approved=approved, message=message
        )

    async def _approve_pending(self, session: SessionHandle) -> None:
        for request in await self.list_pending_approvals(session.app_id):
            if request.session_id == session.session_id and request.tool_name not in QUESTION_TOOLS:
                try:
                    await self.resolve_approval(session.app_id, request.request_id)
                except ApiError as error:
                    # Between the two calls somebody else resolved it; the daemon says so under HTTP 200.
                    if error.status != 200:
                        raise

    # --- life

    async def aclose(self) -> None:
        """Closes the connections. Streams that are open stay open."""
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.daemon_url}, {self._credentials!r}>"


async def _joined(stream: AsyncLiveEventStream) -> bool:
    """Whether the session could be joined; it cannot before its first message."""
    try:
        await stream.join(from_now=True)
    except JoinRefused:
        return False
    return True
