"""The commands over turns (contract: events, section 3)."""

from collections.abc import Mapping
from typing import Final

from digitorn_testing._approvals.policies import Decision
from digitorn_testing._generated.commands import (
    ABORT_TURN,
    RESOLVE_APPROVAL,
    AbortTurnAck,
    AbortTurnRequest,
    CommandError,
    ResolveApprovalAck,
    ResolveApprovalCommandRequest,
)
from digitorn_testing.fakes._assembly import DaemonState
from digitorn_testing.fakes._store.sessions import SessionMissing
from digitorn_testing.fakes._store.users import User
from digitorn_testing.fakes._wire.socketio import Sockets

_NOT_FOUND: Final = "session not found or access denied"
_UNRESOLVED: Final = "request not found, already resolved, or not authorized"


class TurnCommands:
    """Aborts turns and resolves approvals over the socket.

    Args:
        daemon: What the commands act on.
        users: Who each socket belongs to.
    """

    def __init__(self, daemon: DaemonState, users: Mapping[str, User]) -> None:
        self._daemon = daemon
        self._users = users

    def serve(self, server: Sockets) -> None:
        """Takes the commands."""
        server.on_command(ABORT_TURN, self._abort_turn, incomplete="app_id and session_id required")
        server.on_command(
            RESOLVE_APPROVAL, self._resolve_approval, incomplete="app_id and request_id required"
        )

    async def _abort_turn(self, sid: str, request: AbortTurnRequest) -> AbortTurnAck | CommandError:
        if not request.app_id or not request.session_id:
            return refused("app_id and session_id required")
        try:
            session = self._daemon.sessions.get(request.app_id, request.session_id, self._users[sid])
        except SessionMissing:
            return refused(_NOT_FOUND)
        # Unlike the abort over HTTP it is told by no event of its own.
        cut = self._daemon.dispatcher.cut_off(session, purge_queue=bool(request.purge_queue))
        return AbortTurnAck(
            ok=True,
            was_active=cut.was_active,
            task_cancelled=cut.was_active,
            pending_approvals_cancelled=cut.refused,
            queue_purged=cut.purged,
        )

    async def _resolve_approval(
        self, sid: str, request: ResolveApprovalCommandRequest
    ) -> ResolveApprovalAck | CommandError:
        if not request.app_id or not request.request_id:
            return refused("app_id and request_id required")
        if self._daemon.apps.deployed(request.app_id) is None:
            return refused("app not deployed")
        decision = Decision(approved=bool(request.approved), message=request.message or "")
        user_id = self._users[sid].user_id
        if not self._daemon.approvals.resolve(request.app_id, request.request_id, user_id, decision):
            return refused(_UNRESOLVED)
        return ResolveApprovalAck(
            ok=True,
            request_id=request.request_id,
            approved=decision.approved,
            payload_received=bool(decision.message),
        )


def refused(reason: str) -> CommandError:
    """What a client is told whose command failed."""
    return CommandError(ok=False, error=reason)
