"""Reads a session over HTTP where the live events are not enough: its log, and how a turn ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from digitorn_testing._concurrency.deadlines import asleep, until
from digitorn_testing._errors import ContractViolation, NotFound, TooLarge
from digitorn_testing._events.meaning import TurnEnding
from digitorn_testing._generated import models
from digitorn_testing._generated._runtime import NOT_GIVEN
from digitorn_testing._generated.rest_async import AsyncApi
from digitorn_testing._log.log import EventLog
from digitorn_testing._turns import rules

from .protocol import ANSWER_SECONDS, PAGE, READ_MARGIN, ROWS_AGAIN_SECONDS, ROWS_SECONDS

_FIRST: Final = 1
"""Number of a session's first event."""


async def read_log(
    api: AsyncApi, app_id: str, session_id: str, *, since: int, most: int, take: Callable[[object], object]
) -> int:
    """Reads the session's log with everything that was sent, text deltas included, page by page.

    The route that brings it answers nothing for the number 0. The first row comes from the log without the
    deltas then (contract: events, section 3.2).

    Args:
        api: The stubs.
        app_id: The app.
        session_id: The session.
        since: Read rows with a higher `seq`.
        most: How many rows are taken at most.
        take: Takes each row as a frame.

    Returns:
        The highest number that was in it; `since` when nothing was.

    Raises:
        TooLarge: There are more rows.
        ContractViolation: A full page has no number above the one asked for, so that there is no next page.
    """
    left, upto, has_deltas = most, since, True
    if since < _FIRST:
        page = await _durable_page(api, app_id, session_id, since=0, limit=1)
        left -= len(page)
        for row in page:
            take(row)
        since = _FIRST
        upto = since if page else upto
    while True:
        rows = await _page(api, app_id, session_id, since=since) if has_deltas else None
        has_deltas = rows is not None
        page = rows if rows is not None else await _durable_page(api, app_id, session_id, since=since)
        left -= len(page)
        if left < 0:
            raise TooLarge(
                f"the log of session {session_id!r}", [f"it has more than {most} events (max_log_events)"]
            )
        for row in page:
            take(row)
        upto = max((number for row in page if isinstance(number := row.get("seq"), int)), default=upto)
        if len(page) < PAGE:
            return upto
        if upto <= since:
            # The same page would be read forever.
            raise ContractViolation(
                f"the answer to {'get_session_state' if has_deltas else 'list_session_events'}",
                [f"since_seq {since} was asked for, and a full page up to {upto} came"],
            )
        since = upto


async def _page(
    api: AsyncApi, app_id: str, session_id: str, *, since: int
) -> Sequence[Mapping[str, object]] | None:
    """The next rows of the log, with the deltas; None if the daemon knows the session and lacks the route."""
    for is_loaded in (False, True):
        try:
            with until(time.monotonic() + ANSWER_SECONDS):
                state = await api.sessions.get_session_state(app_id, session_id, since_seq=since)
        except NotFound:
            if not is_loaded:
                # While the daemon loads its apps this route answers 404 (real daemon, faults), and the other
                # one 503, after which it is called again.
                await _durable_page(api, app_id, session_id, since=since, limit=1)
        else:
            return [row.to_wire() for row in state.gap_events]
    return None


async def _durable_page(
    api: AsyncApi, app_id: str, session_id: str, *, since: int, limit: int = PAGE
) -> Sequence[Mapping[str, object]]:
    """The next rows of the log, without the deltas."""
    with until(time.monotonic() + ANSWER_SECONDS):
        page = await api.sessions.list_session_events(
            app_id, session_id, since_seq=since or NOT_GIVEN, limit=limit
        )
    # A row of another form is a mapping.
    return [row.to_wire() if isinstance(row, models.SessionEvent) else row for row in page.events]


async def ending_by_queue(
    api: AsyncApi,
    log: EventLog,
    app_id: str,
    session_id: str,
    correlation_id: str,
    *,
    was_restarted: bool,
) -> TurnEnding | None:
    """How a turn ended according to its row in the queue.

    None while it has not ended, and for a turn that was never in the queue.

    Some turns end without an event that names them: a message taken out of the queue or expired there, and
    one that was replaced, whose row names the new message (contract: events, sections 5.1 and 5.11).
    """
    view = await api.queue.list_session_queue(app_id, session_id, include_finished=True)
    for entry in view.entries:
        if entry.correlation_id == correlation_id:
            return rules.ending_of_entry(entry)
    # A queue that is kept in memory is lost in a restart.
    return "cancelled" if rules.only_waits(log.turn(correlation_id)) and not was_restarted else None


async def is_unknown(api: AsyncApi, app_id: str, session_id: str, correlation_id: str) -> bool:
    """Whether a turn neither runs nor waits, according to the session's state.

    For a moment that is so of a turn that has just been accepted, too.
    """
    try:
        state = await api.sessions.get_session_state(app_id, session_id)
    except NotFound:
        # The app is not loaded yet.
        return False
    is_running = state.turn is not None and state.turn.correlation_id == correlation_id
    return not is_running and all(one.correlation_id != correlation_id for one in state.queue.entries)


async def ended(
    api: AsyncApi,
    log: EventLog,
    app_id: str,
    session_id: str,
    correlation_id: str,
    *,
    since: int,
    sent: int,
    most: int,
    take: Callable[[object], object],
    was_restarted: bool,
) -> tuple[bool, TurnEnding | None]:
    """Whether a turn is over according to the daemon, and how it ended where no event says so.

    A turn that is not over may seem `lost`: the daemon does not know it. Its events that the daemon has are
    in the log afterwards.

    Args:
        api: The stubs.
        log: The log that `take` fills.
        app_id: The app.
        session_id: The session.
        correlation_id: The turn.
        since: The events of the session that are wanted begin behind this number.
        sent: A number that must be in the log, because its event was sent.
        most: How many rows one read takes at most.
        take: Takes each row as a frame.
        was_restarted: Whether the daemon was restarted since the turn began.
    """
    patience = time.monotonic() + ROWS_SECONDS
    ending: TurnEnding | None = None
    has_end_row = False

    def look_and_take(frame: object) -> None:
        nonlocal has_end_row
        # A bounded log drops its oldest events, and then takes their rows for copies.
        if log.dropped:
            row = log.meaning.decode(frame)
            has_end_row = has_end_row or rules.ends_turn(row, correlation_id, log.meaning)
        take(frame)

    while True:
        is_gone = log.dropped > 0 and not log.turn(correlation_id)
        behind = 0 if is_gone else max(since, log.last_seq - READ_MARGIN)
        upto = await read_log(api, app_id, session_id, since=behind, most=most, take=look_and_take)
        turn = log.turn(correlation_id)
        if has_end_row or rules.has_ended(turn, correlation_id, log.meaning):
            if ending is None and not rules.tells_outcome(turn, log.meaning):
                ending = await ending_by_queue(
                    api, log, app_id, session_id, correlation_id, was_restarted=was_restarted
                )
            return True, ending
        ending = ending or await ending_by_queue(
            api, log, app_id, session_id, correlation_id, was_restarted=was_restarted
        )
        if ending is None:
            # A busy daemon at times does not find its own log, and answers with nothing.
            is_lost = upto >= sent and await is_unknown(api, app_id, session_id, correlation_id)
            return False, "lost" if is_lost else None
        # The queue row is final before the last rows of the log are visible.
        if time.monotonic() > patience:
            return True, ending
        await asleep(ROWS_AGAIN_SECONDS)
