"""The client that tests talk to a daemon with."""

import json
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeAlias

from digitorn_testing._approvals.policies import (
    ApprovalPolicy,
    ApproveAll,
    ClientApprovals,
    StreamApprovals,
    short_form,
)
from digitorn_testing._apps.builder import AppBuilder
from digitorn_testing._client.locks import AsyncLock
from digitorn_testing._concurrency.deadlines import asleep, remaining, until
from digitorn_testing._concurrency.forks import in_forks
from digitorn_testing._errors import (
    ApiError,
    CallbackFailed,
    ClientClosed,
    DaemonUnreachable,
    EventTimeout,
    JoinRefused,
    NotFound,
    RecordingError,
    Unauthorized,
)
from digitorn_testing._exchanges import KEPT, Exchanges
from digitorn_testing._generated._runtime import NOT_GIVEN
from digitorn_testing._generated.models import (
    AbortResult,
    AppDeletion,
    ApprovalResolution,
    BackgroundSession,
    BackgroundSessionPage,
    CancelledQueueEntry,
    ClearedQueue,
    CompactedSession,
    Credential,
    CredentialDeletion,
    CredentialList,
    FileWriteResult,
    ImageInput,
    MessageAccepted,
    PendingApproval,
    QueueView,
    ResumeResult,
    SecretDeleted,
    SecretKeys,
    SecretStored,
    SessionDeleted,
    SessionDetail,
    SessionExport,
    SessionHistory,
    SessionMemory,
    SessionPage,
    SessionSearchPage,
    ShellTaskList,
    TokenResponse,
    TriggerFired,
    TriggerOverview,
    UndoResult,
    UploadDeployAccepted,
    WorkspaceFile,
    WorkspaceView,
)
from digitorn_testing._generated.rest_async import AsyncApi
from digitorn_testing._handles import AppHandle, SessionHandle
from digitorn_testing._recordings.recorder import Recorder, Recorders
from digitorn_testing._recordings.recording import FilePath
from digitorn_testing._secrets.credentials import Credentials, hidden
from digitorn_testing._stream import AsyncLiveEventStream, protocol
from digitorn_testing._stream._async.turn import AsyncTurn
from digitorn_testing._tracking import track
from digitorn_testing._transport._async.transport import AsyncTransport
from digitorn_testing._transport.affinity import AsyncHome
from digitorn_testing._transport.daemon_url import resolve_daemon_url
from digitorn_testing._transport.options import ConnectionOptions
from digitorn_testing._transport.retry import RetryPolicy, new_message_id
from digitorn_testing._turns.results import TurnResult

_POLL_FIRST, _POLL_MOST, _POLL_GROWTH = 0.02, 1.0, 1.5
_NEW_SESSION_SECONDS = 10.0
_RETRIES = RetryPolicy()
_IDLE_STREAMS = 16
"""Streams of sessions without an open turn that are kept open for the next one."""

QueueMode: TypeAlias = Literal["async", "replace_last"]


class AsyncDevClient:
    """Talks to a daemon: REST for commands, live streams for events.

    Every operation of the contract is at `api`, grouped by tag; the methods here are what tests reach for.
    The constructor does no IO. Use it as a context manager, or call `aclose`.

    Args:
        daemon_url: Base URL of the daemon; else `$DIGITORN_DEV_DAEMON_URL`, else `$DIGITORN_DAEMON_URL`,
            else `http://127.0.0.1:8000`.
        auto_approve: Approve tool calls that ask in turns of this client; with False they are left open. The
            short form of `approvals`. Questions to the user are never answered by it.
        timeout: Seconds for one call, and for a turn.
        token: Access token; without one, `login` or `register` first.
        approvals: Decides what asks in turns of this client; see `ApprovalPolicy`.
        keep_exchanges: How many of the last REST calls `exchanges` holds; 0 keeps none, and costs nothing.
        retries: When a REST call is sent again; None for never.
        connection_options: Whom to trust, what to send in clear, how much to take; see `ConnectionOptions`.

    Raises:
        InsecureConnection: The token would go over plain HTTP to another machine.
        ValueError: The URL is none of a daemon, or the token none that a header can carry.

    Attributes:
        api: The typed REST stubs.
        daemon_url: The daemon.
        timeout: As given.
    """

    def __init__(
        self,
        daemon_url: str | None = None,
        auto_approve: bool = True,
        timeout: float = 3600.0,
        token: str | None = None,
        *,
        approvals: ApprovalPolicy | None = None,
        keep_exchanges: int = KEPT,
        retries: RetryPolicy | None = _RETRIES,
        connection_options: ConnectionOptions | None = None,
    ) -> None:
        token = hidden(token)
        self.daemon_url = resolve_daemon_url(daemon_url)
        self.timeout = timeout
        self._connection = connection_options
        self._approvals = ClientApprovals(approvals or short_form(auto_approve))
        self._streams: dict[tuple[str, str], AsyncLiveEventStream] = {}
        self._locks: dict[tuple[str, str], AsyncLock] = {}
        self._deleted: set[tuple[str, str]] = set()
        self._credentials = Credentials(token)
        self._exchanges = Exchanges(keep_exchanges)
        self._transport = AsyncTransport(
            self.daemon_url,
            self._credentials,
            timeout=timeout,
            exchanges=self._exchanges,
            retries=retries,
            connection_options=connection_options,
        )
        self.api = AsyncApi(self._transport)
        self._home = AsyncHome()
        self._recorders = Recorders(self._exchanges, self.daemon_url)
        self._is_closed = False
        in_forks(self)
        track(self)

    def after_fork(self) -> None:
        """Makes it usable in a forked child, over connections of its own."""
        self._locks, self._streams = {}, {}
        self._approvals.after_fork()

    @classmethod
    def with_token(
        cls,
        token: str,
        *,
        daemon_url: str | None = None,
        auto_approve: bool = True,
        timeout: float = 3600.0,
        approvals: ApprovalPolicy | None = None,
        keep_exchanges: int = KEPT,
        retries: RetryPolicy | None = _RETRIES,
        connection_options: ConnectionOptions | None = None,
    ) -> Self:
        """A client with an access token. The arguments are the constructor's."""
        return cls(
            daemon_url=daemon_url,
            auto_approve=auto_approve,
            timeout=timeout,
            token=token,
            approvals=approvals,
            keep_exchanges=keep_exchanges,
            retries=retries,
            connection_options=connection_options,
        )

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
        approvals: ApprovalPolicy | None = None,
        keep_exchanges: int = KEPT,
        retries: RetryPolicy | None = _RETRIES,
        connection_options: ConnectionOptions | None = None,
    ) -> Self:
        """A client that is logged in.

        Args:
            email: E-mail address or user name.
            password: The password.
            register_if_missing: Register the user when the login is refused.
            daemon_url: As for the constructor.
            auto_approve: As for the constructor.
            timeout: As for the constructor.
            approvals: As for the constructor.
            keep_exchanges: As for the constructor.
            retries: As for the constructor.
            connection_options: As for the constructor.

        Raises:
            Unauthorized: The daemon does not accept the login.
        """
        client = cls(
            daemon_url=daemon_url,
            auto_approve=auto_approve,
            timeout=timeout,
            approvals=approvals,
            keep_exchanges=keep_exchanges,
            retries=retries,
            connection_options=connection_options,
        )
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

    # --- settings

    @property
    def approvals(self) -> ApprovalPolicy:
        """Decides what asks in turns of this client, unless a turn or a stream has a policy of its own.

        It may be set at any time, and counts from the next request on.
        """
        return self._approvals.default

    @approvals.setter
    def approvals(self, policy: ApprovalPolicy) -> None:
        self._approvals.default = policy

    @property
    def auto_approve(self) -> bool:
        """The short form of `approvals`: whether every tool is approved."""
        return isinstance(self.approvals, ApproveAll)

    @auto_approve.setter
    def auto_approve(self, approve: bool) -> None:
        self.approvals = short_form(approve)

    @property
    def exchanges(self) -> Exchanges:
        """The last calls over REST with their answers, those of this client's streams too.

        Secrets in them are hidden; headers are not kept, and bodies of more than 16 KiB by their size only.
        """
        return self._exchanges

    def record(self, path: FilePath) -> Recorder:
        """Records every stream of this client, and all calls over REST, as JSON lines.

        Secrets are hidden. `RecordedLog.load` reads it, and `FakeDaemon.replay` serves it.

        Args:
            path: The file; one that is there is appended to.

        Returns:
            The recording that runs, to be stopped, or used as a context manager; closing the client ends it
            as well.

        Raises:
            RecordingError: The file is there and is no recording.
            RecordingDamaged: It is one, and damaged.
            ClientClosed: The client was closed.
            OSError: It cannot be written.
        """
        self._check_open()
        return self._recorders.record(path)

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

    async def new_session(
        self,
        app_id: str,
        *,
        workspace: str = "",
        message: str | None = None,
        images: Sequence[ImageInput] = (),
    ) -> SessionHandle:
        """Creates a session.

        Args:
            app_id: The app.
            workspace: Working folder on the daemon's machine; empty for the app's default.
            message: First message; its turn begins at once, and is `turn(session, session.first_turn)`.
            images: Pictures that go with the message.

        Raises:
            NotFound: The app is not deployed.
            InvalidRequest: The workspace cannot be used, or is missing where the app needs one.
        """
        created = await self.api.sessions.create_session(
            app_id,
            workspace_path=workspace or NOT_GIVEN,
            message=NOT_GIVEN if message is None else message,
            images=list(images) or NOT_GIVEN,
            client_message_id=NOT_GIVEN if message is None else new_message_id(),
        )
        first_turn = created.first_message.correlation_id if created.first_message is not None else None
        if first_turn is not None:
            self._approvals.begin(first_turn)
        return SessionHandle(
            session_id=created.session_id,
            app_id=app_id,
            daemon_url=self.daemon_url,
            workspace=workspace,
            first_turn=first_turn,
        )

    async def open_session(self, app_id: str, session_id: str) -> SessionHandle:
        """Takes up a session that is there, of this client or another.

        Args:
            app_id: The app.
            session_id: The session.

        Raises:
            NotFound: There is no such session, or it belongs to another user.
        """
        detail = await self.api.sessions.get_session(app_id, session_id)
        return SessionHandle(
            session_id=session_id, app_id=app_id, daemon_url=self.daemon_url, workspace=detail.workspace
        )

    async def wait_for_session(self, session: SessionHandle, timeout: float = 20.0) -> None:
        """Waits until the daemon knows a session.

        Args:
            session: The session.
            timeout: Seconds to wait.

        Raises:
            EventTimeout: It does not know it in time.
        """
        await self._check_not_deleted(session)
        deadline = time.monotonic() + timeout
        interval = _POLL_FIRST
        named = f"session {session.session_id!r} of app {session.app_id!r}"
        said = f"the daemon did not tell whether it knows {named}"
        with _in_time(timeout, lambda: said):
            while True:
                try:
                    await self.api.sessions.get_session(session.app_id, session.session_id)
                except NotFound as error:
                    said = f"{named} comes to exist by its first message, and did not"
                    if time.monotonic() + interval > deadline:
                        raise EventTimeout(f"{said} within {timeout:g} s") from error
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
        queue_mode: Literal["async", "wait", "replace_last"] | None = None,
    ) -> MessageAccepted:
        """Posts a message and waits for nothing.

        Args:
            session: Where to; a session that the daemon does not know is created.
            text: The message.
            images: Pictures that go with it; the daemon uses the first ten.
            client_message_id: Identity of the message for the daemon; made up when left out.
            queue_mode: What to do while another turn runs: `async` waits in the queue, `replace_last` takes
                the place of the message that waits last, `wait` makes the daemon answer only when the
                message's turn has ended. The app's default when left out.

        Raises:
            NotFound: The app is not deployed, or the session belongs to another user, or was deleted.
            RateLimited: The session's queue is full.
            ServerError: In wait mode, the turn did not complete.
        """
        await self._check_not_deleted(session)
        return await self.api.messages.send_message(
            session.app_id,
            session.session_id,
            message=text,
            workspace=session.workspace or NOT_GIVEN,
            images=list(images) or NOT_GIVEN,
            queue_mode=queue_mode or NOT_GIVEN,
            client_message_id=client_message_id or new_message_id(),
        )

    async def start_turn(
        self,
        session: SessionHandle,
        message: str,
        *,
        images: Sequence[ImageInput] = (),
        approvals: ApprovalPolicy | None = None,
        auto_approve: bool | None = None,
        timeout: float | None = None,
        queue_mode: QueueMode | None = None,
        client_message_id: str | None = None,
    ) -> AsyncTurn:
        """Sends a message and returns at once, with a handle of the turn that it sets off.

        Any number of turns may be open, on one session (where they queue) or many. All turns of a session
        are read from one stream, which the client keeps open.

        Args:
            session: Where to; a session that the daemon does not know is created by the message.
            message: The message.
            images: Pictures that go with it; the daemon uses the first ten.
            approvals: Decides what asks in this turn, instead of the client's policy.
            auto_approve: The short form of `approvals`.
            timeout: Seconds that reading the turn may take; the client's `timeout` when left out.
            queue_mode: While another turn runs: `async` waits in the queue, `replace_last` takes the place of
                the message that waits last, whose turn ends `cancelled`. The app's default when left out.
            client_message_id: Identity of the message for the daemon; made up when left out.

        Raises:
            ApiError: The daemon refused the message; `NotFound` for an app that is not deployed or a session
                that was deleted, `RateLimited` when the session's queue is full.
            DaemonUnreachable: No daemon answered.
            EventTimeout: Another message to the session was being sent all the time.
        """
        policy = _policy(approvals, auto_approve)
        limit = self.timeout if timeout is None else timeout
        async with self._lock_of(session).within(remaining(limit)):
            stream = await self._shared_stream(session)
            try:
                turn = await self._start(
                    stream,
                    session,
                    message,
                    images=images,
                    policy=policy,
                    timeout=limit,
                    queue_mode=queue_mode,
                    client_message_id=client_message_id,
                )
            except BaseException:
                if not stream.has_joined and not stream.has_open_turns:
                    await self._drop_stream(session)
                raise
        await self._close_idle_streams()
        return turn

    async def turn(
        self, session: SessionHandle, turn: MessageAccepted | str | None, *, timeout: float | None = None
    ) -> AsyncTurn:
        """A handle of a turn that was started otherwise, complete from its first event.

        Args:
            session: Where it runs.
            turn: What posting its message answered, or its correlation id.
            timeout: Seconds that reading it may take; the client's `timeout` when left out.

        Raises:
            JoinRefused: The daemon does not let this user into the session.
            ValueError: There is no turn to take up.
            EventTimeout: A message to the session was being sent all the time.
        """
        if turn is None:
            raise ValueError(
                "there is no turn to take up; a session has a first_turn if it was made with a message"
            )
        await self._check_not_deleted(session)
        limit = self.timeout if timeout is None else timeout
        async with self._lock_of(session).within(remaining(limit)):
            self._approvals.begin(protocol.correlation_id_of(turn))
            stream = await self._shared_stream(session)
            # One that was lost comes back, and brings what it missed.
            await stream.join(from_now=True)
            await stream.fill_gaps(since=0)
            handle = stream.turn(turn, timeout=limit)
        await self._close_idle_streams()
        return handle

    async def send(
        self,
        session: SessionHandle,
        message: str,
        *,
        images: Sequence[ImageInput] = (),
        approvals: ApprovalPolicy | None = None,
        auto_approve: bool | None = None,
        timeout: float | None = None,
    ) -> TurnResult:
        """Sends a message and returns the finished turn.

        Args:
            session: Where to; a session that the daemon does not know is created by the message.
            message: The message.
            images: Pictures that go with it; the daemon uses the first ten.
            approvals: Decides what asks in this turn, instead of the client's policy.
            auto_approve: The short form of `approvals`.
            timeout: Seconds until the turn must have ended; the client's `timeout` when left out.

        Raises:
            EventTimeout: The turn did not end in time. The error says what did come.
            ApiError: The daemon refused the message.
        """
        limit = self.timeout if timeout is None else timeout
        with _in_time(limit):
            turn = await self.start_turn(
                session,
                message,
                images=images,
                approvals=approvals,
                auto_approve=auto_approve,
                timeout=limit,
            )
            return await turn.result()

    async def chat(
        self,
        app_id: str,
        message: str,
        *,
        session: SessionHandle | None = None,
        workspace: str = "",
        timeout: float | None = None,
        auto_approve: bool | None = None,
        approvals: ApprovalPolicy | None = None,
    ) -> TurnResult:
        """Sends a message to an app and returns the finished turn; by default in a new session.

        Args:
            app_id: The app.
            message: The message.
            session: Where to send it; a new session when left out.
            workspace: Working folder of a new session.
            timeout: Seconds for the turn; the client's `timeout` when left out.
            auto_approve: The short form of `approvals`.
            approvals: Decides what asks in this turn, instead of the client's policy.

        Raises:
            EventTimeout: The turn did not end in time. The error says what did come.
            ApiError: The daemon refused the message.
        """
        limit = self.timeout if timeout is None else timeout
        with _in_time(limit):
            session = session or await self.new_session(app_id, workspace=workspace)
            return await self.send(
                session, message, approvals=approvals, auto_approve=auto_approve, timeout=limit
            )

    async def send_live(
        self,
        session: SessionHandle,
        message: str,
        total_timeout: float = 120.0,
        *,
        auto_approve: bool | None = None,
        strict: bool = False,
        approvals: ApprovalPolicy | None = None,
    ) -> AsyncLiveEventStream:
        """Sends a message with a live stream open, and returns the stream when the turn has ended.

        The stream holds every event of the turn, whichever of the message and the connection is first: what
        the join does not bring comes from the daemon's durable log. It stays open; stop it, or use it as a
        context manager.

        Args:
            session: Where to; a session that the daemon does not know is created by the message.
            message: The message.
            total_timeout: Seconds until this message's turn must have ended.
            auto_approve: The short form of `approvals`.
            strict: Fail on an event that is unknown or breaks the contract.
            approvals: Decides what asks until the turn has ended, instead of the client's policy.

        Raises:
            EventTimeout: The turn did not end in time. The error says what did come.
            ApiError: The daemon refused the message.
            DaemonUnreachable: No daemon answered.
        """
        policy = _policy(approvals, auto_approve)
        deciding = self._approvals.of_stream(policy)
        stream = self._stream(session, deciding, strict=strict)
        try:
            with _in_time(total_timeout):
                await stream.connect()
                turn = await self._start(stream, session, message, policy=policy, timeout=total_timeout)
                await turn.result()
        except BaseException:
            await stream.stop()
            raise
        deciding.own = None
        return stream

    async def open_event_stream(
        self,
        session: SessionHandle,
        *,
        since: int = 0,
        auto_approve: bool | None = None,
        strict: bool = False,
        approvals: ApprovalPolicy | None = None,
        max_events: int | None = None,
    ) -> AsyncLiveEventStream:
        """Opens a session's stream.

        Args:
            session: A session that the daemon knows.
            since: Bring what has a higher `seq`; 0 brings the whole history.
            auto_approve: The short form of `approvals`.
            strict: Fail on an event that is unknown or breaks the contract.
            approvals: Decides what asks in turns that this client did not start, instead of the client's
                policy.
            max_events: How many events the stream keeps; then the oldest are dropped and counted. All of them
                when left out.

        Raises:
            JoinRefused: The daemon does not let this user into the session.
            NotFound: The session was deleted.
        """
        await self._check_not_deleted(session)
        deciding = self._approvals.of_stream(_policy(approvals, auto_approve))
        stream = self._stream(session, deciding, since=since, strict=strict, max_events=max_events)
        return await stream.start()

    def _stream(
        self,
        session: SessionHandle,
        approvals: StreamApprovals,
        *,
        since: int = 0,
        strict: bool = False,
        max_events: int | None = None,
    ) -> AsyncLiveEventStream:
        self._check_open()
        stream = AsyncLiveEventStream(
            daemon_url=self.daemon_url,
            token=self._credentials,
            app_id=session.app_id,
            session_id=session.session_id,
            since=since,
            strict=strict,
            approvals=approvals,
            exchanges=self._exchanges,
            connection_options=self._connection,
            max_events=max_events,
        )
        stream.session = session
        self._recorders.made(stream)
        return stream

    async def _start(
        self,
        stream: AsyncLiveEventStream,
        session: SessionHandle,
        message: str,
        *,
        policy: ApprovalPolicy | None,
        timeout: float,
        images: Sequence[ImageInput] = (),
        queue_mode: QueueMode | None = None,
        client_message_id: str | None = None,
    ) -> AsyncTurn:
        joined = await _joined(stream)
        with self._approvals.posting(session.session_id):
            accepted = await self.post_message_raw(
                session, message, images=images, queue_mode=queue_mode, client_message_id=client_message_id
            )
            self._approvals.begin(protocol.correlation_id_of(accepted), policy)
            if not joined:
                await self.wait_for_session(session, timeout=remaining(_NEW_SESSION_SECONDS))
                await stream.join()
            # Before anything is decided in it, so that a policy that raises can be told of.
            return stream.turn(accepted, timeout=timeout)

    # --- streams that turns share

    def _check_open(self) -> None:
        if self._is_closed:
            raise ClientClosed(f"the client of {self.daemon_url} was closed; make a new one")

    def _lock_of(self, session: SessionHandle) -> AsyncLock:
        if self._home.moved():
            # Those who held one are gone.
            self._locks.clear()
        return self._locks.setdefault(_key(session), AsyncLock(session.session_id))

    async def _shared_stream(self, session: SessionHandle) -> AsyncLiveEventStream:
        """The session's stream for turns, connected. Under the session's lock."""
        key = _key(session)
        stream = self._streams.pop(key, None)
        if stream is None or not stream.is_usable:
            stream = self._stream(session, self._approvals.of_stream(turns_only=True))
            await stream.connect()
        # The last used is the last to be closed.
        self._streams[key] = stream
        return stream

    async def _close_idle_streams(self) -> None:
        idle = [one for one in list(self._streams.values()) if not one.has_open_turns]
        for stream in idle[:-_IDLE_STREAMS]:
            lock = self._lock_of(stream.session)
            if not await lock.take(0.0):
                # It is being used.
                continue
            try:
                # Another may stand in its place by now.
                if not stream.has_open_turns and self._streams.get(_key(stream.session)) is stream:
                    await self._drop_stream(stream.session)
            finally:
                lock.release()

    async def _drop_stream(self, session: SessionHandle) -> None:
        stream = self._streams.pop(_key(session), None)
        if stream is not None:
            await stream.stop()

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
            app: The app. One with tools that Python functions run is deployed by `FakeDaemon.deploy`.
            force: Replace an app that is deployed.
            secrets: The app's secrets, by name.
            timeout: Seconds until it must be deployed.

        Raises:
            AppNotPortable: The definition cannot be written as YAML; the error says what of it.
            ApiError: The definition does not compile, or the app is there already.
            EventTimeout: It is not deployed in time, or its deployment failed.
        """
        text = app.to_yaml()
        before = await self._deployment(app.app_id)
        await self.deploy_text(text, name=f"{app.app_id}.yaml", force=force, secrets=secrets)
        return await self._wait_for_deployment(app.app_id, timeout, before=before)

    async def wait_for_app(self, app_id: str, timeout: float = 30.0) -> AppHandle:
        """Waits until an app is deployed.

        Args:
            app_id: The app.
            timeout: Seconds to wait.

        Raises:
            EventTimeout: It is not deployed in time, or its deployment failed; the message says why.
        """
        return await self._wait_for_deployment(app_id, timeout, before=(None, None))

    async def _wait_for_deployment(
        self, app_id: str, timeout: float, *, before: tuple[float | None, float | None]
    ) -> AppHandle:
        """Waits for a deployment other than that of before: until it is done, an app still is the old one."""
        deadline = time.monotonic() + timeout
        interval = _POLL_FIRST
        said = f"the daemon did not tell whether app {app_id!r} is deployed"
        with _in_time(timeout, lambda: said):
            while True:
                status = await self.api.apps.get_deploy_status(app_id)
                deployed_at, failed_at = await self._deployment(app_id) if any(before) else (None, None)
                if status.deployed and (deployed_at is None or deployed_at != before[0]):
                    return self.app(app_id)
                failed = status.error if failed_at is None or failed_at != before[1] else None
                if failed:
                    raise EventTimeout(f"app {app_id!r} is not deployed: {failed}")
                said = f"app {app_id!r} is not deployed: no end"
                if time.monotonic() + interval > deadline:
                    raise EventTimeout(f"{said} within {timeout:g} s")
                await asleep(interval)
                interval = min(interval * _POLL_GROWTH, _POLL_MOST)

    async def _deployment(self, app_id: str) -> tuple[float | None, float | None]:
        """When an app was last deployed, and when that last failed; seconds since the Unix epoch."""
        try:
            deployed_at = (await self.api.apps.get_app(app_id)).deployed_at
        except NotFound:
            deployed_at = None
        return deployed_at, (await self.api.apps.get_deploy_status(app_id)).failed_at

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

    async def list_sessions(self, app_id: str, *, limit: int = 50, offset: int = 0) -> SessionPage:
        """The user's sessions of an app, the last used first.

        Args:
            app_id: The app.
            limit: Most sessions to answer, at most 200; 0 for all.
            offset: How many to leave out.

        Raises:
            NotFound: The app is not deployed.
        """
        return await self.api.sessions.list_sessions(app_id, limit=limit, offset=offset)

    async def get_session(self, session: SessionHandle) -> SessionDetail:
        """A session's title, counts, tokens and state.

        Args:
            session: The session.

        Raises:
            NotFound: There is no such session.
        """
        return await self.api.sessions.get_session(session.app_id, session.session_id)

    async def fork(self, session: SessionHandle) -> SessionHandle:
        """Copies a session into a new one; the two go on independently.

        Args:
            session: The session.

        Raises:
            NotFound: There is no such session.
        """
        forked = await self.api.sessions.fork_session(session.app_id, session.session_id)
        return replace(session, session_id=forked.new_session_id, first_turn=None)

    async def resume(self, session: SessionHandle) -> ResumeResult:
        """Runs the interrupted turn of a session again. Whether there was one, `resumed` tells.

        Args:
            session: The session.

        Raises:
            NotFound: There is no such session.
        """
        return await self.api.sessions.resume_session(session.app_id, session.session_id)

    async def compact(self, session: SessionHandle) -> CompactedSession:
        """Compacts a session's messages now; the numbers count messages.

        Args:
            session: The session.

        Raises:
            NotFound: There is no such session.
        """
        return await self.api.sessions.compact_session(session.app_id, session.session_id)

    async def undo(self, session: SessionHandle) -> UndoResult:
        """Takes back the last change to a file of a session's workspace.

        Args:
            session: The session.

        Raises:
            ApiError: There is nothing to take back.
        """
        await self._check_not_deleted(session)
        return await self.api.sessions.undo_session(session.app_id, session.session_id)

    async def delete(self, session: SessionHandle) -> SessionDeleted:
        """Deletes a session. Whatever is done with it by this client from then on raises `NotFound`.

        When the answer to it was lost, and a second attempt finds no session, that is what was wanted.

        Args:
            session: The session.

        Raises:
            NotFound: There is no such session.
        """
        try:
            deleted = await self.api.sessions.delete_session(session.app_id, session.session_id)
        except NotFound as error:
            if not error.may_be_done:
                raise
            deleted = SessionDeleted(session_id=session.session_id, deleted=True)
        self._deleted.add(_key(session))
        stream = self._streams.get(_key(session))
        if stream is not None:
            # A turn that the daemon cut off still says so.
            await stream.drain(protocol.VISIBLE_SECONDS)
        await self._drop_stream(session)
        return deleted

    async def _check_not_deleted(self, session: SessionHandle) -> None:
        """Some calls would make a deleted session anew, or say nothing; asking for it is refused."""
        if _key(session) in self._deleted:
            await self.get_session(session)

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
        await self._check_not_deleted(session)
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
        await self._check_not_deleted(session)
        return await self.api.queue.cancel_queued_message(session.app_id, session.session_id, entry_id)

    async def clear_queue(self, session: SessionHandle) -> ClearedQueue:
        """Empties a session's queue; the turn that runs goes on.

        Args:
            session: The session.
        """
        await self._check_not_deleted(session)
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

    # --- life

    async def aclose(self) -> None:
        """Closes the client, for good: its connections, those of turns too, and its recordings.

        Streams that you opened stay open. May be called again.

        Raises:
            WrongEventLoop: It lives on another event loop, which is not closed.
            RecordingError: Not everything could be recorded.
            CallbackFailed: An approval policy had raised where no turn could tell.
        """
        for home in (self._home, self._transport.home):
            home.check()
        self._is_closed = True
        streams, self._streams = list(self._streams.values()), {}
        failed: CallbackFailed | RecordingError | None = None
        try:
            for stream in streams:
                try:
                    await stream.stop()
                except CallbackFailed as error:
                    failed = failed or error
        finally:
            await self._transport.aclose()
            failed = failed or self._recorders.stop()
        if failed is not None:
            raise failed

    async def __aenter__(self) -> Self:
        self._check_open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self.aclose()
        except (CallbackFailed, RecordingError):
            # A failure of the test itself matters more.
            if error is None:
                raise

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.daemon_url}, {self._credentials!r}>"


async def _joined(stream: AsyncLiveEventStream) -> bool:
    """Whether the session was joined, or could be; it cannot before its first message."""
    try:
        await stream.join(from_now=True)
    except JoinRefused:
        return False
    return True


def _key(session: SessionHandle) -> tuple[str, str]:
    return session.app_id, session.session_id


def _policy(approvals: ApprovalPolicy | None, auto_approve: bool | None) -> ApprovalPolicy | None:
    if approvals is not None and auto_approve is not None:
        raise ValueError("pass approvals= or its short form auto_approve=, not both")
    if approvals is not None and (isinstance(approvals, type) or not callable(approvals)):
        raise TypeError(f"approvals= takes a policy such as ApproveAll() or a function, not {approvals!r}")
    return approvals if auto_approve is None else short_form(auto_approve)


@contextmanager
def _in_time(limit: float, missed: Callable[[], str] = lambda: "the turn did not end") -> Generator[None]:
    """Bounds what is inside, seconds from now; the error says what was missed."""
    deadline = time.monotonic() + limit
    try:
        with until(deadline):
            yield
    except DaemonUnreachable as error:
        if time.monotonic() < deadline:
            raise
        raise EventTimeout(f"{missed()} within {limit:g} s") from error
