"""What both faces of a stream offer: everything that is read from the log and from the connection."""

from collections.abc import Sequence
from typing import Any, TypeVar, overload

from digitorn_testing._events.event import AnyEvent, LiveEvent
from digitorn_testing._generated.events import EventPayload, EventType
from digitorn_testing._handles import SessionHandle
from digitorn_testing._log.recorded import FilePath
from digitorn_testing._recordings.recorder import Recorder
from digitorn_testing._turns.operations import Operations
from digitorn_testing._turns.results import TurnResult

from .core import StreamCore
from .link import StreamConnection

P = TypeVar("P", bound=EventPayload)

DEFAULT_TIMEOUT = 60.0
"""Default timeout of waits, in seconds."""


class StreamBase:
    """What both faces of a stream share: its log and everything that is read from it.

    Attributes:
        app_id: The app.
        daemon_url: The daemon.
        log: Every event so far; may be read from any thread.
        endings: The endings of turns that no event reports.
        callback_errors: Callbacks that raised, the first hundred times; the first is raised again by `stop`.
        correlation_id: The turn most recently waited for; with `send_live`, that of its message.
        core: The state that both faces share. For the library itself.
    """

    correlation_id: str | None = None

    def __init__(self, core: StreamCore) -> None:
        self.core = core
        self.app_id = core.session.app_id
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
        self.log.session_id = session.session_id

    @property
    def session_id(self) -> str:
        """The session."""
        return self.core.session.session_id

    def record(self, path: FilePath) -> Recorder:
        """Records what the stream has seen and will see, and its calls over REST, as JSON lines.

        Secrets are hidden. `EventLog.load` reads the recording, and `FakeDaemon.replay` serves it.

        Args:
            path: The file; an existing recording is appended to.

        Returns:
            The running recording. Stop it, or use it as a context manager; it also ends with the stream.

        Raises:
            RecordingError: The file exists and is not a recording.
            RecordingDamaged: It is a damaged recording.
            OSError: It cannot be written.
        """
        return self.core.recorders.record(path)

    def events(self) -> list[AnyEvent]:
        """Every event so far, in `seq` order."""
        return self.log.events()

    def has_event_of(self, *types: type[EventPayload] | EventType) -> bool:
        """Whether an event of any of these types has arrived.

        Args:
            types: Payload classes or wire names.
        """
        return self.log.has_event_of(*types)

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
        """The operations so far (turns, tool calls, approvals and so on), in order of their start."""
        return self.log.operations()

    def turn_result(self, correlation_id: str | None = None) -> TurnResult:
        """The result of a turn, from its events so far.

        Args:
            correlation_id: The turn. Default: the one most recently waited for.

        Raises:
            ValueError: The turn has no events here, or no turn was given or waited for.
        """
        turn = correlation_id or self.correlation_id
        if turn is None:
            raise ValueError("no turn was waited for on this stream; pass the correlation_id of a turn")
        return self.core.turn_result(turn)

    @property
    def connection(self) -> StreamConnection:
        """The connection's current state, how often it reconnected, and why."""
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
