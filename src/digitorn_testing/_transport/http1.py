"""One HTTP/1.1 connection, without any IO: what is sent over it, and what is received."""

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import h11
import httpx

T = TypeVar("T")

_LONGEST_HEAD: Final = 100 * 1024


class Http1:
    """Requests and answers, one after another."""

    def __init__(self) -> None:
        self._state = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LONGEST_HEAD)

    def head(self, method: str, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """The bytes that begin a request.

        Args:
            method: Its method.
            target: Its path and query.
            headers: Its header fields.

        Raises:
            httpx.LocalProtocolError: HTTP does not allow it.
        """
        return self._send(lambda: h11.Request(method=method, target=target, headers=list(headers)))

    def data(self, part: bytes) -> bytes:
        """The bytes of a part of the request's body.

        Args:
            part: The part.

        Raises:
            httpx.LocalProtocolError: The body is longer than announced.
        """
        return self._send(lambda: h11.Data(data=part))

    def end(self) -> bytes:
        """The bytes that end the request.

        Raises:
            httpx.LocalProtocolError: The body is shorter than announced.
        """
        return self._send(h11.EndOfMessage)

    def receive(self, data: bytes) -> None:
        """Takes what was read.

        Args:
            data: The bytes; empty at the end of the connection.

        Raises:
            httpx.RemoteProtocolError: The connection ended before the answer began, or after the answer.
        """
        if not data and self._state.their_state is h11.SEND_RESPONSE:
            raise httpx.RemoteProtocolError("the server disconnected without sending an answer")
        _checked(lambda: self._state.receive_data(data))

    def answer(self) -> h11.Response | None:
        """The head of the answer; None if more has to be read first.

        Raises:
            httpx.RemoteProtocolError: What came is not HTTP.
        """
        while (event := self._next()) is not h11.NEED_DATA:
            if isinstance(event, h11.Response):
                return event
        return None

    def body(self) -> bytes | None:
        """The next part of the answer's body, empty at its end; None if more has to be read first.

        Raises:
            httpx.RemoteProtocolError: What came is not HTTP, or ended early.
        """
        while (event := self._next()) is not h11.NEED_DATA:
            if not isinstance(event, h11.Data):
                return b""
            if event.data:
                return bytes(event.data)
        return None

    def begin_next(self) -> bool:
        """Whether the connection can be used for another request, which may begin then."""
        both = self._state.our_state, self._state.their_state
        # What came behind the answer would count as the next one.
        if both != (h11.DONE, h11.DONE) or self._state.trailing_data != (b"", False):
            return False
        self._state.start_next_cycle()
        return True

    def _next(self) -> object:
        return _checked(self._state.next_event)

    def _send(self, event: Callable[[], h11.Event]) -> bytes:
        try:
            return self._state.send(event()) or b""
        except h11.LocalProtocolError as error:
            raise httpx.LocalProtocolError(str(error)) from error


def _checked(step: Callable[[], T]) -> T:
    try:
        return step()
    except h11.RemoteProtocolError as error:
        raise httpx.RemoteProtocolError(str(error)) from error
