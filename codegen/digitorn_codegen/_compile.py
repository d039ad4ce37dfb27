"""Makes classes and types of schemas: what each accepts, and what is lost is said."""

import json
import re
from ast import literal_eval
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from . import _ir as ir
from ._definitions import REF, Definitions
from ._documents import JsonObject, JsonValue, escape, text_of
from ._errors import ContractError
from ._facts import (
    ORDER,
    attribute_of,
    bounds,
    counts,
    label_of,
    literal_label,
    numbered,
    python_pattern,
    rust_takes,
    source_of,
)
from ._merge import ALL_TYPES, both, constraints, is_of, merged, same, types, values
from ._names import Scope, pascal
from ._shapes import (
    NULL,
    OPEN,
    Alias,
    Anything,
    Choice,
    Class,
    Equal,
    Items,
    Member,
    Named,
    OneOf,
    Place,
    Places,
    Scalar,
    Shape,
    Shapes,
    Source,
    Table,
    names,
    union,
    with_null,
)

_MOST_OPTIONS = 32

_OF_TYPE: Mapping[str, frozenset[str]] = {
    "string": frozenset({"minLength", "maxLength", "pattern"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
    "array": frozenset(
        {
            *("items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains"),
            *("minContains", "maxContains", "unevaluatedItems", "additionalItems"),
        }
    ),
    "object": frozenset(
        {
            *("properties", "required", "additionalProperties", "patternProperties", "propertyNames"),
            *("minProperties", "maxProperties", "dependentRequired", "dependentSchemas", "dependencies"),
            "unevaluatedProperties",
        }
    ),
}
_UNCHECKED = {
    "string": (),
    "number": (),
    "array": ("contains", "unevaluatedItems", "additionalItems"),
    "object": ("dependentRequired", "dependentSchemas", "dependencies"),
}
_COMBINING = ("allOf", "anyOf", "oneOf")


@dataclass(frozen=True)
class _Part:
    """One way to fulfil a schema: classes that a value must fit, and what else holds.

    Attributes:
        bases: The keys of the classes.
        rest: A schema without references and branches.
        sources: The keys of all definitions that this came from.
        names: What the branches are called that this came from.
    """

    bases: tuple[str, ...] = ()
    rest: JsonObject = field(default_factory=dict[str, JsonValue])
    sources: frozenset[str] = frozenset()
    names: tuple[str, ...] = ()

    @property
    def is_bare(self) -> bool:
        """Whether only the classes matter."""
        return not constraints(self.rest)


class Compiler:
    """Makes classes and types of definitions.

    Args:
        definitions: The schemas.
        payloads: The definitions that must be classes: event payloads.
    """

    def __init__(self, definitions: Definitions) -> None:
        self.definitions = definitions
        self.shapes = Shapes()
        self.made = self.shapes.made
        self._open: list[str] = []
        self._raw: dict[str, _Part] = {}
        self._payloads: frozenset[str] = frozenset()
        self._direction: ir.Direction = "response"

    # --- definitions

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
        if key in self.made:
            return self.made[key]
        if key in self._open:
            return None
        self._open.append(key)
        try:
            definition = self.definitions.found[key]
            self.made[key] = self._root(key, definition.schema, self.definitions.origins[key])
        finally:
            self._open.pop()
        return self.made[key]

    def _root(self, key: str, schema: JsonObject, place: Place) -> Class | Alias:
        description = text_of(schema, "description")
        if key not in self._payloads and (plain := self._plain_reference(schema)) is not None:
            return Alias(key, Named(plain), description)
        parts = self._parts(schema, place, [key])
        nullable = any(self._is_null(part) or "null" in (types(part.rest) or ()) for part in parts)
        objects = [part for part in parts if self._is_class(part)]
        others = [part for part in parts if part not in objects and not self._is_null(part)]
        if len(objects) == 1 and not others and (objects[0].rest or key in self._payloads):
            # Noted before its members are made: they may refer to it.
            self.made[key] = Class(key, nullable=nullable)
            made = self._class(key, objects[0], place)
            return replace(made, description=description or made.description, nullable=nullable)
        if key in self._payloads:
            return self._payload(key, objects, others, place, description)
        hint = key.partition(".")[2]
        return Alias(key, self._shape(schema, place, hint, root=key), description)

    def _plain_reference(self, schema: JsonObject) -> str | None:
        ref = text_of(schema, "$ref").removeprefix(REF)
        return ref if ref and not constraints({**schema, "$ref": None}).keys() - {"$ref"} else None

    def _payload(
        self, key: str, objects: list[_Part], others: list[_Part], place: Place, description: str
    ) -> Class:
        """The class of a payload that has several forms: each form extends it."""
        if others or not objects:
            raise ContractError(
                place[0], f"{place[1]}/type", "an event payload is an object: 'type' must be \"object\""
            )
        whole = Class(key, description=description)
        self.made[key] = whole
        definition = self.definitions.found[key]
        module, hint = definition.module, definition.name
        options: list[str] = []
        for part, name in zip(objects, self._option_names(objects, hint), strict=True):
            option = self._name(module, name, place)
            found = self._class(option, part, place)
            self.made[option] = replace(found, bases=(*found.bases, key))
            options.append(option)
        whole.options = tuple(options)
        return whole

    # --- parts

    def _parts(self, schema: JsonValue, place: Place, above: list[str]) -> list[_Part]:
        """The ways to fulfil a schema.

        Args:
            schema: The schema.
            place: Where it stands.
            above: The keys of the definitions that it is a part of.
        """
        if not isinstance(schema, dict):
            return [] if schema is False else [_Part()]
        own = {
            k: v for k, v in schema.items() if k != "$ref" and k not in _COMBINING and k != "discriminator"
        }
        found = [_Part(rest=own)]
        if ref := text_of(schema, "$ref").removeprefix(REF):
            found = self._product(self._referenced(ref, place, above), found, place)
        all_of = schema.get("allOf")
        for index, part in enumerate(all_of if isinstance(all_of, list) else []):
            at = place[0], f"{place[1]}/allOf/{index}"
            # What a schema says itself goes last, so that its texts win.
            found = self._product(self._parts(part, at, above), found, place)
        for key in ("anyOf", "oneOf"):
            branches = schema.get(key)
            if not isinstance(branches, list) or self._only_require(branches, own, place, key):
                continue
            options: list[_Part] = []
            for index, branch in enumerate(branches):
                at = place[0], f"{place[1]}/{key}/{index}"
                names = (label_of(branch),) if isinstance(branch, dict) else ()
                options += [replace(p, names=(*names, *p.names)) for p in self._parts(branch, at, above)]
            found = self._product(options, found, place)
        return found

    def _only_require(self, branches: list[JsonValue], own: JsonObject, place: Place, key: str) -> bool:
        """Whether branches tell only which members must be there together; warns that this is not checked."""
        if not all(
            isinstance(one, dict) and constraints(one).keys() <= {"required", "not"} for one in branches
        ):
            return False
        if not own.keys() & {"properties", "type"} and not any(
            constraints(b) for b in branches if isinstance(b, dict)
        ):
            return True
        self._warn("not-checked", place, f"{key} tells which members go together; that is not checked", key)
        return True

    def _referenced(self, key: str, place: Place, above: list[str]) -> list[_Part]:
        if key in above:
            self._warn("not-checked", place, "refers to itself here, which is not checked")
            return [_Part(sources=frozenset((key,)))]
        made = self.make(key)
        if isinstance(made, Class):
            found = [_Part((option,), sources=frozenset((key, option))) for option in made.options or (key,)]
            null = [_Part(rest={"type": "null"}, sources=frozenset((key,)))] if made.nullable else []
            return [*found, *null]
        definition = self.definitions.found.get(key)
        if definition is None:
            # An option of a payload that is referred to by its name.
            return [_Part((key,), sources=frozenset((key,)))]
        parts = self._parts(definition.schema, self.definitions.origins[key], [*above, key])
        return [replace(part, sources=part.sources | {key}) for part in parts]

    def _product(self, some: list[_Part], others: list[_Part], place: Place) -> list[_Part]:
        if len(some) * len(others) > _MOST_OPTIONS and min(len(some), len(others)) > 1:
            self._warn("not-checked", place, "has too many combinations of branches; they are not checked")
            return others if len(others) < len(some) else some
        found: list[_Part] = []
        for one in some:
            for other in others:
                rest = merged(one.rest, other.rest)
                bases = tuple(dict.fromkeys((*one.bases, *other.bases)))
                if rest is None or (bases and not self._may_be_object(rest)):
                    continue
                found.append(_Part(bases, rest, one.sources | other.sources, (*one.names, *other.names)))
        return found

    def _may_be_object(self, rest: JsonObject) -> bool:
        kinds = types(rest)
        return kinds is None or "object" in kinds

    def _is_null(self, part: _Part) -> bool:
        listed = values(part.rest)
        return not part.bases and (
            types(part.rest) == frozenset(("null",)) or (listed is not None and listed == [None])
        )

    def _is_class(self, part: _Part) -> bool:
        """Whether a part is an object that needs a class."""
        if part.bases:
            return True
        kinds = types(part.rest)
        keys = constraints(part.rest).keys()
        if kinds is not None and kinds - {"null"} != {"object"}:
            return False
        if values(part.rest) is not None:
            return False
        return bool(keys & {"properties", "required"}) or (
            kinds is not None
            and part.rest.get("additionalProperties") is False
            and not keys & {"patternProperties"}
        )

    # --- shapes

    def typed(self, schema: JsonValue, place: Place, hint: str, direction: ir.Direction) -> str:
        """What a schema is in Python, as a type expression for stubs.

        Args:
            schema: The schema, its references rewritten.
            place: Where it stands.
            hint: What to call a class for it.
            direction: Whether it is sent or received.
        """
        self._direction = direction
        try:
            found = self._shape(schema, place, hint)
        finally:
            self._direction = "response"
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
        key = self._name(self.definitions.module_of(place[0]), hint, place)
        self.made[key] = Alias(key, found)
        return f"_{key}"

    def _shape(self, schema: JsonValue, place: Place, hint: str, root: str | None = None) -> Shape:
        if schema is False:
            self._warn("impossible-schema", place, "accepts nothing; it is typed Any")
            return Anything()
        if not isinstance(schema, dict):
            return Anything()
        plain = self._plain_reference(schema)
        if plain is not None:
            return Named(plain)
        checking = constraints(schema)
        if checking.keys() in ({"anyOf"}, {"oneOf"}):
            return self._branches(schema, place, hint, next(iter(checking)))
        all_of = checking.get("allOf")
        if checking.keys() == {"allOf"} and isinstance(all_of, list) and len(all_of) == 1:
            return self._shape(all_of[0], (place[0], f"{place[1]}/allOf/0"), hint)
        parts = self._parts(schema, place, [root] if root is not None else [])
        if not parts:
            self._warn("impossible-schema", place, "accepts nothing; it is typed Any")
            return Anything()
        return self._of_parts(parts, schema, place, hint)

    def _branches(self, schema: JsonObject, place: Place, hint: str, key: str) -> Shape:
        branches = schema[key]
        listed = branches if isinstance(branches, list) else []
        shapes: list[Shape] = []
        sources: list[frozenset[str]] = []
        labels = numbered([label_of(one) if isinstance(one, dict) else "" for one in listed])
        for index, (branch, label) in enumerate(zip(listed, labels, strict=True)):
            if branch is False:
                continue
            at = place[0], f"{place[1]}/{key}/{index}"
            found = self._shape(branch, at, f"{hint}{label}")
            for one in found.options if isinstance(found, OneOf) else (found,):
                shapes.append(one)
                sources.append(frozenset((one.key,)) if isinstance(one, Named) else frozenset())
        return self._tagged(shapes, sources, schema, place)

    def _of_parts(self, parts: list[_Part], schema: JsonObject, place: Place, hint: str) -> Shape:
        names = self._option_names(parts, hint) if len(parts) > 1 else [hint]
        shapes: list[Shape] = []
        sources: list[frozenset[str]] = []
        for part, name in zip(parts, names, strict=True):
            found = self._of_part(part, place, name)
            shapes.append(found)
            sources.append(part.sources)
        return self._tagged(shapes, sources, schema, place)

    def _of_part(self, part: _Part, place: Place, hint: str) -> Shape:
        if len(part.bases) == 1 and part.is_bare:
            return Named(part.bases[0])
        if len(part.bases) == 1 and constraints(part.rest) == {"type": "object"}:
            return Named(part.bases[0])
        if self._is_class(part):
            kinds = types(part.rest)
            found = self._hoisted(part, place, hint)
            return with_null(found) if kinds is not None and "null" in kinds else found
        return self._plain(part.rest, place, hint)

    def _hoisted(self, part: _Part, place: Place, hint: str) -> Shape:
        module = self.definitions.module_of(place[0])
        key = self._name(module, pascal(hint), place)
        self._open.append(key)
        try:
            self.made[key] = self._class(key, part, place)
        finally:
            self._open.pop()
        return Named(key)

    def _name(self, module: ir.Module, wanted: str, place: Place) -> str:
        return f"{module}.{self.definitions.made_up(module, wanted, *place)}"

    def _option_names(self, parts: list[_Part], hint: str) -> list[str]:
        labels: list[str] = []
        for part in parts:
            label = literal_label(part.rest) or next((name for name in part.names if name), "")
            if not label and part.sources:
                label = pascal(sorted(part.sources)[0].partition(".")[2])
            labels.append(label)
        return [f"{hint}{label}" for label in numbered(labels)]

    # --- unions

    def _tagged(
        self, shapes: list[Shape], sources: list[frozenset[str]], schema: JsonObject, place: Place
    ) -> Shape:
        """One of several shapes, told apart by the discriminator of their schema, if it has one."""
        found = union(shapes)
        value = schema.get("discriminator")
        if not isinstance(value, dict) or not isinstance(found, OneOf):
            return found
        at = place[0], f"{place[1]}/discriminator"
        name = text_of(value, "propertyName")
        options = [one for one in found.options if one != NULL]
        by_shape: dict[Shape, frozenset[str]] = {}
        for one, source in zip(shapes, sources, strict=True):
            by_shape[one] = by_shape.get(one, frozenset()) | source
        mapping = value.get("mapping")
        tags: dict[str, int] = {}
        for index, option in enumerate(options):
            if not isinstance(option, Named) or not name:
                text = "a member has no name" if name else "the members are not told apart by it"
                self._warn("discriminator-dropped", at, text)
                return found
            own = self._own_tags(option.key, name)
            if own is None:
                text = f"{option.key.partition('.')[2]} has no text {name!r}"
                self._warn("discriminator-dropped", at, text)
                return found
            listed = mapping if isinstance(mapping, dict) else {}
            keys = by_shape.get(option, frozenset()) | {option.key}
            mapped = {tag for tag, to in listed.items() if str(to).removeprefix(REF) in keys}
            for tag in sorted(own or mapped or {self._component(key) for key in keys}):
                if tags.setdefault(tag, index) != index:
                    text = "two members have one tag; they are told apart by their other members"
                    self._warn("discriminator-dropped", at, text)
                    return found
        tagged = OneOf(tuple(options), name, tuple(tags.items()))
        return OneOf((tagged, NULL)) if NULL in found.options else tagged

    def _component(self, key: str) -> str:
        pointer = self.definitions.origins[key][1] if key in self.definitions.origins else ""
        return pointer.rpartition("/")[2].replace("~1", "/").replace("~0", "~") or key.partition(".")[2]

    def _own_tags(self, key: str, name: str) -> set[str] | None:
        """The texts that a class gives its tag, empty when it may be any text; None without a tag."""
        made = self.made.get(key) or self.make(key)
        if made is None:
            return set()
        if isinstance(made, Alias):
            return self._own_tags(made.shape.key, name) if isinstance(made.shape, Named) else None
        member = next((one for one in self.shapes.members_of(key) if one.name == name), None)
        if member is None:
            return set() if made.others is not None else None
        shape = member.shape
        while isinstance(shape, Named):
            alias = self.make(shape.key)
            if not isinstance(alias, Alias):
                return set() if alias is None else None
            shape = alias.shape
        if isinstance(shape, Choice):
            texts = {value for value in shape.values if isinstance(value, str)}
            return texts if len(texts) == len(shape.values) else None
        return set() if isinstance(shape, Scalar) and shape.kind == "str" else None

    # --- plain schemas

    def _plain(self, rest: JsonObject, place: Place, hint: str) -> Shape:
        """What a schema without references and branches is."""
        for key in ("not", "if"):
            if key in rest and (key == "not" or rest.keys() & {"then", "else"}):
                self._warn("not-checked", place, f"{key!r} is not checked", key)
        listed = values(rest)
        kinds = types(rest)
        if listed is not None:
            return self._listed(
                [v for v in listed if kinds is None or any(is_of(v, k) for k in kinds)], place
            )
        if kinds is None:
            groups = [kind for kind, keys in _OF_TYPE.items() if keys & rest.keys()]
            if len(groups) != 1:
                for kind in groups:
                    found = ", ".join(sorted(_OF_TYPE[kind] & rest.keys()))
                    self._warn("not-checked", place, f"{found} is not checked: the schema has no type")
                return Anything()
            text = f"without 'type' other values fit too; it is read as {groups[0]}"
            self._warn("type-implied", place, text)
            kinds = frozenset(groups)
        if kinds >= frozenset(ALL_TYPES) - {"integer"}:
            kinds = kinds - {"integer"}
        return union([self._of_type(kind, rest, place, hint) for kind in sorted(kinds, key=ORDER.index)])

    def _listed(self, listed: list[JsonValue], place: Place) -> Shape:
        if not listed:
            self._warn("impossible-schema", place, "accepts nothing; it is typed Any")
            return Anything()
        plain = [value for value in listed if isinstance(value, str | bool | int)]
        special = [value for value in listed if not isinstance(value, str | bool | int | None)]
        shapes: list[Shape] = []
        if plain:
            unique = tuple(dict.fromkeys((type(value), value) for value in plain))
            shapes.append(Choice(tuple(value for _, value in unique)))
        for kind, shape in (("number", Scalar("float")), ("array", Items(Anything())), ("object", OPEN)):
            group = tuple(value for value in special if is_of(value, kind))
            if group:
                shapes.append(Equal(shape, group))
        return union([*shapes, *([NULL] if None in listed else [])])

    def _of_type(self, kind: str, rest: JsonObject, place: Place, hint: str) -> Shape:
        group = "number" if kind == "integer" else kind
        for key in _UNCHECKED.get(group, ()):
            if key in rest:
                self._warn("not-checked", place, f"{key!r} is not checked", key)
        match kind:
            case "string":
                return self._text(rest, place)
            case "integer" | "number":
                return Scalar("int" if kind == "integer" else "float", bounds(rest, whole=kind == "integer"))
            case "boolean":
                return Scalar("bool")
            case "null":
                return NULL
            case "array":
                return self._array(rest, place, hint)
            case _:
                if self._is_class(_Part(rest={**rest, "type": "object"})):
                    return self._hoisted(_Part(rest={**rest, "type": "object"}), place, hint)
                return self._table(rest, place, hint)

    def _text(self, rest: JsonObject, place: Place) -> Scalar:
        limits = counts(rest, "Length")
        patterns: list[str] = []
        also = rest.get("x-patterns")
        found = [rest["pattern"]] if "pattern" in rest else []
        for pattern in (*found, *(also if isinstance(also, list) else [])):
            if not isinstance(pattern, str):
                continue
            if (
                not re.search(r"\(\?<?[=!]|\\[1-9]", pattern)
                and not any(name == "pattern" for name, _ in limits)
                and rust_takes(pattern)
            ):
                limits.append(("pattern", repr(pattern)))
            elif (own := python_pattern(pattern)) is not None:
                patterns.append(own)
            else:
                text = f"{pattern!r} is no regular expression here; the text is not checked"
                self._warn("pattern-dropped", place, text, "pattern")
        return Scalar("str", tuple(limits), tuple(patterns))

    def _array(self, rest: JsonObject, place: Place, hint: str) -> Shape:
        first, items = rest.get("prefixItems"), rest.get("items", True)
        limits = counts(rest, "Items")
        if isinstance(first, list) and first:
            return self._places(rest, first, items, place, hint)
        if items is False:
            return Items(Anything(), (("max_length", "0"),))
        item = self._shape(items, (place[0], f"{place[1]}/items"), f"{hint}Item")
        return Items(item, tuple(limits), rest.get("uniqueItems") is True)

    def _places(
        self, rest: JsonObject, first: list[JsonValue], items: JsonValue, place: Place, hint: str
    ) -> Shape:
        if rest.get("uniqueItems") is True:
            self._warn("not-checked", place, "'uniqueItems' is not checked", "uniqueItems")
        least, most = rest.get("minItems"), rest.get("maxItems")
        least = int(least) if isinstance(least, int | float) else 0
        most = int(most) if isinstance(most, int | float) else None
        shapes = [
            self._shape(one, (place[0], f"{place[1]}/prefixItems/{i}"), f"{hint}{i + 1}")
            for i, one in enumerate(first)
        ]
        limits: list[tuple[str, str]] = []
        if least > len(first):
            limits.append(("min_length", str(least)))
        if most is not None and most < len(first):
            shapes, items = shapes[:most], False
        elif most is not None and most > len(first):
            limits.append(("max_length", str(most)))
        elif most == len(first):
            items = False
        other = (
            self._shape(items, (place[0], f"{place[1]}/items"), f"{hint}Item") if items is not False else None
        )
        return Places(tuple(shapes), other, least, tuple(limits) if other is not None else ())

    def _table(self, rest: JsonObject, place: Place, hint: str) -> Shape:
        patterns = rest.get("patternProperties")
        others = rest.get("additionalProperties", rest.get("unevaluatedProperties", True))
        key = self._key(rest, place)
        limits = tuple(counts(rest, "Properties"))
        if isinstance(patterns, dict) and patterns:
            shapes = [
                self._shape(one, (place[0], f"{place[1]}/patternProperties/{escape(name)}"), f"{hint}Value")
                for name, one in patterns.items()
            ]
            name = next(iter(patterns))
            if len(patterns) == 1 and others is False and key == Scalar("str"):
                found = self._text({"pattern": name}, place)
                return Table(shapes[0], found, limits)
            text = "which members a pattern stands for is not checked"
            self._warn("not-checked", place, text, "patternProperties")
            if others is False:
                return Table(union(shapes), key, limits)
            return Table(Anything(), key, limits)
        if others is False:
            return Table(Anything(), key, (("max_length", "0"),))
        at = place[0], f"{place[1]}/additionalProperties"
        return Table(self._shape(others, at, f"{hint}Value"), key, limits)

    def _key(self, rest: JsonObject, place: Place) -> Scalar:
        """What the names of members are."""
        names = rest.get("propertyNames", True)
        if names is True or names == {}:
            return Scalar("str")
        if isinstance(names, dict) and constraints(names).keys() <= {
            "type",
            "pattern",
            "minLength",
            "maxLength",
        }:
            return self._text(names, (place[0], f"{place[1]}/propertyNames"))
        self._warn("not-checked", place, "'propertyNames' is not checked", "propertyNames")
        return Scalar("str")

    # --- classes

    def _class(self, key: str, part: _Part, place: Place) -> Class:
        """The class of an object."""
        self._raw[key] = part
        bases = self._without_ancestors(part.bases)
        rest = part.rest
        if bases:
            before = self._mark()
            found, refused = self._heir(key, bases, rest, place)
            if refused is None:
                return found
            self._return_to(before)
            text = f"{refused!r} is not what the base has; the class extends nothing and repeats its members"
            self._warn("override-flattened", place, text, "allOf")
            rest = self._flat(key)
        return self._made(key, (), rest, place)

    def _heir(
        self, key: str, bases: tuple[str, ...], rest: JsonObject, place: Place
    ) -> tuple[Class, str | None]:
        """A class that extends others, and the member that does not allow it."""
        members: dict[str, Member] = {}
        for base in bases:
            if base in self._open and self._flat(base).get("properties", {}):
                shared = _names_of(rest) & _names_of(self._flat(base))
                if shared or len(bases) > 1:
                    # It is being made: what its members are is not known yet.
                    return Class(key), min(shared, default=base)
            for one in self.shapes.members_of(base):
                if one.name in members and members[one.name].shape != one.shape:
                    return Class(key), one.name
                members.setdefault(one.name, one)
        made = self._made(key, bases, rest, place)
        for one in made.members:
            if one.name in members and not self._narrows(one.shape, members[one.name].shape):
                return made, one.name
            if one.name in members and one.required and not members[one.name].required:
                text = (
                    f"{one.name!r} is optional in the base and required here, which pyright does not accept"
                )
                self._warn("override-required", place, text, "allOf")
        return made, None

    def _made(self, key: str, bases: tuple[str, ...], rest: JsonObject, place: Place) -> Class:
        for word in ("not", "if", "dependentRequired", "dependentSchemas", "dependencies"):
            if word in rest and (word != "if" or rest.keys() & {"then", "else"}):
                self._warn("not-checked", place, f"{word!r} is not checked", word)
        for word in ("minProperties", "maxProperties", "propertyNames"):
            if rest.get(word) not in (None, 0, True, {}):
                self._warn("not-checked", place, f"{word!r} is not checked", word)
        if "type" not in rest and not bases and rest.keys() & _OF_TYPE["object"]:
            text = "without 'type' other values fit too; it is read as object"
            self._warn("type-implied", place, text)
        others = self._others(rest, place, key.partition(".")[2])
        made = Class(key, bases, (), others, text_of(rest, "description"))
        # Noted before its members are made: they may refer to it.
        self.made.setdefault(key, made)
        return replace(made, members=tuple(self._members(made, rest, place)))

    def _mark(self) -> tuple[int, int, Mapping[ir.Module, int]]:
        return len(self.made), len(self.definitions.warnings), self.definitions.taken()

    def _return_to(self, mark: tuple[int, int, Mapping[ir.Module, int]]) -> None:
        """Forgets what was made since."""
        made, warnings, taken = mark
        for key in list(self.made)[made:]:
            del self.made[key]
        del self.definitions.warnings[warnings:]
        self.definitions.give_back(taken)

    def _others(self, rest: JsonObject, place: Place, name: str) -> Shape | None:
        others = rest.get("additionalProperties", rest.get("unevaluatedProperties", True))
        patterns = rest.get("patternProperties")
        if isinstance(patterns, dict) and patterns:
            text = "which members a pattern stands for is not checked"
            self._warn("not-checked", place, text, "patternProperties")
            return Anything()
        if others is False:
            return None
        return self._shape(others, (place[0], f"{place[1]}/additionalProperties"), f"{name}Value")

    def _members(self, made: Class, rest: JsonObject, place: Place) -> Iterator[Member]:
        name = made.key.partition(".")[2]
        direction = self.definitions.directions.get(made.key, self._direction)
        inherited = {one.name: one for base in reversed(made.bases) for one in self.shapes.members_of(base)}
        raw: JsonObject = {}
        for base in made.bases:
            raw.update(_properties_of(self._flat(base)))
        needed = rest.get("required")
        required = [str(one) for one in needed] if isinstance(needed, list) else []
        attributes = Scope({one.attribute: wire for wire, one in inherited.items()})
        for wire, schema in _properties_of(rest).items():
            at = place[0], f"{place[1]}/properties/{escape(wire)}"
            if schema is False:
                self._warn("not-checked", at, f"that {wire!r} is absent is not checked")
                continue
            before = inherited.get(wire)
            if before is not None:
                known: JsonValue = (
                    {"$ref": REF + before.shape.key} if isinstance(before.shape, Named) else raw.get(wire)
                )
                schema = both(known if known is not None else True, schema)
            shape = self._shape(schema, at, f"{name}{pascal(wire)}")
            hidden = isinstance(schema, dict) and self._is_hidden(schema, direction)
            must = (wire in required and not hidden) or (before is not None and before.required)
            attribute = before.attribute if before else attributes.allot(attribute_of(wire), wire)
            description = self._described(schema)
            default = None if must or not isinstance(schema, dict) else self._default(schema, shape, at)
            examples = schema.get("examples") if isinstance(schema, dict) else None
            shown = tuple(examples) if isinstance(examples, list) else ()
            yield Member(wire, attribute, shape, must, default, description, shown)
        listed = _properties_of(rest)
        for wire in dict.fromkeys(required):
            before = inherited.get(wire)
            if wire in listed or (before is not None and before.required):
                continue
            if before is not None:
                yield replace(before, required=True, default=None)
                continue
            if made.others is None:
                self._warn("impossible-schema", place, f"requires {wire!r} and does not allow it")
            shape = made.others or Anything()
            yield Member(wire, attributes.allot(attribute_of(wire), wire), shape, True, None, "")

    def _described(self, schema: JsonValue) -> str:
        if not isinstance(schema, dict):
            return ""
        parts = schema.get("allOf")
        own = text_of(schema, "description")
        if own or not isinstance(parts, list):
            return own
        return next((text for part in reversed(parts) if (text := self._described(part))), "")

    def _is_hidden(self, schema: JsonObject, direction: ir.Direction) -> bool:
        """Whether a member is only there in the other direction."""
        word = "writeOnly" if direction == "response" else "readOnly"
        seen: set[str] = set()
        while schema.get(word) is not True:
            ref = text_of(schema, "$ref").removeprefix(REF)
            if not ref or ref in seen or ref not in self.definitions.found:
                return False
            seen.add(ref)
            schema = self.definitions.found[ref].schema
        return True

    def _default(self, schema: JsonObject, shape: Shape, place: Place) -> str | None:
        """The default of a member as source, if its type can have it."""
        if "default" not in schema:
            return None
        value = schema["default"]
        if value is None and self.shapes.takes_null(shape):
            return None
        if self._holds(shape, value):
            return source_of(value)
        self._warn("default-dropped", place, f"{json.dumps(value)[:80]} is no value of the type", "default")
        return None

    def _holds(self, shape: Shape, value: JsonValue) -> bool:
        """Whether a value is written the same in JSON and in Python for a type."""
        match shape:
            case Anything():
                return True
            case Scalar(kind, limits):
                if not _within(value, limits):
                    return False
                wanted = {"str": str, "int": int, "float": int | float, "bool": bool, "None": type(None)}[
                    kind
                ]
                return isinstance(value, wanted) and (kind == "bool" or not isinstance(value, bool))
            case Choice(listed):
                return any(type(value) is type(one) and value == one for one in listed)
            case Equal(_, listed):
                return any(same(value, one) for one in listed)
            case Items(item):
                return isinstance(value, list) and all(self._holds(item, one) for one in value)
            case Table(item):
                return isinstance(value, dict) and all(self._holds(item, one) for one in value.values())
            case Named(key):
                made = self.make(key)
                return isinstance(made, Alias) and self._holds(made.shape, value)
            case OneOf(options):
                return any(self._holds(one, value) for one in options)
            case Places():
                return False

    def _without_ancestors(self, bases: Iterable[str]) -> tuple[str, ...]:
        """Classes without those that others of them extend."""
        listed = tuple(bases)
        above = {one for base in listed for one in self.shapes.ancestors(base)}
        return tuple(base for base in listed if base not in above)

    def _flat(self, key: str) -> JsonObject:
        """What a class says with all that it inherits, as one schema."""
        part = self._raw.get(key)
        if part is None:
            return {}
        found: JsonObject = {}
        for base in part.bases:
            if base != key:
                found = merged(found, self._flat(base)) or found
        return merged(found, part.rest) or found

    # --- what a class may change of its bases

    def _narrows(self, new: Shape, old: Shape) -> bool:
        """Whether a member may be typed so where the base has it otherwise."""
        if new == old or isinstance(old, Anything):
            return True
        if isinstance(new, OneOf):
            return all(self._narrows(one, old) for one in new.options)
        if isinstance(old, OneOf):
            return any(self._narrows(new, one) for one in old.options)
        match new, old:
            case Scalar(one), Scalar(other):
                return one == other
            case Choice(listed), Scalar(kind):
                wanted = {"str": str, "int": int, "float": int, "bool": bool, "None": type(None)}[kind]
                return all(type(value) is wanted for value in listed)
            case Choice(listed), Choice(others):
                return all(any(type(v) is type(o) and v == o for o in others) for v in listed)
            case Named(key), Named(base):
                alias = self.made.get(base)
                if isinstance(alias, Alias):
                    return self._narrows(new, alias.shape)
                return base in set(self.shapes.ancestors(key))
            case Named(key), _:
                alias = self.made.get(key)
                return isinstance(alias, Alias) and self._narrows(alias.shape, old)
            case _, Named(key):
                alias = self.made.get(key)
                return isinstance(alias, Alias) and self._narrows(new, alias.shape)
            case (Items(one, _, _), Items(other, _, _)) | (Table(one, _, _), Table(other, _, _)):
                return one == other
            case _:
                return False

    # --- warnings

    def _warn(self, name: str, place: Place, text: str, word: str = "") -> None:
        pointer = f"{place[1]}/{word}" if word else place[1]
        self.definitions.warn(name, place[0], pointer, text)


def _properties_of(schema: JsonObject) -> JsonObject:
    found = schema.get("properties")
    return found if isinstance(found, dict) else {}


def _names_of(schema: JsonObject) -> set[str]:
    return set(_properties_of(schema))


def _within(value: JsonValue, limits: Iterable[tuple[str, str]]) -> bool:
    """Whether a value keeps the limits of its type."""
    for name, text in limits:
        limit = literal_eval(text)
        if isinstance(value, str):
            if (name == "min_length" and len(value) < limit) or (name == "max_length" and len(value) > limit):
                return False
            if name == "pattern" and (own := python_pattern(limit)) is not None and not re.search(own, value):
                return False
        elif isinstance(value, int | float):
            kept = {"ge": value >= limit, "gt": value > limit, "le": value <= limit, "lt": value < limit}
            if not kept.get(name, True):
                return False
    return True
