"""Functions of others that run on threads of their own, for an event loop."""

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

_T = TypeVar("_T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ended(Generic[_T]):
    """How a function ended.

    Attributes:
        value: What it returned.
        error: What it raised; None if it returned.
    """

    value: _T | None = None
    error: BaseException | None = None

    def get(self) -> _T:
        """What it returned.

        Raises:
            BaseException: What it raised.
        """
        if self.error is not None:
            raise self.error
        return cast("_T", self.value)


def start_on_thread(function: Callable[[], _T], name: str) -> "asyncio.Future[Ended[_T]]":
    """Starts a function on a thread.

    No pool: its threads would keep the interpreter from exiting while a function hangs.

    Args:
        function: The function.
        name: Name of the thread.

    Returns:
        A future that is done when the function ends, and that waiting with `asyncio.wait` does not cancel.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Ended[_T]] = loop.create_future()

    def work() -> None:
        outcome: Ended[_T]
        try:
            outcome = Ended(function())
        except BaseException as error:  # noqa: BLE001 - whoever waits for it gets it
            outcome = Ended(error=error)
        try:
            loop.call_soon_threadsafe(ended.set_result, outcome)
        except RuntimeError:
            logger.warning("%s ended after its daemon", name)

    threading.Thread(target=work, name=name, daemon=True).start()
    return ended


async def on_thread(function: Callable[[], _T], name: str) -> _T:
    """Runs a function on a thread. When this is cancelled, the function goes on, and nobody waits for it.

    Args:
        function: The function.
        name: Name of the thread.

    Returns:
        What it returned. What it raised is raised here.
    """
    ended = start_on_thread(function, name)
    await asyncio.wait({ended})
    return ended.result().get()
