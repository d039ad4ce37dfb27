"""A short chaos run on each build; `make chaos` is the long one."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("build", ["A", "B"])
def test_nothing_is_lost_in_a_short_storm(build: str) -> None:
    # In a process of its own, since it takes all that one has.
    ran = subprocess.run(
        [sys.executable, "-m", "chaos", "--short", "--seed", "7", "--build", build],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=55,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "nothing lost" in ran.stdout
    assert "4 sessions" in ran.stdout
