"""Tool calls that wait for a decision by the user."""

import asyncio
import time
import uuid
from dataclasses import dataclass, field

from digitorn_testing._approvals.policies import Decision
from digitorn_testing._apps.language import action_name
from digitorn_testing._events.choreography import asked_again, pending_approval
from digitorn_testing._generated.events import QUESTION_TOOLS
from digitorn_testing._generated.models import PendingApproval
from digitorn_testing.fakes._model.script import ScriptedToolCall
from digitorn_testing.fakes._store.sessions import Session


@dataclass(slots=True, eq=False)
class OpenApproval:
    """One call that waits.

    Attributes:
        request: What is asked for.
        session: The session whose turn is parked.
        decision: Set when it is decided.
    """

    request: PendingApproval
    session: Session
    decision: "asyncio.Future[Decision]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Approvals:
    """Every approval of one daemon that is not decided yet."""

    def __init__(self) -> None:
        self._open: dict[str, OpenApproval] = {}

    def open(self, session: Session, agent_id: str, call: ScriptedToolCall) -> OpenApproval:
        """Asks for a decision on a call; it is listed until `close`."""
        is_question = call.name in QUESTION_TOOLS
        request = pending_approval(
            request_id=str(uuid.uuid4()),
            agent_id=agent_id,
            user_id=session.owner.user_id,
            app_id=session.owner.app_id,
            session_id=session.id,
            tool=call.name if is_question else action_name(call.name),
            params=call.params,
            risk_level=call.risk_level or "medium",
            description=call.description,
            created_at=time.time(),
        )
        return self._keep(OpenApproval(request, session))

    def reopen(self, approval: OpenApproval, tool: str, reason: str) -> OpenApproval:
        """Asks once more for a call that was denied; it is listed until `close`.

        Args:
            approval: What was denied.
            tool: The tool as the model calls it.
            reason: Why it was denied.
        """
        request = asked_again(approval.request, tool, reason, request_id=str(uuid.uuid4()))
        request = request.model_copy(update={"created_at": time.time()})
        return self._keep(OpenApproval(request, approval.session))

    def adopt(self, request: PendingApproval, session: Session) -> OpenApproval:
        """Lists a request that is out already, and waits for its decision; may be called again.

        Args:
            request: The request.
            session: The session whose turn is parked.
        """
        return self._open.get(request.request_id) or self._keep(OpenApproval(request, session))

    def _keep(self, approval: OpenApproval) -> OpenApproval:
        self._open[approval.request.request_id] = approval
        return approval

    def close(self, approval: OpenApproval) -> None:
        """Takes an approval off the list."""
        self._open.pop(approval.request.request_id, None)

    def resolve(self, app_id: str, request_id: str, user_id: str, decision: Decision) -> bool:
        """Decides an approval.

        Returns:
            False if it is unknown, decided already, or another user's.
        """
        approval = self._open.get(request_id)
        if approval is None or approval.decision.done():
            return False
        if approval.request.app_id != app_id or approval.request.user_id != user_id:
            return False
        approval.decision.set_result(decision)
        return True

    def cancel_app(self, app_id: str) -> int:
        """Refuses every approval of an app, whosever it is (contract: events, section 5.5).

        Returns:
            How many there were.
        """
        found = [one for one in self._of_app(app_id) if not one.decision.done()]
        for approval in found:
            approval.decision.set_result(Decision(approved=False))
        return len(found)

    def pending(self, app_id: str, user_id: str, session_id: str | None = None) -> list[PendingApproval]:
        """The open approvals of a user in an app, oldest first; of one session if it is given."""
        return [
            one.request
            for one in self._of_app(app_id)
            if one.request.user_id == user_id
            and not one.decision.done()
            and session_id in (None, one.request.session_id)
        ]

    def _of_app(self, app_id: str) -> list[OpenApproval]:
        return [one for one in self._open.values() if one.request.app_id == app_id]
