"""Scenario files: functions that return `(ok, detail)` or `(ok, detail, artifacts)`, as tests."""

import fnmatch
import functools
import glob
import inspect
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple, cast

import pytest

ARTIFACTS: Final = pytest.StashKey[object]()
"""The artifacts that the scenario returned."""

FUNCTIONS: Final = ("scenario*", "test*", "run")
"""The default patterns for names of scenario functions."""

_TESTS: Final = "test"
_CLIENT: Final = "__digitorn_client__"


class Outcome(NamedTuple):
    """The outcome of a scenario.

    Attributes:
        ok: Whether it passed.
        detail: Why, or why not.
        artifacts: What to keep; None for nothing.
    """

    ok: bool
    detail: str
    artifacts: object


def find(patterns: Iterable[str], root: Path) -> frozenset[Path]:
    """The scenario files.

    Args:
        patterns: Globs, relative to `root`.
        root: A folder.
    """
    return frozenset(
        (root / found).resolve()
        for pattern in patterns
        for found in glob.glob(pattern, root_dir=root, recursive=True)
        if found.endswith(".py")
    )


def file_at(path: Path, parent: pytest.Collector) -> pytest.Collector:
    """The collector of a scenario file."""
    # It returns an instance of the class that it is called on, which pytest's types do not say.
    made: Any = ScenarioFile
    return cast("ScenarioFile", made.from_parent(parent, path=path))


class ScenarioFile(pytest.Module):
    """A file whose functions are scenarios. Each may use fixtures, and `client`."""

    def collect(self) -> "Iterable[pytest.Item | pytest.Collector]":
        """The scenarios."""
        module = cast("ModuleType", self.obj)
        # Defined in the module, so that other tests do not see a fixture with such a common name.
        setattr(module, _CLIENT, _client)
        members: list[tuple[str, object]] = list(vars(module).items())
        for name, found in members:
            if inspect.iscoroutinefunction(found) and self.istestfunction(found, name):
                _mark_asynchronous(found, self.config)
        return super().collect()

    def funcnamefilter(self, name: str) -> bool:
        """Whether a name matches the patterns for scenarios."""
        patterns: list[str] = self.config.getini("digitorn_scenario_functions")
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)

    def istestfunction(self, obj: object, name: str) -> bool:
        """Whether an object is a scenario: a function that was not imported from another module."""
        is_own = inspect.isfunction(obj) and obj.__module__ == getattr(self.obj, "__name__", None)
        return is_own and super().istestfunction(obj, name)


@pytest.fixture(name="client")
def _client(request: pytest.FixtureRequest, _digitorn_target: object) -> object:
    """`dev_client`, or `async_dev_client` for a scenario that is a coroutine function."""
    is_async = inspect.iscoroutinefunction(request.function)
    found: object = request.getfixturevalue("digitorn_async_client" if is_async else "digitorn_client")
    return found


def _mark_asynchronous(function: Callable[..., object], config: pytest.Config) -> None:
    if not {"asyncio", "anyio"} & {one.name for one in getattr(function, "pytestmark", ())}:
        mark = pytest.mark.asyncio if has_asyncio(config) else pytest.mark.anyio
        mark(function)


def has_asyncio(config: pytest.Config) -> bool:
    """Whether pytest-asyncio is loaded, by itself or by `-p`."""
    return any(map(config.pluginmanager.hasplugin, ("asyncio", "pytest_asyncio.plugin", "pytest_asyncio")))


def is_one(item: pytest.Item) -> bool:
    """Whether a test is a scenario."""
    return isinstance(item.parent, ScenarioFile)


def judge(item: pytest.Item) -> None:
    """Makes a scenario fail if its return value says so.

    Args:
        item: A collected item, scenario or not.
    """
    if not isinstance(item, pytest.Function) or not is_one(item):
        return
    function = cast("Callable[..., object]", item.obj)
    name = item.originalname
    if inspect.iscoroutinefunction(function):
        call = cast("Callable[..., Awaitable[object]]", function)

        @functools.wraps(function)
        async def run(*args: object, **kwargs: object) -> None:
            _judge(item, name, await call(*args, **kwargs))

        item.obj = run
    else:

        @functools.wraps(function)
        def run_blocking(*args: object, **kwargs: object) -> None:
            _judge(item, name, function(*args, **kwargs))

        item.obj = run_blocking


def _judge(item: pytest.Item, name: str, returned: object) -> None:
    if returned is None and name.startswith(_TESTS):
        return
    outcome = _outcome(returned)
    if outcome is None:
        pytest.fail(
            f"scenario {name} must return (ok, detail) or (ok, detail, artifacts), with ok True or False; "
            f"it returned {returned!r:.200}",
            pytrace=False,
        )
    item.stash[ARTIFACTS] = outcome.artifacts
    if not outcome.ok:
        pytest.fail(outcome.detail or f"scenario {name} does not hold, and does not say why", pytrace=False)


def _outcome(returned: object) -> Outcome | None:
    """The outcome in a return value; None if it has neither of the two forms."""
    if not isinstance(returned, tuple):
        return None
    from digitorn_testing.assertions import Check

    said = cast("tuple[object, ...]", returned)
    if len(said) not in (2, 3) or not isinstance(said[0], bool | Check):
        return None
    return Outcome(bool(said[0]), str(said[1]), said[2] if len(said) == 3 else None)
