"""Finds branches of `oneOf` that one value can fit at once, which is not checked when values are read."""

from collections.abc import Sequence
from itertools import combinations

from ._merge import same
from ._shapes import (
    Alias,
    Anything,
    Choice,
    Class,
    Equal,
    Items,
    Member,
    Named,
    OneOf,
    Places,
    Scalar,
    Shape,
    Shapes,
    Table,
)

_NUMBERS = frozenset(("integer", "number"))


class Overlaps:
    """Tells whether shapes have values in common.

    Args:
        shapes: The classes and aliases.
    """

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes

    def first(self, options: Sequence[Shape]) -> tuple[Shape, Shape] | None:
        """The first two options that may have a value in common; None if no two do."""
        return next(((a, b) for a, b in combinations(options, 2) if not self._are_apart(a, b)), None)

    def _are_apart(self, one: Shape, other: Shape, depth: int = 0) -> bool:
        ones, others = self._flat(one), self._flat(other)
        if depth > 3 or ones is None or others is None:
            return False
        return all(self._are_apart_flat(a, b, depth) for a in ones for b in others)

    def _flat(self, shape: Shape, seen: frozenset[str] = frozenset()) -> list[Shape] | None:
        """What a shape may be, without aliases and choices; None if that is anything."""
        match shape:
            case Anything():
                return None
            case OneOf(options):
                found: list[Shape] = []
                for one in options:
                    flat = self._flat(one, seen)
                    if flat is None:
                        return None
                    found += flat
                return found
            case Named(key):
                made = self._shapes.made.get(key)
                if isinstance(made, Alias) and key not in seen:
                    return self._flat(made.shape, seen | {key})
                if isinstance(made, Class) and made.options:
                    return [Named(option) for option in made.options]
                null: list[Shape] = [Scalar("None")] if isinstance(made, Class) and made.nullable else []
                return [shape, *null]
            case _:
                return [shape]

    def _are_apart_flat(self, one: Shape, other: Shape, depth: int) -> bool:
        kinds, others = _kinds(one), _kinds(other)
        if not kinds & others and not (kinds & _NUMBERS and others & _NUMBERS):
            return True
        match one, other:
            case ((Choice(values) | Equal(_, values)), (Choice(listed) | Equal(_, listed))):
                return not any(same(value, v) for value in values for v in listed)
            case Named(first), Named(second):
                return first != second and self._are_apart_classes(first, second, depth)
            case Items(item, limits), Items(also, more):
                is_filled = any(name == "min_length" for name, _ in (*limits, *more))
                return is_filled and self._are_apart(item, also, depth + 1)
            case Places(first_items), Places(second_items):
                pairs = zip(first_items, second_items, strict=False)
                filled = min(one.least, other.least)
                return any(self._are_apart(a, b, depth + 1) for a, b in list(pairs)[:filled])
            case _:
                return False

    def _are_apart_classes(self, first: str, second: str, depth: int) -> bool:
        ones = {one.name: one for one in self._shapes.members_of(first)}
        others = {one.name: one for one in self._shapes.members_of(second)}
        for name in ones.keys() | others.keys():
            one, other = ones.get(name), others.get(name)
            if one is None or other is None:
                present = one or other
                lacking = self._shapes.made.get(second if other is None else first)
                if present and present.required and isinstance(lacking, Class) and lacking.others is None:
                    return True
            elif (one.required or other.required) and self._members_apart(one, other, depth):
                return True
        return False

    def _members_apart(self, one: Member, other: Member, depth: int) -> bool:
        return self._are_apart(one.shape, other.shape, depth + 1)


def _kinds(shape: Shape) -> frozenset[str]:
    """The JSON types of a shape's values."""
    match shape:
        case Scalar(kind):
            named = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "None": "null"}
            return frozenset((named[kind],))
        case Choice(values):
            return frozenset(
                "boolean" if isinstance(v, bool) else "string" if isinstance(v, str) else "integer"
                for v in values
            )
        case Equal(type):
            return _kinds(type)
        case Items() | Places():
            return frozenset(("array",))
        case Named() | Table():
            return frozenset(("object",))
        case _:
            return frozenset(("array", "boolean", "integer", "null", "number", "object", "string"))
