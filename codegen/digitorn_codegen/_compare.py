"""Compares schemas: whether every value that travelled by the old one travels by the new one, and back."""

import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from ._changes import Notes, Where
from ._diff_shapes import ANYTHING, Conjunction, Form, Forms, Key, Shape, key_of
from ._documents import JsonValue
from ._match import match, types_of
from ._names import pascal
from ._restrictions import belongs, bits_of, canonical, factor, is_tighter, of_texts, whole
from ._sides import TYPES, Direction, Place, Side, json_type

_FLAGS = frozenset({"true", "false"})
_NULL = frozenset({"null"})
_KINDS = ("object", "array", "string", "number", "boolean")


@dataclass(frozen=True)
class _Pair:
    """Two schemas to be compared.

    Attributes:
        where: Their place.
        old: The old one.
        new: The new one.
        optional: Whether the value may be left out, so that a default counts.
    """

    where: Where
    old: Conjunction
    new: Conjunction
    optional: bool = False


@dataclass
class Schemas:
    """Compares the schemas of two contracts; what many places share is compared once in each direction.

    Attributes:
        old: The old contract.
        new: The new contract.
        notes: Where changes go.
    """

    old: Side
    new: Side
    notes: Notes
    _forms: dict[Direction, tuple[Forms, Forms]] = field(default_factory=dict[Direction, tuple[Forms, Forms]])
    _compared: set[tuple[Direction, str, Key, Key]] = field(
        default_factory=set[tuple[Direction, str, Key, Key]]
    )

    def __post_init__(self) -> None:
        for direction in ("request", "response"):
            self._forms[direction] = Forms(self.old, direction), Forms(self.new, direction)

    def compare(
        self, where: Where, old: Place, new: Place, direction: Direction, *, optional: bool = False
    ) -> None:
        """Compares two schemas and all that is below them.

        Args:
            where: Their place.
            old: The old one.
            new: The new one.
            direction: Whether their values are sent or received.
            optional: Whether the value may be left out, so that a default counts.

        Raises:
            ContractError: A reference leads nowhere.
        """
        comparison = _Comparison(self, direction, *self._forms[direction])
        # Level by level, so that what is reached in several ways is named by the shortest one.
        waiting = deque([_Pair(where, (old,), (new,), optional)])
        while waiting:
            waiting += comparison.below(waiting.popleft())

    def said(self, place: Place, keyword: str, *, is_old: bool) -> JsonValue:
        """The value of a keyword that a schema has itself or by its references and parts; None without it."""
        return self._forms["response"][not is_old].said((place,), keyword)

    def types(self, place: Place, *, is_old: bool) -> frozenset[str]:
        """The JSON types of the values that a request may hold in a place."""
        return self._forms["request"][not is_old].form((place,)).types

    def renamed(self, where: Where, names: tuple[str, str], old: Place, new: Place) -> None:
        """Notes that a class goes by another name, once for each class."""
        keys = ((names[0], ""),), ((names[1], ""),)
        if self.is_first("response", "name", *keys):
            self.notes.note("class-renamed", where, f"class {names[0]} became {names[1]}", old, new)

    def is_first(self, direction: Direction, what: str, old: Key, new: Key) -> bool:
        """Whether two things are compared for the first time; from now on they are not."""
        key = (direction, what, old, new)
        found = key not in self._compared
        self._compared.add(key)
        return found


@dataclass(frozen=True)
class _Comparison:
    schemas: Schemas
    direction: Direction
    old: Forms
    new: Forms

    def note(self, rule: str, where: Where, what: str, old: Place | None, new: Place | None) -> None:
        self.schemas.notes.note(f"{self.direction}-{rule}", where, what, old, new)

    def below(self, pair: _Pair) -> Iterator[_Pair]:
        """Compares two schemas; yields the pairs of schemas below them."""
        if not self.schemas.is_first(self.direction, "schema", key_of(pair.old), key_of(pair.new)):
            return
        before, after = self.old.form(pair.old), self.new.form(pair.new)
        if pair.optional:
            self._default(pair)
        self._types(pair.where, before, after)
        where = _within(pair.where, _names(before), _names(after))
        if _is_union(before) and _is_union(after):
            self._renamed(where, before.names, after.names, before.place, after.place)
        for kind in _KINDS:
            old = [shape for shape in before.shapes if types_of(shape, kind)]
            new = [shape for shape in after.shapes if types_of(shape, kind)]
            if not old or not new:
                continue
            matched = match(kind, old, new, (self.old, self.new))
            for shape in matched.removed:
                text = f"{_label(shape, kind)} was removed"
                self.note("variant-removed", where, text, shape.place, after.place)
            for shape in matched.added:
                text = f"{_label(shape, kind)} was added"
                self.note("variant-added", where, text, before.place, shape.place)
            for one, other in matched.pairs:
                yield from self._shapes(where, one, other, kind)

    # --- the whole

    def _default(self, pair: _Pair) -> None:
        before, after = self.old.said(pair.old, "default"), self.new.said(pair.new, "default")
        if canonical(before) == canonical(after):
            return
        old, new = _first(pair.old), _first(pair.new)
        if before is None:
            self.note("default-added", pair.where, f"default {canonical(after)} was added", old, new)
        else:
            text = f"default {canonical(before)} became {'none' if after is None else canonical(after)}"
            self.note("default-changed", pair.where, text, old, new)

    def _types(self, where: Where, before: Form, after: Form) -> None:
        was, now = before.types, after.types
        names = _names(before), _names(after)
        old, new = before.place, after.place
        if names[0] and names[1]:
            # Whether null may stand in a place is the place's own affair.
            self._type_sets(where, was & _NULL, now & _NULL, old, new)
            keys = _without_null(before), _without_null(after)
            if not self.schemas.is_first(self.direction, "types", *keys):
                return
            where = _within(where, names[0], names[1])
            was, now = was - _NULL, now - _NULL
        self._type_sets(where, was, now, old, new)

    def _type_sets(
        self, where: Where, before: frozenset[str], after: frozenset[str], old: Place, new: Place
    ) -> None:
        if lost := sorted(before - after):
            left = f"takes only {' or '.join(sorted(after)) or 'nothing'}" if before | _NULL == TYPES else ""
            text = left or f"no longer takes {' or '.join(lost)}"
            self.note("type-narrowed", where, text, old, new)
        if gained := sorted(after - before):
            added = "anything" if after | _NULL == TYPES else " or ".join(gained)
            self.note("type-widened", where, f"may be {added}", old, new)

    def _renamed(
        self, where: Where, before: tuple[str, ...], after: tuple[str, ...], old: Place, new: Place
    ) -> None:
        """Notes that a class goes by another name, unless the old name still stands for it."""
        if not before or not after or {*map(pascal, before)} & {*map(pascal, after)}:
            return
        kept, now = self.new.component(before[0]), self.new.component(after[-1])
        if kept is not None and now is not None and key_of([kept]) == key_of([now]):
            return
        self.schemas.renamed(where, (before[0], after[0]), old, new)

    # --- one shape

    def _shapes(self, where: Where, old: Shape, new: Shape, kind: str) -> Iterator[_Pair]:
        if kind in ("object", "array"):
            self._renamed(where, old.names, new.names, old.place, new.place)
        where = _within(where, old.names, new.names)
        self._tags(where, old, new)
        if not self.schemas.is_first(self.direction, kind, old.key, new.key):
            return
        self._values(where, _of_kind(old, kind), _of_kind(new, kind), old.place, new.place)
        if old.values is None and new.values is None:
            self._limits(where, old, new, kind)
            self._checks(where, old, new, kind)
        if kind == "object":
            yield from self._members(where, old, new)
            yield from self._others(where, old, new)
        elif kind == "array":
            yield from self._items(where, old, new)

    def _tags(self, where: Where, old: Shape, new: Shape) -> None:
        """Compares what discriminators say; what members list themselves is compared with the members."""
        for member in sorted(old.tags.keys() | new.tags.keys()):
            if old.listed.get(member) != new.listed.get(member):
                continue
            before = old.tags.get(member, old.listed.get(member))
            after = new.tags.get(member, new.listed.get(member))
            self._values(where.below(f".{member}"), before, after, old.place, new.place)

    def _values(
        self,
        where: Where,
        before: frozenset[str] | None,
        after: frozenset[str] | None,
        old: Place,
        new: Place,
    ) -> None:
        if before is None and after is None:
            return
        # Without a list of values every value is allowed.
        lost = sorted(before - after) if before is not None and after is not None else []
        gained = sorted(after - before) if before is not None and after is not None else []
        if before is None:
            lost = ["all but the listed values"]
        if after is None:
            gained = ["any other value"]
        for value in lost:
            self.note("value-removed", where, f"value {value} was removed", old, new)
        for value in gained:
            self.note("value-added", where, f"value {value} was added", old, new)

    def _limits(self, where: Where, old: Shape, new: Shape, kind: str) -> None:
        limits = dict(old.limits), dict(new.limits)
        # Numbers of every size are read; only a server may refuse some.
        if self.direction == "request":
            for found, shape in zip(limits, (old, new), strict=True):
                if bits := bits_of(shape.formats):
                    found["maxBits"] = bits
        for name in sorted(limits[0].keys() | limits[1].keys()):
            if not belongs(name, kind):
                continue
            before, after = limits[0].get(name), limits[1].get(name)
            shown = f"{before or f'no {name}'} became {after or f'no {name}'}"
            if kind == "number" and "number" not in old.types | new.types:
                before, after = before and whole(name, before), after and whole(name, after)
            if is_tighter(name, after, before):
                self.note("limit-tightened", where, shown, old.place, new.place)
            elif is_tighter(name, before, after):
                self.note("limit-loosened", where, shown, old.place, new.place)

    def _checks(self, where: Where, old: Shape, new: Shape, kind: str) -> None:
        if kind == "string":
            self._sets(where, "pattern", old.patterns, new.patterns, old.place, new.place)
            formats = of_texts(old.formats), of_texts(new.formats)
            self._sets(where, "format", *formats, old.place, new.place)
        for keyword in sorted(old.checks.keys() | new.checks.keys()):
            before, after = old.checks.get(keyword), new.checks.get(keyword)
            if before != after and belongs(keyword, kind):
                happened = _what_happened(before, after)
                rule = f"check-{happened}"
                if keyword == "multipleOf" and before and after:
                    rule = _stepped(factor(before), factor(after))
                self.note(rule, where, f"{keyword} was {happened}", old.place, new.place)

    def _sets(
        self, where: Where, what: str, before: frozenset[str], after: frozenset[str], old: Place, new: Place
    ) -> None:
        if before == after:
            return
        lost, gained = ", ".join(sorted(before - after)), ", ".join(sorted(after - before))
        if lost and gained:
            self.note("check-changed", where, f"{what} {lost} became {gained}", old, new)
        elif gained:
            self.note("check-added", where, f"{what} {gained} was added", old, new)
        else:
            self.note("check-removed", where, f"{what} {lost} was removed", old, new)

    # --- objects and lists

    def _members(self, where: Where, old: Shape, new: Shape) -> Iterator[_Pair]:
        for name, member in old.members.items():
            if name not in new.members:
                self.note("field-removed", where.below(f".{name}"), "was removed", _first(member), new.place)
        for name, member in new.members.items():
            required, at = name in new.required, where.below(f".{name}")
            if name not in old.members:
                rule = "field-added"
                if self.direction == "request" and required:
                    rule = "field-added-required"
                elif self.direction == "response" and old.others is None:
                    rule = "field-added-closed"
                self.note(rule, at, f"was added{', required' * required}", old.place, _first(member))
                if self.direction == "response" and old.others:
                    yield _Pair(at, old.others, member)
                continue
            before = old.members[name]
            if required != (name in old.required):
                became = "required" if required else "optional"
                self.note(f"field-{became}", at, f"became {became}", _first(before), _first(member))
            yield _Pair(at, before, member, optional=not required and name not in old.required)

    def _others(self, where: Where, old: Shape, new: Shape) -> Iterator[_Pair]:
        yield from self._rest(where.below(".*"), old, new, (old.others, new.others), "members")
        for pattern in dict.fromkeys((*old.by_pattern, *new.by_pattern)):
            # Members that match no pattern any more are like all others.
            before = old.by_pattern.get(pattern, old.others)
            after = new.by_pattern.get(pattern, new.others)
            yield from self._rest(where.below(f".{pattern}"), old, new, (before, after), "members")

    def _items(self, where: Where, old: Shape, new: Shape) -> Iterator[_Pair]:
        for index in range(max(len(old.prefix), len(new.prefix))):
            before = old.prefix[index] if index < len(old.prefix) else old.items
            after = new.prefix[index] if index < len(new.prefix) else new.items
            yield from self._rest(where.below(f"[{index}]"), old, new, (before, after), "items")
        yield from self._rest(where.below("[]"), old, new, (old.items, new.items), "items")

    def _rest(
        self,
        where: Where,
        old: Shape,
        new: Shape,
        schemas: tuple[Conjunction | None, Conjunction | None],
        what: str,
    ) -> Iterator[_Pair]:
        """Compares the schemas of members or items that are not named; None stands for no such."""
        before, after = schemas
        if before is not None and after is not None:
            if before or after:
                yield _Pair(where, before or (ANYTHING,), after or (ANYTHING,))
        elif before is not None:
            self.note("fields-closed", where, f"no other {what} may stand here", old.place, new.place)
        elif after is not None:
            self.note("fields-opened", where, f"other {what} may stand here", old.place, new.place)


def _names(form: Form) -> tuple[str, ...]:
    """The components that a schema is, null left out of account."""
    shapes = [shape for shape in form.shapes if shape.types != _NULL]
    return shapes[0].names if len(shapes) == 1 else form.names


def _without_null(form: Form) -> Key:
    return tuple(sorted(one for shape in form.shapes if shape.types != _NULL for one in shape.key))


def _is_union(form: Form) -> bool:
    """Whether a schema is a union of objects and something else, which has a name of its own."""
    shapes = [shape for shape in form.shapes if shape.types != _NULL]
    return len(shapes) > 1 and any("object" in shape.types for shape in shapes)


def _within(where: Where, old: tuple[str, ...], new: tuple[str, ...]) -> Where:
    """The place of what stands in a component: the component, if it goes by one name in both contracts."""
    shared = [name for name in old if name in new]
    return where.within(shared[-1]) if shared else where


def _first(places: Conjunction) -> Place | None:
    return places[0] if places and places[0] is not ANYTHING else None


def _of_kind(shape: Shape, kind: str) -> frozenset[str] | None:
    """The values of a JSON type that a shape lists; None if it lists none."""
    if shape.values is None:
        return _FLAGS if kind == "boolean" else None
    names = ("integer", "number") if kind == "number" else (kind,)
    return frozenset(one for one in shape.values if json_type(json.loads(one)) in names)


def _label(shape: Shape, kind: str) -> str:
    if shape.names:
        return shape.names[-1]
    if kind == "object" and shape.members:
        return f"an object with {', '.join(shape.members)}"
    return {"object": "an object", "array": "a list", "string": "a text"}.get(kind, f"a {kind}")


def _what_happened(before: str | None, after: str | None) -> str:
    return "added" if before is None else "removed" if after is None else "changed"


def _stepped(before: float | None, after: float | None) -> str:
    """What happened to a `multipleOf`."""
    if before and after and after % before == 0:
        return "limit-tightened"
    return "limit-loosened" if before and after and before % after == 0 else "check-changed"
