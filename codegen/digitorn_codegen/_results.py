"""Reads what an operation answers when it succeeds."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import cast

from . import _check
from . import _ir as ir
from ._definitions import Definitions
from ._documents import JsonObject, JsonValue, Target, escape, text_of
from ._media import (
    base,
    holds_bytes,
    is_event_stream,
    is_json,
    is_lines,
    is_pattern,
    media,
    offered,
    preferred,
    types_of,
)
from ._names import pascal
from ._types import is_binary, union

_EVENT = frozenset({"data", "event", "id", "retry", "comment"})
"""The members of a server-sent event, as OpenAPI 3.2 has it."""


@dataclass(frozen=True)
class ResultReader:
    """Reads the successful responses of operations.

    Attributes:
        definitions: Where their schemas go.
    """

    definitions: Definitions

    def read(self, method: str, responses: Target, id_: str) -> ir.Result:
        """The result of an operation.

        Args:
            method: The HTTP method, in lower case.
            responses: Its responses.
            id_: The operation.
        """
        listed = responses.value_object
        good = sorted(status for status in listed if re.fullmatch(r"2(\d\d|XX)", status))
        if not good and not any(status.startswith("3") for status in listed):
            good = ["default"] if "default" in listed else []
        answers: list[ir.Answer] = []
        media_types: list[str] = []
        may_be_empty = False
        for status, value in listed.items():
            if not isinstance(value, dict) or status.startswith("x-"):
                continue
            at = f"{responses.pointer}/{escape(status)}"
            target = self.definitions.documents.follow(responses.document, at, value)
            if "links" in target.value_object:
                self._warn("links-ignored", target, "/links", "links are not followed")
        for status in good if method != "head" else ():
            value = listed[status]
            if isinstance(value, dict):
                at = f"{responses.pointer}/{escape(status)}"
                target = self.definitions.documents.follow(responses.document, at, value)
                found = self._answers(target, f"{pascal(id_)}Result")
                may_be_empty = may_be_empty or not found
                answers += found
                media_types += offered(target.value_object)
        return self._merged(responses, answers, may_be_empty, list(dict.fromkeys(media_types)))

    # --- one response

    def _answers(self, target: Target, hint: str) -> list[ir.Answer]:
        """The forms of one response: JSON of all kinds, and streams; or else what it offers first."""
        content = offered(target.value_object)
        first = preferred(content)
        if first is None:
            return []
        read = [first]
        for name in content:
            if name == first or is_pattern(name):
                continue
            are_typed = all(is_json(one) or _is_stream(one) for one in (first, name))
            if are_typed or _is_alike(name, content[name], first, content[first]):
                read.append(name)
        found = [self._answer(target, name, content[name], hint) for name in read]
        for name, entry in content.items():
            if name not in read and not _is_alike(name, entry, first, content[first]):
                text = (
                    f"{' and '.join(read)} {'is' if len(read) == 1 else 'are'} asked for, {name} is not read"
                )
                self._warn("media-ignored", target, f"/content/{escape(name)}", text)
        return found

    def _answer(self, target: Target, name: str, entry: JsonObject, hint: str) -> ir.Answer:
        at = f"{target.pointer}/content/{escape(name)}"
        schema = Target(target.document, f"{at}/schema", entry.get("schema", {}))
        if _is_stream(name):
            return self._stream(target, name, entry, hint)
        kind = media(name, entry)
        if kind == "json":
            envelope, where = self._unwrap(schema)
            type_ = self.definitions.type_of(where.document, where.pointer, where.value, hint, "response")
            return ir.Answer("json", type_, envelope, (name,))
        self._check_use(target, name, entry, "text" if kind == "text" else "bytes")
        if kind == "text":
            return ir.Answer("text", "str", None, (name,))
        return ir.Answer("bytes", "bytes", None, (name,))

    def _stream(self, target: Target, name: str, entry: JsonObject, hint: str) -> ir.Answer:
        """A stream; one that is not described, or as text, is read as text."""
        at = f"{target.pointer}/content/{escape(name)}"
        is_sse = is_event_stream(name)
        if "itemSchema" in entry:
            item = Target(target.document, f"{at}/itemSchema", entry["itemSchema"])
        else:
            item = Target(target.document, f"{at}/schema", entry.get("schema", {}))
            followed = self._followed(item)
            kinds = types_of(followed.value_object)
            if "array" in kinds and "items" in followed.value_object:
                item = Target(followed.document, f"{followed.pointer}/items", followed.value_object["items"])
            elif "string" in kinds or is_binary(followed.value_object) or (is_sse and not followed.value):
                return ir.Answer("text", "str", None, (name,))
        reading: ir.Reading = "lines"
        if is_sse:
            reading = "events" if "itemSchema" in entry and self._describes_events(item) else "event-data"
        type_ = self.definitions.type_of(item.document, item.pointer, item.value, f"{hint}Item", "response")
        return ir.Answer(reading, type_, None, (name,))

    def _describes_events(self, at: Target) -> bool:
        """Whether a schema is that of server-sent events, and not of the data in them."""
        followed = self._followed(at)
        schema = followed.value_object
        properties = schema.get("properties")
        if isinstance(properties, dict) and properties:
            return "data" in properties and set(properties) <= _EVENT
        for key in ("oneOf", "anyOf", "allOf"):
            branches = schema.get(key)
            for index, branch in enumerate(branches if isinstance(branches, list) else []):
                below = Target(followed.document, f"{followed.pointer}/{key}/{index}", branch)
                if self._describes_events(below):
                    return True
        return False

    def _check_use(self, target: Target, name: str, entry: JsonObject, kind: str) -> None:
        schema = entry.get("schema")
        if not isinstance(schema, dict) or not schema or holds_bytes(entry):
            return
        at = f"/content/{escape(name)}"
        followed = self._followed(Target(target.document, f"{target.pointer}{at}/schema", schema))
        if not is_binary(followed.value_object) and "string" not in types_of(followed.value_object):
            self._warn("schema-unused", target, at, f"{name} is read as {kind}, without its schema")

    def _followed(self, at: Target) -> Target:
        if isinstance(at.value, dict):
            return self.definitions.documents.follow(at.document, at.pointer, at.value)
        return at

    # --- several

    def _merged(
        self, responses: Target, answers: list[ir.Answer], may_be_empty: bool, media_types: list[str]
    ) -> ir.Result:
        """One result for all successful responses: answers that are read alike are one, with a union type."""
        merged: list[ir.Answer] = []
        for answer in answers:
            same = next(
                (a for a in merged if (a.reading, a.envelope) == (answer.reading, answer.envelope)), None
            )
            if same is None:
                merged.append(answer)
                continue
            merged[merged.index(same)] = replace(
                same,
                type=union([same.type, answer.type]),
                media_types=tuple(dict.fromkeys((*same.media_types, *answer.media_types))),
            )
        clear = list(_told_apart(merged))
        if len(clear) < len(merged):
            text = f"succeeds in forms that no content type tells apart; read as {clear[0].reading}"
            self._warn("mixed-results", responses, "", text)
        accept = None
        if len(media_types) > 1:
            asked = [name for answer in clear for name in answer.media_types]
            accept = ", ".join(name for name in media_types if name in asked)
        return ir.Result(tuple(clear), may_be_empty and bool(clear), accept)

    # --- envelopes

    def _unwrap(self, target: Target) -> tuple[ir.Envelope | None, Target]:
        """The envelope of a response, and where the schema of the result inside it stands."""
        schema = target.value
        if not isinstance(schema, dict):
            return None, target
        branches = schema.get("oneOf")
        for index, branch in enumerate(branches if isinstance(branches, list) else []):
            at = Target(target.document, f"{target.pointer}/oneOf/{index}", branch)
            envelope, data = self._unwrap(at)
            if envelope is None or not isinstance(branch, dict):
                continue
            component = self.definitions.documents.follow(at.document, at.pointer, branch).value_object
            if not _refuses(component, envelope):
                return envelope, data
        if not isinstance(schema.get("$ref"), str):
            return None, target
        component_at = self.definitions.documents.follow(target.document, target.pointer, schema)
        return self._opened(target, schema, component_at)

    def _opened(
        self, target: Target, schema: JsonObject, component_at: Target
    ) -> tuple[ir.Envelope | None, Target]:
        component = component_at.value_object
        declared = component.get("x-envelope")
        if declared is None:
            return None, target
        _check.extensions(component_at.document, component_at.pointer, component)
        members = cast("JsonObject", declared)
        envelope = ir.Envelope(
            text_of(members, "data"), text_of(members, "success") or None, text_of(members, "error") or None
        )
        own, inherited = schema.get("properties"), component.get("properties")
        step = f"/properties/{escape(envelope.data)}"
        if isinstance(own, dict) and envelope.data in own:
            return envelope, Target(target.document, target.pointer + step, own[envelope.data])
        data: JsonValue = inherited.get(envelope.data) if isinstance(inherited, dict) else None
        return envelope, Target(component_at.document, component_at.pointer + step, data)

    def _warn(self, name: str, target: Target, below: str, text: str) -> None:
        self.definitions.warn(name, target.document.path, target.pointer + below, text)


def _is_stream(media_type: str) -> bool:
    return is_lines(media_type) or is_event_stream(media_type)


def _is_alike(name: str, entry: JsonObject, first: str, its: JsonObject) -> bool:
    """Whether a media type that is not asked for is read like the one that is, should it come."""
    if is_pattern(name):
        return entry.get("schema") == its.get("schema") or "schema" not in entry
    kinds = {media(name, entry), media(first, its)}
    return len(kinds) == 1 and kinds <= {"binary", "text"} and base(name) != "text/event-stream"


def _told_apart(answers: Iterable[ir.Answer]) -> Iterable[ir.Answer]:
    """The first answer, and of the others those whose content types are theirs alone."""
    seen: set[str] = set()
    for answer in answers:
        own = {base(name) for name in answer.media_types}
        if not own & seen:
            yield answer
        seen |= own


def _refuses(component: JsonObject, envelope: ir.Envelope) -> bool:
    """Whether a response branch is the one for failures."""
    properties = component.get("properties")
    success = properties.get(envelope.success or "") if isinstance(properties, dict) else None
    return isinstance(success, dict) and success.get("const") is False
