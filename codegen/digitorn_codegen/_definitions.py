"""Gathers the schemas of a contract under the names of the classes they become."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from . import _ir as ir
from ._documents import (
    Document,
    Documents,
    JsonObject,
    JsonValue,
    below,
    escape,
    text_of,
    unescape,
)
from ._errors import ContractError
from ._names import Scope, pascal
from ._types import expression, modern

REF = "#/components/schemas/"

# Names that the modules of classes import, and those that the modules which import the classes need.
_MODELS = (
    "Annotated",
    "Any",
    "ConfigDict",
    "Field",
    "Literal",
    "Model",
    "RootModel",
    "TypeAlias",
    "TypeAliasType",
)
_EVENTS = ("EventPayload", "EventRegistry", "EventSpec", "EventType", "Final")
_COMMANDS = ("Command", "Final")


@dataclass
class Definitions:
    """Every schema that becomes a class or an alias, and what was noticed on the way.

    Attributes:
        documents: The files of the contract.
        modules: The module that a file's schemas go to, if not `models`.
        api_is_3_0: Whether the OpenAPI document has the schema dialect of 3.0.
        found: The definitions by key.
        origins: Where each stands.
        warnings: Parts of the contract that the output cannot express.
        placed: Module and name of the classes of single schemas, where these do not follow from the place.
    """

    documents: Documents
    modules: dict[Path, ir.Module] = field(default_factory=dict[Path, ir.Module])
    api_is_3_0: bool = False
    found: dict[str, ir.Definition] = field(default_factory=dict[str, ir.Definition])
    origins: dict[str, tuple[Path, str]] = field(default_factory=dict[str, tuple[Path, str]])
    warnings: list[ir.ContractWarning] = field(default_factory=list[ir.ContractWarning])
    placed: dict[tuple[Path, str], tuple[ir.Module, str]] = field(
        default_factory=dict[tuple[Path, str], tuple[ir.Module, str]]
    )
    _keys: dict[tuple[Path, str], str] = field(default_factory=dict[tuple[Path, str], str])
    _scopes: dict[ir.Module, Scope] = field(
        default_factory=lambda: {
            "models": Scope.reserving(_MODELS),
            "payloads": Scope.reserving((*_MODELS, *_EVENTS)),
            "messages": Scope.reserving((*_MODELS, *_COMMANDS)),
        }
    )

    def warn(self, name: str, file: Path, pointer: str, text: str) -> None:
        """Notes something that the output cannot express."""
        warning = ir.ContractWarning(name, file, pointer, text)
        if warning not in self.warnings:
            self.warnings.append(warning)

    def allot(self, scope: Scope, wanted: str, file: Path, pointer: str, holder: str) -> str:
        """A free name in a scope, with a warning when it is not the wanted one."""
        name = scope.allot(wanted, holder)
        if name != wanted:
            text = f"{wanted} is taken by {scope.holder(wanted)}; named {name}"
            self.warn("name-collision", file, pointer, text)
        return name

    def define(self, document: Document, pointer: str) -> str:
        """Turns the schema at a pointer into a definition, and returns its key, `module.Name`.

        Raises:
            ContractError: Its name is taken and must not change.
        """
        origin = (document.path, pointer)
        if origin in self._keys:
            return self._keys[origin]
        schema = document.at(pointer)
        module, wanted = self.placed.get(origin) or (
            self._module(document),
            _class_name(document, pointer, schema),
        )
        name = self._class_name(document, pointer, module, wanted)
        key = f"{module}.{name}"
        # Noted before the schema is read: it may refer to itself.
        self.origins[key], self._keys[origin] = origin, key
        rewritten = self.rewrite(document, pointer, schema)
        if rewritten is False:
            self.warn("impossible-schema", document.path, pointer, f"{name} accepts nothing; it is typed Any")
        self.found[key] = ir.Definition(module, name, rewritten if isinstance(rewritten, dict) else {})
        return key

    def _class_name(self, document: Document, pointer: str, module: ir.Module, wanted: str) -> str:
        scope = self._scopes[module]
        holder = scope.holders.get(wanted)
        if holder is not None and module != "models":
            raise ContractError(
                document.path, pointer, f"the class name {wanted!r} is already that of {holder}"
            )
        return self.allot(scope, wanted, document.path, pointer, f"{document.path.name}#{pointer}")

    def _module(self, document: Document) -> ir.Module:
        return self.modules.get(document.path, "models")

    def _is_3_0(self, document: Document) -> bool:
        own = text_of(document.root, "openapi")
        if own:
            return own.startswith("3.0")
        # A file that is a part of an OpenAPI document has its dialect; schemas of events have their own.
        return self.api_is_3_0 and self._module(document) == "models"

    def rewrite(self, document: Document, pointer: str, value: JsonValue, table: bool = False) -> JsonValue:
        """A copy of a schema in which every reference names a definition.

        Raises:
            ContractError: A reference leads nowhere.
        """
        if isinstance(value, list):
            return [self.rewrite(document, f"{pointer}/{i}", item) for i, item in enumerate(value)]
        if not isinstance(value, dict):
            return value
        if not table and isinstance(ref := value.get("$ref"), str):
            return self._reference(document, pointer, value, ref)
        return self._object(document, pointer, value, table)

    def _reference(self, document: Document, pointer: str, value: JsonObject, ref: str) -> JsonValue:
        target = self.documents.resolve(document, pointer, ref)
        if isinstance(target.value, bool):
            return {} if target.value else {"not": {}}
        if not isinstance(target.value, dict):
            raise ContractError(document.path, pointer, f"$ref {ref!r} points at no schema")
        # In 3.0, siblings of a reference are ignored.
        kept = {} if self._is_3_0(document) else value
        beside = {key: member for key, member in kept.items() if key not in ("$ref", "summary")}
        rest = self._object(document, pointer, beside, table=False)
        return {"$ref": REF + self.define(target.document, target.pointer), **rest}

    def _object(self, document: Document, pointer: str, value: JsonObject, table: bool) -> JsonObject:
        found = dict(value)
        for key, member, is_table in below(value, table):
            found[key] = self.rewrite(document, f"{pointer}/{escape(key)}", member, is_table)
        if table:
            return found
        for key in ("$defs", *(("$schema", "$id") if pointer == "" else ())):
            found.pop(key, None)
        if isinstance(tags := value.get("discriminator"), dict):
            found["discriminator"] = self._discriminator(document, f"{pointer}/discriminator", tags)
            if found["discriminator"] is None:
                del found["discriminator"]
        return modern(found) if self._is_3_0(document) else found

    def _discriminator(self, document: Document, pointer: str, value: JsonObject) -> JsonValue:
        mapping = value.get("mapping")
        if not isinstance(mapping, dict):
            return value
        keys: JsonObject = {}
        for tag, target in mapping.items():
            where = f"{pointer}/mapping/{escape(tag)}"
            try:
                found = self.documents.resolve(document, where, self._mapped(document, str(target)))
            except ContractError as error:
                # A mapping is only a hint. If part of it is wrong, the whole mapping is ignored.
                self.warn("mapping-dropped", document.path, where, error.reason)
                return None
            keys[tag] = REF + self.define(found.document, found.pointer)
        return {**value, "mapping": keys}

    def _mapped(self, document: Document, target: str) -> str:
        """The reference that a value of `discriminator.mapping` is; it may be the name of a component."""
        components = document.root.get("components")
        schemas = components.get("schemas") if isinstance(components, dict) else None
        if isinstance(schemas, dict) and target in schemas:
            return f"{REF}{escape(target)}"
        return target

    def hoist(self, document: Document, schema: JsonObject, hint: str, pointer: str) -> str:
        """The key of a class for a schema that only a class can express.

        Args:
            document: Where it stands.
            schema: The schema, rewritten.
            hint: What to call the class.
            pointer: Where it stands in the document.
        """
        module = self._module(document)
        scope = self._scopes[module]
        wanted = pascal(hint)
        same = self.found.get(f"{module}.{wanted}")
        if same is not None and same.schema == schema:
            return same.key
        # A number is no loss here: the name is made up.
        name = scope.allot(wanted, f"{document.path.name}#{pointer}")
        key = f"{module}.{name}"
        self.found[key] = ir.Definition(module, name, schema)
        self.origins[key] = (document.path, pointer)
        return key

    def type_of(
        self,
        document: Document,
        pointer: str,
        schema: JsonValue,
        hint: str,
        direction: ir.Direction = "response",
    ) -> str:
        """The type expression of a schema; creates a class if the schema needs one.

        Args:
            document: Where it stands.
            pointer: Where it stands in the document.
            schema: The schema.
            hint: What to call a class for it.
            direction: Whether it is sent or received.
        """

        def name(found: JsonObject, wanted: str) -> str:
            return "_" + self.hoist(document, found, wanted, pointer)

        return expression(self.rewrite(document, pointer, schema), name, hint)

    def inherited(self, key: str) -> Iterable[str]:
        """The keys of the definitions that one extends, near ones first, each once."""
        visited: dict[str, None] = {}
        waiting = [key]
        while waiting:
            parts = self.found[waiting.pop(0)].schema.get("allOf")
            for part in parts if isinstance(parts, list) else []:
                parent = text_of(part, "$ref").removeprefix(REF) if isinstance(part, dict) else ""
                if parent in self.found and parent not in visited:
                    visited[parent] = None
                    waiting.append(parent)
        return visited


def _class_name(document: Document, pointer: str, schema: JsonValue) -> str:
    """What the class of the schema at a pointer is called."""
    steps = [unescape(step) for step in pointer.split("/")[1:]]
    if not steps:
        title = text_of(schema, "title") if isinstance(schema, dict) else ""
        return pascal(title or document.path.stem)
    if steps[:-1] in (["components", "schemas"], ["$defs"], ["definitions"]):
        return pascal(steps[-1])
    # Deep inside a document: the steps that people named, without those of the grammar.
    named = [step for step in steps if step not in _GRAMMAR and not re.fullmatch(r"\d+", step)]
    return pascal("_".join(named or steps))


_GRAMMAR = frozenset(
    {
        *("$defs", "definitions", "properties", "items", "allOf", "anyOf", "oneOf", "additionalProperties"),
        *("components", "schemas", "paths", "responses", "requestBody", "requestBodies", "parameters"),
        *("content", "schema", "application/json"),
    }
)
