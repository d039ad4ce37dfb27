"""Reports of failures without what only the library's own developers read.

Frames of this library, and of the packages and threads underneath, are marked with `__tracebackhide__`, which
pytest and its debugger honour; `--full-trace` shows them. Marking the frames of a failure rather than the
modules covers generated code, other packages below a call of ours, and callbacks of the test, which stay.
"""

from __future__ import annotations

import sys
from types import FrameType, TracebackType
from typing import Final, cast

import pytest
from _pytest._code.code import ExceptionChainRepr, ReprFileLocation

from digitorn_testing._base_error import DigitornError

_OURS: Final = "digitorn_testing"

_UNDERNEATH: Final = sys.stdlib_module_names | {
    "_pytest",
    "aiohttp",
    "anyio",
    "engineio",
    "fastapi",
    "h11",
    "httpcore",
    "httpx",
    "httpx2",
    "httpcore2",
    "pydantic",
    "pydantic_core",
    "socketio",
    "starlette",
    "uvicorn",
    "websockets",
}
"""What the library calls, and what calls it back on its threads and loops."""

_LOOPS: Final = frozenset({"asyncio", "anyio"})
"""What stands between two functions of an asynchronous test."""

_ALL_HIDDEN: Final = "All traceback entries are hidden"
"""How pytest begins what it prints in place of a traceback without frames."""


def hide_frames(error: BaseException) -> None:
    """Marks the frames of this library in the traceback of an error, its causes and its parts.

    Args:
        error: The exception of a test.
    """
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        _mark(one.__traceback__)
        left += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            left += cast("BaseExceptionGroup[BaseException]", one).exceptions


def _mark(traceback: TracebackType | None) -> None:
    frames: list[tuple[FrameType, str]] = []
    while traceback is not None:
        frame = traceback.tb_frame
        frames.append((frame, str(frame.f_globals.get("__name__", "")).partition(".")[0]))
        traceback = traceback.tb_next
    if all(package != _OURS for _, package in frames):
        return
    is_inside = False
    for frame, package in frames:
        # Whatever is called from here is part of the library, up to a function of the test.
        is_inside = package == _OURS or (is_inside and package in _UNDERNEATH)
        if is_inside or package in _LOOPS:
            frame.f_locals["__tracebackhide__"] = True


def shorten(
    report: pytest.TestReport, item: pytest.Item, caught: pytest.ExceptionInfo[BaseException]
) -> None:
    """Leaves out of a report what says nothing new, and gives it a line for the summary.

    Args:
        report: The report of a failure.
        item: The test.
        caught: Its exception.
    """
    error = caught.value
    shown = report.longrepr
    if not isinstance(shown, ExceptionChainRepr):
        # Another style of tracebacks, or a text.
        return
    causes = _chain(error)
    if len(causes) == len(shown.chain):
        said = str(error)
        kept = [
            part
            for part, cause in zip(shown.chain, reversed(causes), strict=True)
            if cause is error or not (isinstance(cause, DigitornError) and str(cause) in said)
        ]
        shown.chain = kept
    if (shown.reprtraceback.extraline or "").startswith(_ALL_HIDDEN):
        # As when a fixture of ours fails: the test is the place then.
        path, line, _ = item.reportinfo()
        message = caught.exconly(tryshort=True)
        shown.reprcrash = ReprFileLocation(str(path), 1 if line is None else line + 1, message)
        shown.reprtraceback.extraline = None
    if isinstance(error, DigitornError) and (crash := shown.reprcrash) is not None:
        # The summary has room for a few words, which are better spent on what happened.
        crash.message = crash.message.removeprefix(f"{type(error).__module__}.")


def _chain(error: BaseException) -> list[BaseException]:
    """An error and its causes, as pytest shows them."""
    found: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and not any(one is other for other in found):
        found.append(one)
        if isinstance(one, BaseExceptionGroup):
            break
        if one.__cause__ is not None:
            one = one.__cause__
        else:
            one = None if one.__suppress_context__ else one.__context__
    return found
