"""The tables, as Markdown: the goals, what was measured beside what, and the machine."""

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Final

_PACKAGES: Final = (
    "pydantic",
    "pydantic-core",
    "httpx",
    "aiohttp",
    "python-socketio",
    "python-engineio",
    "orjson",
    "openapi-python-client",
    "pytest",
)


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure that the library aims at.

    Attributes:
        what: What is compared.
        figure: What was measured, in words.
        aim: What is aimed at.
        reached: Whether it was reached; None where nothing says so.
    """

    what: str
    figure: str
    aim: str
    reached: bool | None = None


def at_least(what: str, figure: float, least: float) -> Goal:
    """A ratio that is to be high.

    Args:
        what: What is compared.
        figure: What was measured.
        least: What is aimed at.
    """
    return Goal(what, f"{figure:.2f}", f"≥ {least:.2f}", figure >= least)


def at_most(what: str, figure: float, most: float, unit: str = "", digits: int = 2) -> Goal:
    """A ratio or a time that is to be low.

    Args:
        what: What is compared.
        figure: What was measured.
        most: What is aimed at.
        unit: The unit of both.
        digits: How many digits behind the point are shown.
    """
    return Goal(what, f"{figure:.{digits}f}{unit}", f"≤ {most:.{digits}f}{unit}", figure <= most)


@dataclass(frozen=True, slots=True)
class Section:
    """What one module measured.

    Attributes:
        title: Heading of its table.
        note: What was done.
        head: Names of the columns; the first holds text, the others numbers.
        rows: The cells.
        goals: What is aimed at.
    """

    title: str
    note: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    goals: Sequence[Goal] = field(default_factory=tuple)

    def lines(self) -> Iterable[str]:
        """Its part of the document."""
        yield from (f"## {self.title}", "", self.note, "")
        if self.rows:
            yield from (*_table(self.head, self.rows), "")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|---{'|---:' * (len(head) - 1)}|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def document(sections: Sequence[Section], rounds: int, seconds: float) -> str:
    """The whole document.

    Args:
        sections: What was measured.
        rounds: How many rounds.
        seconds: How long all of it took.
    """
    verdict = {True: "yes", False: "no", None: ""}
    goals = [
        (one.what, one.figure, one.aim, verdict[one.reached]) for section in sections for one in section.goals
    ]
    lines = [
        "# Results",
        "",
        f"Written by `make bench` in {seconds / 60:.1f} minutes: medians of alternating rounds ({rounds}; "
        "fewer for long runs, more for short ones). Ratios are of CPU time. [README.md](README.md) explains "
        "the rows.",
        "",
        *_table(("what", "measured", "goal", "reached"), goals),
        "",
        *(line for section in sections for line in section.lines()),
        "## Machine and versions",
        "",
        *_table(("what", "which"), _machine()),
        "",
    ]
    return "\n".join(lines)


def _machine() -> Iterable[tuple[str, str]]:
    yield "CPU", f"{_cpu()}, {os.cpu_count()} cores"
    yield "system", f"{platform.system()} {platform.release().split('-')[0]}, {platform.machine()}"
    yield "load at the end", f"{os.getloadavg()[0]:.1f}"
    yield "Python", f"{platform.python_implementation()} {platform.python_version()}"
    for name in _PACKAGES:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            yield name, "not installed"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or "unknown"
