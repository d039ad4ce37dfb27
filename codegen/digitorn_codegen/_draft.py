"""Drafts of what a contract lacks, inferred from recorded traffic: event schemas and an OpenAPI document."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeAlias, cast

from ._documents import JsonObject, JsonValue, text_of
from ._frames import FORM, JSON, MULTIPART, SeenBody, SeenExchange, is_file
from ._infer import Shape
from ._names import Scope, pascal, words
from ._paths import Template, singular, templates
from ._sides import Side, object_of, operations_of

DIALECT = "https://json-schema.org/draft/2020-12/schema"

NOWHERE = (404, 405)
"""Answers that say that the path leads nowhere."""

_METHODS = frozenset({"GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"})
_VERBS = {"GET": "get", "POST": "create", "PUT": "replace", "PATCH": "update", "DELETE": "delete"}
# Names that modules of payloads need themselves.
_OF_GENERATED_CODE = (
    *(
        "Annotated",
        "Any",
        "ConfigDict",
        "Field",
        "Final",
        "Literal",
        "TypeAlias",
        "TypeAliasType",
        "TypedDict",
    ),
    *("EventEnvelope", "EventPayload", "EventRegistry", "EventSpec", "EventType"),
    *("Model", "OrObject", "RootModel"),
)
# Members of an answer that hold its result, beside those that say how it went.
_RESULTS = ("data", "result", "item", "items", "results")
_NO_TAG = re.compile(r"api|v\d+|\{.*\}|")


@dataclass
class EventDraft:
    """The payloads of an event type that the contract lacks.

    Attributes:
        shape: What they have in common.
        count: How many there were.
        enveloped: Whether one of them came in an envelope.
    """

    shape: Shape = field(default_factory=Shape)
    count: int = 0
    enveloped: bool = False

    def add(self, payload: JsonObject, *, enveloped: bool) -> None:
        """Takes an event into account."""
        self.shape.add(payload)
        self.count += 1
        self.enveloped = self.enveloped or enveloped


def event_schemas(
    contract: Side, drafts: Mapping[str, EventDraft], *, enums: bool
) -> dict[str, Mapping[str, object]]:
    """The draft of each event type by wire name, with titles that are the titles of nothing else.

    Args:
        contract: The contract that lacks them.
        drafts: What was seen.
        enums: Whether to infer enums.
    """
    scope = Scope.reserving({*_OF_GENERATED_CODE, *_taken(contract)})
    found: dict[str, Mapping[str, object]] = {}
    for wire, draft in sorted(drafts.items()):
        times = f"{draft.count} recorded event{'s' * (draft.count != 1)}"
        found[wire] = {
            "$schema": DIALECT,
            "title": scope.allot(pascal(wire) if words(wire) else "Event", wire),
            "description": f"Draft, inferred from {times}; not reviewed.",
            "x-event-type": wire,
            **({} if draft.enveloped else {"x-event-enveloped": False}),
            "x-draft": True,
            **draft.shape.schema(enums=enums),
        }
    return found


def envelope_schema(envelopes: Shape) -> Mapping[str, object]:
    """The draft of the envelope, for a contract that has none.

    Args:
        envelopes: What the envelopes have in common, with payloads that are empty.
    """
    return {
        "$schema": DIALECT,
        "title": "EventEnvelope",
        "description": "Draft, inferred from recorded events; not reviewed.",
        "x-event-envelope": True,
        "x-draft": True,
        **envelopes.schema(),
    }


def _taken(contract: Side) -> Iterator[str]:
    """The names of classes that the contract's events have."""
    for document in (*contract.events.values(), *contract.shared):
        yield pascal(text_of(document.root, "title") or document.path.stem)
        yield from map(pascal, object_of(document.root, "$defs"))


# --- operations


@dataclass(frozen=True)
class OpenApiDraft:
    """Operations that the contract lacks.

    Attributes:
        titles: Method and path of each.
        document: An OpenAPI document of them; None if there are none.
    """

    titles: list[str]
    document: "JsonObject | None"


def openapi(contract: Side, calls: Sequence[SeenExchange], *, enums: bool) -> OpenApiDraft:
    """The draft of operations that a contract lacks.

    Args:
        contract: The contract.
        calls: The calls of no operation of the contract.
        enums: Whether to infer enums.
    """
    known = operations_of(contract)
    found = templates([call for call in calls if call.status not in NOWHERE], (path for _, path in known))
    for call in calls:
        if call.status in NOWHERE:
            _refused(found, call)
    titles = sorted(f"{method} {one.path}" for one in found for method in one.calls)
    found = [one for one in found if one.calls.keys() & _METHODS]
    if not found:
        return OpenApiDraft(titles, None)
    ids = Scope.reserving(text_of(operation, "operationId") for operation in known.values())
    operations = [
        _Operation(one, method, calls, ids.allot(_operation_id(method, one.path), one.path))
        for one in found
        for method, calls in sorted(one.calls.items())
        if method in _METHODS
    ]
    models = _Models(Scope.reserving(object_of(contract.openapi.root.get("components"), "schemas")), enums)
    for operation in operations:
        models.note(operation)
    models.settle()
    paths: JsonObject = {}
    for one in operations:
        item = cast("JsonObject", paths.setdefault(one.template.path, {}))
        item[one.method.lower()] = _operation(one, models)
    count = sum(len(one.calls) for one in operations)
    title = text_of(object_of(contract.openapi.root, "info"), "title")
    times = f"{count} recorded call{'s' * (count != 1)}"
    return OpenApiDraft(
        titles,
        {
            "openapi": "3.1.0",
            "info": {
                "title": f"{title} (draft)" if title else "Draft",
                "version": "0",
                "description": f"Draft, inferred from {times}; not reviewed.",
                "x-draft": True,
            },
            "paths": paths,
            "components": {"schemas": models.schemas()},
        },
    )


def _refused(found: Iterable[Template], call: SeenExchange) -> None:
    """Adds a call that led nowhere to the operation that it would have been one of."""
    for template in found:
        pattern = re.sub(r"\\\{.*?\\\}", "[^/]+", re.escape(template.path))
        if call.method in template.calls and re.fullmatch(pattern, call.path):
            template.calls[call.method].append(call)
            return


@dataclass
class _Operation:
    """An operation, and what its calls have in common.

    Attributes:
        template: Its path.
        method: Its HTTP method.
        calls: Its calls.
        id: Its name.
        bodies: The bodies of requests, by media type.
        answers: The bodies of answers, by status and media type.
        files: The members of forms that are files.
    """

    template: Template
    method: str
    calls: list[SeenExchange]
    id: str
    bodies: dict[str, Shape] = field(default_factory=dict[str, Shape])
    answers: dict[tuple[int, str], Shape] = field(default_factory=dict[tuple[int, str], Shape])
    files: set[str] = field(default_factory=set[str])

    def __post_init__(self) -> None:
        for call in self.accepted:
            _note(self.bodies.setdefault(call.body.media_type, Shape()), call.body)
            if call.body.media_type == MULTIPART and isinstance(call.body.value, dict):
                self.files |= {name for name, one in call.body.value.items() if is_file(one)}
        for call in self.calls:
            _note(self.answers.setdefault((call.status, call.answer.media_type), Shape()), call.answer)

    @property
    def accepted(self) -> list[SeenExchange]:
        """The calls that were accepted, if there are any; others may be wrong on purpose."""
        return [call for call in self.calls if call.status < 400] or self.calls


def _note(shape: Shape, body: SeenBody) -> None:
    if body.media_type in (JSON, FORM, MULTIPART):
        shape.add(body.value)


_Kind: TypeAlias = frozenset[str]
"""The names of an object's members."""


@dataclass
class _Models:
    """Finds the objects that are of one kind, which become components.

    Objects are of one kind if they have the same members. A component describes all of its kind that were
    seen: in answers, in bodies and inside of others.
    """

    scope: Scope
    enums: bool
    _seen: list[Shape] = field(default_factory=list[Shape])
    _wanted: dict[_Kind, list[tuple[int, str]]] = field(default_factory=dict[_Kind, list[tuple[int, str]]])
    _whole: set[_Kind] = field(default_factory=set[_Kind])
    _shapes: dict[_Kind, Shape] = field(default_factory=dict[_Kind, Shape])
    _names: dict[_Kind, str] = field(default_factory=dict[_Kind, str])

    def note(self, operation: _Operation) -> None:
        """Takes the bodies of an operation into account."""
        path = [segment for segment in operation.template.path.split("/") if segment]
        noun = singular(next((one for one in reversed(path) if not one.startswith("{")), ""))
        is_one = bool(path) and path[-1].startswith("{")
        for media_type, shape in operation.bodies.items():
            if media_type == JSON:
                self._note(shape, (4, f"{operation.id}_request"))
        for (status, _), shape in operation.answers.items():
            if status >= 400:
                self._note(shape, (2, "error"))
                continue
            name = (0, noun) if is_one else (5, f"{operation.id}_response")
            self._note(shape, name)
            results = [shape, *(shape.members[one] for one in _RESULTS if one in shape.members)]
            for one in results:
                self._want(one, name)
                # A list, or a page of one.
                for below in (one, *one.members.values()):
                    if below.items is not None:
                        self._want(below.items, (1, noun))

    def _note(self, shape: Shape, name: tuple[int, str]) -> None:
        self._seen.append(shape)
        self._want(shape, name)
        for one in shape.walk():
            for member, below in one.members.items():
                self._want(below, (6, singular(member)), is_whole=False)
                if below.items is not None:
                    self._want(below.items, (3, singular(member)), is_whole=False)

    def _want(self, shape: Shape, name: tuple[int, str], *, is_whole: bool = True) -> None:
        if len(shape.members) > 1:
            self._wanted.setdefault(shape.key, []).append(name)
            if is_whole:
                self._whole.add(shape.key)

    def settle(self) -> None:
        """Gathers what was seen of each kind, and names the kinds."""
        found: dict[_Kind, list[Shape]] = {}
        for shape in self._seen:
            for one in shape.walk():
                found.setdefault(one.key, []).append(one)
        for kind, shapes in found.items():
            is_kind = kind in self._whole or len(self._wanted.get(kind, ())) > 1
            if is_kind and all(_is_like(shapes[0], one) for one in shapes):
                self._shapes[kind] = Shape()
        for shape in self._seen:
            self._gather(shape)
        # Gathering may add members to what is inside of a component, which is then of another kind.
        while any(self._gather(below) for shape in list(self._shapes.values()) for below in shape.below()):
            pass
        for kind in sorted(self._shapes, key=lambda one: (min(self._wanted[one]), sorted(one))):
            wanted = pascal(min(self._wanted[kind])[1])
            self._names[kind] = self.scope.allot(wanted, ", ".join(sorted(kind)))

    def _gather(self, shape: Shape) -> bool:
        changed = False
        for one in list(shape.walk()):
            if (component := self._shapes.get(one.key)) is not None and one is not component:
                changed |= component.merge(Shape({"object"}, one.members, one.required, one.others))
        return changed

    def refers(self, shape: Shape) -> str | None:
        """The reference to the component that describes a shape, if there is one."""
        name = self._names.get(shape.key)
        return f"#/components/schemas/{name}" if name is not None else None

    def schemas(self) -> JsonObject:
        """The components."""
        found: JsonObject = {}
        for kind, name in sorted(self._names.items(), key=lambda one: one[1]):
            found[name] = self._shapes[kind].members_schema(enums=self.enums, refers=self.refers)
        return found


def _is_like(one: Shape, other: Shape) -> bool:
    """Whether two objects with the same members are of one kind, and not envelopes of different things."""
    return all(_fits(member, other.members[name]) for name, member in one.members.items())


def _fits(one: Shape, other: Shape) -> bool:
    known, found = one.types - {"null"}, other.types - {"null"}
    if not known or not found:
        return True
    if known.isdisjoint(found) and not {"integer", "number"} >= known | found:
        return False
    if one.items is not None and other.items is not None and not _fits(one.items, other.items):
        return False
    both = one.members.keys() | other.members.keys()
    shared = one.members.keys() & other.members.keys()
    return not both or not one.members or not other.members or 2 * len(shared) >= len(both)


def _operation(one: _Operation, models: _Models) -> JsonObject:
    found: JsonObject = {"operationId": one.id, "x-draft": True}
    if tag := next((part for part in one.template.path.split("/") if not _NO_TAG.fullmatch(part)), ""):
        found["tags"] = [tag]
    parameters: list[JsonValue] = [
        {"name": name, "in": "path", "required": True, "schema": _texts_schema(values)}
        for name, values in one.template.values.items()
    ]
    parameters += _query(one.accepted)
    if parameters:
        found["parameters"] = parameters
    content = {
        kind: _media(kind, shape, models, one.files)
        for kind, shape in one.bodies.items()
        if _holds(kind, shape)
    }
    if content:
        is_required = all(call.body.media_type for call in one.accepted)
        found["requestBody"] = {"required": is_required, "content": dict(sorted(content.items()))}
    responses: JsonObject = {}
    for (status, kind), shape in sorted(one.answers.items()):
        response = cast("JsonObject", responses.setdefault(str(status), {"description": _phrase(status)}))
        if _holds(kind, shape):
            cast("JsonObject", response.setdefault("content", {}))[kind] = _media(kind, shape, models)
    found["responses"] = responses
    return found


def _holds(media_type: str, shape: Shape) -> bool:
    """Whether there is a body; a lone null in a frame file may stand for none."""
    return bool(media_type) and not (media_type == JSON and shape.types <= {"null"})


def _media(media_type: str, shape: Shape, models: _Models, files: Iterable[str] = ()) -> JsonObject:
    if media_type == MULTIPART:
        schema = shape.schema(enums=models.enums, refers=models.refers)
        file: JsonObject = {"type": "string", "contentMediaType": "application/octet-stream"}
        object_of(schema, "properties").update(dict.fromkeys(files, file))
        return {"schema": schema}
    if media_type in (JSON, FORM):
        return {"schema": shape.schema(enums=models.enums, refers=models.refers)}
    return {"schema": {"type": "string"}} if media_type.startswith("text/") else {}


def _query(calls: Sequence[SeenExchange]) -> Iterator[JsonObject]:
    """The query parameters. A call that leaves one out may not have been seen, so none is required."""
    values: dict[str, set[str]] = {}
    several: set[str] = set()
    for call in calls:
        names = [name for name, _ in call.query]
        several |= {name for name in names if names.count(name) > 1}
        for name, value in call.query:
            values.setdefault(name, set()).add(value)
    for name, texts in sorted(values.items()):
        schema = _texts_schema(texts)
        yield {
            "name": name,
            "in": "query",
            "schema": {"type": "array", "items": schema} if name in several else schema,
        }


def _texts_schema(texts: set[str]) -> JsonObject:
    """The type that texts of a path or a query are written in."""
    if all(re.fullmatch(r"0|-?[1-9]\d{0,17}", text) for text in texts):
        return {"type": "integer"}
    if all(re.fullmatch(r"-?\d+(\.\d+)?", text) and not re.match(r"-?0\d", text) for text in texts):
        return {"type": "number"}
    return {"type": "boolean"} if texts <= {"true", "false"} else {"type": "string"}


def _operation_id(method: str, path: str) -> str:
    segments = [segment for segment in path.split("/") if segment and segment != "api"]
    parts = [
        singular(segment) if segments[place + 1 :] and segments[place + 1].startswith("{") else segment
        for place, segment in enumerate(segments)
        if not segment.startswith("{")
    ]
    is_one = bool(segments) and segments[-1].startswith("{")
    verb = _VERBS.get(method, method.lower())
    if parts and not is_one:
        if method == "GET" and singular(parts[-1]) != parts[-1]:
            verb = "list"
        elif method == "POST" and singular(parts[-1]) != parts[-1]:
            parts[-1] = singular(parts[-1])
        elif method == "POST":
            verb = "post"
    return "_".join([verb, *(word.lower() for part in parts for word in words(part))])


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"Status {status}"
