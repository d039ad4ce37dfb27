"""What both faces of a stream offer: everything that is read from the log and from the connection."""

from collections.abc import Sequence
from typing import Any, TypeVar, overload

from digitorn_testing._events.event import AnyEvent, LiveEvent
from digitorn_testing._generated.events import EventPayload, EventType
from digitorn_testing._handles import SessionHandle
from digitorn_testing._recordings.recorder import Recorder
from digitorn_testing._recordings.recording import FilePath
from digitorn_testing._turns.operations import Operations
from digitorn_testing._turns.results import TurnResult

from .core import StreamCore
from .link import StreamConnection

P = TypeVar("P", bound=EventPayload)

DEFAULT_TIMEOUT = 60.0
"""Seconds that a wait without a timeout of its own takes."""


class StreamBase:
    """What both faces of a stream share: its log and everything that is read from it.

    Attributes:
        app_id: The app.
        session_id: The session.
        daemon_url: The daemon.
        log: Every event so far; may be read from any thread.
        endings: How turns ended of which no event says so.
        callback_errors: Callbacks that raised, the first hundred times; the first is raised again by `stop`.
        correlation_id: The turn that was last waited for; with `send_live`, that of its message.
        core: The state that both faces share. For the library itself.
    """

    correlation_id: str | None = None

    def __init__(self, core: StreamCore) -> None:
        self.core = core
        self.app_id = core.session.app_id
        self.session_id = core.session.session_id
        self.daemon_url = core.session.daemon_url
        self.log = core.log
        self.endings = core.endings
        self.callback_errors = core.errors.errors

    @property
    def session(self) -> SessionHandle:
        """The session, as a handle."""
        return self.core.session

    @session.setter
    def session(self, session: SessionHandle) -> None:
        self.core.session = session

    def record(self, path: FilePath) -> Recorder:
        """Records what the stream has seen and will see, and its calls over REST, as JSON lines.

        Secrets are hidden. `RecordedLog.load` reads the recording, and `FakeDaemon.replay` serves it.

        Args:
            path: The file; a recording that exists is appended to.

        Returns:
            The running recording. Stop it, or use it as a context manager; it also ends with the stream.

        Raises:
            RecordingError: The file exists and is no recording.
            RecordingDamaged: It is a damaged recording.
            OSError: It cannot be written.
        """
        return self.core.recorders.record(path)

    def events(self) -> list[AnyEvent]:
        """Every event so far, in `seq` order."""
        return self.log.events()

    @overload
    def events_of(self, *types: type[P]) -> Sequence[LiveEvent[P]]: ...
    @overload
    def events_of(self, *types: type[EventPayload] | EventType) -> Sequence[AnyEvent]: ...
    def events_of(self, *types: type[EventPayload] | EventType) -> Sequence[Any]:
        """The events of some types so far, in `seq` order.

        Args:
            types: Payload classes or wire names.
        """
        return self.log.events_of(*types)

    def operations(self) -> Operations:
        """What the events so far add up to: turns, tool calls, approvals and the like, in order of start."""
        return self.log.operations()

    def turn_result(self, correlation_id: str | None = None) -> TurnResult:
        """What a turn's events so far add up to.

        Args:
            correlation_id: The turn; the one that was last waited for when left out.

        Raises:
            ValueError: No event of the turn is here, or none was named and none was waited for.
        """
        turn = correlation_id or self.correlation_id
        if turn is None:
            raise ValueError("no turn was waited for on this stream; pass the correlation_id of a turn")
        return self.core.turn_result(turn)

    @property
    def connection(self) -> StreamConnection:
        """What is known of the connection now: its state, how often it was made again, and why."""
        return self.core.connection

    @property
    def is_joined(self) -> bool:
        """Whether it is in the session's room now."""
        return self.core.link.is_joined

    @property
    def has_joined(self) -> bool:
        """Whether it was in the session's room; it rejoins after a lost connection."""
        return self.core.link.has_joined

    @property
    def has_open_turns(self) -> bool:
        """Whether a turn that is followed here has not ended."""
        return bool(self.core.turns.open)

    def __repr__(self) -> str:
        connection = self.connection
        state = {"joined": "open", "reconnecting": "open, reconnecting"}.get(
            connection.state, connection.state
        )
        again = f", reconnects: {connection.reconnects}" if connection.reconnects else ""
        return (
            f"<{type(self).__name__} {self.app_id}/{self.session_id}, {state}{again}, {len(self.log)} events>"
        )
