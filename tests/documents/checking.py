"""Holds a generated client against the document that it was generated of."""

import dataclasses
import importlib
import json
import random
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from pydantic import BaseModel, ConfigDict, RootModel, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from digitorn_codegen import ContractError, Settings, generate
from digitorn_codegen._contract import load
from documents.examples import Maker, mutations
from documents.oracle import Oracle, Side
from documents.shapes import Json, JsonObject, as_object, as_text, at, escape, same, short

FaultKind: TypeAlias = Literal[
    "crash",
    "refusal",
    "no class",
    "members",
    "required",
    "unusable",
    "refuses",
    "accepts",
    "overlap",
    "written",
    "mypy",
    "timeout",
]

_MOST_SHOWN = 3
"""Faults of a kind that are kept for one place."""


@dataclass(frozen=True)
class Fault:
    """Something that is wrong with a client.

    Attributes:
        kind: What sort of fault.
        place: The schema or the operation, as a JSON pointer or as method and path.
        cause: The keyword, the class or the message that it comes from: faults of one cause are one.
        text: What was expected and seen.
        value: The value that shows it, if there is one.
    """

    kind: FaultKind
    place: str
    cause: str
    text: str
    value: Json = None


@dataclass(frozen=True)
class Effort:
    """How much is tried.

    Attributes:
        schemas: For how many schemas values are tried; of more, a fixed choice is taken.
        values: Values made for each.
        mutations: Changes tried for each.
    """

    schemas: int = 300
    values: int = 4
    mutations: int = 10


_LITTLE = Effort(schemas=0, values=2, mutations=2)
"""For schemas that were not chosen, and for results, most of which are components."""


@dataclass
class Findings:
    """What was found out about one document.

    Attributes:
        refusal: Why the generator refused the document, if it did.
        counts: How much was compared.
        excused: How often a value that should be refused was accepted under a warning of a name.
    """

    refusal: str | None = None
    faults: list[Fault] = field(default_factory=list[Fault])
    counts: Counter[str] = field(default_factory=Counter[str])
    excused: Counter[str] = field(default_factory=Counter[str])
    warnings: int = 0
    _seen: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])

    def add(self, fault: Fault) -> None:
        """Notes a fault, unless there are enough of its cause."""
        self._seen[fault.kind, fault.cause] += 1
        if self._seen[fault.kind, fault.cause] <= _MOST_SHOWN:
            self.faults.append(fault)


def check(
    source: Path,
    root: JsonObject,
    settings: Settings,
    effort: Effort,
    values: Mapping[str, Iterable[Json]] | None = None,
) -> Findings:
    """Generates a client and compares it with the document.

    Args:
        source: The document.
        root: The same document as JSON, read without the generator.
        settings: What to generate; the folder above the package must be importable.
        effort: How much is tried.
        values: Further values to try, by the pointer of their schema.
    """
    findings = Findings()
    warnings: list[str] = []
    try:
        generate(settings, warnings.append)
        contract = load(settings)
    except ContractError as error:
        findings.refusal = f"{error.pointer}: {error.reason}"
        return findings
    except Exception as error:  # noqa: BLE001 # whatever else it raises is what we look for
        findings.add(Fault("crash", "", _said(error), "the generator ended with a traceback"))
        return findings
    findings.warnings = len(warnings)
    importlib.invalidate_caches()
    origins: dict[str, list[str]] = {}
    for key, (file, pointer) in contract.origins.items():
        # The places of made-up classes are not exact: some stand where their lists do.
        if file.resolve() == source.resolve() and re.fullmatch("/components/schemas/[^/]+", pointer):
            origins.setdefault(pointer, []).append(key)
    Comparison(
        oracle=Oracle(root),
        package=settings.package,
        origins=origins,
        warned=[_warning(text, source) for text in warnings],
        effort=effort,
        findings=findings,
    ).run(values or {})
    return findings


@dataclass
class Comparison:
    """A client, the document, and what differs."""

    oracle: Oracle
    package: str
    origins: Mapping[str, list[str]]
    warned: list[tuple[str, str]]
    effort: Effort
    findings: Findings

    def run(self, values: Mapping[str, Iterable[Json]]) -> None:
        """Compares everything."""
        components = [
            f"/components/schemas/{escape(name)}"
            for name in as_object(as_object(self.oracle.root.get("components")).get("schemas"))
        ]
        for pointer in components:
            if pointer not in self.origins:
                self.findings.add(Fault("no class", pointer, pointer, "the component has no class"))
        chosen = self._chosen(sorted(self.origins))
        for pointer, keys in sorted(self.origins.items()):
            for key in keys:
                self._schema(
                    pointer, key, values.get(pointer, ()), in_full=pointer in chosen or pointer in values
                )
        self._operations()

    def _chosen(self, pointers: list[str]) -> set[str]:
        if len(pointers) <= self.effort.schemas:
            return set(pointers)
        return set(random.Random(0).sample(pointers, self.effort.schemas))

    def _schema(self, pointer: str, key: str, values: Iterable[Json], *, in_full: bool) -> None:
        try:
            at(self.oracle.root, pointer)
        except LookupError:
            self.findings.counts["places unknown"] += 1
            return
        module, name = key.split(".", 1)
        self.findings.counts["classes"] += 1
        try:
            kind = getattr(importlib.import_module(f"{self.package}.{module}"), name)
            read = _reader(kind)
        except Exception as error:  # noqa: BLE001 # a class that cannot be built is what we look for
            self.findings.add(Fault("unusable", pointer, _said(error), f"{key} cannot be used"))
            return
        self._members(pointer, key, kind)
        self._values(pointer, key, read, "both", values, self.effort if in_full else _LITTLE)

    def _members(self, pointer: str, key: str, kind: object) -> None:
        declared = self.oracle.members(pointer)
        if declared is None or not isinstance(kind, type) or not issubclass(kind, BaseModel):
            return
        if issubclass(kind, RootModel):
            return
        names, required = declared
        # Before that, what is said of a field whose type stands below the class is not known.
        kind.model_rebuild()
        fields = {found.alias or name: found for name, found in kind.model_fields.items()}
        self.findings.counts["members compared"] += len(names)
        missing, beside = names - fields.keys(), fields.keys() - names - required
        if missing or beside:
            text = f"{key} lacks {sorted(missing)}, has beside {sorted(beside)}"
            self.findings.add(Fault("members", pointer, pointer, short(text, 400)))
            return
        free = {name for name in required & fields.keys() if not fields[name].is_required()}
        if free:
            self.findings.add(Fault("required", pointer, pointer, f"{key} does not require {sorted(free)}"))

    def _values(
        self,
        pointer: str,
        place: str,
        read: Callable[[Json], object],
        side: Side,
        values: Iterable[Json],
        effort: Effort,
    ) -> None:
        # Independent of the order in which documents and schemas are looked at.
        chance = random.Random(zlib.crc32(f"{pointer} {place}".encode()))
        maker = Maker(self.oracle.root, chance)
        tried: list[Json] = []
        for value in [*values, *maker.written(pointer), *maker.values(pointer, effort.values)]:
            if value is None and side == "both":
                # A class stands for the object; null is read where the component is named.
                continue
            if self.oracle.judge(pointer, value, side).verdict == "accepts":
                tried.append(value)
                self._accepted(pointer, place, read, value)
        if not tried:
            self.findings.counts["schemas without a value"] += 1
            return
        for index, value in enumerate(tried):
            share = max(1, effort.mutations // len(tried)) if index < effort.mutations else 0
            for changed in mutations(value, chance, share):
                judged = self.oracle.judge(pointer, changed, side)
                if judged.verdict == "accepts" and (changed is not None or side != "both"):
                    self._accepted(pointer, place, read, changed)
                elif judged.verdict == "refuses":
                    self._refused(pointer, place, read, changed, judged.keywords, side)

    def _accepted(self, pointer: str, place: str, read: Callable[[Json], object], value: Json) -> None:
        self.findings.counts["values accepted"] += 1
        try:
            got = read(value)
        except Exception as error:  # noqa: BLE001 # every error is a fault here
            if isinstance(error, ValidationError) and _is_of_no_branch(error):
                self.findings.counts["unknown tags"] += 1
                return
            kind: FaultKind = "refuses" if _is_refusal(error) else "unusable"
            self.findings.add(Fault(kind, pointer, _cause(error), f"{place}: {_said(error)}", value))
            return
        written = wire(got)
        if not same(written, value):
            text = f"{place}: written as {short(written)}"
            self.findings.add(Fault("written", pointer, pointer, text, value))

    def _refused(
        self,
        pointer: str,
        place: str,
        read: Callable[[Json], object],
        value: Json,
        keywords: tuple[str, ...],
        side: Side,
    ) -> None:
        self.findings.counts["values refused"] += 1
        try:
            got = read(value)
        except Exception as error:  # noqa: BLE001 # every other error is a fault here
            if not _is_refusal(error):
                self.findings.add(Fault("unusable", pointer, _said(error), f"{place}: {_said(error)}", value))
            return
        if (excuse := self._excuse(pointer, keywords)) is not None:
            self.findings.excused[excuse] += 1
            return
        if self.oracle.judge(pointer, _without_nulls(value), side).verdict == "accepts":
            # A member that may be left out may be null as well: both mean that there is none.
            self.findings.counts["null taken for absent"] += 1
            return
        cause = min(keywords, key=lambda one: (-len(one), one), default=pointer)
        text = f"{place}: read as {short(repr(got))}, against {', '.join(keywords[:4])}"
        # What several branches of a `oneOf` fit is refused by jsonschema alone: the branches are not wrong.
        kind: FaultKind = "overlap" if all(one.endswith("/oneOf") for one in keywords) else "accepts"
        self.findings.add(Fault(kind, pointer, cause, text, value))

    def _excuse(self, pointer: str, keywords: tuple[str, ...]) -> str | None:
        """The name of a warning for the place of a keyword, or for the schema that it belongs to."""
        for name, warned in self.warned:
            for keyword in keywords:
                schema = keyword.rsplit("/", 1)[0]
                if _is_at_or_below(warned, schema) or (
                    warned.count("/") > 2 and _is_at_or_below(keyword, warned)
                ):
                    return name
        return next((name for name, warned in self.warned if _is_at_or_below(warned, pointer)), None)

    def _operations(self) -> None:
        operations = importlib.import_module(f"{self.package}.operations").OPERATIONS
        for operation in operations:
            declared = as_object(as_object(self.oracle.root.get("paths")).get(operation.path))
            found = as_object(declared.get(operation.method.lower()))
            if not found:
                text = f"{operation.id} is no operation of the document"
                self.findings.add(
                    Fault("no class", f"{operation.method} {operation.path}", operation.id, text)
                )
                continue
            pointers = list(self._results(operation.path, operation.method.lower(), found))
            if operation.reading != "json" or not pointers:
                continue
            self.findings.counts["operations"] += 1
            for pointer in pointers:
                self._values(
                    pointer,
                    f"{operation.method} {operation.path}",
                    _result_reader(operation),
                    "response",
                    self._media_examples(pointer),
                    _LITTLE if len(pointers) == 1 else dataclasses.replace(_LITTLE, mutations=0),
                )

    def _results(self, path: str, method: str, operation: JsonObject) -> Iterator[str]:
        """The pointers of the schemas of JSON answers that are a success."""
        for status, response in as_object(operation.get("responses")).items():
            if not status.startswith("2") or status in ("204", "205"):
                # Those two have no body, whatever a document says.
                continue
            pointer = f"/paths/{escape(path)}/{method}/responses/{status}"
            if target := as_text(as_object(response).get("$ref")):
                pointer = target.removeprefix("#")
                response = at(self.oracle.root, pointer)
            for media, content in as_object(as_object(response).get("content")).items():
                plain = media.partition(";")[0].strip().lower()
                if (plain == "application/json" or plain.endswith("+json")) and "schema" in as_object(
                    content
                ):
                    yield f"{pointer}/content/{escape(media)}/schema"

    def _media_examples(self, pointer: str) -> Iterator[Json]:
        media = as_object(at(self.oracle.root, pointer.removesuffix("/schema")))
        if "example" in media:
            yield media["example"]
        for one in as_object(media.get("examples")).values():
            if "value" in as_object(one):
                yield as_object(one)["value"]


def _reader(kind: Any) -> Callable[[Json], object]:
    if hasattr(kind, "from_wire"):
        return cast("Callable[[Json], object]", kind.from_wire)
    # What is no class is read as it is in classes, which are strict.
    return TypeAdapter[object](kind, config=ConfigDict(strict=True)).validate_python


def _result_reader(operation: Any) -> Callable[[Json], object]:
    return lambda value: operation.read(json.dumps(value).encode())


def wire(value: object) -> object:
    """A value of a client as JSON has it."""
    if isinstance(value, BaseModel):
        write = cast("Callable[[], object] | None", getattr(value, "to_wire", None))
        return write() if write else value.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if isinstance(value, list | tuple):
        return [wire(one) for one in cast("list[object]", value)]
    if isinstance(value, dict):
        return {name: wire(one) for name, one in cast("dict[str, object]", value).items()}
    return to_jsonable_python(value)


def _without_nulls(value: Json) -> Json:
    if isinstance(value, dict):
        return {name: _without_nulls(member) for name, member in value.items() if member is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _is_refusal(error: Exception) -> bool:
    # The errors of a client's runtime are classes of its own.
    return isinstance(error, ValidationError) or type(error).__name__ in ("Undecodable", "Refused")


def _cause(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        steps = ["*" if isinstance(step, int) else step for step in first["loc"]]
        return f"{error.title}: {first['type']} at {'.'.join(steps)}"
    return short(str(error))


def _is_of_no_branch(error: ValidationError) -> bool:
    """Whether all that is wrong is a tag that no branch has: OpenAPI refuses it, JSON Schema does not."""
    return all(one["type"] == "union_tag_invalid" for one in error.errors())


def _said(error: Exception) -> str:
    return short(f"{type(error).__name__}: {error}", 300)


def _warning(text: str, source: Path) -> tuple[str, str]:
    """The name of a warning, and its place in the document."""
    name, _, rest = text.partition(": ")
    place = rest.partition("#")[2].split(": ", 1)[0] if str(source.resolve()) in rest else ""
    return name, place


def _is_at_or_below(place: str, above: str) -> bool:
    return bool(above) and (place == above or place.startswith(above + "/"))
