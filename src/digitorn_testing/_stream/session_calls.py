"""What a stream asks of its session, and tells it, over HTTP."""

from collections.abc import Callable

from digitorn_testing._approvals.policies import Decision
from digitorn_testing._events.meaning import TurnStatus
from digitorn_testing._generated._runtime import NOT_GIVEN
from digitorn_testing._generated.models import PendingApproval
from digitorn_testing._generated.rest_async import AsyncApi
from digitorn_testing._handles import SessionHandle
from digitorn_testing._log.log import EventLog
from digitorn_testing._turns import rules

from .log_reads import ended, read_log


class SessionCalls:
    """The calls of a stream over HTTP; its machines are handed one or another of them.

    Args:
        api: The stubs.
        log: The session's events.
        session: The session.
        most: How many rows one read of the daemon's log may bring.
        take: Takes each row as a frame.
    """

    def __init__(
        self,
        api: AsyncApi,
        log: EventLog,
        session: SessionHandle,
        *,
        most: int,
        take: Callable[[object], object],
    ) -> None:
        self._api = api
        self._log = log
        self._app_id = session.app_id
        self._session_id = session.session_id
        self._most = most
        self._take = take

    async def check_token(self) -> None:
        """Makes sure that the daemon takes the token; an expired one is renewed.

        Raises:
            Unauthorized: It does not.
        """
        await self._api.auth.get_me()

    async def read_log(self, since: int) -> int:
        """Reads the daemon's log; see `log_reads.read_log`.

        Args:
            since: Read what has a higher number.

        Returns:
            The highest number that was in it.

        Raises:
            TooLarge: There are more rows than are taken.
            ContractViolation: An answer is not what the contract says.
            ApiError: The daemon refused.
        """
        return await read_log(
            self._api, self._app_id, self._session_id, since=since, most=self._most, take=self._take
        )

    async def ended(self, correlation_id: str, *, since: int) -> tuple[bool, TurnStatus | None]:
        """Whether a turn is over, and how it ended where no event says so; see `log_reads.ended`.

        Args:
            correlation_id: The turn.
            since: The events of the session that are wanted begin behind this number.
        """
        return await ended(
            self._api,
            self._log,
            self._app_id,
            self._session_id,
            correlation_id,
            since=since,
            most=self._most,
            take=self._take,
        )

    async def resolve(self, request: PendingApproval, decision: Decision) -> None:
        """Resolves an approval.

        Args:
            request: The approval.
            decision: What was decided.

        Raises:
            ApiError: The daemon refused.
        """
        await self._api.approvals.resolve_approval(
            request.app_id,
            request_id=request.request_id,
            approved=decision.approved,
            message=decision.message or NOT_GIVEN,
        )

    async def abort(self, correlation_id: str) -> None:
        """Cuts a turn off, and no other one.

        Args:
            correlation_id: The turn.

        Raises:
            ApiError: The daemon refused.
        """
        view = await self._api.queue.list_session_queue(self._app_id, self._session_id, include_finished=True)
        entry = next((one for one in view.entries if one.correlation_id == correlation_id), None)
        if entry is not None and entry.status == "queued":
            await self._api.queue.cancel_queued_message(self._app_id, self._session_id, entry.id)
        elif entry is not None and entry.status != "running":
            return
        elif rules.has_ended(self._log.turn(correlation_id), correlation_id, self._log.meaning):
            # It ended meanwhile; what runs is another.
            return
        elif self._log.running_turn in (correlation_id, None):
            await self._api.sessions.abort_session(self._app_id, self._session_id)
