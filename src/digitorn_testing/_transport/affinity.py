"""Where connections live: what was opened in one process or on one event loop cannot be used in another."""

import asyncio
import os

from digitorn_testing._errors import WrongEventLoop


class Home:
    """The process in which something lives."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    def check(self) -> None:
        """Nothing lives here alone."""

    def moved(self) -> bool:
        """Whether this is another process than the last time: a forked child."""
        here = os.getpid()
        moved, self._pid = here != self._pid, here
        return moved


class AsyncHome(Home):
    """The process and the event loop in which something lives."""

    def __init__(self) -> None:
        super().__init__()
        self._loop: asyncio.AbstractEventLoop | None = None

    def check(self) -> None:
        """Makes sure that nothing lives on another event loop.

        Raises:
            WrongEventLoop: It does, and that loop is not closed: it may still be used there.
        """
        before = self._loop
        if before is None or before is asyncio.get_running_loop() or self._pid != os.getpid():
            return
        if not before.is_closed():
            raise wrong_loop("client")

    def moved(self) -> bool:
        """Whether this is another process or event loop than the last time.

        Raises:
            WrongEventLoop: The other loop is not closed: what lives there may still be used there.
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
