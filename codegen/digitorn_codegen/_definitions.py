"""Gathers the schemas of a contract under the names of the classes they become."""

import re
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

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
    walk,
)
from ._errors import ContractError
from ._names import Scope, pascal
from ._types import modern

REF = "#/components/schemas/"

# Names that the modules of classes import, and those that the modules which import the classes need.
_MODELS = (
    *("Annotated", "Any", "ClassVar", "ConfigDict", "Field", "Literal", "Model", "Renamed", "TypeAlias"),
    *("TypeAliasType", "models"),
)
_EVENTS = ("EventPayload", "EventRegistry", "EventSpec", "EventType", "Final")
_COMMANDS = ("Command", "Final")


Typed: TypeAlias = Callable[[JsonValue, tuple[Path, str], str, ir.Direction], str]
"""Writes the type of a schema whose references are rewritten: where it stands, a hint, and the direction."""


def _untyped(_schema: JsonValue, _place: tuple[Path, str], _hint: str, _direction: ir.Direction) -> str:
    raise NotImplementedError("no compiler reads these definitions")


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
        directions: On which side of a call each is.
        typed: Writes the type of a schema for stubs.
        placed: Module and name of the classes of single schemas, where these do not follow from the place.
    """

    documents: Documents
    modules: dict[Path, ir.Module] = field(default_factory=dict[Path, ir.Module])
    api_is_3_0: bool = False
    found: dict[str, ir.Definition] = field(default_factory=dict[str, ir.Definition])
    origins: dict[str, tuple[Path, str]] = field(default_factory=dict[str, tuple[Path, str]])
    warnings: dict[ir.ContractWarning, None] = field(default_factory=dict[ir.ContractWarning, None])
    directions: dict[str, ir.Direction] = field(default_factory=dict[str, ir.Direction])
    typed: Typed = field(default=_untyped)
    placed: dict[tuple[Path, str], tuple[ir.Module, str]] = field(
        default_factory=dict[tuple[Path, str], tuple[ir.Module, str]]
    )
    _direction: ir.Direction = "response"
    _sided: dict[tuple[Path, str], bool] = field(default_factory=dict[tuple[Path, str], bool])
    _keys: dict[tuple[Path, str, ir.Direction], str] = field(
        default_factory=dict[tuple[Path, str, ir.Direction], str]
    )
    _scopes: dict[ir.Module, Scope] = field(
        default_factory=lambda: {
            "models": Scope.reserving(_MODELS),
            "payloads": Scope.reserving((*_MODELS, *_EVENTS)),
            "messages": Scope.reserving((*_MODELS, *_COMMANDS)),
        }
    )

    def warn(self, name: str, file: Path, pointer: str, text: str) -> None:
        """Notes something that the output cannot express."""
        self.warnings[ir.ContractWarning(name, file, pointer, text)] = None

    def allot(self, scope: Scope, wanted: str, file: Path, pointer: str, holder: str) -> str:
        """A free name in a scope, with a warning when it is not the wanted one."""
        name = scope.allot(wanted, holder)
        if name != wanted:
            text = f"{wanted} is taken by {scope.holder(wanted)}; named {name}"
            self.warn("name-collision", file, pointer, text)
        return name

    def define(self, document: Document, pointer: str, direction: ir.Direction = "response") -> str:
        """Turns the schema at a pointer into a definition, and returns its key, `module.Name`.

        Args:
            document: Where it stands.
            pointer: Where it stands in the document.
            direction: Whether it is sent or received; matters where a member is only read or only written.
        """
        if direction == "request" and not self._is_sided(document, pointer):
            direction = "response"
        origin = (document.path, pointer, direction)
        if origin in self._keys:
            return self._keys[origin]
        module = self.module_of(document.path, pointer)
        schema = document.at(pointer)
        placed = self.placed.get((document.path, pointer))
        wanted = placed[1] if placed is not None else _class_name(document, pointer, schema)
        if direction == "request":
            name = self.made_up(module, f"{wanted}Request", document.path, pointer)
        else:
            holder = f"{document.path.name}#{pointer}"
            name = self.allot(self._scopes[module], wanted, document.path, pointer, holder)
        key = f"{module}.{name}"
        # Noted before the schema is read: it may refer to itself.
        self.origins[key], self._keys[origin] = (document.path, pointer), key
        self.directions[key] = direction
        with self._facing(direction):
            rewritten = self.rewrite(document, pointer, schema)
        if rewritten is False:
            self.warn("impossible-schema", document.path, pointer, f"{name} accepts nothing; it is typed Any")
        self.found[key] = ir.Definition(module, name, rewritten if isinstance(rewritten, dict) else {})
        return key

    @contextmanager
    def _facing(self, direction: ir.Direction) -> Generator[None]:
        before, self._direction = self._direction, direction
        try:
            yield
        finally:
            self._direction = before

    def _is_sided(self, document: Document, pointer: str) -> bool:
        """Whether a member of a schema, or of one that it refers to, is only read or only written."""
        seen: set[tuple[Path, str]] = set()
        waiting = [(document, pointer)]
        while waiting:
            at, where = waiting.pop()
            if (at.path, where) in seen:
                continue
            seen.add((at.path, where))
            known = self._sided.get((at.path, where))
            if known is False:
                continue
            if known:
                self._sided[document.path, pointer] = True
                return True
            for below_it, schema in walk(at.at(where), where):
                if schema.get("readOnly") is True or schema.get("writeOnly") is True:
                    self._sided[document.path, pointer] = True
                    return True
                if isinstance(ref := schema.get("$ref"), str):
                    target = self.documents.resolve(at, below_it, ref)
                    waiting.append((target.document, target.pointer))
        # What these refer to was searched as well.
        self._sided.update(dict.fromkeys(seen, False))
        return False

    def module_of(self, path: Path, pointer: str = "") -> ir.Module:
        """The module that a schema goes to: that of its place, or of one around it, or of its file."""
        while self.placed and pointer:
            if (path, pointer) in self.placed:
                return self.placed[path, pointer][0]
            pointer = pointer.rpartition("/")[0]
        return self.modules.get(path, "models")

    def made_up(self, module: ir.Module, wanted: str, file: Path, pointer: str) -> str:
        """A free name for a class that the contract does not name; a number is no loss there."""
        return self._scopes[module].allot(wanted, f"{file.name}#{pointer}")

    def taken(self) -> Mapping[ir.Module, int]:
        """How many names each module has given out."""
        return {module: len(scope.holders) for module, scope in self._scopes.items()}

    def give_back(self, taken: Mapping[ir.Module, int]) -> None:
        """Takes back the names that were given out since."""
        for module, count in taken.items():
            holders = self._scopes[module].holders
            for name in list(holders)[count:]:
                del holders[name]

    def _is_3_0(self, document: Document) -> bool:
        own = text_of(document.root, "openapi")
        if own:
            return own.startswith("3.0")
        # A file that is a part of an OpenAPI document has its dialect; schemas of events have their own.
        return self.api_is_3_0 and self.module_of(document.path) == "models"

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
        key = self.define(target.document, target.pointer, self._direction)
        return {"$ref": REF + key, **rest}

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
            keys[tag] = REF + self.define(found.document, found.pointer, self._direction)
        return {**value, "mapping": keys}

    def _mapped(self, document: Document, target: str) -> str:
        """The reference that a value of `discriminator.mapping` is; it may be the name of a component."""
        components = document.root.get("components")
        schemas = components.get("schemas") if isinstance(components, dict) else None
        if isinstance(schemas, dict) and target in schemas:
            return f"{REF}{escape(target)}"
        return target

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
        with self._facing(direction):
            rewritten = self.rewrite(document, pointer, schema)
        return self.typed(rewritten, (document.path, pointer), pascal(hint), direction)


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
