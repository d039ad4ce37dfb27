"""Notes which calls of a stream the daemon refuses or does not answer."""

from typing import Any, TypeVar

from digitorn_testing._errors import DigitornError
from digitorn_testing._generated._runtime import Call
from digitorn_testing._transport._async.transport import AsyncTransport

T = TypeVar("T")


class Refusals:
    """The latest call that was refused, and those that wait for an answer.

    Attributes:
        last: Why the latest refused call failed; None once the same operation succeeds.
    """

    def __init__(self) -> None:
        self.last: DigitornError | None = None
        self._refused = ""
        self._waiting: list[Call[Any]] = []

    def asked(self, call: Call[Any]) -> None:
        """Notes that a call is sent."""
        self._waiting.append(call)

    def answered(self, call: Call[Any], failure: DigitornError | None) -> None:
        """Notes how a call ended.

        Args:
            call: The call.
            failure: Why it failed; None if it did not.
        """
        if failure is not None:
            self.last, self._refused = failure, call.operation.id
        elif call.operation.id == self._refused:
            self.last, self._refused = None, ""

    def over(self, call: Call[Any]) -> None:
        """Notes that nobody waits for a call any more."""
        self._waiting = [one for one in self._waiting if one is not call]

    def __str__(self) -> str:
        """What was refused last, or else what is not answered yet; empty if there is neither."""
        if self.last is not None:
            return f"refused last: {self.last}"
        return ", ".join(
            f"no answer yet to {call.operation.method} {call.path} ({call.operation.id})"
            for call in self._waiting
        )


class Noting:
    """The transport of a stream's stubs, which notes what is refused.

    Args:
        transport: Sends the calls.
        refusals: Takes the notes.
    """

    def __init__(self, transport: AsyncTransport, refusals: Refusals) -> None:
        self._transport = transport
        self._refusals = refusals

    async def send(self, call: Call[T], /) -> T:
        """Sends a call and returns its typed result; see `AsyncTransport.send` for what it raises."""
        self._refusals.asked(call)
        try:
            result = await self._transport.send(call)
        except DigitornError as error:
            self._refusals.answered(call, error)
            raise
        finally:
            self._refusals.over(call)
        self._refusals.answered(call, None)
        return result
