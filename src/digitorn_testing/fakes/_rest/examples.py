"""Answers made up from the contract's types, always the same for an operation."""

import types
from functools import cache
from typing import Annotated, Any, Final, Literal, Union, cast, get_args, get_origin

from pydantic.fields import FieldInfo

from digitorn_testing._generated._runtime import Model, RestOperation

_UNIONS: Final = (Union, types.UnionType)

# Values that are easy to recognise in the output of a failing test. A count of one is right for every list.
_VALUES: Final[dict[object, object]] = {int: 1, float: 1.0, bool: True, type(None): None}


@cache
def example_of(operation: RestOperation[Any]) -> Any:
    """A result that keeps to the contract, as a JSON value.

    Optional members are present and lists have one item. Errors are left out where the contract allows it.

    Args:
        operation: The operation; it must have a result that is read as JSON.
    """
    return _example(operation.result, "text", ())


def _example(kind: Any, name: str, within: tuple[type[Model], ...]) -> Any:
    """A value of a type.

    Args:
        kind: The type.
        name: What the value is called.
        within: The classes that the value is part of, which would otherwise contain themselves without end.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _example(arguments[0], name, within)
    if origin in _UNIONS:
        return next((_example(one, name, within) for one in arguments if one not in within), None)
    if origin is Literal:
        return arguments[0]
    if origin is list:
        return [] if arguments[0] in within else [_example(arguments[0], name, within)]
    if origin is dict:
        return {name: _example(arguments[1], name, within)}
    if isinstance(kind, type) and issubclass(kind, Model):
        kind.model_rebuild()
        return {
            field.alias or member: _member(member, field, (*within, kind))
            for member, field in kind.model_fields.items()
            if field.is_required() or not _is_error(member, field)
        }
    return _VALUES.get(cast("object", kind), name)


def _member(name: str, field: FieldInfo, within: tuple[type[Model], ...]) -> Any:
    return None if _is_error(name, field) else _example(field.annotation, name, within)


def _is_error(name: str, field: FieldInfo) -> bool:
    """Whether a member says what went wrong, and may be null."""
    return name.endswith("error") and type(None) in cast("tuple[object, ...]", get_args(field.annotation))
