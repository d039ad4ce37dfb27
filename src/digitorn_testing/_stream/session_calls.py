"""What a stream asks of its session, and tells it, over HTTP."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from digitorn_testing._approvals.policies import Decision
from digitorn_testing._concurrency.backoff import Pauses
from digitorn_testing._errors import AbortFailed, ApiError
from digitorn_testing._events.meaning import TurnEnding
from digitorn_testing._generated._runtime import NOT_GIVEN
from digitorn_testing._generated.models import PendingApproval
from digitorn_testing._generated.rest_async import AsyncApi
from digitorn_testing._handles import SessionHandle
from digitorn_testing._log.log import EventLog
from digitorn_testing._turns import rules

from .log_reads import ended, read_log
from .protocol import ABORT_SECONDS, ABORTS, KNOWN_SECONDS

# An answer that says that the daemon did not do it.
_REFUSED: Final = 200


class SessionCalls:
    """The calls of a stream over HTTP; its machines are handed one or another of them.

    Args:
        api: The stubs.
        log: The session's events.
        session: Gives the session.
        most: How many rows one read of the daemon's log may bring.
        take: Takes each row as a frame.
    """

    def __init__(
        self,
        api: AsyncApi,
        log: EventLog,
        session: Callable[[], SessionHandle],
        *,
        most: int,
        take: Callable[[object], object],
    ) -> None:
        self._api = api
        self._log = log
        self._session = session
        self._most = most
        self._take = take

    @property
    def _app_id(self) -> str:
        return self._session().app_id

    @property
    def _session_id(self) -> str:
        return self._session().session_id

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

    async def ended(
        self, correlation_id: str, *, since: int, sent: int, was_restarted: bool
    ) -> tuple[bool, TurnEnding | None]:
        """Whether a turn is over, and how it ended where no event says so; see `log_reads.ended`.

        Args:
            correlation_id: The turn.
            since: The events of the session that are wanted begin behind this number.
            sent: A number that must be in the log, because its event was sent.
            was_restarted: Whether the daemon was restarted since the turn began.
        """
        return await ended(
            self._api,
            self._log,
            self._app_id,
            self._session_id,
            correlation_id,
            since=since,
            sent=sent,
            most=self._most,
            take=self._take,
            was_restarted=was_restarted,
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
        """Cuts a turn off, and no other one, or takes its message out of the queue.

        Args:
            correlation_id: The turn.

        Raises:
            AbortFailed: It waits behind the running turn, or the daemon did not cut it off in time.
            ApiError: The daemon refused.
        """
        pauses, started = Pauses(ABORTS), time.monotonic()
        while not rules.has_ended(self._log.turn(correlation_id), correlation_id, self._log.meaning):
            # Whatever events say: what runs now is what an abort hits.
            state = await self._api.sessions.get_session_state(self._app_id, self._session_id)
            running = state.turn.correlation_id if state.turn is not None else None
            entry = next((one for one in state.queue.entries if one.correlation_id == correlation_id), None)
            if running == correlation_id:
                cut = await self._api.sessions.abort_session(self._app_id, self._session_id)
                if cut.task_cancelled:
                    return
                # It has been started and does not work yet: nothing was cut off.
            elif entry is not None and entry.status == "queued":
                if await self._is_withdrawn(entry.id):
                    return
            elif entry is not None and running is not None:
                raise AbortFailed(
                    correlation_id,
                    f"it waits behind turn {running}, and the daemon does not give up the first message that "
                    "waits. Abort the running turn, or wait until this one runs",
                )
            elif running is not None or time.monotonic() - started > KNOWN_SECONDS:
                # It ended meanwhile; what runs is another.
                return
            if time.monotonic() - started > ABORT_SECONDS:
                raise AbortFailed(correlation_id, f"the daemon did not cut it off within {ABORT_SECONDS:g} s")
            await asyncio.sleep(pauses.next())

    async def _is_withdrawn(self, entry_id: str) -> bool:
        """Takes a message out of the queue, and says whether it was still there."""
        try:
            await self._api.queue.cancel_queued_message(self._app_id, self._session_id, entry_id)
        except ApiError as error:
            if error.status != _REFUSED:
                raise
            # Its turn has come.
            return False
        return True
