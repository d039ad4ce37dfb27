"""Connects a stream, joins the session's room, and repeats both after a connection loss."""

import asyncio
import logging
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol, TypeAlias

from digitorn_testing._concurrency.backoff import Pauses
from digitorn_testing._concurrency.deadlines import remaining
from digitorn_testing._concurrency.finalizers import weakly
from digitorn_testing._errors import (
    ApiError,
    ContractViolation,
    DaemonUnreachable,
    Forbidden,
    JoinRefused,
    RateLimited,
    ServerError,
    StreamClosed,
    Unauthorized,
)
from digitorn_testing._events.event import AnyEvent
from digitorn_testing._generated.commands import JOIN_SESSION, CommandError, JoinSessionRequest
from digitorn_testing._secrets.credentials import Credentials
from digitorn_testing._transport.event_connection import EventConnection, HandshakeRefused

from .core import StreamCore
from .protocol import BEGINNING, PASSING, is_refused_for_now
from .tasks import Tasks

_CONNECT_SECONDS = 10.0
_JOIN_SECONDS = 60.0
_logger = logging.getLogger("digitorn.testing")

OpenConnection: TypeAlias = Callable[[Callable[[object], None], Callable[[str], None]], EventConnection]
"""Makes a connection, given a callback for frames and one for the reason of a connection loss."""


class Rejoins(Protocol):
    """What has to know of joins: the backfill."""

    async def entered(self) -> object:
        """Called after the first join."""
        ...

    def joining(self) -> None:
        """Called before each join."""
        ...

    def not_joined(self) -> None:
        """Called when a join failed."""
        ...

    def rejoined(self, *, restarted: bool) -> None:
        """Called after a rejoin.

        Args:
            restarted: Whether the daemon is another process than before.
        """
        ...


class Connecting:
    """Keeps a stream connected.

    Args:
        core: The stream.
        tasks: Runs what goes on in the background.
        credentials: The user's tokens.
        open_connection: Makes the connection.
        check_token: Asks the daemon over HTTP whether it takes the token, and renews an expired one.
        take: Takes each frame.
        rejoins: Is told of joins.
        joined: Called after each join.
        restarted: Called when the daemon turns out to be another process than before.

    Attributes:
        socket: The connection.
    """

    def __init__(
        self,
        core: StreamCore,
        tasks: Tasks,
        credentials: Credentials,
        *,
        open_connection: OpenConnection,
        check_token: Callable[[], Awaitable[object]],
        take: Callable[[object], object],
        rejoins: Rejoins,
        joined: Callable[[], object],
        restarted: Callable[[], object],
    ) -> None:
        self._core = core
        self._link = core.link
        self._log = core.log
        self._tasks = tasks
        self._credentials = credentials
        self._check_token = check_token
        self._take = take
        self._rejoins = rejoins
        self._on_joined = joined
        self._on_restarted = restarted
        # Weakly, so that an unreferenced stream can be garbage-collected.
        self.socket = open_connection(weakly(self._received), weakly(self.lost))
        self._reconnecting: asyncio.Task[None] | None = None
        self._restarts_before = 0
        self._watching_silence: asyncio.TimerHandle | None = None
        self._has_begun = asyncio.Event()
        self._entering: asyncio.Task[None] | None = None

    # --- the first time

    async def connect(self) -> None:
        """Connects, with a new token if the present one has expired.

        Raises:
            HandshakeRefused: The daemon refuses every connection, for a reason other than the token.
            Unauthorized: The token is missing, wrong or expired.
            ApiError: Something on the way to the daemon refused the connection.
            DaemonUnreachable: No daemon answered.
        """
        token = self._credentials.access_token
        try:
            await self.socket.connect(token, remaining(_CONNECT_SECONDS))
        except HandshakeRefused as refused:
            # The refusal says nothing; the same token over HTTP does, and is renewed there if it expired.
            await self._check_token()
            if self._credentials.access_token == token:
                said = f" ({refused})" if str(refused) else ""
                raise HandshakeRefused(f"the connection was refused{said}, the token is good") from None
            try:
                await self.socket.connect(self._credentials.access_token, remaining(_CONNECT_SECONDS))
            except HandshakeRefused:
                raise HandshakeRefused("the connection was refused twice") from None

    async def enter(self) -> None:
        """Enters the session's room for the first time.

        Raises:
            JoinRefused: The daemon does not let this user into the session.
            DaemonUnreachable: The connection was lost.
        """
        if self._reconnecting is not None:
            # It was lost before it could join.
            await asyncio.wait({self._reconnecting}, timeout=remaining(_CONNECT_SECONDS))
        await self._enter()
        # From here on, a lost connection is re-established and rejoins the room.
        self._link.has_joined = True

    async def enter_later(self) -> None:
        """Enters the session's room as soon as the session exists, in the background unless it does now."""
        if self._entering is not None and not self._entering.done():
            self.begin()
        elif not await self.try_to_enter():
            self._entering = self._tasks.spawn(self._enter_later(weakref.ref(self), self._has_begun))

    def begin(self) -> None:
        """Tries to enter the room again at once, because the session has just been created."""
        self._has_begun.set()

    @staticmethod
    async def _enter_later(reference: "weakref.ref[Connecting]", has_begun: asyncio.Event) -> None:
        pauses = Pauses(BEGINNING)
        while True:
            # Not held while it waits, so that an unreferenced stream can be garbage-collected.
            with suppress(TimeoutError):
                async with asyncio.timeout(pauses.next()):
                    await has_begun.wait()
            has_begun.clear()
            connecting = reference()
            if connecting is None or connecting.is_over or await connecting.try_to_enter():
                return
            del connecting

    async def try_to_enter(self) -> bool:
        """Makes one attempt to enter the room for the first time, and says whether the stream is in it."""
        if self._link.has_joined:
            return True
        try:
            await self.enter()
        except (JoinRefused, *PASSING) as error:
            _logger.info("session %s: not joined yet: %s", self._log.session_id, error)
            return False
        await self._rejoins.entered()
        self.joined_first()
        return True

    def joined_first(self) -> None:
        """Takes note of the first join, unless the connection was lost meanwhile and is made again."""
        if self._link.now.state == "connecting":
            self.joined()

    def joined(self) -> None:
        """Takes note that the stream is in the room, and has what the join brought."""
        self._link.joined()
        # A heartbeat may have come before; the next need not.
        self._watch_silence()
        self._on_joined()

    async def _enter(self) -> None:
        session = self._core.session
        request = JoinSessionRequest(app_id=session.app_id, session_id=session.session_id)
        self._rejoins.joining()
        try:
            ack = await self.socket.call(JOIN_SESSION, request, remaining(_JOIN_SECONDS))
        except BaseException:
            self._rejoins.not_joined()
            raise
        if isinstance(ack, CommandError):
            self._rejoins.not_joined()
            reason = self._core.redact(ack.error)
            # A traceback printed with local variables must not show what arrived.
            del ack
            raise JoinRefused(session.session_id, reason)

    def end(self) -> None:
        """Ends the watch for silence; the background tasks and the connection are ended by the stream."""
        self._link.ended()
        if self._watching_silence is not None:
            self._watching_silence.cancel()

    # --- what happens to it

    def _received(self, frame: object) -> None:
        self._link.heard()
        self._take(frame)

    def noticed(self, event: AnyEvent) -> None:
        """Notes the daemon's identity and that it is alive, from frames outside the session.

        Args:
            event: Any event that is new.
        """
        if event.is_numbered:
            return
        instance_id = self._log.meaning.instance_id(event)
        if instance_id is not None and self._link.runs_in(instance_id):
            self._on_restarted()
        if self._log.meaning.is_heartbeat(event):
            self._link.has_heartbeats = True
            self._watch_silence()

    def lost(self, reason: str) -> None:
        """Notes that the connection was lost, and begins to reconnect.

        Args:
            reason: Why.
        """
        if self._log.closed is not None:
            return
        if (violation := self.socket.violation) is not None:
            self._link.ended()
            self._log.close(violation)
            return
        self._link.lost(reason)
        # A loss during reconnection is handled by the loop that is already running.
        if self._reconnecting is None or self._reconnecting.done():
            _logger.info("session %s: the connection was lost: %s", self._log.session_id, reason)
            self._restarts_before = self._link.now.restarts
            self._reconnecting = self._tasks.spawn(self._reconnect(weakref.ref(self)))

    # --- making it again

    @staticmethod
    async def _reconnect(reference: "weakref.ref[Connecting]") -> None:
        """Reconnects until the connection stands, cannot be restored, or is no longer wanted."""
        while (connecting := reference()) is not None and not connecting.is_over:
            pause = await connecting.try_again()
            # Not held while it waits, so that an unreferenced stream can be garbage-collected.
            del connecting
            if pause is None:
                return
            await asyncio.sleep(pause)

    @property
    def is_over(self) -> bool:
        """Whether the stream has ended, so it needs no connection."""
        return self._log.closed is not None

    async def try_again(self) -> float | None:
        """Makes one attempt to reconnect.

        Returns:
            Seconds until the next attempt; None if there will be no further attempt.

        Raises:
            JoinRefused: The daemon does not let this user into the session any more.
            Unauthorized: The daemon no longer accepts the token.
            Forbidden: Something on the way to the daemon no longer lets the connection through.
        """
        failed, asked = "it was lost again", 0.0
        try:
            async with asyncio.timeout(self._link.left()):
                await self.connect()
                if not self._link.has_joined:
                    self._link.connecting()
                    return None
                await self._enter()
            if self.socket.connected:
                self.joined()
                self._rejoins.rejoined(restarted=self._link.now.restarts > self._restarts_before)
                return None
        except JoinRefused as error:
            if not is_refused_for_now(error.reason):
                raise
            failed = str(error)
        except (Unauthorized, Forbidden):
            raise
        except (ApiError, DaemonUnreachable, ContractViolation, HandshakeRefused) as error:
            # A daemon that has answered before needs no advice on its address.
            failed = error.reason if isinstance(error, DaemonUnreachable) else str(error)
            if isinstance(error, RateLimited | ServerError):
                asked = error.retry_after or 0.0
        except TimeoutError:
            # Cut short by the deadline; the previous error is more informative.
            failed = self._link.now.last_error or "no answer"
        _logger.info("session %s: no connection: %s", self._log.session_id, failed)
        pause = self._link.failed(failed, at_least=asked)
        if pause is None:
            self._log.close(StreamClosed(f"its connection was given up: {self._core.connection}"))
        return pause

    # --- silence

    def _watch_silence(self) -> None:
        """Watches a connection on which heartbeats should come."""
        if self._watching_silence is None and self._link.is_joined and self._link.has_heartbeats:
            # A timer instead of a task: a task would keep an unreferenced stream alive.
            self._watching_silence = asyncio.get_running_loop().call_later(
                self._link.quiet_left(), weakly(self._check_silence)
            )

    def _check_silence(self) -> None:
        """Treats a connection as lost if it is silent although heartbeats are due."""
        self._watching_silence = None
        if not (self._link.is_joined and self._link.has_heartbeats):
            return
        if self._link.quiet_left() > 0:
            self._watch_silence()
        else:
            self._tasks.spawn(self._end_silence())

    async def _end_silence(self) -> None:
        await self.socket.close(abruptly=True)
        self.lost(f"no frame for {self._link.policy.silence:g} s, not even a heartbeat")
