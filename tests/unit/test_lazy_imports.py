"""Names are loaded when they are used, and behave like names that were there from the start."""

import ast
import importlib
import inspect
import pickle
import subprocess
import sys
import typing
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

import digitorn.testing
import digitorn_testing
import digitorn_testing.events
import digitorn_testing.models
from digitorn_testing import AsyncDevClient, DevClient, _stream
from digitorn_testing._generated import models

LAZY: Final[list[ModuleType]] = [
    digitorn_testing,
    digitorn_testing.events,
    digitorn_testing.models,
    _stream,
    models,
    digitorn.testing,
]

HTTP = ("httpx", "httpcore2")
SOCKETS = ("socketio", "engineio", "aiohttp")
GENERATED = ("models", "payloads", "messages", "operations", "rest", "rest_async", "events", "builders")


def run(code: str) -> str:
    """What a fresh process prints."""
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def loaded(code: str) -> set[str]:
    """The modules that a fresh process has loaded after some code."""
    return set(run(f"{code}\nimport sys\nprint(*sys.modules, sep='\\n')").split())


@pytest.mark.parametrize(
    "code",
    [
        "import digitorn_testing",
        "import digitorn.testing",
        "import digitorn_testing.pytest_plugin",
        "from digitorn_testing import NotFound, SessionHandle, CONTRACT_VERSION",
    ],
)
def test_the_package_and_the_plugin_load_no_library_and_no_generated_class(code: str) -> None:
    found = loaded(code)
    unwanted = {"pydantic", *HTTP, *SOCKETS, *(f"digitorn_testing._generated.{name}" for name in GENERATED)}
    assert found & unwanted == set()
    assert "digitorn_testing" in found


@pytest.mark.parametrize("face", ["DevClient", "AsyncDevClient"])
def test_a_client_loads_neither_sockets_nor_the_shapes_of_every_tag(face: str) -> None:
    found = loaded(f"from digitorn.testing import {face}\n{face}('http://127.0.0.1:1')")
    generated = {name.rpartition(".")[2] for name in found if name.startswith("digitorn_testing._generated.")}
    assert found.isdisjoint(SOCKETS)
    assert found.isdisjoint(f"digitorn_testing.{name}" for name in ("fakes", "builders", "legacy"))
    assert generated.isdisjoint({"_models_admin", "_models_apps", "_unused_models", "builders"})
    assert "httpx" in found


def test_names_can_be_used_by_threads_at_once() -> None:
    """Every public name at the same moment, in an order of its own for each thread."""
    code = """
import importlib, random, threading
modules = [
    importlib.import_module(f"digitorn.testing{name}") for name in ("", ".models")
] + [importlib.import_module("digitorn_testing")]
names = [(module, name) for module in modules for name in module.__all__]
names += [("digitorn_testing.events", "LiveEventStream"), ("digitorn_testing.builders", "TurnBuilder")]
together = threading.Barrier(8)
found, failures = [], []

def use(seed):
    mine = random.Random(seed).sample(names, len(names))
    together.wait(20)
    try:
        got = {}
        for module, name in mine:
            if isinstance(module, str):
                module = importlib.import_module(module)
            got[module.__name__, name] = getattr(module, name)
        got["digitorn_testing.models", "complete"] = got["digitorn.testing.models", "TokenTriple"].from_wire(
            {"prompt": 1, "completion": 2, "total": 3}
        ).__class__
        found.append(got)
    except BaseException as error:
        failures.append(repr(error))

threads = [threading.Thread(target=use, args=(seed,), daemon=True) for seed in range(8)]
for one in threads:
    one.start()
for one in threads:
    one.join(40)
assert not failures, failures
assert len(found) == 8, "a thread still waits for another one's import"
assert all(one.keys() == found[0].keys() for one in found)
assert all(one[key] is found[0][key] for one in found for key in one)
print("fine")
"""
    assert run(code) == "fine\n"


@pytest.mark.parametrize("module", LAZY)
def test_a_wrong_name_is_an_attribute_error_that_names_the_module(module: Any) -> None:
    with pytest.raises(AttributeError, match=f"module '{module.__name__}' has no attribute 'Nope'"):
        _ = module.Nope
    assert not hasattr(module, "_nope")


def test_a_wrong_name_cannot_be_imported() -> None:
    with pytest.raises(ImportError, match="cannot import name 'DevCleint' from 'digitorn_testing'"):
        exec("from digitorn_testing import DevCleint")


@pytest.mark.parametrize("module", LAZY)
def test_dir_and_star_import_have_every_public_name(module: Any) -> None:
    code = (
        f"import {module.__name__} as one\nprint(*dir(one))\nfrom {module.__name__} import *\nprint(*dir())"
    )
    listed, imported = run(code).splitlines()
    assert set(module.__all__) <= set(listed.split())
    assert set(module.__all__) <= set(imported.split())


@pytest.mark.parametrize("module", LAZY[:5])
def test_type_checkers_see_the_objects_that_programs_get(module: Any) -> None:
    """What the block for type checkers imports is what the module gives."""
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    (block,) = (
        node
        for node in tree.body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    )
    seen: set[str] = set()
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        inside = module.__name__ if hasattr(module, "__path__") else module.__package__
        source = importlib.import_module("." * node.level + (node.module or ""), inside)
        for one in node.names:
            names = source.__all__ if one.name == "*" else [one.name]
            for name in names:
                assert getattr(module, name) is getattr(source, name), name
            seen.update(names)
    eager = {name for node in tree.body if isinstance(node, ast.ImportFrom) for name in _names(node, module)}
    assert set(module.__all__) <= seen | eager


def _names(node: ast.ImportFrom, module: Any) -> list[str]:
    if node.names[0].name == "*":
        source = importlib.import_module("." * node.level + (node.module or ""), module.__package__)
        return list(source.__all__)
    return [one.asname or one.name for one in node.names]


@pytest.mark.parametrize("face", [DevClient, AsyncDevClient])
def test_the_hints_of_a_client_can_be_read(face: type) -> None:
    members = inspect.getmembers(face, inspect.isfunction)
    found = {name: typing.get_type_hints(member) for name, member in members if not name.startswith("_")}
    assert found["login"]["return"] is digitorn_testing.models.TokenResponse
    assert found["get_session"]["return"] is digitorn_testing.models.SessionDetail
    assert len(found) > 40


def test_shapes_can_be_pickled_also_under_their_old_module() -> None:
    shape = digitorn_testing.models.TokenTriple.from_wire({"prompt": 1, "completion": 2, "total": 3})
    written = pickle.dumps(shape, protocol=0)
    assert pickle.loads(written) == shape
    module = type(shape).__module__.encode()
    assert module in written
    assert pickle.loads(written.replace(module, b"digitorn_testing._generated.models")) == shape
