"""Which rooms each socket is in (contract: events, section 2)."""

from digitorn_testing.fakes._wire.socketio import Sockets


class Rooms:
    """The rooms of every socket of one daemon.

    Args:
        sockets: The connections.
    """

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets
        self._by_socket: dict[str, set[str]] = {}

    async def enter(self, sid: str, room: str) -> None:
        """Puts a socket into a room."""
        self._by_socket.setdefault(sid, set()).add(room)
        await self._sockets.enter(sid, room)

    async def leave(self, sid: str, room: str) -> None:
        """Takes a socket out of a room; it need not be in it."""
        self._by_socket.get(sid, set[str]()).discard(room)
        await self._sockets.leave(sid, room)

    async def leave_all_but(self, sid: str, room: str) -> None:
        """Takes a socket out of every room but one."""
        for other in self._by_socket.get(sid, set[str]()) - {room}:
            await self.leave(sid, other)

    def forget(self, sid: str) -> None:
        """Forgets a socket that has disconnected."""
        self._by_socket.pop(sid, None)
