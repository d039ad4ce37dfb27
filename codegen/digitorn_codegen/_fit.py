"""How a value fits a schema: what it has that is not declared, and what it lacks."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from ._documents import JsonObject, JsonValue
from ._hiding import HIDDEN
from ._sides import Flat, Place, Side, flat, follow, json_type

Kind: TypeAlias = Literal["undeclared", "missing", "null", "type", "value"]


class Misfit(NamedTuple):
    """One way in which a value does not fit.

    Attributes:
        kind: In which way.
        path: Members that lead to the place, such as `data.items[].name`; empty for the value itself.
        found: What stands there, where that helps.
    """

    kind: Kind
    path: str
    found: str = ""


@dataclass
class Fit:
    """What comparing a value with a schema found.

    Attributes:
        misfits: Where the value does not fit.
        declared: Paths of the members that the schema declares for what was seen.
        seen: Paths of the members that were seen.
    """

    misfits: list[Misfit] = field(default_factory=list[Misfit])
    declared: set[str] = field(default_factory=set[str])
    seen: set[str] = field(default_factory=set[str])

    def add(self, other: "Fit") -> None:
        """Takes over what another comparison found."""
        self.misfits += other.misfits
        self.declared |= other.declared
        self.seen |= other.seen

    def rank(self, path: str) -> tuple[int, ...]:
        """How badly the value at a path fits, to tell the branches of a union apart.

        Another type weighs most, then what the value itself has and lacks, then what is wrong deeper in it.
        """
        ranks = [0, 0, 0, 0, 0]
        for kind, where, _ in self.misfits:
            if where == path and kind in ("type", "null"):
                ranks[0] += 1
                continue
            is_deep = "." in where.removeprefix(path).lstrip(".") or "[]" in where.removeprefix(path)
            ranks[1 + 2 * is_deep + (kind == "undeclared")] += 1
        return tuple(ranks)


@dataclass
class Fitting:
    """Compares values with the schemas of a contract."""

    side: Side
    _flats: dict[int, Flat] = field(default_factory=dict[int, Flat])

    def fit(self, place: Place, value: JsonValue, path: str = "", known: Iterable[str] = ()) -> Fit:
        """How a value fits a schema. Of a union the branch counts that fits best.

        Args:
            place: The schema.
            value: The value.
            path: Where the value stands.
            known: Names of members that are declared elsewhere for the same object.
        """
        place, _, nullable = follow(self.side, place)
        if value is None and nullable:
            return Fit()
        schema = self._flat(place)
        kind = json_type(value)
        if value is None and "null" not in schema.types:
            return Fit([Misfit("null", path)])
        if kind not in schema.types:
            return Fit([Misfit("type", path, kind)])
        is_listed = schema.values is None or json.dumps(value) in schema.values
        if value not in (None, HIDDEN) and not is_listed:
            return Fit([Misfit("value", path, json.dumps(value))])
        found = Fit()
        if isinstance(value, list) and "items" in schema.schema:
            for item in value:
                found.add(self.fit(Place(schema.document, schema.schema["items"]), item, f"{path}[]"))
        elif isinstance(value, dict):
            found.add(self._members(schema, value, path, frozenset(known)))
        if schema.branches:
            names = {*known, *schema.fields}
            fits = [self.fit(branch, value, path, names) for branch in schema.branches.values()]
            found.add(min(fits, key=lambda one: one.rank(path)))
        return found

    def _members(self, schema: Flat, value: JsonObject, path: str, known: frozenset[str]) -> Fit:
        found = Fit(
            [Misfit("missing", _below(path, name)) for name in sorted(schema.required - value.keys())]
        )
        found.declared = {_below(path, name) for name in schema.fields}
        found.seen = {_below(path, name) for name in value}
        # An object that declares no members takes any; of a union each branch looks for itself.
        is_closed = bool(schema.fields or known) and not schema.is_open and not schema.branches
        others = schema.schema.get("additionalProperties")
        for name, member in value.items():
            if name in schema.fields:
                found.add(self.fit(schema.fields[name], member, _below(path, name)))
            elif isinstance(others, dict):
                found.add(self.fit(Place(schema.document, others), member, _below(path, "*")))
            elif is_closed and name not in known:
                found.misfits.append(Misfit("undeclared", _below(path, name)))
        return found

    def _flat(self, place: Place) -> Flat:
        key = id(place.schema)
        if key not in self._flats:
            self._flats[key] = flat(self.side, place)
        return self._flats[key]


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
