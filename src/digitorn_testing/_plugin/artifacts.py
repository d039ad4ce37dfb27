"""Writes the artifacts of a test, with secrets hidden. Independent of pytest."""

import dataclasses
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, cast

from pydantic import JsonValue

from digitorn_testing._events.event import LiveEvent
from digitorn_testing._exchanges import Exchange
from digitorn_testing._generated._runtime import Model
from digitorn_testing._log.log import EventLog
from digitorn_testing._page.page import page
from digitorn_testing._page.story import Calls, Session, Source
from digitorn_testing._secrets.redaction import HIDDEN, Redactor
from digitorn_testing._stream.base import StreamBase

from .evidence import Evidence, Section
from .troubles import Attempt

_REPORT: Final = "report.txt"
_PAGE: Final = "report.html"
_GIVEN: Final = "artifacts"

# Windows has no files of these names, whatever their suffix.
_DEVICES: Final = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}
)


class ArtifactsFolder:
    """The artifacts folder of one test. It is created when something is written.

    What cannot be written is a warning on the test; the rest is written all the same.

    Args:
        root: The folder of the run.
        test: The test's id.
        worker: The worker process, if there are several: two may run the same test.
        attempt: Turns what fails here into a warning on the test.
    """

    def __init__(self, root: Path, test: str, worker: str | None, attempt: Attempt) -> None:
        # The hash distinguishes ids that differ only in characters that file names cannot contain.
        mark = blake2b(_bytes(test), digest_size=4).hexdigest()
        self.path = (root / worker if worker else root) / f"{_file_name(test)}-{mark}"
        self._attempt = attempt
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
        with self._attempt(f"write artifacts to {self.path}"):
            self.path.mkdir(parents=True, exist_ok=True)
            for left in (*self.path.glob("*.jsonl"), self.path / _REPORT, self.path / _PAGE):
                # They are from an earlier run.
                left.unlink(missing_ok=True)
            names = _Names()
            for name, content in ((_REPORT, "\n\n\n".join(self._reports) + "\n"), *evidence.files()):
                with self._attempt(f"write {self.path / name}"):
                    (self.path / names.new(name)).write_bytes(_bytes(content))
            with self._attempt(f"write {self.path / _PAGE}"):
                source = self._source(title, evidence)
                if source.sessions or source.calls:
                    (self.path / _PAGE).write_bytes(page(source))

    @property
    def page(self) -> Path | None:
        """The page of the failure; None if it was not written."""
        path = self.path / _PAGE
        return path if path.is_file() else None

    def _source(self, title: str, evidence: Evidence) -> Source:
        hide = evidence.redactor()
        return Source(
            title=hide.text(title),
            error="\n\n\n".join(self._reports),
            sessions=[
                Session(session_id=session_id, app_id=_app_of(log), log=log)
                for session_id, log in evidence.logs().items()
            ],
            calls=[
                Calls(daemon_url=hide.text(url), exchanges=[_hidden(one, hide) for one in exchanges])
                for url, exchanges in evidence.calls()
            ],
            until=datetime.now(UTC),
        )

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
        with self._attempt(f"write artifacts to {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
            names = _Names()
            for name, content in _named(artifacts):
                plain = _file_name(name)
                with self._attempt(f"write {folder / plain}"):
                    file = plain if Path(plain).suffix else plain + _suffix(content)
                    (folder / names.new(file)).write_bytes(_written(content, redactor))


def _app_of(log: EventLog) -> str:
    return next((event.app_id for event in log if event.app_id), "")


def _hidden(exchange: Exchange, redactor: Redactor) -> Exchange:
    """An exchange without the secrets of others: one client may have received what another one sent."""
    return dataclasses.replace(
        exchange,
        path=redactor.text(exchange.path),
        query=redactor.pairs(exchange.query),
        request=redactor.json(exchange.request),
        response=redactor.json(exchange.response),
        error=redactor.text(exchange.error),
    )


class _Names:
    """File names in one folder: none twice, on a file system that ignores case either."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def new(self, text: str) -> str:
        """A file name for a text.

        Args:
            text: A name with its suffix.
        """
        plain = Path(_file_name(text))
        others = (f"{plain.stem}-{number}{plain.suffix}" for number in itertools.count(2))
        found = next(
            one for one in itertools.chain([plain.name], others) if one.casefold() not in self._taken
        )
        self._taken.add(found.casefold())
        return found


def _file_name(text: str) -> str:
    """A text as a part of a file name."""
    plain = "".join(one if one.isascii() and (one.isalnum() or one in "-_.") else "_" for one in text)
    # Of a long text the end says more: the name of the test, the suffix of a file.
    plain = plain[-80:].strip(".") or "_"
    return f"_{plain}" if plain.partition(".")[0].lower() in _DEVICES else plain


def _named(artifacts: object) -> Iterable[tuple[str, object]]:
    """The contents that artifacts consist of, with their names."""
    if isinstance(artifacts, Mapping):
        return [(str(name), one) for name, one in cast("Mapping[object, object]", artifacts).items()]
    if isinstance(artifacts, str | Path):
        return [(Path(artifacts).name, Path(artifacts))]
    if (paths := _paths(artifacts)) is not None:
        return [(path.name, path) for path in paths]
    return [(_GIVEN, artifacts)]


def _paths(artifacts: object) -> list[Path] | None:
    if not isinstance(artifacts, Sequence):
        return None
    listed = list(cast("Sequence[object]", artifacts))
    if not listed or not all(isinstance(one, str | Path) for one in listed):
        return None
    return [Path(cast("str | Path", one)) for one in listed]


def _suffix(content: object) -> str:
    """The default suffix of a content's file."""
    if isinstance(content, Path):
        return (content.suffix or ".bin") if content.is_file() else ".txt"
    if isinstance(content, bytes | bytearray):
        return ".bin"
    if isinstance(content, str):
        return ".txt"
    return ".json" if _events(content) is None else ".jsonl"


def _written(content: object, redactor: Redactor) -> bytes:
    if isinstance(content, Path):
        if not content.is_file():
            return _bytes(f"{redactor.text(str(content))} is no file\n")
        return _without(content.read_bytes(), redactor)
    if isinstance(content, bytes | bytearray):
        return _without(bytes(content), redactor)
    if isinstance(content, str):
        return _bytes(redactor.text(content))
    if (events := _events(content)) is not None:
        return _bytes("".join(f"{_json(one, redactor)}\n" for one in events))
    return _bytes(f"{_json(content, redactor, indent=2)}\n")


def _bytes(text: str) -> bytes:
    """UTF-8, with half of a surrogate pair as its escape, which JSON reads back."""
    return text.encode("utf-8", "backslashreplace")


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
        content = content.replace(_bytes(secret), HIDDEN.encode())
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
