"""Backoff: the pauses between attempts, which grow up to a longest one and have jitter."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

CHANCE: Final = random.Random()
"""Random numbers of this library. Those of the module `random` belong to tests, which may seed them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """A policy of pauses: exponential backoff up to a longest pause, with jitter.

    Attributes:
        first_pause: Seconds before the second attempt.
        growth: Factor by which each further pause is longer.
        longest_pause: Seconds of the longest pause.
        jitter: Random part of each pause, 0 to 1, so that many callers do not try again at once.

    Raises:
        ValueError: A number is out of range.
    """

    first_pause: float
    growth: float
    longest_pause: float
    jitter: float

    def __post_init__(self) -> None:
        check_ranges(
            ("first_pause", self.first_pause, 0, math.inf),
            ("growth", self.growth, 1, 1e6),
            ("longest_pause", self.longest_pause, 0, math.inf),
            ("jitter", self.jitter, 0, 1),
        )

    def pause(self, made: int, chance: float) -> float:
        """Seconds to wait before the next attempt.

        Args:
            made: How many attempts were made so far, 1 or more.
            chance: A random number, 0 to 1.
        """
        try:
            whole = min(self.first_pause * self.growth ** (made - 1), self.longest_pause)
        except OverflowError:
            whole = self.longest_pause if self.first_pause else 0.0
        return whole * (1 - self.jitter * chance)


class Pauses:
    """The pauses of one loop of attempts or polls, from a policy.

    Args:
        policy: How the pauses grow.
        chance: Gives random numbers, 0 to 1, for the jitter.

    Attributes:
        made: How many attempts were counted since the beginning or the last `restart`.
    """

    def __init__(self, policy: Backoff, chance: Callable[[], float] = CHANCE.random) -> None:
        self.made = 0
        self._policy = policy
        self._chance = chance

    def next(self) -> float:
        """Counts an attempt and gives the seconds to wait before the next one."""
        self.made += 1
        return self._policy.pause(self.made, self._chance())

    def restart(self) -> None:
        """Begins again with the first pause."""
        self.made = 0


def check_ranges(*ranges: tuple[str, float | None, float, float]) -> None:
    """Makes sure of numbers.

    Args:
        ranges: The name of each, the number or None for one without a limit, the least and the most.

    Raises:
        ValueError: One is out of its range.
    """
    for name, value, least, most in ranges:
        if not least <= (math.inf if value is None else value) <= most:
            raise ValueError(f"{name} must be {least:g} to {most:g}, not {value!r}")
