"""Writes the events and commands of a contract as an AsyncAPI 3.0 document."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from ._asyncapi import ACKNOWLEDGED, CLASS_NAME, PAYLOAD
from ._asyncapi_dialects import is_annotation
from ._contract import Sources, gather
from ._documents import Document, JsonObject, JsonValue, below, escape, text_of, walk
from ._errors import ContractError
from ._events import CommandSource, EventSource, Place, assembled
from ._names import pascal
from ._settings import Settings

_FORMAT = "application/schema+json;version=draft-2020-12"
# What JSON Schema has since the draft that AsyncAPI has its schemas from.
_NEW = frozenset(
    {
        *("prefixItems", "dependentRequired", "dependentSchemas", "unevaluatedItems"),
        *("unevaluatedProperties", "minContains", "maxContains", "$dynamicRef"),
    }
)
# Keys of our own that the document says in its own words, or at its root.
_SAID = frozenset(
    {
        *("x-event-type", "x-event-enveloped", "x-constants", "x-command", "x-namespace"),
        "x-command-error",
        *(PAYLOAD, CLASS_NAME),
    }
)
_LEFT_OUT = frozenset({"$schema", "$id", "$defs", "definitions"})


def export(settings: Settings, folder: Path) -> str:
    """The events and commands of a contract as an AsyncAPI 3.0 document, in JSON.

    Args:
        settings: What to read.
        folder: Where the document will stand; references to the OpenAPI document are relative to it.

    Raises:
        ContractError: The contract is broken, or has no events and no commands.
    """
    sources = gather(settings)
    document = _Exporter(sources, folder.resolve()).document()
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


@dataclass
class _Channel:
    address: str
    messages: dict[str, str] = field(default_factory=dict[str, str])
    extensions: JsonObject = field(default_factory=dict[str, JsonValue])


class _Exporter:
    def __init__(self, sources: Sources, folder: Path) -> None:
        self.sources = sources
        self.definitions = sources.definitions
        self.folder = folder
        # Webhooks stay where they are, in the OpenAPI document.
        self.events = [
            one for one in sources.events.events if one.place.document is not sources.api or self._is_own
        ]
        self.channels: dict[str, _Channel] = {}
        self.operations: JsonObject = {}
        self.messages: JsonObject = {}
        self.schemas: JsonObject = {}
        self.names: dict[str, str] = {}
        self.is_new = False

    @property
    def _is_own(self) -> bool:
        return "asyncapi" in self.sources.api.root

    def document(self) -> JsonObject:
        found = assembled(self.definitions, self.sources.events)
        commands = self.sources.commands
        if not self.events and not commands.commands:
            raise ContractError(self.sources.api.path, "", "the contract has no events and no commands")
        envelope = self.sources.events.envelopes[0] if self.sources.events.envelopes else None
        self.is_new = any(map(_is_new, self._roots(envelope)))
        namespace = found.envelope.namespace if found.envelope is not None else "/"
        self._export_events(namespace, envelope)
        for command in sorted(commands.commands, key=lambda one: one.wire):
            self._export_command(command)
        if commands.connect is not None:
            self._channel(namespace).extensions["x-connect"] = self._reference_to(commands.connect)
        info = self.sources.api.root.get("info")
        title, version = (
            text_of(info, key) if isinstance(info, dict) else "" for key in ("title", "version")
        )
        constants: JsonObject = {
            name: dict(values) if not isinstance(values, tuple) else list(values)
            for name, values in found.constants.items()
        }
        return {
            "asyncapi": "3.0.0",
            "info": {"title": title, "version": version},
            "defaultContentType": "application/json",
            "channels": {
                key: {
                    "address": channel.address,
                    "messages": {name: {"$ref": ref} for name, ref in sorted(channel.messages.items())},
                    **channel.extensions,
                }
                for key, channel in sorted(self.channels.items())
            },
            "operations": dict(sorted(self.operations.items())),
            "components": {
                "messages": dict(sorted(self.messages.items())),
                "schemas": dict(sorted(self.schemas.items())),
            },
            **({"x-constants": constants} if constants else {}),
        }

    # --- operations and messages

    def _export_events(self, namespace: str, envelope: Place | None) -> None:
        keys: dict[bool, list[str]] = {}
        for source in sorted(self.events, key=lambda one: (one.event.wire, one.event.variant_key or "")):
            payload = self._reference_to(source.key)
            is_enveloped = source.event.enveloped and envelope is not None
            message: JsonObject = {"name": source.event.wire}
            if source.event.summary:
                message["description"] = source.event.summary
            message["payload"] = self._schema(payload)
            if envelope is not None and is_enveloped:
                wrapped = self._enveloped(
                    source, self._reference(envelope.document, envelope.pointer), payload
                )
                message.update({"payload": self._schema(wrapped), PAYLOAD: self._schema(payload)})
            message.update(_extensions(source.place.value))
            keys.setdefault(is_enveloped, []).append(
                self._message(namespace, source.key, source.event.wire, message)
            )
        for is_enveloped, named in keys.items():
            key = "sendEvents" if is_enveloped else "sendPlainEvents"
            text = (
                "Every event, in the envelope."
                if is_enveloped
                else "Events without an envelope, each under its own name."
            )
            self.operations[key] = self._operation("send", namespace, named, text)

    def _enveloped(self, source: EventSource, envelope: JsonObject, payload: JsonObject) -> JsonObject:
        """The schema of what goes over the wire: the envelope with the name and the payload of the event."""
        wire = source.event.wire
        is_open = wire.endswith("*")
        name: JsonObject = {"pattern": f"^{re.escape(wire[:-1])}"} if is_open else {"const": wire}
        return {"allOf": [envelope, {"type": "object", "properties": {"type": name, "payload": payload}}]}

    def _export_command(self, command: CommandSource) -> None:
        request: JsonObject = {
            "name": command.wire,
            "payload": self._schema(self._reference_to(command.request)),
        }
        key = self._message(command.namespace, command.request, command.wire, request)
        operation = self._operation("receive", command.namespace, [key], command.summary)
        operation.update(_extensions(command.place.value))
        if command.ack is not None:
            replies: list[JsonValue] = [self._reply(command.namespace, command.ack, is_error=False)]
            if (error := self.sources.commands.error) is not None:
                replies.append(self._reply(command.namespace, error, is_error=True))
            channel = operation["channel"]
            operation["reply"] = {"channel": channel, "messages": replies, ACKNOWLEDGED: True}
        wanted = f"receive{pascal(command.wire)}"
        self.operations[_free(self.operations, wanted)] = operation

    def _reply(self, namespace: str, key: str, is_error: bool) -> JsonObject:
        extensions: JsonObject = {"x-command-error": True} if is_error else {}
        message: JsonObject = {"payload": self._schema(self._reference_to(key)), **extensions}
        name = self._message(namespace, key, "", message)
        return {"$ref": f"#/channels/{_channel_key(namespace)}/messages/{name}"}

    def _operation(self, action: str, namespace: str, messages: list[str], text: str) -> JsonObject:
        channel = f"#/channels/{_channel_key(namespace)}"
        references: list[JsonValue] = [{"$ref": f"{channel}/messages/{name}"} for name in messages]
        described: JsonObject = {"description": text} if text else {}
        return {"action": action, "channel": {"$ref": channel}, **described, "messages": references}

    def _channel(self, namespace: str) -> _Channel:
        return self.channels.setdefault(_channel_key(namespace), _Channel(namespace))

    def _message(self, namespace: str, key: str, wire: str, message: JsonObject) -> str:
        """Adds a message to the document and to a channel; it goes by the name of its class."""
        wanted = self.names[key]
        name = wanted
        if self.messages.get(wanted, message) != message:
            name = _free(self.messages, f"{wanted}.{pascal(wire)}")
        self.messages[name] = message
        self._channel(namespace).messages[name] = f"#/components/messages/{name}"
        return name

    # --- schemas

    def _roots(self, envelope: Place | None) -> Iterator[JsonObject]:
        """Every schema that the document will hold."""
        commands = self.sources.commands
        keys = [one.key for one in self.events]
        keys += [key for one in commands.commands for key in (one.request, one.ack) if key is not None]
        keys += [key for key in (commands.error, commands.connect) if key is not None]
        waiting = [self.definitions.origins[key] for key in keys]
        waiting += [(envelope.document.path, envelope.pointer)] if envelope is not None else []
        seen: set[tuple[Path, str]] = set()
        while waiting:
            path, pointer = waiting.pop()
            if (path, pointer) in seen or self._is_external(path):
                continue
            seen.add((path, pointer))
            document = self.definitions.documents.get(path)
            for at, schema in walk(_without_defs(document.at(pointer)), pointer):
                yield schema
                if isinstance(ref := schema.get("$ref"), str):
                    target = self.definitions.documents.resolve(document, at, ref)
                    waiting.append((target.document.path, target.pointer))

    def _is_external(self, path: Path) -> bool:
        return self.definitions.modules.get(path, "models") == "models"

    def _reference_to(self, key: str) -> JsonObject:
        path, pointer = self.definitions.origins[key]
        return self._reference(self.definitions.documents.get(path), pointer)

    def _reference(self, document: Document, pointer: str) -> JsonObject:
        """A reference to a schema, which becomes a component unless the OpenAPI document has it."""
        fragment = quote(pointer, safe="/~!$&'()*+,;=:@-._")
        if self._is_external(document.path):
            return {"$ref": f"{Path(os.path.relpath(document.path, self.folder)).as_posix()}#{fragment}"}
        key = self.definitions.define(document, pointer)
        if key not in self.names:
            name = key.partition(".")[2]
            self.names[key] = name if name not in self.schemas else key
            self.schemas[self.names[key]] = None
            self.schemas[self.names[key]] = self._component(document, pointer, name, self.names[key])
        return {"$ref": f"#/components/schemas/{self.names[key]}{'/schema' if self.is_new else ''}"}

    def _component(self, document: Document, pointer: str, name: str, component: str) -> JsonValue:
        value = document.at(pointer)
        if not isinstance(value, dict):
            return value
        found = self._copy(document, pointer, value)
        assert isinstance(found, dict)
        # A file that declares an event has keys of our own that go with the message.
        is_declaration = any(
            place.document is document and place.pointer == pointer
            for place in (one.place for one in self.events)
        )
        schema = {
            key: member
            for key, member in found.items()
            if key not in _LEFT_OUT | _SAID and not (is_declaration and key.startswith("x-"))
        }
        if pascal(component) != name:
            schema[CLASS_NAME] = name
        return self._schema(schema)

    def _copy(self, document: Document, pointer: str, value: JsonValue, table: bool = False) -> JsonValue:
        """A schema in which every reference names a component."""
        if isinstance(value, list):
            return [self._copy(document, f"{pointer}/{place}", one) for place, one in enumerate(value)]
        if not isinstance(value, dict):
            return value
        found = dict(value)
        for key, member, is_table in below(value, table):
            if table or key not in _LEFT_OUT:
                found[key] = self._copy(document, f"{pointer}/{escape(key)}", member, is_table)
        if not table and isinstance(ref := value.get("$ref"), str):
            target = self.definitions.documents.resolve(document, pointer, ref)
            found.update(self._reference(target.document, target.pointer))
        return found

    def _schema(self, schema: JsonObject) -> JsonObject:
        """A schema as it stands in the document: with its dialect, if that is not AsyncAPI's own."""
        return {"schemaFormat": _FORMAT, "schema": schema} if self.is_new else schema


def _extensions(value: JsonObject) -> JsonObject:
    """The keys of our own, in order, that a message or an operation takes over."""
    return {key: value[key] for key in sorted(value) if key.startswith("x-") and key not in _SAID}


def _without_defs(value: JsonValue) -> JsonValue:
    return {k: v for k, v in value.items() if k not in _LEFT_OUT} if isinstance(value, dict) else value


def _is_new(schema: JsonObject) -> bool:
    """Whether a schema means something else, or nothing, in AsyncAPI's own dialect."""
    if "$ref" in schema:
        return not all(is_annotation(key) or key == "$ref" for key in schema)
    return not _NEW.isdisjoint(schema)


def _channel_key(namespace: str) -> str:
    return re.sub(r"[^\w.-]", "_", namespace.strip("/")) or "root"


def _free(taken: JsonObject, wanted: str) -> str:
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted}{number}", number + 1
    return name
