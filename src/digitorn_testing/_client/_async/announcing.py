"""Sends a client's calls, and tells streams that wait for it that their session was created."""

from typing import TypeVar

from digitorn_testing._client.beginnings import Beginnings
from digitorn_testing._generated._runtime import Call
from digitorn_testing._transport._async.transport import AsyncTransport

T = TypeVar("T")


class AsyncAnnouncing:
    """The transport of a client's stubs, which announces the first message of a session.

    Args:
        transport: Sends the calls.
        beginnings: The streams that wait.
    """

    def __init__(self, transport: AsyncTransport, beginnings: Beginnings) -> None:
        self._transport = transport
        self._beginnings = beginnings

    async def send(self, call: Call[T], /) -> T:
        """Sends a call and returns its typed result; see `AsyncTransport.send` for what it raises."""
        result = await self._transport.send(call)
        self._beginnings.sent(call)
        return result
