"""The Python blocks of the documentation."""

import re
from pathlib import Path
from typing import Final

BLOCK: Final = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[int, str]]:
    """The Python blocks of a page, each with the line it begins at."""
    text = page.read_text(encoding="utf-8")
    return [(text.count("\n", 0, found.start(1)), found[1]) for found in BLOCK.finditer(text)]


def run_blocks(page: Path) -> None:
    """Runs the Python blocks of a page in order, as one program."""
    namespace: dict[str, object] = {"__name__": page.stem}
    for line, source in blocks(page):
        # Blank lines before it make tracebacks name the line of the page.
        exec(compile("\n" * line + source, str(page), "exec"), namespace)
