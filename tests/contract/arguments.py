"""Arguments for any stub, from its signature: what is required, and nothing else."""

import inspect
from collections.abc import Mapping
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from digitorn_testing._generated._encoding import FileContent

_PLAIN: Mapping[object, object] = {bytes: b"example", bool: True, int: 1, float: 1.0, dict: {}, list: []}


def required_arguments(stub: Any, known: Mapping[str, object]) -> dict[str, object]:
    """A value for each argument that a stub cannot do without.

    Args:
        stub: A bound method of a stub.
        known: Values for arguments by name; the others get one by their type.
    """
    return {
        name: known[name] if name in known else value_of(parameter.annotation, name)
        for name, parameter in inspect.signature(stub, eval_str=True).parameters.items()
        if parameter.default is inspect.Parameter.empty
    }


def value_of(annotation: Any, name: str) -> object:
    """A plain value of a type."""
    if annotation == FileContent:
        return ("example.txt", b"An example.\n")
    origin = get_origin(annotation)
    arguments = get_args(annotation)
    if origin is Literal:
        return arguments[0]
    if origin in (Union, UnionType):
        return value_of(arguments[0], name)
    for kind in (annotation, origin):
        if kind in _PLAIN:
            return _PLAIN[kind]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        members = annotation.model_fields.items()
        return annotation(**{k: value_of(v.annotation, k) for k, v in members if v.is_required()})
    return name
