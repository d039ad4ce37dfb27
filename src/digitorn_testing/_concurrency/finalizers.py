"""Closes what was forgotten while it was open."""

import asyncio
import os
import warnings
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

_CLOSING: set[asyncio.Task[None]] = set()


def weakly(method: Callable[..., object]) -> Callable[..., None]:
    """A call of a method that does not keep its object alive; nothing happens when that has gone.

    Args:
        method: A bound method.
    """
    reference = weakref.WeakMethod(method)

    def call(*arguments: object) -> None:
        if (found := reference()) is not None:
            found(*arguments)

    return call


def when_forgotten(
    owner: object,
    what: str,
    loop: asyncio.AbstractEventLoop,
    close: Callable[[], Coroutine[Any, Any, None]],
) -> "weakref.finalize[..., object]":
    """Closes something on its event loop when its owner is collected; `detach` takes that back.

    Args:
        owner: Who holds it.
        what: What the warning calls it.
        loop: Where it lives.
        close: Closes it; must not refer to the owner.
    """
    finalizer = weakref.finalize(owner, _forgotten, os.getpid(), what, loop, close)
    # The interpreter closes everything when it exits; no loop runs any more by then.
    finalizer.atexit = False
    return finalizer


def _forgotten(
    pid: int, what: str, loop: asyncio.AbstractEventLoop, close: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    # Called wherever the collector happens to run, so that nothing here waits or takes a lock.
    if pid != os.getpid() or loop.is_closed():
        return

    def begin() -> None:
        task = loop.create_task(close())
        _CLOSING.add(task)
        task.add_done_callback(_CLOSING.discard)

    try:
        loop.call_soon_threadsafe(begin)
    except RuntimeError:
        # It was closed meanwhile, with all that was on it.
        return
    # Last, since it may be an error.
    warnings.warn(f"{what} was forgotten while it was open; stop it", ResourceWarning, stacklevel=2)
