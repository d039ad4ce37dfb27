"""What a page tells, as JSON values: a row for each event and each REST call, bars, and what stands out."""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, TypedDict

from digitorn_testing._events.daemon import MEANING
from digitorn_testing._events.event import AnyEvent, InvalidPayload, UnknownPayload
from digitorn_testing._events.timeline import summary
from digitorn_testing._exchanges import Exchange
from digitorn_testing._generated import CONTRACT_VERSION
from digitorn_testing._generated.events import ThinkingDelta, Token
from digitorn_testing._generated.models import PendingApproval
from digitorn_testing._generated.payloads import OpType
from digitorn_testing._log.log import EventLog
from digitorn_testing._texts import in_seconds, json_text
from digitorn_testing._turns.operations import Operation
from digitorn_testing._version import __version__

from .curl import curl
from .lanes import LANES, Fold, Lane, fold_of, is_problem, is_refused, lane_of

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_LANE_OF: Final[Mapping[OpType, Lane]] = {
    "turn": Lane.TURNS,
    "tool": Lane.TOOLS,
    "agent": Lane.TOOLS,
    "approval": Lane.APPROVALS,
}
_CLOCK_TOLERANCE: Final = 50_000
"""µs by which the daemon's clock may be behind without a word."""
_LONGEST_DELAY: Final = 5_000_000
"""µs by which a daemon may announce every message late; if it is later, its clock is ahead."""
_MOST_NOTES: Final = 20
"""Notes of one kind that are listed: more are found in the list of rows."""
_LONGEST_TEXT: Final = 500
"""Characters of a message that the list shows; all of it is in the payload."""
_PROBLEM: Final = 1
_WAITS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One session's part of the story.

    Attributes:
        session_id: Its id.
        app_id: Its app, if known.
        log: Its events, without secrets.
    """

    session_id: str
    app_id: str
    log: EventLog


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """REST calls of one client.

    Attributes:
        daemon_url: The daemon that they went to; empty if not known.
        exchanges: The calls, without secrets.
    """

    daemon_url: str
    exchanges: Sequence[Exchange]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a page is made of.

    Attributes:
        title: What it is of: a test, or the name of a file.
        error: Why the test failed, as pytest shows it; empty for a recording.
        sessions: The sessions.
        calls: The REST calls.
        lost: What is known to be missing, a sentence each.
        until: When the test ended, on the client's clock; None for when the last thing happened.
    """

    title: str
    error: str = ""
    sessions: Sequence[Session] = ()
    calls: Sequence[Calls] = ()
    lost: Sequence[str] = ()
    until: datetime | None = None


# --- as JSON values


class Note(TypedDict):
    """Something that stands out.

    Members:
        kind: `waits`, `broken`, `lost` or `info`.
        text: Says it.
        row: Where it can be seen; -1 for nowhere.
    """

    kind: str
    text: str
    row: int


class Bar(TypedDict):
    """Something that lasted.

    Members:
        lane: Its lane.
        first: Its first row.
        last: Its last row.
        lasted: µs; -1 if it never ended.
        state: Its last state.
        name: What it is called.
    """

    lane: int
    first: int
    last: int
    lasted: int
    state: str
    name: str


class Index(TypedDict):
    """Everything that the page needs before a payload is looked at. Columns have a value for each row.

    Members:
        lanes: Names of the lanes.
        types: Names of types and operations; `type` points here.
        sessions: Ids of the sessions; `session` points here, and is -1 for REST calls.
        turns: Correlation ids; `turn` points here, and is -1 for none.
        start: When the first row happened, µs since 1970.
        end: When the test or the recording ended, µs since then.
        time: µs since then, as differences to the row before.
        seq: The event's number, or 0.
        fold: What it is folded with.
        flag: 1 for a problem, 2 for an approval that waits, added up.
        said: What it says, on one line; of a token its text.
        bars: What lasted.
        notes: What stands out.
        per_block: How many rows there are in a block of payloads.
    """

    lanes: Sequence[str]
    types: list[str]
    sessions: list[str]
    turns: list[str]
    start: int
    end: int
    time: list[int]
    lane: list[int]
    type: list[int]
    session: list[int]
    turn: list[int]
    seq: list[int]
    fold: list[int]
    flag: list[int]
    said: list[str]
    bars: list[Bar]
    notes: list[Note]
    per_block: int


@dataclass(frozen=True, slots=True)
class Story:
    """A page's content.

    Attributes:
        facts: What stands in its head: names and values.
        index: The rows without their payloads.
        payloads: Each row as JSON on one line: an event's envelope, or a call with its command.
    """

    facts: Sequence[tuple[str, str]]
    index: Index
    payloads: Sequence[str]


ROWS_IN_BLOCK: Final = 256
"""Rows whose payloads are compressed together: one is read quickly, and all of them stay small."""


@dataclass(slots=True)
class _Names:
    """Names, each once."""

    listed: list[str] = field(default_factory=list[str])
    _places: dict[str, int] = field(default_factory=dict[str, int])

    def place(self, name: str | None) -> int:
        """The place of a name in the list; -1 for None."""
        if name is None:
            return -1
        if (place := self._places.get(name)) is None:
            place = self._places[name] = len(self.listed)
            self.listed.append(name)
        return place


@dataclass(frozen=True, slots=True)
class _Event:
    session: int
    event: AnyEvent


@dataclass(frozen=True, slots=True)
class _Call:
    daemon_url: str
    exchange: Exchange


@dataclass(frozen=True, slots=True, order=True)
class _Row:
    at: int
    """When it happened, µs since 1970; never before the events that came before it."""
    order: int
    """What happened at once stays in order of arrival."""
    what: _Event | _Call = field(compare=False)


def tell(source: Source) -> Story:
    """Makes the content of a page.

    Args:
        source: What happened.
    """
    return _Teller(source).tell()


class _Teller:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._types, self._turns = _Names(), _Names()
        self._row_of: dict[int, int] = {}
        """Rows by the identity of their event."""
        self._notes: list[Note] = []
        self._bars: list[Bar] = []
        self._shift = _shift(source)

    def tell(self) -> Story:
        calls = self._calls()
        moments = [
            _microseconds(moment)
            for one in self._source.sessions
            if (moment := next((at for event in one.log if (at := event.emitted_at)), None)) is not None
        ]
        earliest = min([*moments, *(row.at for row in calls[:1])], default=0)
        streams = [
            _rows_of(place, one.log.events(), earliest) for place, one in enumerate(self._source.sessions)
        ]
        rows = list(heapq.merge(*streams, calls))
        start = rows[0].at if rows else 0
        index: Index = {
            "lanes": LANES,
            "types": self._types.listed,
            "sessions": [one.session_id for one in self._source.sessions],
            "turns": self._turns.listed,
            "start": start,
            "end": 0,
            "time": [],
            "lane": [],
            "type": [],
            "session": [],
            "turn": [],
            "seq": [],
            "fold": [],
            "flag": [],
            "said": [],
            "bars": self._bars,
            "notes": [],
            "per_block": ROWS_IN_BLOCK,
        }
        payloads: list[str] = []
        before = start
        for place, row in enumerate(rows):
            index["time"].append(row.at - before)
            before = row.at
            match row.what:
                case _Event(session=session, event=event):
                    self._add_event(place, session, event, index)
                    payloads.append(_payload(event))
                case _Call(daemon_url=url, exchange=exchange):
                    self._add_call(place, exchange, index)
                    payloads.append(json_text({**exchange.to_wire(), "curl": curl(exchange, url)}))
        for one in self._source.sessions:
            self._look_at(one, index)
        self._notes.extend(_note("lost", text) for text in self._source.lost)
        until = self._source.until
        index["end"] = max(before, _microseconds(until) + self._shift if until is not None else 0) - start
        facts = self._facts(index, index["end"] / 1_000_000)
        index["notes"] = list(_shortened(self._notes))
        return Story(facts=facts, index=index, payloads=payloads)

    # --- rows

    def _calls(self) -> list[_Row]:
        found = [
            (_microseconds(exchange.started) + self._shift, calls.daemon_url, exchange)
            for calls in self._source.calls
            for exchange in calls.exchanges
        ]
        # Behind the events of the same moment, which have orders from 0 on.
        return sorted(
            _Row(at, 1 << 40 | number, _Call(url, exchange))
            for number, (at, url, exchange) in enumerate(found)
        )

    def _add_event(self, place: int, session: int, event: AnyEvent, index: Index) -> None:
        lane = lane_of(event)
        self._row_of[id(event)] = place
        index["lane"].append(lane)
        index["type"].append(self._types.place(event.type or "(no type)"))
        index["session"].append(session)
        index["turn"].append(self._turns.place(event.correlation_id))
        index["seq"].append(event.seq if event.is_numbered else 0)
        fold = fold_of(event, lane)
        index["fold"].append(fold)
        index["flag"].append(_PROBLEM if is_problem(event, lane) else 0)
        index["said"].append(_said(event, fold))
        if isinstance(event.payload, InvalidPayload | UnknownPayload):
            self._broken(place, event)

    def _add_call(self, place: int, exchange: Exchange, index: Index) -> None:
        index["lane"].append(Lane.REST)
        index["type"].append(self._types.place(exchange.operation or exchange.method))
        index["session"].append(-1)
        index["turn"].append(self._turns.place(exchange.correlation_id))
        index["seq"].append(0)
        index["fold"].append(Fold.ALONE)
        index["flag"].append(_PROBLEM if is_refused(exchange) else 0)
        came = str(exchange.status) if exchange.status is not None else f"no answer: {exchange.error}"
        again = f", attempt {exchange.retry + 1}" if exchange.retry else ""
        made_up = ", made up from the contract" if exchange.is_example else ""
        index["said"].append(f"{came} {exchange.method} {exchange.path}{again}{made_up}")
        lasted = round(exchange.duration * 1_000_000)
        state = "failed" if is_refused(exchange) else "completed"
        self._bars.append(
            {
                "lane": Lane.REST,
                "first": place,
                "last": place,
                "lasted": lasted,
                "state": state,
                "name": exchange.operation or exchange.method,
            }
        )

    def _broken(self, place: int, event: AnyEvent) -> None:
        named = f"#{event.seq} {event.type}" if event.is_numbered else event.type or "an event without a type"
        if isinstance(event.payload, InvalidPayload):
            said = f"{named} breaks the contract: {'; '.join(event.payload.errors)}"
        else:
            said = f"{named}: the contract has no event of this type"
        self._notes.append(_note("broken", said, place))

    # --- what stands out

    def _look_at(self, session: Session, index: Index) -> None:
        log = session.log
        operations = log.operations()
        for one in operations:
            self._add_bar(one)
        waiting = log.pending_approvals()
        asked = {
            request.request_id: place
            for event in log.events()
            if (request := MEANING.asked(event)) is not None
            and (place := self._row_of.get(id(event))) is not None
        }
        for request in waiting:
            place = asked.get(request.request_id, -1)
            if place >= 0:
                index["flag"][place] |= _WAITS
            self._notes.append(_note("waits", _asked(request), place))
        for violation in operations.violations:
            place = self._row_of.get(id(violation.event), -1)
            self._notes.append(
                _note("broken", f"A change of state that the contract forbids: {violation}", place)
            )
        of = f" of session {session.session_id}" if len(self._source.sessions) > 1 else ""
        for count, kind, text in (
            (log.dropped, "lost", "older events{of} were dropped: the log was limited by max_events"),
            (
                len(log.foreign),
                "info",
                "events of other sessions arrived on this stream{of}; they are left out",
            ),
            (log.duplicates, "info", "events{of} arrived more than once; the copies are left out"),
            (
                len(log.log_only),
                "info",
                "rows of the daemon's log{of} repeat events, and are left out",
            ),
        ):
            if count:
                self._notes.append(_note(kind, f"{count:,} {text.format(of=of)}."))

    def _add_bar(self, operation: Operation) -> None:
        lane = _LANE_OF.get(operation.type, Lane.OTHER)
        rows = [place for one in operation.events if (place := self._row_of.get(id(one))) is not None]
        # Its output may follow its end.
        ends = [self._row_of.get(id(one)) for one in operation.events if one.emitted_at == operation.ended]
        lasted = operation.duration
        if not rows or (lane is Lane.OTHER and (len(rows) < 2 or lasted is None)):
            return
        if lasted is None and not operation.is_open:
            return
        self._bars.append(
            {
                "lane": lane,
                "first": rows[0],
                "last": next((place for place in ends if place is not None), rows[-1]),
                "lasted": -1 if lasted is None else max(0, round(lasted * 1_000_000)),
                "state": operation.state,
                "name": operation.names[-1] if operation.names else operation.name,
            }
        )

    # --- the head

    def _facts(self, index: Index, seconds: float) -> list[tuple[str, str]]:
        sessions, calls = self._source.sessions, self._source.calls
        exchanges = [one for group in calls for one in group.exchanges]
        if self._shift:
            ahead = "ahead of" if self._shift > 0 else "behind"
            self._notes.append(
                _note(
                    "info",
                    f"The daemon's clock is {in_seconds(abs(self._shift) / 1_000_000)} {ahead} the client's; "
                    "REST calls are shifted to it.",
                )
            )
        lanes = Counter(index["lane"])
        events = len(index["lane"]) - lanes[Lane.REST]
        bars = Counter(Lane(bar["lane"]) for bar in index["bars"])
        problems = sum(1 for flag in index["flag"] if flag)
        versions = dict.fromkeys(version for one in exchanges if (version := _version_in(one)))
        began = _EPOCH + timedelta(microseconds=index["start"])
        found = {
            "App": _listed(dict.fromkeys(one.app_id for one in sessions if one.app_id)),
            "Session" if len(sessions) == 1 else "Sessions": _listed(one.session_id for one in sessions),
            "Daemon": _listed(dict.fromkeys(one.daemon_url for one in calls if one.daemon_url)),
            "Version": f"{_listed(versions)}{', ' if versions else ''}contract {CONTRACT_VERSION}",
            "Began": f"{began:%Y-%m-%d %H:%M:%S} UTC" if index["lane"] else "",
            "Duration": _length(seconds),
            "Events": f"{events:,}",
            "Turns": f"{bars[Lane.TURNS]:,}",
            "Tool calls": f"{bars[Lane.TOOLS]:,}",
            "Approvals": f"{bars[Lane.APPROVALS]:,}",
            "REST calls": f"{len(exchanges):,}",
            "Problems": f"{problems:,}",
            "Written by": f"digitorn-testing {__version__}",
        }
        return [(name, value) for name, value in found.items() if value]


def _rows_of(session: int, events: Iterable[AnyEvent], earliest: int) -> Iterator[_Row]:
    """The rows of a session. An event without a time happens with the one before it."""
    latest = earliest
    for order, event in enumerate(events):
        if (moment := event.emitted_at) is not None:
            latest = max(latest, _microseconds(moment))
        yield _Row(latest, order, _Event(session, event))


def _microseconds(moment: datetime) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND


def _said(event: AnyEvent, fold: Fold) -> str:
    """What an event says, on one line; of a piece of text the piece itself, which the page puts together."""
    match event.payload:
        case Token(delta=delta) | ThinkingDelta(delta=delta):
            return delta
        case _ if fold is Fold.THINKING:
            return ""
        case _:
            pass
    text = MEANING.said_by_user(event)
    if (answer := MEANING.answer(event)) is not None and not answer.error:
        text = answer.content
    if text is not None:
        return f"“{' '.join(text[:_LONGEST_TEXT].split())}”"
    try:
        return summary(event)
    except (ValueError, RecursionError) as error:
        return f"not shown: {type(error).__name__}"


def _payload(event: AnyEvent) -> str:
    try:
        return json_text(dict(event.raw), default=str)
    except (ValueError, RecursionError) as error:
        return json_text({"type": event.type, "not_shown": f"the payload is no JSON: {type(error).__name__}"})


def _shortened(notes: Iterable[Note]) -> Iterator[Note]:
    """The notes by kind, with the first few of each."""
    by_kind: dict[str, list[Note]] = {"waits": [], "broken": [], "lost": [], "info": []}
    for note in notes:
        by_kind[note["kind"]].append(note)
    for kind, listed in by_kind.items():
        yield from listed[:_MOST_NOTES]
        if (more := len(listed) - _MOST_NOTES) > 0:
            yield _note(kind, f"… and {more:,} more.")


def _note(kind: str, text: str, row: int = -1) -> Note:
    return {"kind": kind, "text": text, "row": row}


def _asked(request: PendingApproval) -> str:
    said = f" ({request.description})" if request.description else ""
    return f"{request.tool_name} waits for approval{said}: {json_text(request.tool_params, default=str)}"


def _length(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 2:
        return in_seconds(seconds)
    return f"{seconds:,.0f} s ({minutes // 60} h {minutes % 60} min)" if minutes >= 60 else f"{seconds:.1f} s"


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return ", ".join(found[:3]) + more


def _version_in(exchange: Exchange) -> str:
    """The daemon's version, if the call asked for it."""
    body = exchange.response
    if exchange.operation != "get_health" or not isinstance(body, dict):
        return ""
    version = body.get("version")
    return version if isinstance(version, str) else ""


def _shift(source: Source) -> int:
    """How far the daemon's clock is ahead of the client's, µs; 0 unless the calls show that it is.

    The daemon announces a message after it was sent: at once, unless it keeps it waiting.
    """
    announced: dict[str, int] = {}
    for session in source.sessions:
        for event in session.log.events():
            if event.correlation_id is None or MEANING.said_by_user(event) is None:
                continue
            if (moment := event.emitted_at) is not None:
                announced.setdefault(event.correlation_id, _microseconds(moment))
    delays = [
        came - _microseconds(exchange.started)
        for calls in source.calls
        for exchange in calls.exchanges
        if not exchange.retry and (came := announced.get(exchange.correlation_id or "")) is not None
    ]
    shift = min(delays, default=0)
    return shift if shift < -_CLOCK_TOLERANCE or shift > _LONGEST_DELAY else 0
