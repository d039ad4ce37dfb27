"""Shows the whole `Check.detail` of a failed assertion."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from digitorn_testing.assertions import Check

# Pytest shows about this many characters from each end of a value in an assertion.
_SHOWN = 60
_ASSERTION = "assert "


def show_details(caught: pytest.ExceptionInfo[BaseException], *, is_short: bool) -> None:
    """Puts the detail of the failed check before the assertion's own message.

    Pytest itself prints `assert Check(ok=False, detail='expected …')`, but truncates the detail.

    Args:
        caught: The exception of a test.
        is_short: Leave out the message of pytest if it only shows the check and where it came from.
    """
    error = caught.value
    if type(error) is not AssertionError or not caught.traceback:
        return
    message = str(error)
    for check in _failed(caught.traceback[-1].frame.f_locals.values()):
        if repr(check)[:_SHOWN] in message:
            said, assertion, explained = _split(message)
            if check.detail not in said:
                said += f"{check.detail}\n"
            if is_short and explained.startswith(repr(check)[:_SHOWN]):
                assertion = explained = ""
            error.args = (f"{said}{assertion}{explained}".rstrip(),)
            return


def _split(message: str) -> tuple[str, str, str]:
    """The test's own message for its assertion, if there is one, and that of pytest."""
    if message.startswith(_ASSERTION):
        return "", _ASSERTION, message.removeprefix(_ASSERTION)
    said, assertion, explained = message.partition(f"\n{_ASSERTION}")
    return f"{said}\n", assertion.lstrip(), explained


def _failed(values: Iterable[object]) -> list[Check]:
    if "digitorn_testing.assertions" not in sys.modules:
        # Then there are no checks, and the test need not pay for the import.
        return []
    from digitorn_testing.assertions import Check

    # Pytest keeps the values of an assertion in local variables of the frame.
    return [value for value in values if isinstance(value, Check) and not value.ok]
