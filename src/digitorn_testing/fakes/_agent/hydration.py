"""What a socket that joins a session is shown (contract: events, section 5.11)."""

from digitorn_testing._generated.events import (
    TERMINAL_STATES,
    ActiveOpsSnapshot,
    ApprovalsSnapshot,
    SessionSnapshot,
)
from digitorn_testing._generated.models import PendingApproval, TokenTriple
from digitorn_testing.fakes._store.sessions import Session


def active_ops_snapshot(session: Session) -> ActiveOpsSnapshot:
    """The operations that have not ended."""
    ops = session.log.active_ops()
    return ActiveOpsSnapshot(
        app_id=session.owner.app_id,
        session_id=session.id,
        active_ops=ops,
        count=len(ops),
        scanned_events=session.log.readable,
        terminal_states=list(TERMINAL_STATES),
    )


def session_snapshot(session: Session) -> SessionSnapshot:
    """The session itself. Its tokens are always 0."""
    return SessionSnapshot(
        app_id=session.owner.app_id,
        session_id=session.id,
        title=session.title or None,
        created_at=session.created_at,
        last_active=session.last_active,
        message_count=session.message_count,
        tokens=TokenTriple(prompt=0, completion=0, total=0),
        turn_running=session.turn is not None,
        interrupted=session.interrupted,
    )


def approvals_snapshot(session: Session, pending: list[PendingApproval]) -> ApprovalsSnapshot:
    """The approvals that wait."""
    return ApprovalsSnapshot(
        app_id=session.owner.app_id, session_id=session.id, pending=pending, count=len(pending)
    )
