"""Writes recordings: raw events and exchanges as JSON lines, without secrets."""

import contextlib
import itertools
import logging
import os
import threading
import uuid
from collections.abc import Generator, Iterable, Mapping
from datetime import UTC, datetime
from io import FileIO
from types import TracebackType
from typing import Final, Protocol, Self, TypeAlias
from urllib.parse import urlsplit, urlunsplit
from weakref import WeakSet

from pydantic import JsonValue

from digitorn_testing._concurrency.forks import in_forks, leave_behind
from digitorn_testing._errors import RecordingError
from digitorn_testing._events.meaning import TurnEnding
from digitorn_testing._exchanges import Exchange, Exchanges
from digitorn_testing._generated import CONTRACT_VERSION
from digitorn_testing._handles import SessionHandle
from digitorn_testing._log.log import EventLog
from digitorn_testing._log.recorded import FORMAT, VERSION, FilePath, Lines, line_of
from digitorn_testing._turns.endings import TurnEndings
from digitorn_testing._version import __version__

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows, where one process writes a recording
    fcntl = None  # type: ignore[assignment] # the module does not exist there

_logger = logging.getLogger("digitorn.testing")
_NEWLINE: Final = b"\n"


class Recorded(Protocol):
    """A stream, blocking or async."""

    log: EventLog
    endings: TurnEndings

    @property
    def session(self) -> SessionHandle:
        """The session."""
        ...


class Recorder:
    """Writes a recording until you call `stop`, leave it as a context manager, or end the stream or client
    that it records.

    Each line is written immediately and as a whole, so a killed process leaves a readable recording. An
    existing file is appended to; several writers may do so at the same time. If a killed writer left an
    incomplete last line, it is removed first, and the header says so.

    Attributes:
        path: The file.
        error: Why writing failed; None if it did not. `stop` raises it.
    """

    def __init__(self, path: FilePath, *, exchanges: Exchanges, daemon_url: str) -> None:
        self.path = os.fspath(path)
        self.error: RecordingError | None = None
        self._exchanges = exchanges
        self._lock = threading.Lock()
        self._part = _new_part()
        # A log holds its tap; a recording does not hold the logs of streams that are gone.
        self._taps: WeakSet[_Tap] = WeakSet()
        self._numbers = itertools.count(1)
        self._told = False
        # Unbuffered, so that written data survives if this process is killed.
        self._file: FileIO | None = open(self.path, "ab+", buffering=0)  # noqa: SIM115 - closed by stop
        try:
            self._begin(self._file, daemon_url)
        except BaseException:
            self._file.close()
            raise
        in_forks(self)
        exchanges.listen(self._exchanged)

    def _begin(self, file: FileIO, daemon_url: str) -> None:
        header = _header(self._part, self._exchanges.redactor.text(daemon_url))
        with _alone(file):
            file.seek(0)
            content = file.readall()
            if content:
                header |= self._repair(file, content)
            _append(file, line_of(header))

    def _repair(self, file: FileIO, content: bytes) -> dict[str, object]:
        lines = Lines(content, self.path)
        for _ in lines:
            pass
        if lines.damage is None:
            if not lines.is_terminated:
                _append(file, _NEWLINE)
            return {}
        if not lines.is_torn:
            # Anything appended after the damage could not be read.
            raise lines.damage
        file.truncate(lines.end)
        _logger.warning("%s: %s; it is taken off", self.path, lines.damage.reason)
        return {"cut": {"offset": lines.end, "bytes": lines.damage.lost}}

    # --- what is recorded

    def add(self, stream: Recorded) -> None:
        """Records the events that a stream already has, and then every new one.

        Args:
            stream: The stream.
        """
        if self._file is None:
            return
        tap = _Tap(self, f"{self._part}.{next(self._numbers)}", stream)
        self._taps.add(tap)
        session = stream.session
        self._write(_stream(tap.name, session.app_id, session.session_id, stream.log.since))
        tap.open()

    def event(self, stream: str, frame: object) -> None:
        """Records a frame of a stream."""
        redactor = self._exchanges.redactor
        record: dict[str, object] = {"record": "event", "stream": stream, "at": _now()}
        try:
            # Frames are JSON values; anything else is reported below.
            line = line_of({**record, "frame": redactor.json(frame)})  # type: ignore[arg-type] # JSON
        except (ValueError, TypeError, RecursionError) as error:
            line = line_of({**record, "frame": f"not recorded: {type(error).__name__}"})
        self._put(line)

    def ending(self, stream: str, correlation_id: str, status: TurnEnding) -> None:
        """Records how a turn ended if no event says so."""
        self._write(
            {"record": "ending", "stream": stream, "correlation_id": correlation_id, "status": status}
        )

    def _exchanged(self, exchange: Exchange) -> None:
        self._write({"record": "exchange", "part": self._part, "exchange": exchange.to_wire()})

    def _write(self, record: Mapping[str, object]) -> None:
        self._put(line_of(record))

    def _put(self, line: bytes) -> None:
        with self._lock:
            if self._file is None or self.error is not None:
                return
            try:
                with _alone(self._file):
                    _append(self._file, line)
            except OSError as error:
                self.error = RecordingError(self.path, f"it cannot be written any further: {error}")
                self.error.__cause__ = error
                _logger.error("%s", self.error)

    # --- life

    @property
    def is_stopped(self) -> bool:
        """Whether it has ended."""
        return self._file is None

    def stop(self) -> None:
        """Ends the recording. Idempotent.

        Raises:
            RecordingError: Not everything could be written. Only the first call raises it.
        """
        # Before taking the lock: a tap waits for it while holding the lock of its log.
        self._exchanges.unlisten(self._exchanged)
        for tap in list(self._taps):
            tap.close()
        self._write({"record": "end", "part": self._part})
        with self._lock:
            file, self._file = self._file, None
            if file is not None:
                file.close()
        if self.error is not None and not self._told:
            self._told = True
            raise self.error

    def after_fork(self) -> None:
        """Leaves the recording to the parent."""
        self._lock = threading.Lock()
        if self._file is not None:
            leave_behind(self._file)
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.stop()
        except RecordingError:
            # A failure in the test itself is more important.
            if error is None:
                raise

    def __repr__(self) -> str:
        state = "failed" if self.error is not None else "stopped" if self.is_stopped else "recording"
        return f"<{type(self).__name__} of {self.path}, {state}>"


class _Tap:
    """Receives a stream's frames."""

    def __init__(self, recorder: Recorder, name: str, stream: Recorded) -> None:
        self.name = name
        self._recorder = recorder
        self._log = stream.log
        self._endings = stream.endings

    def open(self) -> None:
        self._endings.listen(self._ended)
        self._log.tap(self._came)

    def close(self) -> None:
        self._log.untap(self._came)
        self._endings.unlisten(self._ended)

    def _came(self, frame: object) -> None:
        self._recorder.event(self.name, frame)

    def _ended(self, correlation_id: str, status: TurnEnding) -> None:
        self._recorder.ending(self.name, correlation_id, status)


class Recorders:
    """The recordings of a client or a stream.

    Args:
        exchanges: The REST calls.
        daemon_url: The daemon.
    """

    def __init__(self, exchanges: Exchanges, daemon_url: str) -> None:
        self._exchanges = exchanges
        self._daemon_url = daemon_url
        self._running: list[Recorder] = []
        self._streams: WeakSet[Recorded] = WeakSet()

    def record(self, path: FilePath) -> Recorder:
        """Begins a recording of every existing and future stream.

        Args:
            path: The file.
        """
        recorder = Recorder(path, exchanges=self._exchanges, daemon_url=self._daemon_url)
        for stream in list(self._streams):
            recorder.add(stream)
        self._running = [*(one for one in self._running if not one.is_stopped), recorder]
        return recorder

    def made(self, stream: Recorded) -> None:
        """Adds a new stream to every recording."""
        self._streams.add(stream)
        for recorder in self._running:
            recorder.add(stream)

    def stop(self) -> RecordingError | None:
        """Ends all recordings. Returns the first failure that was not raised yet."""
        failed: RecordingError | None = None
        running, self._running = self._running, []
        for recorder in running:
            try:
                recorder.stop()
            except RecordingError as error:
                failed = failed or error
        return failed


Calls: TypeAlias = tuple[str, Iterable[JsonValue]]
"""The URL of a daemon, and exchanges with it as JSON values."""


def recording_text(logs: Mapping[str, EventLog], calls: Iterable[Calls]) -> str:
    """A recording of what has been seen already. The caller hides what is secret in it.

    Args:
        logs: Events, by the id of their session.
        calls: The calls over REST. The first daemon is that of the events.
    """
    listed = list(calls)
    records: list[Mapping[str, object]] = []
    if logs:
        part = _new_part()
        records.append(_header(part, listed[0][0] if listed else ""))
        for number, (session_id, log) in enumerate(logs.items(), 1):
            name, app_id = f"{part}.{number}", next((one.app_id for one in log if one.app_id), "")
            records.append(_stream(name, app_id, session_id, log.since))
            records += ({"record": "event", "stream": name, "at": _now(), "frame": one.raw} for one in log)
        records.append({"record": "end", "part": part})
    for daemon_url, exchanges in listed:
        part = _new_part()
        records += [
            _header(part, daemon_url),
            *({"record": "exchange", "part": part, "exchange": one} for one in exchanges),
            {"record": "end", "part": part},
        ]
    return b"".join(map(line_of, records)).decode()


def _stream(name: str, app_id: str, session_id: str, since: int) -> dict[str, object]:
    return {"record": "stream", "stream": name, "app_id": app_id, "session_id": session_id, "since": since}


def _header(part: str, daemon_url: str) -> dict[str, object]:
    return {
        "record": "header",
        "format": FORMAT,
        "version": VERSION,
        "part": part,
        "at": _now(),
        "contract": CONTRACT_VERSION,
        "library": __version__,
        "daemon_url": _without_user(daemon_url),
    }


def _new_part() -> str:
    return uuid.uuid4().hex[:12]


@contextlib.contextmanager
def _alone(file: FileIO) -> Generator[None]:
    """Locks the file against other writers, in any thread or process."""
    if fcntl is None:
        yield
        return
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def _append(file: FileIO, line: bytes) -> None:
    """Writes a whole line or nothing."""
    written = 0
    try:
        while written < len(line):
            written += file.write(line[written:])
    except BaseException:
        if written:
            file.truncate(os.fstat(file.fileno()).st_size - written)
        raise


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _now() -> str:
    return datetime.now(UTC).isoformat()
