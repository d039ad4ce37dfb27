"""Where frames enter a stream, from the connection and from the daemon's durable log."""

from collections.abc import Callable

from digitorn_testing._errors import ContractViolation
from digitorn_testing._events.event import AnyEvent
from digitorn_testing._log.log import EventLog
from digitorn_testing._secrets.raising import detached


class Intake:
    """Puts frames into the log, and tells the machines of a stream about each event that is new.

    Args:
        log: The log. It is closed by an event that it does not take.
        redact: Hides the user's tokens in a text.

    Attributes:
        listeners: Are given every new event, one after the other.
    """

    def __init__(self, log: EventLog, redact: Callable[[str], str]) -> None:
        self.listeners: tuple[Callable[[AnyEvent], object], ...] = ()
        self._log = log
        self._redact = redact

    def take(self, frame: object) -> None:
        """Takes a frame.

        Args:
            frame: JSON values, normally an envelope.
        """
        try:
            event = self._log.feed(frame)
        except ContractViolation as error:
            said = self._redact(str(error))
            error.args, error.reasons = (said,), tuple(map(self._redact, error.reasons))
            self._log.close(detached(error))
            return
        if event is not None:
            for listener in self.listeners:
                listener(event)
