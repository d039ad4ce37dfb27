"""Reads the webhooks of an OpenAPI document: events that arrive by HTTP, without an envelope."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from ._definitions import Definitions
from ._documents import Document, JsonObject, JsonValue, escape, text_of
from ._events import EventSource, EventSources, Place, as_class, event_of, is_object
from ._names import Scope, pascal

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_MEDIA = ("application/json", "application/x-www-form-urlencoded")


def read_webhooks(definitions: Definitions, api: Document) -> EventSources:
    """The webhooks of a document (`webhooks`, and `x-webhooks` of documents before 3.1).

    Each is an event under its own name, whose payload is the body of the request.

    Raises:
        ContractError: A reference leads nowhere.
    """
    reader = _Reader(definitions, api)
    return EventSources(events=[*reader.read("webhooks"), *reader.read("x-webhooks")])


class _Reader:
    def __init__(self, definitions: Definitions, api: Document) -> None:
        self.definitions = definitions
        self.documents = definitions.documents
        self.api = api
        self.names = Scope()

    def read(self, table: str) -> Iterator[EventSource]:
        named = self.api.root.get(table)
        for name, item in named.items() if isinstance(named, dict) else ():
            if isinstance(item, dict):
                target = self.documents.follow(self.api, f"/{table}/{escape(name)}", item)
                place = Place(target.document, target.pointer, target.value_object)
                methods = [method for method in _METHODS if isinstance(place.value.get(method), dict)]
                for method in methods:
                    wire = name if method == methods[0] else f"{name}.{method}"
                    yield from self._webhook(wire, place, method)

    def _webhook(self, wire: str, item: Place, method: str) -> Iterator[EventSource]:
        value = item.value[method]
        assert isinstance(value, dict)
        place = Place(item.document, item.below(method), value)
        for holder in (item, place):
            if holder.value.get("parameters"):
                self._warn(
                    holder.document.path, holder.below("parameters"), "its parameters are not generated"
                )
        schema = self._payload(place)
        if schema is None:
            return
        if not is_object(self.documents, schema.document, schema.pointer, schema.value):
            text = "the body is not an object; it is not in the registry of events"
            self._warn(schema.document.path, schema.pointer, text)
            return
        as_class(schema.value)
        origin = (schema.document.path, schema.pointer)
        name = self.definitions.allot(self.names, pascal(wire), *origin, f"webhook {wire!r}")
        self.definitions.placed[origin] = ("payloads", name)
        key = self.definitions.define(schema.document, schema.pointer)
        summary = text_of(value, "description") or text_of(value, "summary")
        yield EventSource(place, event_of(place, wire, key, summary, enveloped=False))

    def _payload(self, place: Place) -> Place | None:
        """The schema of the body, at a pointer that is this webhook's alone."""
        body = place.value.get("requestBody")
        if not isinstance(body, dict):
            empty: JsonObject = {"type": "object"}
            place.value["requestBody"] = empty
            return Place(place.document, place.below("requestBody"), empty)
        target = self.documents.follow(place.document, place.below("requestBody"), body)
        content = target.value_object.get("content")
        media = _chosen(content) if isinstance(content, dict) else None
        if media is None or not isinstance(content, dict):
            self._warn(
                target.document.path, f"{target.pointer}/content", "the body is neither JSON nor a form"
            )
            return None
        for other in content.keys() - {media}:
            pointer = f"{target.pointer}/content/{escape(other)}"
            self._warn(target.document.path, pointer, f"{media} is used, {other} is not")
        pointer = f"{target.pointer}/content/{escape(media)}"
        found = content[media]
        schema = found.get("schema") if isinstance(found, dict) else None
        if not isinstance(schema, dict):
            self._warn(target.document.path, pointer, "the body has no schema")
            return None
        if target.pointer == place.below("requestBody"):
            return Place(place.document, f"{pointer}/schema", schema)
        # The body is shared: the class of this webhook extends what the others extend.
        ref = f"{_path_between(place.document, target.document)}#{pointer}/schema"
        own: JsonObject = {"$ref": ref}
        place.value["requestBody"] = own
        return Place(place.document, place.below("requestBody"), own)

    def _warn(self, file: Path, pointer: str, text: str) -> None:
        self.definitions.warn("webhook", file, pointer, text)


def _chosen(content: Mapping[str, JsonValue]) -> str | None:
    """The media type that a payload is read as."""
    for media in (*_MEDIA[:1], *(one for one in content if "json" in one), *_MEDIA[1:]):
        if media in content:
            return media
    return None


def _path_between(holder: Document, target: Document) -> str:
    if holder.path == target.path:
        return ""
    return Path(os.path.relpath(target.path, holder.path.parent)).as_posix()
