"""Runs of strict mypy over generated code, without anybody's settings."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Complaint(NamedTuple):
    """An error that mypy found: the file and line, and what it says."""

    file: str
    line: int
    text: str


@dataclass(frozen=True)
class StrictMypy:
    """Strict mypy with one cache for all runs, so that what they share is checked once.

    Args:
        cache: The folder of the cache.
    """

    cache: Path

    def complaints(self, *arguments: str, folder: Path, path: Path | None = None) -> list[Complaint]:
        """The errors that a run finds.

        Args:
            arguments: What to check, and further options.
            folder: Where it runs.
            path: Where modules are looked for as well.
        """
        ran = subprocess.run(
            [
                *(sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={self.cache}"),
                *arguments,
            ],
            cwd=folder,
            env={**os.environ, "MYPYPATH": str(path or "")},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert not ran.stderr, ran.stderr
        found = re.findall(r"^(.+?):(\d+): error: (.+)$", ran.stdout, re.MULTILINE)
        assert bool(found) == bool(ran.returncode), ran.stdout
        return [Complaint(file, int(line), text) for file, line, text in found]
