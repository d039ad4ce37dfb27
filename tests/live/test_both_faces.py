"""The two faces are equal, in what they offer and in what is tested of it."""

import ast
import inspect
from pathlib import Path

import pytest

from digitorn_testing import (
    AsyncDevClient,
    AsyncLiveEventStream,
    AsyncTurn,
    DevClient,
    LiveEventStream,
    Turn,
)

HERE = Path(__file__).parent
FILES = sorted({path.name for face in ("asynchronous", "blocking") for path in (HERE / face).glob("*.py")})


_PLAIN = {
    "aclose": "close",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
}
_ALSO = {"__init__", "_get_auth_token", *_PLAIN, *_PLAIN.values()}


def surface(kind: type) -> dict[str, object]:
    """Public names with the parameters of what can be called."""
    found: dict[str, object] = {}
    for name, member in inspect.getmembers(kind):
        if name.startswith("_") and name not in _ALSO:
            continue
        plain = _PLAIN.get(name, name)
        if callable(member):
            parameters = inspect.signature(member).parameters.values()
            found[plain] = [(p.name, p.kind, p.default) for p in parameters]
        else:
            found[plain] = "attribute"
    return found


@pytest.mark.parametrize(
    ("blocking", "asynchronous"),
    [(DevClient, AsyncDevClient), (LiveEventStream, AsyncLiveEventStream), (Turn, AsyncTurn)],
)
def test_both_faces_are_equal(blocking: type, asynchronous: type) -> None:
    mine, theirs = surface(blocking), surface(asynchronous)
    theirs.pop("report", None)
    assert mine == theirs


def functions(face: str, name: str) -> list[str]:
    """The names of a file's fixtures and tests."""
    tree = ast.parse((HERE / face / name).read_text(encoding="utf-8"))
    return [one.name for one in tree.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]


@pytest.mark.parametrize("name", FILES)
def test_every_live_test_is_there_for_both_faces(name: str) -> None:
    assert functions("asynchronous", name) == functions("blocking", name)


def test_the_tests_of_the_faces_are_found() -> None:
    assert {"conftest.py", "test_send_live.py", "test_stream.py"} <= set(FILES)
