"""Reads the operations of an OpenAPI document."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from . import _check
from . import _ir as ir
from ._definitions import Definitions
from ._documents import Document, JsonObject, JsonValue, Target, escape, text_of
from ._errors import ContractError
from ._names import Scope, attribute, free_argument, method, pascal
from ._types import is_binary, union

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_STYLES: Mapping[tuple[str, bool], ir.Style | None] = {
    ("form", True): None,
    ("form", False): "comma",
    ("spaceDelimited", True): None,
    ("spaceDelimited", False): "space",
    ("pipeDelimited", True): None,
    ("pipeDelimited", False): "pipe",
    ("deepObject", True): "deep",
    ("deepObject", False): "deep",
    ("simple", False): None,
    ("simple", True): "pairs",
    ("label", False): "label",
    ("label", True): "labels",
    ("matrix", False): "matrix",
    ("matrix", True): "matrices",
}
_ALLOWED = {
    "query": {"form", "spaceDelimited", "pipeDelimited", "deepObject"},
    "cookie": {"form"},
    "header": {"simple"},
    "path": {"simple", "label", "matrix"},
}


@dataclass(frozen=True)
class _Raw:
    """One operation as the document has it."""

    document: Document
    pointer: str
    path: str
    method: str
    value: JsonObject
    shared: tuple[tuple[Document, str, JsonValue], ...]


@dataclass
class OperationReader:
    """Reads the operations of one document.

    Attributes:
        definitions: Where their schemas go.
        api: The document.
    """

    definitions: Definitions
    api: Document
    _ids: Scope = field(default_factory=lambda: Scope.reserving(("operations",)))
    _said: set[str] = field(default_factory=set[str])

    def tags(self) -> tuple[ir.Tag, ...]:
        """Every operation, grouped by its first tag.

        Raises:
            ContractError: An operation that no stub can be made of.
        """
        described = self._described()
        grouped: dict[str, list[ir.OperationSpec]] = {name: [] for name in described}
        for raw in self._raws():
            grouped.setdefault(_tag(raw.value), []).append(self._operation(raw))
        # `Transport`, prefixed or not, and `Api` are in the modules of stubs before any tag.
        classes = Scope.reserving(
            ("Any", "Api", "FileContent", "Int", "Literal", "Mapping", "NotGiven", "Transport")
        )
        attributes = Scope()
        return tuple(
            ir.Tag(
                name=self.definitions.allot(classes, pascal(name), self.api.path, "/tags", f"tag {name!r}"),
                attribute=attributes.allot(attribute(name), name),
                description=described.get(name, ""),
                operations=tuple(sorted(operations, key=lambda o: o.id)),
            )
            for name, operations in sorted(grouped.items())
            if operations
        )

    def check_ids(self) -> None:
        """Refuses a document in which two operations have one id.

        Raises:
            ContractError: They do.
        """
        seen: dict[str, str] = {}
        for raw in self._raws():
            found = text_of(raw.value, "operationId")
            if found in seen:
                text = f"operationId {found!r} is already that of {seen[found]}"
                raise ContractError(raw.document.path, f"{raw.pointer}/operationId", text)
            if found:
                seen[found] = f"{raw.method.upper()} {raw.path}"

    def _described(self) -> dict[str, str]:
        tags = self.api.root.get("tags")
        described: dict[str, str] = {}
        for index, tag in enumerate(tags if isinstance(tags, list) else []):
            if isinstance(tag, dict):
                name = text_of(tag, "name")
                if name in described:
                    raise ContractError(self.api.path, f"/tags/{index}", f"the tag {name!r} stands twice")
                described[name] = text_of(tag, "description")
        return described

    # --- finding them

    def _raws(self) -> Iterator[_Raw]:
        paths = self.api.root.get("paths")
        for path, item in (paths if isinstance(paths, dict) else {}).items():
            if path.startswith("x-") or not isinstance(item, dict):
                continue
            layers = tuple(self._layers(path, item))
            shared = tuple((d, f"{p}/parameters", layer.get("parameters")) for d, p, layer in layers)
            for name in _METHODS:
                # Siblings of a reference take precedence over its target.
                for document, pointer, layer in reversed(layers):
                    operation = layer.get(name)
                    if isinstance(operation, dict):
                        self._check_servers((*layers, (document, f"{pointer}/{name}", operation)))
                        yield _Raw(document, f"{pointer}/{name}", path, name, operation, shared)
                        break

    def _layers(self, path: str, item: JsonObject) -> Iterator[tuple[Document, str, JsonObject]]:
        pointer = f"/paths/{escape(path)}"
        if "$ref" in item:
            target = self.definitions.documents.follow(self.api, pointer, item)
            yield target.document, target.pointer, target.value_object
        yield self.api, pointer, {key: value for key, value in item.items() if key != "$ref"}

    def _check_servers(self, holders: Iterable[tuple[Document, str, JsonObject]]) -> None:
        for document, pointer, holder in holders:
            servers = holder.get("servers")
            listed = servers if isinstance(servers, list) else []
            for url in [text_of(one, "url") for one in listed if isinstance(one, dict)]:
                said = (
                    f"{url} is not used, here and wherever it is given; calls go to the server of all others"
                )
                if said not in self._said:
                    self._said.add(said)
                    self.definitions.warn("servers-ignored", document.path, f"{pointer}/servers", said)

    # --- reading one

    def _operation(self, raw: _Raw) -> ir.OperationSpec:
        wanted = text_of(raw.value, "operationId") or f"{raw.method} {raw.path}"
        title = f"{raw.method.upper()} {raw.path}"
        id_ = self.definitions.allot(self._ids, method(wanted), raw.document.path, raw.pointer, title)
        arguments = {"extra_body", "body"}
        parameters = self._parameters(raw, wanted, arguments)
        declared = set(re.findall(r"\{([^}]+)\}", raw.path))
        for name in sorted(declared ^ {p.name for p in parameters if p.location == "path"}):
            fault = "is not declared" if name in declared else "is declared, and not there"
            raise ContractError(
                raw.document.path, raw.pointer, f"path parameter {name!r} of {raw.path} {fault}"
            )
        security = raw.value.get("security", self.api.root.get("security"))
        return ir.OperationSpec(
            id=id_,
            method=raw.method.upper(),
            path=raw.path,
            tag=_tag(raw.value),
            summary=text_of(raw.value, "summary"),
            description=text_of(raw.value, "description"),
            parameters=parameters,
            body=self._body(raw, wanted, arguments),
            result=self._result(raw, wanted),
            authenticated=bool(security),
            credentials_optional=isinstance(security, list) and {} in security,
            statuses=_statuses(raw),
        )

    def _parameters(self, raw: _Raw, id_: str, taken: set[str]) -> tuple[ir.Parameter, ...]:
        targets: dict[tuple[str, str], Target] = {}
        own = (raw.document, f"{raw.pointer}/parameters", raw.value.get("parameters"))
        for document, where, listed in (*raw.shared, own):
            seen: set[tuple[str, str]] = set()
            for index, item in enumerate(listed if isinstance(listed, list) else []):
                if isinstance(item, dict):
                    at = f"{where}/{index}"
                    target = self.definitions.documents.follow(document, at, item)
                    key = text_of(target.value_object, "name"), text_of(target.value_object, "in")
                    if not key[0] or key[1] not in _ALLOWED:
                        raise ContractError(document.path, at, "is no parameter")
                    if key in seen:
                        raise ContractError(
                            document.path, at, f"the {key[1]} parameter {key[0]!r} stands twice"
                        )
                    seen.add(key)
                    targets[key] = target
        return tuple(self._parameter(target, id_, taken) for target in targets.values())

    def _parameter(self, target: Target, id_: str, taken: set[str]) -> ir.Parameter:
        value = target.value_object
        name, location = text_of(value, "name"), text_of(value, "in")
        at, schema, style = self._written(target, value)
        argument = free_argument(name, location, taken)
        taken.add(argument)
        return ir.Parameter(
            name=name,
            argument=argument,
            location=cast("ir.Location", location),
            type=self.definitions.type_of(target.document, at, schema, f"{pascal(id_)}{pascal(name)}"),
            required=location == "path" or value.get("required") is True,
            description=text_of(value, "description") or _description(schema),
            spans_segments=value.get("x-path-segments") is True,
            style=style,
        )

    def _written(self, target: Target, value: JsonObject) -> tuple[str, JsonValue, ir.Style | None]:
        """Where the schema of a parameter stands, the schema, and how a value is written."""
        content = value.get("content")
        if isinstance(content, dict) and content:
            media_type, entry = next(iter(content.items()))
            style: ir.Style | None = "json" if _is_json(media_type) else None
            if style is None and not _base(media_type).startswith("text/"):
                self._warn("parameter-media", target, f"{media_type} is written as text")
            schema: JsonValue = entry.get("schema", {}) if isinstance(entry, dict) else None
            return f"{target.pointer}/content/{escape(media_type)}/schema", schema, style
        location = text_of(value, "in")
        if value.get("allowReserved") is True:
            self._warn("reserved-encoded", target, "reserved characters are percent-encoded all the same")
        default = "form" if location in ("query", "cookie") else "simple"
        named = text_of(value, "style") or default
        if named not in _ALLOWED.get(location, ()):
            self._warn("parameter-style", target, f"style {named!r} is none of a {location} parameter's")
            named = default
        style = _style(named, value.get("explode"))
        return f"{target.pointer}/schema", value.get("schema", {}), style

    def _warn(self, name: str, target: Target, text: str) -> None:
        self.definitions.warn(name, target.document.path, target.pointer, text)

    def _chosen(self, target: Target, content: Mapping[str, JsonObject]) -> tuple[str | None, ir.Media]:
        """The media type that is used of those offered, and how it is written."""
        chosen, media = _media(content)
        others = [name for name in content if name != chosen and _media({name: {}})[1] != media]
        said = f"{chosen} is used, {', '.join(others)} is not, here and wherever these are offered"
        # Whole documents offer the same media everywhere: the first place stands for all.
        if others and said not in self._said:
            self._said.add(said)
            self._warn("media-ignored", target, said)
        return chosen, media

    # --- bodies

    def _body(self, raw: _Raw, id_: str, taken: set[str]) -> ir.Body | None:
        found = raw.value.get("requestBody")
        if not isinstance(found, dict):
            return None
        target = self.definitions.documents.follow(raw.document, f"{raw.pointer}/requestBody", found)
        body = target.value_object
        content = _content(body)
        media_type, media = self._chosen(target, content)
        if media_type is None:
            return None
        schema = content[media_type].get("schema", {})
        here = f"{target.pointer}/content/{escape(media_type)}/schema"
        required = body.get("required") is True
        wire = _wire(media_type, media)
        if media in ("binary", "text"):
            return ir.Body(media, wire, (), "bytes" if media == "binary" else "str", required, extra=False)
        flat = self._flatten(target.document, here, schema)
        if flat is None:
            if media != "json":
                self._warn("form-without-members", target, f"{media_type} has no object; it is passed whole")
            whole = self.definitions.type_of(target.document, here, schema, f"{pascal(id_)}Body")
            return ir.Body(media, wire, (), whole, required, extra=False)
        encoding = content[media_type].get("encoding")
        styles = encoding if isinstance(encoding, dict) and media != "json" else {}
        for name, described in styles.items():
            if isinstance(described, dict) and "contentType" in described:
                self._warn("part-type-ignored", target, f"the content type of part {name!r} is not sent")
        # Only a body that is passed whole, or has more members, has these arguments.
        taken -= {"body"} if flat.extra else {"body", "extra_body"}
        fields = [
            self._field(
                member,
                name,
                name in flat.required,
                media,
                _field_style(styles.get(name)),
                f"{pascal(id_)}{pascal(name)}",
                taken,
            )
            for name, member in flat.members.items()
        ]
        return ir.Body(
            media, wire, tuple(sorted(fields, key=lambda f: not f.required)), None, required, flat.extra
        )

    def _field(
        self,
        member: "_Member",
        name: str,
        required: bool,
        media: ir.Media,
        style: ir.Style | None,
        hint: str,
        taken: set[str],
    ) -> ir.BodyField:
        argument = free_argument(name, "body", taken)
        taken.add(argument)
        file = self._file(member) if media == "multipart" else None
        return ir.BodyField(
            name=name,
            argument=argument,
            type=file or self.definitions.type_of(member.document, member.pointer, member.schema, hint),
            required=required,
            description=_description(member.schema),
            is_file=file is not None,
            style=style,
        )

    def _file(self, member: "_Member") -> str | None:
        """The type of a member that is a file or several; None if it is no file."""
        if not isinstance(member.schema, dict):
            return None
        target = self.definitions.documents.follow(member.document, member.pointer, member.schema)
        schema = target.value_object
        if is_binary(schema):
            nullable = schema.get("nullable") is True or "null" in _kinds(schema)
            return "FileContent | None" if nullable else "FileContent"
        if "array" in _kinds(schema):
            one = self._file(_Member(target.document, f"{target.pointer}/items", schema.get("items")))
            nullable = schema.get("nullable") is True or "null" in _kinds(schema)
            return (f"list[{one}] | None" if nullable else f"list[{one}]") if one else None
        for key in ("anyOf", "oneOf", "allOf"):
            branches = schema.get(key)
            listed = list(enumerate(branches)) if isinstance(branches, list) else []
            types = [
                "None"
                if branch == {"type": "null"}
                else self._file(_Member(target.document, f"{target.pointer}/{key}/{index}", branch))
                for index, branch in listed
            ]
            files = [type_ for type_ in types if type_ is not None]
            if files and len(files) == len(types) and files != ["None"]:
                return union(files)
            if any("FileContent" in type_ for type_ in files):
                self._warn("file-or-value", target, "may be a file or something else; it is no upload here")
        return None

    def _flatten(
        self, document: Document, pointer: str, schema: JsonValue, above: tuple[str, ...] = ()
    ) -> "_Members | None":
        """The members of an object schema, those of its `allOf` parts included; None if it is no object."""
        if not isinstance(schema, dict):
            return None
        target = self.definitions.documents.follow(document, pointer, schema)
        here = f"{target.document.path}#{target.pointer}"
        if here in above:
            raise ContractError(document.path, pointer, "refers to itself")
        schema, above = target.value_object, (*above, here)
        for key in ("anyOf", "oneOf"):
            branches = schema.get(key)
            if isinstance(branches, list):
                real = [(i, b) for i, b in enumerate(branches) if b != {"type": "null"}]
                if len(real) == 1 and "properties" not in schema and "allOf" not in schema:
                    at = f"{target.pointer}/{key}/{real[0][0]}"
                    return self._flatten(target.document, at, real[0][1], above)
                return None
        properties, parts = schema.get("properties"), schema.get("allOf")
        if not isinstance(properties, dict) and not isinstance(parts, list):
            return None
        members = _Members(extra=schema.get("additionalProperties") is True)
        for index, part in enumerate(parts if isinstance(parts, list) else []):
            found = self._flatten(target.document, f"{target.pointer}/allOf/{index}", part, above)
            if found is None:
                return None
            members.take(found)
        for name, member in properties.items() if isinstance(properties, dict) else ():
            at = f"{target.pointer}/properties/{escape(name)}"
            members.members[name] = _Member(target.document, at, member)
        required = schema.get("required")
        members.required |= {str(name) for name in required} if isinstance(required, list) else set()
        return members

    # --- results

    def _result(self, raw: _Raw, id_: str) -> ir.Result:
        found = raw.value.get("responses")
        responses = found if isinstance(found, dict) else {}
        good = sorted(status for status in responses if re.fullmatch(r"2\d\d|2XX", status))
        if not good and not any(status.startswith("3") for status in responses):
            good = ["default"] if "default" in responses else []
        if raw.method == "head":
            good = []
        results: list[ir.Result] = []
        for status in good:
            value = responses[status]
            if isinstance(value, dict):
                pointer = f"{raw.pointer}/responses/{status}"
                target = self.definitions.documents.follow(raw.document, pointer, value)
                results.append(self._response(target, f"{pascal(id_)}Result"))
        return self._merged(raw, results)

    def _response(self, target: Target, hint: str) -> ir.Result:
        content = _content(target.value_object)
        media_type, media = self._chosen(target, content)
        if media_type is None:
            return ir.Result("none", "None", None)
        if media == "text":
            return ir.Result("text", "str", None)
        if media != "json":
            return ir.Result("bytes", "bytes", None)
        schema = content[media_type].get("schema", {})
        here = f"{target.pointer}/content/{escape(media_type)}/schema"
        envelope, where = self._unwrap(Target(target.document, here, schema))
        return ir.Result(
            "json", self.definitions.type_of(where.document, where.pointer, where.value, hint), envelope
        )

    def _merged(self, raw: _Raw, results: list[ir.Result]) -> ir.Result:
        """One result for several statuses: the union of what they bring."""
        full = [result for result in results if result.reading != "none"]
        if not full:
            return ir.Result("none", "None", None)
        first = full[0]
        alike = [r for r in full if (r.reading, r.envelope) == (first.reading, first.envelope)]
        if len(alike) < len(full):
            self.definitions.warn(
                "mixed-results",
                raw.document.path,
                f"{raw.pointer}/responses",
                f"succeeds in forms that differ by more than their schema; read as {first.reading}",
            )
        may_be_empty = len(full) < len(results)
        type_ = union([r.type for r in alike] + (["None"] if may_be_empty else []))
        return ir.Result(first.reading, type_, first.envelope, may_be_empty)

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


@dataclass(frozen=True)
class _Member:
    document: Document
    pointer: str
    schema: JsonValue


@dataclass
class _Members:
    extra: bool
    members: dict[str, _Member] = field(default_factory=dict[str, _Member])
    required: set[str] = field(default_factory=set[str])

    def take(self, other: "_Members") -> None:
        """Adds what an `allOf` part brings."""
        self.members.update(other.members)
        self.required |= other.required
        self.extra |= other.extra


def _tag(operation: JsonObject) -> str:
    tags = operation.get("tags")
    return str(tags[0]) if isinstance(tags, list) and tags else "default"


def _kinds(schema: JsonObject) -> list[JsonValue]:
    kind = schema.get("type")
    return kind if isinstance(kind, list) else [kind]


def _content(value: JsonObject) -> dict[str, JsonObject]:
    found = value.get("content")
    listed = found if isinstance(found, dict) else {}
    return {name: entry for name, entry in listed.items() if isinstance(entry, dict)}


def _base(media_type: str) -> str:
    return media_type.partition(";")[0].strip().lower()


def _statuses(raw: _Raw) -> tuple[int, ...]:
    responses = raw.value.get("responses")
    declared = responses if isinstance(responses, dict) else {}
    return tuple(sorted(int(status) for status in declared if re.fullmatch(r"[1-5]\d\d", status)))


def _is_json(media_type: str) -> bool:
    return _base(media_type) == "application/json" or _base(media_type).endswith("+json")


def _media(content: Mapping[str, JsonObject]) -> tuple[str | None, ir.Media]:
    """The media type to use among those offered, and how it is written."""
    for media_type, entry in content.items():
        if _is_json(media_type):
            return media_type, "binary" if _holds_bytes(entry) else "json"
    for media_type, entry in content.items():
        base = _base(media_type)
        if base == "multipart/form-data":
            return media_type, "multipart"
        if base == "application/x-www-form-urlencoded":
            return media_type, "form"
        if base.startswith("text/"):
            return media_type, "text"
        if base in ("*/*", "application/*") and entry.get("schema") and not _holds_bytes(entry):
            return media_type, "json"
        return media_type, "binary"
    return None, "json"


def _holds_bytes(entry: JsonObject) -> bool:
    schema = entry.get("schema")
    return isinstance(schema, dict) and is_binary(schema)


def _wire(media_type: str, media: ir.Media) -> str:
    """The content type to send for a media type, which may be a pattern."""
    if "*" not in media_type:
        return media_type
    return {"json": "application/json", "text": "text/plain"}.get(media, "application/octet-stream")


def _style(named: str, explode: JsonValue) -> ir.Style | None:
    return _STYLES[named, explode if isinstance(explode, bool) else named == "form"]


def _field_style(encoding: JsonValue) -> ir.Style | None:
    """How a member of a form is written, by its entry in `encoding`."""
    if not isinstance(encoding, dict):
        return None
    named = text_of(encoding, "style")
    if named in _ALLOWED["query"]:
        return _style(named, encoding.get("explode"))
    return "json" if _is_json(text_of(encoding, "contentType")) else None


def _description(schema: JsonValue) -> str:
    return text_of(schema, "description") if isinstance(schema, dict) else ""


def _refuses(component: JsonObject, envelope: ir.Envelope) -> bool:
    """Whether a response branch is the one for failures."""
    properties = component.get("properties")
    success = properties.get(envelope.success or "") if isinstance(properties, dict) else None
    return isinstance(success, dict) and success.get("const") is False
