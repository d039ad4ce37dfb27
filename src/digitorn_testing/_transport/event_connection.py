"""A connection to a daemon for its events, over the network or in process."""

from typing import Protocol, TypeVar

from pydantic import ValidationError

from digitorn_testing._errors import ContractViolation, TooLarge
from digitorn_testing._generated._runtime import Command, Model, reasons
from digitorn_testing._generated.commands import CommandError
from digitorn_testing._secrets.raising import raise_detached

Request = TypeVar("Request", bound=Model)
Ack = TypeVar("Ack", bound=Model)


class HandshakeRefused(Exception):
    """The daemon refused the connection; its words do not say why (contract: events, section 1)."""


class EventConnection(Protocol):
    """A connection to a daemon that receives events and sends commands."""

    async def connect(self, token: str | None, timeout: float) -> None:
        """Connects and authenticates.

        Args:
            token: The access token.
            timeout: Seconds for the whole handshake.

        Raises:
            HandshakeRefused: The daemon refused the connection.
            ApiError: The request for a WebSocket was answered with another status.
            DaemonUnreachable: There is no daemon.
        """
        ...

    async def call(
        self, command: Command[Request, Ack], request: Request, timeout: float
    ) -> Ack | CommandError:
        """Sends a command and waits for its acknowledgement.

        Args:
            command: Which command.
            request: Its argument.
            timeout: Seconds to wait for the acknowledgement.

        Raises:
            DaemonUnreachable: The connection was lost, or no acknowledgement came in time.
            ContractViolation: The acknowledgement breaks the contract.
        """
        ...

    @property
    def connected(self) -> bool:
        """Whether the connection is up."""
        ...

    @property
    def violation(self) -> TooLarge | None:
        """Why the connection ended, if reconnecting would not help."""
        ...

    async def close(self, *, abruptly: bool = False) -> None:
        """Closes the connection; closing a closed one does nothing.

        Args:
            abruptly: Skip the closing handshake, which a peer that has gone would not answer.
        """
        ...


def read_ack(command: Command[Request, Ack], raw: object) -> Ack | CommandError:
    """The typed acknowledgement of a command.

    Args:
        command: Which command.
        raw: The acknowledgement as it came.

    Raises:
        ContractViolation: The acknowledgement breaks the contract.
    """
    try:
        return command.ack.from_wire(raw)
    except ValidationError as error:
        unfit = reasons(error)
    try:
        return CommandError.from_wire(raw)
    except ValidationError:
        raise_detached(ContractViolation(f"the acknowledgement of {command.name!r}", unfit))
