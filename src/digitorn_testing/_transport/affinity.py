"""Loop affinity: connections belong to the process and the event loop that opened them."""

import asyncio
import os

from digitorn_testing._errors import WrongEventLoop


class ProcessAffinity:
    """The process that something belongs to; any of its threads may use it."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    def check(self) -> None:
        """Does nothing, because the blocking face belongs to no event loop."""

    def moved(self) -> bool:
        """Whether the process has changed since the last call, which is so in a forked child."""
        here = os.getpid()
        moved, self._pid = here != self._pid, here
        return moved


class LoopAffinity(ProcessAffinity):
    """The process and the event loop that something belongs to."""

    def __init__(self) -> None:
        super().__init__()
        self._loop: asyncio.AbstractEventLoop | None = None

    def check(self) -> None:
        """Refuses the use on a second event loop.

        Raises:
            WrongEventLoop: It belongs to another event loop, which is not closed and may still use it.
        """
        before = self._loop
        if before is None or before is asyncio.get_running_loop() or self._pid != os.getpid():
            return
        if not before.is_closed():
            raise wrong_loop("client")

    def moved(self) -> bool:
        """Whether the process or the event loop has changed since the last call.

        Raises:
            WrongEventLoop: It belongs to another event loop, which is not closed and may still use it.
        """
        self.check()
        moved, here, before = super().moved(), asyncio.get_running_loop(), self._loop
        self._loop = here
        return moved or before not in (None, here)


def wrong_loop(what: str) -> WrongEventLoop:
    """The error for the use on a second event loop.

    Args:
        what: What was used.
    """
    return WrongEventLoop(
        f"this {what} lives on another event loop, which is not closed; make one {what} for each loop"
    )
