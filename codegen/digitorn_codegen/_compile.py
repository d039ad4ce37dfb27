"""Makes classes and types of schemas: what each accepts, and what is lost is said."""

from dataclasses import replace

from . import _ir as ir
from ._classes import Classes
from ._definitions import Definitions
from ._documents import JsonObject, JsonValue, text_of
from ._errors import ContractError
from ._facts import label_of, literal_label, numbered
from ._merge import constraints, types
from ._names import pascal
from ._overlap import Overlaps
from ._parts import Part, Parts
from ._plain import Plain
from ._shapes import (
    Alias,
    Anything,
    Class,
    Named,
    OneOf,
    Place,
    Shape,
    Shapes,
    Source,
    names,
    with_null,
)
from ._tags import Tags

_DEEPEST = 4


class Compiler:
    """Makes classes and types of definitions.

    Args:
        definitions: The schemas.

    Attributes:
        shapes: What was made so far.
        parts: Multiplies schemas out.
        direction: On which side of a call a schema of a stub stands.
        one_ofs: Where `oneOf` stands, and its branches.
    """

    def __init__(self, definitions: Definitions) -> None:
        self.definitions = definitions
        self.shapes = Shapes()
        self.parts = Parts(self)
        self._tags = Tags(self)
        self._plain = Plain(self)
        self._classes = Classes(self)
        self._open: list[str] = []
        self._hoisting: dict[str, str] = {}
        self._depth = 0
        self._payloads: frozenset[str] = frozenset()
        self.direction: ir.Direction = "response"
        self.one_ofs: list[tuple[Place, tuple[Shape, ...]]] = []

    def check(self) -> None:
        """Warns of branches of `oneOf` that are not told apart. Called when all is made."""
        overlaps = Overlaps(self.shapes)
        for place, options in self.one_ofs:
            if pair := overlaps.first(options):
                writer = Source(lambda key: key.partition(".")[2])
                first, second = map(writer.of, pair)
                self.warn("one-of-overlap", place, f"what fits {first} and {second} is accepted")

    def is_open(self, key: str) -> bool:
        """Whether a class or an alias is being made."""
        return key in self._open

    def make_all(self, payloads: frozenset[str] = frozenset()) -> None:
        """Makes what has not been made yet.

        Args:
            payloads: The definitions that are event payloads, which have to be classes.

        Raises:
            ContractError: One is made of itself, or is a payload and no object.
        """
        self._payloads |= payloads
        for key in list(self.definitions.found):
            self.make(key)

    def make(self, key: str) -> Class | Alias | None:
        """The class or the type of a definition; None while it is being made."""
        if key in self.shapes.made:
            return self.shapes.made[key]
        if key in self._open:
            return None
        self._open.append(key)
        try:
            definition = self.definitions.found[key]
            self.shapes.made[key] = self._root(key, definition.schema, self.definitions.origins[key])
        finally:
            self._open.pop()
        return self.shapes.made[key]

    def _root(self, key: str, schema: JsonObject, place: Place) -> Class | Alias:
        description = text_of(schema, "description")
        if key not in self._payloads and (plain := self.parts.plain_reference(schema)) is not None:
            return Alias(key, Named(plain), description)
        parts = self.parts.of(schema, place, [key])
        nullable = any(
            self.parts.is_null(part) or (not part.bases and "null" in (types(part.rest) or ()))
            for part in parts
        )
        objects = [part for part in parts if self.parts.is_class(part)]
        others = [part for part in parts if part not in objects and not self.parts.is_null(part)]
        if (
            len(objects) == 1
            and not others
            and (objects[0].rest or len(objects[0].bases) > 1 or key in self._payloads)
        ):
            # Noted before its members are made: they may refer to it.
            self.shapes.made[key] = Class(key, nullable=nullable)
            made = self._classes.of(key, objects[0], place)
            return replace(made, description=description or made.description, nullable=nullable)
        if key in self._payloads:
            return self._payload(key, objects, others, place, description)
        hint = key.partition(".")[2]
        return Alias(key, self.shape(schema, place, hint, root=key), description)

    def _payload(
        self, key: str, objects: list[Part], others: list[Part], place: Place, description: str
    ) -> Class:
        """The class of a payload that has several forms: each form extends it."""
        if others or not objects:
            raise ContractError(
                place[0], f"{place[1]}/type", "an event payload is an object: 'type' must be \"object\""
            )
        whole = Class(key, description=description)
        self.shapes.made[key] = whole
        definition = self.definitions.found[key]
        module, hint = definition.module, definition.name
        options: list[str] = []
        for part, name in zip(objects, self._option_names(objects, hint), strict=True):
            option = self.name(module, name, place)
            found = self._classes.of(option, part, place)
            self.shapes.made[option] = replace(found, bases=(*found.bases, key))
            options.append(option)
        whole.options = tuple(options)
        return whole

    def typed(self, schema: JsonValue, place: Place, hint: str, direction: ir.Direction) -> str:
        """What a schema is in Python, as a type expression for stubs.

        Args:
            schema: The schema, its references rewritten.
            place: Where it stands.
            hint: What to call a class for it.
            direction: Whether it is sent or received.
        """
        self.direction = direction
        try:
            found = self.shape(schema, place, hint)
        finally:
            self.direction = "response"
        for key in names(found):
            self.make(key)

        def reference(key: str) -> str:
            # Generated modules are imported under private names: a parameter may be called `models`.
            return self.shapes.reference(key, lambda one: f"_{one}")

        if direction == "request":
            # What is sent is checked by the daemon; a stub only has types.
            return Source(reference, checked=False).of(found)
        writer = Source(reference)
        expression = writer.of(found)
        if writer.used <= {"Any", "Int", "Literal"}:
            return expression
        key = self.name(self.definitions.module_of(*place), hint, place)
        self.shapes.made[key] = Alias(key, found)
        return f"_{key}"

    def shape(self, schema: JsonValue, place: Place, hint: str, root: str | None = None) -> Shape:
        """What a schema is in Python; objects with members get classes.

        Args:
            schema: The schema, its references rewritten.
            place: Where it stands.
            hint: What to call a class for it.
            root: The definition whose schema this is, if it is one.
        """
        if schema is False:
            self.warn("impossible-schema", place, "accepts nothing; it is typed Any")
            return Anything()
        if not isinstance(schema, dict):
            return Anything()
        plain = self.parts.plain_reference(schema)
        if plain is not None:
            return Named(plain)
        checking = constraints(schema)
        if checking.keys() in ({"anyOf"}, {"oneOf"}):
            return self._branches(schema, place, hint, next(iter(checking)))
        all_of = checking.get("allOf")
        if checking.keys() == {"allOf"} and isinstance(all_of, list) and len(all_of) == 1:
            return self.shape(all_of[0], (place[0], f"{place[1]}/allOf/0"), hint)
        parts = self.parts.of(schema, place, [root] if root is not None else [])
        if not parts:
            self.warn("impossible-schema", place, "accepts nothing; it is typed Any")
            return Anything()
        return self._of_parts(parts, schema, place, hint)

    def _branches(self, schema: JsonObject, place: Place, hint: str, key: str) -> Shape:
        branches = schema[key]
        listed = branches if isinstance(branches, list) else []
        shapes: list[Shape] = []
        sources: list[frozenset[str]] = []
        labels = numbered(
            [(literal_label(one) or label_of(one)) if isinstance(one, dict) else "" for one in listed]
        )
        wholes: list[Shape] = []
        for index, (branch, label) in enumerate(zip(listed, labels, strict=True)):
            if branch is False:
                continue
            at = place[0], f"{place[1]}/{key}/{index}"
            found = self.shape(branch, at, f"{hint}{label}")
            wholes.append(found)
            for one in found.options if isinstance(found, OneOf) else (found,):
                shapes.append(one)
                sources.append(frozenset((one.key,)) if isinstance(one, Named) else frozenset())
        if key == "oneOf" and "discriminator" not in schema:
            self.one_ofs.append(((place[0], f"{place[1]}/oneOf"), tuple(wholes)))
        return self._tags.told_apart(shapes, sources, schema, place)

    def _of_parts(self, parts: list[Part], schema: JsonObject, place: Place, hint: str) -> Shape:
        names = self._option_names(parts, hint) if len(parts) > 1 else [hint]
        shapes: list[Shape] = []
        sources: list[frozenset[str]] = []
        for part, name in zip(parts, names, strict=True):
            found = self._of_part(part, place, name)
            shapes.append(found)
            sources.append(part.sources)
        where = next((part.one_of for part in parts if part.one_of is not None), None)
        if where is not None and "discriminator" not in schema:
            self.one_ofs.append((where, tuple(shapes)))
        return self._tags.told_apart(shapes, sources, schema, place)

    def _of_part(self, part: Part, place: Place, hint: str) -> Shape:
        if len(part.bases) == 1 and part.is_bare:
            return Named(part.bases[0])
        if len(part.bases) == 1 and constraints(part.rest) == {"type": "object"}:
            return Named(part.bases[0])
        if self.parts.is_class(part):
            kinds = types(part.rest)
            found = self.hoisted(part, place, hint)
            # A base is an object, whatever the rest may be.
            return with_null(found) if kinds and "null" in kinds and not part.bases else found
        return self._plain.of(part.rest, place, hint)

    def hoisted(self, part: Part, place: Place, hint: str) -> Shape:
        """A class for an object that has no name.

        Args:
            part: What the object must fulfil.
            place: Where it stands.
            hint: What to call the class.
        """
        module = self.definitions.module_of(*place)
        # What a schema that refers to itself is together with others may hold itself in turn.
        content = f"{module} {part.bases} {part.rest}"
        if content in self._hoisting:
            return Named(self._hoisting[content])
        if part.bases and self._depth >= _DEEPEST:
            text = "is made of schemas that refer to themselves; only the first of them is checked"
            self.warn("not-checked", place, text)
            return Named(part.bases[0])
        self._depth += bool(part.bases)
        key = self._hoisting[content] = self.name(module, pascal(hint), place)
        self._open.append(key)
        try:
            self.shapes.made[key] = self._classes.of(key, part, place)
        finally:
            self._open.pop()
            self._depth -= bool(part.bases)
            del self._hoisting[content]
        return Named(key)

    def name(self, module: ir.Module, wanted: str, place: Place) -> str:
        """The key of a class whose name is made up."""
        return f"{module}.{self.definitions.made_up(module, wanted, *place)}"

    def _option_names(self, parts: list[Part], hint: str) -> list[str]:
        labels: list[str] = []
        for part in parts:
            label = literal_label(part.rest) or next((name for name in part.names if name), "")
            if not label and part.sources:
                label = pascal(sorted(part.sources)[0].partition(".")[2])
            labels.append(label)
        return [f"{hint}{label}" for label in numbered(labels)]

    def warn(self, name: str, place: Place, text: str, word: str = "") -> None:
        """Notes something that is lost.

        Args:
            name: The kind of warning.
            place: Where the schema stands.
            text: What becomes of it.
            word: The keyword, if it stands in the schema itself.
        """
        pointer = f"{place[1]}/{word}" if word else place[1]
        self.definitions.warn(name, place[0], pointer, text)
