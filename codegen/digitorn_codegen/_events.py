"""Reads the schemas of events and of socket commands."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from . import _ir as ir
from ._definitions import Definitions
from ._documents import Document, JsonObject, escape, text_of
from ._errors import ContractError
from ._names import Scope, constant, identifier, keys_of

_EVENT_NAMES = ("EVENTS", "EVENT_NAMESPACE", "EVENT_PUSH", "LIFTED", "LIVE", "LiveMembers", "live_members")
_PLAIN = {"string": "str", "integer": "int", "boolean": "bool", "object": "dict"}
_SHARED = frozenset({"$schema", "$id", "$comment", "title", "description", "$defs"})


@dataclass
class Events:
    """What a folder of event schemas declares.

    Attributes:
        events: The events, in the order in which they are emitted.
        envelope: What they travel in.
        payloads: Keys of the definitions that are event payloads.
        constants: Wire values that code needs by name.
    """

    events: tuple[ir.Event, ...] = ()
    envelope: ir.EventEnvelope | None = None
    payloads: frozenset[str] = frozenset()
    constants: dict[str, ir.Constant] = field(default_factory=dict[str, ir.Constant])


def read_events(definitions: Definitions, documents: Sequence[Document]) -> Events:
    """Reads event schemas.

    Raises:
        ContractError: One is no event, or two are the same.
    """
    events: list[ir.Event] = []
    envelopes: list[tuple[Document, ir.EventEnvelope]] = []
    payloads: set[str] = set()
    seen: dict[tuple[str, str | None], Document] = {}
    for document in documents:
        if document.root.get("x-event-envelope") is True:
            envelopes.append((document, _envelope(definitions, document)))
            continue
        if not (wire := text_of(document.root, "x-event-type")):
            _check_shared(document)
            continue
        event, key = _event(definitions, document, wire)
        if (other := seen.get((wire, event.variant_key))) is not None:
            text = f"event {wire!r} is already that of {other.path.name}"
            raise ContractError(document.path, "/x-event-type", text)
        seen[wire, event.variant_key] = document
        payloads.add(key)
        events.append(event)
    for document, _ in envelopes[1:]:
        text = f"{envelopes[0][0].path.name} is the envelope already"
        raise ContractError(document.path, "/x-event-envelope", text)
    if events and not envelopes:
        text = "holds events but no envelope: mark one schema with 'x-event-envelope': true"
        raise ContractError(documents[0].path.parent, "", text)
    envelope = envelopes[0][1] if envelopes else None
    if envelopes:
        _check_defaults(envelopes[0][0], seen.values())
    return Events(
        tuple(sorted(events, key=lambda e: (e.wire, e.variant_key is None, e.variant_key or ""))),
        envelope,
        frozenset(payloads),
        _constants(documents, {event.name for event in events} | ({envelope.name} if envelope else set())),
    )


def _check_shared(document: Document) -> None:
    if "$defs" not in document.root or not set(document.root) <= _SHARED:
        raise ContractError(
            document.path,
            "",
            "names no event: 'x-event-type' is missing (a file of shared $defs needs none)",
        )


def _check_defaults(envelope: Document, documents: Iterable[Document]) -> None:
    properties = _object(envelope.root, "properties")
    for document in documents:
        for name in _object(document.root, "x-event-defaults"):
            if name not in properties:
                pointer = f"/x-event-defaults/{escape(name)}"
                raise ContractError(document.path, pointer, f"the envelope has no {name!r}")


def _event(definitions: Definitions, document: Document, wire: str) -> tuple[ir.Event, str]:
    root = document.root
    variant = root.get("x-event-variant")
    key = definitions.define(document, "")
    event = ir.Event(
        wire=wire,
        name=key.partition(".")[2],
        summary=text_of(root, "description"),
        variant_key=text_of(variant, "requires") if isinstance(variant, dict) else None,
        enveloped=root.get("x-event-enveloped") is not False,
        defaults=_object(root, "x-event-defaults"),
    )
    return event, key


def _envelope(definitions: Definitions, document: Document) -> ir.EventEnvelope:
    key = definitions.define(document, "")
    socketio = _object(document.root, "x-socketio")
    lifted = {name: str(target) for name, target in _object(document.root, "x-event-lifted").items()}
    properties = _object(document.root, "properties")
    for payload_key, envelope_key in lifted.items():
        if envelope_key not in properties:
            pointer = f"/x-event-lifted/{escape(payload_key)}"
            raise ContractError(document.path, pointer, f"the envelope has no {envelope_key!r}")
    return ir.EventEnvelope(
        name=key.partition(".")[2],
        namespace=text_of(socketio, "namespace") or "/",
        push=text_of(socketio, "event") or "event",
        lifted=lifted,
        live=tuple(_live(definitions, document)),
    )


def _live(definitions: Definitions, document: Document) -> Iterator[ir.LiveMember]:
    """The members of the envelope that every live event has.

    Raises:
        ContractError: The envelope has no such member, or one whose values are not told by a plain look.
    """
    properties = _object(document.root, "properties")
    named = document.root.get("x-event-live")
    for place, name in enumerate(named if isinstance(named, list) else ()):
        pointer = f"/x-event-live/{place}"
        if not isinstance(schema := properties.get(str(name)), dict):
            raise ContractError(document.path, pointer, f"the envelope has no {name!r}")
        types: set[str] = set()
        choices: list[str] = []
        for one in _alternatives(definitions, document, f"/properties/{escape(str(name))}", schema):
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


def _constants(documents: Iterable[Document], classes: set[str]) -> dict[str, ir.Constant]:
    """The constants. Code imports them by name, so they must not be renamed."""
    constants: dict[str, ir.Constant] = {}
    taken = {*classes, *_EVENT_NAMES, "EventPayload", "EventRegistry", "EventSpec", "EventType"}
    taken |= {"Final", "Literal", "Mapping", "TypeAlias"}
    for document in documents:
        for name, values in _object(document.root, "x-constants").items():
            found = identifier(name)
            names = [found, *([keys_of(found)] if isinstance(values, dict) else ())]
            for one in names:
                if one in taken:
                    pointer = f"/x-constants/{escape(name)}"
                    raise ContractError(document.path, pointer, f"the name {one!r} is already taken")
            taken.update(names)
            if isinstance(values, dict):
                constants[found] = {key: str(value) for key, value in values.items()}
            else:
                constants[found] = tuple(str(v) for v in values) if isinstance(values, list) else ()
    return dict(sorted(constants.items()))


@dataclass
class Commands:
    """What a folder of command schemas declares.

    Attributes:
        commands: The commands, in the order in which they are emitted.
        error: Key of the acknowledgement of a failure.
        connect: Key of the handshake's auth object.
    """

    commands: tuple[ir.Command, ...] = ()
    error: str | None = None
    connect: str | None = None


@dataclass(frozen=True)
class _Named:
    document: Document
    wire: str
    request: str
    ack: str


def read_commands(definitions: Definitions, documents: Sequence[Document]) -> Commands:
    """Reads command schemas.

    Raises:
        ContractError: One is no command, or two are the same.
    """
    found = Commands()
    named: list[_Named] = []
    for document in documents:
        root = document.root
        if root.get("x-command-error") is True:
            found.error = definitions.define(document, "")
            continue
        keys = [definitions.define(document, f"/$defs/{escape(name)}") for name in _object(root, "$defs")]
        if root.get("x-connect") is True:
            if not keys:
                raise ContractError(document.path, "/$defs", "a handshake has a definition")
            found.connect = keys[0]
        else:
            named.append(_command(document, keys))
    found.commands = tuple(_constant_names(definitions, sorted(named, key=lambda c: c.wire), found))
    return found


def _command(document: Document, keys: Sequence[str]) -> _Named:
    wire = text_of(document.root, "x-command")
    if not wire:
        raise ContractError(document.path, "", "names no command: 'x-command' is missing")
    request = next((key for key in keys if key.endswith("Request")), None)
    ack = next((key for key in keys if key.endswith("Ack")), None)
    if request is None or ack is None:
        raise ContractError(document.path, "/$defs", "a command has a …Request and an …Ack definition")
    return _Named(document, wire, request, ack)


def _constant_names(
    definitions: Definitions, named: Sequence[_Named], found: Commands
) -> Iterable[ir.Command]:
    keys = [*(c.request for c in named), *(c.ack for c in named), found.error or "", found.connect or ""]
    scope = Scope.reserving(("Command", "Final", *(key.partition(".")[2] for key in keys)))
    seen: dict[str, _Named] = {}
    for one in named:
        if (other := seen.get(one.wire)) is not None:
            text = f"command {one.wire!r} is already that of {other.document.path.name}"
            raise ContractError(one.document.path, "/x-command", text)
        seen[one.wire] = one
        path = one.document.path
        yield ir.Command(
            wire=one.wire,
            namespace=text_of(one.document.root, "x-namespace") or "/",
            constant=definitions.allot(scope, constant(one.wire), path, "/x-command", path.name),
            summary=text_of(one.document.root, "description"),
            request=one.request,
            ack=one.ack,
        )


def _object(value: JsonObject, key: str) -> JsonObject:
    found = value.get(key)
    return found if isinstance(found, dict) else {}
