"""A connection to a daemon for its events, over whatever it goes."""

from typing import Protocol, TypeVar

from pydantic import ValidationError

from digitorn_testing._errors import ContractViolation, TooLarge
from digitorn_testing._generated._runtime import Command, Model, reasons
from digitorn_testing._generated.commands import CommandError
from digitorn_testing._secrets.raising import raise_detached

Request = TypeVar("Request", bound=Model)
Ack = TypeVar("Ack", bound=Model)


class HandshakeRefused(Exception):
    """The daemon answered and refused the connection; it does not say why (contract: events, section 1)."""


class EventConnection(Protocol):
    """A connection to a daemon, over which events come and commands go."""

    async def connect(self, token: str | None, timeout: float) -> None:
        """Connects and authenticates.

        Args:
            token: The access token.
            timeout: Seconds for the whole handshake.

        Raises:
            HandshakeRefused: The daemon refused the connection.
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
            DaemonUnreachable: The connection is gone or no acknowledgement came.
            ContractViolation: The acknowledgement is not what the contract says.
        """
        ...

    @property
    def connected(self) -> bool:
        """Whether the connection stands."""
        ...

    @property
    def violation(self) -> TooLarge | None:
        """Why the connection ended, when another one would fare no better."""
        ...

    async def close(self, *, abruptly: bool = False) -> None:
        """Ends the connection. May be called again.

        Args:
            abruptly: Whether to do without taking leave, which a peer that has gone would not answer.
        """
        ...


def read_ack(command: Command[Request, Ack], raw: object) -> Ack | CommandError:
    """The typed acknowledgement of a command.

    Args:
        command: Which command.
        raw: What came.

    Raises:
        ContractViolation: It is not what the contract says.
    """
    try:
        return command.ack.from_wire(raw)
    except ValidationError as error:
        unfit = reasons(error)
    try:
        return CommandError.from_wire(raw)
    except ValidationError:
        raise_detached(ContractViolation(f"the acknowledgement of {command.name!r}", unfit))
