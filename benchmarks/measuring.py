"""CPU and wall time of work in this process and in children; alternating rounds, medians."""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

ROOT: Final = Path(__file__).resolve().parent.parent
"""The repository."""

_DEADLINE: Final = 600.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What some work took, in seconds.

    Attributes:
        cpu: CPU time, of all threads.
        wall: Time by the clock.
    """

    cpu: float
    wall: float

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(self.cpu - other.cpu, self.wall - other.wall)

    def over(self, times: int) -> "Cost":
        """What one of several took.

        Args:
            times: How many.
        """
        return Cost(self.cpu / times, self.wall / times)

    def printed(self) -> str:
        """The form in which a child reports it."""
        return json.dumps({"cpu": self.cpu, "wall": self.wall})

    @classmethod
    def read(cls, printed: str) -> Self:
        """Reads what a child printed.

        Args:
            printed: Its output.
        """
        return cls(**json.loads(printed))


def now() -> Cost:
    """Both clocks of this process; the difference of two readings is a cost."""
    return Cost(time.process_time(), time.perf_counter())


def of(work: Callable[[], object]) -> Cost:
    """What a function takes in this process.

    Args:
        work: The function.
    """
    begun = now()
    work()
    return now() - begun


def median(costs: Sequence[Cost]) -> Cost:
    """The median of each clock.

    Args:
        costs: At least one.
    """
    return Cost(statistics.median(one.cpu for one in costs), statistics.median(one.wall for one in costs))


def alternate(works: Mapping[str, Callable[[], Cost]], rounds: int) -> dict[str, Cost]:
    """Runs every work once a round, forwards and backwards in turn, and gives the median of each.

    Args:
        works: Does something and says what it took, by name.
        rounds: How many rounds.
    """
    found: dict[str, list[Cost]] = {name: [] for name in works}
    for number in range(rounds):
        for name in list(works)[:: -1 if number % 2 else 1]:
            found[name].append(works[name]())
    return {name: median(costs) for name, costs in found.items()}


def _environment() -> dict[str, str]:
    # Compiled bytecode is kept and used: what is measured is not the compiler.
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def child(command: Sequence[str | Path], *, cwd: Path) -> Cost:
    """What a process and its children take, from start to exit.

    Args:
        command: The program and its arguments.
        cwd: The folder that it runs in.

    Raises:
        RuntimeError: It failed.
    """
    before, begun = _children(), time.perf_counter()
    done = subprocess.run(
        command, cwd=cwd, env=_environment(), capture_output=True, text=True, timeout=_DEADLINE, check=False
    )
    cost = Cost(_children() - before, time.perf_counter() - begun)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return cost


def _children() -> float:
    """CPU seconds of the children that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def reported(*arguments: str) -> Cost:
    """What a Python process says that its work took; its start and its imports are not in it.

    Args:
        arguments: Those of Python.

    Raises:
        RuntimeError: It failed.
    """
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=_DEADLINE,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"python {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
    return Cost.read(done.stdout.splitlines()[-1])
