"""Reads events and commands from an AsyncAPI document, 3.0 or 2.x."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from . import _check
from . import _ir as ir
from ._asyncapi_dialects import Dialect, dialect_of, is_annotation, modernise
from ._definitions import Definitions
from ._documents import Document, JsonObject, JsonValue, Target, below, escape, text_of, unescape
from ._events import (
    CommandSource,
    CommandSources,
    EventSource,
    EventSources,
    Place,
    as_class,
    event_of,
    is_object,
)
from ._names import Scope, pascal

Describes: TypeAlias = Literal["server", "client"]
"""Whose document it is: of the program that is talked to, or of the one that talks to it."""

PAYLOAD = "x-event-payload"
"""Beside the payload of a message that is an envelope: the schema of what is in it."""
ACKNOWLEDGED = "x-acknowledgement"
"""In a reply: it is the acknowledgement of the message itself, and no message that also comes alone."""
CLASS_NAME = "x-class-name"
"""In a component whose name in the document is not that of its class."""

_Origin: TypeAlias = tuple[Path, str]
_JSON = re.compile(r"application/(?:[\w.-]+\+)?json\b|text/json\b", re.IGNORECASE)


@dataclass(frozen=True)
class AsyncApi:
    """What an AsyncAPI document declares."""

    events: EventSources
    commands: CommandSources


@dataclass(frozen=True)
class _Schema:
    """Where the schema of a payload or of headers stands, and what it is written in."""

    place: Place
    dialect: Dialect


@dataclass(frozen=True)
class _Message:
    """A message.

    Attributes:
        place: The message, its traits merged into its value.
        key: What the document calls it.
        wire: Its name on the wire.
        payload: The schema of its payload; None if that is no JSON Schema.
        headers: The schemas of its headers.
        is_enveloped: Whether the payload travels in the envelope.
    """

    place: Place
    key: str
    wire: str
    payload: _Schema | None
    headers: tuple[_Schema, ...]
    is_enveloped: bool

    @property
    def summary(self) -> str:
        return text_of(self.place.value, "description") or text_of(self.place.value, "summary")


@dataclass(frozen=True)
class _Operation:
    """What goes over a channel in one direction.

    Attributes:
        place: The operation.
        action: Whether whom the document describes sends or receives.
        address: Address of the channel.
        messages: What it sends or receives.
        replies: What may come back.
        is_acknowledged: Whether the reply is an acknowledgement.
    """

    place: Place
    action: str
    address: str
    messages: tuple[_Message, ...]
    replies: tuple[_Message, ...] = ()
    is_acknowledged: bool = False


def read(definitions: Definitions, document: Document, describes: Describes = "server") -> AsyncApi:
    """Reads an AsyncAPI document.

    Args:
        definitions: Where its schemas go.
        document: The document, already checked.
        describes: Whose document it is. What a server sends are events and what it receives are commands; in
            the document of a client it is the other way round.

    Raises:
        ContractError: A reference leads nowhere, or a key of our own is malformed.
    """
    return _Reader(definitions, document, describes).read()


class _Reader:
    def __init__(self, definitions: Definitions, document: Document, describes: Describes) -> None:
        self.definitions = definitions
        self.documents = definitions.documents
        self.document = document
        self.describes = describes
        self.is_2 = text_of(document.root, "asyncapi").startswith("2.")
        self.messages: dict[_Origin, _Message] = {}
        self.schemas = _Schemas(definitions, document)

    def read(self) -> AsyncApi:
        _check.extensions(self.document, "", self.document.root)
        operations = list(self._operations_2() if self.is_2 else self._operations_3())
        event_action = "send" if self.describes == "server" else "receive"
        events: list[_Message] = []
        commands: list[_Operation] = []
        for operation in operations:
            if operation.action == event_action:
                events += operation.messages
                if operation.replies:
                    commands.append(
                        _Operation(operation.place, "reply", operation.address, operation.replies)
                    )
            else:
                commands.append(operation)
                events += () if operation.is_acknowledged else operation.replies
        events = list({id(message): message for message in events}.values())
        unused = self._unused()
        envelopes = self._envelopes()
        connect = self._connect()

        for schema in envelopes:
            self.schemas.reach(schema, "payloads")
        for message in (*events, *unused):
            self.schemas.reach_message(message, "payloads")
        for operation in commands:
            for message in (*operation.messages, *operation.replies):
                self.schemas.reach_message(message, "messages")
        if connect is not None:
            self.schemas.reach(connect, "messages")
        components = self._components()
        self.schemas.place(components)
        named = [m for operation in commands for m in (*operation.messages, *operation.replies)]
        for message in (*events, *named):
            if message.payload is not None and self._is_class(message):
                self.schemas.as_class(message.payload)
        for schema in components:
            self.schemas.shared_key(schema)

        found = AsyncApi(EventSources(), CommandSources())
        found.events.constants.append(Place(self.document, "", self.document.root))
        found.events.envelopes += [schema.place for schema in envelopes]
        found.events.events += self._event_sources(events)
        found.commands.commands += self._command_sources(commands, found.commands)
        if connect is not None:
            found.commands.connect = self.schemas.shared_key(connect)
        for message in unused:
            self._define_unused(message)
        return found

    # --- the parts of a document

    def _table(self, *steps: str) -> Iterator[Place]:
        """The objects of a table of the document, references followed."""
        table: JsonValue = self.document.root
        for step in steps:
            table = table.get(step) if isinstance(table, dict) else None
        pointer = "".join(f"/{step}" for step in steps)
        for key, value in table.items() if isinstance(table, dict) else ():
            if isinstance(value, dict):
                yield self._follow(self.document, f"{pointer}/{escape(key)}", value)

    def _follow(self, document: Document, pointer: str, value: JsonObject) -> Place:
        target = self.documents.follow(document, pointer, value)
        return Place(target.document, target.pointer, target.value_object)

    def _member(self, place: Place, key: str) -> Place | None:
        """An object that is a member of another, references followed."""
        value = place.value.get(key)
        return self._follow(place.document, place.below(key), value) if isinstance(value, dict) else None

    def _several(self, place: Place, key: str) -> Iterator[Place]:
        """The objects in a list or a table, references followed."""
        value = place.value.get(key)
        named: Iterable[tuple[str, JsonValue]] = ()
        if isinstance(value, list):
            named = ((str(number), one) for number, one in enumerate(value))
        elif isinstance(value, dict):
            named = value.items()
        for name, one in named:
            if isinstance(one, dict):
                yield self._follow(place.document, place.below(key, name), one)

    def _warn_unread(self, place: Place, *keys: str) -> None:
        for key in keys:
            if place.value.get(key):
                text = "it belongs to the transport, which is not generated"
                self.definitions.warn("transport-ignored", place.document.path, place.below(key), text)

    # --- operations

    def _operations_3(self) -> Iterator[_Operation]:
        for one in self._table("channels"):
            self._warn_unread(one, "bindings", "parameters")
        for operation in self._table("operations"):
            self._warn_unread(operation, "bindings")
            channel = self._member(operation, "channel")
            reply = self._member(operation, "reply")
            replies: tuple[_Message, ...] = ()
            if reply is not None:
                self._warn_unread(reply, "address")
                replies = self._messages_of(reply, self._member(reply, "channel") or channel)
            yield _Operation(
                place=operation,
                action=text_of(operation.value, "action"),
                address=text_of(channel.value, "address") if channel is not None else "",
                messages=self._messages_of(operation, channel),
                replies=replies,
                is_acknowledged=reply is not None and reply.value.get(ACKNOWLEDGED) is True,
            )

    def _messages_of(self, place: Place, channel: Place | None) -> tuple[_Message, ...]:
        """The messages that an operation or a reply names, or else all of its channel."""
        holder = place if "messages" in place.value else channel
        found = () if holder is None else self._several(holder, "messages")
        return tuple(self._message(one) for one in found)

    def _operations_2(self) -> Iterator[_Operation]:
        channels = self.document.root.get("channels")
        for address, value in channels.items() if isinstance(channels, dict) else ():
            if not isinstance(value, dict):
                continue
            channel = self._follow(self.document, f"/channels/{escape(address)}", value)
            self._warn_unread(channel, "bindings", "parameters")
            for verb, action in (("subscribe", "send"), ("publish", "receive")):
                operation = self._member(channel, verb)
                if operation is None:
                    continue
                self._warn_unread(operation, "bindings")
                message = self._member(operation, "message")
                key = text_of(operation.value, "operationId") or f"{address} {verb}"
                messages: tuple[_Message, ...] = ()
                if message is not None and "oneOf" in message.value:
                    several = enumerate(self._several(message, "oneOf"))
                    messages = tuple(self._message(one, f"{key} {number + 1}") for number, one in several)
                elif message is not None:
                    messages = (self._message(message, key),)
                yield _Operation(operation, action, address, messages)

    def _unused(self) -> list[_Message]:
        """The messages that no operation names."""
        known = set(self.messages)
        places = list(self._table("components", "messages"))
        if not self.is_2:
            for channel in self._table("channels"):
                places += self._several(channel, "messages")
        unused = [place for place in places if (place.document.path, place.pointer) not in known]
        return list({id(one): one for one in (self._message(place) for place in unused)}.values())

    # --- messages

    def _message(self, place: Place, otherwise: str = "") -> _Message:
        """A message, each read once.

        Args:
            place: Where it stands.
            otherwise: What to call it if it stands under no name.
        """
        origin = (place.document.path, place.pointer)
        if origin not in self.messages:
            self.messages[origin] = self._read_message(place, otherwise)
        return self.messages[origin]

    def _read_message(self, place: Place, otherwise: str) -> _Message:
        traits = list(self._several(place, "traits"))
        value = dict(place.value)
        for trait in traits:
            # In version 2 a trait wins over the message, in version 3 the message over its traits.
            value = {**value, **trait.value} if self.is_2 else {**trait.value, **value}
        merged = Place(place.document, place.pointer, value)
        _check.extensions(place.document, place.pointer, place.value)
        for part in (place, *traits):
            self._warn_unread(part, "bindings", "correlationId")
        *_, table, last = ("", *map(unescape, place.pointer.split("/")))
        key = last if table == "messages" else text_of(value, "messageId") or otherwise or last
        key = key or place.document.path.stem
        content = text_of(value, "contentType") or text_of(self.document.root, "defaultContentType")
        if content and not _JSON.match(content):
            text = f"{content} is not JSON; its class holds what the schema describes"
            pointer = place.below("contentType") if "contentType" in place.value else place.pointer
            self.definitions.warn("content-type", place.document.path, pointer, text)
        headers = [self._schema(part, "headers", "") for part in (place, *traits) if "headers" in part.value]
        return _Message(
            place=merged,
            key=key,
            wire=text_of(value, "name") or text_of(value, "messageId") or key,
            payload=self._payload(place, text_of(value, "schemaFormat") if self.is_2 else ""),
            headers=tuple(one for one in headers if one is not None),
            is_enveloped=PAYLOAD in value,
        )

    def _payload(self, place: Place, schema_format: str) -> _Schema | None:
        if PAYLOAD in place.value:
            return self._schema(place, PAYLOAD, "")
        if "payload" not in place.value:
            place.value["payload"] = {"type": "object"}
        return self._schema(place, "payload", schema_format)

    def _schema(self, place: Place, key: str, schema_format: str) -> _Schema | None:
        """The schema under a key, which may say itself what it is written in."""
        pointer, value = place.below(key), place.value[key]
        if not self.is_2 and (found := _multi_format(value)) is not None:
            pointer, (schema_format, value) = f"{pointer}/schema", found
        dialect = dialect_of(schema_format)
        if dialect is None:
            text = f"{schema_format} is not read; the message has no class and is left out"
            self.definitions.warn("schema-format", place.document.path, pointer, text)
            return None
        if not isinstance(value, dict):
            value = {}
        return _Schema(Place(place.document, pointer, value), dialect)

    # --- the schemas that belong to no message

    def _components(self) -> list[_Schema]:
        found: list[_Schema] = []
        components = self.document.root.get("components")
        schemas = components.get("schemas") if isinstance(components, dict) else None
        for name, value in schemas.items() if isinstance(schemas, dict) else ():
            schema = self._component(f"/components/schemas/{escape(name)}", value)
            if schema is not None:
                found.append(schema)
        return found

    def _component(self, pointer: str, value: JsonValue) -> _Schema | None:
        schema_format = ""
        if not self.is_2 and (found := _multi_format(value)) is not None:
            pointer, (schema_format, value) = f"{pointer}/schema", found
        dialect = dialect_of(schema_format)
        if dialect is None:
            text = f"{schema_format} is not read; the component has no class"
            self.definitions.warn("schema-format", self.document.path, pointer, text)
        if dialect is None or not isinstance(value, dict):
            return None
        return _Schema(Place(self.document, pointer, value), dialect)

    def _envelopes(self) -> list[_Schema]:
        found = [one for one in self._components() if one.place.value.get("x-event-envelope") is True]
        for schema in found:
            _check.extensions(self.document, schema.place.pointer, schema.place.value)
        return found

    def _connect(self) -> _Schema | None:
        for channel in () if self.is_2 else self._table("channels"):
            value = channel.value.get("x-connect")
            if isinstance(value, dict):
                return _Schema(Place(channel.document, channel.below("x-connect"), value), "draft-07")
        return None

    # --- events

    def _event_sources(self, messages: Sequence[_Message]) -> Iterator[EventSource]:
        targets = [
            self.schemas.target(message.payload) for message in messages if message.payload is not None
        ]
        taken: dict[tuple[str, str], tuple[str, _Message]] = {}
        for message in messages:
            self._define_headers(message)
            if message.payload is None:
                continue
            target = self.schemas.target(message.payload)
            if not self._is_class(message):
                self.schemas.shared_key(message.payload)
                text = "the payload is not an object; it is not in the registry of events"
                place = message.payload.place
                self.definitions.warn("payload-no-object", place.document.path, place.pointer, text)
                continue
            key = self.schemas.shared_key(message.payload)
            if not key.startswith("payloads.") or (target is not None and targets.count(target) > 1):
                key = self.schemas.heir(message)
            variant = message.place.value.get("x-event-variant")
            requires = text_of(variant, "requires") if isinstance(variant, dict) else ""
            wire = self._free_wire(message, taken, requires)
            taken[wire, requires] = (key, message)
            yield EventSource(
                message.place, event_of(message.place, wire, key, message.summary, message.is_enveloped)
            )

    def _free_wire(
        self, message: _Message, taken: dict[tuple[str, str], tuple[str, _Message]], extra: str
    ) -> str:
        """The wire name of a message, or another if that is another message's."""
        if (message.wire, extra) not in taken:
            return message.wire
        numbered = (f"{message.key}.{number}" for number in range(2, len(taken) + 3))
        found = next(name for name in (message.key, *numbered) if (name, extra) not in taken)
        other = taken[message.wire, extra][1].place.pointer
        text = f"{message.wire!r} is already the message at {other}; this one is named {found!r}"
        self.definitions.warn("wire-name-taken", message.place.document.path, message.place.pointer, text)
        return found

    def _is_class(self, message: _Message) -> bool:
        if message.payload is None:
            return False
        place = message.payload.place
        return is_object(self.documents, place.document, place.pointer, place.value)

    def _define_headers(self, message: _Message) -> None:
        for schema in message.headers:
            self.schemas.shared_key(schema)

    def _define_unused(self, message: _Message) -> None:
        self._define_headers(message)
        if message.payload is not None:
            self.schemas.shared_key(message.payload)
            text = "no operation sends or receives it; it has a class and is not in the registry of events"
            self.definitions.warn("unused-message", message.place.document.path, message.place.pointer, text)

    # --- commands

    def _command_sources(
        self, operations: Sequence[_Operation], found: CommandSources
    ) -> Iterator[CommandSource]:
        taken: dict[tuple[str, str], tuple[str, _Message]] = {}
        for operation in operations:
            ack = self._ack(operation, found)
            for message in operation.messages:
                self._define_headers(message)
                if (request := self._command_class(message)) is None:
                    continue
                if any(other is message for _, other in taken.values()):
                    text = f"{message.wire!r} is a command of another operation too; the first counts"
                    place = operation.place
                    self.definitions.warn("command-twice", place.document.path, place.pointer, text)
                    continue
                wire = self._free_wire(message, taken, "")
                taken[wire, ""] = (request, message)
                own = text_of(operation.place.value, "description") or text_of(
                    operation.place.value, "summary"
                )
                yield CommandSource(
                    place=operation.place,
                    wire=wire,
                    namespace=operation.address or "/",
                    summary=(own or message.summary)
                    if len(operation.messages) == 1
                    else message.summary or own,
                    request=request,
                    ack=ack,
                )

    def _command_class(self, message: _Message) -> str | None:
        if message.payload is None:
            return None
        if self._is_class(message):
            return self.schemas.shared_key(message.payload)
        self.schemas.shared_key(message.payload)
        text = "the payload is not an object; no command is made of it"
        place = message.payload.place
        self.definitions.warn("payload-no-object", place.document.path, place.pointer, text)
        return None

    def _ack(self, operation: _Operation, found: CommandSources) -> str | None:
        acks: list[str] = []
        for message in operation.replies:
            self._define_headers(message)
            key = self._command_class(message)
            if key is not None and message.place.value.get("x-command-error") is True:
                found.error = key
            elif key is not None:
                acks.append(key)
        if len(acks) > 1:
            text = "several messages may be the reply; each has a class, and the command names none of them"
            place = operation.place
            self.definitions.warn("several-replies", place.document.path, place.below("reply"), text)
        return acks[0] if len(acks) == 1 else None


def _multi_format(value: JsonValue) -> tuple[str, JsonValue] | None:
    """The format and the schema of an object that holds both."""
    if isinstance(value, dict) and "schema" in value and isinstance(named := value.get("schemaFormat"), str):
        return named, value["schema"]
    return None


class _Schemas:
    """The schemas of an AsyncAPI document: brought into one dialect, and each given a class."""

    def __init__(self, definitions: Definitions, document: Document) -> None:
        self.definitions = definitions
        self.documents = definitions.documents
        self.document = document
        # Documents that are read as something else keep their dialect and their classes.
        self._others = set(definitions.modules) - {document.path}
        self._modules: dict[_Origin, ir.Module] = {}
        self._wanted: dict[_Origin, str] = {}
        self._links: dict[_Origin, list[Target]] = {}
        self._scopes: dict[ir.Module, Scope] = {}

    def is_own(self, target: Target) -> bool:
        """Whether a schema stands in the AsyncAPI document or in a file that is a part of it."""
        return target.document.path not in self._others

    def target(self, schema: _Schema) -> Target | None:
        """What a schema refers to, if it is nothing but a reference."""
        value = schema.place.value
        ref = value.get("$ref")
        if not isinstance(ref, str) or not all(is_annotation(key) for key in value if key != "$ref"):
            return None
        return self.documents.resolve(schema.place.document, schema.place.pointer, ref)

    # --- reaching

    def reach_message(self, message: _Message, module: ir.Module) -> None:
        """Reaches what a message consists of."""
        if message.payload is not None:
            self._wanted.setdefault(_origin(message.payload.place), pascal(message.key))
            self.reach(message.payload, module)
        for schema in message.headers:
            holder = schema.place.pointer.split("/headers")[0].rpartition("/")[2]
            is_message = schema.place.pointer.startswith(message.place.pointer + "/")
            name = f"{pascal(message.key if is_message else unescape(holder))}Headers"
            self._wanted.setdefault(_origin(schema.place), name)
            self.reach(schema, module)

    def reach(self, schema: _Schema, module: ir.Module) -> None:
        """Brings a schema and all that it refers to into one dialect, and notes the module of each.

        What is reached a second time stays in the module of the first.
        """
        waiting: list[tuple[Document, str, JsonValue, Dialect]] = [
            (schema.place.document, schema.place.pointer, schema.place.value, schema.dialect)
        ]
        while waiting:
            document, pointer, value, dialect = waiting.pop()
            origin = (document.path, pointer)
            if origin not in self._links:
                self._links[origin] = []
                self._modernise(document, pointer, value, dialect, self._links[origin])
            elif origin in self._modules:
                continue
            self._modules[origin] = module
            for target in self._links[origin]:
                waiting.append(
                    (target.document, target.pointer, target.value_object, self._dialect_at(target, dialect))
                )

    def _dialect_at(self, target: Target, otherwise: Dialect) -> Dialect:
        """The dialect of a schema, which its holder may name."""
        holder, _, last = target.pointer.rpartition("/")
        if last != "schema":
            return otherwise
        value = target.document.at(holder)
        named = text_of(value, "schemaFormat") if isinstance(value, dict) else ""
        return dialect_of(named) or otherwise if named else otherwise

    def _modernise(
        self,
        document: Document,
        pointer: str,
        value: JsonValue,
        dialect: Dialect,
        links: list[Target],
        table: bool = False,
    ) -> None:
        if isinstance(value, list):
            for number, one in enumerate(value):
                self._modernise(document, f"{pointer}/{number}", one, dialect, links)
        if not isinstance(value, dict):
            return
        for key, member, is_table in below(value, table):
            self._modernise(
                document,
                f"{pointer}/{escape(key)}",
                member,
                dialect,
                links,
                is_table or (not table and key == "dependencies"),
            )
        if table:
            return
        if isinstance(ref := value.get("$ref"), str):
            target = self.documents.resolve(document, pointer, ref)
            if _multi_format(target.value) is not None:
                value["$ref"] = f"{ref}/schema"
                target = self.documents.resolve(document, pointer, f"{ref}/schema")
            if self.is_own(target) and isinstance(target.value, dict):
                links.append(target)

        def report(name: str, below_it: str, text: str) -> None:
            self.definitions.warn(name, document.path, pointer + below_it, text)

        modernise(value, dialect, report)

    # --- classes

    def place(self, components: Sequence[_Schema]) -> None:
        """Gives every schema that was reached, and every component, its class name and module."""
        for schema in components:
            self.reach(schema, "payloads")
        for schema in components:
            place = schema.place
            name = place.pointer.removesuffix("/schema").rpartition("/")[2]
            self._place(_origin(place), text_of(place.value, CLASS_NAME) or pascal(unescape(name)))
        for origin in self._modules:
            if origin not in self.definitions.placed and origin not in self._wanted:
                self._place(origin, _name_at(*origin))

    def _place(self, origin: _Origin, wanted: str) -> None:
        module = self._modules.get(origin, "payloads")
        self.definitions.modules.setdefault(origin[0], "payloads")
        scope = self._scopes.setdefault(module, Scope())
        name = self.definitions.allot(scope, wanted, *origin, f"{origin[0].name}#{origin[1]}")
        self.definitions.placed[origin] = (module, name)

    def as_class(self, schema: _Schema) -> None:
        """Makes a payload of objects a class of its own, before anything is defined."""
        target = self.target(schema)
        if target is None:
            as_class(schema.place.value)
        elif isinstance(target.value, dict) and self.is_own(target):
            as_class(target.value)

    def shared_key(self, schema: _Schema) -> str:
        """The key of the definition of a schema: that of what it refers to, or its own."""
        if (target := self.target(schema)) is not None:
            return self.definitions.define(target.document, target.pointer)
        return self._own_key(schema, self._wanted.get(_origin(schema.place), "Payload"))

    def heir(self, message: _Message) -> str:
        """The key of a class of a message's own for a payload that is not its alone."""
        assert message.payload is not None
        base = self.shared_key(message.payload)
        as_class(message.payload.place.value)
        name = pascal(message.key)
        return self._own_key(message.payload, f"{name}Message" if base == f"payloads.{name}" else name)

    def _own_key(self, schema: _Schema, wanted: str) -> str:
        origin = _origin(schema.place)
        if origin not in self.definitions.placed:
            self._place(origin, wanted)
        return self.definitions.define(schema.place.document, schema.place.pointer)


def _origin(place: Place) -> _Origin:
    return place.document.path, place.pointer


def _name_at(path: Path, pointer: str) -> str:
    """The name of a schema that a reference reaches somewhere in a document."""
    named = [unescape(step) for step in pointer.split("/")[1:] if not step.isdigit() and step not in _GRAMMAR]
    return pascal(named[-1] if named else path.stem)


_GRAMMAR = frozenset({"schema", "payload", "properties", "items", "allOf", "anyOf", "oneOf", "headers"})
