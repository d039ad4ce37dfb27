"""Markers of the pytest plugin as decorators."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, overload

_T = TypeVar("_T", bound=Callable[..., object])


@overload
def digitorn_live(test: _T, /) -> _T: ...
@overload
def digitorn_live(*, repeats: int = 1, at_least: int | None = None) -> Callable[[_T], _T]: ...
def digitorn_live(
    test: _T | None = None, /, *, repeats: int = 1, at_least: int | None = None
) -> _T | Callable[[_T], _T]:
    """Marks a test or a class that needs a running daemon, and is skipped without one.

    It is the same as `pytest.mark.digitorn_live`. A test with repeats is one test: each repeat gets fresh
    fixtures, and the test passes if enough of them do.

    @digitorn_live(repeats=5, at_least=4)
    def test_lists_the_files(dev_client: DevClient, session: SessionHandle) -> None: ...

    Args:
        test: The test, when the decorator is used without parentheses.
        repeats: How many times to run the test.
        at_least: How many of the repeats must pass; all of them if left out.

    Raises:
        ModuleNotFoundError: pytest is not installed.
    """
    import pytest

    def mark(marked: _T) -> _T:
        pytest.mark.digitorn_live(**arguments)(marked)
        return marked

    arguments = {"repeats": repeats, "at_least": at_least} if test is None else {}
    return mark if test is None else mark(test)
