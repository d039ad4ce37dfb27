"""What is read of a session over HTTP when the events alone do not tell."""

from collections.abc import Callable

from .. import _session_protocol as protocol
from .._generated.rest_async import AsyncApi
from .._session_protocol import TurnStatus


async def read_log(
    api: AsyncApi, app_id: str, session_id: str, *, since: int, take: Callable[[object], object]
) -> None:
    """Reads the session's durable log, page by page.

    Args:
        api: The stubs.
        app_id: The app.
        session_id: The session.
        since: Read what has a higher `seq`.
        take: Is given each row as a frame.
    """
    while True:
        page = await api.sessions.list_session_events(
            app_id, session_id, since_seq=since, limit=protocol.PAGE
        )
        for row in page.events:
            take(row.to_wire())
        if len(page.events) < protocol.PAGE:
            return
        since = page.events[-1].seq


async def ending_by_queue(
    api: AsyncApi, app_id: str, session_id: str, correlation_id: str
) -> TurnStatus | None:
    """How a turn ended according to its queue row; None while it has not, or never was in the queue.

    Some turns end without an event that names them: a message taken out of the queue, replaced, or
    expired there (contract: events, sections 5.1 and 5.11).
    """
    view = await api.queue.list_session_queue(app_id, session_id, include_finished=True)
    for entry in view.entries:
        if entry.correlation_id == correlation_id:
            return protocol.status_of_entry(entry)
    return None
