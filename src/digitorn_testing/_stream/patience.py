"""Tries a read of the daemon's log again and again, for a bounded time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from digitorn_testing._concurrency.backoff import Pauses
from digitorn_testing._errors import ApiError, ContractViolation, DaemonUnreachable, TooLarge

from .protocol import PASSING, TRY_AGAIN

REFUSED: Final = (ApiError, ContractViolation, DaemonUnreachable)
"""Errors of a log that cannot be read."""

Refused: TypeAlias = ApiError | ContractViolation | DaemonUnreachable


async def patiently(attempt: Callable[[], Awaitable[object]], until: float) -> Refused | None:
    """Makes an attempt until it succeeds, another one would fail as well, or the time is over.

    An attempt that is under way is not cut off: a long log may take its time, and each single answer has a
    limit of its own.

    Args:
        attempt: Makes one attempt.
        until: No attempt begins after this time on the monotonic clock, except the first.

    Returns:
        The last failure; None if an attempt succeeded.

    Raises:
        TooLarge: The log exceeds a limit.
    """
    pauses = Pauses(TRY_AGAIN)
    while True:
        try:
            await attempt()
        except TooLarge:
            raise
        except REFUSED as error:
            failure = error
        else:
            return None
        pause = pauses.next()
        if not isinstance(failure, (*PASSING, ContractViolation)) or time.monotonic() + pause > until:
            return failure
        await asyncio.sleep(pause)
