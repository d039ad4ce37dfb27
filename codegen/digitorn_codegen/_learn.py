"""Compares recorded traffic with a contract, and drafts what the contract lacks."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ._documents import Document, Documents, JsonObject, JsonValue, text_of
from ._draft import EventDraft, envelope_schema, event_schemas, openapi
from ._fit import Fit, Fitting, Misfit
from ._frames import JSON, TEXT, UNKNOWN, SeenCommand, SeenEvent, SeenExchange, frames_of
from ._hiding import Hiding
from ._infer import Shape
from ._sides import (
    Place,
    Response,
    Side,
    body_of,
    command_part,
    is_json,
    object_of,
    operations_of,
    parameters_of,
    responses_of,
    root_of,
)

_KINDS = {
    "undeclared": "seen, not declared",
    "unseen": "declared, never seen",
    "missing": "required, not there",
    "null": "null, not nullable",
    "type": "of another type",
    "value": "of another value",
    "default": "normal by the contract, never seen",
}
_ENVELOPE = "the envelope of events"


@dataclass(frozen=True)
class Learned:
    """What recordings taught.

    Attributes:
        drafts: Schemas for event types that the contract lacks, by wire name.
        envelope: A schema for the envelope of events, if the contract has none and there were events.
        openapi: An OpenAPI document of the operations that the contract lacks; None if it lacks none.
        differences: Where the contract and the recordings differ: for each event, body, answer and command
            the members that are seen and not declared, and so on, by a key of `_KINDS`.
        unknown: Operations and commands that the contract lacks, in order.
        counts: How many events, calls and commands were read.
        skipped: What nothing was learned from, and why.
    """

    drafts: Mapping[str, Mapping[str, object]]
    envelope: Mapping[str, object] | None
    openapi: "JsonObject | None"
    differences: Mapping[str, Mapping[str, list[str]]]
    unknown: list[str]
    counts: Mapping[str, int]
    skipped: list[str]

    @property
    def operations(self) -> int:
        """How many operations the contract lacks."""
        items = object_of(self.openapi, "paths").values()
        return sum(len(item) for item in items if isinstance(item, dict))

    def lines(self) -> list[str]:
        """The differences, one line for each place and kind."""
        lines = [f"{one}: not in the contract" for one in self.unknown]
        for title, kinds in self.differences.items():
            lines += [f"{title}: {_KINDS[kind]}: {', '.join(found)}" for kind, found in kinds.items()]
        return lines


def learn(contract: Side, recordings: Iterable[Path], *, enums: bool = False) -> Learned:
    """Compares recordings with a contract. Secrets in them are hidden first.

    Args:
        contract: The contract with its events and commands.
        recordings: Files of event envelopes, of frames, or recordings of a client, as JSON lines.
        enums: Whether drafts list the values of texts of which few were seen.

    Raises:
        SettingsError: A recording cannot be read.
        ContractError: A schema of the contract cannot be followed.
    """
    skipped: list[str] = []
    seen = [frame for recording in recordings for frame in frames_of(recording, skipped)]
    hiding = Hiding.of(seen)
    lesson = _Lesson(contract)
    for frame in map(hiding.frame, seen):
        match frame:
            case SeenEvent():
                lesson.event(frame)
            case SeenExchange():
                lesson.exchange(frame)
            case SeenCommand():
                lesson.command(frame)
    for wire in [wire for wire in sorted(lesson.drafts) if wire.endswith("*")]:
        del lesson.drafts[wire]
        skipped.append(f"{wire}: no draft: in a schema the * would stand for every name with that beginning")
    operations = openapi(contract, lesson.calls, enums=enums)
    needs_envelope = contract.envelope is None and any(one.enveloped for one in lesson.drafts.values())
    return Learned(
        event_schemas(contract, lesson.drafts, enums=enums),
        envelope_schema(lesson.envelopes) if needs_envelope else None,
        operations.document,
        {title: _differences(lesson, title) for title in _in_order(lesson) if _differences(lesson, title)},
        sorted({*operations.titles, *lesson.unknown}),
        lesson.counts,
        skipped,
    )


def write_drafts(learned: Learned, folder: Path | None, openapi: Path | None = None) -> list[Path]:
    """Writes the drafts. What exists is left as it is: files, and event types that a file of the folder has.

    Args:
        learned: What recordings taught.
        folder: Where event schemas live; None if there is no such folder.
        openapi: The file that the draft of operations goes to; None to write none.

    Returns:
        The files that were written.
    """
    written: list[Path] = []
    if folder is not None and learned.drafts:
        folder.mkdir(parents=True, exist_ok=True)
        taken, wires = _there(folder)
        if learned.envelope is not None and not any(_marked(file) for file in folder.glob("*.json")):
            written.append(_write(folder / f"{_stem('envelope', taken)}.json", learned.envelope))
        for wire, schema in learned.drafts.items():
            if wire not in wires:
                written.append(_write(folder / f"{_stem(wire, taken)}.json", schema))
    if openapi is not None and learned.openapi is not None and not openapi.exists():
        openapi.parent.mkdir(parents=True, exist_ok=True)
        written.append(_write(openapi, learned.openapi))
    return written


def _write(path: Path, schema: Mapping[str, object]) -> Path:
    try:
        text = json.dumps(schema, indent=2, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        # Half a surrogate pair is valid JSON, but not valid text.
        text = json.dumps(schema, indent=2).encode()
    path.write_bytes(text + b"\n")
    return path


def _there(folder: Path) -> tuple[set[str], set[str]]:
    """The names of a folder's files, as every file system tells them apart, and their event types."""
    taken: set[str] = set()
    wires: set[str] = set()
    for file in folder.iterdir():
        taken.add(_folded(file.stem))
        if file.suffix == ".json":
            wires.add(text_of(_loaded(file), "x-event-type"))
    return taken, wires


def _loaded(file: Path) -> JsonObject:
    try:
        found: JsonValue = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return {}
    return found if isinstance(found, dict) else {}


def _marked(file: Path) -> bool:
    return _loaded(file).get("x-event-envelope") is True


# Names that no file may have on Windows.
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
_LONGEST = 80


def _stem(wire: str, taken: set[str]) -> str:
    """A file name for an event type, without its suffix, that no other file of the folder has."""
    safe = "".join(c if c.isalnum() or c in "._-" else "." for c in wire)[:_LONGEST].strip(".") or "event"
    wanted = f"{safe}-event" if _RESERVED.fullmatch(safe.lower()) else safe
    found, number = wanted, 1
    while _folded(found) in taken:
        number += 1
        found = f"{wanted}-{number}"
    taken.add(_folded(found))
    return found


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


NO_CONTRACT = Side(Document(Path("no contract"), {}), {}, {}, (), Documents())
"""What recordings are compared with where there is no contract yet."""


@dataclass(frozen=True)
class _Operation:
    """An operation of the contract, and which paths are its own."""

    title: str
    pattern: re.Pattern[str]
    literal: int
    value: JsonObject


@dataclass
class _Lesson:
    """Compares one frame after the other."""

    contract: Side
    fits: dict[str, Fit] = field(default_factory=dict[str, Fit])
    drafts: dict[str, EventDraft] = field(default_factory=dict[str, EventDraft])
    envelopes: Shape = field(default_factory=Shape)
    calls: list[SeenExchange] = field(default_factory=list[SeenExchange])
    unknown: set[str] = field(default_factory=set[str])
    counts: Counter[str] = field(default_factory=Counter[str])
    values: dict[tuple[str, str], set[str]] = field(default_factory=dict[tuple[str, str], set[str]])

    def __post_init__(self) -> None:
        self._fitting = Fitting(self.contract)
        self._operations = sorted(_operations(self.contract), key=lambda one: -one.literal)
        envelope = self.contract.envelope
        self._lifted = frozenset(object_of(envelope.root, "x-event-lifted") if envelope else ())

    def event(self, event: SeenEvent) -> None:
        self.counts["events"] += 1
        envelope = self.contract.envelope
        # The rows of a log are described by the answers that hold them.
        if envelope is not None and event.envelope is not None and event.live:
            self._fit(_ENVELOPE, root_of(envelope), event.envelope)
        title = self._title(event)
        if title is None:
            draft = self.drafts.setdefault(event.wire, EventDraft())
            draft.add(event.payload, enveloped=event.envelope is not None)
            if event.live and event.envelope is not None:
                hollow: JsonObject = {"payload": {}} if event.envelope.get("payload") is not None else {}
                self.envelopes.add({**event.envelope, **hollow})
            return
        schema = self.contract.events[title]
        # Copies carry members of the envelope in the payload.
        self._fit(title, root_of(schema), event.payload, self._lifted)
        if event.live and event.envelope is not None:
            for name in object_of(schema.root, "x-event-defaults"):
                if (value := event.envelope.get(name)) not in (None, ""):
                    self.values.setdefault((title, name), set()).add(json.dumps(value))

    def _title(self, event: SeenEvent) -> str | None:
        """The schema of an event: a variant of its type, its type, or a pattern."""
        known = self.contract.events
        variants = [f"{event.wire} ({name})" for name in event.payload]
        patterns = [f"{event.wire[:end]}*" for end in range(len(event.wire), -1, -1)]
        return next((title for title in (*variants, event.wire, *patterns) if title in known), None)

    def exchange(self, exchange: SeenExchange) -> None:
        self.counts["calls"] += 1
        operation = next((one for one in self._operations if one.pattern.fullmatch(_called(exchange))), None)
        if operation is None:
            self.calls.append(exchange)
            return
        self._sent(operation, exchange)
        response = _response(responses_of(self.contract, operation.value), exchange.status)
        title = f"{operation.title} {exchange.status}"
        media_type, answer = exchange.answer.media_type, exchange.answer.value
        if response is None:
            self._undeclared(operation.title, f"status {exchange.status}")
        elif media_type not in ("", JSON):
            if not any(_covers(one, media_type) for one in response.media_types):
                self._undeclared(title, media_type)
        elif response.body is not None and is_json(response.media_type):
            self._fit(title, response.body, answer)
        elif answer is not None and not response.media_types:
            self._undeclared(title, "a body")

    def _sent(self, operation: _Operation, exchange: SeenExchange) -> None:
        """Compares the body of a call that was accepted; others may be wrong on purpose."""
        if not exchange.body.media_type or exchange.status >= 400:
            return
        body = body_of(self.contract, operation.value)
        if body is None:
            self._undeclared(operation.title, "a request body")
        elif is_json(body[0]) and exchange.body.media_type == JSON:
            self._fit(f"{operation.title}, body", body[1], exchange.body.value)

    def command(self, command: SeenCommand) -> None:
        self.counts["commands"] += 1
        document = self.contract.commands.get(command.wire)
        if document is None:
            self.unknown.add(f"command {command.wire}")
            return
        title = f"command {command.wire}"
        request, ack = command_part(document, "Request"), command_part(document, "Ack")
        failure = self.contract.command_error
        found = self._fitting.fit(ack, command.ack) if ack else Fit()
        if failure is not None:
            failed = self._fitting.fit(root_of(failure), command.ack)
            if failed.rank("") < found.rank(""):
                self.fits.setdefault(f"{title}, failure", Fit()).add(failed)
                return
        self.fits.setdefault(f"{title}, ack", Fit()).add(found)
        if request is not None:
            self._fit(f"{title}, request", request, command.request)

    def _fit(self, title: str, place: Place, value: JsonValue, known: Iterable[str] = ()) -> None:
        self.fits.setdefault(title, Fit()).add(self._fitting.fit(place, value, known=known))

    def _undeclared(self, title: str, what: str) -> None:
        self.fits.setdefault(title, Fit()).misfits.append(Misfit("undeclared", what))


def _operations(contract: Side) -> Iterable[_Operation]:
    for (method, path), value in operations_of(contract).items():
        long = {
            text_of(parameter, "name")
            for _, parameter in parameters_of(contract, value).values()
            if parameter.get("x-path-segments") is True
        }
        parts = re.split(r"\{([^}]*)\}", path)
        pattern = "".join(
            re.escape(part) if index % 2 == 0 else ".+" if part in long else "[^/]+"
            for index, part in enumerate(parts)
        )
        title = f"{method} {path}"
        yield _Operation(title, re.compile(f"{method} {pattern}"), len("".join(parts[::2])), value)


def _called(exchange: SeenExchange) -> str:
    return f"{exchange.method} {exchange.path}"


def _response(responses: Mapping[str, Response], status: int) -> Response | None:
    names = (str(status), f"{status // 100}XX", "default")
    return next((responses[name] for name in names if name in responses), None)


def _covers(declared: str, media_type: str) -> bool:
    """Whether a media type of the contract, perhaps a range such as `text/*`, covers one that was seen."""
    if media_type == UNKNOWN:
        return True
    kind = declared.partition(";")[0].strip()
    if media_type == TEXT and not is_json(kind):
        # Recordings do not tell which text it is.
        return True
    return kind in (media_type, "*/*", f"{media_type.partition('/')[0]}/*")


def _in_order(lesson: _Lesson) -> list[str]:
    """Events first, then calls and commands."""
    return sorted(lesson.fits, key=lambda title: (" " in title.partition(" (")[0], title))


def _differences(lesson: _Lesson, title: str) -> dict[str, list[str]]:
    """The differences of one place by their kind."""
    fit = lesson.fits[title]
    found: dict[str, set[str]] = {}
    for misfit in fit.misfits:
        shown = (
            f"{misfit.path or 'the whole'} (is {misfit.found})"
            if misfit.found
            else misfit.path or "the whole"
        )
        found.setdefault(misfit.kind, set()).add(shown)
    if title in lesson.contract.events:
        found["unseen"] = fit.declared - fit.seen
        found["default"] = set(_never_so(lesson, title))
    return {kind: sorted(found[kind]) for kind in _KINDS if found.get(kind)}


def _never_so(lesson: _Lesson, title: str) -> Iterable[str]:
    """Members of the envelope that never had the value that the contract calls normal."""
    for name, value in object_of(lesson.contract.events[title].root, "x-event-defaults").items():
        seen = lesson.values.get((title, name), set())
        if seen and json.dumps(value) not in seen:
            yield f"{name} {json.dumps(value)} (is {' or '.join(sorted(seen))})"
