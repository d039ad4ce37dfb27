"""Reads the operations of an OpenAPI document."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from . import _ir as ir
from ._bodies import BodyReader
from ._definitions import Definitions
from ._documents import Document, JsonObject, Target, escape, text_of
from ._errors import ContractError
from ._names import Scope, attribute, method, pascal
from ._parameters import Listed, ParameterReader
from ._results import ResultReader

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


@dataclass(frozen=True)
class _Raw:
    """One operation as the document has it."""

    document: Document
    pointer: str
    path: str
    method: str
    value: JsonObject
    shared: tuple[Listed, ...]
    holders: tuple[tuple[Document, str, JsonObject], ...]


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

    def __post_init__(self) -> None:
        self._parameters = ParameterReader(self.definitions)
        self._bodies = BodyReader(self.definitions, self.definitions.api_is_3_0)
        self._results = ResultReader(self.definitions)

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
            (
                *("Any", "Api", "AsyncStream", "FileContent", "Int", "Literal", "Mapping"),
                *("NotGiven", "Stream", "Transport", "overload"),
            )
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

    def _described(self) -> dict[str, str]:
        tags = self.api.root.get("tags")
        described: dict[str, str] = {}
        for index, tag in enumerate(tags if isinstance(tags, list) else []):
            if isinstance(tag, dict):
                name = text_of(tag, "name")
                if name in described:
                    text = f"the tag {name!r} stands twice; the first description is used"
                    self.definitions.warn("tag-repeated", self.api.path, f"/tags/{index}", text)
                described.setdefault(name, text_of(tag, "description"))
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
                        holders = (*layers, (document, f"{pointer}/{name}", operation))
                        yield _Raw(document, f"{pointer}/{name}", path, name, operation, shared, holders)
                        break

    def _layers(self, path: str, item: JsonObject) -> Iterator[tuple[Document, str, JsonObject]]:
        pointer = f"/paths/{escape(path)}"
        if "$ref" in item:
            target = self.definitions.documents.follow(self.api, pointer, item)
            yield target.document, target.pointer, target.value_object
        yield self.api, pointer, {key: value for key, value in item.items() if key != "$ref"}

    def _servers(self, holders: Iterable[tuple[Document, str, JsonObject]]) -> tuple[str, ...]:
        """The URLs of an operation that has servers of its own, or whose path has."""
        found: tuple[str, ...] = ()
        for document, pointer, holder in holders:
            servers = holder.get("servers")
            urls = [
                self._url(document, f"{pointer}/servers/{index}", one)
                for index, one in enumerate(servers if isinstance(servers, list) else [])
                if isinstance(one, dict)
            ]
            # The nearer list replaces the others.
            found = tuple(urls) or found
        return () if found == self.servers() else found

    def _url(self, document: Document, pointer: str, server: JsonObject) -> str:
        """The URL of a server; its variables have their default values."""
        url, variables = text_of(server, "url"), server.get("variables")
        for name, variable in variables.items() if isinstance(variables, dict) else ():
            if isinstance(variable, dict):
                url = url.replace("{" + name + "}", text_of(variable, "default"))
                text = f"{name!r} always has its default value, {text_of(variable, 'default')!r}"
                self.definitions.warn(
                    "server-variable", document.path, f"{pointer}/variables/{escape(name)}", text
                )
        return url

    def servers(self) -> tuple[str, ...]:
        """The URLs of the servers of the document."""
        listed = self.api.root.get("servers")
        return tuple(
            self._url(self.api, f"/servers/{index}", one)
            for index, one in enumerate(listed if isinstance(listed, list) else [])
            if isinstance(one, dict)
        )

    # --- reading one

    def _operation(self, raw: _Raw) -> ir.OperationSpec:
        wanted = text_of(raw.value, "operationId") or f"{raw.method} {raw.path}"
        title = f"{raw.method.upper()} {raw.path}"
        id_ = self.definitions.allot(self._ids, method(wanted), raw.document.path, raw.pointer, title)
        arguments = {"extra_body", "body"}
        own = (raw.document, f"{raw.pointer}/parameters", raw.value.get("parameters"))
        parameters = self._parameters.read((*raw.shared, own), wanted, arguments)
        declared = set(re.findall(r"\{([^}]+)\}", raw.path))
        for name in sorted(declared ^ {p.name for p in parameters if p.location == "path"}):
            fault = "is not declared" if name in declared else "is declared, and not there"
            raise ContractError(
                raw.document.path, raw.pointer, f"path parameter {name!r} of {raw.path} {fault}"
            )
        callbacks = raw.value.get("callbacks")
        for name in callbacks if isinstance(callbacks, dict) else ():
            at = f"{raw.pointer}/callbacks/{escape(name)}"
            self.definitions.warn(
                "callback-ignored", raw.document.path, at, "what the server calls back is not generated"
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
            body=self._bodies.read(_part(raw, "requestBody"), wanted, arguments),
            result=self._results.read(raw.method, _part(raw, "responses"), wanted),
            authenticated=bool(security),
            credentials_optional=isinstance(security, list) and {} in security,
            statuses=_statuses(raw),
            servers=self._servers(raw.holders),
        )


def _tag(operation: JsonObject) -> str:
    tags = operation.get("tags")
    return str(tags[0]) if isinstance(tags, list) and tags else "default"


def _part(raw: _Raw, key: str) -> Target:
    """One member of an operation."""
    return Target(raw.document, f"{raw.pointer}/{key}", raw.value.get(key))


def _statuses(raw: _Raw) -> tuple[int, ...]:
    responses = raw.value.get("responses")
    declared = responses if isinstance(responses, dict) else {}
    return tuple(sorted(int(status) for status in declared if re.fullmatch(r"[1-5]\d\d", status)))
