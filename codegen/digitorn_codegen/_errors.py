"""What is wrong with a contract, and where."""

from pathlib import Path


class ContractError(Exception):
    """A contract that cannot be generated from.

    Attributes:
        file: The document that is at fault.
        pointer: JSON pointer into it; empty for the document as a whole.
        reason: What is wrong, and where it helps, what to do.
    """

    def __init__(self, file: Path, pointer: str, reason: str) -> None:
        super().__init__(f"{file}#{pointer}: {reason}")
        self.file = file
        self.pointer = pointer
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return (
            type(self),
            (
                self.file,
                self.pointer,
                self.reason,
            ),
            vars(self),
        )


class SettingsError(Exception):
    """The generator's input or output settings are missing or wrong."""


class StrictError(Exception):
    """There were warnings, and the settings make them errors."""


class OutputError(Exception):
    """Code was generated that is not Python; the fault is the generator's, not the contract's."""
