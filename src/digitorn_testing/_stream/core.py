"""The state that both faces of a stream and its machines share, and the errors that are made from it."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

from digitorn_testing._errors import CallbackFailed, ContractViolation, EventTimeout, StreamClosed
from digitorn_testing._events.event import AnyEvent, InvalidPayload
from digitorn_testing._events.selector import Selector
from digitorn_testing._events.timeline import cut, faults, listed_types, number
from digitorn_testing._generated.events import ToolCall, ToolStart
from digitorn_testing._handles import SessionHandle
from digitorn_testing._log.log import EventLog
from digitorn_testing._recordings.recorder import Recorders
from digitorn_testing._turns import rules
from digitorn_testing._turns.collect import collect
from digitorn_testing._turns.endings import TurnEndings
from digitorn_testing._turns.results import TurnResult

from .callbacks import CallbackErrors
from .inboxes import AsyncInbox
from .link import Link, StreamConnection
from .refusals import Refusals


class Restart:
    """What is told to those who follow a turn when the daemon was restarted."""


Sign: TypeAlias = AnyEvent | CallbackFailed | Restart | None
"""What may mean the end of a turn: an event, a policy that raised, or the end of the stream (None)."""

_OF_TOOLS: Final = Selector((ToolStart, ToolCall)).wires or frozenset[str]()
_TEXT_SHOWN: Final = 80
_MOST_TURNS = 1024
"""How many followed turns a stream remembers."""


class FollowedTurns:
    """The turns that a stream follows, each to its end.

    Attributes:
        watches: The task that follows each turn; those of turns that have ended too.
        inboxes: Where what may end a turn waits for its task.
        restarts: How often the daemon had been restarted when each open turn was followed first.
        open: Turns that have not ended.
        unread: Why events of a turn may be missing, and behind which number the log has to be read for them.
    """

    def __init__(self) -> None:
        self.watches: dict[str, asyncio.Task[None]] = {}
        self.inboxes: dict[str, AsyncInbox[Sign]] = {}
        self.restarts: dict[str, int] = {}
        self.open: set[str] = set()
        self.unread: dict[str, tuple[int, str]] = {}

    def was_read(self, since: int) -> None:
        """Notes that the log was read, so that nothing of later turns is missing.

        Args:
            since: Behind which number.
        """
        self.unread = {turn: one for turn, one in self.unread.items() if one[0] < since}

    def forget_oldest(self) -> None:
        """Forgets turns that ended long ago."""
        while len(self.watches) > _MOST_TURNS and (oldest := next(iter(self.watches))) not in self.open:
            del self.watches[oldest]
            self.unread.pop(oldest, None)


class StreamCore:
    """What a stream knows: its events, its connection, the turns it follows.

    Args:
        session: The session.
        log: Its events.
        link: What is known of the connection.
        recorders: The recordings that run.
        redact: Hides the user's tokens in a text.

    Attributes:
        session: As given; a client may put its own handle here.
        log: As given; may be read from any thread.
        link: As given.
        recorders: As given.
        turns: The turns that are followed.
        endings: The endings of turns that no event reports.
        errors: The callbacks that raised.
        refusals: The calls that were refused.
        home: The event loop that the stream lives on, once it has connected.
    """

    def __init__(
        self,
        *,
        session: SessionHandle,
        log: EventLog,
        link: Link,
        recorders: Recorders,
        redact: Callable[[str], str],
    ) -> None:
        self.session = session
        self.log = log
        self.link = link
        self.recorders = recorders
        self.redact = redact
        self.turns = FollowedTurns()
        self.endings = TurnEndings()
        self.errors = CallbackErrors(session.session_id)
        self.refusals = Refusals()
        self.home: asyncio.AbstractEventLoop | None = None

    @property
    def connection(self) -> StreamConnection:
        """What is known of the connection now."""
        return self.link.seen(is_closed=self.log.closed is not None)

    def forget_oldest_turns(self) -> None:
        """Forgets turns that ended long ago."""
        self.turns.forget_oldest()
        self.endings.forget_oldest(_MOST_TURNS, keep=self.turns.open)

    def turn_result(self, correlation_id: str) -> TurnResult:
        """The result of a turn, from its events so far.

        Args:
            correlation_id: The turn.

        Raises:
            ValueError: No event of it is here.
        """
        events = self.log.turn(correlation_id)
        if not events and self.log.dropped:
            keeps = f"it keeps max_events={self.log.max_events}"
            raise ValueError(f"the stream has no event of turn {correlation_id!r} any more; {keeps}")
        if not events:
            raise ValueError(
                f"no turn {correlation_id!r} on this stream; pass the correlation_id of one of its turns"
            )
        ending = self.endings.get(correlation_id)
        _, incomplete_because = self.turns.unread.get(correlation_id, (0, None))
        return collect(
            events,
            session=self.session,
            correlation_id=correlation_id,
            ending=ending,
            incomplete_because=incomplete_because,
            meaning=self.log.meaning,
        )

    def has_end(self, correlation_id: str) -> bool:
        """Whether the end of a turn is here, although more of its events may be missing."""
        return rules.has_ended(self.log.turn(correlation_id), correlation_id, self.log.meaning)

    def ended_in_time(self, correlation_id: str) -> TurnResult | None:
        """The result of a turn for somebody whose time is over; None if its end is not here.

        Args:
            correlation_id: The turn.
        """
        if not self.has_end(correlation_id):
            return None
        why = "its events were still being read from the log when the time was over"
        result = self.turn_result(correlation_id)
        return replace(result, incomplete_because="; ".join(filter(None, (why, str(self.refusals)))))

    # --- errors

    def closed_error(self) -> BaseException:
        """The error for readers and waiters when the stream ends; the reason is its cause."""
        reason = self.log.closed
        if isinstance(reason, ContractViolation):
            return reason
        error = StreamClosed(f"the stream of session {self.session.session_id!r} is closed: {reason}")
        error.__cause__ = reason
        return error

    def timed_out(
        self, what: str, seconds: float, because: str = "", *, turn: str | None = None
    ) -> EventTimeout:
        """The error for a wait that timed out. It lists what did arrive and describes the connection.

        Args:
            what: What was waited for.
            seconds: How long.
            because: Why it did not come, if that is known.
            turn: The turn that was waited for, if any.
        """
        connection = self.connection
        known: list[str] = []
        if connection.state == "joined":
            if connection.was_lost:
                known.append(f"the connection: {connection}")
        elif not because:
            # Nothing can arrive.
            because = self._lost(connection)
        if refused := str(self.refusals):
            known.append(refused)
        error = self.log.timeout(what, seconds, because, known=known, turn=turn)
        # A daemon may send anything as the type of an event.
        return EventTimeout(self.redact(str(error)), error.events, error.pending_approvals)

    def _lost(self, connection: StreamConnection) -> str:
        if connection.state != "reconnecting":
            return f"the connection is {connection}"
        lasts = f"{connection.lost_for:.1f} s"
        if not connection.attempts:
            return f"the connection was lost {lasts} ago: {connection.last_loss}"
        tried = f"{connection.attempts} attempts" if connection.attempts > 1 else "1 attempt"
        why = connection.last_error or connection.last_loss
        return (
            f"the connection was lost ({tried} to reconnect to {self.session.daemon_url} in {lasts} "
            f"failed: {why})"
        )

    def no_event(self, selector: Selector, seconds: float, *, of_turn: str | None = None) -> EventTimeout:
        """The error for an event that did not arrive in time.

        Args:
            selector: Which types were waited for.
            seconds: How long.
            of_turn: The turn that it was to be of, if any.
        """
        if of_turn is not None:
            broken = _broken(selector, self.log.turn(of_turn))
            return self.timed_out(f"no {selector.label} in the turn", seconds, broken, turn=of_turn)
        events = self.log.events()
        refused = [number(one) for one in events if selector.wires and selector.matches(one)]
        unfit = f" that satisfies `where` ({len(refused)} came: {', '.join(refused[-3:])})" if refused else ""
        return self.timed_out(f"no {selector.label}{unfit}", seconds, _broken(selector, events))

    def not_in_turn(self, selector: Selector, correlation_id: str) -> EventTimeout:
        """The error for an event that a turn ended without.

        Args:
            selector: Which types were waited for.
            correlation_id: The turn.
        """
        events = self.log.turn(correlation_id)
        said = f"no {selector.label} in the turn, which has ended"
        if broken := _broken(selector, events):
            said += f": {broken}"
        elif text := self._only_text(selector, correlation_id, events):
            said = f"no {selector.label} in the turn, which ended with text only: {text}"
        elif telling := [one for one in events if not self.log.meaning.is_bookkeeping(one)]:
            said += f"; it had {listed_types(telling)}"
        said += f"; turn {correlation_id}, session {self.session.session_id!r}"
        return EventTimeout(self.redact(said), events)

    def _only_text(self, selector: Selector, correlation_id: str, events: Sequence[AnyEvent]) -> str:
        """The answer of a turn without tools, where a tool was waited for; else empty."""
        if not _OF_TOOLS.intersection(selector.wires or ()) or any(map(self.log.meaning.tool_began, events)):
            return ""
        content = self.turn_result(correlation_id).content
        return cut(repr(content), _TEXT_SHOWN) if content else ""

    def turn_timeout(self, correlation_id: str, seconds: float) -> EventTimeout:
        """The error for a turn that did not end in time; it has the turn's result so far.

        Args:
            correlation_id: The turn.
            seconds: How long it was waited for.
        """
        what = "could not be read to its end" if self.has_end(correlation_id) else "did not end"
        error = self.timed_out(f"the turn {what}", seconds, turn=correlation_id)
        if self.log.turn(correlation_id):
            error.result = replace(self.turn_result(correlation_id), status="timed_out")
        return error

    def turn_failure(self, correlation_id: str) -> BaseException:
        """The error for a turn that cannot be read to its end.

        Args:
            correlation_id: The turn.
        """
        failure = self.log.turn_error(correlation_id)
        if isinstance(failure, CallbackFailed):
            again = CallbackFailed(str(failure))
            again.__cause__ = failure.__cause__
            return again
        return self.closed_error() if failure is None or isinstance(failure, StreamClosed) else failure


def _broken(selector: Selector, events: Iterable[AnyEvent]) -> str:
    """Which events of the types that are waited for cannot be read, and why; empty if there are none."""
    found = [one for one in events if selector.wires and one.type in selector.wires]
    broken = [(one, one.payload) for one in found if isinstance(one.payload, InvalidPayload)]
    if not broken:
        return ""
    first, payload = broken[0]
    if len(broken) == 1:
        count = f"1 {first.type} arrived but breaks the contract"
    else:
        count = f"{len(broken)} {first.type} arrived but break the contract, the first"
    return f"{count} ({number(first)}): {'; '.join(faults(payload))}"
