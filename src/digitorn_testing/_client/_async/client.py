"""The client that tests talk to a daemon with."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Final, Literal, Self, TypeAlias

from digitorn_testing._approvals.policies import (
    ApprovalPolicy,
    ApproveAll,
    ClientApprovals,
    StreamApprovals,
    short_form,
)
from digitorn_testing._client.beginnings import Beginnings
from digitorn_testing._client.waiting import POLLS, in_time
from digitorn_testing._concurrency.backoff import Pauses
from digitorn_testing._concurrency.deadlines import asleep, remaining, until
from digitorn_testing._concurrency.forks import in_forks
from digitorn_testing._concurrency.latest import Latest
from digitorn_testing._errors import (
    ApiError,
    CallbackFailed,
    ClientClosed,
    EventTimeout,
    JoinRefused,
    NotFound,
    RateLimited,
    RecordingError,
    Unauthorized,
)
from digitorn_testing._exchanges import KEPT, Exchanges
from digitorn_testing._formerly import once_took
from digitorn_testing._generated import models
from digitorn_testing._generated._runtime import NOT_GIVEN
from digitorn_testing._generated.rest_async import AsyncApi
from digitorn_testing._handles import SessionHandle
from digitorn_testing._log.recorded import FilePath
from digitorn_testing._recordings.recorder import Recorder, Recorders
from digitorn_testing._secrets.credentials import Credentials, hidden
from digitorn_testing._stream import AsyncLiveEventStream, protocol
from digitorn_testing._stream._async.turn import AsyncTurn
from digitorn_testing._texts import in_seconds
from digitorn_testing._tracking import track
from digitorn_testing._transport._async.transport import AsyncTransport
from digitorn_testing._transport.any_route import Param, Response, any_call
from digitorn_testing._transport.daemon_url import resolve_daemon_url
from digitorn_testing._transport.options import ConnectionOptions
from digitorn_testing._transport.retry import RetryPolicy, new_message_id
from digitorn_testing._turns.results import TurnResult

from .announcing import AsyncAnnouncing
from .calls import AsyncCalls, Deployment
from .shared_streams import AsyncSharedStreams

_RETRIES = RetryPolicy()
_MOST_REPLACED: Final = 1024

QueueMode: TypeAlias = Literal["async", "replace_last"]


class AsyncDevClient(AsyncCalls):
    """Talks to a daemon: REST for commands, live streams for events.

    Every operation of the contract is at `api`, grouped by tag; the methods here are those that tests need
    most. The constructor does no IO. Use the client as a context manager, or call `aclose`.

    Args:
        daemon_url: Base URL of the daemon; else `$DIGITORN_DEV_DAEMON_URL`, else `$DIGITORN_DAEMON_URL`,
            else `http://127.0.0.1:8000`.
        auto_approve: Approve every tool call that needs approval in turns of this client; False leaves them
            pending. Short form of `approvals`. Questions to the user stay unanswered either way.
        timeout: Seconds for one call, and for one turn.
        token: Access token; without one, call `login` or `register` first.
        approvals: Decides the approvals in turns of this client; see `ApprovalPolicy`.
        keep_exchanges: How many of the latest REST calls `exchanges` holds; 0 keeps none and costs nothing.
        retries: When to send a REST call again; None for never.
        connection_options: Certificates, plain HTTP and size limits; see `ConnectionOptions`.

    Raises:
        InsecureConnection: The token would go over plain HTTP to another machine.
        ValueError: The URL cannot be a daemon's, or a header cannot carry the token.

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
        token: str | Credentials | None = None,
        *,
        approvals: ApprovalPolicy | None = None,
        keep_exchanges: int = KEPT,
        retries: RetryPolicy | None = _RETRIES,
        connection_options: ConnectionOptions | None = None,
    ) -> None:
        token = token if isinstance(token, Credentials) else Credentials(hidden(token))
        self.daemon_url = resolve_daemon_url(daemon_url)
        self.timeout = timeout
        self._connection = connection_options
        self._approvals = ClientApprovals(approvals or short_form(auto_approve))
        self._shared = AsyncSharedStreams[AsyncLiveEventStream]()
        self._replaced: Latest[str, Deployment] = Latest(_MOST_REPLACED)
        self._credentials = token
        self._exchanges = Exchanges(keep_exchanges)
        self._transport = AsyncTransport(
            self.daemon_url,
            self._credentials,
            timeout=timeout,
            exchanges=self._exchanges,
            retries=retries,
            connection_options=connection_options,
        )
        self._beginnings = Beginnings()
        self.api = AsyncApi(AsyncAnnouncing(self._transport, self._beginnings))
        self._recorders = Recorders(self._exchanges, self.daemon_url)
        self._is_closed = False
        in_forks(self)
        track(self)

    def after_fork(self) -> None:
        """Makes the client usable in a forked child, which opens its own connections."""
        self._shared.after_fork()
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
        """A client with an access token. Takes the constructor's arguments."""
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
        """A client of a user who is logged in.

        Args:
            email: E-mail address or user name.
            password: The password.
            register_if_missing: Register the user if the login is refused.
            daemon_url: As for the constructor.
            auto_approve: As for the constructor.
            timeout: As for the constructor.
            approvals: As for the constructor.
            keep_exchanges: As for the constructor.
            retries: As for the constructor.
            connection_options: As for the constructor.

        Raises:
            Unauthorized: The daemon refused the login.
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
            # The user exists and the password is wrong, or the name is not available.
            raise refused from error

    # --- settings

    @property
    def approvals(self) -> ApprovalPolicy:
        """Decides the approvals in turns of this client, unless a turn or a stream has its own policy.

        You may set it at any time; it applies from the next request on.
        """
        return self._approvals.default

    @approvals.setter
    def approvals(self, policy: ApprovalPolicy) -> None:
        self._approvals.default = policy

    @property
    def auto_approve(self) -> bool:
        """Whether every tool is approved: the short form of `approvals`."""
        return isinstance(self.approvals, ApproveAll)

    @auto_approve.setter
    def auto_approve(self, approve: bool) -> None:
        self.approvals = short_form(approve)

    @property
    def exchanges(self) -> Exchanges:
        """The latest REST calls of this client and its streams, with their answers.

        Secrets are hidden. Headers are not kept; of a body over 16 KiB only the size is kept.
        """
        return self._exchanges

    def record(self, path: FilePath) -> Recorder:
        """Records every stream and every REST call of this client as JSON lines.

        Secrets are hidden. `EventLog.load` reads the file, and `FakeDaemon.replay` serves it.

        Args:
            path: The file; an existing recording is continued.

        Returns:
            The running recording. Stop it, or use it as a context manager; closing the client stops it too.

        Raises:
            RecordingError: The file exists and is not a recording.
            RecordingDamaged: The file is a damaged recording.
            ClientClosed: The client was closed.
            OSError: The file cannot be written.
        """
        self._check_open()
        return self._recorders.record(path)

    # --- users

    async def login(self, email: str, password: str) -> models.TokenResponse:
        """Logs in and keeps the tokens.

        Args:
            email: E-mail address or user name.
            password: The password.

        Raises:
            Unauthorized: The daemon refused the login.
        """
        if "@" in email:
            tokens = await self.api.auth.login(email=email, password=password)
        else:
            tokens = await self.api.auth.login(username=email, password=password)
        self._credentials.store(tokens)
        return tokens

    async def register(
        self, username: str, password: str, *, email: str | None = None, name: str | None = None
    ) -> models.TokenResponse:
        """Registers a user and keeps the tokens.

        Args:
            username: 3 to 64 characters.
            password: 12 to 128 characters.
            email: E-mail address.
            name: Display name.

        Raises:
            InvalidRequest: The daemon refused the registration; the name may be taken.
        """
        tokens = await self.api.auth.register(username=username, password=password, email=email, name=name)
        self._credentials.store(tokens)
        return tokens

    async def logout(self) -> None:
        """Revokes the refresh token, if there is one, and forgets both tokens."""
        refresh_token = self._credentials.refresh_token
        await self.api.auth.logout(refresh_token=refresh_token if refresh_token else NOT_GIVEN)
        self._credentials.forget()

    def _get_auth_token(self) -> str | None:
        """The access token, for a stream that the test constructs itself."""
        return self._credentials.access_token

    # --- what the contract lacks

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Param | Sequence[Param]] | None = None,
        json: object = NOT_GIVEN,
        content: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Response:
        """Calls a route of the daemon that the contract lacks, with the client's token.

        It has the errors, retries and exchanges of the calls at `api`. Nothing is sent to another host.

            status = client.request("GET", "/api/new/route", params={"limit": 3}).json()

        Args:
            method: HTTP method; idempotent ones are retried.
            path: Path below the daemon's URL, with or without a query; percent-encoded where needed.
            params: Query parameters; a list is sent as one parameter for each item.
            json: The body, as a JSON value or a class of the contract.
            content: The body, as bytes or text.
            headers: Further header fields.
            timeout: Seconds for the call with all its attempts; the client's `timeout` if left out.

        Returns:
            The answer, whose body is not validated.

        Raises:
            ApiError: The daemon refused the call: by its status, or in JSON with `"success": false`.
            DaemonUnreachable: There was no answer.
            ValueError: Something cannot be sent, or `path` is not a path.
        """
        call = any_call(method, path, params=params, json=json, content=content, headers=headers)
        with until(time.monotonic() + (self.timeout if timeout is None else timeout)):
            return await self._transport.send(call)

    # --- sessions

    async def new_session(
        self,
        app_id: str,
        *,
        workspace: str = "",
        message: str | None = None,
        images: Sequence[models.ImageInput] = (),
    ) -> SessionHandle:
        """A session of its own: with a message it is created now, without one by its first message.

        The daemon has no sessions without messages. Without `message` nothing is asked of it, and what may be
        wrong with the app or the workspace comes out when the first message is sent.

        Args:
            app_id: The app.
            workspace: Working folder on the daemon's machine; empty for the app's default.
            message: First message. Its turn begins at once; get it with `turn(session, session.first_turn)`.
            images: Images sent with the message.

        Raises:
            NotFound: The app is not deployed.
            InvalidRequest: The workspace cannot be used, or the app needs one and none was given.
            ValueError: There are images and no message.
        """
        if message is None:
            if images:
                raise ValueError("images are sent with a message: give `message` too")
            return SessionHandle(
                session_id=uuid.uuid4().hex,
                app_id=app_id,
                daemon_url=self.daemon_url,
                workspace=workspace,
                is_new=True,
            )
        created = await self.api.sessions.create_session(
            app_id,
            workspace_path=workspace or NOT_GIVEN,
            message=message,
            images=list(images) or NOT_GIVEN,
            client_message_id=new_message_id(),
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
        """The handle of an existing session, whichever client created it.

        Args:
            app_id: The app.
            session_id: The session.

        Raises:
            NotFound: The session does not exist, or belongs to another user.
        """
        detail = await self.api.sessions.get_session(app_id, session_id)
        return SessionHandle(
            session_id=session_id, app_id=app_id, daemon_url=self.daemon_url, workspace=detail.workspace
        )

    async def wait_for_session(self, session: SessionHandle, timeout: float = 20.0) -> None:
        """Waits until a session exists on the daemon.

        Args:
            session: The session.
            timeout: Seconds to wait.

        Raises:
            EventTimeout: The session did not exist in time.
        """
        await self._check_not_deleted(session)
        deadline = time.monotonic() + timeout
        pauses = Pauses(POLLS)
        named = f"session {session.session_id!r} of app {session.app_id!r}"
        said = f"the daemon did not tell whether it knows {named}"
        with in_time(timeout, lambda: said):
            while True:
                try:
                    await self.api.sessions.get_session(session.app_id, session.session_id)
                except (NotFound, RateLimited) as error:
                    # After many answers 404 the daemon refuses the path for a while.
                    said = f"{named} is created by its first message, and was not"
                    pause = pauses.next()
                    if time.monotonic() + pause > deadline:
                        raise EventTimeout(f"{said} within {in_seconds(timeout)}") from error
                else:
                    return
                await asleep(pause)

    async def delete(self, session: SessionHandle) -> models.SessionDeleted:
        """Deletes a session. Using it with this client afterwards raises `NotFound`.

        If the answer is lost and the retry finds no session, the session counts as deleted.

        Args:
            session: The session.

        Raises:
            NotFound: The session does not exist.
        """
        try:
            deleted = await self.api.sessions.delete_session(session.app_id, session.session_id)
        except NotFound as error:
            if not error.may_be_done:
                raise
            deleted = models.SessionDeleted(session_id=session.session_id, deleted=True)
        await self._shared.delete(session, protocol.CUT_OFF_SECONDS)
        return deleted

    # --- messages and turns

    @once_took
    async def post_message_raw(
        self,
        session: SessionHandle,
        text: str,
        *,
        images: Sequence[models.ImageInput] = (),
        client_message_id: str | None = None,
        queue_mode: Literal["async", "wait", "replace_last"] | None = None,
    ) -> models.MessageAccepted:
        """Posts a message and does not wait for its turn.

        Args:
            session: The session; it is created if it does not exist.
            text: The message.
            images: Images sent with it; the daemon uses the first ten.
            client_message_id: Id by which the message is found in the session's log, a new one for each
                message; generated if left out.
            queue_mode: What the daemon does while another turn runs: `async` queues the message,
                `replace_last` replaces the last queued message, `wait` delays the answer until the message's
                turn has ended. The app's default if left out.

        Raises:
            NotFound: The app is not deployed; or the session belongs to another user, or was deleted.
            RateLimited: The session's queue is full.
            UnconfirmedMessage: The daemon may have taken the message, or not.
            ServerError: With `queue_mode="wait"`, the turn did not complete.
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
        images: Sequence[models.ImageInput] = (),
        approvals: ApprovalPolicy | None = None,
        auto_approve: bool | None = None,
        timeout: float | None = None,
        queue_mode: QueueMode | None = None,
        client_message_id: str | None = None,
    ) -> AsyncTurn:
        """Sends a message and returns a handle of its turn at once.

        Any number of turns may be open, in one session (where they queue) or in many. The client reads all
        turns of a session from one stream, which it keeps open.

        Args:
            session: The session; the message creates it if it does not exist.
            message: The message.
            images: Images sent with it; the daemon uses the first ten.
            approvals: Decides the approvals in this turn, instead of the client's policy.
            auto_approve: Short form of `approvals`.
            timeout: Seconds that reading the turn may take; the client's `timeout` if left out.
            queue_mode: What the daemon does while another turn runs: `async` queues the message,
                `replace_last` replaces the last queued message, whose turn ends `cancelled`. The app's
                default if left out.
            client_message_id: Id by which the message is found in the session's log, a new one for each
                message; generated if left out.

        Raises:
            ApiError: The daemon refused the message: `NotFound` if the app is not deployed or the session was
                deleted, `RateLimited` if the session's queue is full.
            DaemonUnreachable: No daemon answered; `UnconfirmedMessage` if one may have taken the message.
            EventTimeout: Another message to the session was still being sent.
        """
        policy = _policy(approvals, auto_approve)
        limit = self.timeout if timeout is None else timeout
        async with self._shared.sharing(session, remaining(limit), self._stream_of_turns) as stream:
            return await self._start(
                stream,
                session,
                message,
                images=images,
                policy=policy,
                timeout=limit,
                queue_mode=queue_mode,
                client_message_id=client_message_id,
            )

    async def turn(
        self,
        session: SessionHandle,
        turn: models.MessageAccepted | str | None,
        *,
        timeout: float | None = None,
    ) -> AsyncTurn:
        """A handle of a turn that was started in another way, complete from its first event.

        Args:
            session: The session of the turn.
            turn: The answer to posting its message, or its correlation id.
            timeout: Seconds that reading it may take; the client's `timeout` if left out.

        Raises:
            JoinRefused: The daemon does not let this user join the session.
            ValueError: `turn` is None.
            EventTimeout: A message to the session was still being sent.
        """
        if turn is None:
            raise ValueError(
                "there is no turn to take up; a session has a first_turn if it was made with a message"
            )
        await self._check_not_deleted(session)
        limit = self.timeout if timeout is None else timeout
        async with self._shared.sharing(session, remaining(limit), self._stream_of_turns) as stream:
            self._approvals.begin(protocol.correlation_id_of(turn))
            # If the connection was lost, this waits until it is back with the missed events.
            await stream.join(from_now=True)
            await stream.fill_gaps(since=0)
            return stream.turn(turn, timeout=limit)

    @once_took
    async def send(
        self,
        session: SessionHandle,
        message: str,
        *,
        images: Sequence[models.ImageInput] = (),
        approvals: ApprovalPolicy | None = None,
        auto_approve: bool | None = None,
        timeout: float | None = None,
    ) -> TurnResult:
        """Sends a message and returns the finished turn.

        Args:
            session: The session; the message creates it if it does not exist.
            message: The message.
            images: Images sent with it; the daemon uses the first ten.
            approvals: Decides the approvals in this turn, instead of the client's policy.
            auto_approve: Short form of `approvals`.
            timeout: Seconds until the turn must have ended; the client's `timeout` if left out.

        Raises:
            EventTimeout: The turn did not end in time. The error says which events arrived.
            ApiError: The daemon refused the message.
        """
        limit = self.timeout if timeout is None else timeout
        with in_time(limit):
            turn = await self.start_turn(
                session,
                message,
                images=images,
                approvals=approvals,
                auto_approve=auto_approve,
                timeout=limit,
            )
            return await turn.result()

    @once_took
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
            session: The session; a new one if left out.
            workspace: Working folder of a new session.
            timeout: Seconds for the turn; the client's `timeout` if left out.
            auto_approve: Short form of `approvals`.
            approvals: Decides the approvals in this turn, instead of the client's policy.

        Raises:
            EventTimeout: The turn did not end in time. The error says which events arrived.
            ApiError: The daemon refused the message.
        """
        limit = self.timeout if timeout is None else timeout
        with in_time(limit):
            session = session or await self.new_session(app_id, workspace=workspace)
            return await self.send(
                session, message, approvals=approvals, auto_approve=auto_approve, timeout=limit
            )

    @once_took
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
        """Opens a live stream, sends a message, and returns the stream when the turn has ended.

        The stream holds every event of the turn, whether the message or the connection comes first: what the
        join does not bring is read from the daemon's durable log. The stream stays open; stop it, or use it
        as a context manager.

        Args:
            session: The session; the message creates it if it does not exist.
            message: The message.
            total_timeout: Seconds until this message's turn must have ended.
            auto_approve: Short form of `approvals`.
            strict: Fail on an event that is unknown or breaks the contract.
            approvals: Decides the approvals until the turn has ended, instead of the client's policy.

        Raises:
            EventTimeout: The turn did not end in time. The error says which events arrived.
            ApiError: The daemon refused the message.
            DaemonUnreachable: No daemon answered.
        """
        policy = _policy(approvals, auto_approve)
        deciding = self._approvals.of_stream(policy)
        stream = self._stream(session, deciding, strict=strict)
        try:
            with in_time(total_timeout):
                await stream.connect()
                turn = await self._start(stream, session, message, policy=policy, timeout=total_timeout)
                await turn.result()
        except BaseException:
            await stream.stop()
            raise
        deciding.own = None
        return stream

    # --- streams

    @once_took
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

        The stream of a new session, which no message has begun yet, joins it as soon as it exists.

        Args:
            session: An existing session, or one that `new_session` made.
            since: Bring the events with a higher `seq`; 0 brings the whole history.
            auto_approve: Short form of `approvals`.
            strict: Fail on an event that is unknown or breaks the contract.
            approvals: Decides the approvals in turns that this client did not start, instead of the client's
                policy.
            max_events: How many events the stream keeps; beyond that it drops and counts the oldest. All
                events if left out.

        Raises:
            JoinRefused: The daemon does not let this user join the session.
            NotFound: The session was deleted.
        """
        await self._check_not_deleted(session)
        deciding = self._approvals.of_stream(_policy(approvals, auto_approve))
        stream = self._stream(session, deciding, since=since, strict=strict, max_events=max_events)
        if not session.is_new:
            return await stream.start()
        self._beginnings.wait(session, stream.begin)
        await stream.connect()
        try:
            await stream.join_later()
        except BaseException:
            await stream.stop()
            raise
        return stream

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

    def _stream_of_turns(self, session: SessionHandle) -> AsyncLiveEventStream:
        return self._stream(session, self._approvals.of_stream(turns_only=True))

    async def _start(
        self,
        stream: AsyncLiveEventStream,
        session: SessionHandle,
        message: str,
        *,
        policy: ApprovalPolicy | None,
        timeout: float,
        images: Sequence[models.ImageInput] = (),
        queue_mode: QueueMode | None = None,
        client_message_id: str | None = None,
    ) -> AsyncTurn:
        joined = await _joined(stream)
        with self._approvals.posting(session.session_id):
            accepted = await self.post_message_raw(
                session, message, images=images, queue_mode=queue_mode, client_message_id=client_message_id
            )
            self._approvals.begin(protocol.correlation_id_of(accepted), policy)
            if accepted.session_id != session.session_id:
                # The id of a new session is a proposal; the answer says where the message is.
                stream.session, joined = replace(session, session_id=accepted.session_id), False
            if not joined:
                # The message has created the session. If the connection is lost just now, the turn goes on.
                await stream.join_later()
            # The turn must be followed before an approval in it is decided, so that it can report a policy
            # that raises.
            return stream.turn(accepted, timeout=timeout)

    # --- life

    async def aclose(self) -> None:
        """Closes the client for good: its connections, the streams of its turns, and its recordings.

        Streams that you opened stay open. Closing a closed client does nothing.

        Raises:
            WrongEventLoop: The client belongs to another event loop, which is not closed.
            RecordingError: Not everything could be recorded.
            CallbackFailed: An approval policy raised and no turn could report it.
        """
        for affinity in (self._shared.affinity, self._transport.affinity):
            affinity.check()
        self._is_closed = True
        failed: CallbackFailed | RecordingError | None = None
        try:
            failed = await self._shared.stop()
        finally:
            await self._transport.aclose()
            failed = failed or self._recorders.stop()
        if failed is not None:
            raise failed

    def _check_open(self) -> None:
        if self._is_closed:
            raise ClientClosed(f"the client of {self.daemon_url} was closed; make a new one")

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
            # A failure of the test itself takes precedence.
            if error is None:
                raise

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.daemon_url}, {self._credentials!r}>"


async def _joined(stream: AsyncLiveEventStream) -> bool:
    """Joins the session from now on, and says whether that worked; it cannot before the first message."""
    try:
        await stream.join(from_now=True)
    except JoinRefused:
        return False
    return True


def _policy(approvals: ApprovalPolicy | None, auto_approve: bool | None) -> ApprovalPolicy | None:
    if approvals is not None and auto_approve is not None:
        raise ValueError("pass approvals= or its short form auto_approve=, not both")
    if approvals is not None and (isinstance(approvals, type) or not callable(approvals)):
        raise TypeError(f"approvals= takes a policy such as ApproveAll() or a function, not {approvals!r}")
    return approvals if auto_approve is None else short_form(auto_approve)
