"""Which shape of a union has become which."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from ._diff_shapes import Conjunction, Form, Forms, Key, Shape
from ._restrictions import is_tighter

_Outline: TypeAlias = tuple[frozenset[str], frozenset[str], frozenset[tuple[str, frozenset[str]]]]

_NULL = frozenset({"null"})
_NUMBERS = frozenset({"integer", "number"})
# Objects that have less in common are different ones.
_ALIKE = 0.3
# How far down members are looked at to tell objects apart.
_DEEPEST = 3


@dataclass(frozen=True)
class Matched:
    """Shapes of one JSON type, old and new.

    Attributes:
        pairs: Those that became one another.
        removed: Old ones that became none.
        added: New ones that were none.
    """

    pairs: Sequence[tuple[Shape, Shape]]
    removed: Sequence[Shape]
    added: Sequence[Shape]


def types_of(shape: Shape, kind: str) -> frozenset[str]:
    """The types of a shape that belong to a kind of values; integers are numbers."""
    return shape.types & (_NUMBERS if kind == "number" else {kind})


def match(kind: str, old: Sequence[Shape], new: Sequence[Shape], forms: tuple[Forms, Forms]) -> Matched:
    """Matches the shapes of one kind of values.

    Args:
        kind: A JSON type; `number` stands for integers as well.
        old: The old shapes that take such values.
        new: The new ones.
        forms: Those of the old and the new contract.
    """
    if kind in ("string", "number", "boolean"):
        return _plain(_simplified(kind, old), _simplified(kind, new), kind)
    if len(old) == len(new) == 1:
        return Matched([(old[0], new[0])], (), ())
    return _structured(kind, old, new, forms)


def _plain(old: list[Shape], new: list[Shape], kind: str) -> Matched:
    """Texts and the like: equal ones first, then in the order in which they stand."""
    pairs: list[tuple[Shape, Shape]] = []
    for shape in list(old):
        same = next((o for o in new if covers(o, shape, kind) and covers(shape, o, kind)), None)
        if same is not None:
            pairs.append((shape, same))
            old.remove(shape)
            new.remove(same)
    count = min(len(old), len(new))
    return Matched([*pairs, *zip(old, new, strict=False)], old[count:], new[count:])


def _simplified(kind: str, shapes: Sequence[Shape]) -> list[Shape]:
    """The shapes without those that others contain; lists of values as one list."""
    listed = [shape for shape in shapes if shape.values is not None]
    if len(listed) > 1:
        key: Key = tuple(sorted({one for shape in listed for one in shape.key}))
        values = frozenset[str]().union(*(shape.values or () for shape in listed))
        types = frozenset[str]().union(*(shape.types for shape in listed))
        merged = replace(listed[0], key=key, names=(), values=values, types=types)
        shapes = [merged, *(shape for shape in shapes if shape.values is None)]
    kept: list[Shape] = []
    for shape in sorted(shapes, key=lambda one: not one.is_free):
        if not any(covers(other, shape, kind) for other in kept):
            kept = [other for other in kept if not covers(shape, other, kind)] + [shape]
    return kept


def covers(shape: Shape, other: Shape, kind: str) -> bool:
    """Whether a shape surely takes all texts, numbers or flags that another takes."""
    if not types_of(other, kind) <= types_of(shape, kind):
        return False
    if shape.values is not None:
        return other.values is not None and other.values <= shape.values
    return (
        not any(is_tighter(name, limit, other.limits.get(name)) for name, limit in shape.limits.items())
        and shape.patterns <= other.patterns
        and shape.formats <= other.formats
        and shape.checks.items() <= other.checks.items()
    )


def _structured(kind: str, old: Sequence[Shape], new: Sequence[Shape], forms: tuple[Forms, Forms]) -> Matched:
    """Objects and lists: those of one name first, then those that are most alike."""
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for label in (_name, _outline):
        mine, theirs = (_alone(label, shapes) for shapes in (old, new))
        for found in mine.keys() & theirs.keys():
            if mine[found] not in pairs and theirs[found] not in taken:
                pairs[mine[found]] = theirs[found]
                taken.add(theirs[found])
    scored = sorted(
        (
            (-_likeness(kind, one, other, forms), index, place)
            for index, one in enumerate(old)
            if index not in pairs
            for place, other in enumerate(new)
            if place not in taken
        ),
    )
    for score, index, place in scored:
        if -score >= _ALIKE and index not in pairs and place not in taken:
            pairs[index] = place
            taken.add(place)
    return Matched(
        [(old[index], new[place]) for index, place in sorted(pairs.items())],
        [shape for index, shape in enumerate(old) if index not in pairs],
        [shape for index, shape in enumerate(new) if index not in taken],
    )


def _name(shape: Shape) -> str | None:
    return shape.names[-1] if shape.names else None


def _outline(shape: Shape) -> _Outline | None:
    """What objects that are written out are recognised by; None for lists, and for components."""
    if shape.names or not shape.members:
        return None
    return frozenset(shape.members), shape.required, frozenset(shape.listed.items())


def _alone(label: Callable[[Shape], Hashable], shapes: Sequence[Shape]) -> dict[Hashable, int]:
    """Which shape has a label that no other one has."""
    labels = [label(shape) for shape in shapes]
    count = Counter(labels)
    return {one: index for index, one in enumerate(labels) if one is not None and count[one] == 1}


def _likeness(kind: str, old: Shape, new: Shape, forms: tuple[Forms, Forms]) -> float:
    """How much two shapes have in common, from 0 to 3."""
    if set(old.names) & set(new.names):
        return 3.0
    if old.names and new.names and _both_exist(old, new, forms):
        return 0.0
    if kind == "object":
        for tag in old.listed.keys() & new.listed.keys():
            if not old.listed[tag] & new.listed[tag]:
                return 0.0
    needed = len(old.required & new.required) / max(len(old.required | new.required), 1)
    return _alike(kind, old, new, forms, _DEEPEST) + needed / 10


def _both_exist(old: Shape, new: Shape, forms: tuple[Forms, Forms]) -> bool:
    """Whether each of two components is in both contracts, so that neither became the other."""
    return all(one.component(name) for one in forms for name in (old.names[-1], new.names[-1]))


def _alike(kind: str, old: Shape, new: Shape, forms: tuple[Forms, Forms], depth: int) -> float:
    """How much of the members or items of two shapes is the same, from 0 to 1."""
    if kind == "array":
        before, after = ([*shape.prefix, shape.items or ()] for shape in (old, new))
        pairs = list(zip(before, after, strict=False))
        count = max(len(before), len(after))
    else:
        shared = [name for name in old.members if name in new.members]
        pairs = [(old.members[name], new.members[name]) for name in shared]
        count = len(old.members.keys() | new.members.keys())
    if not count:
        return 1.0
    # To have a member of one name is half of having the same member.
    each = [0.5 + _alike_below(one, other, forms, depth) / 2 for one, other in pairs]
    return sum(each) / count


def _alike_below(old: Conjunction, new: Conjunction, forms: tuple[Forms, Forms], depth: int) -> float:
    before, after = forms[0].form(old), forms[1].form(new)
    if before.types != after.types:
        return 0.0
    names = _names(before.shapes), _names(after.shapes)
    if names[0] and names[1]:
        return float(bool(names[0] & names[1]))
    one, other = _only(before), _only(after)
    if not depth or one is None or other is None:
        return 1.0
    kind = next((kind for kind in ("object", "array") if kind in one.types), "")
    return _alike(kind, one, other, forms, depth - 1) if kind else 0.5 + (one.values == other.values) / 2


def _only(form: Form) -> Shape | None:
    """The shape of a schema that is no union, null left out of account."""
    shapes = [shape for shape in form.shapes if shape.types != _NULL]
    return shapes[0] if len(shapes) == 1 else None


def _names(shapes: Iterable[Shape]) -> set[str]:
    return {name for shape in shapes for name in shape.names}
