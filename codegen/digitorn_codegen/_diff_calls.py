"""Compares what two OpenAPI documents offer: operations, their parameters, bodies and answers, webhooks."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from ._changes import Notes, Where, became
from ._compare import Schemas
from ._diff_answers import Answers
from ._diff_media import base, by_base, is_covered, schemas_of
from ._documents import JsonObject, JsonValue, escape, text_of
from ._names import attribute, method, pascal, snake
from ._restrictions import text_of_schema
from ._security import is_enough, security_of
from ._sides import (
    Body,
    Operation,
    Parameter,
    Place,
    Side,
    body_of,
    object_of,
    operations_at,
    operations_of,
    parameters_of,
    responses_of,
)

_Key: TypeAlias = tuple[str, str]
_Credentials: TypeAlias = frozenset[tuple[tuple[str, ...], frozenset[str]]]
_SCALARS = frozenset({"string", "integer", "number", "boolean", "null"})


@dataclass
class Calls:
    """Compares the operations of two contracts.

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
        """Compares everything in the two documents.

        Raises:
            ContractError: A reference leads nowhere.
        """
        servers = _servers(self.old.openapi.root), _servers(self.new.openapi.root)
        if servers[0] != servers[1]:
            root = _root(self.old), _root(self.new)
            self.notes.note("servers-changed", Where("the document"), became(*servers), *root)
        self._operations(operations_of(self.old), operations_of(self.new))
        self._incoming(_webhooks(self.old), _webhooks(self.new))
        self._gone()

    # --- operations

    def _operations(self, before: Mapping[_Key, Operation], after: Mapping[_Key, Operation]) -> None:
        pairs = _paired(before, after)
        for key in [key for key in before if key not in pairs]:
            place = _place(before[key])
            self.notes.note("operation-removed", Where(" ".join(key)), "was removed", place)
        back = {new: old for old, new in pairs.items()}
        for key, operation in after.items():
            if key not in back:
                place = _place(operation)
                self.notes.note("operation-added", Where(" ".join(key)), "was added", None, place)
            else:
                self._operation(key, back[key], before[back[key]], operation)

    def _operation(self, key: _Key, old_key: _Key, old: Operation, new: Operation) -> None:
        where = Where(" ".join(key))
        places = _place(old), _place(new)
        ids = _id(old_key, old), _id(key, new)
        if method(ids[0]) != method(ids[1]):
            self.notes.note("operation-renamed", where, f"operationId {became(*ids)}", *places)
        tags = _tag(old.value), _tag(new.value)
        if attribute(tags[0]) != attribute(tags[1]):
            self.notes.note("operation-moved", where, f"tag {became(*tags)}", *places)
        if _is_new(old.value, new.value, "deprecated"):
            self.notes.note("operation-deprecated", where, "was deprecated", *places)
        servers = _own_servers(old), _own_servers(new)
        if servers[0] != servers[1]:
            self.notes.note("operation-servers-changed", where, became(*servers), *places)
        self._security(where, old, new)
        renamed = dict(zip(_path_names(old_key[1]), _path_names(key[1]), strict=True))
        self._parameters(where, old, new, renamed)
        self._body(where, old, new)
        answers = Answers(self.notes, self.schemas)
        places = _place(old, "responses"), _place(new, "responses")
        answers.compare(where, places, responses_of(self.old, old), responses_of(self.new, new))
        self._incoming(_callbacks(self.old, where, old), _callbacks(self.new, where, new))

    def _security(self, where: Where, old: Operation, new: Operation) -> None:
        before, after = security_of(self.old, old), security_of(self.new, new)
        places = _place(old, "security"), _place(new, "security")
        if not all(any(is_enough(one, needed) for needed in after) for one in before):
            text = "needs other credentials" if frozenset() not in before else "needs credentials"
            self.notes.note("security-tightened", where, text, *places)
        elif before != after:
            self.notes.note("security-loosened", where, "takes other credentials as well", *places)

    def _parameters(self, where: Where, old: Operation, new: Operation, renamed: Mapping[str, str]) -> None:
        before = _by_place(parameters_of(self.old, old), renamed)
        after = _by_place(parameters_of(self.new, new), {})
        for key, (name, parameter) in before.items():
            if key not in after:
                self.notes.note(
                    "parameter-removed", where, f"{name} was removed", parameter.place, _place(new)
                )
        for key, (name, parameter) in after.items():
            if key in before:
                self._parameter(where, *before[key], name, parameter)
            else:
                rule = "parameter-added-required" if parameter.required else "parameter-added"
                said = f"{name} was added, {'required' if parameter.required else 'optional'}"
                self.notes.note(rule, where, said, _place(old), parameter.place)

    def _parameter(self, where: Where, old_name: str, old: Parameter, name: str, new: Parameter) -> None:
        places = old.place, new.place
        wires = text_of(old.value, "name"), text_of(new.value, "name")
        if snake(wires[0]) != snake(wires[1]):
            self.notes.note("parameter-renamed", where, f"{old_name} became {wires[1]!r}", *places)
        if old.required != new.required:
            rule = "parameter-required" if new.required else "parameter-optional"
            said = f"{name} became {'required' if new.required else 'optional'}"
            self.notes.note(rule, where, said, *places)
        if _is_new(old.value, new.value, "deprecated"):
            self.notes.note("parameter-deprecated", where, f"{name} was deprecated", *places)
        written = self._written(old, is_old=True), self._written(new, is_old=False)
        if written[0] != written[1]:
            self.notes.note("parameter-rewritten", where, f"{name}, {became(*written)}", *places)
        optional = not old.required and not new.required
        self.schemas.compare(where.within(name), *places, "request", optional=optional)

    def _written(self, parameter: Parameter, *, is_old: bool) -> str:
        """How a parameter is written, as a text that differs where the wire does."""
        if parameter.media_type:
            return base(parameter.media_type)
        location = text_of(parameter.value, "in")
        style = text_of(parameter.value, "style") or ("form" if location in ("query", "cookie") else "simple")
        explode = parameter.value.get("explode")
        explode = explode if isinstance(explode, bool) else style == "form"
        if parameter.value.get("x-path-segments") is True:
            style = f"{style} over several segments"
        types = self.schemas.types(parameter.place, is_old=is_old)
        if types <= _SCALARS:
            return "plain" if style in ("form", "simple", "spaceDelimited", "pipeDelimited") else style
        if explode and style in ("spaceDelimited", "pipeDelimited"):
            style = "form"
        return style if style == "deepObject" else f"{style}, {'exploded' if explode else 'not exploded'}"

    def _body(self, where: Where, old: Operation, new: Operation) -> None:
        before, after = body_of(self.old, old), body_of(self.new, new)
        places = _place(old, "requestBody"), _place(new, "requestBody")
        if before is None or after is None:
            if before is not None:
                self.notes.note("body-removed", where, "the request body was removed", *places)
            if after is not None:
                rule = "body-added-required" if after.required else "body-added"
                said = f"a request body was added, {'required' if after.required else 'optional'}"
                self.notes.note(rule, where, said, *places)
            return
        if before.required != after.required:
            rule = "body-required" if after.required else "body-optional"
            became = "required" if after.required else "optional"
            self.notes.note(rule, where, f"the request body became {became}", *places)
        self._contents(where.within("body"), before, after)

    def _contents(self, where: Where, old: Body, new: Body) -> None:
        """Compares the media types of a body and their schemas."""
        before, after = by_base(old.content), by_base(new.content)
        for name in [name for name in before if not is_covered(name, after)]:
            self.notes.note("body-media-removed", where, f"{name} was removed", before[name], new.place)
        for name in [name for name in after if not is_covered(name, before)]:
            self.notes.note("body-media-added", where, f"{name} was added", old.place, after[name])
        for at, one, other in schemas_of(where, before, after):
            encodings = _encoding(one), _encoding(other)
            for member in sorted(encodings[0].keys() | encodings[1].keys()):
                parts = tuple(_part(encoding.get(member)) for encoding in encodings)
                if parts[0] != parts[1]:
                    self.notes.note("body-rewritten", at.below(f".{member}"), became(*parts), one, other)
            self.schemas.compare(at, one, other, "request")

    # --- webhooks and callbacks

    def _incoming(self, before: Mapping[Where, Operation], after: Mapping[Where, Operation]) -> None:
        """Compares calls that the server makes; their bodies are received."""
        for where, old in before.items():
            if where not in after:
                self.notes.note("webhook-removed", where, "was removed", _place(old))
        for where, new in after.items():
            if where not in before:
                self.notes.note("webhook-added", where, "was added", None, _place(new))
                continue
            old = before[where]
            bodies = body_of(self.old, old), body_of(self.new, new)
            if bodies[0] is None or bodies[1] is None:
                for rule, body in zip(("message-removed", "message-added"), bodies, strict=True):
                    if body is not None:
                        said = f"its body was {rule.partition('-')[2]}"
                        self.notes.note(rule, where, said, _place(old), _place(new))
                continue
            contents = by_base(bodies[0].content), by_base(bodies[1].content)
            for at, one, other in schemas_of(where, *contents):
                self.schemas.compare(at, one, other, "response")

    # --- components

    def _gone(self) -> None:
        """Notes components that are gone, with the name that they have now.

        One that the contract used, and that has no new name, is told by the places that used it.
        """
        before, after = _classes(self.old), _classes(self.new)
        used = _used(self.old)
        gone = {name: place for name, place in before.items() if name not in _components(self.new)}
        came = {name: place for name, place in after.items() if name not in _components(self.old)}
        new = {text_of_schema(self.new, place): name for name, place in came.items()} if gone else {}
        for name, place in gone.items():
            where = Where(f"component {name}")
            same = new.get(text_of_schema(self.old, place))
            if same is not None and pascal(same) != pascal(name):
                self.schemas.renamed(where, (name, same), place, came[same])
            elif same is None and escape(name) not in used:
                self.notes.note("class-removed", where, "was removed", place)


def _root(side: Side) -> Place:
    return Place(side.openapi, side.openapi.root)


def _place(operation: Operation, key: str = "") -> Place:
    """Where an operation or a member of it stands."""
    if key not in operation.value:
        return Place(operation.document, operation.value, operation.pointer)
    return Place(operation.document, operation.value[key], f"{operation.pointer}/{escape(key)}")


def _is_new(old: JsonObject, new: JsonObject, flag: str) -> bool:
    return old.get(flag) is not True and new.get(flag) is True


# --- operations


def _paired(before: Iterable[_Key], after: Iterable[_Key]) -> dict[_Key, _Key]:
    """Which operation has become which: those of one path, whatever its parameters are called."""
    old, new = list(before), list(after)
    pairs = {key: key for key in old if key in new}
    left = {_nameless(key): key for key in new if key not in pairs}
    for key in old:
        if key not in pairs and _nameless(key) in left:
            pairs[key] = left.pop(_nameless(key))
    return pairs


def _nameless(key: _Key) -> _Key:
    return key[0], re.sub(r"\{[^}]*\}", "{}", key[1])


def _path_names(path: str) -> list[str]:
    return re.findall(r"\{([^}]*)\}", path)


def _id(key: _Key, operation: Operation) -> str:
    return text_of(operation.value, "operationId") or f"{key[0].lower()} {key[1]}"


def _tag(operation: JsonObject) -> str:
    tags = operation.get("tags")
    return str(tags[0]) if isinstance(tags, list) and tags else "default"


def _servers(holder: JsonValue) -> str:
    servers = holder.get("servers") if isinstance(holder, dict) else None
    listed = servers if isinstance(servers, list) else []
    return " ".join(sorted(text_of(one, "url").rstrip("/") for one in listed if isinstance(one, dict)))


def _own_servers(operation: Operation) -> str:
    holders = (operation.value, *(layer.schema for layer in reversed(operation.path)))
    return next((found for holder in holders if (found := _servers(holder))), "")


def _by_place(
    parameters: Mapping[str, Parameter], renamed: Mapping[str, str]
) -> dict[_Key, tuple[str, Parameter]]:
    """Parameters by where they travel and what they are called on the wire; in the path by a new name."""
    found: dict[_Key, tuple[str, Parameter]] = {}
    for title, parameter in parameters.items():
        location, name = text_of(parameter.value, "in"), text_of(parameter.value, "name")
        key = renamed.get(name, name) if location == "path" else name
        found[location, key.lower() if location == "header" else key] = (title, parameter)
    return found


def _webhooks(side: Side) -> dict[Where, Operation]:
    found: dict[Where, Operation] = {}
    for name, item in object_of(side.openapi.root, "webhooks").items():
        if isinstance(item, dict):
            for verb, operation in operations_at(side, side.openapi, f"/webhooks/{escape(name)}", item):
                found[Where(f"webhook {verb} {name}")] = operation
    return found


def _callbacks(side: Side, where: Where, operation: Operation) -> dict[Where, Operation]:
    found: dict[Where, Operation] = {}
    for name, callback in object_of(operation.value, "callbacks").items():
        pointer = f"{operation.pointer}/callbacks/{escape(name)}"
        if not isinstance(callback, dict):
            continue
        target = side.documents.follow(operation.document, pointer, callback)
        for address, item in target.value_object.items():
            if isinstance(item, dict) and not address.startswith("x-"):
                at = f"{target.pointer}/{escape(address)}"
                for verb, called in operations_at(side, target.document, at, item):
                    found[where.within(f"callback {name} {verb} {address}")] = called
    return found


# --- forms


def _encoding(schema: Place) -> JsonObject:
    """How the members of a form are written, by what stands beside its schema."""
    entry = schema.document.at(schema.pointer.rpartition("/")[0])
    is_form = "json" not in schema.pointer.rpartition("/content/")[2]
    return object_of(entry, "encoding") if is_form else {}


def _part(encoding: JsonValue) -> str:
    """How a member of a form is written, as a text that differs where the wire does."""
    found = encoding if isinstance(encoding, dict) else {}
    style = text_of(found, "style") or "form"
    explode = found.get("explode")
    explode = explode if isinstance(explode, bool) else style == "form"
    return f"{style}, {'exploded' if explode else 'not exploded'}, {text_of(found, 'contentType')}".rstrip(
        ", "
    )


# --- components


def _components(side: Side) -> JsonObject:
    return object_of(side.openapi.root.get("components"), "schemas")


def _classes(side: Side) -> dict[str, Place]:
    """The components that are classes."""
    return {
        name: Place(side.openapi, schema, f"/components/schemas/{escape(name)}")
        for name, schema in _components(side).items()
        if isinstance(schema, dict) and schema.keys() & {"properties", "allOf", "anyOf", "oneOf"}
    }


def _used(side: Side) -> set[str]:
    """The components that the contract refers to."""
    documents = (side.openapi, *side.events.values(), *side.commands.values(), *side.shared)
    waiting: list[JsonValue] = [document.root for document in documents]
    found: set[str] = set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            found.add(text_of(value, "$ref").rpartition("/components/schemas/")[2].partition("/")[0])
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return found
