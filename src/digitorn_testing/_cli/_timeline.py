"""Events on a terminal, one line each, as they come."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final

from digitorn_testing._events.daemon import MEANING
from digitorn_testing._events.timeline import summary
from digitorn_testing._generated import events

from ._terminal import Terminal

if TYPE_CHECKING:
    from digitorn_testing._events.event import AnyEvent
    from digitorn_testing._events.meaning import Meaning

_TYPE_WIDTH: Final = 18


class Timeline:
    """Writes events as lines: number, seconds since the turn began, type, and what the event says.

    Pieces of a text are written as one line when the text ends, and repeated events of one type as one line
    with their number. Heartbeats, what a join says about the session, and bookkeeping are left out.

    Args:
        terminal: Where to write.
        everything: Write each event on a line of its own, and leave out none.
        meaning: What the events mean.
        hide: Hides secrets in a line.
    """

    def __init__(
        self,
        terminal: Terminal,
        *,
        everything: bool = False,
        meaning: Meaning = MEANING,
        hide: Callable[[str], str] = str,
    ) -> None:
        self._hide = hide
        self._terminal = terminal
        self._everything = everything
        self._meaning = meaning
        self._start: datetime | None = None
        self._run: list[AnyEvent] = []

    def take(self, event: AnyEvent) -> None:
        """Takes the next event.

        Args:
            event: The event.
        """
        meaning = self._meaning
        if self._everything:
            self._put([event])
            return
        if _is_bookkeeping(event, meaning):
            return
        if self._run and (self._run[-1].type != event.type or _style(event, meaning)):
            self.flush()
        self._run.append(event)
        if _style(event, meaning):
            self.flush()

    def flush(self) -> None:
        """Writes what waits for more of its kind."""
        run, self._run = self._run, []
        if run:
            self._put(run)

    def _put(self, run: list[AnyEvent]) -> None:
        first, meaning = run[0], self._meaning
        moment = first.emitted_at
        if self._start is None or meaning.said_by_user(first) is not None:
            self._start = moment or self._start
        offset = f"{(moment - self._start).total_seconds():+.3f}" if moment and self._start else ""
        number = f"#{first.seq}" if first.is_numbered else "-"
        if isinstance(first.payload, events.TurnTerminal):
            said = str(first.payload.status)
        elif len(run) == 1:
            said = summary(first, meaning=meaning)
        elif meaning.text_delta(first) is not None:
            said = repr("".join(meaning.text_delta(one) or "" for one in run))
        else:
            said = f"{len(run)} times, the last: {summary(run[-1], meaning=meaning)}"
        line = f"{number:>6} {offset:>9}  {first.type:<{_TYPE_WIDTH}}  {said}".rstrip()
        self._terminal.data(self._hide(line), _style(first, meaning) or "dim", cut=True)


def _is_bookkeeping(event: AnyEvent, meaning: Meaning) -> bool:
    """Whether another line tells what an event does. The end of a turn has a line of its own."""
    if isinstance(event.payload, events.TurnTerminal):
        return False
    progress = isinstance(event.payload, events.ApprovalProgress)
    return progress or meaning.is_bookkeeping(event) or meaning.is_log_only(event)


def _style(event: AnyEvent, meaning: Meaning) -> str:
    """The colour of an event that has a line of its own; empty for one that is written with others."""
    if meaning.said_by_user(event) is not None:
        return "bold"
    if meaning.tool_began(event) is not None:
        return "cyan"
    if (ended := meaning.tool_ended(event)) is not None:
        return "green" if ended.success else "red"
    if meaning.asked(event) is not None:
        return "yellow"
    if (resolved := meaning.resolved(event)) is not None:
        return "green" if resolved.approved else "yellow"
    if (answer := meaning.answer(event)) is not None:
        return "red" if answer.error else "bold green"
    return "red" if meaning.reports_error(event) else ""
