"""What differs between builds of the daemon (docs/contract/README.md)."""

from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias

from digitorn_testing._generated.events import (
    ApprovalRequest,
    Compaction,
    EventEnvelope,
    EventPayload,
    MessageStarted,
)
from digitorn_testing._generated.messages import JoinSessionAck, JoinSessionRequest
from digitorn_testing.fakes._model.failures import TurnFailed
from digitorn_testing.fakes._model.model import ModelMessage
from digitorn_testing.fakes._store.sessions import Message, Session, Turn

BuildName: TypeAlias = Literal["A", "B"]
"""The builds that the contract describes."""


class Build(Protocol):
    """How one build greets, joins, asks for approvals and ends turns."""

    @property
    def instance_id(self) -> str | None:
        """Id of the daemon process; None where a build does not tell it."""
        ...

    @property
    def takes_turn_commands(self) -> bool:
        """Whether turns are aborted and approvals resolved over the socket too."""
        ...

    # --- connections

    def handshake(self, user_id: str) -> EventEnvelope:
        """What a socket is greeted with."""
        ...

    async def enter(self, sid: str, session: Session) -> None:
        """Puts a socket into a session's room."""
        ...

    async def leave(self, sid: str, session_id: str, user_id: str) -> None:
        """Takes a user's socket out of a session's room; it need not be in it."""
        ...

    async def join(
        self, sid: str, session: Session, request: JoinSessionRequest, drain: Callable[[Session], None]
    ) -> JoinSessionAck:
        """Brings a socket that has just entered a session's room up to date.

        Args:
            sid: The socket.
            session: The session.
            request: What the client asked for.
            drain: Starts the next queued message of a session, if none runs.
        """
        ...

    def gone(self, sid: str) -> None:
        """Notes that a socket has gone."""
        ...

    def latest_seq(self, session: Session | None) -> int:
        """The number that a client is told: of a session if it asked for one."""
        ...

    async def stop(self) -> None:
        """Ends what runs for connections."""
        ...

    # --- messages

    async def take_over_socket(self, session: Session, message: Message) -> None:
        """Tells that a message came over the socket."""
        ...

    async def first_seq(self, message: Message) -> dict[str, int | None]:
        """What the answer to an accepted message says of the number of its first event, if anything."""
        ...

    # --- while a turn runs

    def started(self, turn: Turn) -> MessageStarted:
        """What tells that a turn begins."""
        ...

    def streamed(self, turn: Turn) -> None:
        """Notes that a piece of an answer was streamed."""
        ...

    def said(self, turn: Turn, message: ModelMessage) -> None:
        """Notes a message of the assistant, or the result of a tool."""
        ...

    def compacted(self, session: Session, payload: Compaction) -> None:
        """Notes that a conversation was compacted."""
        ...

    async def ask_approval(self, session: Session, payload: ApprovalRequest) -> None:
        """Tells everybody concerned that a call waits for a decision."""
        ...

    # --- ends of a turn

    async def end_completed(self, turn: Turn, content: str) -> None:
        """Ends a turn that the model answered with a text."""
        ...

    async def end_failed(self, turn: Turn, failure: TurnFailed) -> bool:
        """Ends a turn that failed.

        Returns:
            Whether the queue goes on.
        """
        ...

    async def end_cancelled(self, turn: Turn) -> None:
        """Ends a turn that was cut off."""
        ...

    # --- modules

    async def publish_module_event(self, session: Session, payload: EventPayload) -> EventEnvelope:
        """Sends what a module of the session's app reports (contract: events, section 5.12)."""
        ...
