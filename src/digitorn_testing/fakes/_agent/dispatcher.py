"""The dispatcher: accepts messages, runs one turn per session at a time, and aborts turns."""

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from digitorn_testing._events.choreography import TurnEvents, last_error, message_queued, user_message
from digitorn_testing._events.conventions import Op, turn_of
from digitorn_testing._events.failures import INTERNAL_ERROR
from digitorn_testing._generated._runtime import EventPayload
from digitorn_testing._generated.events import (
    CREDENTIAL_FAILURES,
    Abort,
    Error,
    EventEnvelope,
    MessageCancelled,
    MessageReplaced,
    QueueCleared,
    QueueFull,
    Result,
    TurnHeartbeat,
    UserMessage,
)
from digitorn_testing._generated.models import AbortResult
from digitorn_testing.fakes._model.failures import TurnFailed
from digitorn_testing.fakes._store.sessions import (
    DAEMON_RESTART,
    Message,
    MessageOutcome,
    QueuedMessage,
    Receipt,
    Session,
    Turn,
)

from .agent import Agent
from .approvals import Approvals
from .bus import EventBus
from .given import open_turn, request_of
from .results import credential_members, turn_result
from .rows import LogRows
from .sub_agents import SubAgents

_RESUMING: Final = "[auto-resume] Go on with what you were doing."
"""What the model is told as the user's words when an interrupted turn is resumed."""

logger = logging.getLogger(__name__)


class SessionQueueFull(Exception):
    """The queue of a session takes no more messages."""

    def __init__(self, depth: int, limit: int) -> None:
        super().__init__(f"Session queue full ({depth}/{limit})")


@dataclass(frozen=True, slots=True)
class AbortedWork:
    """What an abort came upon.

    Attributes:
        was_active: Whether a turn ran.
        purged: Number of messages that were dropped.
        refused: Number of approvals that were refused.
    """

    was_active: bool
    purged: int
    refused: int


class Dispatcher:
    """Decides what runs when.

    Args:
        bus: Where events are published.
        agent: Runs turns.
        rows: What the log holds of messages beside their events.
        approvals: The open approvals.
        queue_depth: Most messages that wait in one session.
        turn_heartbeat: Seconds between two signs of life of a turn.
    """

    def __init__(
        self,
        bus: EventBus,
        agent: Agent,
        rows: LogRows,
        approvals: Approvals,
        *,
        queue_depth: int,
        turn_heartbeat: float,
    ) -> None:
        self._bus = bus
        self._agent = agent
        self._rows = rows
        self._approvals = approvals
        self._queue_depth = queue_depth
        self._turn_heartbeat = turn_heartbeat
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_stopping = False

    @property
    def sub_agents(self) -> SubAgents:
        """The sub-agents."""
        return self._agent.sub_agents

    @property
    def tasks(self) -> "frozenset[asyncio.Task[None]]":
        """The turns and the sub-agents that run, and what else does."""
        return self.sub_agents.tasks | self._tasks

    # --- sending

    async def send(
        self,
        session: Session,
        message: Message,
        *,
        mode: Literal["async", "wait", "replace_last"] = "async",
    ) -> Receipt:
        """Takes in a message that came over HTTP.

        Raises:
            SessionQueueFull: Too many messages wait.
        """
        if not session.begun and not session.waiting:
            receipt = Receipt(message)
            self._start(session, Turn(session, session.app, message, announces=True))
            return receipt
        if mode == "replace_last" and session.waiting:
            return await self._replace(session, message)
        return await self._enqueue(session, message)

    async def send_over_socket(self, session: Session, message: Message) -> QueuedMessage:
        """Takes in a message that came over the socket: always through the queue.

        Raises:
            SessionQueueFull: Too many messages wait.
        """
        self._check_depth(session)
        queued = session.enqueue(message)
        queued.source = "resume"
        # It says that the message waits, even if its turn starts at once.
        payload = UserMessage(
            session_id=session.id,
            role="user",
            content=message.text,
            images=[None] * len(message.images),
            correlation_id=message.correlation_id,
            pending=True,
        )
        op = Op(message.correlation_id, "message", "pending")
        await self._bus.publish(session, payload, correlation_id=message.correlation_id, op=op)
        self._announced(session, queued)
        return queued

    async def _enqueue(self, session: Session, message: Message) -> Receipt:
        try:
            self._check_depth(session)
        except SessionQueueFull:
            full = QueueFull(depth=session.queue_depth, max=self._queue_depth, session_id=session.id)
            await self._bus.publish(session, full)
            raise
        queued = session.enqueue(message)
        receipt = Receipt(message, queued)
        announcement = message_queued(
            message.correlation_id, message.text, position=queued.position, depth=session.queue_depth
        )
        for payload in (announcement, _user_message(session, message, pending=True)):
            await self._publish(session, payload, message.correlation_id)
        self._announced(session, queued)
        return receipt

    async def _replace(self, session: Session, message: Message) -> Receipt:
        queued = session.waiting[-1]
        # The replaced message never gets a terminal event; only those who wait for it are told.
        queued.message.end(MessageOutcome.cancelled("the message was replaced"))
        queued.message, queued.announced = message, False
        receipt = Receipt(message, queued, replaced=True)
        payload = MessageReplaced(
            correlation_id=message.correlation_id,
            position=queued.position,
            queue_depth=session.queue_depth,
            message_preview=message.preview,
            merged=False,
            replaced=True,
        )
        await self._publish(session, payload, message.correlation_id)
        self._announced(session, queued)
        return receipt

    def _announced(self, session: Session, queued: QueuedMessage) -> None:
        # Its turn must not begin before its own events are out, nor be forgotten when it could have begun.
        queued.announced = True
        self.drain(session)

    def _check_depth(self, session: Session) -> None:
        if session.queue_depth >= self._queue_depth:
            raise SessionQueueFull(session.queue_depth, self._queue_depth)

    # --- running

    def drain(self, session: Session) -> None:
        """Starts the next message of a session's queue, if the one before it has ended and it is ready.

        Its turn counts as started at once, and waits until no other runs (contract: events, section 6.4).
        """
        waiting = session.waiting
        if self._is_stopping or session.started is not None or not waiting or not waiting[0].announced:
            return
        queued = waiting[0]
        queued.start()
        self._start(session, Turn(session, session.app, queued.message, queued=queued, source=queued.source))

    def resume(self, session: Session) -> bool:
        """Lets the model go on with the interrupted turn of a session (contract: events, section 6.9).

        Returns:
            False if there is none, or another turn runs or waits.
        """
        if not session.interrupted or session.begun or session.waiting:
            return False
        self._start(session, Turn(session, session.app, Message(_RESUMING), is_resumed=True))
        return True

    def take_up(self, turn: Turn) -> None:
        """Goes on with a turn that began elsewhere."""
        self._start(turn.session, turn)

    def _start(self, session: Session, turn: Turn) -> None:
        before = session.begun[-1] if session.begun else None
        session.begun.append(turn)
        self._spawn(self._supervise(session, turn, before), f"turn {turn.correlation_id}")

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s crashed outside its turn", task.get_name(), exc_info=error)

    async def _supervise(self, session: Session, turn: Turn, before: Turn | None) -> None:
        """Runs a turn to its end. An abort cancels only the turn's body, so that its end is always told."""
        outcome = MessageOutcome("failed", "the daemon stopped", DAEMON_RESTART)
        try:
            await self._announce(session, turn)
            if before is not None:
                await asyncio.wait({before.message.ended})
            session.interrupted = False
            session.turns += 1
            outcome = await self._run(session, turn)
        finally:
            session.begun.remove(turn)
            session.touch()
            session.interrupted = session.interrupted or self._is_stopping
            if turn.queued is not None:
                turn.queued.finish(outcome)
            turn.message.end(outcome)
            if not outcome.stops_queue:
                self.drain(session)

    async def _announce(self, session: Session, turn: Turn) -> None:
        if turn.is_resumed or turn.is_announced:
            return
        if turn.announces:
            payload = _user_message(session, turn.message, pending=False)
            event = await self._publish(session, payload, turn.correlation_id)
            turn.message.announce(event.seq)
        await self._publish(session, _events_of(turn).started(), turn.correlation_id)

    async def _run(self, session: Session, turn: Turn) -> MessageOutcome:
        told = open_turn(turn)
        heartbeat = asyncio.create_task(self._beat(turn), name=f"heartbeat {turn.correlation_id}")
        body = turn.body = asyncio.create_task(
            self._agent.run(turn, told), name=f"body {turn.correlation_id}"
        )
        if turn.aborted:
            body.cancel()
        try:
            await asyncio.wait({body})
        finally:
            # Either the body is over, or the daemon stops.
            await _cancel(heartbeat, body)
            if not turn.has_asked:
                # So its answer is not left to another message.
                turn.app.model.pass_over(request_of(turn))
            if self._is_stopping:
                # A turn that a crash cut off leaves no trace in the history (contract: events, section 6.9).
                del session.conversation.entries[turn.begins_at :]
        session.partial = None
        return await self._end(session, turn, body)

    async def _end(self, session: Session, turn: Turn, body: "asyncio.Task[str]") -> MessageOutcome:
        session.conversation.close_calls(session.log.last_seq)
        if body.cancelled() or body.exception() is not None:
            session.conversation.forget_unanswered()
        if body.cancelled():
            session.interrupted = True
            await self._tell(turn, _events_of(turn).cancelled())
            return MessageOutcome.cancelled("the turn was cut off")
        error = body.exception()
        if error is None:
            session.last_error = None
            await self._tell(turn, _events_of(turn).completed(turn_result(turn, body.result())))
            return MessageOutcome("completed")
        failure = error if isinstance(error, TurnFailed) else _crashed(turn, error)
        session.errors.append(failure.told.message)
        session.last_error = last_error(session.id, failure.told)
        session.interrupted = True
        lacking, result = credential_members(turn, failure), turn_result(turn, "", failure.message)
        await self._tell(turn, _events_of(turn).failed(failure.told, result, lacking))
        stops_queue = failure.code in CREDENTIAL_FAILURES
        return MessageOutcome("failed", failure.message, failure.code, stops_queue=stops_queue)

    async def _tell(self, turn: Turn, payloads: Iterable[EventPayload]) -> None:
        """Publishes how a turn ends. A resumed turn ends with its result, and has no end of its own."""
        for payload in payloads:
            if not turn.is_resumed or isinstance(payload, Result | Error):
                await self._bus.publish(turn.session, payload, correlation_id=turn.told_id)

    async def _beat(self, turn: Turn) -> None:
        while True:
            await asyncio.sleep(self._turn_heartbeat)
            payload = TurnHeartbeat(turn=turn.state())
            await self._bus.publish(turn.session, payload, correlation_id=turn.told_id)

    # --- cutting off

    async def abort(self, session: Session, *, purge_queue: bool) -> AbortResult:
        """Cuts off the turn of a session and tells of it (contract: events, section 6.6).

        Args:
            session: The session.
            purge_queue: Whether to drop the messages that wait, too.
        """
        cut = self.cut_off(session, purge_queue=purge_queue)
        had_agents = self.sub_agents.discard(session.id)
        payload = Abort(
            session_id=session.id,
            queue_purged=cut.purged,
            queue_preserved=not purge_queue,
            task_cancelled=cut.was_active,
            approvals_cancelled=cut.refused,
        )
        await self._publish(session, payload, None)
        return AbortResult(
            session_id=session.id,
            was_active=cut.was_active,
            # Said of a session that is idle, too.
            aborted=True,
            task_cancelled=cut.was_active,
            bg_tasks_cleaned=False,
            agents_cleaned=had_agents,
            approvals_cancelled=cut.refused,
            queue_purged=cut.purged,
            queue_preserved=not purge_queue,
            interrupted=True,
        )

    def cut_off(self, session: Session, *, purge_queue: bool) -> AbortedWork:
        """Cuts off the turn of a session; only the turn itself tells of it.

        Args:
            session: The session.
            purge_queue: Whether to drop the messages that wait, too.
        """
        turn = session.turn
        purged = session.remove_waiting() if purge_queue else []
        if turn is not None:
            turn.abort()
        refused = self._approvals.cancel_app(session.owner.app_id)
        return AbortedWork(was_active=turn is not None, purged=len(purged), refused=refused)

    async def cancel_queued(self, session: Session, entry_id: str) -> bool:
        """Takes one message out of the queue.

        Returns:
            False if no such message waits.
        """
        queued = next((one for one in session.waiting if one.id == entry_id), None)
        if queued is None:
            return False
        queued.finish(MessageOutcome.cancelled("the message was removed from the queue"))
        payload = MessageCancelled(session_id=session.id, entry_id=entry_id)
        await self._publish(session, payload, None)
        return True

    async def clear_queue(self, session: Session) -> int:
        """Takes every message out of the queue; one event tells of all.

        Returns:
            How many there were.
        """
        removed = session.remove_waiting()
        payload = QueueCleared(session_id=session.id, cancelled=len(removed))
        await self._publish(session, payload, None)
        return len(removed)

    async def discard(self, session: Session) -> None:
        """Drops a session's queued messages and aborts its running turn; returns once it has ended."""
        session.remove_waiting()
        self.sub_agents.discard(session.id)
        begun = list(session.begun)
        for turn in begun:
            turn.abort()
        if begun:
            await asyncio.wait({turn.message.ended for turn in begun})

    async def stop(self) -> None:
        """Cuts everything off at once and tells nobody."""
        self._is_stopping = True
        await _cancel(*self._tasks)
        await self.sub_agents.stop()

    async def _publish(
        self, session: Session, payload: EventPayload, correlation_id: str | None
    ) -> EventEnvelope:
        named = turn_of(payload, session.id, correlation_id)
        return await self._bus.publish(session, payload, correlation_id=named)


def _events_of(turn: Turn) -> TurnEvents:
    return TurnEvents(
        session_id=turn.session.id,
        correlation_id=turn.correlation_id,
        position=turn.position,
        source=turn.source,
    )


def _user_message(session: Session, message: Message, *, pending: bool) -> UserMessage:
    return user_message(
        session.id,
        message.correlation_id,
        message.text,
        pending=pending,
        client_message_id=message.client_message_id or "",
        images=len(message.images),
    )


def _crashed(turn: Turn, error: BaseException) -> TurnFailed:
    """An error that nobody scripted: it goes to the record, and the turn fails with it."""
    logger.error("turn %s crashed", turn.correlation_id, exc_info=error)
    return TurnFailed(INTERNAL_ERROR, f"{type(error).__name__}: {error}")


async def _cancel(*tasks: "asyncio.Task[Any]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
