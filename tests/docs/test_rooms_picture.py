"""The picture of the rooms in docs/architecture.md is that of the code."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"


def test_the_picture_of_the_rooms_is_current() -> None:
    ran = subprocess.run(
        [sys.executable, "docs/rooms.py"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    assert ran.stdout.strip()
    assert ran.stdout.strip() in PAGE.read_text(encoding="utf-8"), "run: python docs/rooms.py --write"
