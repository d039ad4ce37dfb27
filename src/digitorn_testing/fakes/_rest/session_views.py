"""Sessions as the contract shows them."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from digitorn_testing._events.conventions import preview
from digitorn_testing._events.history import history_call, history_event, history_message, log_row
from digitorn_testing._generated import models
from digitorn_testing._generated.events import TERMINAL_STATES, UNLISTED_TYPES, EventEnvelope
from digitorn_testing.fakes._store.attachments import shown as attached
from digitorn_testing.fakes._store.context import context_snapshot
from digitorn_testing.fakes._store.conversation import Entry
from digitorn_testing.fakes._store.log import RingBuffer
from digitorn_testing.fakes._store.sessions import Session
from digitorn_testing.fakes._wire.envelopes import gap_row, iso

_MOST_SNIPPETS: Final = 3
_MOST_GAP_EVENTS: Final = 1_000
_SNIPPET_MARGIN: Final = 40
_HIGH_PRESSURE: Final = 0.8
# The daemon counts each turn twice.
_COUNTED_PER_TURN: Final = 2


def session_list_item(session: Session) -> models.SessionListItem:
    """A session as lists show it: they count neither messages nor tokens, and have no last message."""
    uncounted: dict[str, Any] = {
        "message_count": 0,
        "tokens": 0,
        "last_message_preview": "",
        "last_message_role": "",
    }
    return models.SessionListItem(
        **_summary(session) | uncounted, is_active=session.turn is not None, workdir_exists=True
    )


def session_detail(session: Session) -> models.SessionDetail:
    """A session on its own, with its metrics once it has some."""
    detail = models.SessionDetail(
        **_summary(session), is_active=session.turn is not None, active_mode_id=session.mode
    )
    return detail.model_copy(update=_metrics(session)) if session.turns else detail


def _summary(session: Session) -> dict[str, Any]:
    shown = session.conversation.shown
    last = shown[-1] if shown else None
    return {
        "session_id": session.id,
        "app_id": session.owner.app_id,
        "user_id": session.owner.user_id,
        "title": session.title,
        "message_count": session.message_count,
        "turn_count": _COUNTED_PER_TURN * session.turns,
        "created_at": session.created_at,
        "last_active": session.last_active,
        "workspace": session.workspace,
        "workdir": session.workspace,
        "interrupted": session.interrupted,
        "last_message_preview": preview(last.content) if last is not None else "",
        "last_message_role": last.role if last is not None else "",
        "app_name": None,
        "app_icon": None,
        "app_color": None,
        "tokens": session.tokens.triple(),
        "cost_usd": 0.0,
        "last_error": session.last_error,
    }


def _metrics(session: Session) -> dict[str, Any]:
    succeeded, failed = session.tools_succeeded, session.tools_failed
    return {
        "turn_number": session.turns,
        "context": _context(session),
        "tools": models.SessionToolCounts(total_calls=succeeded + failed, success=succeeded, failed=failed),
        "errors": models.SessionErrors(
            total=len(session.errors), last=session.errors[-1] if session.errors else ""
        ),
        "model": session.app.definition.model_name,
    }


def _context(session: Session) -> models.ContextSnapshot:
    return context_snapshot(session.app.definition, session.conversation)


def context_breakdown(session: Session) -> models.ContextBreakdown:
    """What fills the model's context in a session."""
    found = _context(session)
    parts = {
        "system_prompt": found.system_prompt_tokens,
        "tools_schema": found.tools_schema_tokens,
        "messages": found.message_history_tokens,
        "_memory_injected": 0,
        "_setup_summary": 0,
        "_skills": 0,
    }
    return models.ContextBreakdown(
        session_id=session.id,
        context_window=found.max_tokens,
        output_reserved=found.output_reserved,
        effective_max=found.effective_max,
        total_estimated=found.total_estimated_tokens,
        pressure=found.pressure,
        budget_remaining=found.available_tokens,
        will_overflow=found.total_estimated_tokens > found.effective_max,
        breakdown=models.ContextParts.from_wire(parts),
        tool_count=len(session.app.definition.tools),
        message_count=len(session.conversation.for_model()),
        advice=["compact the conversation"] if found.pressure >= _HIGH_PRESSURE else [],
    )


def created_session(
    session: Session, first_message: models.FirstMessage | None = None
) -> models.CreatedSession:
    """A session that was just created."""
    created = models.CreatedSession(
        session_id=session.id,
        app_id=session.owner.app_id,
        title=session.title,
        created_at=iso(session.created_at),
        is_active=session.turn is not None,
        message_count=session.message_count,
        greeting=session.app.definition.greeting,
        context=models.CreatedSessionContext.from_wire(
            {**_context(session).to_wire(), "model": session.app.definition.model_name}
        ),
        preview_url=None,
        workspace=session.workspace,
    )
    if first_message is None:
        return created
    return created.model_copy(update={"first_message": first_message})


def session_page(sessions: list[Session], limit: int, offset: int) -> models.SessionPage:
    """One page of sessions; a limit of 0 means all."""
    end = offset + limit if limit else None
    return models.SessionPage(
        sessions=[session_list_item(one) for one in sessions[offset:end]],
        total=len(sessions),
        limit=limit,
        offset=offset,
    )


def search_page(sessions: Iterable[Session], query: str, limit: int, offset: int) -> models.SessionSearchPage:
    """One page of the sessions in which a text occurs, the best match first."""
    if not query:
        return models.SessionSearchPage(sessions=[], total=0, query=query)
    hits = [hit for one in sessions if (hit := _hit(one, query)) is not None]
    hits.sort(key=lambda hit: hit.relevance, reverse=True)
    return models.SessionSearchPage(
        sessions=hits[offset : offset + limit], total=len(hits), query=query, limit=limit, offset=offset
    )


def _hit(session: Session, query: str) -> models.SessionSearchHit | None:
    wanted = query.casefold()
    found = [one.content for one in session.conversation.shown if wanted in one.content.casefold()]
    if not found:
        return None
    return models.SessionSearchHit(
        **_summary(session),
        relevance=sum(text.casefold().count(wanted) for text in found),
        snippets=[_snippet(text, wanted) for text in found[:_MOST_SNIPPETS]],
    )


def _snippet(text: str, wanted: str) -> str:
    place = text.casefold().find(wanted)
    return text[max(0, place - _SNIPPET_MARGIN) : place + len(wanted) + _SNIPPET_MARGIN]


# --- events


def event_page(
    session: Session, since_seq: int, since: datetime | None, limit: int
) -> models.SessionEventPage:
    """One page of the session's log, without the noisy types (contract: events, section 3.3).

    Args:
        session: The session.
        since_seq: Only events with a greater number.
        since: Only events after this time.
        limit: Most events on the page.
    """
    found = [
        one
        for one in session.log.events(since_seq)
        if one.type not in UNLISTED_TYPES
        and one.user_id == session.owner.user_id
        and (since is None or _time(one) > since)
    ]
    return models.SessionEventPage(
        session_id=session.id,
        count=len(found[:limit]),
        total=len(found),
        events=[log_row(one) for one in found[:limit]],
        note="Gaps between the numbers are normal.",
    )


def session_state(session: Session, since_seq: int) -> models.SessionState:
    """The state of a session, and the rows of its log after a number."""
    # Every event, those that the log's page leaves out too; none from the very beginning.
    logged = session.log.events(since_seq) if since_seq > 0 else []
    missed = [one for one in logged if one.kind != "message"][:_MOST_GAP_EVENTS]
    state = session.state(session.log.last_seq)
    return models.SessionState.from_wire(
        {**state.to_wire(), "gap_events": [gap_row(one).to_wire() for one in missed]}
    )


def ring_page(
    session: Session, ring: RingBuffer, since: int, *, instance_id: str
) -> models.SessionSnapshotPage:
    """The events of a session after a number in a user's ring buffer.

    Args:
        session: The session.
        ring: The buffer.
        since: Only events with a greater number.
        instance_id: Id of the daemon process.
    """
    # From the very beginning nothing is brought.
    bridges = 0 < since <= session.log.last_seq and ring.bridges(session.id, since)
    events = ring.events(since, session_id=session.id) if bridges else []
    return models.SessionSnapshotPage(
        instance_id=instance_id,
        current_seq=session.log.last_seq,
        session_id=session.id,
        since=since,
        full=not bridges,
        events=[models.SessionEvent.from_wire(one.to_wire()) for one in events],
        event_count=len(events),
    )


def _time(event: EventEnvelope) -> datetime:
    return datetime.fromisoformat(event.ts or "")


def active_ops(session: Session) -> models.ActiveOpsView:
    """The session's operations that have not ended."""
    ops = session.log.active_ops()
    return models.ActiveOpsView(
        app_id=session.owner.app_id,
        session_id=session.id,
        active_ops=ops,
        count=len(ops),
        terminal_states=list(TERMINAL_STATES),
        scanned_events=session.log.readable,
    )


# --- history


def session_history(
    session: Session,
    *,
    include_system: bool,
    since_seq: int,
    before_seq: int | None,
    limit: int,
    instance_id: str,
) -> models.SessionHistory:
    """The messages, events and queue of a session.

    Args:
        session: The session.
        include_system: Whether to show the raw messages of the model context.
        since_seq: Only events with a greater number.
        before_seq: Only events with a smaller number; then those just before it.
        limit: Most events.
        instance_id: Id of the daemon process.
    """
    logged = [one for one in session.log.events() if one.type not in UNLISTED_TYPES]
    found = [
        one
        for one in logged
        if (one.seq or 0) > since_seq and (before_seq is None or (one.seq or 0) < before_seq)
    ]
    events = found[-limit:] if before_seq is not None and limit else found[:limit]
    messages = _raw_messages(session) if include_system else _shown_messages(session)
    first, last = (events[0].seq or 0, events[-1].seq or 0) if events else (since_seq + 1, since_seq)
    summary: dict[str, Any] = {**_summary(session), "message_count": len(messages), "tokens": 0}
    return models.SessionHistory(
        **summary,
        messages=messages,
        events=[_history_event(session, place, one) for place, one in enumerate(events, 1)],
        event_count=len(events),
        events_total=len(logged),
        events_next_seq=last,
        events_has_more=any((one.seq or 0) > last for one in logged),
        events_prev_seq=first,
        events_has_more_back=any((one.seq or 0) < first for one in logged),
        turn_active=session.turn is not None,
        pending_queue=[one.entry(session.owner) for one in session.waiting],
        memory_snapshot=session.memory.view(),
        current_seq=session.log.last_seq,
        oldest_seq=(logged[0].seq or 1) if logged else 1,
        truncated=False,
        streaming_partials=session.partials,
        instance_id=instance_id,
    )


def _shown_messages(session: Session) -> list[models.HistoryMessage]:
    return [_shown_message(one) for one in session.conversation.entries if one.message.role != "tool"]


def _shown_message(entry: Entry) -> models.HistoryMessage:
    message = entry.message
    calls = [history_call(call.id, call.name, call.params) for call in message.tool_calls]
    shown = history_message(message.role, attached(message), calls=calls, seq=entry.seq, at=entry.at)
    return shown.model_copy(update={"tool_call_id": message.tool_call_id})


def _raw_messages(session: Session) -> list[models.HistoryMessage]:
    said = session.conversation.seen
    return [_system_message(session), *(_shown_message(one) for one in said if one.message.role != "tool")]


def _system_message(session: Session) -> models.HistoryMessage:
    return history_message("system", session.app.definition.system_prompt, at=session.created_at)


def _history_event(session: Session, place: int, row: EventEnvelope) -> models.HistoryEvent:
    entries = session.conversation.entries
    number: int | None = row.payload["agent_seq"] if row.kind == "message" else None
    if number == 0:
        return history_event(place, row, _system_message(session))
    if number is None or number > len(entries):
        # The message was taken out again.
        return history_event(place, row)
    return history_event(place, row, _shown_message(entries[number - 1]))
