"""The ways to fulfil a schema: its references and branches multiplied out."""

from dataclasses import dataclass, field, replace
from typing import Protocol

from . import _ir as ir
from ._definitions import REF, Definitions
from ._documents import JsonObject, JsonValue, text_of
from ._facts import label_of
from ._merge import added_members, constraints, merged, types, values
from ._shapes import Alias, Class, Place, Shape, Shapes

_MOST_OPTIONS = 32
_COMBINING = ("allOf", "anyOf", "oneOf")


@dataclass(frozen=True)
class Part:
    """One way to fulfil a schema: classes that a value must fit, and what else holds.

    Attributes:
        bases: The keys of the classes.
        rest: A schema without references and branches.
        sources: The keys of all definitions that this came from.
        names: What the branches are called that this came from.
        one_of: Where the last `oneOf` stands that this came from.
    """

    bases: tuple[str, ...] = ()
    rest: JsonObject = field(default_factory=dict[str, JsonValue])
    sources: frozenset[str] = frozenset()
    names: tuple[str, ...] = ()
    one_of: Place | None = None

    @property
    def is_bare(self) -> bool:
        """Whether only the classes matter."""
        return not constraints(self.rest)


class Core(Protocol):
    """What the parts of the compiler ask of each other."""

    @property
    def definitions(self) -> Definitions:
        """The schemas."""
        ...

    @property
    def shapes(self) -> Shapes:
        """What was made so far."""
        ...

    @property
    def parts(self) -> "Parts":
        """Multiplies schemas out."""
        ...

    @property
    def direction(self) -> ir.Direction:
        """On which side of a call a schema of a stub stands."""
        ...

    @property
    def one_ofs(self) -> list[tuple[Place, tuple[Shape, ...]]]:
        """Where `oneOf` stands, and its branches."""
        ...

    def is_open(self, key: str) -> bool:
        """Whether a class or an alias is being made."""
        ...

    def make(self, key: str) -> Class | Alias | None:
        """The class or the type of a definition; None while it is being made."""
        ...

    def shape(self, schema: JsonValue, place: Place, hint: str) -> Shape:
        """What a schema is in Python; objects with members get classes."""
        ...

    def hoisted(self, part: Part, place: Place, hint: str) -> Shape:
        """A class for an object that has no name."""
        ...

    def warn(self, name: str, place: Place, text: str, word: str = "") -> None:
        """Notes something that is lost."""
        ...


class Parts:
    """Finds the ways to fulfil a schema.

    Args:
        core: The compiler.
    """

    def __init__(self, core: Core) -> None:
        self._core = core

    def of(self, schema: JsonValue, place: Place, above: list[str]) -> list[Part]:
        """The ways to fulfil a schema.

        Args:
            schema: The schema.
            place: Where it stands.
            above: The keys of the definitions that it is a part of.
        """
        if not isinstance(schema, dict):
            return [] if schema is False else [Part()]
        own = {
            k: v for k, v in schema.items() if k != "$ref" and k not in _COMBINING and k != "discriminator"
        }
        found = [Part()]
        if ref := text_of(schema, "$ref").removeprefix(REF):
            found = self._product(found, self._referenced(ref, place, above), place)
        all_of = schema.get("allOf")
        for index, part in enumerate(all_of if isinstance(all_of, list) else []):
            at = place[0], f"{place[1]}/allOf/{index}"
            found = self._product(found, self.of(part, at, above), place)
        # What a schema says itself goes last, so that its texts win.
        found = self._product(found, [Part(rest=own)], place)
        for key in ("anyOf", "oneOf"):
            branches = schema.get(key)
            if not isinstance(branches, list) or self._only_require(branches, place, key):
                continue
            options: list[Part] = []
            for index, branch in enumerate(branches):
                at = place[0], f"{place[1]}/{key}/{index}"
                names = (label_of(branch),) if isinstance(branch, dict) else ()
                where = (place[0], f"{place[1]}/oneOf") if key == "oneOf" else None
                options += [
                    replace(part, names=(*names, *part.names), one_of=where or part.one_of)
                    for part in self.of(branch, at, above)
                ]
            found = self._product(options, found, place)
        return found

    def _only_require(self, branches: list[JsonValue], place: Place, key: str) -> bool:
        """Whether branches tell only which members must be there together; warns that this is not checked."""
        if not all(
            isinstance(one, dict) and constraints(one).keys() <= {"required", "not"} for one in branches
        ):
            return False
        if any(constraints(one) for one in branches if isinstance(one, dict)):
            text = f"{key} tells which members go together; that is not checked"
            self._core.warn("not-checked", place, text, key)
        return True

    def _referenced(self, key: str, place: Place, above: list[str]) -> list[Part]:
        if key in above:
            self._core.warn("not-checked", place, "refers to itself here, which is not checked")
            return [Part(sources=frozenset((key,)))]
        made = self._core.make(key)
        if isinstance(made, Class):
            found = [Part((option,), sources=frozenset((key, option))) for option in made.options or (key,)]
            null = [Part(rest={"type": "null"}, sources=frozenset((key,)))] if made.nullable else []
            return [*found, *null]
        definition = self._core.definitions.found.get(key)
        if definition is None:
            # An option of a payload that is referred to by its name.
            return [Part((key,), sources=frozenset((key,)))]
        parts = self.of(definition.schema, self._core.definitions.origins[key], [*above, key])
        return [replace(part, sources=part.sources | {key}) for part in parts]

    def _product(self, some: list[Part], others: list[Part], place: Place) -> list[Part]:
        if len(some) * len(others) > _MOST_OPTIONS and min(len(some), len(others)) > 1:
            self._core.warn(
                "not-checked", place, "has too many combinations of branches; they are not checked"
            )
            return others if len(others) < len(some) else some
        found: list[Part] = []
        for one in some:
            for other in others:
                rest = merged(one.rest, other.rest)
                bases = tuple(dict.fromkeys((*one.bases, *other.bases)))
                if rest is None or (bases and not self._may_be_object(rest)):
                    continue
                for part, beside in ((one.rest, other.rest), (other.rest, one.rest)):
                    if part.get("additionalProperties") is False and added_members(part, beside):
                        text = "a part allows no members of other parts; that is not checked"
                        self._core.warn("not-checked", place, text)
                sources, names = one.sources | other.sources, (*one.names, *other.names)
                found.append(Part(bases, rest, sources, names, one.one_of or other.one_of))
        return found

    def _may_be_object(self, rest: JsonObject) -> bool:
        kinds = types(rest)
        return kinds is None or "object" in kinds

    def is_null(self, part: Part) -> bool:
        """Whether only null fulfils a part."""
        listed = values(part.rest)
        return not part.bases and (
            types(part.rest) == frozenset(("null",)) or (listed is not None and listed == [None])
        )

    def is_class(self, part: Part) -> bool:
        """Whether a part is an object that needs a class."""
        if part.bases:
            return True
        kinds = types(part.rest)
        keys = constraints(part.rest).keys()
        if kinds is not None and kinds - frozenset(("null",)) != frozenset(("object",)):
            return False
        if values(part.rest) is not None:
            return False
        return bool(keys & {"properties", "required"}) or (
            kinds is not None
            and part.rest.get("additionalProperties") is False
            and not keys & {"patternProperties"}
        )

    def plain_reference(self, schema: JsonObject) -> str | None:
        """The key of the definition that a schema only refers to; None if it says more."""
        ref = text_of(schema, "$ref").removeprefix(REF)
        return ref if ref and not constraints({**schema, "$ref": None}).keys() - {"$ref"} else None
