"""Reads a contract into its intermediate form, or says what is wrong with it and where."""

import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV30SpecValidator, OpenAPIV31SpecValidator

from . import _ir as ir
from ._documents import (
    Document,
    Documents,
    JsonObject,
    JsonValue,
    escape,
    pointer_of,
    text_of,
    unescape,
    walk,
)
from ._errors import ContractError
from ._names import free_argument, identifier, pascal, snake
from ._settings import Settings
from ._types import Name, expression, is_binary, modern

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_REF = "#/components/schemas/"
_SCHEMA_SUFFIXES = (".json", ".yaml", ".yml")


def load(settings: Settings) -> ir.Contract:
    """Reads the contract that the settings name.

    Raises:
        ContractError: It cannot be generated from.
    """
    return _Loader(settings).load()


@dataclass
class _Loader:
    settings: Settings
    documents: Documents = field(default_factory=Documents)
    definitions: dict[str, ir.Definition] = field(default_factory=dict[str, ir.Definition])
    origins: dict[str, tuple[Path, str]] = field(default_factory=dict[str, tuple[Path, str]])
    names: dict[tuple[Path, str], str] = field(default_factory=dict[tuple[Path, str], str])
    modules: dict[Path, ir.Module] = field(default_factory=dict[Path, ir.Module])
    warnings: list[ir.Warning] = field(default_factory=list[ir.Warning])

    def load(self) -> ir.Contract:
        api = self.documents.get(self.settings.openapi)
        self.modules[api.path] = "models"
        event_documents = self._folder(self.settings.events, "payloads")
        command_documents = self._folder(self.settings.commands, "messages")
        for document in (*event_documents, *command_documents):
            self._check_schema(document)
        self._check_refs((api, *event_documents, *command_documents))
        self._check_operation_ids(api)
        self._check_openapi(api)

        components = cast(
            "JsonObject", cast("JsonObject", api.root.get("components") or {}).get("schemas") or {}
        )
        for name in components:
            self._define(api, f"/components/schemas/{escape(name)}")
        tags = self._tags(api)
        events, envelope, bases = self._events(event_documents)
        commands, command_error, connect = self._commands(command_documents)
        info = cast("JsonObject", api.root["info"])
        return ir.Contract(
            title=text_of(info, "title"),
            version=text_of(info, "version"),
            digest=self._digest(api.path.parent),
            definitions=tuple(self.definitions[key] for key in sorted(self.definitions)),
            tags=tags,
            events=events,
            envelope=envelope,
            commands=commands,
            command_error=command_error,
            connect=connect,
            constants=self._constants(event_documents),
            payload_bases=bases,
            warnings=tuple(self.warnings),
        )

    # --- reading and refusing

    def _folder(self, folder: Path | None, module: ir.Module) -> tuple[Document, ...]:
        if folder is None:
            return ()
        if not folder.is_dir():
            raise ContractError(folder, "", "is no folder of schemas")
        files = sorted(file for file in folder.iterdir() if file.suffix in _SCHEMA_SUFFIXES)
        documents = tuple(self.documents.get(file) for file in files)
        for document in documents:
            self.modules[document.path] = module
        return documents

    def _check_schema(self, document: Document) -> None:
        validator: Any = Draft202012Validator(Draft202012Validator.META_SCHEMA)
        for error in sorted(
            validator.iter_errors(document.root), key=lambda e: (len(e.absolute_path), str(e.absolute_path))
        ):
            raise ContractError(
                document.path, pointer_of(error.absolute_path), f"is not valid JSON Schema: {error.message}"
            )

    def _check_refs(self, documents: Iterable[Document]) -> None:
        for document in documents:
            for pointer, value in walk(document.root):
                ref = value.get("$ref")
                if isinstance(ref, str):
                    self.documents.resolve(document, f"{pointer}/$ref", ref)

    def _check_operation_ids(self, api: Document) -> None:
        seen: dict[str, str] = {}
        for path, method, operation in _operations(api):
            pointer = f"/paths/{escape(path)}/{method}"
            found = operation.get("operationId")
            if not isinstance(found, str) or not found:
                continue
            if found in seen:
                raise ContractError(
                    api.path,
                    f"{pointer}/operationId",
                    f"operationId {found!r} is already that of {seen[found]}",
                )
            seen[found] = f"{method.upper()} {path}"

    def _check_openapi(self, api: Document) -> None:
        version = text_of(api.root, "openapi")
        if re.match(r"3\.0\.\d", version):
            validator: Any = OpenAPIV30SpecValidator
        elif re.match(r"3\.[12]\.\d", version):
            validator = OpenAPIV31SpecValidator
        else:
            raise ContractError(api.path, "/openapi", f"is {version!r}; OpenAPI 3.0 and 3.1 are supported")
        checker: Any = validator(cast("Any", api.root), base_uri=api.path.as_uri())
        for error in checker.iter_errors():
            raise ContractError(
                api.path,
                pointer_of(getattr(error, "absolute_path", ())),
                f"is not valid OpenAPI: {_short(error)}",
            )

    def _digest(self, root: Path) -> str:
        digest = hashlib.sha256()
        for path in sorted(self.documents.paths()):
            shown = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
            digest.update(shown.as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
        return digest.hexdigest()[:16]

    # --- definitions

    def _module(self, document: Document) -> ir.Module:
        return self.modules.get(document.path, "models")

    def _define(self, document: Document, pointer: str) -> str:
        """Makes what stands at a pointer a definition and answers its key, `module.Name`."""
        origin = (document.path, pointer)
        if origin in self.names:
            return self.names[origin]
        module = self._module(document)
        schema = document.at(pointer)
        key = self._free_key(document, pointer, f"{module}.{_class_name(document, pointer, schema)}")
        self.origins[key], self.names[origin] = origin, key
        rewritten = self._rewrite(document, pointer, schema)
        body: JsonObject = rewritten if isinstance(rewritten, dict) else {}
        self.definitions[key] = ir.Definition(module, key.partition(".")[2], body)
        return key

    def _free_key(self, document: Document, pointer: str, key: str) -> str:
        if key not in self.origins:
            return key
        other, where = self.origins[key]
        name = key.partition(".")[2]
        if not key.startswith("models."):
            raise ContractError(
                document.path, pointer, f"the class name {name!r} is already that of {other.name}#{where}"
            )
        number = next(n for n in itertools.count(2) if f"{key}{n}" not in self.origins)
        self._warn("name-collision", document, pointer, f"{name} is taken by #{where}; named {name}{number}")
        return f"{key}{number}"

    def _warn(self, name: str, document: Document, pointer: str, text: str) -> None:
        self.warnings.append(ir.Warning(name, document.path, pointer, text))

    def _rewrite(self, document: Document, pointer: str, value: JsonValue) -> JsonValue:
        """A copy in which every reference names a definition."""
        if isinstance(value, list):
            return [self._rewrite(document, f"{pointer}/{i}", below) for i, below in enumerate(value)]
        if not isinstance(value, dict):
            return value
        ref = value.get("$ref")
        if isinstance(ref, str):
            target = self.documents.resolve(document, pointer, ref)
            beside = {key: below for key, below in value.items() if key not in ("$ref", "summary")}
            if _is_3_0(document):
                # There, what stands beside a reference is ignored.
                beside = {}
            return {
                "$ref": _REF + self._define(target.document, target.pointer),
                **{k: self._rewrite(document, f"{pointer}/{escape(k)}", v) for k, v in beside.items()},
            }
        rewritten = {
            key: self._rewrite(document, f"{pointer}/{escape(key)}", below)
            for key, below in value.items()
            if key != "$defs" and not (pointer == "" and key in ("$schema", "$id"))
        }
        return modern(rewritten) if _is_3_0(document) else rewritten

    def _hoister(self, document: Document) -> Name:
        def name(schema: JsonObject, hint: str) -> str:
            key = f"{self._module(document)}.{pascal(hint)}"
            number = 1
            while key in self.definitions and self.definitions[key].schema != schema:
                number += 1
                key = f"{self._module(document)}.{pascal(hint)}{number}"
            self.definitions[key] = ir.Definition(self._module(document), key.partition(".")[2], schema)
            return key

        return name

    def _type(self, document: Document, pointer: str, schema: JsonValue, hint: str) -> str:
        rewritten = self._rewrite(document, pointer, schema)
        return expression(rewritten, self._hoister(document), hint)

    # --- operations

    def _tags(self, api: Document) -> tuple[ir.Tag, ...]:
        described = {
            text_of(tag, "name"): text_of(tag, "description")
            for tag in cast("list[JsonObject]", api.root.get("tags") or [])
        }
        grouped: dict[str, list[ir.Operation]] = {name: [] for name in described}
        for path, method, raw in _operations(api):
            operation = self._operation(api, path, method, raw)
            grouped.setdefault(operation.tag, []).append(operation)
        return tuple(
            ir.Tag(name, described.get(name, ""), tuple(sorted(operations, key=lambda o: o.id)))
            for name, operations in sorted(grouped.items())
            if operations
        )

    def _operation(self, api: Document, path: str, method: str, raw: JsonObject) -> ir.Operation:
        pointer = f"/paths/{escape(path)}/{method}"
        id_ = text_of(raw, "operationId") or snake(f"{method} {path}")
        tags = raw.get("tags")
        tag = str(tags[0]) if isinstance(tags, list) and tags else "default"
        parameters = self._parameters(api, path, pointer, raw, id_)
        declared = set(re.findall(r"\{([^}]+)\}", path))
        for name in sorted(declared - {p.name for p in parameters if p.location == "path"}):
            raise ContractError(api.path, pointer, f"path parameter {name!r} of {path} is not declared")
        security = raw.get("security", api.root.get("security"))
        return ir.Operation(
            id=snake(id_),
            method=method.upper(),
            path=path,
            tag=tag,
            summary=text_of(raw, "summary"),
            description=text_of(raw, "description"),
            parameters=parameters,
            body=self._body(api, pointer, raw, id_, {p.argument for p in parameters}),
            result=self._result(api, pointer, raw, id_),
            authenticated=bool(security),
        )

    def _parameters(
        self, api: Document, path: str, pointer: str, raw: JsonObject, id_: str
    ) -> tuple[ir.Parameter, ...]:
        paths = cast("dict[str, JsonObject]", api.root["paths"])
        merged: dict[tuple[str, str], ir.Parameter] = {}
        taken: set[str] = set()
        shared = ((f"/paths/{escape(path)}/parameters", paths[path].get("parameters")),)
        for where, listed in (*shared, (f"{pointer}/parameters", raw.get("parameters"))):
            for index, item in enumerate(cast("list[JsonObject]", listed or [])):
                document, at, parameter = self._follow(api, f"{where}/{index}", item)
                name, location = text_of(parameter, "name"), text_of(parameter, "in")
                schema = parameter.get("schema", {})
                merged[name, location] = ir.Parameter(
                    name=name,
                    argument=free_argument(name, location, taken),
                    location=cast("ir.Location", location),
                    type=self._type(document, f"{at}/schema", schema, f"{pascal(id_)}{pascal(name)}"),
                    required=location == "path" or parameter.get("required") is True,
                    description=text_of(parameter, "description") or _description(schema),
                    spans_segments=parameter.get("x-path-segments") is True,
                )
                taken.add(merged[name, location].argument)
        return tuple(merged.values())

    def _follow(
        self, document: Document, pointer: str, value: JsonObject
    ) -> tuple[Document, str, JsonObject]:
        """Where a value that may be a reference really stands."""
        while isinstance(ref := value.get("$ref"), str):
            target = self.documents.resolve(document, pointer, ref)
            document, pointer, value = target.document, target.pointer, cast("JsonObject", target.value)
        return document, pointer, value

    def _body(
        self, api: Document, pointer: str, raw: JsonObject, id_: str, taken: set[str]
    ) -> ir.Body | None:
        found = raw.get("requestBody")
        if not isinstance(found, dict):
            return None
        document, at, body = self._follow(api, f"{pointer}/requestBody", found)
        content = cast("dict[str, JsonObject]", body.get("content") or {})
        media_type, media = _media(content)
        if media_type is None:
            return None
        schema = content[media_type].get("schema", {})
        here = f"{at}/content/{escape(media_type)}/schema"
        required = body.get("required") is True
        if media in ("binary", "text"):
            type_ = "bytes" if media == "binary" else "str"
            return ir.Body(media, (), type_, required, extra=False)
        flat = self._flatten(document, here, schema)
        if flat is None:
            whole = self._type(document, here, schema, f"{pascal(id_)}Body")
            return ir.Body(media, (), whole, required, extra=False)
        fields = [
            self._field(
                owner, where, name, member, name in flat.required, f"{pascal(id_)}{pascal(name)}", taken
            )
            for name, (owner, where, member) in flat.members.items()
        ]
        ordered = sorted(fields, key=lambda f: not f.required)
        return ir.Body(media, tuple(ordered), None, required, extra=flat.extra)

    def _field(
        self,
        document: Document,
        pointer: str,
        name: str,
        schema: JsonValue,
        required: bool,
        hint: str,
        taken: set[str],
    ) -> ir.BodyField:
        found = free_argument(name, "body", taken)
        taken.add(found)
        return ir.BodyField(
            name=name,
            argument=found,
            type=self._type(document, pointer, schema, hint),
            required=required,
            description=_description(schema),
            is_file=isinstance(schema, dict) and is_binary(schema),
        )

    def _flatten(self, document: Document, pointer: str, schema: JsonValue) -> "_Members | None":
        """The members of an object schema, those of its `allOf` parts included; None if it is no object."""
        if not isinstance(schema, dict):
            return None
        document, pointer, schema = self._follow(document, pointer, schema)
        for key in ("anyOf", "oneOf"):
            branches = schema.get(key)
            if isinstance(branches, list):
                real = [(i, b) for i, b in enumerate(branches) if b != {"type": "null"}]
                if len(real) == 1:
                    return self._flatten(document, f"{pointer}/{key}/{real[0][0]}", real[0][1])
                return None
        properties = schema.get("properties")
        parts = schema.get("allOf")
        if not isinstance(properties, dict) and not isinstance(parts, list):
            return None
        members = _Members({}, set(), extra=schema.get("additionalProperties") is True)
        for index, part in enumerate(parts if isinstance(parts, list) else []):
            below = self._flatten(document, f"{pointer}/allOf/{index}", part)
            if below is None:
                return None
            members.members.update(below.members)
            members.required |= below.required
            members.extra |= below.extra
        for name, member in (properties or {}).items() if isinstance(properties, dict) else ():
            members.members[name] = (document, f"{pointer}/properties/{escape(name)}", member)
        members.required |= set(cast("list[str]", schema.get("required") or []))
        return members

    def _result(self, api: Document, pointer: str, raw: JsonObject, id_: str) -> ir.Result:
        responses = cast("dict[str, JsonObject]", raw.get("responses") or {})
        good = sorted(status for status in responses if re.fullmatch(r"2\d\d|2XX", status))
        for status in good:
            document, at, response = self._follow(api, f"{pointer}/responses/{status}", responses[status])
            content = cast("dict[str, JsonObject]", response.get("content") or {})
            media_type, media = _media(content)
            if media_type is None:
                continue
            if media == "text":
                return ir.Result("text", "str", None)
            if media != "json":
                return ir.Result("bytes", "bytes", None)
            schema = content[media_type].get("schema", {})
            here = f"{at}/content/{escape(media_type)}/schema"
            envelope, where, data = self._unwrap(document, here, schema)
            return ir.Result("json", self._type(document, where, data, f"{pascal(id_)}Result"), envelope)
        return ir.Result("none", "None", None)

    def _unwrap(
        self, document: Document, pointer: str, schema: JsonValue
    ) -> tuple[ir.Envelope | None, str, JsonValue]:
        """The envelope of a response, and where the schema of the result inside it stands."""
        if not isinstance(schema, dict):
            return None, pointer, schema
        branches = schema.get("oneOf")
        for index, branch in enumerate(branches if isinstance(branches, list) else []):
            envelope, where, data = self._unwrap(document, f"{pointer}/oneOf/{index}", branch)
            if envelope is None:
                continue
            component = self._follow(document, pointer, cast("JsonObject", branch))[2]
            if not _refuses(component, envelope):
                return envelope, where, data
        if not isinstance(schema.get("$ref"), str):
            return None, pointer, schema
        _, at, component = self._follow(document, pointer, schema)
        declared = component.get("x-envelope")
        if not isinstance(declared, dict):
            return None, pointer, schema
        envelope = ir.Envelope(
            text_of(declared, "data"),
            text_of(declared, "success") or None,
            text_of(declared, "error") or None,
        )
        own = schema.get("properties")
        if isinstance(own, dict) and envelope.data in own:
            return envelope, f"{pointer}/properties/{envelope.data}", own[envelope.data]
        inherited = cast("JsonObject", component.get("properties") or {})
        return envelope, f"{at}/properties/{envelope.data}", inherited.get(envelope.data, {})

    # --- events and commands

    def _events(
        self, documents: tuple[Document, ...]
    ) -> tuple[tuple[ir.Event, ...], ir.EventEnvelope | None, frozenset[str]]:
        events: list[ir.Event] = []
        envelope: ir.EventEnvelope | None = None
        bases: set[str] = set()
        seen: dict[tuple[str, str | None], Document] = {}
        for document in documents:
            root = document.root
            if root.get("x-event-envelope") is True:
                envelope = self._envelope(document)
                continue
            wire = root.get("x-event-type")
            if not isinstance(wire, str) or not wire:
                if (
                    set(root) <= {"$schema", "$id", "$comment", "title", "description", "$defs"}
                    and "$defs" in root
                ):
                    continue
                raise ContractError(
                    document.path,
                    "",
                    "names no event: 'x-event-type' is missing (a file of shared $defs needs none)",
                )
            variant = root.get("x-event-variant")
            variant_key = text_of(variant, "requires") or None if isinstance(variant, dict) else None
            if (wire, variant_key) in seen:
                other = seen[wire, variant_key].path.name
                raise ContractError(
                    document.path, "/x-event-type", f"event {wire!r} is already that of {other}"
                )
            seen[wire, variant_key] = document
            if root.get("type") != "object":
                raise ContractError(
                    document.path, "/type", "an event payload is an object: 'type' must be \"object\""
                )
            key = self._define(document, "")
            bases.add(key)
            bases |= {k for k in self._parents(key) if k.startswith("payloads.")}
            summary = text_of(root, "description")
            enveloped = root.get("x-event-enveloped") is not False
            events.append(ir.Event(wire, key.partition(".")[2], summary, variant_key, enveloped))
        ordered = sorted(events, key=lambda e: (e.wire, e.variant_key is None, e.variant_key or ""))
        if events and envelope is None:
            folder = documents[0].path.parent
            raise ContractError(
                folder, "", "holds events but no envelope: mark one schema with 'x-event-envelope': true"
            )
        return tuple(ordered), envelope, frozenset(bases)

    def _parents(self, key: str) -> Iterator[str]:
        for part in cast("list[JsonObject]", self.definitions[key].schema.get("allOf") or []):
            ref = part.get("$ref")
            if isinstance(ref, str):
                yield ref.removeprefix(_REF)
                yield from self._parents(ref.removeprefix(_REF))

    def _envelope(self, document: Document) -> ir.EventEnvelope:
        key = self._define(document, "")
        socketio = cast("JsonObject", document.root.get("x-socketio") or {})
        lifted = cast("dict[str, str]", document.root.get("x-event-lifted") or {})
        properties = cast("JsonObject", document.root.get("properties") or {})
        for payload_key, envelope_key in lifted.items():
            if envelope_key not in properties:
                raise ContractError(
                    document.path,
                    f"/x-event-lifted/{escape(payload_key)}",
                    f"the envelope has no {envelope_key!r}",
                )
        return ir.EventEnvelope(
            name=key.partition(".")[2],
            namespace=text_of(socketio, "namespace") or "/",
            push=text_of(socketio, "event") or "event",
            lifted=lifted,
        )

    def _commands(
        self, documents: tuple[Document, ...]
    ) -> tuple[tuple[ir.Command, ...], str | None, str | None]:
        commands: list[ir.Command] = []
        error: str | None = None
        connect: str | None = None
        for document in documents:
            root = document.root
            definitions = list(cast("JsonObject", root.get("$defs") or {}))
            if root.get("x-command-error") is True:
                error = self._define(document, "")
                continue
            keys = [self._define(document, f"/$defs/{escape(name)}") for name in definitions]
            if root.get("x-connect") is True:
                connect = keys[0] if keys else None
                continue
            wire = root.get("x-command")
            if not isinstance(wire, str) or not wire:
                raise ContractError(document.path, "", "names no command: 'x-command' is missing")
            named = {
                suffix: next((k for k in keys if k.endswith(suffix)), None) for suffix in ("Request", "Ack")
            }
            if named["Request"] is None or named["Ack"] is None:
                raise ContractError(
                    document.path, "/$defs", "a command has a …Request and an …Ack definition"
                )
            commands.append(
                ir.Command(
                    wire=wire,
                    namespace=text_of(root, "x-namespace") or "/",
                    name=pascal(wire),
                    summary=text_of(root, "description"),
                    request=named["Request"],
                    ack=named["Ack"],
                )
            )
        return tuple(sorted(commands, key=lambda c: c.wire)), error, connect

    def _constants(self, documents: tuple[Document, ...]) -> dict[str, tuple[str, ...]]:
        constants: dict[str, tuple[str, ...]] = {}
        for document in documents:
            for name, values in cast("dict[str, list[str]]", document.root.get("x-constants") or {}).items():
                constants[identifier(name)] = tuple(values)
        return dict(sorted(constants.items()))


def _is_3_0(document: Document) -> bool:
    return text_of(document.root, "openapi").startswith("3.0")


def _class_name(document: Document, pointer: str, schema: JsonValue) -> str:
    """What the class of the schema at a pointer is called."""
    steps = [unescape(step) for step in pointer.split("/")[1:]]
    if not steps:
        title = text_of(schema, "title") if isinstance(schema, dict) else ""
        return pascal(title or document.path.stem)
    if steps[:-1] in (["components", "schemas"], ["$defs"], ["definitions"]):
        return pascal(steps[-1])
    # Deep inside a document: the steps that people named, without those of the grammar.
    named = [step for step in steps if step not in _GRAMMAR and not step.isdigit()]
    return pascal("_".join(named)) if named else pascal("_".join(steps))


_GRAMMAR = frozenset(
    {
        *("$defs", "definitions", "properties", "items", "allOf", "anyOf", "oneOf", "additionalProperties"),
        *("components", "schemas", "paths", "responses", "requestBody", "requestBodies", "parameters"),
        *("content", "schema", "application/json"),
    }
)


@dataclass
class _Members:
    members: dict[str, tuple[Document, str, JsonValue]]
    required: set[str]
    extra: bool


def _operations(api: Document) -> Iterator[tuple[str, str, JsonObject]]:
    paths = api.root.get("paths")
    for path, item in (paths if isinstance(paths, dict) else {}).items():
        if not isinstance(item, dict):
            continue
        for method in _METHODS:
            operation = item.get(method)
            if isinstance(operation, dict):
                yield path, method, operation


def _media(content: dict[str, JsonObject]) -> tuple[str | None, ir.Media]:
    """The media type to use among those offered, and how it is written."""
    for media_type in content:
        base = media_type.partition(";")[0].strip().lower()
        if base == "application/json" or base.endswith("+json"):
            return media_type, "json"
    for media_type in content:
        base = media_type.partition(";")[0].strip().lower()
        if base == "multipart/form-data":
            return media_type, "multipart"
        if base == "application/x-www-form-urlencoded":
            return media_type, "form"
        if base.startswith("text/"):
            return media_type, "text"
        return media_type, "binary"
    return None, "json"


def _description(schema: JsonValue) -> str:
    return text_of(schema, "description") if isinstance(schema, dict) else ""


def _refuses(component: JsonObject, envelope: ir.Envelope) -> bool:
    """Whether a response branch is the one for failures."""
    success = cast("JsonObject", component.get("properties") or {}).get(envelope.success or "")
    return isinstance(success, dict) and success.get("const") is False


def _short(error: object) -> str:
    message = str(getattr(error, "message", error)).splitlines()[0]
    return message if len(message) <= 200 else message[:197] + "..."
