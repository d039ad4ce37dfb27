"""The callbacks of a stream: which are called, on which thread, and how exceptions are handled."""

import asyncio
import inspect
import logging
import threading
import weakref
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from digitorn_testing._concurrency.deadlines import join
from digitorn_testing._concurrency.finalizers import weakly
from digitorn_testing._errors import CallbackFailed
from digitorn_testing._events.event import AnyEvent
from digitorn_testing._events.selector import Selector
from digitorn_testing._generated.events import EventPayload
from digitorn_testing._log.log import EventLog

from .inboxes import AsyncInbox, Backlog, Inbox
from .tasks import Tasks

_MOST_ERRORS = 100
_logger = logging.getLogger("digitorn.testing")


def name_of(callback: object) -> str:
    """What a callback is called in messages; a text is its own name."""
    return callback if isinstance(callback, str) else getattr(callback, "__qualname__", repr(callback))


def callback_failed(what: str, callback: object, error: BaseException) -> CallbackFailed:
    """The error for user code that raised.

    Args:
        what: What kind of code it is.
        callback: The code, or its name.
        error: What it raised.
    """
    failed = CallbackFailed(f"{what} {name_of(callback)} raised {type(error).__name__}: {error}")
    failed.__cause__ = error
    return failed


def is_cancelled() -> bool:
    """Whether the current task is being cancelled, as opposed to something that it awaited."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class CallbackErrors:
    """Collects and logs what callbacks raised.

    Args:
        session_id: The session, for the log.

    Attributes:
        errors: The first hundred errors.
    """

    def __init__(self, session_id: str) -> None:
        self.errors: list[CallbackFailed] = []
        self._session_id = session_id

    def report(self, callback: object, error: BaseException) -> None:
        """Reports a callback that raised.

        Args:
            callback: The callback, or its name.
            error: What it raised.
        """
        failed = callback_failed("callback", callback, error)
        if len(self.errors) < _MOST_ERRORS:
            self.errors.append(failed)
        _logger.error("session %s: %s", self._session_id, failed, exc_info=error)


class _Callback:
    """A registered callback. Its stream alone holds it: a callback often refers to the stream."""

    def __init__(self, selector: Selector, call: Callable[[Any], object]) -> None:
        self.selector = selector
        self.call = call


class Callbacks:
    """The callbacks of an asynchronous stream: each has a task that gives it one event after the other.

    Args:
        log: Where the events come from.
        tasks: Runs the tasks.
        errors: Takes what callbacks raise.

    Attributes:
        inboxes: Where events wait; None in one of them ends its task.
    """

    def __init__(self, log: EventLog, tasks: Tasks, errors: CallbackErrors) -> None:
        self.inboxes: list[AsyncInbox[AnyEvent | None]] = []
        self._log = log
        self._tasks = tasks
        # Weakly: an error holds frames of the user's code, and those may hold the stream.
        self._report = weakly(errors.report)
        self._callbacks: list[_Callback] = []

    def add(self, type: type[EventPayload] | str, callback: Callable[[Any], object]) -> None:
        """Calls a callback with every later event of a type.

        Args:
            type: Payload class or wire name.
            callback: A function or a coroutine function.
        """
        kept = _Callback(Selector((type,)), callback)
        inbox: AsyncInbox[AnyEvent | None] = AsyncInbox()
        # By its name: the log must not hold what may hold the stream.
        backlog = Backlog(inbox, self._log.max_events, partial(self._report, name_of(callback)))
        self._log.subscribe(backlog.put, (type,))
        self._callbacks.append(kept)
        self.inboxes.append(inbox)
        self._tasks.deliver(_deliver(inbox, weakref.ref(kept), self._report))


async def _deliver(
    inbox: AsyncInbox[AnyEvent | None],
    reference: "weakref.ref[_Callback]",
    report: Callable[[object, BaseException], None],
) -> None:
    """Passes events to a callback. Keeps no reference to it or its stream while waiting."""
    while (event := await inbox.next()) is not None:
        if (callback := reference()) is None:
            return
        if callback.selector.matches(event):
            try:
                result = callback.call(event)
                if inspect.isawaitable(result):
                    await _awaited(result)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                if is_cancelled():
                    raise
                report(callback.call, error)
        del callback


async def _awaited(result: Awaitable[object]) -> None:
    await result


class _Registered:
    """The callbacks of a blocking stream, which alone holds them."""

    def __init__(self) -> None:
        self.listed: list[tuple[Selector, Callable[[AnyEvent], object]]] = []


class ThreadCallbacks:
    """The callbacks of a blocking stream: a single thread calls them one at a time.

    Args:
        log: Where the events come from.
        errors: Takes what callbacks raise.
        session_id: The session, for the name of the thread and for the log.

    Attributes:
        inbox: Where events wait; None in it ends the thread.
    """

    def __init__(self, log: EventLog, errors: CallbackErrors, session_id: str) -> None:
        self.inbox: Inbox[AnyEvent | None] = Inbox()
        self._log = log
        self._report = weakly(errors.report)
        self._session_id = session_id
        self._registered = _Registered()
        self._thread: threading.Thread | None = None

    def add(self, type: type[EventPayload] | str, callback: Callable[[Any], object]) -> None:
        """Calls a callback with every later event of a type.

        Args:
            type: Payload class or wire name.
            callback: A function.
        """
        self._registered.listed.append((Selector((type,)), callback))
        if self._thread is None:
            # By its name: the log must not hold what may hold the stream.
            backlog = Backlog(self.inbox, self._log.max_events, partial(self._report, name_of(callback)))
            self._log.subscribe(backlog.put)
            self._thread = threading.Thread(
                target=_call,
                args=(self.inbox, weakref.ref(self._registered), self._report),
                name=f"digitorn-testing-callbacks-{self._session_id}",
                daemon=True,
            )
            self._thread.start()

    def stop(self, timeout: float) -> None:
        """Lets the thread deliver what has arrived, and ends it.

        Args:
            timeout: Seconds to wait for it.
        """
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self.inbox.put(None)
        if thread is not threading.current_thread():
            join(thread, timeout)
            if thread.is_alive():
                _logger.warning("session %s: a callback still runs, and is left to itself", self._session_id)

    def leave(self) -> None:
        """Forgets the thread in a forked child, which does not have it."""
        self._thread = None


def _call(
    inbox: Inbox[AnyEvent | None],
    reference: "weakref.ref[_Registered]",
    report: Callable[[object, BaseException], None],
) -> None:
    """Passes events to callbacks. Keeps no reference to them or their stream while waiting."""
    while (event := inbox.next()) is not None:
        if (registered := reference()) is None:
            return
        for selector, callback in list(registered.listed):
            if selector.matches(event):
                try:
                    callback(event)
                except BaseException as error:  # noqa: BLE001 - test runners fail a test with any of these
                    report(callback, error)
        # Variables that stay bound would keep the objects alive.
        registered = callback = event = None  # type: ignore[assignment] # let go
