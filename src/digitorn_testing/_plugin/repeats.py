"""Runs a test several times, and passes it if enough of its repeats pass."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, TypeGuard

import pytest
from _pytest.runner import runtestprotocol

MARKER: Final = "digitorn_live"

_RATE: Final = "digitorn_pass_rate"
_NUMBER: Final = pytest.StashKey[int]()

Watched: TypeAlias = Callable[[pytest.Item], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Repeats:
    """How often a test runs.

    Attributes:
        times: How many times it runs.
        at_least: How many of them must pass.
    """

    times: int
    at_least: int


def of(item: pytest.Item) -> Repeats | None:
    """The repeats that the marker of a test asks for; None if it runs once.

    A replay says the same every time, so a test that replays a recording runs once.

    Args:
        item: The test.

    Raises:
        pytest.UsageError: The marker has arguments that it does not take.
    """
    marker = item.get_closest_marker(MARKER)
    if marker is None or not (marker.args or marker.kwargs):
        return None
    unknown = [
        *map(repr, marker.args),
        *(name for name in marker.kwargs if name not in ("repeats", "at_least")),
    ]
    times: object = marker.kwargs.get("repeats", 1)
    at_least: object = marker.kwargs.get("at_least")
    if unknown:
        said = f"unknown arguments: {', '.join(unknown)}"
    elif not _is_count(times):
        said = f"repeats must be a whole number of 1 or more, not {times!r}"
    elif at_least is not None and not (_is_count(at_least) and at_least <= times):
        said = f"at_least must be a whole number from 1 to repeats ({times}), not {at_least!r}"
    else:
        from .recordings import replays

        found = Repeats(times, times if at_least is None else at_least)
        return None if times == 1 or replays(item) else found
    raise pytest.UsageError(f"{item.nodeid}: {MARKER}(repeats=…, at_least=…): {said}")


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def label(item: pytest.Item) -> str:
    """Which repeat of a test is running, to be put behind its name; empty if it runs once.

    Args:
        item: The test.
    """
    number = item.stash.get(_NUMBER, 0)
    return f" repeat {number}" if number else ""


class Repeating:
    """Runs the repeats of a test, and reports them as one test.

    Args:
        watched: Makes a block in which the plugin watches what a test uses.
    """

    def __init__(self, watched: Watched) -> None:
        self._watched = watched

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """Runs a test that is to be repeated."""
        wanted = of(item)
        if wanted is None:
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        repeats: list[list[pytest.TestReport]] = []
        for number in range(1, wanted.times + 1):
            # What follows a repeat is the same test, so fixtures of a wider scope stay.
            following = nextitem if number == wanted.times else copy.copy(item)
            item.stash[_NUMBER] = number
            with self._watched(item):
                repeats.append(runtestprotocol(item, log=False, nextitem=following))
            if item.session.shouldstop or item.session.shouldfail:
                break
        for report in _together(item, wanted, repeats):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Lists the pass rates, whichever process ran the tests."""
        lines = [
            f"{report.nodeid}: {value}"
            for reports in terminalreporter.stats.values()
            for report in reports
            if isinstance(report, pytest.TestReport) and report.when == "call"
            for name, value in report.user_properties
            if name == _RATE
        ]
        if lines:
            terminalreporter.section("digitorn: pass rates")
            for line in lines:
                terminalreporter.write_line(line)


def _together(
    item: pytest.Item, wanted: Repeats, repeats: list[list[pytest.TestReport]]
) -> list[pytest.TestReport]:
    """The reports of all repeats as those of one test."""
    if all(any(report.skipped for report in reports) for reports in repeats):
        return repeats[-1]
    passed = sum(all(report.passed for report in reports) for reports in repeats)
    rate = f"{passed} of {len(repeats)} passed, at least {wanted.at_least} needed"
    causes = [
        f"repeat {number}{'' if report.when == 'call' else f' ({report.when})'}: {_cause(report)}"
        for number, reports in enumerate(repeats, 1)
        for report in reports
        if not report.passed
    ]
    said = "\n".join([rate, *causes])

    def judge() -> None:
        if passed < wanted.at_least:
            pytest.fail(said, pytrace=False)

    call = _report(item, "call", judge)
    call.duration = sum(report.duration for reports in repeats for report in reports)
    call.start = call.stop - call.duration
    call.user_properties.append((_RATE, rate))
    failed = next((report for reports in repeats for report in reports if report.failed), None)
    if call.failed and failed is not None:
        number = next(number for number, reports in enumerate(repeats, 1) if failed in reports)
        call.sections.append((f"digitorn: the first failure, repeat {number}", failed.longreprtext))
        call.sections.extend(failed.sections)
    elif causes:
        call.sections.append(("digitorn: repeats", said))
    return [_report(item, "setup"), call, _report(item, "teardown")]


def _report(
    item: pytest.Item, when: Literal["setup", "call", "teardown"], judge: Callable[[], None] | None = None
) -> pytest.TestReport:
    def end() -> None:
        if judge is not None:
            judge()

    return pytest.TestReport.from_item_and_call(item, pytest.CallInfo[None].from_call(end, when=when))


def _cause(report: pytest.TestReport) -> str:
    """Why a repeat failed or was skipped, in one line."""
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2]
    crash: object = getattr(report.longrepr, "reprcrash", None)
    message: str = getattr(crash, "message", "") or report.longreprtext
    return next((line.strip() for line in message.splitlines() if line.strip()), report.outcome)
