"""What each operation takes, as its stub says: the contract itself is not there at run time."""

import functools
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import UnionType
from typing import Any, Final, Literal, TypeAlias, TypeVar, Union, cast, get_args, get_origin
from urllib.parse import unquote

from pydantic import TypeAdapter

from digitorn_testing._generated import rest
from digitorn_testing._generated._runtime import NOT_GIVEN, Call, NotGiven, RestOperation

T = TypeVar("T")

Place: TypeAlias = Literal["path", "query", "header", "cookie", "body", "file", "content"]

_PARAMETER: Final = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One thing that an operation takes.

    Attributes:
        name: Its wire name; for a body that is no object, that of the stub's argument.
        place: Where it travels.
        type: Its type.
        required: Whether it must be there.
        has_segments: Whether its slashes separate path segments.
    """

    name: str
    place: Place
    type: Any
    required: bool
    has_segments: bool = False

    @property
    def adapter(self) -> TypeAdapter[Any]:
        """Checks its value."""
        return _adapter(self.type)


@dataclass(frozen=True, slots=True)
class Signature:
    """What one operation takes."""

    parameters: tuple[Parameter, ...]

    def at(self, *places: Place) -> tuple[Parameter, ...]:
        """The parameters that travel in some places."""
        return tuple(one for one in self.parameters if one.place in places)


@lru_cache(maxsize=1)
def signatures() -> Mapping[str, Signature]:
    """What every operation takes, by the operation's id."""
    noting = _Noting()
    api = rest.Api(noting)
    found: dict[str, Signature] = {}
    for group in vars(api).values():
        for name, stub in inspect.getmembers(group, inspect.ismethod):
            if not name.startswith("_"):
                call, arguments = noting.call_of(stub)
                found[call.operation.id] = Signature(tuple(_parameters(call, arguments)))
    return found


def route_path(operation: RestOperation[Any]) -> str:
    """The path of an operation as a route has it: parameters that may hold slashes are marked."""
    path = operation.path
    for one in signatures()[operation.id].at("path"):
        if one.has_segments:
            path = path.replace("{" + one.name + "}", "{" + one.name + ":path}")
    return path


class _Noting:
    """A transport that sends nothing and keeps the call."""

    def __init__(self) -> None:
        self._call: Call[Any] | None = None

    def send(self, call: Call[T], /) -> T:
        self._call = call
        return cast("T", None)

    def call_of(self, stub: Any) -> tuple[Call[Any], Mapping[str, inspect.Parameter]]:
        """What a stub makes of arguments that are marks, and its parameters by mark."""
        arguments: dict[str, inspect.Parameter] = {}
        given: dict[str, object] = {}
        for number, (name, parameter) in enumerate(inspect.signature(stub, eval_str=True).parameters.items()):
            # The arguments for what the contract does not name default to None; they are left out.
            if parameter.default is not None:
                # The slash shows whether the stub takes it for a separator.
                mark = f"mark/{number}"
                given[name] = (mark, b"") if _is_file(parameter.annotation) else mark
                arguments[mark] = parameter
        stub(**given)
        assert self._call is not None
        return self._call, arguments


def _parameters(call: Call[Any], arguments: Mapping[str, inspect.Parameter]) -> Iterator[Parameter]:
    def parameter(name: str, place: Place, mark: object, *, has_segments: bool = False) -> Parameter:
        argument = arguments[str(mark)]
        return Parameter(
            name=name,
            place=place,
            type=_given_type(argument.annotation),
            required=argument.default is not NOT_GIVEN,
            has_segments=has_segments,
        )

    for name, text in _path_values(call).items():
        yield parameter(name, "path", text.replace("%2F", "/"), has_segments="/" in text)
    yield from (parameter(name, "query", mark) for name, mark in call.query)
    # The content types that the stub asks for are among the headers.
    headers = {name: mark for name, mark in call.headers.items() if mark in arguments}
    yield from (parameter(name, "header", mark) for name, mark in headers.items())
    yield from (parameter(name, "cookie", unquote(mark)) for name, mark in call.cookies.items())
    yield from (parameter(name, "body", mark) for name, mark in (call.body or {}).items())
    yield from (parameter(name, "file", file[0]) for name, file in call.files.items())
    if call.content is not None:
        yield parameter("body", "content", call.content)


def _path_values(call: Call[Any]) -> Mapping[str, str]:
    pattern = _PARAMETER.sub(r"(?P<\1>[^/]+|[^/]+/[^/]+)", call.operation.path)
    found = re.fullmatch(pattern, call.path)
    assert found is not None, (pattern, call.path)
    return found.groupdict()


def _is_file(annotation: Any) -> bool:
    # A file may have a name; a body of bytes may not.
    return any(get_origin(one) is tuple for one in get_args(annotation))


def _given_type(annotation: Any) -> Any:
    """A type without that of an argument which is left out."""
    if get_origin(annotation) not in (Union, UnionType):
        return annotation
    return cast("Any", Union)[tuple(one for one in get_args(annotation) if one is not NotGiven)]


@functools.cache
def _adapter(type_: Any) -> TypeAdapter[Any]:
    return TypeAdapter(type_)
