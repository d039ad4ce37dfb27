"""What a schema is in Python: a type, or a class with members."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from ._documents import JsonValue
from ._facts import source_of

Place: TypeAlias = tuple[Path, str]
"""A file and a JSON pointer into it."""

Kind = Literal["str", "int", "float", "bool", "None"]


@dataclass(frozen=True)
class Anything:
    """Any value."""


@dataclass(frozen=True)
class Scalar:
    """A text, a number, a flag or null.

    Attributes:
        kind: Which of them.
        limits: Arguments of pydantic's `Field`, as source.
        patterns: Patterns that only Python's own engine understands.
        choices: The only values, where no literal type can have them.
    """

    kind: Kind
    limits: tuple[tuple[str, str], ...] = ()
    patterns: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Choice:
    """One of a few texts, whole numbers or flags."""

    values: tuple[str | int | bool, ...]

    # To Python true is 1, and these are two choices.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Choice) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))


@dataclass(frozen=True, eq=False)
class Equal:
    """One of a few values that no literal type can have.

    Attributes:
        type: What they are.
        values: The values.
    """

    type: "Shape"
    values: tuple[JsonValue, ...]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Equal) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))


@dataclass(frozen=True)
class Items:
    """A list.

    Attributes:
        item: What each item is.
        limits: Arguments of `Field`, as source.
        unique: Whether no two items are equal.
    """

    item: "Shape"
    limits: tuple[tuple[str, str], ...] = ()
    unique: bool = False


@dataclass(frozen=True)
class Places:
    """A list whose items have a type each.

    Attributes:
        first: The types of the first items.
        rest: What the others are; None if there are none.
        least: The smallest number of items.
        limits: Arguments of `Field`, as source.
    """

    first: tuple["Shape", ...]
    rest: "Shape | None"
    least: int
    limits: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Table:
    """An object whose members have no names of their own.

    Attributes:
        value: What each member is.
        key: What each name is.
        limits: Arguments of `Field`, as source.
    """

    value: "Shape"
    key: Scalar = Scalar("str")
    limits: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Named:
    """A class or an alias, by its key."""

    key: str


@dataclass(frozen=True)
class OneOf:
    """One of several.

    Attributes:
        options: What it may be; none of them is itself such a choice.
        tag: The member that says which; None if there is none.
        tags: The place in `options` that each value of the tag stands for.
    """

    options: tuple["Shape", ...]
    tag: str | None = None
    tags: tuple[tuple[str, int], ...] = ()


Shape: TypeAlias = Anything | Scalar | Choice | Equal | Items | Places | Table | Named | OneOf

NULL = Scalar("None")
OPEN = Table(Anything())


@dataclass(frozen=True)
class Member:
    """One member of a class.

    Attributes:
        name: Its name on the wire.
        attribute: Its name in Python.
        shape: What it is.
        required: Whether it must be there.
        default: What it is when it is not there, as source; None if that is None.
        description: What it says of itself.
        examples: Values that the contract gives as examples.
    """

    name: str
    attribute: str
    shape: Shape
    required: bool
    default: str | None
    description: str
    examples: tuple[JsonValue, ...] = ()


@dataclass
class Class:
    """A class.

    Attributes:
        key: `module.Name`.
        bases: The keys of the classes that it extends.
        members: Its own members; those of its bases are not repeated.
        others: What members are that it does not name; None if there must be none.
        description: What it says of itself.
        options: The classes that a value is read as: each a kind of this one. Empty if it is read as itself.
        nullable: Whether null may stand wherever it is named.
    """

    key: str
    bases: tuple[str, ...] = ()
    members: tuple[Member, ...] = ()
    others: Shape | None = field(default_factory=Anything)
    description: str = ""
    options: tuple[str, ...] = ()
    nullable: bool = False


@dataclass(frozen=True)
class Alias:
    """A name for a type.

    Attributes:
        key: `module.Name`.
        shape: The type.
        description: What it says of itself.
    """

    key: str
    shape: Shape
    description: str = ""


@dataclass
class Shapes:
    """The classes and aliases of a contract.

    Attributes:
        made: Each by its key.
    """

    made: dict[str, Class | Alias] = field(default_factory=dict[str, Class | Alias])

    def members_of(self, key: str) -> tuple[Member, ...]:
        """The members of a class with those that it inherits, near ones first, each once."""
        found: dict[str, Member] = {}
        made = self.made.get(key)
        for one in made.members if isinstance(made, Class) else ():
            found.setdefault(one.name, one)
        for base in made.bases if isinstance(made, Class) else ():
            for one in self.members_of(base):
                found.setdefault(one.name, one)
        return tuple(found.values())

    def ancestors(self, key: str) -> Iterator[str]:
        """The keys of the classes that one extends."""
        made = self.made.get(key)
        for base in made.bases if isinstance(made, Class) else ():
            yield base
            yield from self.ancestors(base)

    def takes_null(self, shape: Shape, seen: frozenset[str] = frozenset()) -> bool:
        """Whether null fits a shape."""
        if isinstance(shape, OneOf):
            return any(self.takes_null(one, seen) for one in shape.options)
        if not isinstance(shape, Named):
            return accepts_null(shape)
        found = self.made.get(shape.key)
        if isinstance(found, Alias) and shape.key not in seen:
            return self.takes_null(found.shape, seen | {shape.key})
        return isinstance(found, Class) and found.nullable

    def reference(self, key: str, name: Callable[[str], str]) -> str:
        """What stands in source for a class or an alias.

        Args:
            key: Its key.
            name: Writes the name of one.
        """
        found = self.made.get(key)
        if not isinstance(found, Class):
            return name(key)
        return " | ".join([*map(name, found.options or (key,)), *(["None"] if found.nullable else [])])


def union(options: "list[Shape]") -> Shape:
    """One of several shapes, each once, null last."""
    flat: dict[Shape, None] = {}
    for one in options:
        flat.update(dict.fromkeys(one.options if isinstance(one, OneOf) and one.tag is None else (one,)))
    if Anything() in flat:
        return Anything()
    choices = [one for one in flat if isinstance(one, Choice)]
    if len(choices) > 1:
        # One literal type reads better than several.
        values = tuple(dict.fromkeys((type(v), v) for one in choices for v in one.values))
        flat = {
            **dict.fromkeys(one for one in flat if one not in choices),
            Choice(tuple(v for _, v in values)): None,
        }
    found = [one for one in flat if one != NULL] + ([NULL] if NULL in flat else [])
    return found[0] if len(found) == 1 else OneOf(tuple(found))


def with_null(shape: Shape) -> Shape:
    """A shape, or null."""
    return union([shape, NULL])


def accepts_null(shape: Shape) -> bool:
    """Whether null fits a shape that is neither a name nor a choice."""
    return shape == NULL or isinstance(shape, Anything)


def names(shape: Shape) -> Iterator[str]:
    """The keys of the classes and aliases that a shape names."""
    match shape:
        case Named(key):
            yield key
        case OneOf(options):
            for one in options:
                yield from names(one)
        case Items(item):
            yield from names(item)
        case Places(first, rest):
            for one in first:
                yield from names(one)
            if rest is not None:
                yield from names(rest)
        case Table(value):
            yield from names(value)
        case Equal(type):
            yield from names(type)
        case _:
            pass


# --- as source


@dataclass
class Source:
    """Writes shapes as type expressions.

    Attributes:
        reference: Writes what a class or an alias is called: its name, maybe with `| None` behind it.
        checked: Whether checks are written that only matter when a value is read.
        requires: Says whether a class has members that must be there.
        taken: The names that the contract has in the module.
        used: The names of other modules that were written so far.
    """

    reference: Callable[[str], str]
    checked: bool = True
    requires: Callable[[str], bool] | None = None
    taken: frozenset[str] = frozenset()
    used: set[str] = field(default_factory=set[str])

    def of(self, shape: Shape) -> str:
        """The expression of a shape."""
        match shape:
            case Anything():
                return self._use("Any")
            case Scalar():
                return self._scalar(shape)
            case Choice(values):
                base = f"{self._use('Literal')}[{', '.join(map(repr, values))}]"
                # To Python true is 1, and a literal type takes either.
                is_plain = all(isinstance(value, str) for value in values)
                return base if is_plain or not self.checked else self._annotated(base, [self._mark("EXACT")])
            case Equal(type, values):
                base = self.of(type)
                return self._annotated(base, [f"{self._mark('one_of')}({', '.join(map(source_of, values))})"])
            case Items(item, limits, unique):
                marks = self._limits(limits) + ([self._mark("UNIQUE")] if unique and self.checked else [])
                return self._annotated(f"list[{self.of(item)}]", marks)
            case Places():
                return self._places(shape)
            case Table(value, key, limits):
                return self._annotated(f"dict[{self.of(key)}, {self.of(value)}]", self._limits(limits))
            case Named(key):
                return self.reference(key)
            case OneOf():
                return self._one_of(shape)

    def _use(self, name: str) -> str:
        self.used.add(name)
        return name

    def _mark(self, name: str) -> str:
        """The name of a check, which gives way to a class of the contract."""
        if self.checked:
            self.used.add(name)
        return f"{name}_" if name in self.taken else name

    def _annotated(self, base: str, marks: list[str]) -> str:
        if not marks or not self.checked:
            return base
        return f"{self._use('Annotated')}[{base}, {', '.join(marks)}]"

    def _limits(self, limits: tuple[tuple[str, str], ...]) -> list[str]:
        if not limits or not self.checked:
            return []
        return [f"{self._use('Field')}({', '.join(f'{name}={value}' for name, value in limits)})"]

    def _scalar(self, shape: Scalar) -> str:
        kind = self._mark("Int") if shape.kind == "int" and self.checked else shape.kind
        marks = self._limits(shape.limits)
        marks += (
            [f"{self._mark('matching')}({pattern!r})" for pattern in shape.patterns] if self.checked else []
        )
        return self._annotated(kind, marks)

    def _places(self, shape: Places) -> str:
        first = [self.of(one) for one in shape.first]
        lengths = range(min(shape.least, len(first)), len(first))
        whole = ", ".join(first)
        if shape.rest is not None:
            rest = f"*tuple[{self.of(shape.rest)}, ...]"
            whole = f"{whole}, {rest}" if whole else rest
        parts = [f"tuple[{whole or '()'}]"]
        parts += [f"tuple[{', '.join(first[:length]) or '()'}]" for length in reversed(lengths)]
        options = [*first]
        if shape.rest is not None:
            options.append(f"rest={self.of(shape.rest)}")
        if lengths or shape.least >= len(first):
            options.append(f"least={min(shape.least, len(first))}")
        marks = [f"{self._mark('places')}({', '.join(options)})", *self._limits(shape.limits)]
        return self._annotated(" | ".join(parts), marks)

    def _one_of(self, shape: OneOf) -> str:
        parts = [
            part
            for one in shape.options
            for part in (self.of(one).split(" | ") if isinstance(one, Named) else [self.of(one)])
        ]
        null = [part for part in parts if part == "None"]
        flat = list(dict.fromkeys(part for part in parts if part != "None"))
        joined = " | ".join(flat)
        null = null[:1]
        if self.checked and len(flat) == 2 and shape.tag is None and self.requires is not None:
            first, second = shape.options[:2]
            if isinstance(first, Named) and second == OPEN and self.requires(first.key):
                # An empty object would fit a class that requires nothing.
                return " | ".join([f"{self._mark('OrObject')}[{flat[0]}]", *null])
        if shape.tag is None or not self.checked:
            return " | ".join([joined, *null])
        tags = ", ".join(f"{tag!r}: {place}" for tag, place in shape.tags)
        tagged = self._annotated(joined, [f"{self._mark('tagged')}({shape.tag!r}, {{{tags}}})"])
        return " | ".join([tagged, *null])
