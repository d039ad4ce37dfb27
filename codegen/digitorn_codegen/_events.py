"""Reads the schemas of events and of socket commands."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from . import _ir as ir
from ._definitions import Definitions
from ._documents import Document, Documents, JsonObject, JsonValue, escape, text_of, walk
from ._errors import ContractError
from ._names import Scope, constant, identifier, keys_of

_EVENT_NAMES = ("EVENTS", "EVENT_NAMESPACE", "EVENT_PUSH", "LIFTED", "LIVE", "LiveMembers", "live_members")
_PLAIN = {"string": "str", "integer": "int", "boolean": "bool", "object": "dict"}
_PARTS = frozenset({"properties", "allOf", "oneOf", "anyOf"})
_DEEPEST = 50
_SHARED = frozenset({"$schema", "$id", "$comment", "title", "description", "$defs"})


@dataclass(frozen=True)
class Place:
    """An object of a document.

    Attributes:
        document: The document.
        pointer: Where it stands there.
        value: The object.
    """

    document: Document
    pointer: str
    value: JsonObject

    def below(self, *steps: str) -> str:
        """The pointer of something in it."""
        return self.pointer + "".join(f"/{escape(step)}" for step in steps)

    @property
    def name(self) -> str:
        """The place in words."""
        return f"{self.document.path.name}#{self.pointer}" if self.pointer else self.document.path.name


@dataclass(frozen=True)
class EventSource:
    """An event, and the file, message or webhook that declares it."""

    place: Place
    event: ir.Event

    @property
    def key(self) -> str:
        """The key of the payload class."""
        return f"payloads.{self.event.name}"


@dataclass
class EventSources:
    """What declares events.

    Attributes:
        events: The events.
        envelopes: The schemas of envelopes; more than one is refused.
        constants: Objects that may name constants.
    """

    events: list[EventSource] = field(default_factory=list[EventSource])
    envelopes: list[Place] = field(default_factory=list[Place])
    constants: list[Place] = field(default_factory=list[Place])

    def add(self, other: "EventSources") -> None:
        """Adds what another source declares."""
        self.events += other.events
        self.envelopes += other.envelopes
        self.constants += other.constants


@dataclass
class Events:
    """The events of a contract.

    Attributes:
        events: The events, in the order in which they are emitted.
        envelope: What they travel in.
        payloads: Keys of the definitions that are event payloads.
        constants: Wire values that code needs by name.
    """

    events: tuple[ir.Event, ...]
    envelope: ir.EventEnvelope | None
    payloads: frozenset[str]
    constants: dict[str, ir.Constant]


def event_files(definitions: Definitions, documents: Sequence[Document]) -> EventSources:
    """The events that a folder of schemas declares, one a file.

    Raises:
        ContractError: A file is no event.
    """
    found = EventSources()
    for document in documents:
        place = Place(document, "", document.root)
        found.constants.append(place)
        if document.root.get("x-event-envelope") is True:
            found.envelopes.append(place)
        elif wire := text_of(document.root, "x-event-type"):
            found.events.append(_event_file(definitions, place, wire))
        else:
            _check_shared(document)
    if not found.envelopes and any(source.event.enveloped for source in found.events):
        text = (
            "holds events but no envelope: mark one schema with 'x-event-envelope': true, "
            "or every event with 'x-event-enveloped': false"
        )
        raise ContractError(documents[0].path.parent, "", text)
    return found


def assembled(definitions: Definitions, sources: EventSources) -> Events:
    """The events of all sources.

    Raises:
        ContractError: Two events or two envelopes are the same, or a name is taken.
    """
    seen: dict[tuple[str, str | None], Place] = {}
    for source in sources.events:
        identity = (source.event.wire, source.event.variant_key)
        if (other := seen.get(identity)) is not None:
            text = f"event {source.event.wire!r} is already that of {other.name}"
            pointer = source.place.pointer or "/x-event-type"
            raise ContractError(source.place.document.path, pointer, text)
        seen[identity] = source.place
    for place in sources.envelopes[1:]:
        text = f"{sources.envelopes[0].name} is the envelope already"
        raise ContractError(place.document.path, place.below("x-event-envelope"), text)
    envelope = _envelope(definitions, sources.envelopes[0]) if sources.envelopes else None
    if sources.envelopes:
        _check_defaults(sources.envelopes[0], seen.values())
    events = sorted(
        (source.event for source in sources.events),
        key=lambda e: (e.wire, e.variant_key is None, e.variant_key or ""),
    )
    classes = {event.name for event in events}
    if envelope is not None:
        classes.add(envelope.name)
    return Events(
        tuple(events),
        envelope,
        frozenset(source.key for source in sources.events),
        _constants(sources.constants, classes),
    )


def _check_shared(document: Document) -> None:
    if "$defs" not in document.root or not set(document.root) <= _SHARED:
        raise ContractError(
            document.path,
            "",
            "names no event: 'x-event-type' is missing (a file of shared $defs needs none)",
        )


def _check_defaults(envelope: Place, places: Iterable[Place]) -> None:
    properties = _object(envelope.value, "properties")
    for place in places:
        for name in _object(place.value, "x-event-defaults"):
            if name not in properties:
                pointer = place.below("x-event-defaults", name)
                raise ContractError(place.document.path, pointer, f"the envelope has no {name!r}")


def _event_file(definitions: Definitions, place: Place, wire: str) -> EventSource:
    root = place.value
    as_class(root)
    key = definitions.define(place.document, "")
    enveloped = root.get("x-event-enveloped") is not False
    return EventSource(place, event_of(place, wire, key, text_of(root, "description"), enveloped))


def as_class(schema: JsonObject) -> None:
    """Brings a schema of objects into the form that always becomes a class of its own, in place."""
    schema.setdefault("type", "object")
    if "$ref" in schema:
        several = schema.get("allOf")
        schema["allOf"] = [{"$ref": schema.pop("$ref")}, *(several if isinstance(several, list) else [])]
    if _PARTS.isdisjoint(schema):
        schema["properties"] = {}


def event_of(place: Place, wire: str, key: str, summary: str, enveloped: bool) -> ir.Event:
    """An event with what the keys of our own say beside it."""
    variant = place.value.get("x-event-variant")
    return ir.Event(
        wire=wire,
        name=key.partition(".")[2],
        summary=summary,
        variant_key=text_of(variant, "requires") if isinstance(variant, dict) else None,
        enveloped=enveloped,
        defaults=_object(place.value, "x-event-defaults"),
    )


def is_object(
    documents: Documents, document: Document, pointer: str, schema: JsonValue, depth: int = 0
) -> bool:
    """Whether a schema accepts nothing but objects, as far as a plain look tells."""
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return False
    if "$ref" in schema:
        target = documents.follow(document, pointer, schema)
        if is_object(documents, target.document, target.pointer, target.value, depth + 1):
            return True
    kind = schema.get("type")
    if kind is not None:
        return kind in ("object", ["object"])
    if "properties" in schema and "$ref" not in schema:
        return True
    for key, enough in (("allOf", any), ("oneOf", all), ("anyOf", all)):
        parts = schema.get(key)
        if isinstance(parts, list) and parts:
            found = (
                is_object(documents, document, f"{pointer}/{key}/{place}", part, depth + 1)
                for place, part in enumerate(parts)
            )
            if enough(found):
                return True
    return False


def _envelope(definitions: Definitions, place: Place) -> ir.EventEnvelope:
    key = definitions.define(place.document, place.pointer)
    socketio = _object(place.value, "x-socketio")
    lifted = {name: str(target) for name, target in _object(place.value, "x-event-lifted").items()}
    properties = _object(place.value, "properties")
    for payload_key, envelope_key in lifted.items():
        if envelope_key not in properties:
            pointer = place.below("x-event-lifted", payload_key)
            raise ContractError(place.document.path, pointer, f"the envelope has no {envelope_key!r}")
    return ir.EventEnvelope(
        name=key.partition(".")[2],
        namespace=text_of(socketio, "namespace") or "/",
        push=text_of(socketio, "event") or "event",
        lifted=lifted,
        live=tuple(_live(definitions, place)),
    )


def _live(definitions: Definitions, place: Place) -> Iterator[ir.LiveMember]:
    """The members of the envelope that every live event has.

    Raises:
        ContractError: The envelope has no such member, or one whose values are not told by a plain look.
    """
    document = place.document
    properties = _object(place.value, "properties")
    named = place.value.get("x-event-live")
    for number, name in enumerate(named if isinstance(named, list) else ()):
        pointer = place.below("x-event-live", str(number))
        if not isinstance(schema := properties.get(str(name)), dict):
            raise ContractError(document.path, pointer, f"the envelope has no {name!r}")
        types: set[str] = set()
        choices: list[str] = []
        for one in _alternatives(definitions, document, place.below("properties", str(name)), schema):
            several = one.get("type")
            types |= set(map(str, several)) if isinstance(several, list) else {str(several)}
            if isinstance(values := one.get("enum"), list):
                choices += [value for value in values if isinstance(value, str)]
        kinds = types - {"null"}
        if len(kinds) != 1 or not kinds <= _PLAIN.keys() or (choices and kinds != {"string"}):
            text = f"{name!r} is neither a text, an integer, a flag nor an object"
            raise ContractError(document.path, pointer, text)
        yield ir.LiveMember(str(name), _PLAIN[kinds.pop()], tuple(choices), "null" in types)


def _alternatives(
    definitions: Definitions, document: Document, pointer: str, schema: JsonObject
) -> Iterator[JsonObject]:
    target = definitions.documents.follow(document, pointer, schema)
    several = target.value_object.get("anyOf")
    if not isinstance(several, list):
        yield target.value_object
        return
    for place, one in enumerate(several):
        if isinstance(one, dict):
            yield from _alternatives(definitions, target.document, f"{target.pointer}/anyOf/{place}", one)


def _constants(places: Iterable[Place], classes: set[str]) -> dict[str, ir.Constant]:
    """The constants. Code imports them by name, so they must not be renamed."""
    constants: dict[str, ir.Constant] = {}
    taken = {*classes, *_EVENT_NAMES, "EventPayload", "EventRegistry", "EventSpec", "EventType"}
    taken |= {"Final", "Literal", "Mapping", "TypeAlias"}
    for place in places:
        for name, values in _object(place.value, "x-constants").items():
            found = identifier(name)
            names = [found, *([keys_of(found)] if isinstance(values, dict) else ())]
            for one in names:
                if one in taken:
                    pointer = place.below("x-constants", name)
                    raise ContractError(place.document.path, pointer, f"the name {one!r} is already taken")
            taken.update(names)
            if isinstance(values, dict):
                constants[found] = {key: str(value) for key, value in values.items()}
            else:
                constants[found] = tuple(str(v) for v in values) if isinstance(values, list) else ()
    return dict(sorted(constants.items()))


@dataclass(frozen=True)
class CommandSource:
    """A command, and the file or operation that declares it.

    Attributes:
        place: What declares it.
        wire: Its wire name.
        namespace: Where it is sent.
        summary: What it does.
        request: Key of its class.
        ack: Key of the class of its acknowledgement, if it has one.
    """

    place: Place
    wire: str
    namespace: str
    summary: str
    request: str
    ack: str | None


@dataclass
class CommandSources:
    """What declares commands.

    Attributes:
        commands: The commands.
        error: Key of the acknowledgement of a failure.
        connect: Key of the handshake's auth object.
    """

    commands: list[CommandSource] = field(default_factory=list[CommandSource])
    error: str | None = None
    connect: str | None = None

    @property
    def classes(self) -> frozenset[str]:
        """The keys of what has to be a class."""
        keys = [key for one in self.commands for key in (one.request, one.ack)]
        return frozenset(key for key in (*keys, self.error, self.connect) if key is not None)

    def add(self, other: "CommandSources") -> None:
        """Adds what another source declares; what this one has already stays."""
        self.commands += other.commands
        self.error = self.error or other.error
        self.connect = self.connect or other.connect


def command_files(definitions: Definitions, documents: Sequence[Document]) -> CommandSources:
    """The commands that a folder of schemas declares, one a file.

    Raises:
        ContractError: A file is no command.
    """
    found = CommandSources()
    for document in documents:
        root = document.root
        if root.get("x-command-error") is True:
            found.error = definitions.define(document, "")
            continue
        keys = {
            name: definitions.define(document, f"/$defs/{escape(name)}") for name in _object(root, "$defs")
        }
        if root.get("x-connect") is True:
            if not keys:
                raise ContractError(document.path, "/$defs", "a handshake has a definition")
            found.connect = next(iter(keys.values()))
        else:
            found.commands.append(_command_file(document, keys))
    return found


def _command_file(document: Document, keys: Mapping[str, str]) -> CommandSource:
    wire = text_of(document.root, "x-command")
    if not wire:
        raise ContractError(document.path, "", "names no command: 'x-command' is missing")
    request = next((key for key in keys.values() if key.endswith("Request")), None)
    ack = next((key for key in keys.values() if key.endswith("Ack")), None)
    if request is None:
        raise ContractError(
            document.path, "/$defs", "a command has a …Request definition, and an …Ack if it is acknowledged"
        )
    used = {text_of(schema, "$ref") for _, schema in walk(document.root)}
    for name, key in keys.items():
        if ack is None and key != request and f"#/$defs/{name}" not in used:
            text = f"{name!r} is neither a …Request nor an …Ack, and nothing refers to it"
            raise ContractError(document.path, f"/$defs/{escape(name)}", text)
    return CommandSource(
        place=Place(document, "", document.root),
        wire=wire,
        namespace=text_of(document.root, "x-namespace") or "/",
        summary=text_of(document.root, "description"),
        request=request,
        ack=ack,
    )


def commands_of(definitions: Definitions, sources: CommandSources) -> Iterator[ir.Command]:
    """The commands of all sources, in the order in which they are emitted.

    Raises:
        ContractError: Two commands are the same.
    """
    named = sorted(sources.commands, key=lambda c: c.wire)
    taken = sorted(key.partition(".")[2] for key in sources.classes)
    scope = Scope.reserving(("Command", "Final", *taken))
    seen: dict[str, Place] = {}
    for one in named:
        path = one.place.document.path
        pointer = one.place.pointer or "/x-command"
        if (other := seen.get(one.wire)) is not None:
            raise ContractError(path, pointer, f"command {one.wire!r} is already that of {other.name}")
        seen[one.wire] = one.place
        yield ir.Command(
            wire=one.wire,
            namespace=one.namespace,
            constant=definitions.allot(scope, constant(one.wire), path, pointer, one.place.name),
            summary=one.summary,
            request=one.request,
            ack=one.ack,
        )


def _object(value: JsonObject, key: str) -> JsonObject:
    found = value.get(key)
    return found if isinstance(found, dict) else {}
