"""Formats generated Python with ruff, by fixed rules: the output must not depend on anybody's settings."""

import subprocess
import sys

from ._errors import OutputError

_RULES = ["--isolated", "--quiet", "--target-version", "py311", "--line-length", "110"]


def format_source(name: str, source: str) -> str:
    """Formatted source with sorted, used imports.

    Raises:
        OutputError: ruff cannot read it, which means that a name of the contract was not made safe.
    """
    fixes = ["check", *_RULES, "--select", "I,F401,UP,RUF022", "--fix-only", "--stdin-filename", name, "-"]
    for arguments in (fixes, ["format", *_RULES, "--stdin-filename", name, "-"]):
        ran = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments],
            input=source,
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode != 0:
            raise OutputError(f"{name}: {ran.stderr.strip()}")
        source = ran.stdout
    return source
