"""The differences that are allowed, from `allowed.toml`."""

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .compare import Difference

ALLOWED_FILE: Final = Path(__file__).with_name("allowed.toml")


@dataclass(frozen=True, slots=True)
class Allowed:
    """Differences that are allowed. In every text but the reason, `*` stands for any text.

    Attributes:
        where: The place.
        real: What the released daemon does there.
        embedded: What the embedded daemon does there.
        reason: Why the daemons may differ.
        scenarios: The scenarios in which they may.
        always: Whether the difference occurs in every run. If not, the reason says what it depends on.
    """

    where: str
    reason: str
    real: str = "*"
    embedded: str = "*"
    scenarios: Sequence[str] = ("*",)
    always: bool = True

    def fits(self, found: Difference) -> bool:
        """Whether it allows a difference.

        Args:
            found: The difference.
        """
        texts = ((self.where, found.where), (self.real, found.real), (self.embedded, found.embedded))
        return any(_fits(one, found.scenario) for one in self.scenarios) and all(
            _fits(*pair) for pair in texts
        )

    def __str__(self) -> str:
        lines = [
            f"{self.where} ({', '.join(self.scenarios)})",
            f"    real: {self.real}",
            f"    embedded: {self.embedded}",
            f"    because: {self.reason}",
        ]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of the differences of a run.

    Attributes:
        forbidden: Differences that are not allowed.
        stale: Allowed differences that did not occur, although they always do.
    """

    forbidden: list[Difference]
    stale: list[Allowed]


def read_allowed(path: Path = ALLOWED_FILE) -> list[Allowed]:
    """Reads the allowed differences.

    Args:
        path: The file.

    Raises:
        TypeError: An entry lacks its place or its reason, or has a key that means nothing.
    """
    entries: list[dict[str, Any]] = tomllib.loads(path.read_text(encoding="utf-8")).get("allowed", [])
    return [Allowed(**one) for one in entries]


def judge(found: Iterable[Difference], allowed: Iterable[Allowed]) -> Verdict:
    """Judges all differences of a run.

    Args:
        found: The differences.
        allowed: What is allowed.
    """
    differences, entries = list(found), list(allowed)
    return Verdict(
        forbidden=[one for one in differences if not any(entry.fits(one) for entry in entries)],
        stale=[entry for entry in entries if entry.always and not any(map(entry.fits, differences))],
    )


def _fits(pattern: str, text: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None
