"""Writes the artifacts of a test, with secrets hidden. Independent of pytest."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, cast

from pydantic import JsonValue

from digitorn_testing._events.event import LiveEvent
from digitorn_testing._generated._runtime import Model
from digitorn_testing._log.log import EventLog
from digitorn_testing._secrets.redaction import HIDDEN, Redactor
from digitorn_testing._stream.base import StreamBase

from .evidence import Evidence, Section, file_name

_REPORT = "report.txt"
_GIVEN = "artifacts"


class ArtifactsFolder:
    """The artifacts folder of one test. It is created when something is written.

    Args:
        root: The folder of the run.
        test: The test's id.
        worker: The worker process, if there are several: two may run the same test.
    """

    def __init__(self, root: Path, test: str, worker: str | None) -> None:
        # The hash distinguishes ids that differ only in characters that file names cannot contain.
        mark = blake2b(test.encode(), digest_size=4).hexdigest()
        self.path = (root / worker if worker else root) / f"{file_name(test)}-{mark}"
        self._reports: list[str] = []

    def write_report(self, title: str, text: str, sections: Iterable[Section], evidence: Evidence) -> None:
        """Writes the report of a failure and all evidence; a second failure of the test is appended.

        Args:
            title: What failed.
            text: The report of pytest.
            sections: Further sections of the report.
            evidence: What the test used.
        """
        hide = evidence.redactor().text
        parts = [f"{title}\n\n{text}", *(f"--- {name} ---\n{shown}" for name, shown in sections)]
        self._reports.append("\n\n".join(hide(part).rstrip() for part in parts))
        files = {**evidence.files(), _REPORT: "\n\n\n".join(self._reports) + "\n"}
        self.path.mkdir(parents=True, exist_ok=True)
        for left in (*self.path.glob("*.jsonl"), self.path / _REPORT):
            # They are from an earlier run.
            left.unlink(missing_ok=True)
        for name, content in files.items():
            (self.path / name).write_text(content, encoding="utf-8")

    def write_given(self, artifacts: object, redactor: Redactor) -> None:
        """Writes the artifacts that a scenario returned.

        Args:
            artifacts: Contents by name, or files; None for nothing. A content is a text, bytes, the path of a
                file, events, or anything that JSON can express.
            redactor: Hides secrets.
        """
        if artifacts is None:
            return
        folder = self.path / _GIVEN
        folder.mkdir(parents=True, exist_ok=True)
        if isinstance(artifacts, Mapping):
            named = cast("Mapping[object, object]", artifacts)
            for name, content in named.items():
                _write(folder, str(name), content, redactor)
        elif isinstance(artifacts, str | Path):
            _write(folder, Path(artifacts).name, Path(artifacts), redactor)
        elif (paths := _paths(artifacts)) is not None:
            for path in paths:
                _write(folder, path.name, path, redactor)
        else:
            _write(folder, _GIVEN, artifacts, redactor)


def _paths(artifacts: object) -> list[Path] | None:
    if not isinstance(artifacts, Sequence):
        return None
    listed = list(cast("Sequence[object]", artifacts))
    if not listed or not all(isinstance(one, str | Path) for one in listed):
        return None
    return [Path(cast("str | Path", one)) for one in listed]


def _write(folder: Path, name: str, content: object, redactor: Redactor) -> None:
    suffix, written = _written(content, redactor)
    plain = file_name(name)
    (folder / (plain if Path(plain).suffix else plain + suffix)).write_bytes(written)


def _written(content: object, redactor: Redactor) -> tuple[str, bytes]:
    """The default suffix of a content's file, and its bytes."""
    if isinstance(content, Path):
        if not content.is_file():
            return ".txt", f"{redactor.text(str(content))} is not there\n".encode()
        return content.suffix or ".bin", _without(content.read_bytes(), redactor)
    if isinstance(content, bytes | bytearray):
        return ".bin", _without(bytes(content), redactor)
    if isinstance(content, str):
        return ".txt", redactor.text(content).encode()
    if (events := _events(content)) is not None:
        return ".jsonl", "".join(f"{_json(one, redactor)}\n" for one in events).encode()
    return ".json", f"{_json(content, redactor, indent=2)}\n".encode()


def _events(content: object) -> Sequence[object] | None:
    """The events of a stream, a log or a list of events; None for anything else."""
    if isinstance(content, StreamBase | EventLog):
        return content.events()
    if not isinstance(content, Sequence):
        return None
    listed = cast("Sequence[object]", content)
    return listed if listed and all(isinstance(one, LiveEvent) for one in listed) else None


def _without(content: bytes, redactor: Redactor) -> bytes:
    for secret in redactor.known:
        content = content.replace(secret.encode(), HIDDEN.encode())
    return content


def _json(content: object, redactor: Redactor, indent: int | None = None) -> str:
    value: JsonValue = json.loads(json.dumps(content, default=_jsonable))
    return json.dumps(redactor.json(value), ensure_ascii=False, indent=indent)


def _jsonable(content: Any) -> object:
    if isinstance(content, LiveEvent):
        return content.raw
    if isinstance(content, Model):
        return content.to_wire()
    if dataclasses.is_dataclass(content) and not isinstance(content, type):
        return {field.name: getattr(content, field.name) for field in dataclasses.fields(content)}
    if isinstance(content, Mapping):
        return {str(name): one for name, one in cast("Mapping[object, object]", content).items()}
    if isinstance(content, set | frozenset | tuple):
        return list(cast("Iterable[object]", content))
    return repr(content)
