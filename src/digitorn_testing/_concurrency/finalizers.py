"""Closes streams that are garbage-collected while they are still open."""

import asyncio
import os
import types
import warnings
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, cast

_CLOSING: set[asyncio.Task[None]] = set()


def weakly(method: Callable[..., object]) -> Callable[..., bool]:
    """Wraps a bound method without keeping its object alive; calls do nothing once the object is gone.

    Args:
        method: A bound method.

    Returns:
        The function, which says whether the object was still there.
    """
    bound = cast("types.MethodType", method)
    reference, function = weakref.ref(bound.__self__), bound.__func__

    def call(*arguments: object) -> bool:
        if (owner := reference()) is not None:
            function(owner, *arguments)
        return owner is not None

    return call


def when_forgotten(
    owner: object,
    what: str,
    loop: asyncio.AbstractEventLoop,
    close: Callable[[], Coroutine[Any, Any, None]],
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


def _forgotten(
    pid: int, what: str, loop: asyncio.AbstractEventLoop, close: Callable[[], Coroutine[Any, Any, None]]
) -> None:
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
