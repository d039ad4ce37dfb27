"""What the clients, streams and daemons of a test have seen, for its report. Independent of pytest."""

import json
import weakref
from asyncio import CancelledError
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, TypeAlias

from pydantic import JsonValue

from digitorn_testing._client._async.client import AsyncDevClient
from digitorn_testing._client._sync.client import DevClient
from digitorn_testing._events.daemon import MEANING
from digitorn_testing._events.timeline import render
from digitorn_testing._exchanges import Exchange, Exchanges
from digitorn_testing._generated.models import PendingApproval
from digitorn_testing._log.log import EventLog
from digitorn_testing._recordings.recorder import Calls, recording_text
from digitorn_testing._secrets.redaction import Redactor
from digitorn_testing._stream import AsyncLiveEventStream

from .troubles import Attempt, printable

_RECORDING: Final = "recording.jsonl"
_DAEMON_RECORDING: Final = "daemon-recording.jsonl"
_EXCHANGES_SHOWN: Final = 10
_REFUSED: Final = 400
_BODY_SHOWN: Final = 400

_OURS: Final = (AsyncDevClient, DevClient, AsyncLiveEventStream)

Section: TypeAlias = tuple[str, str]
"""A title and a text."""

Told: TypeAlias = tuple[str, list[Exchange]]
"""The owner of some exchanges, and the exchanges."""


class Evidence:
    """What one test used: everything that it made, and whatever existed before and has changed since.

    The objects stay alive until the end of the test, because most streams are closed by the time it fails.

    Args:
        earlier: Clients, streams and daemons that exist when the test begins.
        made: What the test has made so far; it grows while the test runs.
        token: A token that must never be shown.
        attempt: Turns what fails here into a warning on the test.
    """

    def __init__(
        self, earlier: Iterable[object], made: Collection[object], token: str | None, attempt: Attempt
    ) -> None:
        self._token = token
        self._attempt = attempt
        self._made = made
        there = list(earlier)
        self._earlier = [(weakref.ref(one), _mark(one)) for one in there]
        self._before = [(exchanges, _count(exchanges)) for exchanges in map(_exchanges_of, there)]

    def _used(self) -> list[Any]:
        earlier = [(reference(), mark) for reference, mark in self._earlier]
        return [
            *(one for one, mark in earlier if one is not None and _mark(one) > mark),
            *self._made,
        ]

    # --- what there is

    def redactor(self) -> Redactor:
        """Hides every secret that the test's clients, streams and daemons know."""
        found = Redactor()
        found.learn(self._token)
        # Unused objects count too: a daemon may have issued nothing but a token.
        earlier = (reference() for reference, _ in self._earlier)
        for one in (*(one for one in earlier if one is not None), *self._made):
            found.learn(*_exchanges_of(one).redactor.known)
        return found

    def logs(self) -> dict[str, EventLog]:
        """The events of all streams of each session, by session id, with secrets hidden."""
        hidden = self.redactor().json
        found: dict[str, EventLog] = {}
        for one in self._used():
            if not isinstance(one, AsyncLiveEventStream):
                continue
            log = found.setdefault(one.session_id, EventLog(session_id=one.session_id))
            for event in one.events():
                with self._attempt(f"show an event of session {one.session_id}"):
                    log.feed(hidden(_plain(event.raw)))
        return {session_id: log for session_id, log in found.items() if len(log)}

    def client_exchanges(self) -> list[Told]:
        """The REST exchanges of each client in this test, and of each stream made without a client."""
        return self._exchanges(lambda one: isinstance(one, _OURS))

    def daemon_exchanges(self) -> list[Told]:
        """The REST exchanges of each embedded daemon in this test."""
        return self._exchanges(lambda one: not isinstance(one, _OURS))

    def calls(self) -> list[Told]:
        """The REST exchanges of `client_exchanges` with the URLs of their daemons in place of names."""
        found = self._owned(lambda one: isinstance(one, _OURS))
        return [(one.daemon_url, listed) for one, listed in found]

    def _exchanges(self, wanted: Callable[[object], bool]) -> list[Told]:
        found = self._owned(wanted)
        return [(_whose(one, number), listed) for number, (one, listed) in enumerate(found, 1)]

    def _owned(self, wanted: Callable[[object], bool]) -> list[tuple[Any, list[Exchange]]]:
        found: list[tuple[Any, list[Exchange]]] = []
        # A stream that a client made shares its exchanges.
        seen: list[Exchanges] = []
        for one in self._used():
            exchanges = _exchanges_of(one)
            if not wanted(one) or any(exchanges is other for other in seen):
                continue
            seen.append(exchanges)
            before = next((count for other, count in self._before if other is exchanges), 0)
            new = _count(exchanges) - before
            if listed := list(exchanges)[-new:] if new > 0 else []:
                found.append((one, listed))
        return found

    # --- as text

    def causes(self) -> list[str]:
        """What went wrong in the last turn of each session, one line each; see `TurnResult.problems`."""
        hide = self.redactor().text
        found: list[str] = []
        for log in self.logs().values():
            with self._attempt("say how the last turn ended"):
                if turns := log.turns:
                    problems = log.turn_result(turns[-1]).problems()
                    found += [printable(hide(_short(one.partition("\n")[0]))) for one in problems]
        return found

    def sections(self, told: str = "", *, script: str = "", is_short: bool = False) -> list[Section]:
        """The sections of the report, without empty ones.

        Args:
            told: The report so far; nothing is said twice.
            script: What the script of the model does not answer.
            is_short: Fold the timeline, and show only exchanges that failed, if any is not told of yet.
        """
        hide = self.redactor().text
        found: list[Section] = []
        parts: tuple[tuple[str, Callable[[], str]], ...] = (
            ("script", lambda: script),
            ("events", lambda: self._timelines(is_short=is_short)),
            ("pending approvals", lambda: self._pending(told)),
            ("last exchanges", lambda: self._tables(told, is_short=is_short)),
        )
        for name, shown in parts:
            with self._attempt(f"show the {name}"):
                if text := shown():
                    found.append((f"digitorn: {name}", printable(hide(text))))
        return found

    def _timelines(self, *, is_short: bool) -> str:
        return "\n\n".join(
            _timeline(*one, is_short=is_short)
            for one in self.logs().items()
            if not is_short or not all(map(MEANING.is_bookkeeping, one[1]))
        )

    def _tables(self, told: str, *, is_short: bool) -> str:
        tables: list[str] = []
        for whose, exchanges in self.client_exchanges():
            shown = exchanges[-_EXCHANGES_SHOWN:]
            if is_short:
                shown = [one for one in exchanges if _failed(one)][-_EXCHANGES_SHOWN:]
                if all(_is_in(told, one) for one in shown):
                    shown = []
            if shown:
                tables.append(_table(whose, len(exchanges), shown))
        return "\n\n".join(tables)

    def _pending(self, told: str) -> str:
        return "\n".join(
            f"{session_id}: {_asked(one)}"
            for session_id, log in self.logs().items()
            for one in log.pending_approvals()
            if one.request_id not in told
        )

    def files(self) -> list[tuple[str, str]]:
        """The files for the artifacts folder, by name: recordings and events, a line each."""
        # One client may have received another client's secret.
        redactor = self.redactor()

        def hidden(calls: list[Told]) -> list[Calls]:
            return [
                (redactor.text(url), [redactor.json(one.to_wire()) for one in exchanges])
                for url, exchanges in calls
            ]

        found: list[tuple[str, str]] = []
        with self._attempt("write the recording"):
            logs, calls = self.logs(), hidden(self.calls())
            if logs or calls:
                found.append((_RECORDING, recording_text(logs, calls)))
        with self._attempt("write the events"):
            for session_id, log in self.logs().items():
                lines = (f"{_json(event.raw)}\n" for event in log.events())
                found.append((f"events-{session_id}.jsonl", "".join(lines)))
        with self._attempt("write the recording of the daemon"):
            if reached := [("", exchanges) for _, exchanges in self.daemon_exchanges()]:
                found.append((_DAEMON_RECORDING, recording_text({}, hidden(reached))))
        return found


def _exchanges_of(one: Any) -> Exchanges:
    exchanges: Exchanges = one.exchanges
    return exchanges


def _mark(one: object) -> int:
    """A count that grows whenever the object is used."""
    return len(one.log) if isinstance(one, AsyncLiveEventStream) else _count(_exchanges_of(one))


def _count(exchanges: Exchanges) -> int:
    return exchanges.dropped + len(exchanges)


def _plain(raw: object) -> JsonValue:
    """A frame as JSON values, whatever it came from."""
    value: JsonValue = json.loads(json.dumps(raw, default=str))
    return value


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _timeline(session_id: str, log: EventLog, *, is_short: bool) -> str:
    events = log.events()
    return f"{session_id}: {len(events)} events\n{render(events, folded=is_short)}"


def _asked(request: PendingApproval) -> str:
    params = _json(request.tool_params)
    said = f": {request.description}" if request.description else ""
    return f"{request.request_id} {request.tool_name} {_short(params)}{said}"


def _whose(one: object, number: int) -> str:
    """Names the owner of some exchanges; the number is that of their artifacts file."""
    match one:
        case AsyncDevClient() | DevClient():
            return f"{type(one).__name__} {number}, {one.daemon_url}"
        case AsyncLiveEventStream():
            return f"stream {number}, {one.session_id}"
        case _:
            return f"{type(one).__name__} {number}"


def _failed(one: Exchange) -> bool:
    if one.status is None:
        # Reads that the library itself cuts off, for example when a stream is stopped, say nothing.
        return one.error != CancelledError.__name__
    return one.status >= _REFUSED


def _is_in(told: str, one: Exchange) -> bool:
    """Whether an error has told of an exchange."""
    came = f"{one.status}" if one.status is not None else ""
    return f"{one.method} {one.path}" in told and came in told


def _table(whose: str, count: int, shown: list[Exchange]) -> str:
    cut = f", {len(shown)} of them shown" if len(shown) < count else ""
    lines = [f"{whose}: {count} exchange{'s' if count != 1 else ''}{cut}"]
    for one in shown:
        query = "?" + "&".join(f"{name}={text}" for name, text in one.query) if one.query else ""
        operation = f" ({one.operation})" if one.operation else ""
        took = f"{one.duration * 1000:.1f} ms"
        came = f"{one.status} in {took}" if one.status is not None else f"no answer in {took}: {one.error}"
        again = f", sent again ({one.retry})" if one.retry else ""
        lines.append(f"{one.started:%H:%M:%S.%f} {one.method} {one.path}{query}{operation} {came}{again}")
        if _failed(one):
            for arrow, body in (("->", one.request), ("<-", one.response)):
                if body is not None:
                    lines.append(f"    {arrow} {_short(_json(body))}")
    return "\n".join(lines)


def _short(text: str) -> str:
    return text if len(text) <= _BODY_SHOWN else text[: _BODY_SHOWN - 3] + "..."
