"""Pauses between attempts: what policies of retrying and of reconnecting share."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Pauses that grow, up to a longest one, and are left to chance in part.

    Attributes:
        first_pause: Seconds before the second attempt.
        growth: How much longer each further pause is.
        longest_pause: Seconds of the longest pause.
        jitter: Part of a pause that is left to chance, 0 to 1, so that many do not come at once.

    Raises:
        ValueError: A number is out of its range.
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
            made: How many attempts there were.
            chance: A random number, 0 to 1.
        """
        try:
            whole = min(self.first_pause * self.growth ** (made - 1), self.longest_pause)
        except OverflowError:
            whole = self.longest_pause if self.first_pause else 0.0
        return whole * (1 - self.jitter * chance)


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
