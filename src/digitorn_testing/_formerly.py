"""Hooks for names of the predecessor. `legacy`, which knows the names, is loaded when one of them is used."""

from collections.abc import Callable
from functools import partial, wraps
from importlib import import_module
from inspect import iscoroutinefunction
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


def formerly(table: str, *, works: bool = True) -> Callable[[Any, str], object]:
    """The `__getattr__` of a class or a module that looks its missing names up.

    Args:
        table: The class of `legacy` that has the old names.
        works: Whether they can be used. Otherwise each is an error that names the new way.
    """

    def look_up(owner: Any, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(f"{type(owner).__name__!r} object has no attribute {name!r}")
        return _legacy().look_up(owner, name, table, works=works)

    return look_up


def once_took(method: F) -> F:
    """Lets a function be called with the arguments that it had in the predecessor, with a warning.

    Args:
        method: The function. `legacy.OldArguments` has its old form, under the same name.
    """
    code = method.__code__
    most = code.co_argcount
    names = frozenset(code.co_varnames[: most + code.co_kwonlyargcount])

    def chosen(args: tuple[Any, ...], named: dict[str, Any]) -> Callable[..., Any]:
        fits = len(args) <= most and names.issuperset(named)
        return method if fits else partial(_legacy().call, method)

    @wraps(method)
    def call(*args: Any, **named: Any) -> Any:
        __tracebackhide__ = True
        return chosen(args, named)(*args, **named)

    @wraps(method)
    async def call_async(*args: Any, **named: Any) -> Any:
        __tracebackhide__ = True
        return await chosen(args, named)(*args, **named)

    return cast("F", call_async if iscoroutinefunction(method) else call)


def _legacy() -> Any:
    # By name: it knows the types of the rooms above this one.
    return import_module(f"{__package__}.legacy")


class OldCalls:
    """A client on which the old names work. Type checkers read `legacy.OldCalls` instead."""

    __getattr__ = formerly("OldCalls")


class AsyncOldCalls:
    """A client on which the old names are errors: the predecessor had no asynchronous client."""

    __getattr__ = formerly("OldCalls", works=False)


class OldStream:
    """A stream on which the old names work. Type checkers read `legacy.OldStream` instead."""

    __getattr__ = formerly("OldStream")


class AsyncOldStream:
    """A stream on which the old names are errors."""

    __getattr__ = formerly("OldStream", works=False)
