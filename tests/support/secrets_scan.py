"""Looks for secrets in everything that a run leaves behind."""

import logging
import traceback
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TypeAlias, cast

TESTS = Path(__file__).parents[1]

Sink: TypeAlias = Callable[[], str]
"""Gives what one place of a run holds, as text."""


class Leaked(AssertionError):
    """A secret is where it must not be."""


def scan(secrets: Iterable[str], sinks: Mapping[str, Sink]) -> dict[str, int]:
    """Looks for secrets, whole or the parts that make them valid.

    Args:
        secrets: What must not be found.
        sinks: Where to look, by name.

    Returns:
        How many characters were looked at in each place.

    Raises:
        Leaked: There is one; the error says where, and what stands before it.
    """
    wanted = {part for secret in secrets for part in (secret, *_parts(secret))}
    sizes: dict[str, int] = {}
    for name, sink in sinks.items():
        text = sink()
        sizes[name] = len(text)
        for secret in wanted:
            if (place := text.find(secret)) >= 0:
                raise Leaked(f"{name}: a secret follows {text[max(0, place - 300) : place]!r}")
    return sizes


def _parts(secret: str) -> list[str]:
    """The payload and the signature of a JSON Web Token; its header is no secret."""
    return secret.split(".")[1:] if secret.count(".") == 2 else []


class Logged(logging.Handler):
    """Keeps every record as text, with all that formatting it could show."""

    def __init__(self) -> None:
        super().__init__(level=1)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps a record."""
        error = record.exc_info[1] if record.exc_info else None
        shown = f"{record.name} {record.levelname} {record.getMessage()} {record.args!r}"
        self.lines.append(shown + (f"\n{shown_error(error)}" if error is not None else ""))

    def text(self) -> str:
        """All of it."""
        return "\n".join(self.lines)


@contextmanager
def everything_logged() -> Generator[Logged]:
    """Keeps whatever any logger is told meanwhile, down to the lowest level."""
    handler, root = Logged(), logging.getLogger()
    known = [root, *(one for one in root.manager.loggerDict.values() if isinstance(one, logging.Logger))]
    # Those that come to exist meanwhile take their level from the root.
    before = [(one, one.level, one.propagate, one.disabled) for one in known]
    for one in known:
        one.setLevel(1)
        one.propagate, one.disabled = True, False
    root.addHandler(handler)
    try:
        yield handler
    finally:
        root.removeHandler(handler)
        for one, level, propagate, disabled in before:
            one.setLevel(level)
            one.propagate, one.disabled = propagate, disabled


def shown_error(error: BaseException, *, variables: bool = True) -> str:
    """An exception with its whole chain, and their attributes.

    Args:
        error: The exception.
        variables: Also show the variables of every frame but the tests' own.
    """
    lines: list[str] = []
    pending, seen = [error], set[int]()
    while pending:
        one = pending.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        lines += traceback.format_exception_only(one)
        lines += [repr(one), repr(one.args), repr(vars(one))]
        lines += _variables(one.__traceback__) if variables else []
        # Also what `from None` keeps from being shown, but not from being there.
        pending += [below for below in (one.__cause__, one.__context__) if below is not None]
        if isinstance(one, BaseExceptionGroup):
            pending += cast("BaseExceptionGroup[BaseException]", one).exceptions
    return "\n".join(lines)


def _variables(trace: TracebackType | None) -> list[str]:
    return [
        f"{frame.f_code.co_qualname}: {name} = {value!r}"
        for frame, _ in traceback.walk_tb(trace)
        if not Path(frame.f_code.co_filename).is_relative_to(TESTS)
        for name, value in frame.f_locals.items()
        # What a test passes in is in a variable of its own as well.
        if name != "password"
    ]
