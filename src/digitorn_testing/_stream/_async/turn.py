"""A turn as an object: everything that a message sets off, from the first event to the last."""

import time
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar, overload

from digitorn_testing._concurrency.deadlines import checked, until
from digitorn_testing._events.asking import Asking
from digitorn_testing._events.event import AnyEvent, LiveEvent
from digitorn_testing._events.selector import Where
from digitorn_testing._events.timeline import number
from digitorn_testing._generated.events import EventPayload, EventType
from digitorn_testing._handles import SessionHandle
from digitorn_testing._stream.view import AsyncStreamView
from digitorn_testing._turns.results import TurnResult

from .reading import TextReading

P = TypeVar("P", bound=EventPayload)


class AsyncTurn(Asking):
    """A turn of a session: read it event by event, or wait for its result.

    Iterating yields the events of the turn in order, beginning with the first however late you start, and
    ends with the turn. You may iterate more than once, and from several tasks or threads at a time. A read
    that was cancelled or interrupted can be repeated on the same iterator, and misses nothing.

    `start_turn` of a client and `turn` of a stream return one.

    Attributes:
        correlation_id: Its identity on the wire.
        stream: The session's stream that it is read from. It may be read; other turns may share it, so that
            a turn does not stop it.
    """

    def __init__(self, stream: AsyncStreamView, correlation_id: str, *, timeout: float) -> None:
        self.stream = stream
        self.correlation_id = correlation_id
        self._timeout = checked(timeout)
        self._deadline = time.monotonic() + timeout

    @property
    def session(self) -> SessionHandle:
        """The session that it runs in."""
        return self.stream.session

    @property
    def done(self) -> bool:
        """Whether it has ended and all its events are here."""
        return self.stream.log.turn_ended(self.correlation_id)

    @property
    def events(self) -> list[AnyEvent]:
        """Its events so far, in order."""
        return self.stream.log.turn(self.correlation_id)

    def __aiter__(self) -> AsyncIterator[AnyEvent]:
        limit = max(0.0, self._deadline - time.monotonic())
        return self.stream.turn_events(self.correlation_id, timeout=limit)

    @overload
    async def wait_for(
        self,
        type: type[P],
        *,
        where: Callable[[LiveEvent[P]], bool] | None = None,
        timeout: float | None = None,
    ) -> LiveEvent[P]: ...
    @overload
    async def wait_for(
        self, type: EventType, *, where: Where | None = None, timeout: float | None = None
    ) -> AnyEvent: ...
    async def wait_for(self, type: Any, *, where: Any = None, timeout: float | None = None) -> Any:
        """The first of this turn's events of a type, of those that arrived and those to come.

        Args:
            type: Payload class or wire name.
            where: A predicate that the event must satisfy.
            timeout: Seconds to wait; what is left of the turn's own time when left out.

        Raises:
            EventTimeout: No such event came in time, or the turn ended without one.
            StreamClosed: The stream ended before the turn did.
        """
        limit = max(0.0, self._deadline - time.monotonic()) if timeout is None else timeout
        return await self.stream.wait_in_turn(self.correlation_id, type, where=where, timeout=limit)

    def text_deltas(self) -> AsyncIterator[str]:
        """The text that the assistant streams, piece by piece.

        The daemon does not stream the last characters of an answer, and nothing of a short one. What is
        missing comes as the last piece, so that the pieces add up to the `content` of the result. If the
        assistant said something before it called a tool, that comes first; the result has it as `commentary`.

        Raises:
            EventTimeout: The turn did not end in time.
            StreamClosed: The stream ended before the turn did.
        """
        return TextReading(aiter(self), self.stream.log.meaning)

    async def result(self, timeout: float | None = None) -> TurnResult:
        """Waits for the end of the turn.

        Args:
            timeout: Seconds to wait; what is left of the turn's own time when left out.

        Returns:
            The result of the turn.

        Raises:
            EventTimeout: It did not end in time; the error's `result` is what its events add up to so far.
            StreamClosed: The stream ended before the turn did.
            CallbackFailed: The approval policy raised.
        """
        if timeout is not None:
            return await self.stream.wait_for_turn(self.correlation_id, timeout=timeout)
        with until(self._deadline):
            return await self.stream.wait_for_turn(self.correlation_id, timeout=self._timeout)

    async def abort(self) -> None:
        """Aborts the turn, so that its `result` is `cancelled`.

        A queued turn is taken out of the queue; the others stay. The daemon refuses that for the first one
        that waits. Nothing happens to a turn that has ended, and no other turn is cut off.

        Raises:
            AbortFailed: It is the first one that waits, or the daemon did not cut it off.
            ApiError: The daemon refused.
        """
        await self.stream.abort_turn(self.correlation_id)

    def __repr__(self) -> str:
        events, log = self.events, self.stream.log
        told = "running"
        if self.done:
            told = self.stream.turn_result(self.correlation_id).status if events else "done"
        elif log.pending_approvals():
            told = "running, an approval is pending"
        shown = [event for event in events if not log.meaning.is_bookkeeping(event)]
        last = f", the last: {number(shown[-1])} {shown[-1].type}" if shown else ""
        session = f"{self.session.app_id}/{self.session.session_id}"
        return (
            f"<{type(self).__name__} {self.correlation_id} of {session}, {told}, {len(events)} events{last}>"
        )
