"""The operations on what was said in a session: copies, compaction, export, and what the model sees."""

from typing import Annotated

from fastapi import APIRouter, Query

from digitorn_testing._generated import models, operations
from digitorn_testing.fakes._agent.compaction import compact
from digitorn_testing.fakes._store.memory import MODULE

from .dependencies import Caller, Daemon, OwnedSession, SessionIfAny
from .export import MARKDOWN, markdown_export
from .routing import SoftFailed, serve
from .session_views import context_breakdown

router = APIRouter()


@serve(router, operations.FORK_SESSION)
async def fork_session(daemon: Daemon, session: OwnedSession, user: Caller) -> models.ForkedSession:
    fork = daemon.sessions.fork(session, user, is_empty=daemon.rules.strikes("empty_forks"))
    return models.ForkedSession(
        session_id=fork.id,
        source_session_id=session.id,
        forked_from=session.id,
        new_session_id=fork.id,
        forked=True,
        message_count=len(fork.conversation.shown),
    )


@serve(router, operations.COMPACT_SESSION)
async def compact_session(daemon: Daemon, session: OwnedSession) -> models.CompactedSession:
    return await compact(session, daemon.bus, daemon.log_rows)


@serve(router, operations.EXPORT_SESSION)
async def export_session(
    session: OwnedSession, format_: Annotated[str, Query(alias="format")] = MARKDOWN
) -> models.SessionExport:
    if format_ != MARKDOWN:
        raise SoftFailed(f"unsupported export format {format_!r}; known is {MARKDOWN}")
    return markdown_export(session)


@serve(router, operations.GET_SESSION_MEMORY)
async def get_session_memory(session: OwnedSession) -> models.SessionMemory:
    return session.memory.view(is_flat=MODULE in session.app.definition.modules)


@serve(router, operations.LIST_SESSION_TASKS)
async def list_session_tasks(_session: SessionIfAny) -> models.ShellTaskList:
    # Nothing here runs in a shell.
    return models.ShellTaskList(tasks=[])


@serve(router, operations.GET_CONTEXT_BREAKDOWN)
async def get_context_breakdown(session: OwnedSession) -> models.ContextBreakdown:
    return context_breakdown(session)
