"""What the unit tests of a stream's machines put around them: a core, a clock, a scripted connection."""

import asyncio
from collections.abc import Callable
from typing import Any

from digitorn_testing import Exchange, ReconnectPolicy
from digitorn_testing._errors import TooLarge
from digitorn_testing._exchanges import Exchanges
from digitorn_testing._generated._runtime import Command
from digitorn_testing._generated.commands import CommandError
from digitorn_testing._handles import SessionHandle
from digitorn_testing._log.log import EventLog
from digitorn_testing._recordings.recorder import Recorders
from digitorn_testing._stream.core import StreamCore
from digitorn_testing._stream.link import Link

from .frames import SESSION

SECONDS = 10.0
"""How long a test waits for what should come at once."""

_URL = "http://127.0.0.1:1"


class Clock:
    """A clock that is set."""

    def __init__(self, seconds: float = 100.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds


def stream_core(
    *,
    policy: ReconnectPolicy | None = None,
    clock: Clock | None = None,
    strict: bool = False,
    max_events: int | None = None,
    redact: Callable[[str], str] = str,
) -> StreamCore:
    """The core of a stream that nothing feeds."""
    policy = policy or ReconnectPolicy()
    return StreamCore(
        session=SessionHandle(session_id=SESSION, app_id="app", daemon_url=_URL),
        log=EventLog(session_id=SESSION, strict=strict, max_events=max_events),
        link=Link(policy) if clock is None else Link(policy, clock=clock, chance=lambda: 0.0),
        recorders=Recorders(Exchanges(0), _URL),
        redact=redact,
    )


def exchange(status: int) -> Exchange:
    """A call that was answered with a status."""
    return Exchange(operation="op", method="GET", path="/x", status=status)


def heartbeat(**told: object) -> dict[str, Any]:
    """A heartbeat, which has no number.

    Args:
        told: What its envelope tells: `current_seq`, `instance_id`.
    """
    return {"type": "heartbeat", "kind": "system", "session_id": SESSION, "payload": {}, **told}


class ScriptedConnection:
    """A connection without a socket: it does what a test says.

    Attributes:
        tokens: The tokens that it was opened with.
        joins: The numbers behind which the room was entered.
        refusals: What the next attempts to connect raise; None lets one through.
        acks: What the next joins are answered; a join without one is let in.
    """

    def __init__(self, on_frame: Callable[[object], None], on_lost: Callable[[str], None]) -> None:
        self.on_frame = on_frame
        self.on_lost = on_lost
        self.tokens: list[str | None] = []
        self.joins: list[int] = []
        self.refusals: list[Exception | None] = []
        self.acks: list[CommandError | Exception] = []
        self.connected = False
        self.violation: TooLarge | None = None
        self.closed: list[bool] = []

    async def connect(self, token: str | None, timeout: float) -> None:
        """Connects, or raises what was scripted."""
        self.tokens.append(token)
        await asyncio.sleep(0)
        if self.refusals and (refusal := self.refusals.pop(0)) is not None:
            raise refusal
        self.connected = True

    async def call(self, command: Command[Any, Any], request: Any, timeout: float) -> Any:
        """Enters the room, or answers what was scripted."""
        self.joins.append(request.since)
        await asyncio.sleep(0)
        if not self.acks:
            return command.ack.from_wire({"ok": True, "room": f"session:{SESSION}", "latest_seq": 0})
        answer = self.acks.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self, *, abruptly: bool = False) -> None:
        """Notes how it was closed."""
        self.connected = False
        self.closed.append(abruptly)

    def lose(self, reason: str = "gone") -> None:
        """Loses the connection."""
        self.connected = False
        self.on_lost(reason)
