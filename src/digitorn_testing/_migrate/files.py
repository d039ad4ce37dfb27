"""Rewrites files and folders."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import libcst as cst

from .rewriting import Note, rewrite


@dataclass(frozen=True)
class FileChange:
    """What the rewriting of a file comes to.

    Attributes:
        path: The file.
        before: Its source.
        after: Its source after the rewriting; the same if there is nothing to change.
        notes: What a person must do.
        problem: Why it could not be read; empty if it could.
    """

    path: Path
    before: str = ""
    after: str = ""
    notes: tuple[Note, ...] = ()
    problem: str = ""

    @property
    def is_changed(self) -> bool:
        """Whether the rewriting changes the file."""
        return self.before != self.after

    def diff(self) -> str:
        """The change as a unified diff; empty if there is none."""
        before, after = (text.splitlines(keepends=True) for text in (self.before, self.after))
        return "".join(difflib.unified_diff(before, after, str(self.path), str(self.path)))

    def write(self) -> None:
        """Writes the rewritten source into the file."""
        self.path.write_bytes(self.after.encode())


def changes(paths: Iterable[Path]) -> Iterator[FileChange]:
    """Rewrites files, without writing them.

    Args:
        paths: Files, and folders whose Python files are meant.
    """
    for path in _files(paths):
        try:
            source = path.read_bytes().decode()
            found = rewrite(source)
        except UnicodeDecodeError:
            yield FileChange(path, problem="it is not UTF-8")
        except cst.ParserSyntaxError as error:
            yield FileChange(path, problem=error.message)
        except OSError as error:
            yield FileChange(path, problem=error.strerror or str(error))
        else:
            yield FileChange(path, source, found.text, found.notes)


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            inside = (one for one in path.rglob("*.py") if not _is_hidden(one.relative_to(path)))
            yield from sorted(inside)
        else:
            yield path


def _is_hidden(path: Path) -> bool:
    """Whether a file lies in a folder such as `.venv`."""
    return any(part.startswith(".") or part in ("venv", "site-packages") for part in path.parts)
