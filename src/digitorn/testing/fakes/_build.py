"""What differs between builds of the daemon (contract: events, at its head)."""

from collections.abc import Callable
from typing import Protocol

from digitorn.testing._generated.events import ApprovalRequest, EventEnvelope
from digitorn.testing._generated.messages import JoinSessionAck, JoinSessionRequest

from ._envelopes import Op
from ._failures import TurnFailed
from ._sessions import Session, Turn


class Build(Protocol):
    """How one build greets, joins, asks for approvals and ends turns."""

    def handshake(self, user_id: str) -> EventEnvelope:
        """What a socket is greeted with."""
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

    async def ask_approval(self, session: Session, payload: ApprovalRequest, op: Op) -> None:
        """Tells everybody concerned that a call waits for a decision."""
        ...

    async def end_completed(self, turn: Turn, content: str) -> None:
        """Ends a turn that the model answered with a text."""
        ...

    async def end_failed(self, turn: Turn, failure: TurnFailed) -> None:
        """Ends a turn that failed."""
        ...

    async def end_cancelled(self, turn: Turn) -> None:
        """Ends a turn that was cut off."""
        ...
