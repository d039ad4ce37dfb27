"""Raises errors that carry nothing of what they were made from."""

from typing import NoReturn, TypeVar

E = TypeVar("E", bound=BaseException)


def detached(error: E) -> E:
    """An error without its traceback, cause and context.

    Test runners print an exception with everything attached to it: its context and cause, and the local
    variables of every frame in its traceback. Below a call that failed these hold what went over the wire,
    such as an `httpx.Request` with its `Authorization` header, or the raw frame that a daemon sent. Our own
    errors say what happened, redacted, and must not bring the rest along.

    Args:
        error: The error; it is changed in place.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def raise_detached(error: BaseException) -> NoReturn:
    """Raises an error without the traceback, cause and context that it has so far; see `detached`.

    Unlike `raise … from None`, which only hides the context from the default traceback, this also drops it
    inside an `except` block, where Python attaches the handled exception to whatever is raised.

    Args:
        error: The error.
    """
    try:
        raise detached(error)
    finally:
        # The statement above has attached the exception that the caller handles.
        error.__context__ = None
