"""Finds out whether the daemon took a message whose answer was lost.

The released daemon does not deduplicate by `client_message_id`: the same id twice runs two turns. But it
writes the id into the session's log, in the message's `user_message` event, before it answers.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import unquote

from digitorn_testing._concurrency.backoff import Backoff, Pauses
from digitorn_testing._concurrency.deadlines import asleep, remaining
from digitorn_testing._errors import (
    ApiError,
    ContractViolation,
    DaemonUnreachable,
    NotFound,
    RateLimited,
    ServerError,
)
from digitorn_testing._generated import models
from digitorn_testing._generated._runtime import Call
from digitorn_testing._generated.operations import LIST_SESSION_EVENTS, LIST_SESSIONS, SEND_MESSAGE

T = TypeVar("T")

# A daemon answers 429 for a minute to a path that was not found 30 times within one.
_POLLS: Final = Backoff(first_pause=0.05, growth=1.6, longest_pause=1.0, jitter=0.0)
_LONGEST_OUTAGE: Final = 30.0
"""Seconds for which a daemon that cannot be reached is waited for; a restart takes less."""
_PAGE: Final = 5000
_FIRST_ROWS: Final = 20
_LATEST_SESSIONS: Final = 20


class Send(Protocol):
    """Sends a call; `AsyncTransport.send`."""

    async def __call__(self, call: Call[T], /) -> T: ...


@dataclass(frozen=True, slots=True)
class Search:
    """What came of looking for a message.

    Attributes:
        answer: The body of the answer that the daemon would have given; None if the message was not found.
        was_read: Whether the daemon let itself be asked.
    """

    answer: bytes | None
    was_read: bool


async def find_message(send: Send, call: Call[Any], seconds: float) -> Search:
    """Looks for the message that a call brought.

    Args:
        send: Sends the calls of the search.
        call: `SEND_MESSAGE` or `CREATE_SESSION`, with a `client_message_id`.
        seconds: How long a daemon that answers is asked.
    """
    began = time.monotonic()
    until = math.inf
    pauses = Pauses(_POLLS)
    search = _Search(send, call)
    while True:
        try:
            found = await search.look()
        except (RateLimited, ServerError):
            pass
        except DaemonUnreachable:
            # Only what a daemon says counts.
            if time.monotonic() - began > _LONGEST_OUTAGE:
                break
        except (ApiError, ContractViolation):
            break
        else:
            if found is not None:
                return Search(found, was_read=True)
            until = min(until, time.monotonic() + seconds)
        pause = pauses.next()
        if time.monotonic() + pause > min(until, began + _LONGEST_OUTAGE) or pause >= remaining(math.inf):
            break
        await asleep(pause)
    return Search(None, was_read=until < math.inf)


class _Search:
    def __init__(self, send: Send, call: Call[Any]) -> None:
        self._send = send
        self._app_id = _app_of(call)
        self._session_id = session_of(call)
        self._message_id = (call.body or {}).get("client_message_id")
        self._since = 0
        self._others: set[str] = set()

    async def look(self) -> bytes | None:
        """The answer, if the message is there by now."""
        if self._session_id is not None:
            row = await self._in_session(self._session_id)
            return None if row is None else _answer(_accepted(self._session_id, row))
        return await self._in_new_session()

    async def _in_session(self, session_id: str) -> models.SessionEvent | None:
        while True:
            rows = await self._rows(session_id, since=self._since, limit=_PAGE)
            found = self._message(rows)
            if found is not None or len(rows) < _PAGE:
                return found
            # Later looks begin with the last page, where rows may still come between others.
            self._since = max(row.seq for row in rows)

    async def _in_new_session(self) -> bytes | None:
        """Looks at the sessions that were used last, for one that begins with the message."""
        try:
            page = await self._send(
                LIST_SESSIONS.call(path={"app_id": self._app_id}, query={"limit": _LATEST_SESSIONS})
            )
        except NotFound:
            return None
        for session in page.sessions:
            if session.session_id in self._others:
                continue
            rows = await self._rows(session.session_id, since=0, limit=_FIRST_ROWS)
            found = self._message(rows)
            if found is not None:
                return _answer(_created(session, found))
            if any(row.type == "user_message" for row in rows):
                self._others.add(session.session_id)
        return None

    async def _rows(self, session_id: str, *, since: int, limit: int) -> list[models.SessionEvent]:
        path = {"app_id": self._app_id, "session_id": session_id}
        query = {"since_seq": since, "limit": limit}
        try:
            page = await self._send(LIST_SESSION_EVENTS.call(path=path, query=query))
        except NotFound:
            return []
        return [row for row in page.events if isinstance(row, models.SessionEvent)]

    def _message(self, rows: Iterable[models.SessionEvent]) -> models.SessionEvent | None:
        return next(
            (
                row
                for row in rows
                if row.type == "user_message" and row.payload.get("client_message_id") == self._message_id
            ),
            None,
        )


def session_of(call: Call[Any]) -> str | None:
    """The session that a call sends its message to; None if it creates one."""
    return unquote(call.path.split("/")[5]) if call.operation.id == SEND_MESSAGE.id else None


def _app_of(call: Call[Any]) -> str:
    return unquote(call.path.split("/")[3])


def _accepted(session_id: str, row: models.SessionEvent) -> dict[str, object]:
    """The data of an answer to a message, from its `user_message` event."""
    if row.payload.get("pending"):
        status = "queued"
    else:
        status = "slash_handled" if row.op_state == "completed" else "accepted"
    return {
        "session_id": session_id,
        "status": status,
        "correlation_id": row.correlation_id,
        "client_message_id": row.payload["client_message_id"],
        "seq": row.seq,
    }


def _created(session: models.SessionSummary, row: models.SessionEvent) -> dict[str, object]:
    """The data of an answer to `CREATE_SESSION`, from the session and its first event."""
    message = _accepted(session.session_id, row)
    return {
        "session_id": session.session_id,
        "app_id": session.app_id,
        "title": session.title,
        "created_at": datetime.fromtimestamp(session.created_at, UTC).isoformat(),
        "is_active": True,
        "message_count": session.message_count,
        "greeting": "",
        "context": {},
        "workspace": session.workspace,
        "workdir": session.workdir,
        "first_message": {name: message[name] for name in ("correlation_id", "status", "seq")},
    }


def _answer(data: dict[str, object]) -> bytes:
    return json.dumps({"success": True, "data": data}).encode()
