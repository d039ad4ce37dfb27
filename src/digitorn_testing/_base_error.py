"""The base of every error of this library, and the name under which reports show errors."""

from importlib import import_module
from typing import Final

from ._texts import printable

PUBLISHED: Final = "digitorn.testing"
"""The module that errors name as their own: what a test imports, and what reports show."""

_ROOT: Final = "digitorn_testing"


class DigitornError(Exception):
    """Base of every error of this library. Errors can be pickled and copied with all their attributes."""

    def __init__(self, *args: object) -> None:
        # A daemon's words may hold half of a surrogate pair, which breaks whoever prints or sends them on.
        super().__init__(*(printable(one) if isinstance(one, str) else one for one in args))

    def __reduce__(self) -> tuple[object, ...]:
        # By default an error is rebuilt from its message, but most constructors here take other arguments.
        kind = type(self)
        if kind.__module__ != PUBLISHED and not kind.__module__.startswith(f"{PUBLISHED}."):
            return _restored, (kind, self.args, self.__dict__.copy())
        # The published module may belong to the daemon's own distribution, which has other classes.
        home = _ROOT + kind.__module__.removeprefix(PUBLISHED)
        return _restored_from, (home, kind.__qualname__, self.args, self.__dict__.copy())


def _restored_from(home: str, name: str, args: tuple[object, ...], state: dict[str, object]) -> DigitornError:
    return _restored(getattr(import_module(home), name), args, state)


def _restored(kind: type[DigitornError], args: tuple[object, ...], state: dict[str, object]) -> DigitornError:
    error = kind.__new__(kind, *args)
    # `OSError`, a base of `TimeoutError`, leaves this to the constructor.
    error.args = args
    error.__dict__.update(state)
    return error
