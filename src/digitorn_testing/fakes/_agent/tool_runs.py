"""Runs the Python functions of tools."""

import asyncio
import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from digitorn_testing._apps.tools import PythonTool, ToolContext, ToolDenied, ToolFailed, result_object
from digitorn_testing._concurrency.threads import Ended, start_on_thread

_CANCEL_SECONDS: Final = 1.0
"""How long an aborted turn waits for a function that does not let itself be cancelled."""

_STOP_SECONDS: Final = 3.0
"""How long a daemon that stops waits for functions on threads."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ToolRun:
    """What came of a run.

    Attributes:
        result: What the function returned.
        error: Why it failed; empty if it did not.
        is_denied: Whether it failed because the call was refused.
    """

    result: dict[str, Any] | None
    error: str = ""
    is_denied: bool = False


class ToolRuns:
    """The runs of one daemon, in its loop. Functions that are not async get threads of their own."""

    def __init__(self) -> None:
        self._threads: dict[asyncio.Future[Ended[object]], str] = {}

    @property
    def unfinished(self) -> list[str]:
        """Names of the tools whose functions still run on a thread."""
        return sorted(self._threads.values())

    @property
    def threads(self) -> "frozenset[asyncio.Future[Ended[object]]]":
        """One future a function that runs on a thread, done at its end."""
        return frozenset(self._threads)

    async def run(self, tool: PythonTool, params: Mapping[str, Any], context: ToolContext) -> ToolRun:
        """Calls the function of a tool. When this is cancelled, so is an async function.

        Args:
            tool: The tool.
            params: What the model passes.
            context: What the tool is called for.
        """
        # On a task of its own: a function that swallows its cancellation would undo the abort of the turn.
        task = asyncio.create_task(self._call(tool, params, context), name=f"tool {tool.name}")
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task}, timeout=_CANCEL_SECONDS)
            raise
        if task.cancelled():
            return ToolRun(None, "CancelledError: the function cancelled itself")
        return task.result()

    async def stop(self) -> None:
        """Waits a while for functions on threads."""
        if self._threads:
            await asyncio.wait(set(self._threads), timeout=_STOP_SECONDS)

    async def _call(self, tool: PythonTool, params: Mapping[str, Any], context: ToolContext) -> ToolRun:
        try:
            args, kwargs = tool.bind(params, context)
            if tool.is_async:
                value: object = tool.handler(*args, **kwargs)
            else:
                value = await self._on_thread(tool.name, partial(tool.handler, *args, **kwargs))
            if inspect.isawaitable(value):
                value = await value
            return ToolRun(result_object(value))
        except asyncio.CancelledError:
            raise
        except ToolFailed as failure:
            return ToolRun(failure.result, failure.error, is_denied=isinstance(failure, ToolDenied))
        except BaseException as error:  # noqa: BLE001 - even pytest.fail() fails the call, not the daemon
            return _failed(tool, error)

    async def _on_thread(self, name: str, function: Callable[[], object]) -> object:
        ended = start_on_thread(function, f"the function of tool {name!r}")
        self._threads[ended] = name
        ended.add_done_callback(self._threads.pop)
        # Waiting like this does not cancel the future, which tells `stop` of the end.
        await asyncio.wait({ended})
        return ended.result().get()


def _failed(tool: PythonTool, error: BaseException) -> ToolRun:
    logger.info("the function of tool %r failed", tool.name, exc_info=error)
    said = str(error)
    return ToolRun(None, f"{type(error).__name__}: {said}" if said else type(error).__name__)
