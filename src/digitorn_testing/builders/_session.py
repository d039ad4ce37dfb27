"""Sessions from their turns."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Self

from digitorn_testing._events.choreography import last_error
from digitorn_testing._events.conventions import preview, token_triple
from digitorn_testing._events.envelope import APP, BEGINNING, SESSION, USER, Frame, check_start, frame
from digitorn_testing._events.event import AnyEvent
from digitorn_testing._events.failures import failed_turn
from digitorn_testing._events.history import history_call, history_event, history_message
from digitorn_testing._generated.events import UNLISTED_TYPES, EventEnvelope
from digitorn_testing._generated.models import (
    HistoryMessage,
    PendingApproval,
    QueueEntry,
    SessionHistory,
    TurnFailure,
)
from digitorn_testing._log.log import EventLog

from ._play import TurnRun, Writer
from ._script import Text, Tool
from ._turn import STEP, TurnBuilder


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionBuilder:
    """Builds a session from its turns, with one numbering and one clock.

    Attributes:
        app_id: App that the session belongs to.
        session_id: The session.
        user_id: Owner of the session.
        title: Its title.
        start_seq: Number of its first event, 1 or more.
        starts_at: When that was emitted.
        step: Time from each event to the next.
        turns: Its turns; `turn` adds to them.
    """

    app_id: str = APP
    session_id: str = SESSION
    user_id: str = USER
    title: str = ""
    start_seq: int = 1
    starts_at: datetime = BEGINNING
    step: timedelta = STEP
    turns: tuple[TurnBuilder, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        check_start(self.start_seq)

    def turn(self, turn: TurnBuilder) -> Self:
        """Another builder with one more turn.

        The turn takes the ids, the numbers and the clock of the session. Its correlation id stays unless an
        earlier turn has it. A `queued` turn is announced while the previous one runs; if that one
        never ends, it stays in the queue.

        Args:
            turn: The turn.

        Raises:
            ValueError: An earlier turn is still running, and this one is not queued.
        """
        is_busy = any(one.script.ending == "unfinished" for one in self.turns)
        if is_busy and turn.script.position is None:
            raise ValueError("a turn before it still runs: let this one be `queued`")
        taken = {one.correlation_id for one in self.turns}
        free = (f"fp-{number:012x}" for number in itertools.count(len(self.turns) + 1))
        wanted = itertools.chain((turn.correlation_id,), free)
        placed = replace(
            turn,
            app_id=self.app_id,
            session_id=self.session_id,
            user_id=self.user_id,
            correlation_id=next(one for one in wanted if one not in taken),
        )
        return replace(self, turns=(*self.turns, placed))

    def events(self) -> list[AnyEvent]:
        """The events of the session, in order."""
        return self._played().writer.events

    def frames(self) -> list[Frame]:
        """The events of the session as they go over the wire."""
        return [frame(one) for one in self.events()]

    def log(self) -> EventLog:
        """An event log that holds the session."""
        log = EventLog(session_id=self.session_id)
        for one in self.frames():
            log.feed(one)
        return log

    def pending_approvals(self) -> list[PendingApproval]:
        """The approvals that are open at the end."""
        return [run.pending for run in self._played().begun if run.pending is not None]

    def history(self) -> SessionHistory:
        """What the daemon answers when the session is read (contract: rest, section 4.5)."""
        played = self._played()
        messages = [message for run in played.begun for message in _messages(run)]
        rows = [
            history_event(place, EventEnvelope.from_wire(dict(one.raw)))
            for place, one in enumerate(played.listed, 1)
        ]
        last = played.begun[-1] if played.begun else None
        newest = messages[-1].content if messages else ""
        return SessionHistory(
            session_id=self.session_id,
            app_id=self.app_id,
            user_id=self.user_id,
            title=self.title,
            message_count=len(messages),
            turn_count=len(played.begun),
            created_at=self.starts_at.timestamp(),
            last_active=(played.writer.moment - self.step).timestamp(),
            workspace="",
            interrupted=last is not None and last.script.ending in ("aborted", "failed"),
            last_message_preview=preview(newest) if isinstance(newest, str) else "",
            last_message_role=messages[-1].role if messages else "",
            tokens=token_triple(played.writer.tokens_in, played.writer.tokens_out),
            cost_usd=0.0,
            last_error=self._last_error(last),
            messages=messages,
            events=rows,
            event_count=len(rows),
            events_total=len(rows),
            events_next_seq=rows[-1].seq if rows else 0,
            events_has_more=False,
            events_prev_seq=rows[0].seq if rows else 1,
            events_has_more_back=False,
            turn_active=last is not None and last.script.ending == "unfinished",
            pending_queue=[self._entry(run) for run in played.waiting],
            memory_snapshot=None,
            current_seq=played.writer.seq - 1,
            oldest_seq=rows[0].seq if rows else self.start_seq,
            truncated=False,
            streaming_partials={},
            instance_id="fake",
        )

    def _last_error(self, last: TurnRun | None) -> TurnFailure | None:
        failure = last.script.failure if last is not None else None
        if failure is None:
            return None
        return last_error(self.session_id, failed_turn(failure.code, failure.message))

    def _played(self) -> "_Played":
        writer = Writer(self.start_seq, self.starts_at, self.step)
        runs = [TurnRun(one.script, one.place, writer, number) for number, one in enumerate(self.turns, 1)]
        played = _Played(writer)
        if runs and runs[0].is_queued:
            runs[0].announce(1, starts=True)
        for run, following in itertools.zip_longest(runs, runs[1:]):
            is_busy = bool(played.begun) and played.begun[-1].script.ending == "unfinished"
            if is_busy:
                played.waiting.append(run)
            else:
                played.begun.append(run)
                run.play()
            if following is not None and following.is_queued:
                # The first one that waits counts as started (contract: events, section 6.4).
                following.announce(len(played.waiting) + 1, starts=not played.waiting)
            if not is_busy:
                run.end()
        return played

    def _entry(self, run: TurnRun) -> QueueEntry:
        return QueueEntry(
            id=f"row-{run.place.correlation_id}",
            app_id=self.app_id,
            session_id=self.session_id,
            position=run.script.position or 1,
            message=run.script.message,
            status="queued",
            correlation_id=run.place.correlation_id,
            enqueued_at=self.starts_at.timestamp(),
            started_at=None,
            finished_at=None,
            error_code="",
        )


@dataclass(slots=True)
class _Played:
    """The turns of a session after their events were written."""

    writer: Writer
    begun: list[TurnRun] = field(default_factory=list[TurnRun])
    waiting: list[TurnRun] = field(default_factory=list[TurnRun])

    @property
    def listed(self) -> list[AnyEvent]:
        """The events that are listed when the log is read."""
        return [one for one in self.writer.events if one.type not in UNLISTED_TYPES]


def _messages(run: TurnRun) -> Iterator[HistoryMessage]:
    """The messages of a turn, without a text that was cut off."""
    yield history_message("user", run.script.message)
    said = ""
    for place, step in enumerate(run.script.steps):
        match step:
            case Text():
                said += step.text
                if step.is_commentary and not run.is_call(place + 1):
                    yield history_message("assistant", said)
                    said = ""
            case Tool():
                call = history_call(run.call_ids[place], step.name, step.params)
                yield history_message("assistant", said, calls=[call])
                said = ""
            case _:
                pass
    if run.script.ending == "completed":
        yield history_message("assistant", said)
