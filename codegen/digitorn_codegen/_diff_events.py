"""Compares the events, constants and commands of two contracts."""

from collections.abc import Mapping
from dataclasses import dataclass

from ._changes import Notes, Where
from ._compare import Schemas
from ._documents import Document, JsonObject, escape, text_of
from ._restrictions import canonical
from ._sides import Direction, Place, Side, command_part, object_of, root_of

_COMMAND_PARTS: tuple[tuple[str, Direction], ...] = (("Request", "request"), ("Ack", "response"))
_ENVELOPE = Where("the envelope of events")


@dataclass
class Events:
    """Compares the events and commands of two contracts.

    Attributes:
        old: The old contract.
        new: The new contract.
        notes: Where changes go.
        schemas: Compares schemas.
    """

    old: Side
    new: Side
    notes: Notes
    schemas: Schemas

    def compare(self) -> None:
        """Compares the envelope, events, constants and commands.

        Raises:
            ContractError: A reference leads nowhere.
        """
        self._envelope()
        self._events()
        self._constants()
        self._commands()

    def _envelope(self) -> None:
        old, new = self.old.envelope, self.new.envelope
        if old is None or new is None:
            if old is not None:
                self.notes.note("envelope-removed", _ENVELOPE, "was removed", root_of(old))
            if new is not None:
                self.notes.note("envelope-added", _ENVELOPE, "was added", None, root_of(new))
            return
        self._title(_ENVELOPE, old, new)
        places = _below(old, "x-socketio"), _below(new, "x-socketio")
        before, after = object_of(old.root, "x-socketio"), object_of(new.root, "x-socketio")
        for key in [key for key in ("namespace", "event") if before.get(key) != after.get(key)]:
            said = f"{key} {canonical(before.get(key))} became {canonical(after.get(key))}"
            self.notes.note("event-moved", _ENVELOPE, said, *places)
        before, after = object_of(old.root, "x-event-lifted"), object_of(new.root, "x-event-lifted")
        places = _below(old, "x-event-lifted"), _below(new, "x-event-lifted")
        for key in [key for key in sorted({*before, *after}) if before.get(key) != after.get(key)]:
            said = f"payload member {key} stands for {_target(before, key)}, now for {_target(after, key)}"
            self.notes.note("envelope-copies-changed", _ENVELOPE, said, *places)
        self.schemas.compare(_ENVELOPE, root_of(old), root_of(new), "response")

    # --- events

    def _events(self) -> None:
        before, after = self.old.events, self.new.events
        for wire in [wire for wire in before if wire not in after]:
            rule = "event-variant-removed" if _has_variants(wire, after) else "event-removed"
            self.notes.note(rule, Where(f"event {wire}"), "was removed", root_of(before[wire]))
        for wire, document in after.items():
            if wire in before:
                self._event(Where(f"event {wire}"), before[wire], document)
            else:
                rule = "event-variant-added" if _has_variants(wire, before) else "event-added"
                self.notes.note(rule, Where(f"event {wire}"), "was added", None, root_of(document))

    def _event(self, where: Where, old: Document, new: Document) -> None:
        self._title(where, old, new)
        pushed = _is_pushed(old), _is_pushed(new)
        if pushed[0] != pushed[1]:
            name = "a name of its own" if pushed[1] else "that of the envelope"
            self.notes.note("event-moved", where, f"is sent under {name}", root_of(old), root_of(new))
        before, after = object_of(old.root, "x-event-defaults"), object_of(new.root, "x-event-defaults")
        places = _below(old, "x-event-defaults"), _below(new, "x-event-defaults")
        for name in sorted(before.keys() | after.keys()):
            said = f"envelope member {name}"
            if name not in after:
                text = f"{said} is no longer {canonical(before[name])}"
                self.notes.note("event-default-removed", where, text, *places)
            elif name not in before:
                text = f"{said} is {canonical(after[name])}"
                self.notes.note("event-default-added", where, text, *places)
            elif before[name] != after[name]:
                text = f"{said}: {canonical(before[name])} became {canonical(after[name])}"
                self.notes.note("event-default-changed", where, text, *places)
        self.schemas.compare(where, root_of(old), root_of(new), "response")

    def _title(self, where: Where, old: Document, new: Document) -> None:
        titles = text_of(old.root, "title"), text_of(new.root, "title")
        if titles[0] != titles[1]:
            said = f"class {titles[0]} became {titles[1]}"
            self.notes.note("event-renamed", where, said, _below(old, "title"), _below(new, "title"))

    def _constants(self) -> None:
        before, after = _constants(self.old), _constants(self.new)
        for name in sorted(before.keys() | after.keys()):
            where = Where(f"constant {name}")
            if name not in after:
                self.notes.note("constant-removed", where, "was removed", before[name][1])
            elif name not in before:
                self.notes.note("constant-added", where, "was added", None, after[name][1])
            else:
                (old, left), (new, right) = before[name], after[name]
                for value in sorted(old - new):
                    self.notes.note("constant-value-removed", where, f"{value} was removed", left, right)
                for value in sorted(new - old):
                    self.notes.note("constant-value-added", where, f"{value} was added", left, right)

    # --- commands

    def _commands(self) -> None:
        before, after = self.old.commands, self.new.commands
        for wire in [wire for wire in before if wire not in after]:
            self.notes.note("command-removed", Where(f"command {wire}"), "was removed", root_of(before[wire]))
        for wire, document in after.items():
            if wire in before:
                self._command(Where(f"command {wire}"), before[wire], document)
            else:
                where = Where(f"command {wire}")
                self.notes.note("command-added", where, "was added", None, root_of(document))
        failures = _root(self.old.command_error), _root(self.new.command_error)
        self._message(Where("the failure of a command"), *failures, "response")
        handshakes = _handshake(self.old), _handshake(self.new)
        self._message(Where("the handshake of commands"), *handshakes, "request")

    def _command(self, where: Where, old: Document, new: Document) -> None:
        spaces = text_of(old.root, "x-namespace") or "/", text_of(new.root, "x-namespace") or "/"
        if spaces[0] != spaces[1]:
            said = f"namespace {spaces[0]} became {spaces[1]}"
            self.notes.note("command-moved", where, said, root_of(old), root_of(new))
        for suffix, direction in _COMMAND_PARTS:
            parts = command_part(old, suffix), command_part(new, suffix)
            self._message(where.within(suffix.lower()), *parts, direction)

    def _message(self, where: Where, old: Place | None, new: Place | None, direction: Direction) -> None:
        if old is None or new is None:
            if old is not None:
                self.notes.note("message-removed", where, "was removed", old)
            if new is not None:
                self.notes.note("message-added", where, "was added", None, new)
            return
        names = _class(old), _class(new)
        if names[0] != names[1]:
            self.notes.note("class-renamed", where, f"class {names[0]} became {names[1]}", old, new)
        self.schemas.compare(where, old, new, direction)


def _root(document: Document | None) -> Place | None:
    return None if document is None else root_of(document)


def _below(document: Document, key: str) -> Place:
    return Place(document, document.root.get(key), f"/{escape(key)}")


def _target(lifted: JsonObject, key: str) -> str:
    return str(lifted.get(key) or "no member")


def _has_variants(wire: str, others: Mapping[str, Document]) -> bool:
    """Whether a contract has other variants of an event."""
    name = wire.partition(" (")[0]
    return any(other.partition(" (")[0] == name for other in others)


def _is_pushed(document: Document) -> bool:
    return document.root.get("x-event-enveloped") is False


def _constants(side: Side) -> dict[str, tuple[set[str], Place]]:
    """The values of each constant of the event schemas and its place; those of a table as `key: value`."""
    found: dict[str, tuple[set[str], Place]] = {}
    for document in (*side.events.values(), *side.shared):
        for name, values in object_of(document.root, "x-constants").items():
            listed = {canonical(value) for value in values} if isinstance(values, list) else set[str]()
            if isinstance(values, dict):
                listed = {f"{key}: {canonical(value)}" for key, value in values.items()}
            found[name] = listed, Place(document, values, f"/x-constants/{escape(name)}")
    return found


def _handshake(side: Side) -> Place | None:
    """The authentication of the handshake, if the contract has one."""
    for document in side.shared:
        if document.root.get("x-connect") is True:
            for name, schema in object_of(document.root, "$defs").items():
                return Place(document, schema, f"/$defs/{escape(name)}")
    return None


def _class(place: Place) -> str:
    return place.pointer.rpartition("/")[2] or text_of(place.document.root, "title")
