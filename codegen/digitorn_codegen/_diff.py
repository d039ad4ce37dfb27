"""What changed between two contracts, and which changes break a client."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from ._documents import Document, JsonObject, JsonValue, text_of
from ._sides import (
    Direction,
    Flat,
    Place,
    Response,
    Side,
    body_of,
    command_part,
    flat,
    follow,
    object_of,
    operations_of,
    parameters_of,
    responses_of,
    root_of,
)

RULES: Mapping[str, tuple[bool, str]] = {
    "operation-removed": (True, "code that calls it has nothing to call"),
    "operation-added": (False, "nobody calls it yet"),
    "operation-renamed": (True, "its stub has another name"),
    "operation-moved": (True, "its stub is in another group"),
    "parameter-removed": (True, "code that passes it no longer type-checks"),
    "parameter-added": (False, "it may be left out"),
    "parameter-added-required": (True, "calls without it are refused"),
    "parameter-required": (True, "calls without it are refused"),
    "parameter-optional": (False, "calls with it still hold"),
    "body-removed": (True, "code that sends it no longer type-checks"),
    "body-added": (False, "it may be left out"),
    "body-added-required": (True, "calls without it are refused"),
    "body-media-changed": (True, "it is written in another form"),
    "request-field-removed": (True, "code that passes it no longer type-checks"),
    "request-field-added": (False, "it may be left out"),
    "request-field-added-required": (True, "requests without it are refused"),
    "request-field-required": (True, "requests without it are refused"),
    "request-field-optional": (False, "requests with it still hold"),
    "request-type-narrowed": (True, "values that were accepted are refused"),
    "request-type-widened": (False, "values that were accepted still are"),
    "request-value-removed": (True, "a value that was accepted is refused"),
    "request-value-added": (False, "one more value may be sent"),
    "request-variant-removed": (True, "a shape that was accepted is refused"),
    "request-variant-added": (False, "one more shape may be sent"),
    "request-limit-tightened": (True, "values that were accepted are refused"),
    "request-limit-loosened": (False, "values that were accepted still are"),
    "result-removed": (True, "code that reads the result has none"),
    "result-added": (False, "nobody reads it yet"),
    "result-optional": (True, "code that reads it must expect None"),
    "result-required": (False, "code that expects None still holds"),
    "success-added": (False, "it is read like the others"),
    "success-removed": (False, "every success that comes was expected before"),
    "redirect-added": (True, "the stub does not follow it"),
    "redirect-removed": (False, "code that expects it still holds"),
    "error-added": (False, "it is raised like every other error"),
    "error-removed": (False, "code that catches it still holds"),
    "error-body-removed": (True, "code that reads it has none"),
    "error-body-added": (False, "nobody reads it yet"),
    "response-media-changed": (True, "it is written in another form"),
    "response-field-removed": (True, "code that reads it no longer type-checks"),
    "response-field-added": (False, "unknown members are kept"),
    "response-field-optional": (True, "code that reads it must expect None"),
    "response-field-required": (False, "code that expects None still holds"),
    "response-type-widened": (True, "values come that the old client refuses"),
    "response-type-narrowed": (False, "every value that comes was expected before"),
    "response-value-added": (True, "a value comes that the old client refuses"),
    "response-value-removed": (False, "every value that comes was expected before"),
    "response-variant-added": (True, "a shape comes that the old client refuses"),
    "response-variant-removed": (False, "every shape that comes was expected before"),
    "event-removed": (True, "code that waits for it waits in vain"),
    "event-added": (False, "an old client keeps it as an unknown payload"),
    "event-renamed": (True, "its payload class has another name"),
    "event-moved": (True, "it arrives under another Socket.IO name"),
    "event-default-changed": (True, "its envelope normally says something else"),
    "event-default-removed": (True, "its envelope no longer says it reliably"),
    "event-default-added": (False, "nobody expects it yet"),
    "envelope-removed": (True, "code that reads it no longer type-checks"),
    "envelope-added": (False, "nobody reads it yet"),
    "constant-removed": (True, "code that imports it no longer type-checks"),
    "constant-added": (False, "nobody imports it yet"),
    "constant-value-removed": (True, "code that relies on it meets another value, or none"),
    "constant-value-added": (False, "code that uses the constant covers it"),
    "command-removed": (True, "code that sends it has nothing to send"),
    "command-added": (False, "nobody sends it yet"),
}
"""Each rule: whether such a change breaks a client, and why."""


@dataclass(frozen=True)
class Change:
    """One difference between two contracts.

    Attributes:
        rule: Name of the rule, a key of `RULES`.
        where: Operation, event or command, and the place in it.
        breaking: Whether code written for the old contract can fail.
        reason: What changed, and why it breaks or does not.
    """

    rule: str
    where: str
    breaking: bool
    reason: str

    def __str__(self) -> str:
        return f"{'BREAKING  ' if self.breaking else 'compatible'}  {self.where}: {self.reason} [{self.rule}]"


def compare(old: Side, new: Side) -> list[Change]:
    """Every difference that a client can notice, operations first, then events, constants and commands.

    Args:
        old: What a client was generated from.
        new: What the server has now.
    """
    comparison = _Comparison(old, new)
    comparison.operations()
    comparison.events()
    comparison.constants()
    comparison.commands()
    return comparison.changes


def as_json(changes: list[Change]) -> str:
    """The changes as a JSON array."""
    return json.dumps([asdict(change) for change in changes], indent=2, ensure_ascii=False)


@dataclass
class _Comparison:
    old: Side
    new: Side
    changes: list[Change] = field(default_factory=list[Change])
    _compared: set[tuple[str, str, Direction]] = field(default_factory=set[tuple[str, str, Direction]])

    def note(self, rule: str, where: str, what: str) -> None:
        breaking, why = RULES[rule]
        self.changes.append(Change(rule, where, breaking, f"{what}; {why}"))

    # --- operations

    def operations(self) -> None:
        before, after = operations_of(self.old), operations_of(self.new)
        for key in [key for key in before if key not in after]:
            self.note("operation-removed", " ".join(key), "was removed")
        for key, operation in after.items():
            if key not in before:
                self.note("operation-added", " ".join(key), "was added")
            else:
                self._operation(" ".join(key), before[key], operation)

    def _operation(self, where: str, old: JsonObject, new: JsonObject) -> None:
        names = text_of(old, "operationId"), text_of(new, "operationId")
        if names[0] != names[1]:
            self.note("operation-renamed", where, f"operationId {names[0]!r} became {names[1]!r}")
        tags = _tag(old), _tag(new)
        if tags[0] != tags[1]:
            self.note("operation-moved", where, f"tag {tags[0]!r} became {tags[1]!r}")
        self._parameters(where, old, new)
        self._body(where, old, new)
        before, after = responses_of(self.old, old), responses_of(self.new, new)
        self._statuses(where, before, after)
        self._successes(where, _of_class(before, "2"), _of_class(after, "2"))
        self._errors(where, _errors_of(before), _errors_of(after))

    def _parameters(self, where: str, old: JsonObject, new: JsonObject) -> None:
        before, after = parameters_of(self.old, old), parameters_of(self.new, new)
        for name in [name for name in before if name not in after]:
            self.note("parameter-removed", where, f"{name} was removed")
        for name, (place, parameter) in after.items():
            required = parameter.get("required") is True
            if name not in before:
                rule = "parameter-added-required" if required else "parameter-added"
                self.note(rule, where, f"{name} was added, {'required' if required else 'optional'}")
                continue
            old_place, old_parameter = before[name]
            was_required = old_parameter.get("required") is True
            if required != was_required:
                self.note(
                    "parameter-required" if required else "parameter-optional",
                    where,
                    f"{name} became {'required' if required else 'optional'}",
                )
            self._schema(f"{where}, {name}", old_place, place, "request")

    def _body(self, where: str, old: JsonObject, new: JsonObject) -> None:
        before, after = body_of(self.old, old), body_of(self.new, new)
        if before is None or after is None:
            if before is not None:
                self.note("body-removed", where, "the request body was removed")
            if after is not None:
                rule = "body-added-required" if after[2] else "body-added"
                self.note(rule, where, f"a request body was added, {'required' if after[2] else 'optional'}")
            return
        if before[0] != after[0]:
            self.note("body-media-changed", where, f"the body's media type {before[0]} became {after[0]}")
        self._schema(f"{where}, body", before[1], after[1], "request")

    # --- answers

    def _statuses(self, where: str, before: Mapping[str, Response], after: Mapping[str, Response]) -> None:
        for name, old, new in (
            ("success", _of_class(before, "2"), _of_class(after, "2")),
            ("redirect", _of_class(before, "3"), _of_class(after, "3")),
            ("error", _errors_of(before), _errors_of(after)),
        ):
            lost, gained = [one for one in old if one not in new], [one for one in new if one not in old]
            if lost:
                self.note(f"{name}-removed", where, f"{name} {', '.join(lost)} was removed")
            if gained:
                self.note(f"{name}-added", where, f"{name} {', '.join(gained)} was added")

    def _successes(self, where: str, before: Mapping[str, Response], after: Mapping[str, Response]) -> None:
        old, new = _with_body(before), _with_body(after)
        if old and not new:
            self.note("result-removed", where, "the result was removed")
        elif new and not old:
            self.note("result-added", where, "a result was added")
        elif old and new:
            empty = len(old) < len(before), len(new) < len(after)
            if empty[0] != empty[1]:
                rule = "result-optional" if empty[1] else "result-required"
                self.note(rule, where, f"the result became {'optional' if empty[1] else 'required'}")
            for left, right in _pairs(old, new):
                self._response(f"{where}, result", left, right)

    def _errors(self, where: str, before: Mapping[str, Response], after: Mapping[str, Response]) -> None:
        for status in [status for status in before if status in after]:
            old, new = before[status], after[status]
            if old.body is not None and new.body is None:
                self.note("error-body-removed", where, f"the body of error {status} was removed")
            elif old.body is None and new.body is not None:
                self.note("error-body-added", where, f"error {status} got a body")
            elif old.body is not None:
                self._response(f"{where}, error {status}", old, new)

    def _response(self, where: str, old: Response, new: Response) -> None:
        if old.body is None or new.body is None or self._is_compared(old.name, new.name):
            return
        if old.name == new.name != "":
            where = f"{where.partition(',')[0]}, {new.name}"
        if old.media_type != new.media_type:
            self.note("response-media-changed", where, f"{old.media_type} became {new.media_type}")
        self._schema(where, old.body, new.body, "response")

    def _is_compared(self, old: str, new: str) -> bool:
        """Whether two shared responses were compared before; they are from now on."""
        key: tuple[str, str, Direction] = (f"responses/{old}", f"responses/{new}", "response")
        if not old or not new:
            return False
        found = key in self._compared
        self._compared.add(key)
        return found

    # --- events and commands

    def events(self) -> None:
        self._envelope()
        before, after = self.old.events, self.new.events
        for wire in [wire for wire in before if wire not in after]:
            self.note("event-removed", f"event {wire}", "was removed")
        for wire, document in after.items():
            if wire in before:
                self._event(f"event {wire}", before[wire], document)
            else:
                self.note("event-added", f"event {wire}", "was added")

    def _event(self, where: str, old: Document, new: Document) -> None:
        self._title(where, old, new)
        pushed = _is_pushed(old), _is_pushed(new)
        if pushed[0] != pushed[1]:
            name = "a name of its own" if pushed[1] else "that of the envelope"
            self.note("event-moved", where, f"is sent under {name}")
        before, after = object_of(old.root, "x-event-defaults"), object_of(new.root, "x-event-defaults")
        for name in sorted(before.keys() | after.keys()):
            said = f"envelope member {name}"
            if name not in after:
                self.note("event-default-removed", where, f"{said} is no longer {_shown(before[name])}")
            elif name not in before:
                self.note("event-default-added", where, f"{said} is {_shown(after[name])}")
            elif before[name] != after[name]:
                became = f"{_shown(before[name])} became {_shown(after[name])}"
                self.note("event-default-changed", where, f"{said}: {became}")
        self._schema(where, root_of(old), root_of(new), "response")

    def _envelope(self) -> None:
        old, new, where = self.old.envelope, self.new.envelope, "the envelope of events"
        if old is None or new is None:
            if old is not None:
                self.note("envelope-removed", where, "was removed")
            if new is not None:
                self.note("envelope-added", where, "was added")
            return
        self._title(where, old, new)
        before, after = object_of(old.root, "x-socketio"), object_of(new.root, "x-socketio")
        for key in [key for key in ("namespace", "event") if before.get(key) != after.get(key)]:
            self.note(
                "event-moved",
                where,
                f"{key} {_shown(before.get(key))} became {_shown(after.get(key))}",
            )
        self._schema(where, root_of(old), root_of(new), "response")

    def _title(self, where: str, old: Document, new: Document) -> None:
        titles = text_of(old.root, "title"), text_of(new.root, "title")
        if titles[0] != titles[1]:
            self.note("event-renamed", where, f"class {titles[0]} became {titles[1]}")

    def constants(self) -> None:
        before, after = _constants(self.old), _constants(self.new)
        for name in sorted(before.keys() | after.keys()):
            where = f"constant {name}"
            if name not in after:
                self.note("constant-removed", where, "was removed")
            elif name not in before:
                self.note("constant-added", where, "was added")
            else:
                for value in sorted(before[name] - after[name]):
                    self.note("constant-value-removed", where, f"{value} was removed")
                for value in sorted(after[name] - before[name]):
                    self.note("constant-value-added", where, f"{value} was added")

    def commands(self) -> None:
        before, after = self.old.commands, self.new.commands
        for wire in [wire for wire in before if wire not in after]:
            self.note("command-removed", f"command {wire}", "was removed")
        for wire, document in after.items():
            if wire not in before:
                self.note("command-added", f"command {wire}", "was added")
                continue
            for suffix, direction in _COMMAND_PARTS:
                old, new = command_part(before[wire], suffix), command_part(document, suffix)
                if old is not None and new is not None:
                    self._schema(f"command {wire}, {suffix.lower()}", old, new, direction)

    # --- schemas

    def _schema(self, where: str, old: Place, new: Place, direction: Direction) -> None:
        old, old_name, old_null = follow(self.old, old)
        new, new_name, new_null = follow(self.new, new)
        before, after = flat(self.old, old), flat(self.new, new)
        was = before.types | ({"null"} if old_null else frozenset[str]())
        types = after.types | ({"null"} if new_null else frozenset[str]())
        if old_name and new_name:
            # Whether null may stand in a place is the place's own affair; a shape that many places share is
            # compared once for each way it travels.
            self._types(where, was & _NULL, types & _NULL, direction)
            was, types = was - _NULL, types - _NULL
            key = (old_name, new_name, direction)
            if key in self._compared:
                return
            self._compared.add(key)
            where = f"{where.partition(',')[0]}, {new_name}" if new_name == old_name else where
        self._types(where, was, types, direction)
        if before.branches or after.branches:
            # A schema that is no union is compared with the branch of its name, or the first unnamed one.
            mine = before.branches or {old_name if old_name in after.branches else "0": old}
            other = after.branches or {new_name if new_name in before.branches else "0": new}
            self._union(where, before, after, (mine, other), direction)
        else:
            self._values(where, before.values, after.values, direction)
            self._limits(where, before.schema, after.schema, direction)
        if bool(before.branches) == bool(after.branches):
            self._members(where, before, after, direction)

    def _members(self, where: str, before: Flat, after: Flat, direction: Direction) -> None:
        self._fields(where, before, after, direction)
        for part in ("items", "additionalProperties"):
            if isinstance(before.schema.get(part), dict) and isinstance(after.schema.get(part), dict):
                old = Place(before.document, before.schema[part])
                new = Place(after.document, after.schema[part])
                self._schema(f"{where}[]", old, new, direction)

    def _union(
        self,
        where: str,
        before: Flat,
        after: Flat,
        branches: tuple[Mapping[str, Place], Mapping[str, Place]],
        direction: Direction,
    ) -> None:
        """Compares the branches of a union by name; the values that they list are those of the union."""
        old, new = branches
        listed = before.all_values is not None or after.all_values is not None
        if listed:
            self._values(where, before.all_values, after.all_values, direction)
        for name in sorted(old.keys() | new.keys()):
            if name in old and name in new:
                if not listed:
                    self._schema(where, old[name], new[name], direction)
            elif name in old and _is_object(self.old, old[name]):
                self.note(f"{direction}-variant-removed", where, f"{name} was removed")
            elif name in new and _is_object(self.new, new[name]):
                self.note(f"{direction}-variant-added", where, f"{name} was added")

    def _types(self, where: str, before: frozenset[str], after: frozenset[str], direction: Direction) -> None:
        if lost := sorted(before - after):
            left = f"takes only {' or '.join(sorted(after))}" if before | _NULL >= _ANY else ""
            self.note(f"{direction}-type-narrowed", where, left or f"no longer takes {' or '.join(lost)}")
        if gained := sorted(after - before):
            added = "anything" if after | _NULL >= _ANY else " or ".join(gained)
            self.note(f"{direction}-type-widened", where, f"may be {added}")

    def _values(
        self, where: str, before: frozenset[str] | None, after: frozenset[str] | None, direction: Direction
    ) -> None:
        if before is None and after is None:
            return
        # Without a list of values every value is allowed.
        lost = sorted(before - after) if before is not None and after is not None else []
        gained = sorted(after - before) if before is not None and after is not None else []
        if before is None:
            lost = ["all but the listed values"]
        if after is None:
            gained = ["any other value"]
        for value in lost:
            self.note(f"{direction}-value-removed", where, f"value {value} was removed")
        for value in gained:
            self.note(f"{direction}-value-added", where, f"value {value} was added")

    def _limits(self, where: str, old: JsonObject, new: JsonObject, direction: Direction) -> None:
        if direction == "response":
            return
        for key, is_upper in _LIMITS.items():
            before, after = _number(old.get(key), is_upper), _number(new.get(key), is_upper)
            if before == after:
                continue
            tightened = after < before if is_upper else after > before
            rule = "request-limit-tightened" if tightened else "request-limit-loosened"
            self.note(rule, where, f"{key} {old.get(key, 'none')} became {new.get(key, 'none')}")

    def _fields(self, where: str, before: Flat, after: Flat, direction: Direction) -> None:
        for name in [name for name in before.fields if name not in after.fields]:
            self.note(f"{direction}-field-removed", f"{where}.{name}", "was removed")
        for name, place in after.fields.items():
            required = name in after.required
            at = f"{where}.{name}"
            if name not in before.fields:
                rule = f"{direction}-field-added"
                needed = direction == "request" and required
                self.note(f"{rule}-required" if needed else rule, at, f"was added{', required' * required}")
                continue
            if required != (name in before.required):
                became = "required" if required else "optional"
                self.note(f"{direction}-field-{became}", at, f"became {became}")
            self._schema(at, before.fields[name], place, direction)


_NULL = frozenset({"null"})
_ANY = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
_LIMITS = {
    "maxLength": True,
    "minLength": False,
    "maximum": True,
    "minimum": False,
    "maxItems": True,
    "minItems": False,
}
_COMMAND_PARTS: tuple[tuple[str, Direction], ...] = (("Request", "request"), ("Ack", "response"))


def _number(value: JsonValue, is_upper: bool) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return float("inf") if is_upper else float("-inf")


def _tag(operation: JsonObject) -> str:
    tags = operation.get("tags")
    return str(tags[0]) if isinstance(tags, list) and tags else ""


def _of_class(responses: Mapping[str, Response], digit: str) -> dict[str, Response]:
    return {status: response for status, response in responses.items() if status.startswith(digit)}


def _errors_of(responses: Mapping[str, Response]) -> dict[str, Response]:
    return {status: one for status, one in responses.items() if status[0] not in "123"}


def _with_body(responses: Mapping[str, Response]) -> dict[str, Response]:
    return {status: response for status, response in responses.items() if response.body is not None}


def _pairs(old: Mapping[str, Response], new: Mapping[str, Response]) -> list[tuple[Response, Response]]:
    """The answers of the same status; if no status is the same, the first of each."""
    alike = [(old[status], new[status]) for status in old if status in new]
    return alike or [(next(iter(old.values())), next(iter(new.values())))]


def _is_object(side: Side, place: Place) -> bool:
    return "object" in flat(side, place).types


def _is_pushed(document: Document) -> bool:
    return document.root.get("x-event-enveloped") is False


def _shown(value: JsonValue) -> str:
    return json.dumps(value, ensure_ascii=False)


def _constants(side: Side) -> dict[str, set[str]]:
    """The values of each constant of the event schemas; those of a table as `key: value`."""
    found: dict[str, set[str]] = {}
    for document in (*side.events.values(), *side.shared):
        for name, values in object_of(document.root, "x-constants").items():
            listed = values if isinstance(values, list) else []
            found[name] = {_shown(value) for value in listed}
            if isinstance(values, dict):
                found[name] = {f"{key}: {_shown(value)}" for key, value in values.items()}
    return found
