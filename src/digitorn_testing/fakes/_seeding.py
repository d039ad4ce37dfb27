"""Sessions that a test puts into the daemon as if they had taken place there before."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from digitorn_testing._events.choreography import said_of_result
from digitorn_testing._events.event import AnyEvent
from digitorn_testing._generated._runtime import NOT_GIVEN
from digitorn_testing._generated.events import EventEnvelope, ToolCall, UserMessage
from digitorn_testing._generated.models import HistoryMessage, QueueEntry, SessionHistory, TokenTriple
from digitorn_testing.builders import SessionBuilder, TurnBuilder

from ._assembly import DaemonState
from ._model.requests import ModelMessage, ModelToolCall
from ._model.script import ScriptedToolCall
from ._store.apps import App
from ._store.conversation import Conversation, Entry
from ._store.sessions import Message, Parked, QueuedMessage, Session, Turn
from ._store.users import User


def seed(daemon: DaemonState, builder: SessionBuilder, app: App, user: User) -> Session:
    """Puts a session into a daemon; a turn that has not ended goes on.

    Args:
        daemon: The daemon. This is called on its event loop.
        builder: The session.
        app: Its app.
        user: Its owner.

    Raises:
        ValueError: There is a session of that id.
    """
    if builder.session_id in daemon.sessions:
        raise ValueError(
            f"the embedded daemon already has a session {builder.session_id!r}; give the builder another "
            "`session_id`"
        )
    builder = _placed(builder, app.app_id, user.user_id)
    events, history = builder.events(), builder.history()
    session = daemon.sessions.create(app, user, builder.session_id)
    session.log.restore([EventEnvelope.from_wire(dict(one.raw)) for one in events])
    session.conversation = _conversation(events, history.messages)
    _restore_counts(session, builder, events, history)
    running = next((one for one in builder.turns if one.script.ending == "unfinished"), None)
    if running is None:
        session.conversation.close_calls(session.log.last_seq)
    else:
        turn = _unfinished(daemon, session, running, builder)
        session.turns -= 1
        daemon.dispatcher.take_up(turn)
        _queue(daemon, session, history.pending_queue)
    return session


def _placed(builder: SessionBuilder, app_id: str, user_id: str) -> SessionBuilder:
    placed = replace(builder, app_id=app_id, user_id=user_id, turns=())
    for turn in builder.turns:
        placed = placed.turn(turn)
    return placed


def _restore_counts(
    session: Session, builder: SessionBuilder, events: Sequence[AnyEvent], history: SessionHistory
) -> None:
    session.given_title = builder.title
    session.created_at, session.last_active = history.created_at, history.last_active
    session.turns, session.interrupted = history.turn_count, history.interrupted
    session.last_error = history.last_error
    session.errors = [one.script.failure.message for one in builder.turns if one.script.failure is not None]
    if isinstance(used := history.tokens, TokenTriple):
        session.tokens.prompt, session.tokens.completion = used.prompt, used.completion
    ended = [one.payload.success for one in events if isinstance(one.payload, ToolCall)]
    session.tools_succeeded, session.tools_failed = ended.count(True), ended.count(False)


# --- what was said


def _conversation(events: Sequence[AnyEvent], messages: Sequence[HistoryMessage]) -> Conversation:
    """The messages of the history, with the results of tools, which it leaves out."""
    said: dict[str, list[AnyEvent]] = defaultdict(list)
    begins: list[AnyEvent] = []
    results: dict[str, AnyEvent] = {}
    for one in events:
        if isinstance(one.payload, ToolCall):
            results[one.payload.id] = one
        if isinstance(one.payload, UserMessage):
            begins.append(one)
        said[one.correlation_id or ""].append(one)
    conversation = Conversation()
    turns = iter(begins)
    last = said[""][0] if said[""] else events[0] if events else None
    for message in messages:
        if message.role == "user" and (begin := next(turns, None)) is not None:
            conversation.entries.append(_entry(ModelMessage("user", str(message.content)), begin))
            last = said[begin.correlation_id or ""][-1]
        elif last is not None:
            calls = tuple(
                ModelToolCall(one.id, one.function.name, _arguments(one.function.arguments))
                for one in message.tool_calls or ()
            )
            spoken = ModelMessage("assistant", str(message.content), calls)
            conversation.entries.append(_entry(spoken, last))
            for call in calls:
                if (ended := results.get(call.id)) is not None and isinstance(ended.payload, ToolCall):
                    told = ended.payload.error or said_of_result(ended.payload.result)
                    conversation.entries.append(
                        _entry(ModelMessage("tool", told, tool_call_id=call.id), ended)
                    )
    return conversation


def _arguments(text: str) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(text))


def _entry(message: ModelMessage, event: AnyEvent) -> Entry:
    moment = event.emitted_at
    return Entry(message, event.seq, at=moment.timestamp() if moment is not None else 0.0)


# --- what goes on


def _unfinished(daemon: DaemonState, session: Session, running: TurnBuilder, builder: SessionBuilder) -> Turn:
    entries = session.conversation.entries
    place = max(place for place, one in enumerate(entries) if one.message.role == "user")
    spoken = [one.message for one in entries[place:] if one.message.role == "assistant"]
    message = Message(running.script.message, correlation_id=running.correlation_id)
    turn = Turn(session, session.app, message, begins_at=place, is_announced=True)
    turn.model_calls, turn.tool_calls = len(spoken), sum(len(one.tool_calls) for one in spoken)
    turn.has_spoken = any(one.content for one in spoken)
    tool = running.script.open_call
    if tool is not None and spoken:
        scripted = ScriptedToolCall(
            tool.name,
            tool.params,
            result=NOT_GIVEN if tool.result is None else dict(tool.result),
            error=tool.error,
        )
        request = next(iter(builder.pending_approvals()), None)
        if request is not None:
            daemon.approvals.adopt(request, session)
        turn.parked = Parked(spoken[-1].tool_calls[-1], scripted, request)
    return turn


def _queue(daemon: DaemonState, session: Session, waiting: Sequence[QueueEntry]) -> None:
    """The messages that wait: the first one counts as started (contract: events, section 6.4)."""
    for place, one in enumerate(waiting):
        message = Message(one.message, correlation_id=one.correlation_id)
        queued = QueuedMessage(message, one.position, id=one.id, announced=True)
        session.queue.append(queued)
        if place == 0:
            queued.start()
            turn = Turn(session, session.app, message, queued=queued, source=queued.source, is_announced=True)
            daemon.dispatcher.take_up(turn)
