"""The file format of recordings: what a stream or a client saw, and how to read it.

A recording is a text file with one JSON object per line. Each line ends with a checksum of the rest of the
line, which locates damage. Every writer begins with a header, so several writers may append to one file, even
at the same time:

    {"record":"header","format":"digitorn-recording","version":1,"part":"1f0c…",…}
    {"record":"stream","stream":"1f0c….1","session_id":"s-1",…}
    {"record":"event","stream":"1f0c….1","at":"…","frame":{…}}
    {"record":"exchange","part":"1f0c…","exchange":{…}}
    {"record":"ending","stream":"1f0c….1","correlation_id":"fp-1","status":"cancelled"}
    {"record":"end","part":"1f0c…"}
"""

import json
import re
import warnings
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeAlias, cast, get_args

from pydantic import TypeAdapter, ValidationError

from digitorn_testing._errors import RecordingDamaged, RecordingError
from digitorn_testing._events.meaning import TurnEnding
from digitorn_testing._exchanges import Exchange
from digitorn_testing._generated._runtime import reasons
from digitorn_testing._handles import SessionHandle
from digitorn_testing._texts import json_text

FORMAT: Final = "digitorn-recording"
VERSION: Final = 1

FilePath: TypeAlias = str | PathLike[str]
OnDamage: TypeAlias = Literal["warn", "raise"]

BEGINNING: Final = f'{{"record":"header","format":"{FORMAT}"'.encode()
"""The first bytes of every recording."""
_CHECKSUM: Final = re.compile(rb',"crc":"([0-9a-f]{8})"\}$')
_MEMBERS: Final[Mapping[str, frozenset[str]]] = {
    "header": frozenset({"record", "format", "version", "part", "at", "contract", "library", "daemon_url"}),
    "stream": frozenset({"record", "stream", "app_id", "session_id", "since"}),
    "event": frozenset({"record", "stream", "at", "frame"}),
    "exchange": frozenset({"record", "part", "exchange"}),
    "ending": frozenset({"record", "stream", "correlation_id", "status"}),
    "end": frozenset({"record", "part"}),
}
"""The members of each kind of line."""
_OPTIONAL: Final = frozenset({"cut"})
_STATUSES: Final[tuple[str, ...]] = get_args(TurnEnding)


def line_of(record: Mapping[str, object]) -> bytes:
    """A record as a line of the file, with its checksum.

    Args:
        record: JSON values.
    """
    text = json_text(record, separators=(",", ":")).encode()
    return b'%s,"crc":"%08x"}\n' % (text[:-1], zlib.crc32(text))


class _Damage(Exception):
    """A line cannot be read."""


def _record(line: bytes) -> dict[str, Any]:
    """The record in a line without its end.

    Raises:
        _Damage: The line is not a record.
    """
    text = line
    if (found := _CHECKSUM.search(line)) is not None:
        text = line[: found.start()] + b"}"
        if int(found[1], 16) != zlib.crc32(text):
            raise _Damage("its checksum does not fit")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _Damage(f"it is no JSON ({error})") from None
    if not isinstance(value, dict):
        raise _Damage("it is no JSON object")
    record = cast("dict[str, Any]", value)
    members = _MEMBERS.get(str(record.get("record")))
    if members is None or not members <= record.keys() <= members | _OPTIONAL:
        raise _Damage("it is no line of a recording")
    return record


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    offset: int
    record: dict[str, Any]


class Lines:
    """The complete lines of a recording, up to the first damage.

    Args:
        content: The file.
        path: Named in errors.

    Attributes:
        end: Bytes up to the end of the last complete line.
        is_terminated: Whether that line ends with a newline.
        damage: What is wrong after it; None if nothing is. Set once the lines have been read.
        is_torn: Whether the damage is an incomplete last line.

    Raises:
        RecordingError: The file is not a recording, or has a later version.
    """

    def __init__(self, content: bytes, path: str) -> None:
        self._content = content
        self._path = path
        self.end = 0
        self.is_terminated = True
        self.damage: RecordingDamaged | None = None
        self.is_torn = False
        if not (content.startswith(BEGINNING) or BEGINNING.startswith(content)):
            raise RecordingError(path, "this is no recording")

    def __iter__(self) -> Iterator[_Line]:
        number, offset = 0, 0
        while offset < len(self._content):
            number += 1
            newline = self._content.find(b"\n", offset)
            end = newline if newline >= 0 else len(self._content)
            try:
                record = _record(self._content[offset:end])
            except _Damage as damage:
                self._damaged(number, offset, str(damage), torn=newline < 0)
                return
            if record["record"] == "header":
                self._check_version(record)
            self.end = min(end + 1, len(self._content))
            self.is_terminated = newline >= 0
            yield _Line(number, offset, record)
            offset = end + 1
        if number == 0:
            self._damaged(1, 0, "the file is empty", torn=True)

    def broken(self, line: _Line, reason: str) -> None:
        """Notes that a line has invalid content."""
        self._damaged(line.number, line.offset, reason, torn=False)

    def _damaged(self, number: int, offset: int, reason: str, *, torn: bool) -> None:
        said = "it breaks off" if torn and reason != "the file is empty" else reason
        lost = len(self._content) - offset
        self.end, self.is_torn = offset, torn
        self.damage = RecordingDamaged(self._path, line=number, offset=offset, lost=lost, reason=said)

    def _check_version(self, header: Mapping[str, object]) -> None:
        version = header["version"]
        if not isinstance(version, int) or version > VERSION:
            raise RecordingError(
                self._path, f"it is of version {version}; this library reads up to version {VERSION}"
            )


# --- reading


@dataclass(slots=True)
class RecordedStream:
    """What one stream saw of its session.

    Attributes:
        session: The session.
        since: Only the session's events after this number were expected.
        frames: The raw frames in order of arrival, including copies.
        endings: How turns ended of which no event says so.
    """

    session: SessionHandle
    since: int
    frames: list[object] = field(default_factory=list[object])
    endings: dict[str, TurnEnding] = field(default_factory=dict[str, TurnEnding])


class RecordedFile:
    """What a recording holds.

    Attributes:
        path: The file.
        exchanges: The calls over REST, in order.
        damage: Where it is cut off or damaged; None if it is whole.
        is_complete: Whether every writer was stopped properly; False if one was killed.
    """

    def __init__(self, path: FilePath) -> None:
        self.path = Path(path)
        self.damage: RecordingDamaged | None = None
        self.exchanges: tuple[Exchange, ...] = ()
        self.is_complete = False
        self._streams: dict[str, RecordedStream] = {}

    @classmethod
    def load(cls, path: FilePath, *, damaged: OnDamage = "warn") -> Self:
        """Reads a recording.

        Args:
            path: The file.
            damaged: What to do about one that is cut off or damaged: `warn` with `RecordingDamaged` and load
                everything before the damage, or `raise` it.

        Raises:
            RecordingError: The file is not a recording, or has a later version.
            RecordingDamaged: It is damaged, and `damaged` is `raise` or warnings are errors.
            OSError: It cannot be read.
        """
        recording = cls(path)
        recording._read()
        if recording.damage is not None:
            if damaged == "raise":
                raise recording.damage
            warnings.warn(recording.damage, stacklevel=2)
        return recording

    @property
    def sessions(self) -> tuple[SessionHandle, ...]:
        """Its sessions, in order of first appearance."""
        return tuple({one.session.session_id: one.session for one in self._streams.values()}.values())

    def streams(self, session: SessionHandle | str | None = None) -> list[RecordedStream]:
        """What the streams of a session saw.

        Args:
            session: The session; optional if there is only one.

        Raises:
            RecordingError: The session is not recorded, or there are several and `session` is missing.
        """
        wanted = self._session_id(session)
        return [one for one in self._streams.values() if one.session.session_id == wanted]

    def _session_id(self, session: SessionHandle | str | None) -> str:
        ids = [one.session_id for one in self.sessions]
        wanted = session.session_id if isinstance(session, SessionHandle) else session
        if wanted is None and len(ids) == 1:
            return ids[0]
        if wanted not in ids:
            listed = ", ".join(ids) or "none"
            what = f"no session {wanted!r} in it" if wanted else "which session? pass session="
            raise RecordingError(str(self.path), f"{what}; its sessions: {listed}")
        return wanted

    def _read(self) -> None:
        lines = Lines(self.path.read_bytes(), fspath(self.path))
        exchanges: list[Exchange] = []
        urls: dict[str, str] = {}
        for line in lines:
            try:
                self._take(line.record, urls, exchanges)
            except ValidationError as error:
                lines.broken(line, f"it holds no exchange ({'; '.join(reasons(error))})")
                break
            except (KeyError, TypeError, ValueError) as error:
                lines.broken(line, f"it does not say what it should ({type(error).__name__}: {error})")
                break
        self.exchanges = tuple(exchanges)
        self.damage = lines.damage
        # The remaining parts were begun but not ended.
        self.is_complete = self.damage is None and not urls

    def _take(self, record: dict[str, Any], urls: dict[str, str], exchanges: list[Exchange]) -> None:
        match record["record"]:
            case "header":
                urls[_text(record, "part")] = _text(record, "daemon_url")
            case "stream":
                name, since = _text(record, "stream"), _number(record, "since")
                session = SessionHandle(
                    session_id=_text(record, "session_id"),
                    app_id=_text(record, "app_id"),
                    daemon_url=urls[name.partition(".")[0]],
                )
                self._streams[name] = RecordedStream(session, since)
            case "event":
                self._streams[_text(record, "stream")].frames.append(record["frame"])
            case "exchange":
                exchanges.append(_exchanges().validate_python(record["exchange"]))
            case "ending":
                status = _text(record, "status")
                if status not in _STATUSES:
                    raise ValueError(f"no turn ends {status!r}")
                endings = self._streams[_text(record, "stream")].endings
                endings[_text(record, "correlation_id")] = cast("TurnEnding", status)
            case _:
                del urls[_text(record, "part")]

    def __repr__(self) -> str:
        state = "damaged" if self.damage is not None else "complete" if self.is_complete else "not ended"
        return f"<{type(self).__name__} {self.path}, {state}, {len(self.sessions)} sessions>"


@cache
def _exchanges() -> TypeAdapter[Exchange]:
    return TypeAdapter(Exchange)


def _number(record: Mapping[str, object], name: str) -> int:
    value = record[name]
    if not isinstance(value, int):
        raise TypeError(f"{name} is {value!r}")
    return value


def _text(record: Mapping[str, object], name: str) -> str:
    value = record[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}")
    return value
