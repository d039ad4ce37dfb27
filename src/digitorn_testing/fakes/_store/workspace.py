"""The files of a session's workspace, in memory."""

import difflib
import re
import time
from dataclasses import dataclass, field

from digitorn_testing._generated import models
from digitorn_testing.fakes._model.requests import ModelAttachment

from .attachments import text_of


def is_valid_path(path: str) -> bool:
    """Whether a text names a file inside a workspace."""
    return "\x00" not in path and all(part not in ("", ".", "..") for part in path.split("/"))


@dataclass(frozen=True, slots=True)
class Version:
    """What was written to a file once.

    Attributes:
        content: The content.
        source: Who wrote it.
        approved: Whether it needs no approval.
        written_at: When it was written, seconds since the Unix epoch.
    """

    content: str
    source: str
    approved: bool
    written_at: float = field(default_factory=time.time)

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return len(self.content.encode())

    @property
    def validation(self) -> str:
        """Whether it is approved, as the contract says it."""
        return "approved" if self.approved else "pending"

    def revision(self) -> dict[str, object]:
        """It as one entry of the file's history, whose keys the contract leaves open."""
        return {
            "content": self.content,
            "size": self.size,
            "source": self.source,
            "validation": self.validation,
            "written_at": self.written_at,
        }


@dataclass(frozen=True, slots=True)
class File:
    """One file.

    Attributes:
        path: Its path in the workspace.
        versions: What was written to it, oldest first; never empty.
        attachment: What the user attached, of which it holds the text.
    """

    path: str
    versions: tuple[Version, ...]
    attachment: ModelAttachment | None = None

    @property
    def latest(self) -> Version:
        """What it holds."""
        return self.versions[-1]

    @property
    def baseline(self) -> str | None:
        """The content that was approved last; None if none was."""
        return next((one.content for one in reversed(self.versions) if one.approved), None)

    def meta(self) -> models.FileMeta:
        """What is known of it."""
        return models.FileMeta(
            path=self.path,
            size=self.latest.size,
            mtime=self.latest.written_at,
            source=self.latest.source,
            validation=self.latest.validation,
            lines=len(self.latest.content.splitlines()),
            updated_at=self.latest.written_at,
        )

    def with_content(self) -> models.FileWithContent:
        """What is known of it, and what it holds."""
        return models.FileWithContent.from_wire({**self.meta().to_wire(), "content": self.latest.content})

    def pending_diff(self) -> str | None:
        """The change since the approved content, as a unified diff; None if there is none to approve."""
        if self.latest.approved:
            return None
        before = (self.baseline or "").splitlines(keepends=True)
        after = self.latest.content.splitlines(keepends=True)
        return "".join(difflib.unified_diff(before, after, f"a/{self.path}", f"b/{self.path}"))


@dataclass(frozen=True, slots=True)
class Undone:
    """A write that was taken back.

    Attributes:
        path: Path of the file.
        restored: The file as it was before; None if the write had made it.
    """

    path: str
    restored: File | None


class Workspace:
    """The files of one session, and the writes that can be taken back."""

    def __init__(self) -> None:
        self._files: dict[str, File] = {}
        # Each write as the path and the file before it.
        self._writes: list[Undone] = []

    @property
    def files(self) -> list[File]:
        """The files in order of their paths."""
        return [self._files[path] for path in sorted(self._files)]

    @property
    def writes(self) -> int:
        """How many writes can be taken back."""
        return len(self._writes)

    def get(self, path: str) -> File | None:
        """The file with that path, or None."""
        return self._files.get(path)

    def write(self, path: str, version: Version) -> File:
        """Writes a file, which need not exist.

        Args:
            path: Its path, which must be valid.
            version: What is written.
        """
        before = self._files.get(path)
        self._writes.append(Undone(path, before))
        written = File(path, (*(before.versions if before is not None else ()), version))
        self._files[path] = written
        return written

    def attach(self, attachment: ModelAttachment) -> None:
        """Puts the text of an attached file among the files, and keeps its bytes."""
        name = re.sub(r"[^A-Za-z0-9._\-() ]+", "_", attachment.name).strip("._ ") or "file"
        path = f"attachments/{name}"
        version = Version(text_of(attachment), "attachment", approved=True)
        self._files[path] = File(path, (version,), attachment)

    def undo(self) -> Undone | None:
        """Takes back the last write; None if there is none."""
        if not self._writes:
            return None
        undone = self._writes.pop()
        if undone.restored is None:
            del self._files[undone.path]
        else:
            self._files[undone.path] = undone.restored
        return undone

    def copy(self) -> "Workspace":
        """A workspace with the same files, in which nothing was written yet."""
        copied = Workspace()
        copied._files = dict(self._files)
        return copied
