"""Runs the Python functions of tools."""

import asyncio
import inspect
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from digitorn_testing._apps.tools import PythonTool, result_object

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
    """

    result: dict[str, Any] | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class _Returned:
    value: object


class ToolRuns:
    """The runs of one daemon, in its loop. Functions that are not async get threads of their own."""

    def __init__(self) -> None:
        self._threads: dict[asyncio.Future[ToolRun | _Returned], str] = {}

    @property
    def unfinished(self) -> list[str]:
        """Names of the tools whose functions still run on a thread."""
        return sorted(self._threads.values())

    @property
    def threads(self) -> "frozenset[asyncio.Future[ToolRun | _Returned]]":
        """One future a function that runs on a thread, done at its end."""
        return frozenset(self._threads)

    async def run(self, tool: PythonTool, params: Mapping[str, Any]) -> ToolRun:
        """Calls the function of a tool. When this is cancelled, so is an async function.

        Args:
            tool: The tool.
            params: What the model passes.
        """
        # On a task of its own: a function that swallows its cancellation would undo the abort of the turn.
        task = asyncio.create_task(self._call(tool, params), name=f"tool {tool.name}")
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

    async def _call(self, tool: PythonTool, params: Mapping[str, Any]) -> ToolRun:
        try:
            args, kwargs = tool.bind(params)
            if tool.is_async:
                value: object = tool.handler(*args, **kwargs)
            else:
                ended = await self._on_thread(tool, args, kwargs)
                if isinstance(ended, ToolRun):
                    return ended
                value = ended.value
            if inspect.isawaitable(value):
                value = await value
            return ToolRun(result_object(value))
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - even pytest.fail() fails the call, not the daemon
            return _failed(tool, error)

    async def _on_thread(
        self, tool: PythonTool, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> ToolRun | _Returned:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[ToolRun | _Returned] = loop.create_future()

        def work() -> None:
            try:
                outcome: ToolRun | _Returned = _Returned(tool.handler(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - as above
                outcome = _failed(tool, error)
            try:
                loop.call_soon_threadsafe(self._end, ended, outcome)
            except RuntimeError:
                logger.warning("the function of tool %r ended after its daemon", tool.name)

        # No pool: its threads would keep the interpreter from exiting while a function hangs.
        thread = threading.Thread(target=work, name=f"tool {tool.name}", daemon=True)
        self._threads[ended] = tool.name
        thread.start()
        # Waiting like this does not cancel the future, which tells `stop` of the end.
        await asyncio.wait({ended})
        return ended.result()

    def _end(self, ended: "asyncio.Future[ToolRun | _Returned]", outcome: "ToolRun | _Returned") -> None:
        self._threads.pop(ended, None)
        ended.set_result(outcome)


def _failed(tool: PythonTool, error: BaseException) -> ToolRun:
    logger.info("the function of tool %r failed", tool.name, exc_info=error)
    said = str(error)
    return ToolRun(None, f"{type(error).__name__}: {said}" if said else type(error).__name__)
