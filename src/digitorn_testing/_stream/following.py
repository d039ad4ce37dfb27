"""Follows turns to their end, however that is told, and makes their events complete."""

import asyncio
import logging
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeAlias

from digitorn_testing._concurrency.backoff import Backoff, Pauses
from digitorn_testing._concurrency.deadlines import finite, remaining, until
from digitorn_testing._errors import (
    ApiError,
    CallbackFailed,
    ContractViolation,
    DigitornError,
    StreamClosed,
    TooLarge,
)
from digitorn_testing._events.event import AnyEvent
from digitorn_testing._events.meaning import Meaning, TurnEnding
from digitorn_testing._log.log import Subscription
from digitorn_testing._turns import rules

from .core import Restart, Sign, StreamCore
from .inboxes import AsyncInbox
from .patience import Refused
from .protocol import (
    ANSWER_SECONDS,
    KNOWN_SECONDS,
    LAST_WORD_SECONDS,
    PASSING,
    PATIENCE_SECONDS,
    QUIET_SECONDS,
)
from .tasks import Tasks

CHECKS: Final = Backoff(first_pause=QUIET_SECONDS, growth=1.5, longest_pause=30.0, jitter=0.0)
"""After how long without an event of the session the daemon is asked for a turn, again and again."""

_logger = logging.getLogger("digitorn.testing")

AskDaemon: TypeAlias = Callable[[str, bool], Awaitable[tuple[bool, TurnEnding | None]]]
"""Asks the daemon over HTTP whether a turn is over, and how it ended where no event says so.

It is told whether the daemon was restarted since the turn began. A turn that is not over may seem lost.
"""

_Inbox: TypeAlias = AsyncInbox[Sign]


class Gaps(Protocol):
    """What fills gaps: the backfill."""

    def quiet_seconds(self) -> float:
        """For how long no event of the session has arrived."""
        ...

    async def caught_up(self, until: float) -> Refused | None:
        """Waits until what was missed before the last join is here, and says why it is not in the end.

        Args:
            until: How long to wait, on the monotonic clock.
        """
        ...

    async def fill_at_last(self, until: float, since: int) -> Refused | None:
        """Reads what is missing, and says why that failed.

        Args:
            until: How long to try, on the monotonic clock.
            since: Behind which number to read.
        """
        ...


class Following:
    """Follows the turns of a stream, each with a task of its own, however many wait for it.

    Args:
        core: The stream.
        tasks: Runs the tasks.
        gaps: Fills gaps.
        ask: Asks the daemon for a turn.
        ended: Called with the correlation id of each turn that has ended.
    """

    def __init__(
        self,
        core: StreamCore,
        tasks: Tasks,
        *,
        gaps: Gaps,
        ask: AskDaemon,
        ended: Callable[[str], object],
    ) -> None:
        self._core = core
        self._log = core.log
        self._turns = core.turns
        self._tasks = tasks
        self._gaps = gaps
        self._ask = ask
        self._ended = ended
        self._missed: dict[str, float] = {}
        """Since when the daemon does not know a turn that is open here, on the monotonic clock."""

    def watch_of(self, correlation_id: str) -> "asyncio.Task[None] | None":
        """The task that follows a turn; None when none does."""
        return self._turns.watches.get(correlation_id)

    def follow(self, correlation_id: str) -> "asyncio.Task[None]":
        """Follows a turn that is not followed yet.

        Args:
            correlation_id: The turn.

        Returns:
            The task, which ends with the turn and never fails; the log says how it went.
        """
        self._turns.open.add(correlation_id)
        # Now, and not when the task first runs: what happens to the turn meanwhile is told to it.
        inbox: _Inbox = AsyncInbox()
        self._turns.inboxes[correlation_id] = inbox
        self._turns.restarts[correlation_id] = self._core.link.now.restarts
        meaning = self._log.meaning
        subscription = self._log.subscribe(inbox.put, meaning.turn_ends)
        if turn := self._log.turn(correlation_id):
            for event in subscription.existing:
                # What ends a turn without its name may come before anybody follows the turn.
                if event.seq > turn[0].seq and meaning.may_end_turn(event):
                    inbox.put(event)
        watching = self._watch(weakref.ref(self), correlation_id, inbox, subscription, meaning)
        watch = self._tasks.spawn(watching)
        self._turns.watches[correlation_id] = watch
        return watch

    def fail(self, correlation_id: str | None, failure: CallbackFailed) -> bool:
        """Makes everybody who waits for a turn raise an error.

        Args:
            correlation_id: The turn, if any is known.
            failure: The error.

        Returns:
            Whether the turn is followed, so that somebody is told.
        """
        inbox = self._turns.inboxes.get(correlation_id or "")
        if inbox is None:
            return False
        inbox.put(failure)
        return True

    def restarted(self) -> None:
        """Notes that the daemon was restarted, which has cut open turns off."""
        for inbox in self._turns.inboxes.values():
            inbox.put(Restart())

    def was_restarted(self, correlation_id: str) -> bool:
        """Whether the daemon was restarted since a turn was followed first."""
        return self._core.link.now.restarts > self._turns.restarts.get(correlation_id, 0)

    async def drain(self, timeout: float) -> bool:
        """Waits until no turn is open.

        Args:
            timeout: Seconds to wait.

        Returns:
            Whether that came true in time.
        """
        if watches := [watch for watch in self._turns.watches.values() if not watch.done()]:
            await asyncio.wait(watches, timeout=finite(remaining(timeout)))
        return not self._turns.open

    # --- one turn

    @staticmethod
    async def _watch(
        reference: "weakref.ref[Following]",
        correlation_id: str,
        inbox: _Inbox,
        subscription: Subscription,
        meaning: Meaning,
    ) -> None:
        """Sees a turn to its end. Holds no machine while it waits, so that the stream can be collected."""
        error: BaseException | None = StreamClosed("the stream was stopped")
        ended = rules.has_ended(subscription.existing, correlation_id, meaning)
        pauses = Pauses(CHECKS)
        patience = pause = pauses.next()
        try:
            while not ended:
                arrived = await _next(inbox, pause)
                if (following := reference()) is None:
                    return
                events = following.events_in(arrived)
                # While the session's events come, the connection stands and will bring the end as well.
                pause = patience - following.quiet_seconds()
                may_have = any(map(meaning.may_end_turn, events)) if events else bool(arrived) or pause <= 0
                ended = rules.has_ended(events, correlation_id, meaning)
                if not ended and may_have:
                    ended = await following.ask(correlation_id)
                    if arrived:
                        # Something happens in the session; another sign may follow soon.
                        pauses.restart()
                    patience = pauses.next()
                    if following.was_restarted(correlation_id):
                        patience = min(patience, KNOWN_SECONDS)
                if pause <= 0:
                    pause = patience
                del following
            if (following := reference()) is None:
                return
            await following.finish(correlation_id, inbox)
            error = None
        except DigitornError as failed:
            error = failed
        finally:
            if (following := reference()) is not None:
                following.end(correlation_id, subscription, error)

    def quiet_seconds(self) -> float:
        """For how long no event of the session has arrived."""
        return self._gaps.quiet_seconds()

    def events_in(self, arrived: list[Sign]) -> list[AnyEvent]:
        """The events among what arrived.

        Raises:
            CallbackFailed: The turn's approval policy raised.
            StreamClosed: The stream ended.
        """
        events: list[AnyEvent] = []
        for item in arrived:
            if isinstance(item, CallbackFailed):
                raise item
            if item is None:
                raise self._core.closed_error()
            if not isinstance(item, Restart):
                events.append(item)
        return events

    async def ask(self, correlation_id: str) -> bool:
        """Asks the daemon whether a turn is over, and notes how it ended where no event says so."""
        try:
            over, ending = await self._ask(correlation_id, self.was_restarted(correlation_id))
        except TooLarge as error:
            self._log.close(error)
            raise
        except (*PASSING, ContractViolation) as error:
            _logger.info("session %s: %s", self._log.session_id, error)
            return False
        if over or ending != "lost":
            self._missed.pop(correlation_id, None)
        else:
            # The daemon does not know a turn yet that it has just accepted.
            missed = self._missed.setdefault(correlation_id, time.monotonic())
            over = time.monotonic() - missed >= KNOWN_SECONDS
        if over and ending is not None:
            self._core.endings.note(correlation_id, ending)
        return over

    async def finish(self, correlation_id: str, inbox: _Inbox) -> None:
        """Makes a turn that has done everything complete, as far as the daemon's log can be read.

        Raises:
            DigitornError: The stream ended meanwhile, or the log exceeds a limit.
        """
        patience = time.monotonic() + PATIENCE_SECONDS
        if not self._is_lost(correlation_id):
            await self._until_terminal(correlation_id, inbox)
        await self._complete(correlation_id, patience)

    def end(self, correlation_id: str, subscription: Subscription, error: BaseException | None) -> None:
        """Ends following a turn.

        Args:
            correlation_id: The turn.
            subscription: What told of its end.
            error: Why the turn cannot be read to its end; None if it can.
        """
        subscription.cancel()
        del self._turns.inboxes[correlation_id], self._turns.restarts[correlation_id]
        self._missed.pop(correlation_id, None)
        self._ended(correlation_id)
        self._turns.open.discard(correlation_id)
        self._core.forget_oldest_turns()
        self._log.end_turn(correlation_id, error)

    async def _until_terminal(self, correlation_id: str, inbox: _Inbox) -> None:
        """Gives the last event of a turn that has done everything time to come."""
        while rules.lacks_terminal(self._log.turn(correlation_id), self._log.meaning):
            if not (arrived := await _next(inbox, LAST_WORD_SECONDS)):
                # The daemon's log is asked for it next.
                return
            self.events_in(arrived)

    async def _complete(self, correlation_id: str, patience: float) -> None:
        """Reads what is missing of a turn that has ended; nothing, as a rule."""
        failure = await self._gaps.caught_up(patience)
        turn, meaning = self._log.turn(correlation_id), self._log.meaning
        since = None
        if not any(meaning.begins_turn(one) and not meaning.starts_running(one) for one in turn):
            # It began before this stream did; a join may bring the event that started it, not those before.
            since = 0
        elif not rules.is_whole(turn, meaning):
            # The daemon dropped an event, or the turn was cut off.
            since = max(0, turn[0].seq - 1)
        if since is not None and (failure is None or time.monotonic() < patience):
            failure = await self._gaps.fill_at_last(patience, since)
        turn = self._log.turn(correlation_id)
        if correlation_id not in self._core.endings and not rules.tells_outcome(turn, meaning):
            try:
                with until(max(patience, time.monotonic() + ANSWER_SECONDS)):
                    await self.ask(correlation_id)
            except ApiError as error:
                failure = failure or error
        if failure is not None:
            self._core.turns.unread[correlation_id] = (since or 0, str(failure))

    def _is_lost(self, correlation_id: str) -> bool:
        """Whether nothing more of a turn will come, because its process has ended."""
        return self._core.endings.get(correlation_id) == "lost"


async def _next(inbox: _Inbox, seconds: float) -> list[Sign]:
    """What arrives next; empty when nothing does in time."""
    try:
        return [await inbox.next(seconds)]
    except TimeoutError:
        return []
