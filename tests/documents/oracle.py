"""What a document says of a value, by jsonschema and not by the generator."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias, cast

from jsonschema import Draft4Validator, Draft202012Validator, FormatChecker, validators
from jsonschema.exceptions import UnknownType, ValidationError
from jsonschema.protocols import Validator
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT4, DRAFT202012

from documents.shapes import Json, JsonObject, as_list, as_object, as_text, at, escape, places

Side: TypeAlias = Literal["request", "response", "both"]
"""On which side of a call a value stands; on both when a class serves both."""

Keyword: TypeAlias = Callable[[Any, Any, Any, JsonObject], Iterable[ValidationError] | None]

_URI = "urn:document"


@dataclass(frozen=True)
class Judgement:
    """What a document says of a value.

    Attributes:
        verdict: Unclear where the standard leaves it open, or where jsonschema cannot tell.
        keywords: Places of the keywords that refuse it.
    """

    verdict: Literal["accepts", "refuses", "unclear"]
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True)
class Oracle:
    """The schemas of one document.

    A value is judged strictly and leniently, and where the two disagree, the verdict is that it is unclear:
    formats are checked or not, `nullable` counts beside a `type` alone or everywhere, members of the other
    side of a call are required or not, keywords of one type imply it or not.
    """

    root: JsonObject
    _validators: dict[tuple[str, Side], tuple[Validator, Validator]] = field(
        default_factory=dict[tuple[str, Side], "tuple[Validator, Validator]"], init=False
    )

    @cached_property
    def is_3_0(self) -> bool:
        """Whether the document has the dialect of OpenAPI 3.0."""
        return as_text(self.root.get("openapi")).startswith("3.0")

    def judge(self, pointer: str, value: Json, side: Side = "both") -> Judgement:
        """What the schema at a pointer says of a value."""
        strict, lenient = self._pair(pointer, side)
        try:
            if strict.is_valid(value):
                return Judgement("accepts")
            faults = list(lenient.iter_errors(value))
            return Judgement("refuses" if faults else "unclear", tuple(dict.fromkeys(self._keywords(faults))))
        except (re.error, RecursionError, UnknownType, Unresolvable, OverflowError, ZeroDivisionError):
            return Judgement("unclear")

    def members(self, pointer: str) -> tuple[set[str], set[str]] | None:
        """The members that the schema at a pointer declares, and those required on both sides of a call.

        Returns:
            None, if it is not an object that is the sum of its parts.
        """
        names: set[str] = set()
        required: set[str] = set()
        one_sided: set[str] = set()
        waiting, seen = [(pointer, at(self.root, pointer))], set[str]()
        while waiting:
            here, found = waiting.pop()
            if here in seen or not isinstance(found, dict):
                return None
            seen.add(here)
            if (target := as_text(found.get("$ref"))) and target.startswith("#"):
                waiting.append((target[1:], at(self.root, target[1:])))
                if self.is_3_0:
                    continue
            if not found.keys().isdisjoint(
                ("oneOf", "anyOf", "if", "not", "patternProperties", "enum", "const")
            ):
                return None
            if found.get("type", "object") != "object" or found.get("nullable"):
                return None
            waiting += [(f"{here}/allOf/{i}", part) for i, part in enumerate(as_list(found.get("allOf")))]
            for name, member in as_object(found.get("properties")).items():
                names.add(name)
                if self._one_sided(member):
                    one_sided.add(name)
            required |= {as_text(name) for name in as_list(found.get("required"))}
        return (names, required - one_sided) if names else None

    def _one_sided(self, member: Json) -> bool:
        return any(found.get("readOnly") or found.get("writeOnly") for found in self._parts(member))

    def _parts(self, schema: Json) -> Iterator[JsonObject]:
        """A schema and those it is the sum of."""
        waiting, seen = [schema], set[int]()
        while waiting:
            found = waiting.pop()
            if not isinstance(found, dict) or id(found) in seen:
                continue
            seen.add(id(found))
            yield found
            waiting += as_list(found.get("allOf"))
            if (target := as_text(found.get("$ref"))).startswith("#"):
                waiting.append(at(self.root, target[1:]))

    @cached_property
    def _pointers(self) -> Mapping[int, str]:
        return {id(found): pointer for pointer, found in places(self.root)}

    def _keywords(self, faults: Iterable[ValidationError]) -> Iterator[str]:
        for fault in faults:
            holder = self._pointers.get(id(fault.schema))
            if holder is not None:
                yield f"{holder}/{escape(str(fault.validator))}"
            yield from self._keywords(fault.context or ())

    def _pair(self, pointer: str, side: Side) -> tuple[Validator, Validator]:
        pair = self._validators.get((pointer, side))
        if pair is None:
            schema = {"$ref": f"{_URI}#{_quoted(pointer)}"}
            strict = self._class(side, is_strict=True)(
                schema, registry=self._registry, format_checker=FormatChecker()
            )
            lenient = self._class(side, is_strict=False)(schema, registry=self._registry)
            pair = self._validators[pointer, side] = strict, lenient
        return pair

    @cached_property
    def _registry(self) -> "Registry[Any]":
        specification = DRAFT4 if self.is_3_0 else DRAFT202012
        resource = specification.create_resource(self.root)
        return cast("Registry[Any]", cast("Any", Registry)().with_resource(_URI, resource))

    def _class(self, side: Side, *, is_strict: bool) -> Callable[..., Validator]:
        base = Draft4Validator if self.is_3_0 else Draft202012Validator
        keywords: dict[str, Keyword] = {"required": self._required(base, side, is_strict=is_strict)}
        if is_strict:
            for kind, names in _IMPLYING.items():
                for name in names:
                    keywords[name] = _implying(kind, keywords.get(name) or base.VALIDATORS[name])
        if self.is_3_0:
            for name in ("type", "enum", "allOf", "anyOf", "oneOf", "not"):
                if name == "type" or not is_strict:
                    keywords[name] = _or_null(base.VALIDATORS[name])
        checker = base.TYPE_CHECKER.redefine("integer", _is_integer)
        made: object = cast("Any", validators).extend(base, keywords, type_checker=checker)
        return cast("Callable[..., Validator]", made)

    def _required(self, base: Any, side: Side, *, is_strict: bool) -> Keyword:
        """Whether a member must be there may depend on the side of the call."""
        original: Keyword = base.VALIDATORS["required"]

        def required(validator: Any, names: Any, instance: Any, schema: JsonObject) -> Any:
            if not is_strict:
                members = as_object(schema.get("properties"))
                names = [name for name in as_list(names) if not self._is_free(members.get(str(name)), side)]
            return original(validator, names, instance, schema)

        return required

    def _is_free(self, member: Json, side: Side) -> bool:
        """Whether a member may be left out although it is required."""
        parts = list(self._parts(member))
        read = any(part.get("readOnly") for part in parts)
        write = any(part.get("writeOnly") for part in parts)
        return (read and side != "response") or (write and side != "request")


_IMPLYING: Mapping[type, tuple[str, ...]] = {
    dict: ("properties", "required", "additionalProperties", "minProperties", "maxProperties"),
    list: ("items", "minItems", "maxItems", "uniqueItems"),
    str: ("pattern", "minLength", "maxLength"),
}
"""Keywords that tell the type of a schema which names none."""


def _or_null(original: Keyword) -> Keyword:
    """A keyword of OpenAPI 3.0 that null passes where the schema is nullable."""

    def keyword(validator: Any, value: Any, instance: Any, schema: JsonObject) -> Any:
        if instance is None and schema.get("nullable") is True:
            return None
        return original(validator, value, instance, schema)

    return keyword


def _implying(kind: type, original: Keyword) -> Keyword:
    """A keyword that tells the type of a schema which names none, as most authors mean it."""

    def keyword(validator: Any, value: Any, instance: Any, schema: JsonObject) -> Any:
        if "type" not in schema and not isinstance(instance, kind):
            return [ValidationError(f"is no {kind.__name__}")]
        return original(validator, value, instance, schema)

    return keyword


def _is_integer(_: object, instance: object) -> bool:
    if isinstance(instance, bool):
        return False
    return isinstance(instance, int) or (isinstance(instance, float) and instance.is_integer())


def _quoted(pointer: str) -> str:
    # Percent signs in keys would be taken for escapes.
    return pointer.replace("%", "%25").replace(" ", "%20").replace("#", "%23")
