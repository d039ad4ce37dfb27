"""What fails in the plugin itself: a warning on the test, which never ends the run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, TypeAlias, cast

import pytest

Attempt: TypeAlias = Callable[[str], AbstractContextManager[None]]
"""Makes a block whose exceptions become warnings; the argument says what the block does."""

_MOST_SHOWN: Final = 10


class DigitornWarning(pytest.PytestWarning):
    """The plugin could not do something for a test, such as writing an artifact."""


def printable(text: str) -> str:
    """A text that can be encoded: half of a surrogate pair becomes its escape, as in JSON.

    Args:
        text: Any text.
    """
    return text.encode("utf-8", "backslashreplace").decode()


def printable_values(value: object) -> object:
    """A report as pytest serialises it, with every text in it `printable`.

    Args:
        value: Its values: dicts, lists, tuples, texts and others.
    """
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        named = cast("dict[object, object]", value)
        return {printable_values(name): printable_values(one) for name, one in named.items()}
    if isinstance(value, list):
        return [printable_values(one) for one in cast("list[object]", value)]
    if isinstance(value, tuple):
        return tuple(printable_values(one) for one in cast("tuple[object, ...]", value))
    return value


class Troubles:
    """What the plugin could not do for one test.

    Attributes:
        hide: Hides the secrets of the test in a text. Until it is set, only errors of the operating system
            are quoted.
    """

    def __init__(self, item: pytest.Item) -> None:
        self.hide: Callable[[str], str] | None = None
        self._item = item
        self._told: set[str] = set()

    @contextmanager
    def attempt(self, what: str) -> Generator[None]:
        """A block whose exceptions become a warning on the test.

        Args:
            what: What the block does, after "could not".
        """
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, the run must go on
            self._tell(f"digitorn could not {what}: {self._said(error)}")

    def _said(self, error: Exception) -> str:
        kind = type(error).__name__
        if self.hide is None:
            return f"{kind}: {error}" if isinstance(error, OSError) else kind
        try:
            return self.hide(f"{kind}: {error}")
        except Exception:  # noqa: BLE001 - an error that has no text
            return kind

    def _tell(self, message: str) -> None:
        if message in self._told or len(self._told) == _MOST_SHOWN:
            return
        self._told.add(message)
        path, line, _ = self._item.reportinfo()
        warning = DigitornWarning(printable(message))
        # Not through the module `warnings`: where its filters raise, they would raise out of a hook.
        self._item.ihook.pytest_warning_recorded.call_historic(
            kwargs={
                "warning_message": warnings.WarningMessage(
                    warning, type(warning), str(path), 1 if line is None else line + 1
                ),
                "nodeid": self._item.nodeid,
                "when": "runtest",
                "location": None,
            }
        )
