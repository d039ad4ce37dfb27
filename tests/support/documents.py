"""The Python examples of the documentation.

An example runs alone, as a program of its own, unless the page says what it needs:

- a page whose first example follows "Every example on this page starts with this setup:" has that one run
  before each of the others;
- an example whose introduction says that it "continues the example above" runs after that one.

A block of `text` right below an example is what the example prints; `...` stands for anything.
"""

import contextlib
import doctest
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from digitorn_testing import DevClient, LiveEventStream
from digitorn_testing.fakes import FakeDaemon

SETUP: Final = "Every example on this page starts with this setup:"
CONTINUED: Final = "continues the example above"

_BLOCK: Final = re.compile(
    r"^```python\n(?P<source>.*?)^```$(?:\n\n?```text\n(?P<printed>.*?)^```$)?", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Example:
    """A Python block of a page."""

    page: Path
    line: int
    source: str
    printed: str | None
    needs: "Example | None"

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line + 1}"

    def run(self) -> None:
        """Runs it, after those that it needs, and compares what it prints."""
        namespace: dict[str, object] = {"__name__": self.page.stem}
        try:
            self._run_in(namespace)
        finally:
            _close(namespace)

    def _run_in(self, namespace: dict[str, object]) -> None:
        if self.needs is not None:
            self.needs._run_in(namespace)
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            # Blank lines before it make tracebacks name the line of the page.
            exec(compile("\n" * self.line + self.source, str(self.page), "exec"), namespace)
        if self.printed is not None:
            same = doctest.OutputChecker().check_output(self.printed, output.getvalue(), doctest.ELLIPSIS)
            assert same, f"{self} prints\n{output.getvalue()}and the page says\n{self.printed}"


def _close(namespace: dict[str, object]) -> None:
    """Stops and closes what an example leaves open, the daemons last."""
    for kind in (LiveEventStream, DevClient, FakeDaemon):
        for one in [one for one in namespace.values() if isinstance(one, kind)]:
            one.close() if isinstance(one, DevClient) else one.stop()


def examples(page: Path) -> list[Example]:
    """The examples of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found: list[Example] = []
    setup: Example | None = None
    for block in _BLOCK.finditer(text):
        introduction = " ".join(text[: block.start()].rstrip().rpartition("\n\n")[2].split())
        needs = found[-1] if CONTINUED in introduction else setup
        line = text.count("\n", 0, block.start("source"))
        found.append(Example(page, line, block["source"], block["printed"], needs))
        if introduction.endswith(SETUP):
            assert len(found) == 1, f"{found[-1]}: the setup comes first"
            setup = found[0]
    return found
