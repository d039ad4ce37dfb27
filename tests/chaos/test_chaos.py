"""A short chaos run; `make chaos` is the long one."""

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(200)
def test_nothing_is_lost_in_a_short_storm() -> None:
    # In a process of its own, since a run takes all that one has.
    ran = subprocess.run(
        [sys.executable, "-m", "chaos", "--short", "--seed", "7"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    drops = [int(found) for found in re.findall(r"(\d+) connections dropped", ran.stdout)]
    assert len(drops) == 1
    assert min(drops) >= 8
    assert ran.stdout.endswith("nothing lost, nothing twice, nothing out of order, nothing hung\n")
