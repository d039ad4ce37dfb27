"""Compares recorded traffic with a contract, and drafts schemas of events that the contract lacks."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genson import SchemaBuilder  # pyright: ignore[reportMissingTypeStubs] - the package has none

from ._documents import JsonValue, text_of
from ._fit import Fit, Fitting, Misfit
from ._frames import SeenCommand, SeenEvent, SeenExchange, frames_of
from ._names import pascal
from ._sides import (
    Operation,
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

DIALECT = "https://json-schema.org/draft/2020-12/schema"
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
        differences: Where the contract and the recordings differ: for each event, body, answer and command
            the members that are seen and not declared, and so on, by a key of `_KINDS`.
        unknown: Operations and commands that the contract lacks, in order.
        counts: How many events, calls and commands were read.
        skipped: Lines that hold nothing of the kind, as `file:line: why`.
    """

    drafts: Mapping[str, Mapping[str, object]]
    differences: Mapping[str, Mapping[str, list[str]]]
    unknown: list[str]
    counts: Mapping[str, int]
    skipped: list[str]

    def lines(self) -> list[str]:
        """The differences, one line for each place and kind."""
        lines = [f"{one}: not in the contract" for one in self.unknown]
        for title, kinds in self.differences.items():
            lines += [f"{title}: {_KINDS[kind]}: {', '.join(found)}" for kind, found in kinds.items()]
        return lines


def learn(contract: Side, recordings: Iterable[Path]) -> Learned:
    """Compares recordings with a contract.

    Args:
        contract: The contract with its events and commands.
        recordings: Files of event envelopes, of frames, or recordings of a client, as JSON lines.

    Raises:
        SettingsError: A recording cannot be read.
        ContractError: A schema of the contract cannot be followed.
    """
    skipped: list[str] = []
    lesson = _Lesson(contract)
    for recording in recordings:
        for frame in frames_of(recording, skipped):
            match frame:
                case SeenEvent():
                    lesson.event(frame)
                case SeenExchange():
                    lesson.exchange(frame)
                case SeenCommand():
                    lesson.command(frame)
    return Learned(
        {wire: _draft(wire, builder) for wire, builder in sorted(lesson.drafts.items())},
        {title: _differences(lesson, title) for title in _in_order(lesson) if _differences(lesson, title)},
        sorted(lesson.unknown),
        lesson.counts,
        skipped,
    )


def write_drafts(learned: Learned, folder: Path) -> list[Path]:
    """Writes the drafts as files of a folder; one that exists is left as it is.

    Args:
        learned: What recordings taught.
        folder: Where event schemas live.

    Returns:
        The files that were written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for wire, schema in learned.drafts.items():
        path = folder / f"{''.join(c if c.isalnum() or c in '._-' else '.' for c in wire)}.json"
        if not path.exists():
            path.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            written.append(path)
    return written


@dataclass
class _Draft:
    """The payloads of an event type that the contract lacks."""

    builder: Any = field(default_factory=SchemaBuilder)
    count: int = 0


@dataclass(frozen=True)
class _Operation:
    """An operation of the contract, and which paths are its own."""

    title: str
    pattern: re.Pattern[str]
    literal: int
    value: Operation


@dataclass
class _Lesson:
    """Compares one frame after the other."""

    contract: Side
    fits: dict[str, Fit] = field(default_factory=dict[str, Fit])
    drafts: dict[str, _Draft] = field(default_factory=dict[str, _Draft])
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
            draft = self.drafts.setdefault(event.wire, _Draft())
            draft.builder.add_object(event.payload)
            draft.count += 1
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
            if exchange.status not in _NOWHERE:
                self.unknown.add(_called(exchange))
            return
        self._sent(operation, exchange)
        response = _response(responses_of(self.contract, operation.value), exchange.status)
        title = f"{operation.title} {exchange.status}"
        if response is None:
            self._undeclared(operation.title, f"status {exchange.status}")
        elif exchange.media_type:
            if not any(_covers(one, exchange.media_type) for one in response.media_types):
                self._undeclared(title, exchange.media_type)
        elif response.body is not None and is_json(response.media_type):
            self._fit(title, response.body, exchange.answer)
        elif exchange.answer is not None and not response.media_types:
            self._undeclared(title, "a body")

    def _sent(self, operation: _Operation, exchange: SeenExchange) -> None:
        """Compares the body of a call that was accepted; others may be wrong on purpose."""
        if exchange.body is None or exchange.status >= 400:
            return
        body = body_of(self.contract, operation.value)
        if body is None:
            self._undeclared(operation.title, "a request body")
        elif is_json(body[0]):
            self._fit(f"{operation.title}, body", body[1], exchange.body)

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


# Answers that say that the path leads nowhere.
_NOWHERE = (404, 405)


def _operations(contract: Side) -> Iterable[_Operation]:
    for (method, path), value in operations_of(contract).items():
        long = {
            text_of(parameter.value, "name")
            for parameter in parameters_of(contract, value).values()
            if parameter.value.get("x-path-segments") is True
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
    kind = declared.partition(";")[0].strip()
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


def _draft(wire: str, found: _Draft) -> dict[str, object]:
    inferred: dict[str, object] = found.builder.to_schema()
    inferred.pop("$schema", None)
    times = f"{found.count} recorded event{'s' * (found.count != 1)}"
    return {
        "$schema": DIALECT,
        "title": pascal(wire),
        "description": f"Draft, inferred from {times}; not reviewed.",
        "x-event-type": wire,
        "x-draft": True,
        **inferred,
    }
