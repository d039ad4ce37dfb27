"""The failure of a turn."""

from digitorn_testing._events.failures import FAILURES, FailureCode, failed_turn


class TurnFailed(Exception):
    """A turn cannot go on; the model gave no answer, for example.

    Attributes:
        told: What events say of it.
        code: How the daemon classifies it.
        message: Text for people.
    """

    def __init__(self, code: FailureCode, message: str | None = None) -> None:
        self.told = failed_turn(code, message or FAILURES[code].message, error_type=type(self).__name__)
        self.code = code
        self.message = self.told.message
        super().__init__(self.message)
