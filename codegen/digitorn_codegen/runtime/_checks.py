"""What JSON Schema asks for and Python's types alone do not say."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeAlias, TypeVar, cast, get_args

from pydantic import AfterValidator, BaseModel, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

T = TypeVar("T")


class _Whole:
    """Reads a number without a fraction as an integer, as JSON Schema does: 3.0 is 3."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        fraction = core_schema.no_info_after_validator_function(_whole, core_schema.float_schema(strict=True))
        return core_schema.union_schema(
            [core_schema.int_schema(strict=True), fraction],
            mode="left_to_right",
            custom_error_type="int_type",
        )


def _whole(value: float) -> int:
    if not value.is_integer():
        raise PydanticCustomError("int_type", "Input should be a valid integer")
    return int(value)


Int: TypeAlias = Annotated[int, _Whole()]
"""An integer."""


class _Exact:
    """Tells true from 1 among the values of a literal type, and takes 1.0 for 1, as JSON Schema does."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        values = get_args(source)

        def exact(value: object) -> object:
            if isinstance(value, float) and value.is_integer():
                value = int(value)
            if isinstance(value, bool | int) and not any(value is one or _same(value, one) for one in values):
                listed = ", ".join(map(repr, values))
                raise PydanticCustomError("literal_error", "Input should be {expected}", {"expected": listed})
            return value

        return core_schema.no_info_before_validator_function(exact, handler(source))


EXACT: Final = _Exact()
"""Marks a literal type of numbers or flags."""


class _NotNull:
    """Refuses null where a member may only be left out."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        return schema["schema"] if schema["type"] == "nullable" else schema


Maybe: TypeAlias = Annotated[T | None, _NotNull()]
"""A member that may be left out, and is None then. On the wire it is never null."""

OrObject: TypeAlias = Annotated[T | dict[str, Any], Field(union_mode="left_to_right")]
"""A class with required members, or an open object where that does not fit.

pydantic would always try both, which takes twice as long and finds the same: the class wins if it fits.
"""


@dataclass(frozen=True)
class _Places:
    """Reads a list whose items have a type each as a tuple."""

    first: tuple[object, ...]
    rest: object
    least: int

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        items = [handler.generate_schema(one) for one in self.first]
        options = [core_schema.tuple_schema(items[:length]) for length in range(self.least, len(items))]
        if self.rest is _Nothing:
            options.append(core_schema.tuple_schema(items))
        else:
            others = handler.generate_schema(self.rest)
            options.append(core_schema.tuple_schema([*items, others], variadic_item_index=len(items)))
        for option in options:
            # JSON has lists.
            option["strict"] = False
        return core_schema.union_schema([*reversed(options)], mode="left_to_right")


class _Nothing:
    """Where there are no other items. None would say that they are null."""


def places(*first: object, rest: object = _Nothing, least: int = 0) -> _Places:
    """Marks a tuple that is a list on the wire.

    Args:
        first: The types of the first items.
        rest: The type of the others, if there are any.
        least: The smallest number of items.
    """
    return _Places(first, rest, least)


def _same(one: object, other: object) -> bool:
    """Whether two JSON values are equal; true is not 1 there."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        first, second = cast("list[object]", one), cast("list[object]", other)
        return len(first) == len(second) and all(map(_same, first, second))
    if isinstance(one, dict) and isinstance(other, dict):
        members, others = cast("dict[str, object]", one), cast("dict[str, object]", other)
        return members.keys() == others.keys() and all(_same(members[key], others[key]) for key in members)
    return one == other


def one_of(*values: object) -> AfterValidator:
    """Accepts a few values only.

    Args:
        values: The values, as JSON has them.
    """

    def check(value: T) -> T:
        if not any(_same(value, one) for one in values):
            raise PydanticCustomError("enum", "Input is not one of the listed values")
        return value

    return AfterValidator(check)


def _wire(value: object) -> object:
    return value.model_dump(mode="json", by_alias=True) if isinstance(value, BaseModel) else value


def _no_two_alike(values: list[T]) -> list[T]:
    plain = [_wire(value) for value in values]
    try:
        if len({(type(value), value) for value in plain}) == len(plain) and not any(
            isinstance(value, float) for value in plain
        ):
            return values
    except TypeError:
        # Lists and objects have no hash.
        pass
    for place, value in enumerate(plain):
        if any(_same(value, other) for other in plain[:place]):
            raise PydanticCustomError("unique", "Input has two equal items")
    return values


UNIQUE: Final = AfterValidator(_no_two_alike)
"""Marks a list without two equal items."""


def matching(pattern: str) -> AfterValidator:
    """Accepts texts in which a pattern is found that only Python's own engine understands.

    Args:
        pattern: A regular expression.
    """
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if compiled.search(value) is None:
            raise PydanticCustomError(
                "string_pattern_mismatch", "String should match pattern '{pattern}'", {"pattern": pattern}
            )
        return value

    return AfterValidator(check)


_UNTAGGED: Final = -1


@dataclass(frozen=True)
class _Tagged:
    """Reads a value of a union as what its tag says, and tries all of them if it has none."""

    name: str
    places: Mapping[str, int]

    def __hash__(self) -> int:
        return hash((self.name, *self.places.items()))

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        if schema["type"] != "union":
            return schema
        options = [one if not isinstance(one, tuple) else one[0] for one in schema["choices"]]
        by_tag: dict[object, CoreSchema] = {tag: options[place] for tag, place in self.places.items()}
        return core_schema.tagged_union_schema({**by_tag, _UNTAGGED: schema}, self._tag())

    def _tag(self) -> Callable[[object], object]:
        name = self.name

        def tag(value: object) -> object:
            found = cast("dict[str, object]", value).get(name) if isinstance(value, dict) else None
            return found if isinstance(found, str) else _UNTAGGED

        return tag


def tagged(name: str, places: Mapping[str, int]) -> _Tagged:
    """Tells the types of a union apart by a member.

    Args:
        name: The member.
        places: The place in the union that each of its values stands for.
    """
    return _Tagged(name, places)
