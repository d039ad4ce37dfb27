"""Puts faults between the embedded daemon and those who listen to its events."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from digitorn_testing._generated._runtime import Command, Model
from digitorn_testing._generated.commands import CommandError
from digitorn_testing.fakes._wire.envelopes import Frame
from digitorn_testing.fakes._wire.socketio import Cut, Handshake, Sockets

from .rules import Delay, DropConnection, Duplicate, Lose, Rules

Request = TypeVar("Request", bound=Model)
Ack = TypeVar("Ack", bound=Model)


class FaultySockets:
    """Connections whose events are hit by faults.

    Args:
        sockets: The connections.
        rules: How faults hit.
    """

    def __init__(self, sockets: Sockets, rules: Rules) -> None:
        self._sockets = sockets
        self._rules = rules
        self._late: set[asyncio.Task[None]] = set()

    def on_connection(
        self,
        admit: Callable[[str, Handshake], bool],
        greet: Callable[[str], Awaitable[None]],
        leave: Callable[[str], None],
    ) -> None:
        """Decides who may connect."""

        def admit_unless_refused(sid: str, handshake: Handshake) -> bool:
            return not self._rules.refuses_connection() and admit(sid, handshake)

        self._sockets.on_connection(admit_unless_refused, greet, leave)

    def on_command(
        self,
        command: Command[Request, Ack],
        handle: Callable[[str, Request], Awaitable[Ack | CommandError]],
        *,
        incomplete: str,
    ) -> None:
        """Serves a command."""
        self._sockets.on_command(command, handle, incomplete=incomplete)

    async def push(self, frame: Frame, *, to: str) -> None:
        """Sends a frame to a room, or to the one socket of an id."""
        if not self._rules.has_event_rules or not self._sockets.members(to):
            # What nobody hears is not hit by anything.
            await self._sockets.push(frame, to=to)
            return
        times, delay, drop = 1, 0.0, None
        for rule in self._rules.of_event(frame):
            match rule.effect:
                case Lose():
                    return
                case Duplicate(copies=copies):
                    times += copies
                case Delay(seconds=seconds):
                    delay += seconds
                case DropConnection(how=how):
                    drop = how
                case other:
                    raise TypeError(f"{other} cannot hit an event")
        if delay:
            self._later(self._send_late(delay, frame, to, times))
        else:
            await self._send(frame, to, times)
        if drop is not None:
            await self._drop(to, drop)

    def members(self, room: str) -> list[str]:
        """The sockets in a room, or the one socket of an id."""
        return self._sockets.members(room)

    async def cut(self, sid: str, how: Cut) -> None:
        """Ends a connection from the daemon's side."""
        await self._sockets.cut(sid, how)

    async def enter(self, sid: str, room: str) -> None:
        """Puts a socket into a room."""
        await self._sockets.enter(sid, room)

    async def leave(self, sid: str, room: str) -> None:
        """Takes a socket out of a room."""
        await self._sockets.leave(sid, room)

    async def close(self, room: str) -> None:
        """Takes every socket out of a room."""
        await self._sockets.close(room)

    async def stop(self) -> None:
        """Sends nothing that is late, and ends what watches over the connections."""
        for task in self._late:
            task.cancel()
        if self._late:
            await asyncio.wait(self._late)
        await self._sockets.stop()

    # --- what comes late

    async def _send_late(self, seconds: float, frame: Frame, to: str, times: int) -> None:
        await asyncio.sleep(seconds)
        await self._send(frame, to, times)

    async def _send(self, frame: Frame, to: str, times: int) -> None:
        for _ in range(times):
            await self._sockets.push(frame, to=to)

    async def _drop(self, to: str, how: Cut) -> None:
        for sid in self._sockets.members(to):
            await self._sockets.cut(sid, how)

    def _later(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._late.add(task)
        task.add_done_callback(self._late.discard)
