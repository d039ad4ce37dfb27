"""Tools of an app: definitions for the model, and Python functions that run when it calls them."""

import functools
import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast, get_type_hints

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import ArgsKwargs

from .language import RiskLevel

ToolReturn: TypeAlias = Mapping[str, object] | str | BaseModel | None
"""The return value of a handler; a string means `{"output": text}`."""

ToolHandler: TypeAlias = Callable[..., ToolReturn | Awaitable[ToolReturn]]
"""A function with annotated parameters, sync or async, that runs when the model calls its tool."""

_Arguments: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """A tool that an app offers to its model.

    Attributes:
        name: Name of the tool.
        description: What it does, for the model.
        parameters: JSON Schema of its arguments.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])


class InvalidArguments(Exception):
    """The model called a tool with arguments that its handler does not accept."""


@dataclass(frozen=True, slots=True)
class PythonTool:
    """A tool that is implemented by a Python function.

    Attributes:
        definition: Its definition for the model.
        handler: The function.
        is_async: Whether it is an `async def`.
        requires_approval: Whether the user has to approve each call.
        risk_level: The risk level in its approval requests.
    """

    definition: ToolDefinition
    handler: ToolHandler
    is_async: bool
    requires_approval: bool
    risk_level: RiskLevel
    _arguments: TypeAdapter[_Arguments] = field(repr=False)

    @property
    def name(self) -> str:
        """Its name."""
        return self.definition.name

    def bind(self, params: Mapping[str, Any]) -> _Arguments:
        """Validates the arguments of a call and converts them to the types that the function declares.

        Raises:
            InvalidArguments: They do not fit.
        """
        try:
            return self._arguments.validate_python(ArgsKwargs((), dict(params)))
        except ValidationError as error:
            faults = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            raise InvalidArguments("; ".join(faults)) from error


def python_tool(
    handler: ToolHandler,
    *,
    name: str,
    description: str | None,
    requires_approval: bool,
    risk_level: RiskLevel,
) -> PythonTool:
    """A tool that is implemented by a function; its schema comes from the function's signature.

    Raises:
        TypeError: The function cannot be called by name with JSON values.
    """
    signature, hints = _signature(handler, name)
    arguments = _arguments(signature, hints, name)
    function = _function(handler)
    told = description if description is not None else inspect.getdoc(function) or ""
    return PythonTool(
        definition=ToolDefinition(name, told, _schema(arguments, name)),
        handler=handler,
        is_async=inspect.iscoroutinefunction(function),
        requires_approval=requires_approval,
        risk_level=risk_level,
        _arguments=arguments,
    )


def json_object(value: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a mapping as JSON values.

    Raises:
        TypeError: It contains something that JSON cannot express.
    """
    try:
        copied: dict[str, Any] = json.loads(json.dumps(dict(value), allow_nan=False))
    except ValueError as error:
        raise TypeError(f"not JSON: {error}") from error
    return copied


def result_object(value: object) -> dict[str, Any] | None:
    """The return value of a handler as the result of a tool call.

    Raises:
        TypeError: A tool cannot return this.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return {"output": value}
    found: object = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    if isinstance(found, Mapping):
        return json_object(cast("Mapping[str, Any]", found))
    raise TypeError(
        f"a tool returns a mapping, a text, a pydantic model of an object or None, not {type(value).__name__}"
    )


def _signature(handler: ToolHandler, name: str) -> tuple[inspect.Signature, dict[str, Any]]:
    # Calling a class creates an instance, which is not a result.
    if inspect.isclass(handler):
        raise TypeError(f"tool {name!r}: expected a function, got {handler!r}")
    try:
        signature = inspect.signature(handler)
        hints = get_type_hints(_function(handler), include_extras=True)
    except (NameError, TypeError, ValueError) as error:
        raise TypeError(f"tool {name!r}: its signature cannot be read: {error}") from error
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            raise TypeError(
                f"tool {name!r}: parameter {parameter.name!r} has no name for the model to call it by"
            )
        if parameter.name not in hints:
            raise TypeError(f"tool {name!r}: parameter {parameter.name!r} has no type annotation")
    return signature, hints


def _function(handler: object) -> Callable[..., object]:
    """The function whose annotations count: inside partial objects, or behind `__call__`."""
    while isinstance(handler, functools.partial):
        handler = cast("object", handler.func)
    if not inspect.isroutine(handler):
        handler = type(handler).__call__
    return cast("Callable[..., object]", handler)


def _arguments(signature: inspect.Signature, hints: Mapping[str, Any], name: str) -> TypeAdapter[_Arguments]:
    """A validator with the handler's signature that returns the arguments instead of using them."""

    def take(*args: Any, **kwargs: Any) -> _Arguments:
        return args, kwargs

    parameters = [one.replace(annotation=hints[one.name]) for one in signature.parameters.values()]
    setattr(take, "__signature__", inspect.Signature(parameters))  # noqa: B010 - no checker knows it
    take.__annotations__ = {one.name: one.annotation for one in parameters}
    take.__name__ = take.__qualname__ = name
    try:
        return TypeAdapter(cast("type[_Arguments]", take))
    except PydanticUserError as error:
        raise TypeError(f"tool {name!r}: no schema for its parameters: {error}") from error


def _schema(arguments: TypeAdapter[_Arguments], name: str) -> dict[str, Any]:
    try:
        return arguments.json_schema()
    except PydanticUserError as error:
        raise TypeError(f"tool {name!r}: its parameters cannot come as JSON: {error}") from error
