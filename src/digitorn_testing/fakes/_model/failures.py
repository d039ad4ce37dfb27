"""The failure of a turn."""

from digitorn_testing._events.failures import FAILURES, FailureCode, failed_turn


class TurnFailed(Exception):
    """A turn cannot go on; the model gave no answer, for example.

    Attributes:
        told: What events say of it.
        code: How the daemon classifies it.
        message: What the provider said.
    """

    def __init__(self, code: FailureCode, message: str | None = None) -> None:
        self.code = code
        self.message = message or FAILURES[code].message
        self.told = failed_turn(code, self.message)
        super().__init__(self.message)

    def __reduce__(self) -> tuple[object, ...]:
        return (
            type(self),
            (
                self.code,
                self.message,
            ),
            vars(self),
        )
