"""Closes streams that are garbage-collected, or whose event loop ends, while they are still open."""

import asyncio
import logging
import os
import types
import warnings
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, TypeAlias, cast

Close: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
"""Closes something on its event loop, within bounds."""

_logger = logging.getLogger("digitorn.testing")
_CLOSING_SECONDS: Final = 2.0
_CLOSING: Final[set[asyncio.Task[None]]] = set()
_ENDINGS: Final["weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Ending]"] = weakref.WeakKeyDictionary()


def weakly(method: Callable[..., object]) -> Callable[..., None]:
    """Wraps a bound method without keeping its object alive; calls do nothing once the object is gone.

    Args:
        method: A bound method.
    """
    bound = cast("types.MethodType", method)
    reference, function = weakref.ref(bound.__self__), bound.__func__

    def call(*arguments: object) -> None:
        if (owner := reference()) is not None:
            function(owner, *arguments)

    return call


def when_forgotten(
    owner: object,
    what: str,
    loop: asyncio.AbstractEventLoop,
    close: Close,
) -> "weakref.finalize[..., object]":
    """Closes something on its event loop when its owner is garbage-collected; `detach` cancels that.

    Args:
        owner: The object whose collection triggers it.
        what: Its name in the warning.
        loop: The event loop that it belongs to.
        close: Closes it; must not refer to the owner.
    """
    finalizer = weakref.finalize(owner, _forgotten, os.getpid(), what, loop, close)
    # At interpreter exit everything is closed anyway, and no loop is running any more.
    finalizer.atexit = False
    return finalizer


def _forgotten(pid: int, what: str, loop: asyncio.AbstractEventLoop, close: Close) -> None:
    # The collector may run this anywhere, so it must neither wait nor take a lock.
    if pid != os.getpid() or loop.is_closed():
        return

    def begin() -> None:
        task = loop.create_task(close())
        _CLOSING.add(task)
        task.add_done_callback(_CLOSING.discard)

    try:
        loop.call_soon_threadsafe(begin)
    except RuntimeError:
        # The loop was closed in the meantime, with everything on it.
        return
    # Last, because a filter may turn the warning into an exception.
    warnings.warn(f"{what} was forgotten while it was open; stop it", ResourceWarning, stacklevel=2)


class _Ending:
    """What is to be closed at the end of an event loop."""

    def __init__(self) -> None:
        self.closes: dict[object, Close] = {}
        # Started: an ending event loop closes it, and with it whatever nobody closed.
        self.generator = self._close_at_last()
        with suppress(StopIteration):
            self.generator.asend(None).send(None)

    async def _close_at_last(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            closes, self.closes = self.closes, {}
            loop = asyncio.get_running_loop()
            closing = {loop.create_task(close()) for close in closes.values()}
            closing |= {task for task in _CLOSING if task.get_loop() is loop}
            if closing:
                await asyncio.wait(closing, timeout=_CLOSING_SECONDS)
            for task in closing:
                if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                    _logger.info("not everything could be closed with its event loop: %r", error)


def at_loop_end(close: Close) -> Callable[[], None]:
    """Closes something when the running event loop shuts down, as `asyncio.run` does at the end.

    Args:
        close: Closes it. It is kept alive until then.

    Returns:
        A function that cancels this.
    """
    for loop in [one for one in _ENDINGS if one.is_closed()]:
        # It was closed without a shutdown, with everything on it.
        del _ENDINGS[loop]
    loop = asyncio.get_running_loop()
    ending = _ENDINGS.get(loop)
    if ending is None:
        ending = _ENDINGS[loop] = _Ending()
    key = object()
    ending.closes[key] = close

    def cancel() -> None:
        ending.closes.pop(key, None)

    return cancel
