"""What a command writes: data to stdout, and what only people read to stderr."""

from __future__ import annotations

import importlib
import re
import signal
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from digitorn_testing._texts import json_text, printable

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Characters that a terminal acts on; line feed and tab are harmless."""
_LOOK_SECONDS: Final = 0.2


class NotNeeded(Exception):
    """The answer to a question is not needed any more."""


def visible(text: str) -> str:
    """A text without anything that a terminal would act on: control characters are escaped.

    Args:
        text: What somebody else wrote, such as a model.
    """
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", printable(text.replace("\r\n", "\n")))


class Terminal:
    """stdout and stderr of a command. Colours are for terminals only, and not with `$NO_COLOR`."""

    def __init__(self) -> None:
        self._out = Console(highlight=False, soft_wrap=True)
        self._err = Console(highlight=False, soft_wrap=True, stderr=True)
        self.is_in_line = False
        """Whether the last piece of a text did not end its line."""

    @property
    def is_interactive(self) -> bool:
        """Whether somebody types and reads here."""
        return sys.stdin.isatty() and self._err.is_terminal

    # --- data

    def data(self, text: str, style: str = "", *, cut: bool = False) -> None:
        """Writes a line to stdout.

        Args:
            text: The line.
            style: Colour on a terminal.
            cut: Whether to cut it where a terminal's line ends.
        """
        self.end_line()
        line = Text(visible(text), style)
        if cut and self._out.is_terminal:
            line.truncate(self._out.width, overflow="ellipsis")
        self._out.print(line)

    def columns(self, *cells: tuple[str, str]) -> None:
        """Writes a line of cells to stdout, each in its colour.

        Args:
            cells: Texts and colours.
        """
        self.end_line()
        self._out.print(Text("  ").join(Text(visible(text), style) for text, style in cells))

    def pieces(self, text: str) -> None:
        """Writes a piece of a text that streams, and shows it at once.

        Args:
            text: The piece.
        """
        if text:
            shown = visible(text)
            sys.stdout.write(shown)
            sys.stdout.flush()
            self.is_in_line = not shown.endswith("\n")

    def end_line(self) -> None:
        """Ends the line of a text that streams."""
        if self.is_in_line:
            self.is_in_line = False
            sys.stdout.write("\n")
            sys.stdout.flush()

    def json(self, value: object, *, indent: int | None = None) -> None:
        """Writes a JSON value to stdout: on one line, or indented as a document.

        Args:
            value: The value.
            indent: Blanks for each level; None for one line.
        """
        sys.stdout.write(json_text(value, indent=indent) + "\n")
        sys.stdout.flush()

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Writes a table to stdout. A terminal that is too narrow cuts the last column.

        Args:
            columns: The heads.
            rows: The cells.
        """
        lines = [[" ".join(visible(cell).split()) for cell in row] for row in (columns, *rows)]
        widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
        for number, line in enumerate(lines):
            padded = [set_cell_size(cell, width) for cell, width in zip(line, widths, strict=True)]
            self.data("  ".join(padded).rstrip(), "" if number else "bold", cut=True)

    # --- for people

    def note(self, text: str, style: str = "dim") -> None:
        """Writes a line to stderr.

        Args:
            text: The line.
            style: Colour on a terminal.
        """
        self.end_line()
        self._err.print(Text(visible(text), style))

    def error(self, text: str) -> None:
        """Writes an error to stderr.

        Args:
            text: What went wrong.
        """
        self.end_line()
        self._err.print(Text("error: ", "bold red") + Text(visible(text)))

    def ask(self, prompt: str, *, unless: Callable[[], bool] | None = None) -> str:
        """Asks whoever is at the terminal, or reads the next line of stdin.

        Args:
            prompt: What to ask.
            unless: Whether the answer is not needed any more. It is looked at while somebody types.

        Returns:
            The line, without its end.

        Raises:
            EOFError: There is none.
            NotNeeded: `unless` came true.
        """
        self.end_line()
        if sys.stdin.isatty() and sys.stdout.isatty():
            with suppress(ImportError):
                # Once it is imported, `input` edits lines and remembers them. Windows does so by itself.
                importlib.import_module("readline")
            with _looking(unless):
                return input(visible(prompt))
        self._err.print(Text(visible(prompt)), end="")
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        if not sys.stdin.isatty():
            # Nobody pressed Enter.
            self._err.print()
        return line.rstrip("\r\n")

    @contextmanager
    def busy(self, what: str) -> Generator[None]:
        """Shows that something takes its time, where somebody watches.

        Args:
            what: What takes its time.
        """
        if not self._err.is_terminal:
            yield
            return
        with self._err.status(Text(visible(what), "dim")):
            yield


@contextmanager
def _looking(unless: Callable[[], bool] | None) -> Generator[None]:
    """Interrupts what this thread waits for once a condition is true; where there are no such timers, never.

    Args:
        unless: The condition, if there is one.

    Raises:
        NotNeeded: It is true.
    """
    if unless is None or sys.platform == "win32":
        yield
        return

    def look(*_: object) -> None:
        if unless():
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise NotNeeded

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, _LOOK_SECONDS, _LOOK_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
