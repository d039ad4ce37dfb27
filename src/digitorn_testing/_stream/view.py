"""What a turn may do with the stream that it is read from."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar, overload

from digitorn_testing._events.event import AnyEvent, LiveEvent
from digitorn_testing._events.selector import EventSelector, Where
from digitorn_testing._exchanges import Exchanges
from digitorn_testing._generated.events import EventPayload, EventType
from digitorn_testing._handles import SessionHandle
from digitorn_testing._log.log import EventLog
from digitorn_testing._turns.operations import Operations
from digitorn_testing._turns.results import TurnResult

from .link import StreamConnection

P = TypeVar("P", bound=EventPayload)


class _View(Protocol):
    """What can be read from a stream in either face. See `StreamBase` for what each member does."""

    app_id: str

    @property
    def session_id(self) -> str: ...

    daemon_url: str
    log: EventLog
    exchanges: Exchanges
    timeout: float

    @property
    def session(self) -> SessionHandle: ...

    def events(self) -> list[AnyEvent]: ...

    def has_event_of(self, *types: type[EventPayload] | EventType) -> bool: ...

    @overload
    def events_of(self, *types: type[P]) -> Sequence[LiveEvent[P]]: ...
    @overload
    def events_of(self, *types: type[EventPayload] | EventType) -> Sequence[AnyEvent]: ...
    def events_of(self, *types: type[EventPayload] | EventType) -> Sequence[Any]: ...

    def operations(self) -> Operations: ...

    def turn_result(self, correlation_id: str | None = None) -> TurnResult: ...

    @property
    def connection(self) -> StreamConnection: ...

    @property
    def is_joined(self) -> bool: ...

    @property
    def has_joined(self) -> bool: ...

    @property
    def has_open_turns(self) -> bool: ...


class AsyncStreamView(_View, Protocol):
    """A stream as its turns see it: everything may be read, but a turn cannot stop a stream that others may
    share with it."""

    def turn_events(self, turn: str, *, timeout: float | None = None) -> AsyncIterator[AnyEvent]: ...

    async def wait_in_turn(
        self, turn: str, type: EventSelector, *, where: Where | None = None, timeout: float | None = None
    ) -> AnyEvent: ...

    async def wait_for_turn(self, turn: str, *, timeout: float | None = None) -> TurnResult: ...

    async def wait_for_connection(
        self, where: Callable[[StreamConnection], bool], *, timeout: float | None = None
    ) -> StreamConnection: ...

    async def abort_turn(self, turn: str) -> None: ...


class StreamView(_View, Protocol):
    """The blocking equal of `AsyncStreamView`."""

    def turn_events(self, turn: str, *, timeout: float | None = None) -> Iterator[AnyEvent]: ...

    def wait_in_turn(
        self, turn: str, type: EventSelector, *, where: Where | None = None, timeout: float | None = None
    ) -> AnyEvent: ...

    def wait_for_turn(self, turn: str, *, timeout: float | None = None) -> TurnResult: ...

    def wait_for_connection(
        self, where: Callable[[StreamConnection], bool], *, timeout: float | None = None
    ) -> StreamConnection: ...

    def abort_turn(self, turn: str) -> None: ...
