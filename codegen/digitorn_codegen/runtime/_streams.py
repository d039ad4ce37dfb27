"""Answers that arrive item by item: server-sent events and lines of JSON."""

import inspect
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final, Generic, Literal, Self, TypeAlias, TypeVar

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")

Streamed: TypeAlias = Literal["events", "event-data", "lines"]
"""What a stream is made of: server-sent events whose items are the events or their data, or lines of JSON."""

_LINE_BREAK: Final = re.compile(rb"\r\n|\n|\r(?!\Z)")
_DONE: Final = "[DONE]"
"""What many servers send as the data of their last event, and what is no JSON."""


class Stream(Iterator[T_co]):
    """The items of an answer, as they arrive. A stream that was not read to its end must be closed."""

    def close(self) -> None:
        """Ends the stream. Closing it twice does nothing."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncStream(AsyncIterator[T_co]):
    """The items of an answer, as they arrive. A stream that was not read to its end must be closed."""

    async def aclose(self) -> None:
        """Ends the stream. Closing it twice does nothing."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class AnyStream(Stream[T_co], AsyncStream[T_co]):
    """A stream that a transport makes, for either way of iterating over it.

    Args:
        items: The items.
        close: Ends what they come from; may be asynchronous.
    """

    def __init__(
        self, items: Iterator[T_co] | AsyncIterator[T_co], close: Callable[[], object] = lambda: None
    ) -> None:
        self._items = items
        self._close = close

    def __next__(self) -> T_co:
        if not isinstance(self._items, Iterator):
            raise TypeError("this stream is asynchronous; use `async for`")
        return next(self._items)

    async def __anext__(self) -> T_co:
        if isinstance(self._items, AsyncIterator):
            return await anext(self._items)
        for item in self._items:
            return item
        raise StopAsyncIteration

    def close(self) -> None:
        """Ends the stream. Closing it twice does nothing."""
        if not isinstance(self._items, Iterator):
            raise TypeError("this stream is asynchronous; use `aclose`")
        close: Callable[[], object] = getattr(self._items, "close", lambda: None)
        close()
        self._close()

    async def aclose(self) -> None:
        """Ends the stream. Closing it twice does nothing."""
        name = "aclose" if isinstance(self._items, AsyncIterator) else "close"
        for close in (getattr(self._items, name, lambda: None), self._close):
            closing = close()
            if inspect.isawaitable(closing):
                await closing


class Items(Generic[T]):
    """Finds the items in the bytes of a stream.

    Args:
        reading: What the stream is made of.
        read: Reads an item: the members of an event, or JSON.
    """

    def __init__(self, reading: Streamed, read: Callable[[dict[str, Any] | bytes], T]) -> None:
        self._reading = reading
        self._read = read
        self._rest: list[bytes] = []
        self._size = 0
        self._event: dict[str, Any] = {}
        self._is_first = True
        self._is_done = False

    @property
    def pending(self) -> int:
        """The bytes that are kept until the rest of their item arrives."""
        return self._size + sum(len(text) for text in self._event.get("data", ()))

    def feed(self, chunk: bytes) -> Iterator[T]:
        """The items that are complete with some more bytes.

        Raises:
            Exception: One cannot be read; what `read` raises.
        """
        ends_line = b"\n" in chunk or b"\r" in chunk or (bool(self._rest) and self._rest[-1].endswith(b"\r"))
        self._rest.append(chunk)
        self._size += len(chunk)
        if not ends_line:
            return
        *complete, rest = _LINE_BREAK.split(b"".join(self._rest))
        self._rest, self._size = [rest], len(rest)
        for line in complete:
            yield from self._line(line)

    def end(self) -> Iterator[T]:
        """The items that the end of the stream completes. An event without a blank line behind it is none.

        Raises:
            Exception: One cannot be read; what `read` raises.
        """
        rest = b"".join(self._rest)
        self._rest, self._size = [], 0
        if rest:
            yield from self._line(rest.removesuffix(b"\r"))

    def _line(self, line: bytes) -> Iterator[T]:
        if self._is_first:
            line, self._is_first = line.removeprefix(b"\xef\xbb\xbf"), False
        if self._reading == "lines":
            # A record separator before each text is what `application/json-seq` has.
            text = line.strip(b"\x1e \t")
            if text:
                yield self._read(text)
        elif line:
            self._field(line.decode(errors="replace"))
        else:
            event, self._event = self._event, {}
            yield from self._dispatched(event)

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._event.setdefault("data", []).append(value)
        elif name == "event" or (name == "id" and "\0" not in value):
            self._event[name] = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self._event["retry"] = int(value)

    def _dispatched(self, event: dict[str, Any]) -> Iterator[T]:
        if "data" not in event or self._is_done:
            return
        data = "\n".join(event["data"])
        if self._reading == "events":
            yield self._read({**event, "data": data})
        elif data == _DONE:
            self._is_done = True
        else:
            yield self._read(data.encode())
