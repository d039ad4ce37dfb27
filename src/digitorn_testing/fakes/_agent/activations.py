"""Runs apps in the background: each activation is a turn of its own, in no session that anybody sees."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from digitorn_testing._apps.language import action_name
from digitorn_testing._events.event import decode
from digitorn_testing._generated.events import ToolCall
from digitorn_testing.fakes._model.failures import TurnFailed
from digitorn_testing.fakes._model.requests import ModelMessage
from digitorn_testing.fakes._store.apps import App, Trigger
from digitorn_testing.fakes._store.background import Activation, Background, BackgroundSession, now
from digitorn_testing.fakes._store.log import SessionLog
from digitorn_testing.fakes._store.sessions import Message, Session, Turn
from digitorn_testing.fakes._wire.envelopes import Frame, Owner

from .agent import Agent
from .bus import LOCAL_USER, EventBus

logger = logging.getLogger(__name__)

_WRITING: Final = frozenset(
    {
        "filesystem.write",
        "filesystem.edit",
        "filesystem.create",
        "notebook.write",
        "notebook.edit_cell",
        "notebook.add_cell",
        "spreadsheet.create",
        "spreadsheet.edit",
        "spreadsheet.write",
        "pdf.create",
        "pdf.write",
        "presentation.create",
    }
)
"""Tools whose calls leave an artifact."""

_FATAL: Final = (
    *("402", "insufficient", "balance", "billing", "quota", "401", "unauthorized", "invalid api key"),
    *("forbidden", "permission denied", "not authorized"),
)
_PASSING: Final = (
    *("timeout", "timed out", "connection", "network", "temporarily", "rate limit", "429", "503", "502"),
    *("504", "unavailable"),
)
_FIRST_PAUSE: Final = 300.0
_LONGEST_PAUSE: Final = 3600.0
_LONGEST_TEXT: Final = 500


@dataclass(slots=True)
class _Breaker:
    """Keeps a trigger from firing for a while after several failures in a row."""

    failures: int = 0
    paused_until: float = 0.0
    pause: float = _FIRST_PAUSE

    def note(self, error: str | None) -> None:
        """Notes how an activation ended."""
        if not error:
            self.failures, self.paused_until, self.pause = 0, 0.0, _FIRST_PAUSE
            return
        self.failures += 1
        told = error.lower()
        most = 2 if any(one in told for one in _FATAL) else 5 if any(one in told for one in _PASSING) else 3
        if self.failures >= most:
            self.paused_until = time.monotonic() + self.pause
            self.pause = min(self.pause * 2, _LONGEST_PAUSE)


class _Recorder:
    """Notes the tool calls of an activation instead of sending its events."""

    def __init__(self, activation: Activation) -> None:
        self._activation = activation

    async def push(self, frame: Frame, *, to: str) -> None:
        """Notes an event."""
        if isinstance(call := decode(frame).payload, ToolCall):
            self._note(call)

    async def close(self, room: str) -> None:
        """There are no sockets."""

    def _note(self, call: ToolCall) -> None:
        name = action_name(call.name)
        self._activation.note(
            "tool_call",
            call_id=call.id,
            name=name,
            short_name=call.name if call.name != name else None,
            params={key: _cut(value) for key, value in call.params.items()},
            success=call.success,
            error=call.error,
            result_preview=_preview(call.result or {}),
        )
        path = next(
            (call.params[one] for one in ("path", "file_path", "filename") if call.params.get(one)), None
        )
        if call.success and name in _WRITING and path is not None:
            event = self._activation.note("artifact", path=str(path), action=name, size_bytes=None)
            content = call.params.get("content")
            self._activation.artifacts[event.id] = content.encode() if isinstance(content, str) else None


class Activations:
    """Activates apps.

    Args:
        store: What is kept of them.
        agent: Makes an agent whose events go to a bus.
    """

    def __init__(self, store: Background, agent: Callable[[EventBus], Agent]) -> None:
        self._store = store
        self._agent = agent
        self._breakers: dict[str, _Breaker] = {}

    async def fire(self, app: App, trigger: Trigger, message: str) -> None:
        """Activates the background sessions that a trigger finds, or the app without one."""
        if self._breaker(trigger).paused_until > time.monotonic():
            return
        targets = self._store.targets(app.app_id, trigger.routing)
        if not targets:
            await self._activate(app, trigger, message, None)
        await asyncio.gather(*(self._activate(app, trigger, one.told(message), one) for one in targets))

    async def _activate(
        self, app: App, trigger: Trigger, message: str, session: BackgroundSession | None
    ) -> None:
        activation = Activation(app.app_id, trigger.info, message)
        self._store.activations[activation.id] = activation
        await self.run(app, activation, session)
        activation.completed_at = now()
        self._breaker(trigger).note(activation.error)
        if session is not None:
            session.touch()

    async def run(self, app: App, activation: Activation, session: BackgroundSession | None = None) -> None:
        """Lets the agent answer the message of an activation, and notes how it went."""
        bus, message = EventBus(_Recorder(activation)), Message(activation.message)
        owner = Owner(app.app_id, activation.id, session.user_id if session is not None else LOCAL_USER)
        own = Session(app, owner, SessionLog(delay=0.0), workspace=session.workspace if session else "")
        own.remember(ModelMessage("user", message.text))
        turn = Turn(own, app, message)
        try:
            activation.response = await self._agent(bus).run(turn)
        except TurnFailed as failed:
            activation.error = failed.message
        except Exception as error:
            logger.exception("an activation of app %s crashed", app.app_id)
            activation.error = f"{type(error).__name__}: {error}"[:_LONGEST_TEXT]
        activation.tool_calls, activation.turns = turn.tool_calls, turn.model_calls
        activation.tokens = (turn.tokens_in, turn.tokens_out)

    def _breaker(self, trigger: Trigger) -> _Breaker:
        return self._breakers.setdefault(trigger.info.id, _Breaker())


def read_artifact(path: str, known: bytes | None) -> bytes | None:
    """What an artifact holds: the file, if it is there, else what the call wrote; None if not known."""
    file = Path(path)
    return file.read_bytes() if file.is_file() else known


def _cut(value: object) -> object:
    return value[:_LONGEST_TEXT] + "…" if isinstance(value, str) and len(value) > _LONGEST_TEXT else value


def _preview(result: Mapping[str, Any]) -> object:
    """The beginning of a result, as far as the daemon knows its form."""
    if "content" in result:
        return str(result["content"])[:_LONGEST_TEXT]
    match result.get("data"):
        case str() | int() | float() as plain:
            return plain
        case dict():
            members = list(cast("dict[str, Any]", result["data"]).items())[:5]
            return {key: value[:200] if isinstance(value, str) else value for key, value in members}
        case _:
            return None
