"""Serves a recording as a daemon would: joins bring its events, calls its answers."""

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Final, TypeVar, cast
from urllib.parse import parse_qsl

from pydantic import JsonValue, ValidationError
from starlette.responses import Response

from digitorn_testing._apps.builder import AppBuilder
from digitorn_testing._events.daemon import MEANING
from digitorn_testing._events.event import AnyEvent
from digitorn_testing._exchanges import Exchange
from digitorn_testing._generated import models, operations
from digitorn_testing._generated._runtime import RestOperation
from digitorn_testing._generated.events import EventEnvelope, Result, UserMessage
from digitorn_testing._generated.messages import JoinSessionAck
from digitorn_testing._log.recorded import RecordedStream
from digitorn_testing._recordings.recording import RecordedLog, Recording
from digitorn_testing._secrets.redaction import HIDDEN, as_json
from digitorn_testing._texts import json_text

from ._agent.bus import USER_SEQ, Outlet, session_room
from ._agent.connections import Connections
from ._assembly import DaemonState
from ._model.requests import ModelMessage
from ._rest.answers import JSONResponse
from ._rest.http import made_up_in_replays
from ._store.apps import App, compile_source
from ._store.sessions import Session
from ._store.users import TokenRefused, User
from ._wire.envelopes import Frame
from ._wire.socketio import AsgiApp, Scope

_BEARER: Final = "bearer "
_AUTH: Final = "/auth/"

# Answered from the events, which tell the same at any moment; a recorded answer tells of one moment.
_FROM_EVENTS: Final = frozenset({operations.LIST_SESSION_EVENTS.id})

# Values that a client generates for each call.
_MADE_UP: Final = frozenset({"client_message_id"})

Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]


def replaying(recording: Recording, state: DaemonState, outlet: Outlet, user: User, http: AsgiApp) -> AsgiApp:
    """Fills a daemon with a recording.

    Args:
        recording: The recording.
        state: The daemon, which has nothing in it yet.
        outlet: Where events go.
        user: Who owns its sessions.
        http: What answers calls that were not recorded.

    Returns:
        What answers all calls.
    """
    logs = {session.session_id: recording.log(session) for session in recording.sessions}
    for log in logs.values():
        _put(log, state, user)
    state.connections = _RecordedConnections(state, logs, outlet)
    return _RecordedAnswers(recording, logs, state, outlet, user, http)


def _put(log: RecordedLog, state: DaemonState, user: User) -> None:
    """Puts a recorded session among those of a daemon."""
    app = state.apps.deployed(log.session.app_id)
    if app is None:
        app = App(compile_source(AppBuilder(log.session.app_id, name=log.session.app_id).source), state.model)
        app.deploy()
        state.apps.put(app)
    session = state.sessions.create(app, user, log.session.session_id)
    session.log.skip_to(log.last_seq)
    for event in sorted([*log.events(), *log.log_only], key=lambda one: one.seq):
        if MEANING.is_logged(event) and (row := _row(event, session)) is not None:
            session.log.append(row)
        match event.payload:
            case UserMessage(content=content):
                session.conversation.add(ModelMessage("user", content), event.seq)
            case Result(content=content) if content:
                session.conversation.add(ModelMessage("assistant", content), event.seq)
            case _:
                pass
    session.turns = session.conversation.turns


def _row(event: AnyEvent, session: Session) -> EventEnvelope | None:
    """An event as a row of the log; None for one that breaks the contract, which only a join brings."""
    members = {
        "type": event.type,
        # Copies do not tell it.
        "kind": event.kind if event.kind not in (None, "event") else "session",
        "seq": event.seq,
        "ts": event.ts or "",
        "app_id": event.app_id or session.owner.app_id,
        "session_id": session.id,
        "user_id": event.user_id or session.owner.user_id,
        "correlation_id": event.correlation_id,
        "event_id": event.event_id,
        "op_id": event.op_id,
        "op_type": event.op_type,
        "op_state": event.op_state,
        "op_parent_id": event.op_parent_id,
        "payload": event.raw.get("payload", {}),
    }
    try:
        return EventEnvelope.from_wire({name: one for name, one in members.items() if one is not None})
    except ValidationError:
        return None


class _RecordedConnections(Connections):
    """Connections whose joins bring the recorded frames as they came.

    Args:
        state: The daemon.
        logs: The recorded sessions.
        outlet: Where events go.
    """

    def __init__(self, state: DaemonState, logs: Mapping[str, RecordedLog], outlet: Outlet) -> None:
        super().__init__(state.bus, state.approvals, state.rooms, heartbeat=state.settings.heartbeat)
        self._logs = logs
        self._outlet = outlet

    async def join(self, sid: str, session: Session, drain: Callable[[Session], None]) -> JoinSessionAck:
        """Brings a socket up to date: with all recorded frames, or with the current state."""
        log = self._logs.get(session.id)
        if log is None:
            return await super().join(sid, session, drain)
        for frame in log.frames:
            if _is_wanted(frame):
                await self._outlet.push(cast("Frame", frame), to=sid)
        return JoinSessionAck(ok=True, room=session_room(session.id), latest_seq=USER_SEQ)


def _is_wanted(frame: object) -> bool:
    """Whether a join brings a frame. The greeting of a socket does not belong to its session."""
    if not isinstance(frame, dict):
        return True
    members = cast("dict[str, object]", frame)
    return members.get("kind") != "system" or members.get("session_id") is not None


class _RecordedAnswers:
    """Answers calls as they were answered, in the order in which they were made.

    The same call gets the answers that it got one after the other, and the last of them from then on. A
    message is answered once for each time it was sent, and brings the events of its turn. What was not
    recorded is answered by the daemon from its events; what it would make up is refused.

    A client makes up the id of a new session. When its first message was recorded in another session, that
    session takes the new id.

    Args:
        recording: The recording.
        logs: Its sessions by id, which change when a session takes a new one.
        state: The daemon.
        outlet: Where events go.
        user: Who owns the sessions.
        http: What answers calls that were not recorded.
    """

    def __init__(
        self,
        recording: Recording,
        logs: dict[str, RecordedLog],
        state: DaemonState,
        outlet: Outlet,
        user: User,
        http: AsgiApp,
    ) -> None:
        self._recording = recording
        self._logs = logs
        self._state = state
        self._outlet = outlet
        self._user = user
        self._http = http
        # The first messages of the sessions that nobody has used yet, in the order in which they were sent.
        self._fresh: dict[str, tuple[str, Exchange]] = {}
        for one in recording.exchanges:
            if ids := _ids_of(operations.SEND_MESSAGE, one):
                self._fresh.setdefault(ids["session_id"], (ids["app_id"], one))
        self._new_ids: dict[str, str] = {}
        self._recorded_ids: dict[str, str] = {}
        self._by_call: dict[tuple[str, str], list[Exchange]] = defaultdict(list)
        for one in recording.exchanges:
            # One without an answer, or with a body that was too large, cannot be answered again.
            if one.status is not None and (one.response is not None or not one.response_size):
                self._by_call[one.method, one.path].append(one)
        self._used: set[int] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        operation, ids = _operation(scope) if scope["type"] == "http" else (None, {})
        if operation is None or not self._answers(operation, scope):
            await self._http(scope, receive, send)
            return
        body = await _body(receive)
        path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        sent = as_json(body)
        if operation.id == operations.SEND_MESSAGE.id:
            self._use(ids["app_id"], ids["session_id"], sent)
        recorded = self._recorded_ids
        found = self._find(
            operation,
            _renamed(path, recorded),
            [(name, _renamed(text, recorded)) for name, text in query],
            _renamed_in(sent, recorded),
        )
        if found is not None:
            scope["route"] = SimpleNamespace(operation_id=operation.id)
            answer = replace(found, response=_renamed_in(found.response, self._new_ids))
            await _response(operation, answer, sent)(scope, receive, send)
            await self._bring_turn(found)
        elif operation.id in _ASKED_ONCE or operation.id in made_up_in_replays():
            scope["route"] = SimpleNamespace(operation_id=operation.id)
            await self._refusal(operation, path, sent)(scope, receive, send)
        else:
            await self._http(scope, _again(body, receive), send)

    def _use(self, app_id: str, session_id: str, sent: JsonValue) -> None:
        """Notes that a session is used. A new one takes the place of the recorded one that began alike."""
        used = self._recorded_ids.get(session_id, session_id)
        if used not in self._fresh and used not in self._logs:
            alike = (
                name
                for name, (first_app, first) in self._fresh.items()
                if first_app == app_id and _fits(first.request, sent)
            )
            if (recorded := next(alike, None)) is None:
                return
            used = recorded
            self._new_ids[recorded], self._recorded_ids[session_id] = session_id, recorded
            # What was only sent to, and never seen, has no log.
            if (log := self._logs.pop(recorded, None)) is not None:
                self._rename(log, session_id)
        self._fresh.pop(used, None)

    def _rename(self, log: RecordedLog, session_id: str) -> None:
        recorded = log.session.session_id
        if (replaced := self._state.sessions.find(recorded, self._user)) is not None:
            self._state.sessions.remove(replaced)
        session, names = replace(log.session, session_id=session_id), {recorded: session_id}
        streams = [
            RecordedStream(session, one.since, _renamed_in(one.frames, names), dict(one.endings))
            for one in self._recording.streams(recorded)
        ]
        self._logs[session_id] = RecordedLog(streams, exchanges=log.exchanges, damage=log.damage)
        _put(self._logs[session_id], self._state, self._user)

    def _answers(self, operation: RestOperation[Any], scope: Scope) -> bool:
        """Whether a recorded answer may be given; the daemon itself says who may not call at all."""
        # Tokens are not in a recording.
        if operation.path.startswith(_AUTH) or operation.id in _FROM_EVENTS:
            return False
        if not operation.authenticated:
            return True
        headers = {name.lower(): text.decode("latin-1") for name, text in scope["headers"]}
        authorization = headers.get(b"authorization", "")
        try:
            self._state.users.authenticate(
                authorization[len(_BEARER) :] if authorization.lower().startswith(_BEARER) else None
            )
        except TokenRefused:
            return False
        return True

    def _find(
        self, operation: RestOperation[Any], path: str, query: Sequence[tuple[str, str]], sent: JsonValue
    ) -> Exchange | None:
        fitting = [
            one
            for one in self._by_call.get((operation.method, path), ())
            if _fits(sorted(one.query), sorted(query)) and _fits(one.request, sent)
        ]
        fresh = next((one for one in fitting if id(one) not in self._used), None)
        if fresh is not None:
            self._used.add(id(fresh))
            return fresh
        return fitting[-1] if fitting and operation.id not in _ASKED_ONCE else None

    async def _bring_turn(self, exchange: Exchange) -> None:
        """Sends the events of the turn that a message set off; who has them already drops the copies."""
        turn = exchange.correlation_id
        for session_id, log in list(self._logs.items()):
            for event in log.turn(turn) if turn is not None else ():
                await self._outlet.push(dict(event.raw), to=session_room(session_id))

    def _refusal(self, operation: RestOperation[Any], path: str, sent: JsonValue) -> Response:
        asked = f" of {_message(sent)!r}" if operation.id in _ASKED_ONCE and _message(sent) else ""
        recorded = [_message(one.request) for one in self._alike(operation, path)]
        has = f"; it has {', '.join(map(repr, recorded))}" if any(recorded) else ""
        sessions = ", ".join(self._logs) or "none"
        detail = (
            f"the recording {self._recording.path} has no further answer to {operation.method} {path}{asked}"
            f"{has}; its sessions: {sessions}. The test asks for something else than when it was recorded: "
            "record it again"
        )
        return JSONResponse(models.Problem(detail=detail).to_wire(), status_code=409)

    def _alike(self, operation: RestOperation[Any], path: str) -> list[Exchange]:
        """The recorded calls that a refusal tells of: the same ones; of an unknown session, all messages."""
        same = self._by_call.get((operation.method, _renamed(path, self._recorded_ids)), [])
        if same or operation.id != operations.SEND_MESSAGE.id:
            return same
        return [one for one in self._recording.exchanges if one.operation == operation.id]


# Each call does something, so that one answer is good for one call.
_ASKED_ONCE: Final = frozenset({operations.SEND_MESSAGE.id, operations.CREATE_SESSION.id})

_PARAMETER: Final = re.compile(r"\\\{(\w+)\\\}")
_ROUTES: Final = [
    (one.method, re.compile(_PARAMETER.sub(r"(?P<\1>[^/]+)", re.escape(one.path))), one)
    # The more particular ones first.
    for one in sorted(operations.OPERATIONS, key=lambda one: one.path.count("{"))
]


def _operation(scope: Scope) -> tuple[RestOperation[Any] | None, dict[str, str]]:
    """The operation that is called, and the ids in its path."""
    for method, route, operation in _ROUTES:
        if method == scope["method"] and (found := route.fullmatch(scope["path"])) is not None:
            return operation, found.groupdict()
    return None, {}


def _ids_of(operation: RestOperation[Any], exchange: Exchange) -> dict[str, str]:
    """The ids in the path of a recorded call; none if it is of another operation."""
    route = next(route for _, route, one in _ROUTES if one is operation)
    found = route.fullmatch(exchange.path) if exchange.operation == operation.id else None
    return {} if found is None else found.groupdict()


_T = TypeVar("_T")


def _renamed(text: str, names: Mapping[str, str]) -> str:
    """A text with ids replaced wherever they stand by themselves."""
    if not names:
        return text
    ids = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, names))})(?![\w-])")
    return ids.sub(lambda found: names[found[1]], text)


def _renamed_in(value: _T, names: Mapping[str, str]) -> _T:
    """JSON values with ids replaced in every text."""
    if not names:
        return value
    renamed: _T = json.loads(_renamed(json_text(value), names))
    return renamed


def _fits(recorded: object, sent: object) -> bool:
    """Whether a call is one that was recorded; what was hidden may have been anything."""
    if recorded == HIDDEN:
        return True
    if isinstance(recorded, dict) and isinstance(sent, dict):
        one, other = _members(cast("dict[str, object]", recorded)), _members(cast("dict[str, object]", sent))
        return one.keys() == other.keys() and all(_fits(one[name], other[name]) for name in one)
    if isinstance(recorded, list | tuple) and isinstance(sent, list | tuple):
        ones, others = cast("Sequence[object]", recorded), cast("Sequence[object]", sent)
        return len(ones) == len(others) and all(map(_fits, ones, others))
    return recorded == sent


def _members(value: dict[str, object]) -> dict[str, object]:
    return {name: one for name, one in value.items() if name not in _MADE_UP}


def _message(sent: JsonValue) -> str | None:
    message = sent.get("message") if isinstance(sent, dict) else None
    return message if isinstance(message, str) else None


def _response(operation: RestOperation[Any], exchange: Exchange, sent: JsonValue) -> Response:
    status = exchange.status or 200
    if exchange.response is None:
        return Response(status_code=status)
    if isinstance(exchange.response, str) and operation.reading != "json":
        return Response(exchange.response, status_code=status, media_type="text/plain")
    return JSONResponse(_as_asked(exchange.response, sent), status_code=status)


def _as_asked(response: JsonValue, sent: JsonValue) -> JsonValue:
    """An answer that repeats what its call made up, and not what the recorded one had."""
    if not isinstance(response, dict) or not isinstance(sent, dict):
        return response
    made_up = {name: sent[name] for name in _MADE_UP if name in response and name in sent}
    return {name: _as_asked(one, sent) for name, one in response.items()} | made_up


async def _body(receive: Receive) -> bytes:
    body: bytes = b""
    while True:
        message = await receive()
        body += cast("bytes", message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            return body


def _again(body: bytes, receive: Receive) -> Receive:
    """Makes a body that was already read readable again."""
    given = asyncio.Event()

    async def again() -> Scope:
        if given.is_set():
            return await receive()
        given.set()
        return {"type": "http.request", "body": body, "more_body": False}

    return again
