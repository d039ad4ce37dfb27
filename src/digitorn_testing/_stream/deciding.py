"""Decides the approvals that a session asks for, by the policies of the stream, its client and its turns."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from digitorn_testing._approvals.policies import Decision, StreamApprovals, ask
from digitorn_testing._concurrency.backoff import Pauses
from digitorn_testing._errors import ApiError, CallbackFailed, ContractViolation
from digitorn_testing._events.event import AnyEvent
from digitorn_testing._generated.models import PendingApproval

from .callbacks import callback_failed, is_cancelled
from .core import StreamCore
from .protocol import PASSING, TRY_AGAIN
from .tasks import Tasks

Resolve: TypeAlias = Callable[[PendingApproval, Decision], Awaitable[object]]
"""Tells the daemon a decision."""

# Statuses of an approval that is no longer there: the envelope's refusal, and that of its app or session.
_TOO_LATE = (200, 404)
_logger = logging.getLogger("digitorn.testing")


class Deciding:
    """Decides what asks, once the stream is in the session's room.

    Args:
        core: The stream.
        tasks: Runs policies.
        approvals: The policies.
        resolve: Tells the daemon a decision.
        fail_turn: Makes those who wait for a turn raise an error; gives whether anybody is told so.
    """

    def __init__(
        self,
        core: StreamCore,
        tasks: Tasks,
        approvals: StreamApprovals,
        *,
        resolve: Resolve,
        fail_turn: Callable[[str | None, CallbackFailed], bool],
    ) -> None:
        self._core = core
        self._log = core.log
        self._tasks = tasks
        self._approvals = approvals
        self._resolve = resolve
        self._fail_turn = fail_turn
        self._undecided: dict[str, tuple[PendingApproval, str | None]] = {}

    def came_in_order(self, event: AnyEvent, turn: str | None) -> None:
        """Takes note of an event, and decides what it asks for.

        Args:
            event: The next event of the session, in order.
            turn: The turn that it belongs to, if any.
        """
        pending = self._log.meaning.pending(event)
        for request in pending:
            self._undecided.setdefault(request.request_id, (request, self._log.running_turn))
        asked = self._log.meaning.asked(event)
        if asked is not None:
            # A row that is only in the log may name no turn, and may come before its live copy.
            self._undecided[asked.request_id] = (asked, turn or self._log.running_turn)
        if (pending or asked is not None) and self._core.link.is_joined:
            self.decide_all()

    def decide_all(self) -> None:
        """Decides what was asked for and not decided so far. What was resolved meanwhile is left out."""
        undecided, self._undecided = self._undecided, {}
        for request, turn in undecided.values():
            self._tasks.deliver(self._decide(request, turn))

    async def _decide(self, request: PendingApproval, turn: str | None) -> None:
        policy = await self._approvals.policy(self._core.session.session_id, turn)
        client = self._approvals.client
        if not any(one.request_id == request.request_id for one in self._log.pending_approvals()):
            return
        if policy is None:
            # It is nobody's business so far; somebody may follow its turn later.
            self._undecided.setdefault(request.request_id, (request, turn))
            return
        if not client.ask_once(request.request_id, policy):
            return
        try:
            decision = self._denied_before(request)
            if decision is None:
                decision = await ask(policy, request, on_thread=self._approvals.on_thread)
        except (KeyboardInterrupt, SystemExit) as error:
            if not self._approvals.on_thread:
                raise
            self._policy_failed(policy, error, turn)
            return
        except BaseException as error:
            if is_cancelled():
                raise
            self._policy_failed(policy, error, turn)
            return
        if decision is not None and client.claim(request.request_id):
            try:
                await self._tell(request, decision)
            except ApiError as error:
                client.unclaim(request.request_id)
                self._policy_failed(policy, error, turn)
            except BaseException:
                client.unclaim(request.request_id)
                raise

    def _denied_before(self, request: PendingApproval) -> Decision | None:
        """The decision about a call that was denied and that the daemon asks for once more."""
        reason = self._log.meaning.denied_before(request)
        return None if reason is None else Decision(False, reason)

    def _policy_failed(self, policy: object, error: BaseException, turn: str | None) -> None:
        failed = callback_failed("approval policy", policy, error)
        if self._fail_turn(turn, failed):
            _logger.error("session %s: %s", self._log.session_id, failed, exc_info=error)
        else:
            self._core.errors.report(policy, error)

    async def _tell(self, request: PendingApproval, decision: Decision) -> None:
        """Tells the daemon a decision, for as long as it cannot be reached.

        Raises:
            ApiError: The daemon refused, and not because somebody else was faster.
        """
        pauses = Pauses(TRY_AGAIN)
        while self._log.closed is None:
            try:
                await self._resolve(request, decision)
            except PASSING as error:
                _logger.info("approval %s: %s", request.request_id, error)
            except (ApiError, ContractViolation) as error:
                if isinstance(error, ApiError) and error.status not in _TOO_LATE:
                    raise
                # Somebody else was faster, or the turn was aborted meanwhile.
                _logger.info("approval %s was not resolved: %s", request.request_id, error)
                return
            else:
                return
            await asyncio.sleep(pauses.next())
