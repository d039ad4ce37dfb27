"""Tools of an app: definitions for the model, and Python functions that run when it calls them."""

import functools
import inspect
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias, cast, get_type_hints

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import ArgsKwargs

from digitorn_testing._errors import DigitornError

from .language import RiskLevel

ToolReturn: TypeAlias = Mapping[str, object] | str | BaseModel | None
"""The return value of a handler; a string means `{"output": text}`."""

ToolHandler: TypeAlias = Callable[..., ToolReturn | Awaitable[ToolReturn]]
"""A function with annotated parameters, sync or async, that runs when the model calls its tool."""


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a tool is called for. A handler gets it in a parameter that is annotated with this class.

    Attributes:
        app_id: App whose agent calls.
        session_id: Session in which it calls.
        user_id: User of the session.
        call_id: Id of the call, as events and the model name it.
        correlation_id: Correlation id of the turn.
        agent_id: Agent that calls: its name, or the id of a sub-agent.
    """

    app_id: str
    session_id: str
    user_id: str
    call_id: str
    correlation_id: str
    agent_id: str


class ToolFailed(DigitornError):
    """Raised by a handler: the call fails with this text, and with a result if there is one.

    Any other exception makes the call fail too; its text begins with the name of the exception.

    Args:
        error: Why, as events and the model are told.
        result: What the tool returns all the same.
    """

    def __init__(self, error: str, result: Mapping[str, Any] | None = None) -> None:
        if not error:
            raise ValueError("the error of a failed tool is empty")
        super().__init__(error)
        self.error = error
        self.result = None if result is None else json_object(result)

    def __reduce__(self) -> "tuple[type[Self], tuple[str, dict[str, Any] | None], dict[str, Any]]":
        return type(self), (self.error, self.result), vars(self)


class ToolDenied(ToolFailed):
    """Raised by a handler: the call is refused, as the daemon refuses one that its policies block."""


_Arguments: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """A tool that an app offers to its model.

    Attributes:
        name: Name of the tool.
        description: What it does, for the model.
        parameters: JSON Schema of its arguments.
        requires_approval: Whether the user has to approve each call.
        risk_level: The risk level in its approval requests; left out, it is that of the tool's name.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    requires_approval: bool = False
    risk_level: RiskLevel | None = None


class InvalidArguments(Exception):
    """The model called a tool with arguments that its handler does not accept."""


@dataclass(frozen=True, slots=True)
class PythonTool:
    """A tool that is implemented by a Python function.

    Attributes:
        definition: Its definition for the model.
        handler: The function.
        is_async: Whether it is an `async def`.
    """

    definition: ToolDefinition
    handler: ToolHandler
    is_async: bool
    _context: str | None
    _arguments: TypeAdapter[_Arguments] = field(repr=False)

    @property
    def name(self) -> str:
        """Its name."""
        return self.definition.name

    def bind(self, params: Mapping[str, Any], context: ToolContext) -> _Arguments:
        """Validates the arguments of a call and converts them to the types that the function declares.

        Args:
            params: What the model passes.
            context: What the tool is called for.

        Raises:
            InvalidArguments: They do not fit.
        """
        try:
            args, kwargs = self._arguments.validate_python(ArgsKwargs((), dict(params)))
            return args, kwargs if self._context is None else {**kwargs, self._context: context}
        except ValidationError as error:
            faults = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            raise InvalidArguments("; ".join(faults)) from error


def python_tool(
    handler: ToolHandler,
    *,
    name: str,
    description: str | None,
    parameters: Mapping[str, Any] | None,
    requires_approval: bool,
    risk_level: RiskLevel,
) -> PythonTool:
    """A tool that is implemented by a function; its schema comes from the function's signature if left out.

    Raises:
        TypeError: The function cannot be called by name with JSON values, or the schema is not JSON.
    """
    signature, hints = _signature(handler, name, needs_hints=parameters is None)
    contexts = [one for one, hint in hints.items() if hint is ToolContext and one in signature.parameters]
    if len(contexts) > 1:
        raise TypeError(f"tool {name!r}: {' and '.join(contexts)} both take the context")
    taken = [one for one in signature.parameters.values() if one.name not in contexts]
    arguments = _arguments(taken, hints, name)
    function = _function(handler)
    told = description if description is not None else inspect.getdoc(function) or ""
    schema = _schema(arguments, name) if parameters is None else json_object(parameters)
    return PythonTool(
        definition=ToolDefinition(name, told, schema, requires_approval, risk_level),
        handler=handler,
        is_async=inspect.iscoroutinefunction(function),
        _context=next(iter(contexts), None),
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


def _signature(
    handler: ToolHandler, name: str, *, needs_hints: bool
) -> tuple[inspect.Signature, dict[str, Any]]:
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
        if parameter.name not in hints and needs_hints:
            raise TypeError(f"tool {name!r}: parameter {parameter.name!r} has no type annotation")
    return signature, hints


def _function(handler: object) -> Callable[..., object]:
    """The function whose annotations count: inside partial objects, or behind `__call__`."""
    while isinstance(handler, functools.partial):
        handler = cast("object", handler.func)
    if not inspect.isroutine(handler):
        handler = type(handler).__call__
    return cast("Callable[..., object]", handler)


def _arguments(
    taken: Iterable[inspect.Parameter], hints: Mapping[str, Any], name: str
) -> TypeAdapter[_Arguments]:
    """A validator with the handler's signature that returns the arguments instead of using them."""

    def take(*args: Any, **kwargs: Any) -> _Arguments:
        return args, kwargs

    parameters = [one.replace(annotation=hints.get(one.name, Any)) for one in taken]
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
