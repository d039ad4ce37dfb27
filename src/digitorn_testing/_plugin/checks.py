"""Shows the whole `Check.detail` of an assertion that failed."""

from collections.abc import Iterable

import pytest

from digitorn_testing.assertions import Check

# Of a value in an assertion pytest shows about this many characters at the beginning, and as many at the end.
_SHOWN = 60
_ASSERTION = "assert "


def show_details(caught: pytest.ExceptionInfo[BaseException]) -> None:
    """Puts before an assertion that failed the detail of the check that it is about.

    Pytest says `assert Check(ok=False, detail='expected …')` by itself, but cuts the detail off.

    Args:
        caught: What a test raised.
    """
    error = caught.value
    if type(error) is not AssertionError or not caught.traceback:
        return
    message = str(error)
    for check in _failed(caught.traceback[-1].frame.f_locals.values()):
        if repr(check)[:_SHOWN] in message:
            said, assertion, explained = _split(message)
            if check.detail not in said:
                error.args = (f"{said}{check.detail}\n{assertion}{explained}",)
            return


def _split(message: str) -> tuple[str, str, str]:
    """What a test says about its assertion, if anything, and what pytest does."""
    if message.startswith(_ASSERTION):
        return "", _ASSERTION, message.removeprefix(_ASSERTION)
    said, assertion, explained = message.partition(f"\n{_ASSERTION}")
    return f"{said}\n", assertion.lstrip(), explained


def _failed(values: Iterable[object]) -> list[Check]:
    # Pytest keeps the parts of an assertion in variables of the frame.
    return [value for value in values if isinstance(value, Check) and not value.ok]
